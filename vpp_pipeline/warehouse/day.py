"""One market day's tables, read from the lake when asked for: as the run under way needs them.

A finished day is read as it was published (`published.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, SCHEDULE_BEFORE
from vpp_pipeline.schemas import TABLES, Agreements, door
from vpp_pipeline.warehouse.published import published_rows

#: lake tables with a file per opportunity: the words, who is in or out, and each round at a glance
ROUNDS, DEALS, SEGMENTS = "negotiation.rounds", "negotiation.deals", "negotiation.segments"
SCHEDULE = "dispatch.schedule"
LLM_CALLS = "negotiation.llm_calls"
#: what a settlement makes, from what was published
SETTLED = ("evaluation.dispatched", "evaluation.settlement", "evaluation.settled_days")
#: warehouse table -> the lake table whose files of the day it joins
BY_SLOT = {"negotiation.messages": ROUNDS, SEGMENTS: SEGMENTS}
#: tables with a file per run that published: the day's runs are kept beside each other
BY_RUN = ("bids.runs", "bids.run_bids")


_SCHEMA = TABLES | {DEALS: Agreements}


def warehouse_of(lake: Lake) -> Path:
    """Where the lake's days are published."""
    return lake.root.with_name("vpp.duckdb")


class LakeDay(Mapping[str, pl.DataFrame]):
    """Warehouse table name -> that table's rows of one day. Raises NoDataError for a table not made yet."""

    def __init__(self, lake: Lake, market_date: date) -> None:
        self._lake, self._day = lake, market_date.isoformat()
        self._read: dict[str, pl.DataFrame] = {}

    def __getitem__(self, table: str) -> pl.DataFrame:
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
        day = LakeDay(self._lake, date.fromisoformat(self._day))
        day._read = self._read | dict(made)
        return day

    def _rows(self, table: str) -> pl.DataFrame:
        if table in BY_SLOT:
            return self.joined(table)
        if table in BY_RUN:
            return self._lake.read_many(table, self._lake.partitions(table, self._day))
        return self._lake.read(table, self._day)

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

    def joined(self, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of all of the day's opportunities, which lie in one file each; all columns, or those named."""
        keys = [f"{self._day}|{slot}" for slot in self["market.opportunities"]["slot"]]
        rows = self._lake.read_many(BY_SLOT.get(table, table), keys, columns)
        return rows if columns else door(_SCHEMA[table], rows)

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)
