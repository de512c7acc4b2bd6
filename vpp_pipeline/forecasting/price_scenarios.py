"""What may come instead of the forecast: prices as wrong as past forecasts were, and prosumers who are not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.calendar import HISTORY_DAYS, LEAST_DAYS, PRICE_COLUMN, check_one_regime
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import ITS_ORIGINAL, forecast_prices
from vpp_pipeline.schemas import PriceScenarios, validate
from vpp_pipeline.settings import RiskSettings

LEAST_ERRORS = 3
SMOOTHING = 0.5  # how much of all days is blended into a day that is used once more
PRICES = list(PRICE_COLUMN.values())
Expect = Callable[[date], pl.DataFrame | None]  # a past day -> what was to be expected of it; None: too little known


@dataclass(frozen=True)
class Scenarios:
    """W futures of a day with O opportunities and T hours, and how much they weigh."""

    probability: Array  # (W,)
    price: Array  # (W, O) $/MWh, or $ per MW and hour
    market_price: Array  # (W, T) $/MWh at which charging is bought
    delivered_fraction: Array  # (W, O) of what is bid
    unpaid: Array  # (W, O) $ per MWh bid: agreed payments to those who do not deliver
    shortfall_penalty_fraction: float
    aversion: float
    tail_fraction: float

    @property
    def worth(self) -> Array:
        """What one MWh bid brings (W, O), $: the price of what is delivered, less a penalty on the rest.

        What is missing is bought back at its price plus the penalty, and the absent are not paid for it.
        """
        missing = 1.0 - self.delivered_fraction
        penalty = self.shortfall_penalty_fraction * np.maximum(self.price, 0.0)
        return self.price * self.delivered_fraction - penalty * missing + self.unpaid


def cvar(values: Array, probability: Array, tail_fraction: float) -> float:
    """Mean of the worst ``tail_fraction`` of ``values`` (W,); a value on the edge counts in part.

    Of four equally likely days, the worst 40% are the day of -$10 and 0.15 / 0.25 of the day of $20:

    >>> round(cvar(np.array([100.0, -10.0, 50.0, 20.0]), np.full(4, 0.25), 0.4), 2)
    1.25
    """
    order = np.argsort(values, kind="stable")
    reached = np.minimum(np.cumsum(probability[order]), tail_fraction)
    weight = np.diff(reached, prepend=0.0)
    return float(weight @ values[order] / weight.sum())


def scenario_dates(market_date: date, days: int) -> list[date]:
    """The market days whose prices scenarios for ``market_date`` may use: D-``days`` to D-1."""
    return [market_date - timedelta(days=back) for back in range(days, 0, -1)]


def price_scenarios(
    forecast: pl.DataFrame, history: pl.DataFrame, risk: RiskSettings, expect: Expect | None = None
) -> pl.DataFrame:
    """Rows of `market.price_scenarios`: the forecast plus the errors of past forecasts.

    ``history`` holds rows of `market.prices` before the market day. Whole days of errors are drawn, so that hours and
    products stay as correlated as they were: each past day once, in random order; beyond that, days again with a blend
    of all of them (a smoothed bootstrap that keeps their covariance). The errors are shifted, and reserve prices, which
    never fall below 0, scaled, so that the mean over the scenarios is the forecast. ``expect``: see
    :func:`forecast_errors`.

    Raises ``InputError`` for prices of the market day or later or of another market regime, and with fewer than 3 days
    of errors.
    """
    market_date = forecast["market_date"][0]
    days, errors = forecast_errors(forecast, history, expect)
    rng = np.random.default_rng([risk.seed, market_date.toordinal()])
    origin, drawn = _draw(errors, risk.scenarios, rng)
    prices = _around(forecast.select(PRICES).to_numpy(), drawn)
    hours = forecast.select("market_date", "start_utc", "hour_ending")
    return validate(
        PriceScenarios,
        pl.concat(
            hours.with_columns(
                pl.DataFrame(prices[w], schema=PRICES),
                scenario=pl.lit(w + 1),
                error_date=pl.lit(days[origin[w]]),
            )
            for w in range(risk.scenarios)
        ),
    )


def forecast_errors(
    forecast: pl.DataFrame, history: pl.DataFrame, expect: Expect | None = None
) -> tuple[list[date], Array]:
    """Past days (K,), and by how much their prices exceeded what would have been forecast for them (K, T, 3).

    Each past day is forecast as the market day is: by ``expect``, else as the mean of the week before it. Hours are
    matched by OASIS label; one that a past day lacks (3 in spring, 25 but in autumn) takes the error of hour ending 2.
    """
    market_date = forecast["market_date"][0]
    late = history.filter(pl.col("market_date") >= market_date)
    if late.height:
        raise InputError(
            f"a price of {market_date} or later, which its bids may not know",
            column="market_date",
            value=late["market_date"][0],
            remedy=f"Use prices before {market_date} only.",
        )
    check_one_regime(history, market_date)
    by_day = {day: rows for (day,), rows in history.group_by("market_date")}
    labels = forecast["hour_ending"].to_list()

    def by_week(day: date) -> pl.DataFrame | None:
        week = [by_day[before] for before in scenario_dates(day, HISTORY_DAYS) if before in by_day]
        return forecast_prices(day, pl.concat(week)) if len(week) >= LEAST_DAYS else None

    days, errors = [], []
    for day in sorted(by_day):
        expected = (expect or by_week)(day)
        if expected is not None:
            missed = by_day[day].sort("start_utc").select(PRICES).to_numpy() - expected.select(PRICES).to_numpy()
            place = {label: t for t, label in enumerate(expected["hour_ending"])}
            days.append(day)
            errors.append(missed[[place.get(label, place[ITS_ORIGINAL]) for label in labels]])
    if len(days) < LEAST_ERRORS:
        raise InputError(
            f"scenarios for {market_date} need {LEAST_ERRORS} past days with {LEAST_DAYS} days of prices in the week "
            f"before each; {len(by_day)} days of prices give {len(days)}",
            column="risk.scenarios",
            remedy="Give more days of prices, raise risk.history_days, or set risk.scenarios=1",
        )
    return days, np.array(errors)


def _draw(errors: Array, count: int, rng: np.random.Generator) -> tuple[Indices, Array]:
    """Which day each of ``count`` scenarios takes (W,), and its errors (W, T, 3), from those of K days."""
    k = len(errors)
    origin: Indices = np.concatenate([rng.permutation(k) for _ in range(-(-count // k))])[:count]
    centred = errors - errors.mean(axis=0)
    drawn = centred[origin]
    blend = np.tensordot(rng.standard_normal((max(count - k, 0), k)) / np.sqrt(k), centred, axes=1)
    drawn[k:] = (drawn[k:] + SMOOTHING * blend) / np.sqrt(1.0 + SMOOTHING**2)
    return origin, drawn


def _around(forecast: Array, errors: Array) -> Array:
    """Prices (W, T, 3) with mean ``forecast`` (T, 3); those of reserves are never below 0."""
    prices: Array = forecast + errors - errors.mean(axis=0)
    reserve = np.maximum(prices[:, :, 1:], 0.0)
    mean, wanted = reserve.mean(axis=0), forecast[:, 1:]
    can_be_scaled = (mean > 0.0) & (wanted >= 0.0)
    scale = np.divide(wanted, mean, out=np.zeros_like(mean), where=can_be_scaled)
    prices[:, :, 1:] = np.where(can_be_scaled, reserve * scale, wanted)
    return prices


def deliveries(
    opportunity: Indices,
    prosumer: Indices,
    committed_kw: Array,
    agreed_price: Array,
    availability_fraction: Array,
    shape: tuple[int, int],
    seed: int,
) -> tuple[Array, Array]:
    """Delivered fraction and unpaid $/MWh, each of ``shape`` (W, O), from K agreements and N prosumers.

    In each scenario every prosumer is available for the whole day with its own probability, or not at all. All of an
    opportunity's members are taken to deliver in proportion to their commitments.
    """
    rng = np.random.default_rng(seed)
    count = shape[1]
    committed = np.bincount(opportunity, committed_kw, count)
    per_kw = np.divide(1.0, committed, out=np.zeros(count), where=committed > 0.0)[opportunity] * committed_kw
    missing, unpaid = np.zeros(shape), np.zeros(shape)
    for w in range(shape[0]):
        is_away = rng.random(len(availability_fraction)) >= availability_fraction
        missed = per_kw * is_away[prosumer]
        missing[w] = np.bincount(opportunity, missed, count)
        unpaid[w] = np.bincount(opportunity, missed * agreed_price, count)
    return 1.0 - missing, unpaid
