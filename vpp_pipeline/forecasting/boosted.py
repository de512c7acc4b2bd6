"""The learning price forecast: gradient-boosted trees for energy, decayed means for reserves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.domain.forecast import check_history, forecast_of
from vpp_pipeline.forecasting.price_features import (
    DECAY_DAYS,
    HOURS,
    LAG_DAYS,
    day_table,
    decayed_mean,
    energy_features,
)

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

TRAINING_DAYS = 365
LEAST_TRAINING_DAYS = 90
LEARNS_DAYS = TRAINING_DAYS + LAG_DAYS
METHOD = "gradient boosting"

# chosen on 2024 H1 (and 2023 H2) of SP15 among a dozen; captured value differed by less than 0.3 % between neighbours
TREES, LEARNING_RATE, LEAVES, LEAST_ROWS, FEATURE_SHARE, L2, SEED = 100, 0.05, 31, 100, 0.5, 10.0, 20230815
DIGITS = 4  # of a price: the last bits of a tree's mean may differ between processors


@dataclass(frozen=True)
class BoostedPrices:
    """Learnt from ``days`` days of prices before ``before``; forecasts that day and later ones, no earlier one."""

    before: date
    days: int
    trees: HistGradientBoostingRegressor
    method: str = METHOD
    reads_days: int = LAG_DAYS

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``market.price_forecast``; ``history``: rows of ``market.prices`` of D-28 to D-1.

        Energy: the median of the trees, about the decayed mean of the hour. Spin and nonspin: the decayed mean, since
        trees made their prices no better for bidding (docs/forecasts.md). Errors as
        :func:`~vpp_pipeline.domain.forecast.forecast_prices`, and for a day before those that it has learnt from.
        """
        if market_date < self.before:
            raise InputError(
                f"a forecast of {market_date} by what was learnt from prices up to the day before {self.before}",
                remedy=f"Learn again from prices before {market_date}.",
            )
        check_history(market_date, history, LAG_DAYS)
        days, prices = day_table(history, market_date)
        features, centre = energy_features(days, prices)
        with _one_thread():
            energy = centre[-1] + self.trees.predict(features[-1])
        expected = np.column_stack([energy, decayed_mean(prices)[-1, :, 1:]]).round(DIGITS)
        known = np.isfinite(expected).all(axis=1)
        table = pl.DataFrame(expected, schema=list(PRICE_COLUMN.values())).with_columns(
            hour_ending=pl.int_range(1, HOURS + 1, dtype=pl.Int32), history_days=pl.lit(self.days)
        )
        return forecast_of(market_date, history, table.filter(known), self.method)


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
    with _one_thread():
        trees.fit(rows, target)
    return BoostedPrices(market_date, len(target) // HOURS, trees)


def _one_thread() -> AbstractContextManager[object]:
    """The trees on one thread: OpenMP's threads spin while they wait, which takes ten times as long on a busy machine.

    Sums come out the same on every machine, too.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="openmp")
    return limits


def _examples(features: Array, target: Array) -> tuple[Array, Array]:
    """Rows and targets of the hours known, without the first two weeks, whose means know too little."""
    rows, values = features[DECAY_DAYS:].reshape(-1, features.shape[-1]), target[DECAY_DAYS:].ravel()
    known = np.isfinite(values)
    return rows[known], values[known]
