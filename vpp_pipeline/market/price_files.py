"""Files of prices: finding them, reading their lines, and the two layouts, our own and a public one of CAISO's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import ClassVar

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, local_midnight_utc
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.market.price_source import PRICE_COLUMNS, complete_day, day_by_day, whole_days
from vpp_pipeline.market.synthetic_prices import NODE
from vpp_pipeline.schemas import Prices, validate

TEXT, PARQUET = (".csv", ".csv.gz"), (".parquet",)
HAS_OFFSET = r"(Z|z|[+-]\d{2}:?\d{2})$"
OUR_COLUMNS = ("start_utc", "node", *PRICE_COLUMNS)
SYNTHETIC_MARK = "# source: synthetic"


class FilePrices:
    """Prices from one file, or from all of a directory's; each layout is a subclass.

    Files are read when the source is opened and kept: a later change needs a new source.
    """

    name: str = "file"
    columns: ClassVar[dict[str, str]] = {column: column for column in OUR_COLUMNS}  #: ours -> the layout's
    naive_is_utc: ClassVar[bool] = False

    def __init__(self, path: Path, node: str | None = None) -> None:
        """Raises ``InputError`` for a path, a layout, a timestamp or a node that cannot be used."""
        self.path = path
        rows = pl.concat([self._read(file) for file in files_of(path)])
        self.node = _choose(node, rows["node"].unique().sort().to_list(), path)
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

    def _read(self, file: Path) -> pl.DataFrame:
        """``file``, ``row``, ``start_utc``, ``node`` and the prices (still as text) of one file."""
        frame, _ = read_lines(file)
        return self._rows_of(frame, file)

    def _rows_of(self, frame: pl.DataFrame, file: Path) -> pl.DataFrame:
        """Our columns out of the file's, with moments as moments."""
        missing = [column for column in self.columns.values() if column not in frame.columns]
        if missing:
            raise InputError(
                "columns missing",
                file=file,
                row=1,
                column=", ".join(missing),
                remedy=f"The layout has {', '.join(self.columns.values())}.",
            )
        if frame.is_empty():
            raise InputError("a header and no rows", file=file, remedy="Give a file with prices.")
        rows = frame.select(
            pl.lit(str(file)).alias("file"),
            "row",
            *(pl.col(theirs).alias(ours) for ours, theirs in self.columns.items()),
        )
        nameless = rows.filter(pl.col("node").is_null())
        if nameless.height:
            raise InputError(
                "a row without a node",
                file=file,
                row=nameless["row"][0],
                column=self.columns["node"],
                value=None,
                remedy="Name the node of each row.",
            )
        return rows.with_columns(moments(rows, self.columns["start_utc"], self.naive_is_utc))


def files_of(path: Path) -> list[Path]:
    """The price files at ``path``, itself or a directory, in order of name; ``InputError`` if there are none."""
    if not path.exists():
        raise InputError("no such file or directory", file=path, remedy="Check the path of the prices.")
    if path.is_file():
        return [path]
    text = sorted(file for file in path.iterdir() if file.name.endswith(TEXT))
    parquet = sorted(file for file in path.iterdir() if file.name.endswith(PARQUET))
    if bool(text) == bool(parquet):
        raise InputError(
            "a directory with both CSV and Parquet files" if text else "a directory without price files",
            file=path,
            remedy=f"Give one kind: {', '.join(TEXT)}, or {PARQUET[0]}.",
        )
    return text or parquet


def columns_of(file: Path) -> list[str]:
    """The column names of one file; ``InputError`` if it cannot be read."""
    if file.name.endswith(PARQUET):
        return read_parquet(file).columns
    return read_lines(file, header_only=True)[0].columns[1:]


def read_parquet(file: Path) -> pl.DataFrame:
    """A Parquet file; ``row`` counts its records from 1."""
    try:
        return pl.read_parquet(file).with_row_index("row", offset=1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"not a readable Parquet file: {error}", file=file, remedy="Write the file again.") from None


