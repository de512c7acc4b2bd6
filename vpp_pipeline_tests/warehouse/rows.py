"""Rows of any table for tests: plain values of the declared types, not meant to make sense; and what is found again."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.tables import open_warehouse

DAY = date(2023, 8, 15)
NEXT_DAY = date(2023, 8, 16)
RUN = "run"


def rows(table: str, market_date: date = DAY, n: int = 3) -> pl.DataFrame:
    """``n`` rows of ``table`` on ``market_date``."""
    schema = TABLES[table]
    start = datetime.combine(market_date, time(7), UTC)
    values: dict[type[pl.DataType], list[object]] = {
        pl.Date: [market_date] * n,
        pl.Datetime: [start + timedelta(hours=k) for k in range(n)],
        pl.Int32: list(range(1, n + 1)),
        pl.Int64: list(range(1, n + 1)),
        pl.Float64: [k / 4 for k in range(n)],
        pl.Boolean: [k % 2 == 0 for k in range(n)],
        pl.String: [f"row_{k}" for k in range(n)],
    }
    types = {name: column.dtype for name, column in schema.columns().items()}
    return pl.DataFrame({name: values[dtype.base_type()] for name, dtype in types.items()}, schema=types)


def fill(lake: Lake, market_date: date = DAY, n: int = 3) -> None:
    """Commit ``n`` rows of every table of the day."""
    files = {table: lake.put(table, market_date, rows(table, market_date, n)) for table in TABLES}
    lake.commit(market_date, "filled", lambda _: files, run_id=RUN)


def days(warehouse: Path, table: str = "bids.final_bids") -> dict[date, int]:
    """Rows of ``table`` in the warehouse, by market day."""
    with open_warehouse(warehouse) as connection:
        found = connection.execute(f"select market_date, count(*) from {table} group by all order by all").fetchall()
    return dict(found)


def beside(warehouse: Path) -> set[str]:
    """Names of the files in the warehouse's folder."""
    return {path.name for path in warehouse.parent.iterdir()}
