"""Market days, their hours and deadlines: what CAISO calls a trade date, and what is known when."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

PACIFIC = ZoneInfo("America/Los_Angeles")
PRODUCTS = ("energy", "spin", "nonspin")
HOURS_ENDING = tuple(range(1, 26))
SLOTS = tuple(f"{product}_he{hour:02d}" for product in PRODUCTS for hour in HOURS_ENDING)

PRICE_COLUMN = {"energy": "energy_usd_per_mwh", "spin": "spin_usd_per_mw_h", "nonspin": "nonspin_usd_per_mw_h"}


def local_midnight_utc(market_date: date) -> datetime:
    """The moment, in UTC, at which the market day begins in Pacific time."""
    return datetime.combine(market_date, time(), PACIFIC).astimezone(UTC)


def pacific_moment_utc(day: date, hour: int) -> datetime:
    """``hour``:00 Pacific of ``day``, in UTC."""
    return datetime.combine(day, time(hour), PACIFIC).astimezone(UTC)


def bid_deadline_utc(market_date: date) -> datetime:
    """Day-ahead bids close at 10:00 Pacific of the day before (a setting of CAISO's BPM for Market Operations)."""
    return pacific_moment_utc(market_date - timedelta(days=1), 10)


def prices_published_utc(market_date: date) -> datetime:
    """Day-ahead prices of ``market_date`` are published at 13:00 Pacific of the day before."""
    return pacific_moment_utc(market_date - timedelta(days=1), 13)


def market_hours(market_date: date) -> pl.DataFrame:
    """The 23, 24 or 25 hours of a market day, in order of time.

    Columns: ``market_date``; ``start_utc``; ``hour_ending``, OASIS's label (the spring day has no 3; the autumn day's
    repeated hour is 25 and lies between 2 and 3); ``local_hour`` (0-23), the Pacific clock at the hour's start.
    """
    start, end = local_midnight_utc(market_date), local_midnight_utc(market_date + timedelta(days=1))
    starts = [start + timedelta(hours=k) for k in range(round((end - start).total_seconds() / 3600))]
    local = [moment.astimezone(PACIFIC) for moment in starts]
    return pl.DataFrame(
        {
            "market_date": [market_date] * len(starts),
            "start_utc": starts,
            "hour_ending": [25 if moment.fold else moment.hour + 1 for moment in local],
            "local_hour": [moment.hour for moment in local],
        },
        schema={
            "market_date": pl.Date,
            "start_utc": pl.Datetime("us", "UTC"),
            "hour_ending": pl.Int32,
            "local_hour": pl.Int32,
        },
    )


def opportunity_id(product: str, start_utc: datetime) -> str:
    """``energy_20230815_1200``: product, Pacific date and start; the repeated autumn hour ends in ``r``."""
    local = start_utc.astimezone(PACIFIC)
    return f"{product}_{local:%Y%m%d_%H%M}{'r' if local.fold else ''}"


def slot_of(product: str, hour_ending: int) -> str:
    """The partition key of an opportunity within its day: product and OASIS hour label."""
    return f"{product}_he{hour_ending:02d}"
