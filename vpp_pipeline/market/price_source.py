"""What a source of prices is, the check that one day of it is complete, and how one is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Protocol

import polars as pl

from vpp_pipeline.core.calendar import PRICE_COLUMN, hours_of_days, market_hours, prices_published_utc
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.schemas import Prices, validate
from vpp_pipeline.schemas.columns import PRICE_LIMIT_USD_PER_MWH

PRICE_COLUMNS = tuple(PRICE_COLUMN.values())


class PriceSource(Protocol):
    """Day-ahead prices of one node, a market day at a time."""

    @property
    def name(self) -> str:
        """What the ``source`` column of ``market.prices`` says."""

    @property
    def node(self) -> str:
        """The pricing node."""

    def day(self, market_date: date) -> pl.DataFrame:
        """Rows of ``schemas.Prices`` for all 23, 24 or 25 hours of the day.

        Raises ``NoDataError`` if the source has nothing for the day and ``InputError`` if what it has is wrong.
        """

    def days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Those of the days that the source has, as :meth:`day` gives each; errors as there, without ``NoDataError``.

        A source may read all of them in one pass: a forecast learns from two years of days.
        """


def day_by_day(source: PriceSource, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
    """:meth:`PriceSource.days` by asking for each."""
    found = {}
    for day in wanted:
        with suppress(NoDataError):
            found[day] = source.day(day)
    return found


def whole_days(frame: pl.DataFrame, wanted: Sequence[date], node: str, source: str) -> dict[date, pl.DataFrame]:
    """Rows of ``market.prices`` of those of the days that are whole in ``frame``, in one pass.

    ``frame``: as for :func:`complete_day`, of one node. A day is whole where that function accepts it, with the same
    rows; of another it says what is wrong.
    """
    if not wanted:
        return {}
    numbers = [_numbers(frame[column]).alias(column) for column in PRICE_COLUMNS]
    rows = frame.select("start_utc", *numbers).with_columns(hour=pl.col("start_utc").dt.truncate("1h"))
    calendar = hours_of_days(wanted)
    joined = calendar.join(rows, left_on="start_utc", right_on="hour", how="left", maintain_order="left")
    is_one = pl.col("start_utc").eq_missing(pl.col("start_utc_right")) & pl.col("start_utc").is_unique()
    is_whole = (is_one & pl.all_horizontal(_is_price(pl.col(column)) for column in PRICE_COLUMNS)).all()
    kept = joined.filter(is_whole.over("market_date"))
    published = pl.col("market_date").replace_strict(
        {day: prices_published_utc(day) for day in wanted}, return_dtype=pl.Datetime("us", "UTC")
    )
    named = kept.with_columns(node=pl.lit(node), source=pl.lit(source), published_utc=published)
    return {day: rows for (day,), rows in validate(Prices, named).group_by("market_date", maintain_order=True)}


def complete_day(
    frame: pl.DataFrame, market_date: date, file: object, names: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """One day's rows, checked against the market's calendar: exactly its hours, in order, with numbers for prices.

    ``frame`` has ``start_utc`` (an aware moment) and the three prices, as numbers or as the text of a file; where
    known also ``row``, the line in the file (header = line 1), ``file`` and ``node``. ``names`` gives the file's
    own column names for messages. Returns the calendar's columns, the prices as numbers and ``published_utc``.

    Raises ``InputError`` naming file, row, column and value; nothing is ever repaired.
    """
    named = dict(names or {})
    _check_columns(frame, file, named)
    rows = frame if "row" in frame.columns else frame.with_row_index("row", offset=2)
    rows = rows if "file" in rows.columns else rows.with_columns(file=pl.lit(str(file)))

    calendar = market_hours(market_date)
    start = named.get("start_utc", "start_utc")
    _check_hours(rows, calendar, market_date, start)
    checked = [_as_numbers(rows, column, named.get(column, column)) for column in PRICE_COLUMNS]
    return calendar.join(
        rows.select("start_utc", *checked), on="start_utc", how="left", maintain_order="left"
    ).with_columns(published_utc=pl.lit(prices_published_utc(market_date)))


def _check_columns(frame: pl.DataFrame, file: object, named: Mapping[str, str]) -> None:
    """Columns are there, time is aware, and there is one node."""
    missing = [named.get(column, column) for column in ("start_utc", *PRICE_COLUMNS) if column not in frame.columns]
    if missing:
        raise InputError(
            f"columns missing among {', '.join(frame.columns)}",
            file=file,
            row=1,
            column=", ".join(missing),
            remedy="Add or rename the columns.",
        )
    kind = frame.schema["start_utc"]
    if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
        raise InputError(
            "a start without a time zone could be any of 24 hours",
            file=file,
            row=frame["row"][0] if "row" in frame.columns and frame.height else None,
            column=named.get("start_utc", "start_utc"),
            value=frame["start_utc"][0] if frame.height else kind,
            remedy="Write it with its offset, for example 2023-08-15T07:00:00Z.",
        )
    if "node" in frame.columns and frame["node"].n_unique() > 1:
        found = frame["node"].unique(maintain_order=True)
        other = frame.filter(pl.col("node") != found[0])
        raise InputError(
            f"one day's rows belong to {len(found)} nodes",
            file=file,
            row=other["row"][0] if "row" in frame.columns and other.height else None,
            column=named.get("node", "node"),
            value=", ".join(str(node) for node in found),
            remedy="Choose one node.",
        )


def _check_hours(rows: pl.DataFrame, calendar: pl.DataFrame, market_date: date, column: str) -> None:
    """Every hour of the day occurs, once, and nothing else does."""
    starts = calendar["start_utc"].to_list()
    strange = rows.filter(~pl.col("start_utc").is_in(starts).fill_null(False))
    if strange.height:
        raise InputError(
            f"not the start of an hour of market day {market_date}, which runs from {starts[0]:%Y-%m-%dT%H:%MZ} for "
            f"{len(starts)} hours",
            **_place(strange, column, strange["start_utc"][0]),
            remedy="Give hourly prices, each at the start of its hour.",
        )
    twice = rows.filter(~pl.col("start_utc").is_first_distinct())
    if twice.height:
        start = twice["start_utc"][0]
        first = rows.filter(pl.col("start_utc") == start)
        raise InputError(
            f"the hour occurs twice on market day {market_date}, first in row {first['row'][0]} of {first['file'][0]}",
            **_place(twice, column, f"{start:%Y-%m-%dT%H:%M:%SZ}"),
            remedy="Remove one of the rows.",
        )
    gaps = calendar.join(rows, on="start_utc", how="anti", maintain_order="left")
    if gaps.height:
        start = gaps["start_utc"][0]
        before = rows.filter(pl.col("start_utc") < start).sort("start_utc").tail(1)
        nearest = before if before.height else rows.sort("start_utc").head(1)
        raise InputError(
            f"market day {market_date} has {len(starts)} hours, {gaps.height} missing, first hour ending "
            f"{gaps['hour_ending'][0]}; the row given is the nearest one there is",
            **_place(nearest, column, f"{start:%Y-%m-%dT%H:%M:%SZ}"),
            remedy="Add a row for each missing hour, or leave the day out.",
        )


def _as_numbers(rows: pl.DataFrame, column: str, name: str) -> pl.Series:
    """The prices of one column as finite numbers within the sanity bound."""
    values = _numbers(rows[column])
    wrong = ~pl.select(_is_price(values)).to_series()
    if wrong.any():
        first = rows.filter(wrong)
        value, number = first[column][0], values.filter(wrong)[0]
        if value is None:
            problem = "the price is empty"
        elif number is None:
            problem = "the price is not a number"
        elif number != number or abs(number) == float("inf"):
            problem = "the price is not finite"
        else:
            problem = f"the price is beyond ±${PRICE_LIMIT_USD_PER_MWH:,.0f}/MWh, more than any CAISO cap"
        raise InputError(
            problem, **_place(first, name, value), remedy="Correct the number in the file, or leave the whole day out."
        )
    return values.alias(column)


def _numbers(given: pl.Series) -> pl.Series:
    """Numbers, or the text of a file as numbers; null where it is none."""
    return (given if given.dtype.is_numeric() else given.cast(pl.String)).cast(pl.Float64, strict=False)


def _is_price(values: pl.Series | pl.Expr) -> pl.Expr:
    """Whether each is a finite number within the sanity bound."""
    numbers = pl.lit(values) if isinstance(values, pl.Series) else values
    return (numbers.is_finite() & (numbers.abs() <= PRICE_LIMIT_USD_PER_MWH)).fill_null(False)


def _place(rows: pl.DataFrame, column: str, value: object) -> dict[str, object]:
    """Where a message points: the first of ``rows``."""
    there = rows.height > 0
    return {
        "file": rows["file"][0] if there else None,
        "row": rows["row"][0] if there else None,
        "column": column,
        "value": value,
    }
