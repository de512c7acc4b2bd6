"""Negotiations in the lake: one file of messages per opportunity, reused while nothing it depends on changes."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.domain.negotiation import negotiate
from vpp_pipeline.domain.terms import Terms
from vpp_pipeline.errors import InputError
from vpp_pipeline.provenance import code_version
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline.warehouse.day import ROUNDS
from vpp_pipeline.warehouse.lake import Lake


def negotiate_missing(
    lake: Lake,
    market_date: date,
    opportunities: pl.DataFrame,
    terms: Terms,
    policy: NegotiationPolicy,
    rules: MarketRules,
    *,
    reuse: bool = True,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Negotiate every opportunity whose stored messages rest on other terms, policy or code (all: ``reuse=False``).

    Returns the messages of all ``opportunities``, and one row for each: opportunity_id, slot, engine, fingerprint,
    seconds (its share of a joint negotiation), is_new.
    """
    context = f"{policy.model_dump_json()} {rules.model_dump_json()} {code_version()}"
    state = opportunities.select("opportunity_id", "slot").with_columns(
        fingerprint=pl.Series(terms.fingerprints(context), dtype=pl.String), engine=pl.lit(policy.engine)
    )
    stored = [_stored(lake, market_date, slot) if reuse else {} for slot in state["slot"]]
    is_new = np.array(
        [seen.get("fingerprint") != now for seen, now in zip(stored, state["fingerprint"], strict=True)], dtype=bool
    )

    begun = time.perf_counter()
    new = opportunities.filter(pl.Series(is_new, dtype=pl.Boolean))
    fresh = negotiate(terms.only(is_new), new, policy)
    share = (time.perf_counter() - begun) / max(1, new.height)
    messages = dict(zip(new["opportunity_id"], _split(fresh, new["opportunity_id"]), strict=True))
    seconds, frames = [], []
    for (name, slot, fingerprint, engine), seen in zip(state.iter_rows(), stored, strict=True):
        partition = f"{market_date}|{slot}"
        if name in messages:
            metadata = {"fingerprint": fingerprint, "engine": engine, "seconds": repr(share)}
            lake.write(ROUNDS, partition, messages[name], metadata)
            frames.append(messages[name])
        else:
            frames.append(lake.read(ROUNDS, partition))
        seconds.append(share if name in messages else float(seen["seconds"]))
    rows = state.with_columns(seconds=pl.Series(seconds, dtype=pl.Float64), is_new=pl.Series(is_new, dtype=pl.Boolean))
    return pl.concat(frames) if frames else fresh, rows


def _stored(lake: Lake, market_date: date, slot: str) -> dict[str, str]:
    """What is known of the slot's stored messages; nothing where there are none, or the file is damaged."""
    with suppress(InputError):
        return lake.metadata(ROUNDS, f"{market_date}|{slot}")
    return {}


def _split(messages: pl.DataFrame, names: pl.Series) -> list[pl.DataFrame]:
    """Messages by opportunity, in the order of ``names``; empty tables for those where nobody spoke."""
    parts = messages.partition_by("opportunity_id", as_dict=True)
    return [parts.get((name,), messages.clear()) for name in names]
