"""Scenarios: as wrong as past forecasts were, around the forecast, from nothing that is not known yet."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import history_dates, market_hours, prices_published_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.price_scenarios import (
    PRICES,
    Scenarios,
    cvar,
    deliveries,
    forecast_errors,
    price_scenarios,
    scenario_dates,
)
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.schemas import Prices, validate
from vpp_pipeline.settings import FleetSettings, RiskSettings, Settings
from vpp_pipeline_tests.conftest import DAY

SPRING, AUTUMN = date(2024, 3, 10), date(2024, 11, 3)


@cache
def history_of(market_date: date, days: int = 35) -> pl.DataFrame:
    """Synthetic prices of the days before."""
    return pl.concat([open_source().day(day) for day in scenario_dates(market_date, days)])


def forecast_of(market_date: date, history: pl.DataFrame) -> pl.DataFrame:
    return forecast_prices(market_date, history.filter(pl.col("market_date").is_in(history_dates(market_date))))


@cache
def forecast_before(market_date: date) -> pl.DataFrame:
    return forecast_of(market_date, history_of(market_date, 7))


def scenarios_of(market_date: date, count: int, seed: int = 1, days: int = 35) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The forecast and its scenarios from errors of past ``days``."""
    history, forecast = history_of(market_date, days), forecast_before(market_date)
    return forecast, price_scenarios(forecast, history, RiskSettings(scenarios=count, seed=seed))


def as_array(scenarios: pl.DataFrame) -> np.ndarray:
    """Prices (W, T, 3)."""
    rows = scenarios.sort("scenario", "start_utc")
    return rows.select(PRICES).to_numpy().reshape(rows["scenario"].n_unique(), -1, 3)


def flat_prices(day: date, energy: float) -> pl.DataFrame:
    """A day of one energy price; 2 and 1 $ for reserves."""
    return validate(
        Prices,
        market_hours(day).with_columns(
            node=pl.lit("N"),
            source=pl.lit("test"),
            energy_usd_per_mwh=pl.lit(energy),
            spin_usd_per_mw_h=pl.lit(2.0),
            nonspin_usd_per_mw_h=pl.lit(1.0),
            published_utc=pl.lit(prices_published_utc(day)),
        ),
    )


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (1 / 3, -20.0),  # the worst of three
        (1 / 2, -10.0),  # (-20 / 3 + 10 / 6) / (1 / 2)
        (2 / 3, -5.0),
        (1.0, 10.0),  # the mean
    ],
)
def test_the_cvar_of_three_scenarios_by_hand(tail: float, expected: float):
    assert cvar(np.array([10.0, -20.0, 40.0]), np.full(3, 1 / 3), tail) == pytest.approx(expected)


def test_the_cvar_weighs_by_probability():
    # the worst 20 %: all of the 0.1 at -50, and 0.1 of the 0.6 at 0
    assert cvar(np.array([0.0, -50.0, 30.0]), np.array([0.6, 0.1, 0.3]), 0.2) == pytest.approx(-25.0)


def test_what_a_bid_is_worth_by_hand():
    """At 100 $/MWh with 90 % delivered: 90 $, less 25 % of 100 on the missing tenth, and 6 $ not paid to the absent."""
    scenarios = Scenarios(
        probability=np.array([0.5, 0.5]),
        price=np.array([[100.0], [-40.0]]),
        market_price=np.zeros((2, 1)),
        delivered_fraction=np.full((2, 1), 0.9),
        unpaid=np.full((2, 1), 6.0),
        shortfall_penalty_fraction=0.25,
        aversion=0.5,
        tail_fraction=0.5,
    )
    assert scenarios.worth == pytest.approx(np.array([[90.0 - 2.5 + 6.0], [-36.0 + 6.0]]))


def test_errors_are_by_how_much_past_forecasts_fell_short():
    """Ten days at 50 $, of which the ninth had 85: it was 35 above its forecast, and the tenth 5 below."""
    market_date = date(2024, 6, 20)
    days = scenario_dates(market_date, 10)
    history = pl.concat([flat_prices(day, 85.0 if day == days[8] else 50.0) for day in days])
    found, errors = forecast_errors(forecast_of(market_date, history), history)
    assert found == days[3:]  # the first three have no three days before them
    assert errors.shape == (7, 24, 3)
    assert errors[:, 0, 0] == pytest.approx([0, 0, 0, 0, 0, 35.0, -5.0])
    assert errors[:, :, 1:] == pytest.approx(0.0)


@pytest.mark.parametrize("market_date", [DAY, SPRING, AUTUMN])
@pytest.mark.parametrize("count", [2, 20, 120])
def test_the_mean_over_the_scenarios_is_the_forecast_and_reserves_are_never_below_zero(market_date: date, count: int):
    forecast, scenarios = scenarios_of(market_date, count, days=12)
    prices = as_array(scenarios)
    assert prices.shape == (count, {SPRING: 23, AUTUMN: 25}.get(market_date, 24), 3)
    np.testing.assert_allclose(prices.mean(axis=0), forecast.select(PRICES).to_numpy(), rtol=0, atol=1e-9)
    assert prices[:, :, 1:].min() >= 0.0
    assert prices.std(axis=0).min() > 0.0


