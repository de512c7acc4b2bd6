"""How prices are forecast: one interface, the forecasters, and what takes over where one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol

import polars as pl

from vpp_pipeline.core.calendar import HISTORY_DAYS, LEAST_DAYS, PRICE_COLUMN, history_dates
from vpp_pipeline.forecasting import price_lear
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF, METHOD, forecast_prices, last_known_prices
from vpp_pipeline.forecasting.price_boosted import (
    DECAY_DAYS,
    DIGITS,
    LAG_DAYS,
    LEARNS_DAYS,
    LEAST_TRAINING_DAYS,
    BoostedPrices,
    learn_prices,
)
from vpp_pipeline.forecasting.price_boosted import METHOD as BOOSTED
from vpp_pipeline.forecasting.price_lear import LearPrices, learn_lear
from vpp_pipeline.forecasting.price_scenarios import Expect
from vpp_pipeline.settings import ForecastSettings

AVERAGE = f"mean of {BOOSTED} and {price_lear.METHOD}"
Days = Mapping[date, pl.DataFrame]  # market day -> its rows of market.prices


class PriceForecaster(Protocol):
    """Expects the prices of a day from those of the days before."""

    @property
    def method(self) -> str:
        """What the column ``method`` of ``market.price_forecast`` says."""

    @property
    def reads_days(self) -> int:
        """How many days before the market day :meth:`forecast` is given."""

    @property
    def learns_days(self) -> int:
        """From how many days before the market day it has learnt, at most; 0 where it does not learn."""

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``market.price_forecast``; ``history``: rows of ``market.prices`` of D-``reads_days`` to D-1.

        Raises ``InputError`` for prices of D or later, or published after its bids close, and for too few days.
        """

    def relearnt(self, market_date: date, history: pl.DataFrame) -> PriceForecaster:
        """The same, learnt anew from ``history`` before ``market_date``, D-``learns_days`` to D-1."""


@dataclass(frozen=True)
class Baseline:
    """A forecaster with nothing to learn: a function of the week before."""

    method: str
    rule: Callable[[date, pl.DataFrame], pl.DataFrame]
    reads_days: int = HISTORY_DAYS
    learns_days: int = 0

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """As :meth:`PriceForecaster.forecast`."""
        return self.rule(market_date, history).with_columns(method=pl.lit(self.method))

    def relearnt(self, market_date: date, history: pl.DataFrame) -> Baseline:
        """Itself."""
        return self


@dataclass(frozen=True)
class AveragePrices:
    """The mean of two forecasts, of every price: errors that differ cancel in part."""

    boosted: BoostedPrices
    lear: LearPrices
    method: str = AVERAGE
    reads_days: int = LAG_DAYS
    learns_days: int = price_lear.LEARNS_DAYS

    def forecast(self, market_date: date, history: pl.DataFrame) -> pl.DataFrame:
        """As :meth:`PriceForecaster.forecast`; ``history_days`` are those of the member with more."""
        trees, lines = (member.forecast(market_date, history) for member in (self.boosted, self.lear))
        prices = [((trees[name] + lines[name]) / 2.0).round(DIGITS) for name in PRICE_COLUMN.values()]
        days = max(self.boosted.days, self.lear.days)
        method = f"mean of {trees['method'][0]} and {lines['method'][0]}"
        return trees.with_columns(
            *prices, method=pl.lit(method), history_days=pl.lit(days, trees.schema["history_days"])
        )

    def relearnt(self, market_date: date, history: pl.DataFrame) -> AveragePrices:
        """What the days before ``market_date`` alone teach both."""
        return learn_average(market_date, history, self.lear.outlook)


def learn_average(market_date: date, history: pl.DataFrame, outlook: pl.DataFrame | None = None) -> AveragePrices:
    """What the prices of D-728 to D-1 teach LEAR, and those of D-393 to D-1 the trees. Errors as those of both.

    ``outlook``: as for :func:`~vpp_pipeline.forecasting.price_lear.learn_lear`.
    """
    recent = history.filter(pl.col("market_date") >= history_dates(market_date, LEARNS_DAYS)[0])
    return AveragePrices(learn_prices(market_date, recent), learn_lear(market_date, history, outlook))


