"""One market day as it was published, whatever runs have left in the lake since.

A run writes its tables one by one into the slots of its day in the lake, so that a killed, failed or refused run, or an
asset made by hand, leaves a mixture there. The warehouse is swapped in whole: what reads a finished day reads it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.tables import open_warehouse, quoted

BIDS = "bids.final_bids"


class PublishedDay(Mapping[str, pl.DataFrame]):
    """Warehouse table name -> that table's rows of the day, in key order, read when asked for."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, market_date: date) -> None:
        self._connection, self.market_date = connection, market_date

    def __getitem__(self, table: str) -> pl.DataFrame:
        return self.rows(table)

    def rows(self, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows; all columns, or those named."""
        if table not in TABLES:
            raise KeyError(table)
        wanted = columns or TABLES[table].column_names()
        question = f"""
            select columns(lambda name: list_contains($wanted, name)) from {quoted(table)} where market_date = $day
            order by {", ".join(map(quoted, TABLES[table].primary_key()))}
        """
        try:
            found: pl.DataFrame = self._connection.sql(
                question, params={"wanted": wanted, "day": self.market_date}
            ).pl()
        except duckdb.CatalogException as error:
            raise NoDataError(
                f"{table} of {self.market_date} is not in the warehouse, which an older version has made: {error}",
                remedy=_again(self.market_date),
            ) from error
        return found.select(name for name in wanted if name in found.columns)  # an older table may lack some

    @property
    def run_id(self) -> str:
        """The run whose bids are published."""
        return str(self.rows(BIDS, ["run_id"])["run_id"][0])

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)


@contextmanager
def published_day(warehouse: Path, market_date: date) -> Iterator[PublishedDay]:
    """The day in the warehouse as it is now: all tables of one publication, also where another follows meanwhile.

    Raises NoDataError where no bids of the day are published, not even a refusal to bid.
    """
    with _day_in(warehouse, market_date) as day:
        if day is None:
            raise no_bids(warehouse, market_date)
        yield day


def published_rows(
    warehouse: Path, market_date: date, columns: Mapping[str, list[str] | None]
) -> dict[str, pl.DataFrame] | None:
    """These tables of the day, of each the columns named or all; None where no bids of the day are published."""
    with _day_in(warehouse, market_date) as day:
        return None if day is None else {table: day.rows(table, wanted) for table, wanted in columns.items()}


def has_bids(warehouse: Path, market_date: date) -> bool:
    """Whether bids of the day are published, a refusal to bid among them."""
    return published_rows(warehouse, market_date, {BIDS: ["run_id"]}) is not None


@contextmanager
def _day_in(warehouse: Path, market_date: date) -> Iterator[PublishedDay | None]:
    if not warehouse.is_file():
        yield None
        return
    with open_warehouse(warehouse) as connection:
        connection.execute("set timezone = 'UTC'")  # in which moments are handed out
        day = PublishedDay(connection, market_date)
        yield None if day.rows(BIDS, ["run_id"]).is_empty() else day


def no_bids(warehouse: Path, market_date: date) -> NoDataError:
    """What to say of a day that was never published, whatever a run that stopped before that left in the lake."""
    return NoDataError(
        f"the warehouse holds no bids of {market_date}",
        file=warehouse,
        remedy=f"Make the day's bids first: vpp-pipeline bids --date {market_date}",
    )


def unpublished_bids(lake: Lake, day: PublishedDay) -> str | None:
    """One paragraph where the lake holds bids of another run than the published one; None where it does not."""
    key, published = day.market_date.isoformat(), day.run_id
    if not lake.exists(BIDS, key):
        return None
    found = lake.read(BIDS, key, ["run_id"])["run_id"]
    if found.is_empty() or found[0] == published:
        return None
    return (
        f"the lake holds bids of {key} that were made by run {found[0]} and never published; they are left aside, and "
        f"what follows is of the published bids, of run {published}. To publish new bids, {_again(key, 'make')}"
    )


def _again(market_date: date | str, make: str = "Make") -> str:
    return f"{make} them with the options you want: vpp-pipeline bids --date {market_date}"
