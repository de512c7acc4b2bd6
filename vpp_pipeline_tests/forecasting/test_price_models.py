"""Which forecaster a day gets, what stands in for one that cannot be used, and that later prices change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.forecasting.price_baseline import METHOD
from vpp_pipeline.forecasting.price_boosted import METHOD as MODEL
from vpp_pipeline.forecasting.price_lear import LEARNS_DAYS
from vpp_pipeline.forecasting.price_models import AVERAGE, choose
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.settings import ForecastSettings, RiskSettings, Settings
from vpp_pipeline.verification.inputs import prices_are_forecast_as_asked
from vpp_pipeline_tests.forecasting.price_history import before, patterned

DAY = date(2024, 7, 14)
ERROR_DAYS = 14  # whose errors make scenarios
DAYS = patterned(DAY - timedelta(days=230), DAY + timedelta(days=5))
COLUMNS = ("start_utc", "node", "energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")
ALL = ("auto", "seven_day_mean", "yesterday")  # of a file that is not generated, auto is the average


def past(count: int) -> dict[date, pl.DataFrame]:
    wanted = [DAY - timedelta(days=back) for back in range(count, 0, -1)]
    return {day: DAYS[day] for day in wanted if day in DAYS}


def settings(price: str = "auto", scenarios: int = 1) -> Settings:
    return Settings(
        forecast=ForecastSettings(price=price), risk=RiskSettings(scenarios=scenarios, history_days=ERROR_DAYS)
    )


def inputs(file: Path, chosen: Settings, day: date = DAY) -> DayInputs:
    return DayInputs(day, chosen, file, None, None)


def written(folder: Path, days: dict[date, pl.DataFrame]) -> Path:
    file = folder / "prices.parquet"
    pl.concat(days.values()).select(COLUMNS).write_parquet(file)
    return file


@pytest.mark.parametrize(
    ("price", "source", "method"),
    [
        ("auto", "caiso file", AVERAGE),
        ("auto", "synthetic", METHOD),
        ("auto", "synthetic (file)", METHOD),
        ("model", "synthetic", MODEL),
        ("seven_day_mean", "caiso file", METHOD),
        ("yesterday", "caiso file", "yesterday again"),
    ],
)
def test_the_settings_say_who_forecasts(price: str, source: str, method: str):
    forecaster = choose(DAY, ForecastSettings(price=price), source, past)
    made = forecaster.forecast(DAY, before(DAYS, DAY, forecaster.reads_days))
    assert forecaster.method == method
    assert made["method"].unique().to_list() == [method]


def test_yesterday_is_the_day_before():
    forecaster = choose(DAY, ForecastSettings(price="yesterday"), "file", past)
    made = forecaster.forecast(DAY, before(DAYS, DAY, 7))
    assert made["energy_usd_per_mwh"].equals(DAYS[DAY - timedelta(days=1)]["energy_usd_per_mwh"])


def test_an_hour_that_yesterday_lacks_is_that_of_the_day_before():
    monday = date(2024, 3, 11)  # the Sunday before has no hour ending 3
    days = patterned(monday - timedelta(days=7), monday)
    forecaster = choose(monday, ForecastSettings(price="yesterday"), "file", lambda count: days)
    made = forecaster.forecast(monday, before(days, monday, 7))
    saturday = days[monday - timedelta(days=2)].filter(hour_ending=3)["energy_usd_per_mwh"][0]
    assert made.filter(hour_ending=3)["energy_usd_per_mwh"][0] == saturday


def test_too_short_a_history_falls_back_and_the_check_warns(tmp_path: Path):
    short = {day: DAYS[day] for day in past(40)}
    made = inputs(written(tmp_path, short), settings()).forecast
    assert made["method"][0] == f"{METHOD}, in place of the model: it needs 104 days of prices, and there are 40"
    result = prices_are_forecast_as_asked({"market.price_forecast": made}, Settings())
    assert (result.passed, result.is_warning, result.value) == (False, True, 7.0)
    assert "in place of the model" in result.description
    mean = inputs(written(tmp_path, short), settings("seven_day_mean")).forecast
    assert made.drop("method").equals(mean.drop("method"))


def test_without_yesterday_the_mean_stands_in():
    found = choose(DAY, ForecastSettings(price="yesterday"), "file", lambda count: {})
    assert found.method == f"{METHOD}, in place of yesterday: there are no prices of 2024-07-13"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], DayInputs]:
    """By forecaster, the forecast of the day and 40 scenarios around it."""
    file = written(tmp_path_factory.mktemp("prices"), DAYS)
    return cache(lambda price: inputs(file, settings(price, scenarios=40)))


def test_a_forecast_as_asked_passes(honest: Callable[[str], DayInputs]):
    made = honest("auto").forecast
    result = prices_are_forecast_as_asked({"market.price_forecast": made}, Settings())
    assert result.passed
    assert result.description == f"prices are forecast by {AVERAGE}, from {made['history_days'][0]} days"


@pytest.mark.parametrize("price", ALL)
def test_later_prices_change_neither_forecast_nor_scenarios(
    honest: Callable[[str], DayInputs], tmp_path: Path, price: str
):
    first = honest(price)
    tampered = {
        day: rows if day < DAY else rows.with_columns(pl.col("energy_usd_per_mwh", "spin_usd_per_mw_h") * 7 + 300)
        for day, rows in DAYS.items()
    }
    second = inputs(written(tmp_path, tampered), first.settings)
    assert second.forecast.equals(first.forecast)
    assert second.price_scenarios.equals(first.price_scenarios)
    without = inputs(written(tmp_path, past(LEARNS_DAYS)), first.settings)
    assert without.forecast.equals(first.forecast)


@pytest.mark.parametrize("price", ALL)
def test_scenarios_of_every_forecaster_have_its_forecast_as_their_mean(honest: Callable[[str], DayInputs], price: str):
    made = honest(price)
    mean = made.price_scenarios.group_by("start_utc").agg(pl.col("energy_usd_per_mwh").mean()).sort("start_utc")
    assert mean["energy_usd_per_mwh"].to_list() == pytest.approx(made.forecast["energy_usd_per_mwh"].to_list())
    days = made.price_scenarios["error_date"]
    assert days.max() < DAY
    assert days.min() >= DAY - timedelta(days=ERROR_DAYS)


def test_scenarios_of_a_better_forecast_are_closer_together(honest: Callable[[str], DayInputs]):
    spread = {
        price: honest(price)
        .price_scenarios.group_by("start_utc")
        .agg(pl.col("energy_usd_per_mwh").std())["energy_usd_per_mwh"]
        .mean()
        for price in ("auto", "seven_day_mean")
    }
    assert spread["auto"] < 0.5 * spread["seven_day_mean"]


def test_a_model_that_cannot_be_judged_on_unseen_days_is_not_used(tmp_path: Path):
    short = past(110)  # enough to learn from, too few to learn from 14 days earlier as well
    assert choose(DAY, ForecastSettings(price="model"), "caiso file", lambda count: short).method == MODEL
    made = inputs(written(tmp_path, short), settings("model", scenarios=5)).forecast
    assert "it needs 118 days of prices, and there are 110" in made["method"][0]
