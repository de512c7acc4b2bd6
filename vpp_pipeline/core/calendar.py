"""Market days, their hours, deadlines, holidays and regimes: what CAISO calls a trade date, and what is known when.

Owners' hours and days as they write them, `0-7, 21-23` and `sat, sun, 2023-12-25`, become whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.caiso import CAISO, Regime
from vpp_pipeline.core.errors import InputError

PACIFIC = CAISO.time_zone
PRODUCTS = CAISO.names
HOURS_ENDING = CAISO.hour_labels
SLOTS = tuple(f"{product}_he{hour:02d}" for product in PRODUCTS for hour in HOURS_ENDING)

PRICE_COLUMN = {product.name: product.price_column for product in CAISO.products}
HISTORY_DAYS = 7
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LEAST_DAYS = 3
GENERATED = "synthetic"  # sources whose name begins so imitate one market on all days: no regime parts them


def local_midnight_utc(market_date: date) -> datetime:
    """The moment, in UTC, at which the market day begins in Pacific time."""
    return datetime.combine(market_date, time(), PACIFIC).astimezone(UTC)


def pacific_moment_utc(day: date, hour: int) -> datetime:
    """``hour``:00 Pacific of ``day``, in UTC."""
    return datetime.combine(day, time(hour), PACIFIC).astimezone(UTC)


def _day_before_utc(market_date: date, clock: time) -> datetime:
    """The moment, in UTC, at which the market's clock shows ``clock`` on the day before ``market_date``."""
    return datetime.combine(market_date - timedelta(days=1), clock, PACIFIC).astimezone(UTC)


def bid_deadline_utc(market_date: date) -> datetime:
    """Day-ahead bids close at 10:00 Pacific of the day before (a setting of CAISO's BPM for Market Operations)."""
    return _day_before_utc(market_date, CAISO.bids_close)


def prices_published_utc(market_date: date) -> datetime:
    """Day-ahead prices of ``market_date`` are published at 13:00 Pacific of the day before."""
    return _day_before_utc(market_date, CAISO.prices_published)


def outlook_published_utc(market_date: date) -> datetime:
    """OASIS' forecast of solar and wind, the last of the system's to come, is out at 7:00 Pacific of the day before."""
    return _day_before_utc(market_date, CAISO.outlook_published)


def market_hours(market_date: date) -> pl.DataFrame:
    """The 23, 24 or 25 hours of a market day, in order of time.

    Columns: ``market_date``; ``start_utc``; ``hour_ending``, OASIS's label (the spring day has no 3; the autumn day's
    repeated hour is 25 and lies between 2 and 3); ``local_hour`` (0-23), the Pacific clock at the hour's start.

    >>> market_hours(date(2024, 11, 3)).select("hour_ending", "local_hour").head(4).rows()
    [(1, 0), (2, 1), (25, 1), (3, 2)]
    >>> [market_hours(day).height for day in (date(2024, 3, 10), date(2024, 7, 1), date(2024, 11, 3))]
    [23, 24, 25]
    """
    start, end = local_midnight_utc(market_date), local_midnight_utc(market_date + timedelta(days=1))
    starts = [start + timedelta(hours=k) for k in range(round((end - start).total_seconds() / 3600))]
    local = [moment.astimezone(PACIFIC) for moment in starts]
    return pl.DataFrame(
        {
            "market_date": [market_date] * len(starts),
            "start_utc": starts,
            "hour_ending": [HOURS_ENDING[-1] if moment.fold else moment.hour + 1 for moment in local],
            "local_hour": [moment.hour for moment in local],
        },
        schema={
            "market_date": pl.Date,
            "start_utc": pl.Datetime("us", "UTC"),
            "hour_ending": pl.Int32,
            "local_hour": pl.Int32,
        },
    )


def hours_of_days(days: Sequence[date]) -> pl.DataFrame:
    """The hours of all of ``days`` in order of time, as :func:`market_hours` has those of each; in one pass.

    >>> days = [date(2024, 11, 3), date(2024, 3, 10)]
    >>> hours_of_days(days).equals(pl.concat(market_hours(day) for day in sorted(days)))
    True
    """
    first, last = min(days), max(days)
    end = local_midnight_utc(last + timedelta(days=1))
    start = pl.datetime_range(local_midnight_utc(first), end, "1h", closed="left", time_unit="us", time_zone="UTC")
    local = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC))
    hours = pl.select(start_utc=start).select(
        local.dt.date().alias("market_date"), "start_utc", local_hour=local.dt.hour().cast(pl.Int32)
    )
    is_repeated = ~pl.struct("market_date", "local_hour").is_first_distinct()
    label = pl.when(is_repeated).then(HOURS_ENDING[-1]).otherwise(pl.col("local_hour") + 1).cast(pl.Int32)
    wanted = hours.filter(pl.col("market_date").is_in(list(days)))
    return wanted.select("market_date", "start_utc", label.alias("hour_ending"), "local_hour")


def opportunity_id(product: str, start_utc: datetime, resource_id: str | None = None) -> str:
    """``energy_20230815_1200``: product, Pacific date and start; the repeated autumn hour ends in ``r``.

    ``resource_id``: of the resource, where it is not the desk's single one; it ends the name.

    >>> opportunity_id("energy", datetime(2023, 8, 15, 19, tzinfo=UTC))
    'energy_20230815_1200'
    >>> opportunity_id("spin", datetime(2024, 11, 3, 9, tzinfo=UTC))
    'spin_20241103_0100r'
    >>> opportunity_id("energy", datetime(2023, 8, 15, 19, tzinfo=UTC), "north")
    'energy_20230815_1200_north'
    """
    local = start_utc.astimezone(PACIFIC)
    resource = "" if resource_id is None else f"_{resource_id}"
    return f"{product}_{local:%Y%m%d_%H%M}{'r' if local.fold else ''}{resource}"


