"""Negotiations in the lake: three files per opportunity, reused while nothing they depend on changes."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.provenance import code_version, frame_hash
from vpp_pipeline.negotiation.negotiate import Adviser, in_blocks
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline.warehouse.day import DEALS, ROUNDS, SEGMENTS


def negotiate_missing(
    lake: Lake,
    market_date: date,
    opportunities: pl.DataFrame,
    terms: Terms,
    policy: NegotiationPolicy,
    rules: MarketRules,
    *,
    reuse: bool = True,
    adviser: Adviser | None = None,
) -> pl.DataFrame:
    """Negotiate every opportunity whose stored files rest on other terms, policy or code (all: ``reuse=False``).

    With an ``adviser`` all are: what it says now may be other than it was, and answers have a store of their own. The
    fingerprint then is of the deals as well, so that other advice is another version.

    Returns one row for each of ``opportunities``: opportunity_id, slot, engine, fingerprint, seconds (its share of a
    joint negotiation), is_new. Of each opportunity the words, the agreements and the segments lie in the lake then.
    """
    context = f"{policy.model_dump_json()} {rules.model_dump_json()} {code_version()}"
    state = opportunities.select("opportunity_id", "slot").with_columns(
        fingerprint=pl.Series(terms.fingerprints(context), dtype=pl.String), engine=pl.lit(policy.engine)
    )
    reuse = reuse and adviser is None
    stored = [_stored(lake, market_date, slot) if reuse else {} for slot in state["slot"]]
    is_new = np.array(
        [seen.get("fingerprint") != now for seen, now in zip(stored, state["fingerprint"], strict=True)], dtype=bool
    )
    rows = {name: row for name, *row in state.iter_rows()}
    spent: dict[str, float] = {}
    advised: dict[str, str] = {}
    begun = time.perf_counter()
    for block in in_blocks(terms.only(is_new), policy, adviser) if is_new.any() else ():
        names = block.opportunity_id.tolist()
        share = (time.perf_counter() - begun) / len(names)
        tables = {DEALS: block.agreements, SEGMENTS: block.segments, ROUNDS: block.messages}  # the words come last
        parts = {table: frame.partition_by("opportunity_id", as_dict=True) for table, frame in tables.items()}
        for name in names:
            slot, fingerprint, engine = rows[name]
            if adviser is not None:
                fingerprint = advised[name] = _with_deals(fingerprint, parts[DEALS].get((name,)))
            metadata = {"fingerprint": fingerprint, "engine": engine, "seconds": repr(share)}
            for table, frame in tables.items():
                own = parts[table].get((name,), frame.clear())
                lake.write(table, f"{market_date}|{slot}", own, metadata)
            spent[name] = share
        begun = time.perf_counter()
    seconds = [
        spent[name] if name in spent else float(seen["seconds"])
        for name, seen in zip(state["opportunity_id"], stored, strict=True)
    ]
    versions = [advised.get(name, version) for name, version in state.select("opportunity_id", "fingerprint").rows()]
    return state.with_columns(
        fingerprint=pl.Series(versions, dtype=pl.String),
        seconds=pl.Series(seconds, dtype=pl.Float64),
        is_new=pl.Series(is_new, dtype=pl.Boolean),
    )


def _with_deals(fingerprint: str, deals: pl.DataFrame | None) -> str:
    """``fingerprint`` and what was agreed in one hash."""
    agreed = frame_hash(deals) if deals is not None else ""
    return hashlib.sha256(f"{fingerprint} {agreed}".encode()).hexdigest()


def _stored(lake: Lake, market_date: date, slot: str) -> dict[str, str]:
    """What is known of the slot's stored negotiation; nothing where a file is missing, damaged or of another one."""
    with suppress(InputError):
        known = [lake.metadata(table, f"{market_date}|{slot}") for table in (ROUNDS, DEALS, SEGMENTS)]
        if all(found == known[0] for found in known):
            return known[0]
    return {}
