"""The check of how prices were forecast: it warns where another method stood in."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from vpp_pipeline.domain.forecast import IN_PLACE_OF, METHOD
from vpp_pipeline.domain.verify_forecast import (
    charging_is_forecast_as_asked,
    prices_are_forecast_as_asked,
    the_load_is_forecast_as_asked,
    the_sun_is_forecast_as_asked,
)
from vpp_pipeline.domain.verify_inputs import every_prosumer_is_physical
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.domain.tampering import FORECAST, Fault, assert_caught, edit

STOOD_IN = f"{METHOD}{IN_PLACE_OF}the model: it needs 104 days of prices, and there are 40"
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
            claim,
            "the last good one stands in",
            table,
            edit(
                table,
                method="last good, in place of metered: no hour",
                made_for_date=pl.col("market_date") - timedelta(3),
            ),
            r"last good, in place of metered: no hour \(3 days old\)",
        )
        for claim, table in (
            (the_sun_is_forecast_as_asked, "market.solar_forecast"),
            (the_load_is_forecast_as_asked, "market.load_forecast"),
            (charging_is_forecast_as_asked, "market.charging_forecast"),
        )
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
    verdict = prices_are_forecast_as_asked(honest.tables, honest.settings)
    assert verdict.passed
    assert verdict.description == "prices are forecast by 7-day hourly mean, from 7 days"


def test_a_day_made_before_there_were_forecasts_of_charging_is_judged_as_it_was_made(honest: SolvedDay) -> None:
    older = {name: table for name, table in honest.tables.items() if name != "market.charging_forecast"}
    assert every_prosumer_is_physical(older, honest.settings).passed