def slot_of(product: str, hour_ending: int) -> str:
    """The partition key of an opportunity within its day: product and OASIS hour label."""
    return f"{product}_he{hour_ending:02d}"


@cache
def holidays(year: int) -> frozenset[date]:
    """The six off-peak holidays of the North American Electric Reliability Corporation; Sunday's are kept on Monday."""
    fixed = (date(year, 1, 1), date(year, 7, 4), date(year, 12, 25))
    observed = {day + timedelta(days=1) if day.weekday() == 6 else day for day in fixed}
    memorial = date(year, 5, 31) - timedelta(days=date(year, 5, 31).weekday())
    labour = date(year, 9, 1) + timedelta(days=-date(year, 9, 1).weekday() % 7)
    first = date(year, 11, 1)
    thanksgiving = first + timedelta(days=(3 - first.weekday()) % 7 + 21)
    return frozenset(observed | {memorial, labour, thanksgiving})


def rest_days(days: Sequence[date]) -> Flags:
    """(N,): Saturdays, Sundays and holidays."""
    return np.array([day.weekday() >= 5 or day in holidays(day.year) for day in days], dtype=bool)


def history_dates(market_date: date, days: int = HISTORY_DAYS) -> list[date]:
    """The market days whose prices a forecast for ``market_date`` may use: D-``days`` to D-1, by default seven."""
    return [market_date - timedelta(days=back) for back in range(days, 0, -1)]


def regime_of(market_date: date) -> Regime:
    """The rules that the market day was bought under."""
    return next(regime for regime in reversed(CAISO.regimes) if regime.first_day <= market_date)


def comparable(days: Sequence[date], market_date: date, source: str) -> list[date]:
    """Those of ``days`` that are of the market day's regime; all of them where ``source`` is generated."""
    if source.startswith(GENERATED):
        return list(days)
    return [day for day in days if regime_of(day) == regime_of(market_date)]


def note_on_source(source: str) -> str:
    """What to say of bids that rest on prices which no market has published; empty for others.

    >>> note_on_source("synthetic (file)"), note_on_source("OASIS")
    ('the prices are synthetic: no market has published them, and bids that rest on them are for trial alone', '')
    """
    words = "the prices are synthetic: no market has published them, and bids that rest on them are for trial alone"
    return words if source.startswith(GENERATED) else ""


def note_on(days: Sequence[date], market_date: date, source: str) -> str:
    """Why some of ``days`` do not count, in words; empty where all do."""
    left_out = sorted(set(days) - set(comparable(days, market_date, source)))
    if not left_out:
        return ""
    later = max(regime_of(left_out[-1]), regime_of(market_date), key=lambda regime: regime.first_day)
    return (
        f"{len(left_out)} days of another market regime than {market_date} do not count "
        f"({left_out[0]} to {left_out[-1]}): since {later.first_day}, {later.change}"
    )


def check_one_regime(prices: pl.DataFrame, market_date: date) -> None:
    """Raises ``InputError`` if rows of ``market.prices`` are of another regime than the market day that they serve.

    For every function that learns from past prices: a forecast, scenarios, a back-test, a model's training.
    """
    for (source,), rows in prices.group_by("source"):
        days: list[date] = rows["market_date"].unique().sort().to_list()
        note = note_on(days, market_date, str(source))
        if note:
            raise InputError(
                note,
                column="market_date",
                value=" to ".join(map(str, (days[0], days[-1]))),
                remedy=f"Use days of one regime: {regime_of(market_date).name}",
            )


def between(clock: Array, start: Array, end: Array) -> Flags:
    """Whether the clock lies in [start, end), which may run past midnight; never where ``start`` is negative."""
    wraps = start > end
    inside: Flags = np.where(wraps, (clock >= start) | (clock < end), (clock >= start) & (clock < end))
    return inside & (start >= 0)


def hour_flags(windows: pl.Series, clock: Array) -> Flags:
    """(N, T): whether each Pacific hour of ``clock`` (T,) lies in one of the owner's windows; no text, no window."""
    return _by_text(windows, len(clock), lambda text: _any_window(text, clock))


def day_flags(days: pl.Series, market_date: date) -> Flags:
    """(N,): whether the owner's days name ``market_date``, by its weekday or its date."""
    names = {WEEKDAYS[market_date.weekday()], market_date.isoformat()}
    return _by_text(days, 1, lambda text: np.array([not names.isdisjoint(_parts(text))]))[:, 0]


def _by_text(texts: pl.Series, width: int, flags_of: Callable[[str], Flags]) -> Flags:
    """(N, width): ``flags_of`` each text, worked out once for each text that occurs; none of an empty one."""
    if texts.null_count() == len(texts):
        return np.zeros((len(texts), width), dtype=bool)
    known = texts.unique().drop_nulls()
    table = np.vstack([*(flags_of(text) for text in known), np.zeros(width, dtype=bool)])
    places = texts.replace_strict(
        known, pl.int_range(len(known), eager=True), default=len(known), return_dtype=pl.Int64
    )
    return np.asarray(table[places.fill_null(len(known)).to_numpy()], dtype=bool)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _any_window(text: str, clock: Array) -> Flags:
    inside = np.zeros(len(clock), dtype=bool)
    for window in _parts(text):
        start, end = (np.asarray(float(hour)) for hour in window.split("-"))
        inside |= between(clock, start, end)
    return inside
