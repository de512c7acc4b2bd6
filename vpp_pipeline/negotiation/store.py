"""Negotiations kept one by one, and reused while nothing that they depend on changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Protocol

import numpy as np
import polars as pl

from vpp_pipeline.core.provenance import code_version, frame_hash
from vpp_pipeline.negotiation.negotiate import Adviser, Engine, in_blocks
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import TABLES, validate
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

MESSAGES, AGREEMENTS, SEGMENTS = "negotiation.messages", "negotiation.agreements", "negotiation.segments"
NEGOTIATED = (MESSAGES, AGREEMENTS, SEGMENTS)
STRIKES_DEALS = "negotiation.negotiate.in_blocks"  # an edit of other code leaves deals as they are


Bases = Mapping[str, Mapping[str, str]]  # opportunity -> what its negotiation rests on
Block = Callable[[Mapping[str, pl.DataFrame], Bases], None]


class Store(Protocol):
    """Where the negotiations of a market day lie, by opportunity."""

    def bases(self) -> Bases:
        """What was written beside each opportunity's rows; empty where a table is missing, damaged, or of another
        basis."""
        ...

    def writing(self, keep: Collection[str]) -> AbstractContextManager[Block]:
        """Take messages, agreements, and segments of new negotiations, block by block, each with the bases of its
        opportunities; on leaving, the store holds those and what it held of ``keep``."""
        ...

    def read(self, table: str, opportunities: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``opportunities``; all columns in the order of the key, or those named."""
        ...


class InMemory:
    """A store for one computation."""

    def __init__(self) -> None:
        self._bases: dict[str, Mapping[str, str]] = {}
        self._tables: dict[str, pl.DataFrame] = {name: TABLES[name].create_empty() for name in NEGOTIATED}

    def bases(self) -> Bases:
        """What was written beside each opportunity's rows."""
        return self._bases

    @contextmanager
    def writing(self, keep: Collection[str]) -> Iterator[Block]:
        """Take blocks of new negotiations; on leaving, the store holds those and what it held of ``keep``."""
        bases = {name: basis for name, basis in self._bases.items() if name in keep}
        parts = {table: [self.read(table, list(bases))] for table in NEGOTIATED}

        def add(tables: Mapping[str, pl.DataFrame], basis: Bases) -> None:
            bases.update(basis)
            for table in NEGOTIATED:
                parts[table].append(tables[table])

        yield add
        self._bases = bases
        self._tables = {table: validate(TABLES[table], pl.concat(rows)) for table, rows in parts.items()}

    def read(self, table: str, opportunities: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``opportunities``."""
        rows = self._tables[table]
        if set(opportunities) != set(self._bases):
            rows = rows.filter(pl.col("opportunity_id").is_in(list(opportunities)))
        return rows.select(columns) if columns else rows


def negotiate_missing(
    store: Store,
    opportunities: pl.DataFrame,
    terms: Sequence[Terms],
    policy: NegotiationPolicy,
    rules: MarketRules,
    adviser: Adviser | None = None,
    engine: Engine | None = None,
    *,
    reuse: bool = True,
    keep_others: bool = False,
) -> pl.DataFrame:
    """Negotiate every opportunity that ``store`` holds on other terms, policy, or code (all: ``reuse=False``).

    ``terms``: of all ``opportunities``, by resource.

    With an ``adviser`` all are: its advice may differ from before, and answers have a store of their own. The
    fingerprint then is of the deals as well, so that other advice is another version. ``engine``: another than the
    policy names. ``keep_others``: what is not among ``opportunities`` stays in ``store`` as it is.

    Returns one row for each of ``opportunities``: opportunity_id, slot, engine, fingerprint, seconds (its share of a
    joint negotiation), is_new.
    """
    context = f"{policy.model_dump_json()} {rules.model_dump_json()} {code_version(STRIKES_DEALS)}"
    now = {name: of for one in terms for name, of in zip(one.opportunity_id, one.fingerprints(context), strict=True)}
    state = opportunities.select("opportunity_id", "slot").with_columns(
        fingerprint=pl.Series([now[name] for name in opportunities["opportunity_id"]], dtype=pl.String),
        engine=pl.lit(policy.engine),
    )
    known, wanted = store.bases(), state["opportunity_id"].to_list()
    stored = [known.get(name, {}) if reuse and adviser is None else {} for name in wanted]
    is_new = np.array(
        [basis.get("fingerprint") != own for basis, own in zip(stored, state["fingerprint"], strict=True)], dtype=bool
    )
    kept = {name for name, new in zip(wanted, is_new, strict=True) if not new}
    if keep_others:
        kept |= known.keys() - set(wanted)
    rows = {name: row for name, *row in state.iter_rows()}
    spent: dict[str, float] = {}
    advised: dict[str, str] = {}
    if is_new.any() or kept != known.keys() or not known:
        with store.writing(kept) as add:
            begun = time.perf_counter()
            missing = [one.only(~np.isin(one.opportunity_id.astype(str), list(kept))) for one in terms]
            for block in chain.from_iterable(in_blocks(one, policy, adviser, engine) for one in missing):
                names = block.opportunity_id.tolist()
                share = (time.perf_counter() - begun) / max(1, len(names))
                deals = block.agreements.partition_by("opportunity_id", as_dict=True) if adviser else {}
                bases = {}
                for name in names:
                    slot, fingerprint, by = rows[name]
                    if adviser is not None:
                        fingerprint = _with_deals(fingerprint, deals.get((name,), block.agreements.clear()))
                        advised[name] = fingerprint
                    spent[name] = share
                    bases[name] = {
                        "opportunity_id": name,
                        "slot": slot,
                        "fingerprint": fingerprint,
                        "engine": by,
                        "seconds": repr(share),
                    }
                add({AGREEMENTS: block.agreements, SEGMENTS: block.segments, MESSAGES: block.messages}, bases)
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
