"""The linear price forecast: for each hour and product a lasso over yesterday's prices, recent means, and the weekday.

This is LEAR, the lasso-estimated autoregressive model of J. Lago, G. Marcjasz, B. De Schutter, R. Weron, "Forecasting
day-ahead electricity prices: A review of state-of-the-art algorithms, best practices and an open-access benchmark",
Applied Energy 293 (2021) 116983: one regression for each hour of the day, on prices that are centered by their median,
divided by their median absolute deviation, and transformed by asinh, since spikes would otherwise decide every
coefficient (B. Uniejewski, R. Weron, F. Ziel, "Variance stabilizing transformations for electricity spot price
forecasting", IEEE Transactions on Power Systems 33 (2018) 2219-2229).

    z_dh = asinh((p_dh - m) / s)                    m, s: median and scaled MAD of all hours of the product
    z_dh = β_h0 + Σ_j β_hj x_dj + ε                 x_d: see ``day_features``; the same for all 24 hours
    β_h  = argmin  Σ_d w_d ε_dh² / 2 + α_h |β_h|₁     w_d = 2^(−age of d / 182 days)

α_h is the step of the LARS path of least AIC = n log(RSS / n) + 2 (coefficients that are not 0). All 24 paths share one
Gram matrix and end after 40 steps, which takes a fifth of the time of scikit-learn's ``LassoLarsIC``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRODUCTS, rest_days
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import ITS_ORIGINAL, check_history, forecast_of
from vpp_pipeline.forecasting.price_boosted import (
    DECAY_DAYS,
    HOURS,
    LAG_DAYS,
    by_hour,
    day_table,
    decayed_mean,
    known_days,
    known_mean,
    lagged,
    one_thread,
)

TRAINING_DAYS = 700
LEAST_TRAINING_DAYS = 182  # with fewer, the mean of both models was no better than the trees (docs/forecasts.md)
LEARNS_DAYS = TRAINING_DAYS + LAG_DAYS
METHOD = "LEAR"
WITH_OUTLOOK = " with the system's outlook"
OUTLOOK = ("load_mw", "solar_mw", "wind_mw")

# chosen on 2023 H2 and 2024 H1 of SP15
STEPS = 40  # of a path; some 15 coefficients are chosen
PENALTY = 2.0  # AIC; BIC's log(n) was 0.05 $/MWh worse
HALF_LIFE_DAYS = 182.0
WEEKDAYS = 7
NORMAL_MAD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
LEAST_SCALE = 1e-6  # $/MWh; prices that never change have no deviation


@dataclass(frozen=True)
class HourlyLasso:
    """The regressions of one product's 24 hours, over F features."""

    median: float  # m, $/MWh, or $ per MW and hour
    scale: float  # s, in the same unit
    least: float  # nothing beyond the prices that were learnt from is forecast: sinh makes much of a small excess
    most: float
    coefficient: Array  # (F, 24)
    intercept: Array  # (24,)

    def expected(self, features: Array) -> Array:
        """Prices (24,) of a day from its ``features`` (F,)."""
        price = self.median + self.scale * np.sinh(features @ self.coefficient + self.intercept)
        return np.asarray(np.clip(price, self.least, self.most))


