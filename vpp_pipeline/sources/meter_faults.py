"""What can be wrong with metered hours, each fault with its place, what was found there, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from vpp_pipeline.forecasting.from_meters import WINDOW_DAYS

LEAST_WHOLE_DAY = 23  # hours
LEAST_SHARE = 0.5  # of the middle meter; among 15 good ones of Fontana the least was 0.74 in any four weeks
LEAST_BESIDE = 3  # meters that tell what is usual
MOST_KWH = 1_000_000.0


@dataclass(frozen=True)
class Kind:
    """A column of metered energy: what it is about, what it is measured against, and the most that can be true."""

    quantity: str
    per: str | None  # column of the size that the energy is told against
    most_per_size: float


MEASURED = {
    "solar_kwh": Kind("solar", "solar_size_kw", 1.5),  # a panel gives a little more than its rating, never half more
    "load_kwh": Kind("load", "mean_load_kw", 50.0),
    "charging_kwh": Kind("charging", None, MOST_KWH),
}


@dataclass(frozen=True)
class Measured:
    """Rows as they were read, as text; the newest hour of each meter and column, however old; what made the file."""

    rows: pl.DataFrame
    newest: pl.DataFrame
    source: str


_FAULT_KINDS = {
    **dict.fromkeys(("meter_id", "site_type"), pl.String()),
    "metered_date": pl.Date(),
    **dict.fromkeys(("column_name", "problem", "file"), pl.String()),
    "row": pl.UInt32(),
    **dict.fromkeys(("value", "remedy"), pl.String()),
}
_FAULT = tuple(_FAULT_KINDS)
_PLACE = ("meter_id", "site_type", "metered_date", "file", "row")


def _faults(rows: pl.DataFrame, column: str, problem: str, value: pl.Expr, remedy: str) -> pl.DataFrame:
    """A fault of ``column`` for each row, which has its place: what is wrong, what was found, what to do."""
    told = {"column_name": pl.lit(column), "problem": pl.lit(problem), "value": value, "remedy": pl.lit(remedy)}
    return rows.select(*_PLACE, **told).select(_FAULT)


def wrong_rows(hours: pl.DataFrame, column: str) -> pl.DataFrame:
    """One row for each fault of each row, the first that holds."""
    kind, kwh, size = MEASURED[column], pl.col("kwh"), pl.col("size")
    rules = [
        (pl.col("start_utc") != pl.col("hour"), "not the start of an hour", "start_utc", "Give sums of whole hours"),
        (
            ~pl.col("start_utc").is_first_distinct().over("meter_id"),
            "the hour occurs twice",
            "start_utc",
            "Remove one of the rows",
        ),
        (
            ~pl.col("site_type").is_in(["home", "business"]).fill_null(False),
            "neither home nor business",
            "site_type",
            "Write home or business",
        ),
        (
            pl.col("text").is_null(),
            "empty, where other hours of the meter are not",
            column,
            "Leave the whole hour out where nothing was metered, never 0",
        ),
        (kwh.is_null(), "not a number", column, "Correct the number"),
        (~kwh.is_finite(), "not finite", column, "Correct the number"),
        (kwh < 0, "less than 0", column, "Give energy as positive numbers, each in a column of its own"),
        (
            ~(size.is_finite() & (size > 0)).fill_null(False),
            "needs a size above 0",
            kind.per or column,
            "Write the installed kW, or the site's yearly mean kW",
        ),
        (
            kwh > kind.most_per_size * size,
            f"more than {kind.most_per_size:g} times what the size says",
            column,
            "Correct the unit: kWh in the hour",
        ),
    ]
    told = pl.coalesce(
        pl.when(broken).then(pl.struct(problem=pl.lit(problem), at=pl.lit(at), remedy=pl.lit(remedy)))
        for broken, problem, at, remedy in rules
    )
    found = hours.with_columns(fault=told).filter(pl.col("fault").is_not_null()).unnest("fault")
    value = (
        pl.when(pl.col("at") == "start_utc")
        .then(pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .when(pl.col("at") == "site_type")
        .then("site_type")
        .when(pl.col("at") == column)
        .then("text")
        .otherwise("size_text")
    )
    told_as = pl.when(pl.col("at") == column).then("problem").otherwise(pl.format("{}: {}", "at", "problem"))
    return found.select(
        "meter_id",
        "site_type",
        "metered_date",
        "file",
        "row",
        "remedy",
        column_name=pl.lit(column),
        problem=told_as,
        value=value,
    ).select(_FAULT)


def gaps(hours: pl.DataFrame, calendar: pl.DataFrame, column: str) -> pl.DataFrame:
    """Hours between a meter's first and last that it does not have; the row given is the one before."""
    spans = hours.group_by("meter_id").agg(
        pl.col("site_type").first(), first=pl.col("hour").min(), last=pl.col("hour").max()
    )
    wanted = spans.join(calendar, how="cross").filter(pl.col("start_utc").is_between("first", "last"))
    missing = wanted.join(hours.select("meter_id", start_utc="hour"), on=["meter_id", "start_utc"], how="anti")
    before = hours.select("meter_id", "file", "row", start_utc="hour").sort("start_utc")
    near = missing.sort("start_utc").join_asof(before, on="start_utc", by="meter_id", check_sortedness=False)
    problem = "an hour is missing; the row given is the one before"
    value = pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return _faults(near, column, problem, value, "Add the hour, or leave the meter's day out")


