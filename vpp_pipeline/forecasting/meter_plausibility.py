"""Meters held against the sun and against their own sizes: faults that all meters of an export may share.

A suspicion sets a meter aside for all of its days, with the likely cause. Bounds are wide: of 17 homes of real data
(`vpp_pipeline_tests/forecasting/test_meter_plausibility.py`) none but the two broken ones passes any in a year. Each
can be overruled by `forecast.accepted_suspicions`.

| suspicion | held against |
|---|---|
| ``night`` | solar energy in hours in which the sun is down |
| ``clock`` | the hour about which solar energy is spread, against that of a clear sky |
| ``running_total`` | the meter itself: a counter hardly ever falls |
| ``level`` | solar against a clear sky and its month's clearness, load against `mean_load_kw` and its season |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import hours_of_days
from vpp_pipeline.forecasting.profiles import CLEARNESS, clear_sky, load_forecast
from vpp_pipeline.settings import ForecastSettings

MOST_AT_NIGHT = 0.02  # share of the energy; what a meter draws at night is below 0.001
MOST_AT_THE_EDGE = 0.002  # share in the hour after sunset or before sunrise; right clocks give 0.0001
MOST_LAG_OF_ALL_H = 0.7  # of three meters or more together: 15 homes with roofs of all directions are at 0.2 to 0.4
MOST_LAG_H = 2.5  # of one meter: a wall that faces west is at 2.3
LEAST_TOGETHER = 3
LEAST_OF_CLEAR = 0.1  # share of the clear sky below which a meter tells nothing of the sun
LEAST_DAYS = 3
MOST_FALLS_PER_DAY = 1.2  # a counter falls when it is set back
LEAST_RISE = 8.0  # of a day's total from the first hour to the last; the sum of 24 equal hours rises 24 times
LEAST_FILLED = 0.6  # share of hours above 0; without it an EV that is charged once a day would look like a counter
SOLAR_LEVELS = (0.4, 1.3)  # least of what the month's clearness leaves, most of the clear sky
LOAD_LEVELS_OF_ALL = (0.4, 2.5)  # median of all meters over what their sizes and the season say
LOAD_LEVELS = (0.15, 3.5)  # of one meter: the 17 homes are at 0.36 to 1.67


def suspicions(measured: Mapping[str, pl.DataFrame], days: Sequence[date], settings: ForecastSettings) -> pl.DataFrame:
    """``meter_id, column_name, problem, value, remedy`` of the first suspicion against each meter and column.

    ``measured``: by column, rows with ``meter_id``, ``site_type``, ``hour``, ``metered_date``, ``kwh`` and ``size``, of
    the market days ``days``. A clock is that of a meter, so it sets all of its columns aside; where most solar meters
    are off, all meters are.
    """
    is_energy = pl.col("kwh").is_finite() & (pl.col("kwh") >= 0)
    usable = is_energy & (pl.col("size") > 0) & pl.col("size").is_finite() & pl.col("metered_date").is_not_null()
    whole = {column: rows.filter(usable) for column, rows in measured.items()}
    counters = {column: _running_totals(rows) for column, rows in whole.items()}
    found = [_told(counters[column], column, "running_total") for column in whole]
    sky = _sky(days, settings)
    if "solar_kwh" in whole:
        sun = whole["solar_kwh"].join(counters["solar_kwh"], on="meter_id", how="anti")
        lit = sun.join(sky, left_on="hour", right_on="start_utc").with_columns(clear=pl.col("sky") * pl.col("size"))
        found.append(_told(_solar_levels(lit), "solar_kwh", "level"))
        # one wrong hour does not turn a clock
        calm = lit.with_columns(pl.min_horizontal("kwh", 2 * pl.col("kwh").quantile(0.95).over("meter_id")))
        found += [_of_all_columns(_at_night(calm), whole, "night"), _of_all_columns(_off_the_sun(calm), whole, "clock")]
    if "load_kwh" in whole:
        load = whole["load_kwh"].join(counters["load_kwh"], on="meter_id", how="anti")
        found.append(_told(_load_levels(load, days), "load_kwh", "level"))
    table = pl.concat(found).filter(~pl.col("suspicion").is_in(list(settings.accepted)))
    return table.unique(["meter_id", "column_name"], keep="first", maintain_order=True).drop("suspicion")


def _sky(days: Sequence[date], settings: ForecastSettings) -> pl.DataFrame:
    """The clear sky of each hour, the month's clearness, and whether the sun is down: just so, or for hours around."""
    place = settings.latitude_deg, settings.longitude_deg
    hours = hours_of_days(days).select("market_date", "start_utc")
    output = pl.Series(np.concatenate([clear_sky(day, *place) for day in sorted(days)]))
    clearness = pl.Series([float(CLEARNESS[day.month - 1]) for day in hours["market_date"]])
    sky, is_dark = pl.col("sky"), pl.col("sky") <= 0.0
    before, after = (is_dark & (sky.shift(step) > 0.0) for step in (-1, 1))
    return hours.with_columns(sky=output, clearness=clearness).select(
        "start_utc",
        "sky",
        "clearness",
        is_night=is_dark & ~before & ~after,
        is_before=before,
        is_after=after,
    )


