"""Small warehouses for tests of views: tables with a few rows whose columns are written by hand."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.shared import shared
from vpp_pipeline_tests.warehouse.rows import DAY, rows

SLOT = "energy_he13"


def _publish_nothing(folder: Path) -> None:
    publish(Lake(folder / "lake"), folder / "vpp.duckdb", DAY)


class Made:
    """A lake and its warehouse below ``folder``; tables are published when they are asked."""

    def __init__(self, folder: Path) -> None:
        self._lake, self._warehouse, self._days = Lake(folder / "lake"), folder / "vpp.duckdb", {DAY}

    def table(self, name: str, market_date: date = DAY, **columns: list[Any]) -> None:
        """Rows of a table: what is named, and any values in the other columns."""
        kinds = {column: kind.dtype for column, kind in TABLES[name].columns().items()}
        count = len(next(iter(columns.values())))
        frame = rows(name, market_date, count).with_columns(
            pl.Series(column, values, dtype=kinds[column]) for column, values in columns.items()
        )
        if name == "market.opportunities":
            frame = frame.with_columns(slot=pl.lit(SLOT))
        self._lake.write(name, market_date, frame)
        self._days.add(market_date)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """The answer of the published warehouse."""
        if not self._warehouse.exists():
            shutil.copy(shared("empty", _publish_nothing) / self._warehouse.name, self._warehouse)
        for day in sorted(self._days):
            publish(self._lake, self._warehouse, day)
        with open_warehouse(self._warehouse) as connection:
            return connection.execute(question).fetchall()
