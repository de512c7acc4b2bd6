"""Which days of which meters can be used, why the others cannot, and all usable meters together, hour by hour.

A defect sets aside the meter's day, whole: an hour left out of a sum would look like a fall in consumption. Nothing is
filled in, corrected or counted as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.forecasting.meter_plausibility import suspicions
from vpp_pipeline.forecasting.metered import WINDOW_DAYS
from vpp_pipeline.schemas import MeteredHours, MeterQuarantine, validate
from vpp_pipeline.settings import ForecastSettings

EVERY_METER = "every meter"
LEAST_WHOLE_DAY = 23  # hours
LEAST_SHARE = 0.5  # of the middle meter; among 15 good ones of Fontana the least was 0.74 in any four weeks
LEAST_BESIDE = 3  # meters that tell what is usual
MOST_KWH = 1_000_000.0


@dataclass(frozen=True)
class Metered:
    """Rows of `market.metered_hours` and `market.meter_quarantine` of one market day."""

    hours: pl.DataFrame = field(default_factory=MeteredHours.create_empty)
    quarantine: pl.DataFrame = field(default_factory=MeterQuarantine.create_empty)

    def measures(self, quantity: str) -> bool:
        """Whether a meter is there for it, be it one that cannot be used; so too where nothing can be read at all."""
        return self._aside(quantity).height > 0 or bool((self.hours["quantity"] == quantity).any())

    @property
    def is_unreadable(self) -> bool:
        """Whether the source was set aside whole, so that nothing is known of what it measures."""
        return bool((self.quarantine["meter_id"] == EVERY_METER).any())

    def sites(self, quantity: str) -> set[str]:
        """Kinds of sites with a meter of the quantity, be it one that cannot be used."""
        hours = self.hours.filter(pl.col("quantity") == quantity)["site_type"]
        return {*hours, *self._aside(quantity)["site_type"].drop_nulls()}

    def why_not(self, quantity: str) -> str:
        """The first reason why a meter of the quantity is set aside; nothing where none is."""
        aside = self._aside(quantity)
        return f"{aside['meter_id'][0]}: {aside['problem'][0]}" if aside.height else ""

    def _aside(self, quantity: str) -> pl.DataFrame:
        columns = [name for name, kind in MEASURED.items() if kind.quantity == quantity]
        of_it = pl.col("column_name").is_in(columns) | (pl.col("meter_id") == EVERY_METER)
        return self.quarantine.filter(of_it)


def checked(measured: Measured, market_date: date, settings: ForecastSettings | None = None) -> Metered:
    """The usable hours of all meters together, and what was set aside."""
    calendar = pl.concat(
        market_hours(market_date - timedelta(days=back)) for back in range(WINDOW_DAYS + 1, 0, -1)
    ).select(pl.col("market_date").alias("metered_date"), "start_utc", "hour_ending")
    there = [name for name in MEASURED if name in measured.rows.columns]
    good, faults = [], [late(measured, calendar["start_utc"][0])]
    rows = {column: _numbers(measured.rows, column, calendar) for column in there}
    hourly = {column: whole_hours(part) for column, part in rows.items()}
    days = calendar["metered_date"].unique().sort().to_list()
    suspected = suspicions(hourly, days, settings or ForecastSettings())
    for column, hours in hourly.items():
        found = [
            wrong_rows(rows[column], column),
            gaps(hours, calendar, column),
            stuck(hours, column),
            dim(hours, column),
        ]
        mine = suspected.filter(column_name=column)
        plain = pl.concat(found).join(mine, on="meter_id", how="anti")  # what a suspicion implies of hours is not told
        wrong = pl.concat([plain, _every_day(mine, hours)])
        faults.append(wrong)
        usable = hours.join(
            wrong.select("meter_id", "metered_date").unique(), on=["meter_id", "metered_date"], how="anti"
        )
        together = _together(usable, column, market_date)
        good.append(together)
        if usable.height and together.is_empty():
            faults.append(nothing_drawn(usable, column))
    hours = pl.concat(good).join(calendar, on="start_utc")
    stamp = {"market_date": pl.lit(market_date), "source": pl.lit(measured.source)}
    return Metered(validate(MeteredHours, hours.with_columns(**stamp)), _quarantine(pl.concat(faults), market_date))


def _numbers(rows: pl.DataFrame, column: str, calendar: pl.DataFrame) -> pl.DataFrame:
    """Rows of those meters that measure ``column``: text as it was, ``kwh`` and ``size`` as numbers, the trade date."""
    kind, text = MEASURED[column], pl.col(column).str.strip_chars()
    measures = (text.fill_null("") != "").any().over("meter_id")
    size = pl.lit(1.0) if kind.per is None else pl.col(kind.per).str.strip_chars().cast(pl.Float64, strict=False)
    hour = pl.col("start_utc").dt.truncate("1h")
    found = rows.filter(measures).with_columns(
        hour=hour,
        step_min=_step_min(),
        text=pl.when(text != "").then(text),
        kwh=text.cast(pl.Float64, strict=False),
        size=size,
        size_text=pl.lit(None, pl.String) if kind.per is None else pl.col(kind.per),
    )
    dated = found.join(calendar.select("metered_date", hour="start_utc"), on="hour", how="left")
    return dated.sort("meter_id", "start_utc", "file", "row")


def _step_min() -> pl.Expr:
    """Minutes between the rows of a meter: 60 unless it has, throughout, each part of an hour that is cut evenly."""
    minute = pl.col("start_utc").dt.minute()
    parts = minute.n_unique().over("meter_id")
    is_even = (minute % (60 // parts) == 0).all().over("meter_id")
    is_throughout = ((minute > 0).mean() > 0.5 * (1 - 1 / minute.n_unique())).over("meter_id")
    return pl.when(parts.is_in([2, 3, 4, 6, 12]) & is_even & is_throughout).then(60 // parts).otherwise(60)


def whole_hours(rows: pl.DataFrame) -> pl.DataFrame:
    """The same with the parts of each hour added up; an hour that lacks a part is left out, as if it were missing."""
    parted = rows.filter(pl.col("step_min") < 60)
    if parted.is_empty():
        return rows
    first = [name for name in rows.columns if name not in ("meter_id", "hour", "start_utc", "kwh", "text")]
    hours = parted.group_by("meter_id", "hour", maintain_order=True).agg(
        *(pl.col(name).first() for name in first),
        kwh=pl.when(pl.col("kwh").is_not_null().all()).then(pl.col("kwh").sum()),
        count=pl.col("start_utc").n_unique(),  # a row that occurs twice has been told
    )
    whole = hours.filter(pl.col("count") * pl.col("step_min") == 60)
    summed = whole.with_columns(start_utc="hour", text=pl.col("kwh").cast(pl.String)).select(rows.columns)
    return pl.concat([rows.filter(pl.col("step_min") == 60), summed]).sort("meter_id", "start_utc", "file", "row")


def _every_day(suspected: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
    """A fault for every day of the meters that are suspected."""
    days = hours.group_by("meter_id", "metered_date").agg(pl.col("site_type", "file", "row").first())
    return suspected.join(days, on="meter_id").sort("meter_id", "metered_date").select(_FAULT)


def _together(usable: pl.DataFrame, column: str, market_date: date) -> pl.DataFrame:
    """Energy of all meters over the size (for charging: the mean hour) of those that have the hour."""
    kind = MEASURED[column]
    if column == "charging_kwh":
        whole = usable.filter(pl.col("metered_date") < market_date - timedelta(days=1))
        mean = whole.group_by("meter_id").agg(mean=pl.col("kwh").mean())
        usable = usable.join(mean, on="meter_id").with_columns(size="mean")
    site = pl.col("site_type") if kind.quantity == "load" else pl.lit("all")
    sums = usable.group_by("start_utc", site.alias("site_type")).agg(
        kwh=pl.col("kwh").sum(), size=pl.col("size").sum(), meters=pl.len().cast(pl.Int32)
    )
    told = sums.filter(pl.col("size") > 0).sort("site_type", "start_utc")
    return told.select(
        "start_utc",
        "site_type",
        quantity=pl.lit(kind.quantity),
        metered_per_unit=pl.col("kwh") / pl.col("size"),
        meters="meters",
    )


def _quarantine(faults: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """Rows of `market.meter_quarantine`: each kind of fault of each meter once, with the first place."""
    told = faults.sort("metered_date", "file", "row", nulls_last=True, maintain_order=True)
    kinds = told.group_by("meter_id", "column_name", "problem", maintain_order=True).agg(
        site_type=pl.col("site_type").first(),
        first_date=pl.col("metered_date").first(),
        days=pl.col("metered_date").n_unique().cast(pl.Int32),
        file=pl.col("file").first().map_elements(file_name, return_dtype=pl.String),
        file_row=pl.col("row").first().cast(pl.Int32),
        value=pl.col("value").first(),
        remedy=pl.col("remedy").first(),
    )
    return validate(MeterQuarantine, kinds.with_columns(market_date=pl.lit(market_date)))


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
        (
            (pl.col("start_utc").dt.minute() % pl.col("step_min") > 0) | (pl.col("start_utc").dt.second() > 0),
            "not the start of an hour",
            "start_utc",
            "Give sums of whole hours, or of all quarter hours",
        ),
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
            kwh > kind.most_per_size * size * pl.col("step_min") / 60,
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
    problem = "an hour is missing, or a part of it; the row given is the one before"
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
    percent = pl.format("{}%", (100 * pl.col("share")).round(0).cast(pl.Int64))
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