def _at_night(lit: pl.DataFrame) -> pl.DataFrame:
    """Solar meters with energy while the sun is down: ``meter_id, problem, value, remedy``."""
    shares = lit.group_by("meter_id").agg(
        share=pl.col("kwh").filter("is_night").sum() / pl.col("kwh").sum(), kwh=pl.col("kwh").sum()
    )
    wrong = shares.filter((pl.col("kwh") > 0) & (pl.col("share") > MOST_AT_NIGHT))
    return wrong.select(
        "meter_id",
        problem=pl.lit("solar energy while the sun is down; its clock is probably local time written as UTC"),
        value=pl.format("{}% at night", (100 * pl.col("share")).round(0).cast(pl.Int64)),
        remedy=pl.lit("Write moments with their offset, or name the zone of local time with --timezone"),
    )


def _off_the_sun(lit: pl.DataFrame) -> pl.DataFrame:
    """Solar meters whose energy is spread about another hour than the clear sky's: one alone, or all together."""
    angle = 2 * np.pi * (pl.col("hour").dt.hour() + 0.5) / 24

    def direction(weight: pl.Expr) -> pl.Expr:
        return pl.arctan2((weight * angle.sin()).sum(), (weight * angle.cos()).sum())

    def lag_h(weight: pl.Expr) -> pl.Expr:
        return (((direction(weight) - direction(pl.col("sky"))) / (2 * np.pi) + 0.5) % 1.0 - 0.5) * 24

    kwh = pl.col("kwh")
    telling = lit.filter(kwh.sum().over("meter_id") > LEAST_OF_CLEAR * pl.col("clear").sum().over("meter_id"))
    lags = telling.group_by("meter_id").agg(
        lag=lag_h(kwh), before=kwh.filter("is_before").sum() / kwh.sum(), after=kwh.filter("is_after").sum() / kwh.sum()
    )
    alone = lags.filter(pl.col("lag").abs() > MOST_LAG_H)
    others = telling.join(alone, on="meter_id", how="anti")
    together = others.select(lag=lag_h(kwh / pl.col("size")))["lag"][0] if others.height else 0.0
    edge = pl.when(pl.col("lag") > 0).then("after").otherwise("before")
    is_off = pl.col("lag").abs() > MOST_LAG_OF_ALL_H
    rest = lags.join(alone, on="meter_id", how="anti")
    wrong = pl.concat([alone, rest.filter(is_off & (edge > MOST_AT_THE_EDGE))])
    if rest.height >= LEAST_TOGETHER and abs(together) > MOST_LAG_OF_ALL_H:
        wrong = pl.concat([alone, rest.with_columns(lag=pl.lit(together))])
    cause = (
        pl.when(pl.col("lag").is_between(0.5, 1.5))
        .then(pl.lit("the hour's end is probably written as its start, or standard time as daylight time"))
        .when(pl.col("lag").is_between(-1.5, -0.5))
        .then(pl.lit("standard time is probably read as daylight time"))
        .when(pl.col("lag").is_between(-9.0, -6.0))
        .then(pl.lit("local time is probably written as UTC"))
        .when(pl.col("lag").is_between(6.0, 9.0))
        .then(pl.lit("UTC is probably written as local time"))
        .otherwise(pl.lit("its clock is probably of another zone"))
    )
    late = pl.when(pl.col("lag") > 0).then(pl.lit("behind")).otherwise(pl.lit("ahead of"))
    return wrong.select(
        "meter_id",
        problem=pl.format("solar energy runs {} the sun; {}", late, cause),
        value=pl.format("{} hours", pl.col("lag").round(1)),
        remedy=pl.lit("Write the start of each hour with its offset, or name the zone with --timezone"),
    )


def _of_all_columns(told: pl.DataFrame, measured: Mapping[str, pl.DataFrame], name: str) -> pl.DataFrame:
    """``told`` of every column of those meters; of every meter where most solar meters are among them."""
    solar = measured["solar_kwh"]["meter_id"].n_unique()
    if told.height and 2 * told.height > solar:
        others = pl.concat(rows.select("meter_id") for rows in measured.values()).unique()
        first = told.head(1).drop("meter_id").with_columns(value=pl.format("{} solar meters of {}", told.height, solar))
        told = pl.concat([told, others.join(told, on="meter_id", how="anti").join(first, how="cross")])
    return pl.concat(
        _told(told.join(rows, on="meter_id", how="semi"), column, name) for column, rows in measured.items()
    )


