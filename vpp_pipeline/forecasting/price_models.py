"""How prices are forecast: one interface, three forecasters, and what takes over where one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import polars as pl

from vpp_pipeline.core.calendar import HISTORY_DAYS, LEAST_DAYS, history_dates
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF, METHOD, forecast_prices, last_known_prices
from vpp_pipeline.forecasting.price_boosted import (
    DECAY_DAYS,
    LEARNS_DAYS,
    LEAST_TRAINING_DAYS,
    BoostedPrices,
    learn_prices,
)
from vpp_pipeline.forecasting.price_scenarios import Expect
from vpp_pipeline.settings import ForecastSettings

Days = Mapping[date, pl.DataFrame]  # market day -> its rows of market.prices


class PriceForecaster(Protocol):
    """Expects the prices of a day from those of the days before."""

    @property
    def method(self) -> str:
        """What the column ``method`` of ``market.price_forecast`` says."""

    @property
    def reads_days(self) -> int:
        """How many days before the market day :meth:`forecast` is given."""

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``market.price_forecast``; ``history``: rows of ``market.prices`` of D-``reads_days`` to D-1.

        Raises ``InputError`` for prices of D or later, or published after its bids close, and for too few days.
        """


@dataclass(frozen=True)
class Baseline:
    """A forecaster with nothing to learn: a function of the week before."""

    method: str
    rule: Callable[[date, pl.DataFrame], pl.DataFrame]
    reads_days: int = HISTORY_DAYS

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """As :meth:`PriceForecaster.forecast`."""
        return self.rule(market_date, history).with_columns(method=pl.lit(self.method))


SEVEN_DAY_MEAN = Baseline(METHOD, forecast_prices)
YESTERDAY = Baseline("yesterday again", last_known_prices)


def choose(
    market_date: date, settings: ForecastSettings, source: str, past: Callable[[int], Days], error_days: int = 0
) -> PriceForecaster:
    """The forecaster that the settings ask for; where it cannot be used, the seven-day mean, whose method says why.

    ``auto`` is the model, but the seven-day mean for generated prices (``source`` begins with ``synthetic``): what it
    would learn is the generator. ``past(k)`` gives those of the k days before that there are. ``error_days``: of them
    are needed to see how wrong its forecasts are (scenarios), so it must be able to learn before them as well.
    """
    asked = settings.price
    if asked == "auto":
        asked = "seven_day_mean" if source.startswith("synthetic") else "model"
    if asked == "yesterday":
        last = history_dates(market_date)[-1]
        return YESTERDAY if last in past(1) else _in_place_of(asked, f"there are no prices of {last}")
    if asked == "seven_day_mean":
        return SEVEN_DAY_MEAN
    wanted = LEAST_TRAINING_DAYS + DECAY_DAYS + error_days
    days = past(LEARNS_DAYS)
    if len(days) < wanted:
        return _in_place_of("the model", f"it needs {wanted} days of prices, and there are {len(days)}")
    return learn_prices(market_date, pl.concat(days.values()))


def past_forecasts(market_date: date, forecaster: PriceForecaster, days: Days, error_days: int) -> Expect:
    """What would have been forecast for each of the ``error_days`` before, from ``days`` and nothing younger.

    A model is fitted again to the days before all of these, so that it is tested on days outside its fit.
    """
    first = history_dates(market_date, error_days)[0]
    if isinstance(forecaster, BoostedPrices):
        forecaster = learn_prices(
            first, pl.concat(days[day] for day in history_dates(first, LEARNS_DAYS) if day in days)
        )

    def expect(day: date) -> pl.DataFrame | None:
        known = [days[before] for before in history_dates(day, forecaster.reads_days) if before in days]
        return forecaster.forecast(day, pl.concat(known)) if len(known) >= LEAST_DAYS else None

    return expect


def _in_place_of(asked: str, reason: str) -> Baseline:
    return Baseline(f"{METHOD}{IN_PLACE_OF}{asked}: {reason}", forecast_prices)