SEVEN_DAY_MEAN = Baseline(METHOD, forecast_prices)
YESTERDAY = Baseline("yesterday again", last_known_prices)


@dataclass(frozen=True)
class Learner:
    """A forecaster that learns: its name, how, from how many days, and how many it needs."""

    name: str
    learn: Callable[[date, pl.DataFrame, pl.DataFrame | None], PriceForecaster]
    learns_days: int
    least_days: int
    has_outlook: bool = True  # whether it looks at what the system was forecast to be


_LEAST = price_lear.LEAST_TRAINING_DAYS + DECAY_DAYS
LEARNERS = {
    "model": Learner(
        "the model",
        lambda market_date, history, outlook: learn_prices(market_date, history),
        LEARNS_DAYS,
        LEAST_TRAINING_DAYS + DECAY_DAYS,
        has_outlook=False,
    ),
    "lear": Learner(price_lear.METHOD, learn_lear, price_lear.LEARNS_DAYS, _LEAST),
    "average": Learner("the average", learn_average, price_lear.LEARNS_DAYS, _LEAST),
}
AUTO = "average"


def choose(
    market_date: date,
    settings: ForecastSettings,
    source: str,
    past: Callable[[int], Days],
    error_days: int = 0,
    outlook: Callable[[int], pl.DataFrame | None] = lambda days: None,
) -> PriceForecaster:
    """The forecaster that the settings ask for; where it cannot be used, another, whose method says why.

    ``auto`` is the average, but the seven-day mean for generated prices (``source`` begins with ``synthetic``): what it
    would learn is the generator. With too few days for LEAR, trees stand in for it; with too few for those, the
    seven-day mean. ``past(k)`` gives those of the k days before that there are, and ``outlook(k)`` what the system was
    forecast to be on them and on the day. ``error_days``: of them are needed to see how wrong its forecasts are
    (scenarios), so it must be able to learn before them as well.
    """
    asked: str = settings.price
    if asked == "auto":
        asked = "seven_day_mean" if source.startswith("synthetic") else AUTO
    if asked == "yesterday":
        last = history_dates(market_date)[-1]
        return YESTERDAY if last in past(1) else _in_place_of(asked, f"there are no prices of {last}")
    if asked == "seven_day_mean":
        return SEVEN_DAY_MEAN
    first, trees = LEARNERS[asked], LEARNERS["model"]
    learner = first if _lacks(first, past, error_days) is None else trees
    reason = _lacks(learner, past, error_days)
    if reason is not None:
        return _in_place_of(learner.name, reason)
    days, wanted = past(learner.learns_days), history_dates(market_date, learner.learns_days)
    history = pl.concat(days[day] for day in wanted if day in days)
    seen = outlook(learner.learns_days) if learner.has_outlook else None
    forecaster = learner.learn(market_date, history, seen)
    if learner is not first and isinstance(forecaster, BoostedPrices):
        method = f"{BOOSTED}{IN_PLACE_OF}{first.name}: {_lacks(first, past, error_days)}"
        return replace(forecaster, method=method)
    return forecaster


def _lacks(learner: Learner, past: Callable[[int], Days], error_days: int) -> str | None:
    """Why it cannot learn; nothing where it can."""
    wanted, found = learner.least_days + error_days, len(past(learner.learns_days))
    return None if found >= wanted else f"it needs {wanted} days of prices, and there are {found}"


def past_forecasts(market_date: date, forecaster: PriceForecaster, days: Days, error_days: int) -> Expect:
    """What would have been forecast for each of the ``error_days`` before, from ``days`` and nothing younger.

    A model is fitted again to the days before all of these, so that it is tested on days outside its fit.
    """
    first = history_dates(market_date, error_days)[0]
    if forecaster.learns_days:
        known = [days[day] for day in history_dates(first, forecaster.learns_days) if day in days]
        forecaster = forecaster.relearnt(first, pl.concat(known))

    def expect(day: date) -> pl.DataFrame | None:
        known = [days[before] for before in history_dates(day, forecaster.reads_days) if before in days]
        return forecaster.forecast(day, pl.concat(known)) if len(known) >= LEAST_DAYS else None

    return expect


def _in_place_of(asked: str, reason: str) -> Baseline:
    return Baseline(f"{METHOD}{IN_PLACE_OF}{asked}: {reason}", forecast_prices)