def _running_totals(rows: pl.DataFrame) -> pl.DataFrame:
    """Meters whose numbers add up what came before, over a day or from the beginning."""
    step = pl.col("kwh").diff().over("meter_id")
    daily = pl.col("kwh").max() / pl.col("kwh").filter(pl.col("kwh") > 0).min()
    days = rows.sort("meter_id", "hour").with_columns(step=step).group_by("meter_id", "metered_date")
    by_day = days.agg(
        falls=(pl.col("step") < 0).sum(), rise=daily, filled=(pl.col("kwh") > 0).mean(), last=pl.col("kwh").last()
    )
    meters = by_day.sort("meter_id", "metered_date").group_by("meter_id", maintain_order=True)
    found = meters.agg(
        pl.len(),
        falls=pl.col("falls").mean(),
        rise=pl.col("rise").median(),
        filled=pl.col("filled").mean(),
        grown=pl.col("last").last() > pl.col("last").first(),
    ).filter(pl.col("len") >= LEAST_DAYS)
    is_lifetime = (pl.col("falls") == 0) & pl.col("grown")
    is_daily = (pl.col("falls") <= MOST_FALLS_PER_DAY) & (pl.col("rise") >= LEAST_RISE)
    wrong = found.filter(is_lifetime | (is_daily & (pl.col("filled") > LEAST_FILLED)))
    return wrong.select(
        "meter_id",
        problem=pl.when(is_lifetime)
        .then(pl.lit("its numbers never fall: probably the reading of a counter, not the energy of the hour"))
        .otherwise(pl.lit("its numbers fall once a day: probably a total of the day, not the energy of the hour")),
        value=pl.format("{} falls a day", pl.col("falls").round(1)),
        remedy=pl.lit("Write the difference of one reading and the next"),
    )


def _solar_levels(lit: pl.DataFrame) -> pl.DataFrame:
    """Solar meters above a clear sky on most days; all of them where the middle one is far below what months leave."""
    days = lit.group_by("meter_id", "metered_date").agg(
        of_clear=pl.col("kwh").sum() / pl.col("clear").sum(),
        of_month=pl.col("kwh").sum() / (pl.col("clear") * pl.col("clearness")).sum(),
    )
    ratios = days.group_by("meter_id").agg(pl.col("of_clear", "of_month").median()).filter(pl.col("of_clear") > 0)
    is_low = (pl.col("of_month").median() < SOLAR_LEVELS[0]) & (pl.col("of_month") < SOLAR_LEVELS[0])
    wrong = ratios.filter((pl.col("of_clear") > SOLAR_LEVELS[1]) | is_low)
    words = ("more solar energy than a clear sky gives", "a small part of the solar energy that its size gives")
    return _levels(wrong, pl.col("of_clear"), words, "solar_size_kw")


def _load_levels(rows: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
    """Load meters at odds with their yearly mean and the season: one alone, or all by the median."""
    usual = pl.concat(load_forecast(day).select("start_utc", "site_type", "load_per_mean") for day in days)
    expected = rows.join(usual, left_on=["hour", "site_type"], right_on=["start_utc", "site_type"])
    days_of = expected.group_by("meter_id", "metered_date")
    by_day = days_of.agg(ratio=pl.col("kwh").sum() / (pl.col("size") * pl.col("load_per_mean")).sum())
    ratios = by_day.group_by("meter_id").agg(pl.col("ratio").median()).filter(pl.col("ratio") > 0)
    is_off_with_all = ~pl.col("ratio").median().is_between(*LOAD_LEVELS_OF_ALL)
    wrong = ratios.filter(~pl.col("ratio").is_between(*LOAD_LEVELS) | is_off_with_all)
    words = ("far more than mean_load_kw says", "far less than mean_load_kw says")
    return _levels(wrong, pl.col("ratio"), words, "mean_load_kw")


def _levels(wrong: pl.DataFrame, ratio: pl.Expr, words: tuple[str, str], size: str) -> pl.DataFrame:
    cause = (
        pl.when(ratio.is_between(100, 10_000))
        .then(pl.lit("probably Wh instead of kWh"))
        .when(ratio.is_between(2, 8))
        .then(pl.lit("probably kW of quarter hours added up, or an hour counted four times"))
        .when(ratio.is_between(0.0001, 0.01))
        .then(pl.lit("probably MWh instead of kWh"))
        .when(ratio.is_between(0.1, 0.4))
        .then(pl.lit("probably one quarter hour of each hour"))
        .otherwise(pl.lit(f"its unit or {size} is probably wrong"))
    )
    return wrong.select(
        "meter_id",
        problem=pl.format("{}; {}", pl.when(ratio > 1).then(pl.lit(words[0])).otherwise(pl.lit(words[1])), cause),
        value=pl.format("{} times", ratio.round_sig_figs(2)),
        remedy=pl.lit(f"Write kWh of the whole hour, and look at {size}"),
    )


def _told(found: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """``found`` with its column and suspicion, and with how to accept it in the remedy."""
    remedy = pl.format("{}, or accept it: forecast.accepted_suspicions={}", "remedy", pl.lit(name))
    return found.sort("meter_id").select(
        "meter_id", "problem", "value", remedy, column_name=pl.lit(column), suspicion=pl.lit(name)
    )