def read_lines(file: Path, header_only: bool = False) -> tuple[pl.DataFrame, list[str]]:
    """A CSV file (gzip or not) as text, with ``row`` = line number, and the comments above its header.

    Lines that start with ``#`` and empty lines are left out but counted. Raises ``InputError`` for a file that is not
    UTF-8 text, and for the first line with more or fewer columns than the header.
    """
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        lines = [line.rstrip("\r") for line in content.decode("utf-8-sig").split("\n")]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"not readable as text: {error}", file=file, remedy="Give CSV in UTF-8, or gzipped.") from None

    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#"))
    kept = list(islice(numbered, 1 if header_only else None))
    if not kept:
        raise InputError("an empty file", file=file, remedy="Give a file with a header and prices.")
    (header_row, header), body = kept[0], kept[1:]
    names = [name.strip('"') for name in header.split(",")]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            "a column occurs twice", file=file, row=header_row, column=", ".join(repeated), remedy="Remove one of them."
        )
    commas = header.count(",")
    for number, line in body:
        if line.count(",") != commas and '"' not in line:
            raise InputError(
                f"{line.count(',') + 1} columns where the header has {commas + 1}",
                file=file,
                row=number,
                value=line[:80],
                remedy="Give every row one value for each column.",
            )
    try:
        frame = pl.read_csv("\n".join(line for _, line in kept).encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"not readable as CSV: {error}", file=file, remedy="Check its quotes and commas.") from None
    if frame.height != len(body):
        raise InputError("quotes run over several lines", file=file, remedy="Keep each row on one line.")
    rows = pl.Series("row", [number for number, _ in body], dtype=pl.UInt32)
    return frame.drop("row", strict=False).insert_column(0, rows), [line for line in lines[: header_row - 1] if line]


def moments(rows: pl.DataFrame, column: str, naive_is_utc: bool) -> pl.Series:
    """``start_utc`` as moments; text needs an offset unless the layout says that naive is UTC."""
    given = rows["start_utc"]
    if isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone is not None:
        moments = given.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    else:
        words = given.cast(pl.String)
        offset = words.str.contains(HAS_OFFSET).fill_null(True)
        naive = rows.filter(~offset & words.str.contains(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"))
        if naive.height and not naive_is_utc:
            raise InputError(
                "a timestamp without its offset could be any of 24 hours",
                file=naive["file"][0],
                row=naive["row"][0],
                column=column,
                value=naive["start_utc"][0],
                remedy="Write UTC as 2023-08-15T07:00:00Z, or local time with its offset.",
            )
        aware = pl.select(pl.when(offset).then(words).otherwise(words + "+00:00")).to_series()
        moments = aware.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    unread = rows.filter(moments.is_null())
    if unread.height:
        raise InputError(
            "not a moment",
            file=unread["file"][0],
            row=unread["row"][0],
            column=column,
            value=unread["start_utc"][0],
            remedy="Write it as 2023-08-15T07:00:00Z.",
        )
    return moments.alias("start_utc")


def _choose(node: str | None, nodes: list[str], path: Path) -> str:
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
    """CSV (gzip or not) or Parquet with these columns; a CSV may hold comment lines that start with ``#``.

    | column | meaning |
    |---|---|
    | ``start_utc`` | start of the hour with its offset, ``2023-08-15T07:00:00Z``; without one it is refused |
    | ``node`` | pricing node |
    | ``energy_usd_per_mwh`` | energy price |
    | ``spin_usd_per_mw_h``, ``nonspin_usd_per_mw_h`` | reserve prices, $ per MW held for one hour |

    A CSV with the line ``# source: synthetic`` above its header is labelled ``synthetic (file)``; if one file of a
    directory says so, all its rows are.
    """

    def _read(self, file: Path) -> pl.DataFrame:
        if file.name.endswith(PARQUET):
            return self._rows_of(read_parquet(file), file)
        frame, comments = read_lines(file)
        if SYNTHETIC_MARK in (comment.strip() for comment in comments):
            self.name = "synthetic (file)"
        return self._rows_of(frame, file)


class CaisoFile(FilePrices):
    """One or more ``*.csv`` or ``*.csv.gz`` with the columns datetime, node, SP15, Spin, NonSpin (others are ignored).

    ``datetime`` is the start of the hour in UTC, written without an offset: that is the layout's own convention (an
    offset, where written, counts). ``SP15``, in spite of its name, is the energy price [$/MWh] at the row's ``node``.
    ``Spin`` and ``NonSpin`` are reserve prices [$/MW for an hour] summed over all reserve regions, so they overstate
    SP15 where the north binds; values above 250 are real scarcity.
    """

    name = "caiso file"
    naive_is_utc = True
    columns: ClassVar[dict[str, str]] = {
        "start_utc": "datetime",
        "node": "node",
        **{product.price_column: product.file_column for product in CAISO.products},
    }
