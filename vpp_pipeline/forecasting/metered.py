"""What meters had shown by the time bids close: past hours of sun, load or charging, and which of them may be used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc, local_midnight_utc, market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.domain.forecast import ITS_ORIGINAL, REPEATED_HOUR

HOUR = timedelta(hours=1)
COLUMNS = ("market_date", "start_utc", "hour_ending", "value")


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
