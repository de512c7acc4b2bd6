"""The check of how prices were forecast: it warns where another method stood in."""

from __future__ import annotations

import pytest

from vpp_pipeline.domain.forecast import IN_PLACE_OF, METHOD
from vpp_pipeline.domain.verify_forecast import prices_are_forecast_as_asked
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
    )
]


@pytest.mark.parametrize("fault", WARNINGS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_a_day_as_asked_says_how_it_was_forecast(honest: SolvedDay) -> None:
    verdict = prices_are_forecast_as_asked(honest.tables, honest.settings)
    assert verdict.passed
    assert verdict.description == "prices are forecast by 7-day hourly mean, from 7 days"
