"""Which days of which meters can be used, why the others cannot, and all usable meters together, hour by hour.

A defect sets aside the meter's day, whole: an hour left out of a sum would look like a fall in consumption. Nothing is
filled in, corrected or counted as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.forecasting.from_meters import WINDOW_DAYS
from vpp_pipeline.schemas import MeteredHours, MeterQuarantine, door
from vpp_pipeline.sources.meter_faults import MEASURED, Measured, dim, gaps, late, nothing_drawn, stuck, wrong_rows

EVERY_METER = "every meter"


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


def checked(measured: Measured, market_date: date) -> Metered:
    """The usable hours of all meters together, and what was set aside."""
    calendar = pl.concat(
        market_hours(market_date - timedelta(days=back)) for back in range(WINDOW_DAYS + 1, 0, -1)
    ).select(pl.col("market_date").alias("metered_date"), "start_utc", "hour_ending")
    there = [name for name in MEASURED if name in measured.rows.columns]
    good, faults = [], [late(measured, calendar["start_utc"][0])]
    for column in there:
        hours = _numbers(measured.rows, column, calendar)
        wrong = pl.concat(
            [wrong_rows(hours, column), gaps(hours, calendar, column), stuck(hours, column), dim(hours, column)]
        )
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
    return Metered(door(MeteredHours, hours.with_columns(**stamp)), _quarantine(pl.concat(faults), market_date))


def _numbers(rows: pl.DataFrame, column: str, calendar: pl.DataFrame) -> pl.DataFrame:
    """Rows of those meters that measure ``column``: text as it was, ``kwh`` and ``size`` as numbers, the trade date."""
    kind, text = MEASURED[column], pl.col(column).str.strip_chars()
    measures = (text.fill_null("") != "").any().over("meter_id")
    size = pl.lit(1.0) if kind.per is None else pl.col(kind.per).str.strip_chars().cast(pl.Float64, strict=False)
    hour = pl.col("start_utc").dt.truncate("1h")
    found = rows.filter(measures).with_columns(
        hour=hour,
        text=pl.when(text != "").then(text),
        kwh=text.cast(pl.Float64, strict=False),
        size=size,
        size_text=pl.lit(None, pl.String) if kind.per is None else pl.col(kind.per),
    )
    dated = found.join(calendar.select("metered_date", hour="start_utc"), on="hour", how="left")
    return dated.sort("meter_id", "start_utc", "file", "row")


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
    return door(MeterQuarantine, kinds.with_columns(market_date=pl.lit(market_date)))
