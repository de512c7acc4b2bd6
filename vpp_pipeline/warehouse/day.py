"""One market day's tables, read from the lake when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import polars as pl

from vpp_pipeline.schemas import TABLES, Messages, door
from vpp_pipeline.warehouse.lake import Lake

ROUNDS = "negotiation.rounds"


class LakeDay(Mapping[str, pl.DataFrame]):
    """Warehouse table name -> that table's rows of one day. Raises NoDataError for a table not made yet."""

    def __init__(self, lake: Lake, market_date: date) -> None:
        self._lake, self._day = lake, market_date.isoformat()
        self._read: dict[str, pl.DataFrame] = {}

    def __getitem__(self, table: str) -> pl.DataFrame:
        if table not in TABLES:
            raise KeyError(table)
        if table not in self._read:
            self._read[table] = (
                self._messages() if table == "negotiation.messages" else self._lake.read(table, self._day)
            )
        return self._read[table]

    def _messages(self) -> pl.DataFrame:
        """The messages of all of the day's opportunities, which lie in one file each."""
        slots = self["market.opportunities"]["slot"]
        return door(Messages, self._lake.read_many(ROUNDS, [f"{self._day}|{slot}" for slot in slots]))

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)
