"""What a price model looks at: each day's 24 hours, seen from 10:00 the day before; the last price known is D-1's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN, rest_days
from vpp_pipeline.domain.forecast import ITS_ORIGINAL

HOURS = 24
LAG_DAYS = 28  # the oldest price that a day's features look at
DECAY = 0.6  # weight of a day in the decayed mean, relative to the day after it
DECAY_DAYS = 14
NOON, EVENING = slice(10, 15), slice(18, 22)  # hours by their start, Pacific


def day_table(history: pl.DataFrame, last: date) -> tuple[list[date], Array]:
    """Every day from the first of ``history`` to ``last``, and its prices (N, 24, 3) by OASIS label; NaN where unknown.

    The hour that the spring day lacks is the one before it; the autumn day's repeated hour is left out.
    """
    first = history["market_date"].min()
    assert isinstance(first, date)
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    prices = np.full((len(days), HOURS + 1, len(PRICE_COLUMN)), np.nan)
    row = (history["market_date"] - first).dt.total_days().to_numpy()
    prices[row, history["hour_ending"].to_numpy() - 1] = history.select(PRICE_COLUMN.values()).to_numpy()
    missing = np.isnan(prices[:, ITS_ORIGINAL])
    prices[:, ITS_ORIGINAL] = np.where(missing, prices[:, ITS_ORIGINAL - 1], prices[:, ITS_ORIGINAL])
    return days, prices[:, :HOURS]


def decayed_mean(prices: Array) -> Array:
    """For each day (N, 24, …) the mean of the days before it, the younger the heavier; its own prices do not count."""
    return _mean(_lags(prices, DECAY_DAYS), DECAY ** np.arange(DECAY_DAYS, dtype=np.float64))


def energy_features(days: Sequence[date], prices: Array) -> tuple[Array, Array]:
    """Features (N, 24, F) of each day's energy price, $/MWh, and the decayed mean (N, 24) that they are relative to.

    Row d reads nothing of day d or later: every price in it is a lag of at least one day.
    """
    energy, spin = prices[:, :, 0], prices[:, :, 1]
    lags, centre = _lags(energy, LAG_DAYS), decayed_mean(energy)
    week, month, spin_lags = _mean(lags[:7]), _mean(lags), _lags(spin, 7)
    yesterday = lags[0] - centre
    is_rest = rest_days([days[0] - timedelta(days=1), *days]).astype(float)
    angle = 2.0 * np.pi * np.array([day.timetuple().tm_yday for day in days]) / 365.25

    def of_day(values: Array) -> Array:
        return np.broadcast_to(values[:, None], centre.shape)

    columns = [
        np.broadcast_to(np.arange(HOURS, dtype=float), centre.shape),
        of_day(np.array([day.weekday() for day in days], dtype=float)),
        of_day(is_rest[1:]),
        of_day(is_rest[:-1]),
        of_day(np.sin(angle)),
        of_day(np.cos(angle)),
        yesterday,
        lags[1] - centre,
        lags[2] - centre,
        lags[6] - centre,
        lags[6] - lags[7],  # what the weekday did a week ago
        week - centre,
        month - centre,
        centre,
        _deviation(lags[:7], week),
        np.roll(yesterday, -1, axis=1) + np.roll(centre, -1, axis=1) - centre,
        np.roll(yesterday, 1, axis=1) + np.roll(centre, 1, axis=1) - centre,
        of_day(yesterday.mean(axis=1)),
        of_day((lags[1] - centre).mean(axis=1)),
        of_day(centre.mean(axis=1)),
        centre - centre.mean(axis=1, keepdims=True),
        of_day(lags[0].max(axis=1) - centre.max(axis=1)),
        of_day(lags[0].min(axis=1) - centre.min(axis=1)),
        of_day(yesterday[:, NOON].mean(axis=1)),
        of_day(yesterday[:, EVENING].mean(axis=1)),
        spin_lags[0],
        _mean(spin_lags),
    ]
    return np.stack(columns, axis=-1), centre


def _lags(values: Array, count: int) -> Array:
    """(count, N, …): entry k holds the values of k + 1 days before; NaN before the first day."""
    lags = np.full((count, *values.shape), np.nan)
    for k in range(min(count, len(values) - 1)):
        lags[k, k + 1 :] = values[: -(k + 1)]
    return lags


def _mean(lags: Array, weight: Array | None = None) -> Array:
    """Mean over the first axis of what is known; NaN where nothing is."""
    weights = np.ones(len(lags)) if weight is None else weight
    weights = weights.reshape(-1, *[1] * (lags.ndim - 1))
    known = np.isfinite(lags)
    total = np.where(known, weights, 0.0).sum(axis=0)
    sums = np.where(known, weights * np.nan_to_num(lags), 0.0).sum(axis=0)
    means: Array = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0.0)
    return means


def _deviation(lags: Array, mean: Array) -> Array:
    return np.asarray(np.sqrt(_mean((lags - mean) ** 2)))
