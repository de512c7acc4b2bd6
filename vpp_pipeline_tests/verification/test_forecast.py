"""The check of how prices were forecast: it warns where another method stood in."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF, METHOD
from vpp_pipeline.verification.inputs import (
    charging_is_forecast_as_asked,
    every_prosumer_is_physical,
    meters_are_whole_and_up_to_date,
    prices_are_forecast_as_asked,
    solar_is_forecast_as_asked,
    the_load_is_forecast_as_asked,
)
from vpp_pipeline_tests.conftest import DAY, SolvedDay
from vpp_pipeline_tests.verification.tampering import FORECAST, Fault, assert_caught, edit

STOOD_IN = f"{METHOD}{IN_PLACE_OF}the model: it needs 104 days of prices, and there are 40"
BROKEN = {
    "market_date": DAY,
    "meter_id": "meter_7",
    "column_name": "load_kwh",
    "problem": "an hour is missing",
    "site_type": "home",
    "first_date": DAY - timedelta(5),
    "days": 2,
    "file": "meters.csv",
    "file_row": 77,
    "value": None,
    "remedy": "Add the hour",
}
WARNINGS = [
    Fault(
        prices_are_forecast_as_asked,
        "the mean stands in for the model",
        FORECAST,
        edit(FORECAST, method=STOOD_IN),
        "in place of the model: it needs 104 days of prices",
    ),
    *(
        Fault(
            check,
            "the last good one stands in",
            table,
            edit(
                table,
                method="last good, in place of metered: no hour",
                made_for_date=pl.col("market_date") - timedelta(3),
            ),
            r"last good, in place of metered: no hour \(3 days old\)",
        )
        for check, table in (
            (solar_is_forecast_as_asked, "market.solar_forecast"),
            (the_load_is_forecast_as_asked, "market.load_forecast"),
            (charging_is_forecast_as_asked, "market.charging_forecast"),
        )
    ),
    Fault(
        meters_are_whole_and_up_to_date,
        "a meter is set aside",
        "market.meter_quarantine",
        lambda day: pl.DataFrame([BROKEN], schema=day["market.meter_quarantine"].schema),
        r"meter_7, load_kwh: an hour is missing \(2 days; row 77 of meters.csv\)",
    ),
    Fault(
        every_prosumer_is_physical,
        "EVs drive what they state although more is expected",
        "market.charging_forecast",
        edit("market.charging_forecast", charging_per_mean=3.0),
        "drives .* kWh instead of",
        None,
    ),
]


@pytest.mark.parametrize("fault", WARNINGS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_a_day_as_asked_says_how_it_was_forecast(honest: SolvedDay) -> None:
    result = prices_are_forecast_as_asked(honest.tables, honest.settings)
    assert result.passed
    assert result.description == "prices are forecast by 7-day hourly mean, from 7 days"


def test_a_day_made_before_there_were_forecasts_of_charging_is_judged_as_it_was_made(honest: SolvedDay) -> None:
    new = {"market.charging_forecast", "market.metered_hours", "market.meter_quarantine"}
    older = {name: table for name, table in honest.tables.items() if name not in new}
    older["market.solar_forecast"] = older["market.solar_forecast"].drop("method", "made_for_date")
    checks = (every_prosumer_is_physical, solar_is_forecast_as_asked, charging_is_forecast_as_asked)
    assert all(check(older, honest.settings).passed for check in (*checks, meters_are_whole_and_up_to_date))