def stuck(hours: pl.DataFrame, column: str) -> pl.DataFrame:
    """Whole days that no working meter shows: one number all day, for the sun nothing all day. EVs may stay away."""
    days = hours.group_by("meter_id", "metered_date").agg(
        pl.col("site_type", "file", "row", "text").first(),
        pl.len(),
        low=pl.col("kwh").min(),
        high=pl.col("kwh").max(),
    )
    still = (pl.col("len") >= LEAST_WHOLE_DAY) & (pl.col("low") == pl.col("high"))
    if column == "charging_kwh":
        still &= pl.col("high") > 0
    rows = days.filter(still).sort("meter_id", "metered_date")
    problem, remedy = (
        "the same number in every hour of a day",
        "Look at the meter; leave out the days on which it stood still",
    )
    return _faults(rows, column, problem, pl.col("text"), remedy)


def dim(hours: pl.DataFrame, column: str) -> pl.DataFrame:
    """Every day of a solar meter that shows, per kW, less than half of what the middle one of all meters does."""
    per_kw = hours.group_by("meter_id").agg(per_kw=pl.col("kwh").sum() / pl.col("size").sum())
    if MEASURED[column].quantity != "solar" or per_kw.height < LEAST_BESIDE:
        return pl.DataFrame(schema=_FAULT_KINDS)
    share = per_kw.with_columns(share=pl.col("per_kw") / pl.col("per_kw").median())
    poor = hours.join(share.filter(pl.col("share") < LEAST_SHARE), on="meter_id")
    days = poor.group_by("meter_id", "metered_date").agg(pl.col("site_type", "file", "row", "share").first())
    percent = pl.format("{} %", (100 * pl.col("share")).round(0).cast(pl.Int64))
    problem, remedy = (
        "less than half the output per kW of other meters",
        "Look at the meter, the inverter and solar_size_kw",
    )
    return _faults(days.sort("meter_id", "metered_date"), column, problem, percent, remedy)


def late(measured: Measured, first: datetime) -> pl.DataFrame:
    """Meters whose newest hour lies before all that is looked at."""
    old = measured.newest.filter(pl.col("newest") < first)
    return old.select(
        "meter_id",
        "site_type",
        "column_name",
        metered_date=pl.lit(None, pl.Date),
        file=pl.lit(None, pl.String),
        row=pl.lit(None, pl.UInt32),
        problem=pl.lit(f"no hour in the {WINDOW_DAYS} days before"),
        value=pl.format("newest {}", pl.col("newest").dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
        remedy=pl.lit("Deliver its newer hours, or take it out"),
    ).select(_FAULT)


def nothing_drawn(usable: pl.DataFrame, column: str) -> pl.DataFrame:
    """That no meter charged anything at all, told at the first row."""
    problem = f"no meter has shown anything in {WINDOW_DAYS} days"
    remedy = "Look at the meters; without charging there is no mean to tell it by"
    return _faults(usable.head(1), column, problem, pl.col("text"), remedy)