@dataclass(frozen=True)
class LearPrices:
    """Learnt from ``days`` days of prices before ``before``; forecasts that day and later ones, no earlier one."""

    before: date
    days: int
    products: tuple[HourlyLasso, ...]  # in the order of PRODUCTS
    informed: tuple[HourlyLasso, ...] = ()  # the same that look at the outlook too; used where a day has one
    outlook: pl.DataFrame | None = None
    method: str = METHOD
    reads_days: int = LAG_DAYS
    learns_days: int = LEARNS_DAYS

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``market.price_forecast``; ``history``: rows of ``market.prices`` of D-28 to D-1.

        Errors as those of :meth:`~vpp_pipeline.forecasting.price_boosted.BoostedPrices.forecast`.
        """
        days, prices = known_days(market_date, history, self.before)
        expected = np.empty((HOURS, len(PRODUCTS)))
        outside = outlook_features(days[-1:], self.outlook)[0]
        is_informed = bool(self.informed) and bool(np.isfinite(outside).all())
        with one_thread():
            for k, product in enumerate(self.informed if is_informed else self.products):
                features = day_features(days, prices[:, :, k], product.median, product.scale)[-1]
                expected[:, k] = product.expected(np.append(features, outside) if is_informed else features)
        for k, declared in enumerate(CAISO.products):
            if declared.substitute:  # may serve in its place: never cheaper
                expected[:, k] = np.minimum(expected[:, k], expected[:, PRODUCTS.index(declared.substitute)])
        method = f"{self.method}{WITH_OUTLOOK}" if is_informed else self.method
        return forecast_of(market_date, history, by_hour(expected, self.days), method)

    def relearnt(self, market_date: date, history: pl.DataFrame) -> LearPrices:
        """What the days before ``market_date`` alone teach."""
        return learn_lear(market_date, history, self.outlook)


def learn_lear(market_date: date, history: pl.DataFrame, outlook: pl.DataFrame | None = None) -> LearPrices:
    """What the prices of D-728 to D-1 teach about D and later.

    ``outlook``: what the system was forecast to be on each day before its bids closed (``market_date``,
    ``hour_ending``, ``load_mw``, ``solar_mw``, ``wind_mw``). A day's own is looked at where there is one and where 182
    of the days before have one; else the forecast is as without.

    Raises ``InputError`` for prices of D or later, and with fewer than 182 days to learn from.
    """
    check_history(market_date, history, LEARNS_DAYS)
    days, prices = day_table(history, market_date - timedelta(days=1))
    outside = outlook_features(days, outlook)
    both = np.hstack([outside, prices.reshape(len(days), -1)])
    has_outlook = int(np.isfinite(both[DECAY_DAYS:]).all(axis=1).sum()) >= LEAST_TRAINING_DAYS
    found = []
    with one_thread():
        for more in (outside[:, :0], *([outside] if has_outlook else [])):
            found.append([_learnt(days, prices[:, :, k], market_date, more) for k in range(len(PRODUCTS))])
    plain, informed = found[0], found[1] if has_outlook else []
    products = tuple(lasso for lasso, _ in plain)
    return LearPrices(market_date, plain[0][1], products, tuple(lasso for lasso, _ in informed), outlook)


def _learnt(days: Sequence[date], prices: Array, market_date: date, outside: Array) -> tuple[HourlyLasso, int]:
    """The regressions of a product's prices (N, 24), and how many days they were learnt from.

    ``outside`` (N, X): columns beside those of prices.
    """
    known = prices[np.isfinite(prices)]
    median = float(np.median(known))
    scale = max(NORMAL_MAD * float(np.median(np.abs(known - median))), LEAST_SCALE)
    features = np.hstack([day_features(days, prices, median, scale), outside])
    rows = np.asarray(np.isfinite(features).all(axis=1) & np.isfinite(prices).all(axis=1))
    rows[:DECAY_DAYS] = False  # their means know too little
    count = int(rows.sum())
    if count < LEAST_TRAINING_DAYS:
        raise InputError(
            f"{count} days of prices to learn from before {market_date}, and {LEAST_TRAINING_DAYS} are needed",
            remedy="Give more history, or set forecast.price=model.",
        )
    age = np.array([(market_date - day).days for day in days], dtype=np.float64)[rows]
    target = np.arcsinh((prices[rows] - median) / scale)
    coefficient, intercept = hourly_lassos(features[rows], target, 0.5 ** (age / HALF_LIFE_DAYS))
    return HourlyLasso(median, scale, float(known.min()), float(known.max()), coefficient, intercept), count


def day_features(days: Sequence[date], prices: Array, median: float, scale: float) -> Array:
    """Features (N, 81) of each day, from a product's prices (N, 24): what all of its 24 hours look at.

    By asinh: the 24 prices of the day before, the decayed mean of each hour, and its mean over 28 days; then the
    weekday (7), whether the day is one of rest, and whether the day before was. A day that is missing has
    the prices of the last one known of those 28. Row d reads nothing of day d or later; it is NaN where too little is
    known.
    """
    lags = lagged(prices, LAG_DAYS)
    yesterday = lags[0].copy()
    for lag in lags[1:]:
        yesterday = np.where(np.isnan(yesterday), lag, yesterday)
    decayed, month = decayed_mean(prices), known_mean(lags)
    levels = np.hstack([yesterday, np.where(np.isnan(decayed), month, decayed), month])
    is_rest = rest_days([days[0] - timedelta(days=1), *days]).astype(np.float64)
    weekday = np.eye(WEEKDAYS)[[day.weekday() for day in days]]
    return np.hstack([np.arcsinh((levels - median) / scale), weekday, is_rest[1:, None], is_rest[:-1, None]])


def outlook_features(days: Sequence[date], outlook: pl.DataFrame | None) -> Array:
    """(N, 48) of each day, GW: the load that sun and wind leave, and sun and wind, hour by hour; NaN where unknown."""
    table = np.full((len(days), HOURS + 1, len(OUTLOOK)), np.nan)
    if outlook is not None:
        rows = outlook.filter(pl.col("market_date").is_between(days[0], days[-1]))
        place = (rows["market_date"] - days[0]).dt.total_days().to_numpy()
        table[place, rows["hour_ending"].to_numpy() - 1] = rows.select(OUTLOOK).to_numpy()
    missing = np.isnan(table[:, ITS_ORIGINAL])  # the hour that the spring day lacks, as in ``day_table``
    table[:, ITS_ORIGINAL] = np.where(missing, table[:, ITS_ORIGINAL - 1], table[:, ITS_ORIGINAL])
    load, renewable = table[:, :HOURS, 0] / 1000.0, table[:, :HOURS, 1:].sum(axis=2) / 1000.0
    return np.hstack([load - renewable, renewable])


def hourly_lassos(features: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Coefficients (F, H) and intercepts (H,) of lassos of ``target`` (N, H) on ``features`` (N, F).

    A row counts by its ``weight`` (N,). Of two columns that say the same, one is used; one that never changes has the
    coefficient 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    share = weight / weight.sum()
    center, mean = share @ features, share @ target
    spread = np.sqrt(share @ (features - center) ** 2)
    spread = np.where(spread > LEAST_SCALE, spread, np.inf)
    root = np.sqrt(len(share) * share)[:, None]
    rows, goal = root * (features - center) / spread, root * (target - mean)
    gram, covariance, total = rows.T @ rows, rows.T @ goal, (goal**2).sum(axis=0)
    coefficient = np.zeros((features.shape[1], target.shape[1]))
    for h in np.flatnonzero(total > LEAST_SCALE):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of columns that say the same
            _, _, path = lars_path_gram(covariance[:, h], gram, n_samples=len(rows), max_iter=STEPS, method="lasso")
        missed = total[h] - 2.0 * covariance[:, h] @ path + ((gram @ path) * path).sum(axis=0)
        chosen = np.maximum(missed, LEAST_SCALE * total[h])  # a sum of squares, but for rounding
        criterion = len(rows) * np.log(chosen) + PENALTY * (path != 0.0).sum(axis=0)
        coefficient[:, h] = path[:, criterion.argmin()] / spread
    return coefficient, mean - center @ coefficient
