"""On every large day, both methods are held against each other on a few prosumers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.column_generation.method import agreement
from vpp_pipeline.dispatch.formulation import Formulation
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.column_generation.two_methods import without_negative_prices
from vpp_pipeline_tests.dispatch.small_days import random_day
from vpp_pipeline_tests.dispatch.test_risk import random_scenarios


@pytest.mark.parametrize("seed", seeds(range(8)))
def test_both_methods_agree_on_a_part_of_the_fleet(seed: int):
    assert agreement(without_negative_prices(random_day(seed)), seed).startswith("both methods agree to ")


def test_a_difference_of_a_hundred_thousandth_stops_the_day(monkeypatch: pytest.MonkeyPatch):
    solve = Formulation.solve
    monkeypatch.setattr(Formulation, "solve", lambda linear, solver: 1.00001 * solve(linear, solver))
    with pytest.raises(SolveError, match="please report this day"):
        agreement(without_negative_prices(random_day(7)), 7)


def test_prices_below_zero_that_are_only_feared_may_burn_energy_too():
    """By the forecast nothing costs less than zero; in the scenarios that the CVaR weighs, charging is paid."""
    day = without_negative_prices(random_scenarios(random_day(7), 7, 1.0))
    day = replace(day, call_price=0.0 * day.call_price, satisfaction_worth=0.0 * day.satisfaction_worth)
    assert day.scenarios is not None
    feared = replace(day, scenarios=replace(day.scenarios, market_price=day.scenarios.market_price - 120.0))
    assert agreement(feared, 7).startswith("both methods agree to ")
