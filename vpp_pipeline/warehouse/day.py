"""One market day's tables, read from the lake when asked for: as the run under way needs them.

A finished day is read as it was published (`published.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, SCHEDULE_BEFORE
from vpp_pipeline.schemas import TABLES, validate
from vpp_pipeline.warehouse.published import published_rows

SCHEDULE = "dispatch.schedule"
LLM_CALLS = "negotiation.llm_calls"
#: what a settlement makes, from what was published
SETTLED = ("evaluation.dispatched", "evaluation.deliveries", "evaluation.settlement", "evaluation.settled_days")
#: table of a negotiation -> the lake table with a file per opportunity; messages are written last
NEGOTIATED = {
    "negotiation.agreements": "negotiation.deals",
    "negotiation.segments": "negotiation.segments",
    "negotiation.messages": "negotiation.rounds",
}
#: warehouse table -> the lake table whose files of the day it joins; agreements are a file of the day as well
BY_SLOT = {table: file for table, file in NEGOTIATED.items() if table != "negotiation.agreements"}
#: large table -> its column of sentences, three quarters of what it takes in memory
WORDS = {"negotiation.agreements": "reason"}
#: tables with a file per run that published: the day's runs are kept beside each other
BY_RUN = ("bids.runs", "bids.run_bids")
Files = tuple[tuple[str, int, int, int], ...]  # path, inode, time of writing, bytes


def warehouse_of(lake: Lake) -> Path:
    """Where the lake's days are published."""
    return lake.root.with_name("vpp.duckdb")


class LakeDay(Mapping[str, pl.DataFrame]):
    """Warehouse table name -> that table's rows of one day. Raises NoDataError for a table not made yet.

    ``figures_only``: without the columns of WORDS.
    """

    def __init__(self, lake: Lake, market_date: date, *, figures_only: bool = False) -> None:
        self._lake, self._day, self._figures_only = lake, market_date.isoformat(), figures_only
        self._read: dict[str, pl.DataFrame] = {}
        #: table that was asked for -> its files then; None for what is not made of files of this day
        self.rests_on: dict[str, Files | None] = {}

    def __getitem__(self, table: str) -> pl.DataFrame:
        if table not in self._read:
            self.rests_on.setdefault(table, self.files(table))
        if table == SCHEDULE_BEFORE:
            return self._schedule_before()
        if table == LLM_CALLS_BEFORE:
            return self._llm_calls_before()
        if table not in TABLES:
            raise KeyError(table)
        if table not in self._read:
            self._read[table] = self._rows(table)
        return self._read[table]

    def holding(self, made: Mapping[str, pl.DataFrame]) -> LakeDay:
        """The same day with tables that were ``made`` and are not written yet."""
        day = LakeDay(self._lake, date.fromisoformat(self._day), figures_only=self._figures_only)
        day._read = self._read | dict(made)
        return day

    def files(self, table: str) -> Files | None:
        """What tells the files of ``table`` from any others, as they are now; None for what is of other days or runs.

        A file is only ever replaced, never written to.
        """
        if table not in TABLES or table in BY_RUN:
            return None
        source, keys = (
            (BY_SLOT[table], self._lake.partitions(BY_SLOT[table], self._day))
            if table in BY_SLOT
            else (
                table,
                [self._day],
            )
        )
        paths = [self._lake.path(source, key) for key in keys if self._lake.exists(source, key)]
        return tuple((str(path), (now := path.stat()).st_ino, now.st_mtime_ns, now.st_size) for path in paths)

    def _rows(self, table: str) -> pl.DataFrame:
        if table in BY_SLOT:
            slots = self["market.opportunities"]["slot"].to_list()
            return LakeNegotiations(self._lake, date.fromisoformat(self._day)).read(table, slots)
        if table in BY_RUN:
            return self._lake.read_many(table, self._lake.partitions(table, self._day))
        if self._figures_only and table in WORDS:
            figures = [name for name in self._lake.schema(table, self._day) if name != WORDS[table]]
            return self._lake.read(table, self._day, figures)
        return self._lake.read(table, self._day)

    def hash(self, table: str) -> str:
        """The `frame_hash` of the table's file, read column by column."""
        return self._lake.hash(table, self._day)

    def _schedule_before(self) -> pl.DataFrame:
        """That of the bids published for the day before. Raises KeyError where there are none."""
        before = date.fromisoformat(self._day) - timedelta(days=1)
        found = published_rows(warehouse_of(self._lake), before, {SCHEDULE: None})
        if found is None or found[SCHEDULE].is_empty():
            raise KeyError(SCHEDULE_BEFORE)
        return found[SCHEDULE]

    def _llm_calls_before(self) -> pl.DataFrame:
        """Raises KeyError where no day before asked a model."""
        for day in reversed(self._lake.partitions(LLM_CALLS)):
            if day < self._day and not (calls := self._lake.read(LLM_CALLS, day)).is_empty():
                return calls
        raise KeyError(LLM_CALLS_BEFORE)

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)


@dataclass(frozen=True)
class LakeNegotiations:
    """A day's negotiations in the lake, three files per opportunity: a `Store` of `negotiation/store.py`."""

    lake: Lake
    market_date: date

    def basis(self, slot: str) -> Mapping[str, str]:
        """What the slot's stored negotiation rests on; empty where a file is missing, damaged, or of another basis."""
        with suppress(InputError):
            known = [self.lake.metadata(table, self._key(slot)) for table in NEGOTIATED.values()]
            if all(found == known[0] for found in known):
                return known[0]
        return {}

    def write(self, slot: str, tables: Mapping[str, pl.DataFrame], basis: Mapping[str, str]) -> None:
        """Write or replace the slot's three files."""
        for table, file in NEGOTIATED.items():
            self.lake.write(file, self._key(slot), tables[table], basis)

    def read(self, table: str, slots: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``slots``, each of which must have been written; all columns, or those named."""
        rows = self.lake.read_many(NEGOTIATED[table], map(self._key, slots), columns)
        return rows if columns else validate(TABLES[table], rows)

    def _key(self, slot: str) -> str:
        return f"{self.market_date}|{slot}"
