"""Files of prices that hold all three prices of an hour in one row: our own layout and a public one of CAISO's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, local_midnight_utc
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.table_cells import moments
from vpp_pipeline.core.table_file import TableFile, read_tables
from vpp_pipeline.market.price_source import PRICE_COLUMNS, complete_day, day_by_day, whole_days
from vpp_pipeline.market.synthetic_prices import NODE
from vpp_pipeline.schemas import Prices, validate

OUR_COLUMNS = ("start_utc", "node", *PRICE_COLUMNS)
SYNTHETIC_MARK = "# source: synthetic"


class FilePrices:
    """Prices from one file, or from all of a directory's; each layout is a subclass.

    Files are read when the source is opened and kept: a later change needs a new source.
    """

    name: str = "file"
    columns: ClassVar[dict[str, str]] = {column: column for column in OUR_COLUMNS}  #: ours -> the layout's
    naive_zone: ClassVar[str | None] = None  #: of moments without an offset, where nobody names one

    def __init__(
        self,
        path: Path,
        node: str | None = None,
        tables: Sequence[TableFile] | None = None,
        time_zone: str | None = None,
    ) -> None:
        """``tables``: those of the path, where they are read already; ``time_zone``: of moments without an offset.

        Raises ``InputError`` for a path, a layout, a timestamp or a node that cannot be used.
        """
        self.path = path
        rows = pl.concat(
            self._rows_of(table.whole(), time_zone or self.naive_zone)
            for table in (read_tables(path, "prices") if tables is None else tables)
        )
        self.node = choose_node(node, rows["node"].unique().sort().to_list(), path)
        self._rows = rows.filter(pl.col("node") == self.node)
        self._days: dict[date, pl.DataFrame] = {}  # those that were asked for: a back-test asks for each 400 times

    @classmethod
    def recognises(cls, columns: Sequence[str]) -> bool:
        """Whether a file with these columns is meant to be of this layout: it has its start and one of its prices."""
        start, _, *prices = cls.columns.values()
        return start in columns and any(price in columns for price in prices)

    def day(self, market_date: date) -> pl.DataFrame:
        """Rows of ``market.prices``; see ``PriceSource.day``."""
        if market_date not in self._days:
            self._days[market_date] = self._day(market_date)
        return self._days[market_date]

    def days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Rows of ``market.prices`` of those of the days that there are; see ``PriceSource.days``."""
        there = [day for day in wanted if day in self._market_dates]
        new = [day for day in there if day not in self._days]
        self._days.update(whole_days(self._rows, new, self.node, self.name))
        return day_by_day(self, there)

    @cached_property
    def _market_dates(self) -> list[date]:
        """The market days that the file has rows of, in order."""
        local = self._rows["start_utc"].dt.convert_time_zone(str(PACIFIC)).dt.date()
        return local.unique().sort().to_list()

    def _day(self, market_date: date) -> pl.DataFrame:
        start, end = local_midnight_utc(market_date), local_midnight_utc(market_date + timedelta(days=1))
        rows = self._rows.filter(pl.col("start_utc").is_between(start, end, closed="left"))
        if rows.is_empty():
            local = self._market_dates
            raise NoDataError(
                f"no prices of {self.node} for market day {market_date}",
                file=self.path,
                remedy=f"It holds {local[0]} to {local[-1]}; choose a day of these or add the day's prices.",
            )
        return validate(
            Prices,
            complete_day(rows, market_date, self.path, self.columns).with_columns(
                node=pl.lit(self.node), source=pl.lit(self.name)
            ),
        )

    def _rows_of(self, table: TableFile, time_zone: str | None) -> pl.DataFrame:
        """``file``, ``row``, ``start_utc``, ``node`` and the prices (still as text) of one table."""
        missing = [column for column in self.columns.values() if column not in table.rows.columns]
        if missing:
            raise InputError(
                "columns missing",
                file=table.name,
                row=table.header_row,
                column=", ".join(missing),
                remedy=f"The layout has {', '.join(self.columns.values())}.",
            )
        if table.rows.is_empty():
            raise InputError("a header and no rows", file=table.name, remedy="Give a file with prices.")
        prices = [self.columns[column] for column in PRICE_COLUMNS]
        rows = table.with_decimal_points(prices).numbered.select(
            "file",
            "row",
            *(_bare(theirs, table.rows.schema[theirs]).alias(ours) for ours, theirs in self.columns.items()),
        )
        nameless = rows.filter(pl.col("node").is_null())
        if nameless.height:
            raise InputError(
                "a row without a node",
                file=table.name,
                row=nameless["row"][0],
                column=self.columns["node"],
                value=None,
                remedy="Name the node of each row.",
            )
        if SYNTHETIC_MARK in (comment.strip() for comment in table.comments):
            self.name = "synthetic (file)"
        return rows.with_columns(moments(rows, self.columns["start_utc"], time_zone, ["node"]))


def _bare(name: str, kind: pl.DataType) -> pl.Expr:
    """A column's cells without the blanks around them; empty where there is nothing else."""
    if kind != pl.String:
        return pl.col(name)
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text)


def choose_node(node: str | None, nodes: list[str], path: Path) -> str:
    """The node asked for; else the only one there is; else SP15."""
    wanted = node if node is not None else nodes[0] if len(nodes) == 1 else NODE
    if wanted not in nodes:
        raise InputError(
            "the prices do not have this node",
            file=path,
            column="node",
            value=wanted,
            remedy=f"The nodes there are: {', '.join(nodes[:20])}{' …' if len(nodes) > 20 else ''}.",
        )
    return wanted


class PriceTable(FilePrices):
    """Our own layout.

    | column | meaning |
    |---|---|
    | ``start_utc`` | start of the hour with its offset, ``2023-08-15T07:00:00Z``, or in a zone that is named |
    | ``node`` | pricing node |
    | ``energy_usd_per_mwh`` | energy price |
    | ``spin_usd_per_mw_h``, ``nonspin_usd_per_mw_h`` | reserve prices, $ per MW held for one hour |

    A CSV with the line ``# source: synthetic`` above its header is labelled ``synthetic (file)``; if one file of a
    directory says so, all its rows are.
    """


class CaisoFile(FilePrices):
    """The columns datetime, node, SP15, Spin, NonSpin (others are ignored).

    ``datetime`` is the start of the hour in UTC, written without an offset: that is the layout's own convention (an
    offset, where written, and a zone that is named, go before it). ``SP15``, in spite of its name, is the energy price
    [$/MWh] at the row's ``node``. ``Spin`` and ``NonSpin`` are reserve prices [$/MW for an hour] summed over all
    reserve regions, so they overstate SP15 where the north binds; values above 250 are real scarcity.
    """

    name = "caiso file"
    naive_zone = "UTC"
    columns: ClassVar[dict[str, str]] = {
        "start_utc": "datetime",
        "node": "node",
        **{product.price_column: product.file_column for product in CAISO.products},
    }
