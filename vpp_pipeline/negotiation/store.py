"""Negotiations kept one by one, and reused while nothing that they depend on changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from vpp_pipeline.core.provenance import code_version, frame_hash
from vpp_pipeline.negotiation.negotiate import Adviser, Engine, in_blocks
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import TABLES, validate
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

MESSAGES, AGREEMENTS, SEGMENTS = "negotiation.messages", "negotiation.agreements", "negotiation.segments"


class Store(Protocol):
    """Where the negotiations of a market day lie, by the slot of their opportunity."""

    def basis(self, slot: str) -> Mapping[str, str]:
        """What was written beside the slot's tables; empty where a table is missing, damaged, or of another basis."""
        ...

    def write(self, slot: str, tables: Mapping[str, pl.DataFrame], basis: Mapping[str, str]) -> None:
        """Keep the slot's messages, agreements, and segments; ``basis`` tells what they rest on."""
        ...

    def read(self, table: str, slots: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``slots``; all columns in the order of the key, or those named."""
        ...


class InMemory:
    """A store for one computation."""

    def __init__(self) -> None:
        self._basis: dict[str, Mapping[str, str]] = {}
        self._tables: dict[str, Mapping[str, pl.DataFrame]] = {}

    def basis(self, slot: str) -> Mapping[str, str]:
        """What was written beside the slot's tables; empty before."""
        return self._basis.get(slot, {})

    def write(self, slot: str, tables: Mapping[str, pl.DataFrame], basis: Mapping[str, str]) -> None:
        """Keep the slot's tables."""
        self._tables[slot], self._basis[slot] = tables, basis

    def read(self, table: str, slots: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``slots``."""
        schema = TABLES[table]
        rows = pl.concat([schema.create_empty(), *(self._tables[slot][table] for slot in slots)])
        return rows.select(columns) if columns else validate(schema, rows)


def negotiate_missing(
    store: Store,
    opportunities: pl.DataFrame,
    terms: Terms,
    policy: NegotiationPolicy,
    rules: MarketRules,
    adviser: Adviser | None = None,
    engine: Engine | None = None,
    *,
    reuse: bool = True,
) -> pl.DataFrame:
    """Negotiate every opportunity that ``store`` holds on other terms, policy, or code (all: ``reuse=False``).

    With an ``adviser`` all are: its advice may differ from before, and answers have a store of their own. The
    fingerprint then is of the deals as well, so that other advice is another version. ``engine``: another than the
    policy names.

    Returns one row for each of ``opportunities``: opportunity_id, slot, engine, fingerprint, seconds (its share of a
    joint negotiation), is_new.
    """
    context = f"{policy.model_dump_json()} {rules.model_dump_json()} {code_version()}"
    state = opportunities.select("opportunity_id", "slot").with_columns(
        fingerprint=pl.Series(terms.fingerprints(context), dtype=pl.String), engine=pl.lit(policy.engine)
    )
    reuse = reuse and adviser is None
    stored = [store.basis(slot) if reuse else {} for slot in state["slot"]]
    is_new = np.array(
        [basis.get("fingerprint") != now for basis, now in zip(stored, state["fingerprint"], strict=True)], dtype=bool
    )
    rows = {name: row for name, *row in state.iter_rows()}
    spent: dict[str, float] = {}
    advised: dict[str, str] = {}
    begun = time.perf_counter()
    for block in in_blocks(terms.only(is_new), policy, adviser, engine) if is_new.any() else ():
        names = block.opportunity_id.tolist()
        share = (time.perf_counter() - begun) / len(names)
        tables = {AGREEMENTS: block.agreements, SEGMENTS: block.segments, MESSAGES: block.messages}
        parts = {table: frame.partition_by("opportunity_id", as_dict=True) for table, frame in tables.items()}
        for name in names:
            slot, fingerprint, by = rows[name]
            own = {table: parts[table].get((name,), frame.clear()) for table, frame in tables.items()}
            if adviser is not None:
                fingerprint = advised[name] = _with_deals(fingerprint, own[AGREEMENTS])
            store.write(slot, own, {"fingerprint": fingerprint, "engine": by, "seconds": repr(share)})
            spent[name] = share
        begun = time.perf_counter()
    seconds = [
        spent[name] if name in spent else float(basis["seconds"])
        for name, basis in zip(state["opportunity_id"], stored, strict=True)
    ]
    versions = [advised.get(name, version) for name, version in state.select("opportunity_id", "fingerprint").rows()]
    return state.with_columns(
        fingerprint=pl.Series(versions, dtype=pl.String),
        seconds=pl.Series(seconds, dtype=pl.Float64),
        is_new=pl.Series(is_new, dtype=pl.Boolean),
    )


def _with_deals(fingerprint: str, deals: pl.DataFrame) -> str:
    """``fingerprint`` and what was agreed in one hash."""
    agreed = "" if deals.is_empty() else frame_hash(deals)
    return hashlib.sha256(f"{fingerprint} {agreed}".encode()).hexdigest()