def test_a_scenario_carries_the_errors_of_one_whole_day():
    forecast, scenarios = scenarios_of(DAY, 20)
    days, errors = forecast_errors(forecast, history_of(DAY))
    origin = scenarios.unique("scenario").sort("scenario")["error_date"].to_list()
    assert len(set(origin)) == 20
    drawn = errors[[days.index(day) for day in origin], :, 0]
    moved = as_array(scenarios)[:, :, 0] - forecast[PRICES[0]].to_numpy()
    np.testing.assert_allclose(moved, drawn - drawn.mean(axis=0), atol=1e-9)


def test_more_scenarios_than_days_keep_spread_and_correlation():
    forecast, scenarios = scenarios_of(DAY, 1000)
    _, errors = forecast_errors(forecast, history_of(DAY))
    prices = as_array(scenarios)[:, :, 0]
    ratio = prices.std(axis=0) / errors[:, :, 0].std(axis=0)
    assert 0.9 < ratio.min() < ratio.max() < 1.1
    difference = np.corrcoef(prices.T) - np.corrcoef(errors[:, :, 0].T)
    assert np.abs(difference).max() < 0.15
    assert len(np.unique(prices[:, 0])) == 1000


def test_the_same_seed_draws_the_same_and_another_seed_another():
    (_, first), (_, again), (_, other) = (scenarios_of(DAY, 40, seed, days=12) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_price_of_the_day_is_refused():
    history = history_of(DAY)
    today = pl.concat([history, open_source().day(DAY)])
    with pytest.raises(InputError, match="which its bids may not know"):
        price_scenarios(forecast_of(DAY, history), today, RiskSettings(scenarios=5))


def test_prices_of_the_day_and_later_change_no_scenario(tmp_path: Path):
    """The same file with other prices from the day on: the same scenarios, from 14 days that end the day before."""
    days = [*scenario_dates(DAY, 14), DAY, DAY + timedelta(days=1)]
    known = pl.concat([open_source().day(day) for day in days])
    columns = ["start_utc", "node", *PRICES]
    is_late = pl.col("market_date") >= DAY
    changed = known.with_columns(
        pl.when(is_late).then(pl.col(name) + 100.0).otherwise(name).alias(name) for name in PRICES
    )
    found = []
    for name, prices in (("known", known), ("changed", changed)):
        file = tmp_path / f"{name}.csv"
        prices.select(columns).with_columns(pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(file)
        settings = Settings(fleet=FleetSettings(prosumers=30), risk=RiskSettings(scenarios=40, history_days=14))
        found.append(DayInputs(DAY, settings, file, None, None).price_scenarios)
    assert found[0].equals(found[1])
    assert found[0]["error_date"].max() == DAY - timedelta(days=1)


def test_a_single_scenario_reads_no_history_and_is_empty():
    assert DayInputs(DAY, Settings(), None, None, None).price_scenarios.is_empty()


def test_too_short_a_history_is_refused_with_its_remedy():
    history = history_of(DAY, 5)
    with pytest.raises(InputError, match=r"5 days of prices give 2.*risk.history_days"):
        price_scenarios(forecast_of(DAY, history), history, RiskSettings(scenarios=5))


def test_a_source_that_begins_late_gives_the_days_it_has():
    history = history_of(DAY, 12)
    scenarios = price_scenarios(forecast_of(DAY, history), history, RiskSettings(scenarios=30))
    assert scenarios["error_date"].n_unique() == 9
    assert scenarios["scenario"].n_unique() == 30


def test_everyone_there_delivers_everything_and_nobody_there_nothing():
    opportunity, prosumer = np.array([0, 0, 1]), np.array([0, 1, 0])
    kw, agreed = np.array([30.0, 10.0, 5.0]), np.array([40.0, 80.0, 2.0])
    for availability, share, unpaid in ((np.ones(2), 1.0, [0.0, 0.0, 0.0]), (np.zeros(2), 0.0, [50.0, 2.0, 0.0])):
        delivered, not_paid = deliveries(opportunity, prosumer, kw, agreed, availability, (4, 3), seed=1)
        assert delivered[:, :2] == pytest.approx(np.full((4, 2), share))
        assert delivered[:, 2] == pytest.approx(np.ones(4))  # nobody is under option: nothing can be missing
        assert not_paid == pytest.approx(np.tile(unpaid, (4, 1)))  # (30 x 40 + 10 x 80) / 40 = 50


def test_who_is_away_is_away_all_day_and_as_often_as_stated():
    n, count = 300, 400
    opportunity, prosumer = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    kw = np.tile(np.linspace(1.0, 9.0, n), 2)
    delivered, _ = deliveries(opportunity, prosumer, kw, np.zeros(2 * n), np.full(n, 0.9), (count, 2), seed=5)
    assert delivered[:, 0] == pytest.approx(delivered[:, 1])
    assert delivered.mean() == pytest.approx(0.9, abs=0.005)
    assert delivered.std() > 0.005
