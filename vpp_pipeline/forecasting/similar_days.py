"""What meters had shown by the time bids close, and load and charging as the mean of like hours of like days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import bid_deadline_utc, local_midnight_utc, market_hours, rest_days
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.forecasting.price_baseline import ITS_ORIGINAL, REPEATED_HOUR

HOUR = timedelta(hours=1)
COLUMNS = ("market_date", "start_utc", "hour_ending", "value")
PAST_DAYS = 14


def as_metered(start_utc: pl.Series, value: pl.Series) -> pl.DataFrame:
    """``market_date``, ``start_utc``, ``hour_ending`` and ``value`` of hourly means, by market day.

    ``value``: whatever the meter measured, in the unit of the forecast. Hours that no number is known for are left out.
    """
    rows = pl.DataFrame({"start_utc": start_utc, "value": value}).filter(pl.col("value").is_finite())
    if rows.is_empty():
        raise NoDataError("no metered hour", remedy="Give hourly means, each at the start of its hour.")
    moments = rows["start_utc"].sort()
    first, last = (_market_date(moment) for moment in (moments[0], moments[-1]))
    calendar = pl.concat(market_hours(first + timedelta(days=k)) for k in range((last - first).days + 1))
    return rows.join(calendar, on="start_utc").sort("start_utc").select(COLUMNS)


def known_at_deadline(metered: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """Those rows whose hour is over when the bids of ``market_date`` close, at 10:00 Pacific of the day before."""
    return metered.filter(pl.col("start_utc") + HOUR <= bid_deadline_utc(market_date))


def check_known(metered: pl.DataFrame, market_date: date) -> None:
    """Raises ``InputError`` for an hour that is not over when bids close (refused, not ignored), or for no hour."""
    late = metered.filter(pl.col("start_utc") + HOUR > bid_deadline_utc(market_date))
    if late.height:
        raise InputError(
            f"a metered hour that is not over when the bids of {market_date} close",
            column="start_utc",
            value=late["start_utc"][0],
            remedy="Use metered.known_at_deadline.",
        )
    if metered.is_empty():
        raise NoDataError(f"no metered hour before the bids of {market_date} close", remedy="Give earlier days.")


def or_last_good(
    make: Callable[[], pl.DataFrame], earlier: Callable[[date], pl.DataFrame | None], market_date: date, days: int = 7
) -> tuple[pl.DataFrame, str]:
    """The forecast that ``make`` gives, and no words; where it fails, the last good one, and words for a warning.

    ``earlier(day)``: the forecast that was kept for an earlier market day, with ``hour_ending`` and, where it has more
    rows to an hour, ``site_type``; None where there is none. Its hours are moved to those of ``market_date`` by OASIS
    label. Never zeros: raises ``NoDataError`` where none of the ``days`` before has a forecast either.
    """
    try:
        return make(), ""
    except InputError as error:
        for back in range(1, days + 1):
            day = market_date - timedelta(days=back)
            kept = earlier(day)
            if kept is not None:
                return _moved(kept, market_date), f"the forecast of {day} stands in for {market_date}: {error}"
        raise NoDataError(
            f"no forecast for {market_date} nor for the {days} days before: {error}",
            remedy="Repair what is named, or see docs/meters.md.",
        ) from error


def _moved(kept: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """Rows of another day at the hours of ``market_date``; hour 25 is hour 2 again, and a missing 3 is hour 2's too."""
    hours = market_hours(market_date).drop("local_hour")
    lacks = set(hours["hour_ending"]) - set(kept["hour_ending"])
    stand_ins = dict.fromkeys(lacks & {REPEATED_HOUR, ITS_ORIGINAL + 1}, ITS_ORIGINAL)
    like = pl.col("hour_ending").replace(stand_ins)
    rest = kept.drop("market_date", "start_utc")
    moved = hours.with_columns(like=like).join(rest, left_on="like", right_on="hour_ending", how="inner").drop("like")
    keys = [name for name in ("site_type", "start_utc") if name in moved.columns]
    return moved.sort(keys).select(kept.columns)


def _market_date(moment: datetime) -> date:
    day = moment.date()
    return day if local_midnight_utc(day) <= moment else day - timedelta(days=1)


def like_hours(metered: pl.DataFrame, market_date: date, days: int = PAST_DAYS) -> Array:
    """What is expected in each hour (T,) of ``market_date``, in the meter's unit: load or charging, kW or kWh per hour.

    The mean of the same hour over the last ``days`` days that are alike: working days, or Saturdays, Sundays and
    holidays. An hour that no such day has (hour ending 3 after spring's clock change) takes the mean of all days, and
    hour ending 25 that of the hour it repeats.

    ``metered``: rows of :func:`as_metered` known when bids close; for most hours D-2
    is the youngest. Raises ``InputError`` for a later row, and for an hour that no day has: never a silent zero.
    """
    check_known(metered, market_date)
    recent = metered.filter(pl.col("market_date") >= market_date - timedelta(days=days + 1))
    dates = recent["market_date"].unique().sort().to_list()
    kind = pl.DataFrame({"market_date": dates, "is_rest": rest_days(dates)}, schema_overrides={"market_date": pl.Date})
    alike = recent.join(kind, on="market_date").filter(pl.col("is_rest") == bool(rest_days([market_date])[0]))
    value, like = pl.col("value").mean(), pl.col("hour_ending").replace(REPEATED_HOUR, ITS_ORIGINAL)
    hours = market_hours(market_date).with_columns(hour=like)
    for mean in (
        alike.group_by(hour="hour_ending").agg(alike=value),
        recent.group_by(hour="hour_ending").agg(any=value),
    ):
        hours = hours.join(mean, on="hour", how="left", maintain_order="left")
    expected: Array = hours.select(pl.coalesce("alike", "any")).to_series().cast(pl.Float64).to_numpy()
    if not np.isfinite(expected).all():
        missing = hours["hour_ending"].to_list()[int(np.flatnonzero(~np.isfinite(expected))[0])]
        raise NoDataError(
            f"no metered day before {market_date} has this hour",
            column="hour_ending",
            value=missing,
            remedy="Give whole days.",
        )
    return expected
