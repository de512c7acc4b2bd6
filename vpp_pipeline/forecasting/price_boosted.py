"""The learning price forecast: boosted trees for energy, decayed means for reserves, and what they look at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN, rest_days
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import ITS_ORIGINAL, check_history, forecast_of

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

TRAINING_DAYS = 365
LEAST_TRAINING_DAYS = 90
LAG_DAYS = 28  # the oldest price that a day's features look at
LEARNS_DAYS = TRAINING_DAYS + LAG_DAYS
METHOD = "gradient boosting"

# chosen on 2024 H1 (and 2023 H2) of SP15 among a dozen; captured value differed by less than 0.3 % between neighbours
TREES, LEARNING_RATE, LEAVES, LEAST_ROWS, FEATURE_SHARE, L2, SEED = 100, 0.05, 31, 100, 0.5, 10.0, 20230815
DIGITS = 4  # of a price: the last bits of a tree's mean may differ between processors
HOURS = 24
DECAY = 0.6  # weight of a day in the decayed mean, relative to the day after it
DECAY_DAYS = 14
NOON, EVENING = slice(10, 15), slice(18, 22)  # hours by their start, Pacific


@dataclass(frozen=True)
class BoostedPrices:
    """Learnt from ``days`` days of prices before ``before``; forecasts that day and later ones, no earlier one."""

    before: date
    days: int
    trees: HistGradientBoostingRegressor
    method: str = METHOD
    reads_days: int = LAG_DAYS
    learns_days: int = LEARNS_DAYS

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``market.price_forecast``; ``history``: rows of ``market.prices`` of D-28 to D-1.

        Energy: the median of the trees, about the decayed mean of the hour. Reserves: the decayed mean, since
        trees made their prices no better for bidding (docs/forecasts.md). Errors as those
        of :func:`~vpp_pipeline.forecasting.price_baseline.forecast_prices`; and for a day before ``before``.
        """
        days, prices = known_days(market_date, history, self.before)
        features, centre = energy_features(days, prices)
        with one_thread():
            energy = centre[-1] + self.trees.predict(features[-1])
        expected = np.column_stack([energy, decayed_mean(prices)[-1, :, 1:]])
        return forecast_of(market_date, history, by_hour(expected, self.days), self.method)

    def relearnt(self, market_date: date, history: pl.DataFrame) -> BoostedPrices:
        """What the days before ``market_date`` alone teach."""
        return learn_prices(market_date, history)


def learn_prices(market_date: date, history: pl.DataFrame, quantile: float = 0.5) -> BoostedPrices:
    """What the prices of D-393 to D-1 teach about D and later; ``quantile``: of energy, the median by default.

    The same history gives the same trees: one thread, a fixed seed. Raises ``InputError`` for prices of D or later, and
    with fewer than 90 days to learn from.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    check_history(market_date, history, LEARNS_DAYS)
    days, prices = day_table(history, market_date)
    features, centre = energy_features(days, prices)
    rows, target = _examples(features, prices[:, :, 0] - centre)
    if len(target) < LEAST_TRAINING_DAYS * HOURS:
        raise InputError(
            f"{len(target) // HOURS} days of prices to learn from before {market_date}, and {LEAST_TRAINING_DAYS} are "
            "needed",
            remedy="Give more history, or set forecast.price=seven_day_mean.",
        )
    trees = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=quantile,
        max_iter=TREES,
        learning_rate=LEARNING_RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST_ROWS,
        max_features=FEATURE_SHARE,
        l2_regularization=L2,
        early_stopping=False,
        random_state=SEED,
    )
    with one_thread():
        trees.fit(rows, target)
    return BoostedPrices(market_date, len(target) // HOURS, trees)


def known_days(market_date: date, history: pl.DataFrame, before: date) -> tuple[list[date], Array]:
    """:func:`day_table` of D-28 to D, for what was learnt from prices before ``before``; the last day has no prices.

    Raises ``InputError`` for a day before ``before``, and as :func:`check_history`.
    """
    if market_date < before:
        raise InputError(
            f"a forecast of {market_date} by what was learnt from prices up to the day before {before}",
            remedy=f"Learn again from prices before {market_date}.",
        )
    check_history(market_date, history, LAG_DAYS)
    return day_table(history, market_date)


def by_hour(expected: Array, days: int) -> pl.DataFrame:
    """What :func:`forecast_of` reads, from prices (24, 3) by OASIS label; hours that are not known are left out."""
    rounded = expected.round(DIGITS)
    table = pl.DataFrame(rounded, schema=list(PRICE_COLUMN.values())).with_columns(
        hour_ending=pl.int_range(1, HOURS + 1, dtype=pl.Int32), history_days=pl.lit(days)
    )
    known = np.asarray(np.isfinite(rounded).all(axis=1))
    return table.filter(known)


def one_thread() -> AbstractContextManager[object]:
    """Trees and matrices on one thread: threads spin while they wait, ten times as long on a busy machine.

    Sums come out the same on every machine, too.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1)
    return limits


def _examples(features: Array, target: Array) -> tuple[Array, Array]:
    """Rows and targets of the hours known, without the first two weeks, whose means know too little."""
    rows, values = features[DECAY_DAYS:].reshape(-1, features.shape[-1]), target[DECAY_DAYS:].ravel()
    known = np.isfinite(values)
    return rows[known], values[known]


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
    return known_mean(lagged(prices, DECAY_DAYS), DECAY ** np.arange(DECAY_DAYS, dtype=np.float64))


def energy_features(days: Sequence[date], prices: Array) -> tuple[Array, Array]:
    """Features (N, 24, F) of each day's energy price, $/MWh, and the decayed mean (N, 24) that they are relative to.

    Row d reads nothing of day d or later: every price in it is a lag of at least one day.
    """
    energy, spin = prices[:, :, 0], prices[:, :, 1]
    lags, centre = lagged(energy, LAG_DAYS), decayed_mean(energy)
    week, month, spin_lags = known_mean(lags[:7]), known_mean(lags), lagged(spin, 7)
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
        known_mean(spin_lags),
    ]
    return np.stack(columns, axis=-1), centre


def lagged(values: Array, count: int) -> Array:
    """(count, N, …): entry k holds the values of k + 1 days before; NaN before the first day."""
    lags = np.full((count, *values.shape), np.nan)
    for k in range(min(count, len(values) - 1)):
        lags[k, k + 1 :] = values[: -(k + 1)]
    return lags


def known_mean(lags: Array, weight: Array | None = None) -> Array:
    """Mean over the first axis of what is known; NaN where nothing is."""
    weights = np.ones(len(lags)) if weight is None else weight
    weights = weights.reshape(-1, *[1] * (lags.ndim - 1))
    known = np.isfinite(lags)
    total = np.where(known, weights, 0.0).sum(axis=0)
    sums = np.where(known, weights * np.nan_to_num(lags), 0.0).sum(axis=0)
    means: Array = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0.0)
    return means


def _deviation(lags: Array, mean: Array) -> Array:
    return np.asarray(np.sqrt(known_mean((lags - mean) ** 2)))
