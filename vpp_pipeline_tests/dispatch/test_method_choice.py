"""Which method solves the day, and that the answer says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from vpp_pipeline.core.display import percent
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.exact import solve_exactly
from vpp_pipeline.dispatch.solvers import _method, solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.dispatch.small_days import RULES, random_day


@pytest.mark.parametrize(
    ("chosen", "largest", "method"),
    [
        ("auto", 300, "exact"),
        ("auto", 0, "column_generation"),
        ("exact", 0, "exact"),
        ("column_generation", 300, "column_generation"),
    ],
)
def test_the_size_of_the_fleet_chooses_unless_a_method_is_named(chosen: str, largest: int, method: str):
    settings = OptimiserSettings(method=chosen, exact_up_to_prosumers=largest)
    assert _method(random_day(1), settings) == method


def test_the_limit_itself_is_still_solved_exactly():
    day = random_day(1)
    assert _method(day, OptimiserSettings(exact_up_to_prosumers=len(day.fleet))) == "exact"
    assert _method(day, OptimiserSettings(exact_up_to_prosumers=len(day.fleet) - 1)) == "column_generation"


@pytest.mark.parametrize(
    ("seed", "below_zero_usd", "method"),
    [
        pytest.param(39, 0.0, "column_generation", marks=pytest.mark.slow),
        (105, 0.0, "column_generation"),
        (41, 150.0, "exact"),
    ],
)
def test_a_wide_gap_of_one_method_is_narrowed_by_the_other(
    seed: int, below_zero_usd: float, method: Literal["exact", "column_generation"]
):
    """Days on which burning energy pays: columns alone leave 5.6% and 9.0% of what bidding could add, exact 8.7%."""
    drawn = random_day(seed)
    day = replace(drawn, market_price=drawn.market_price - below_zero_usd)
    settings = OptimiserSettings(method=method, pivot_limit=3_000)
    alone = {"exact": solve_exactly, "column_generation": solve_by_columns}
    exact, columns = (alone[name](day, RULES, settings) for name in ("exact", "column_generation"))
    both = solve_day(day, RULES, settings)
    first = exact if method == "exact" else columns
    assert first.gap_fraction > 0.05
    told = f"the better of two methods: {method.replace('_', ' ')} left a gap of {percent(first.gap_fraction)}"
    assert both.method.endswith(told)
    assert both.objective_usd == max(exact.objective_usd, columns.objective_usd)
    assert both.bound_usd == max(min(exact.bound_usd, columns.bound_usd), both.objective_usd)


def test_a_gap_within_the_warning_s_is_left_to_one_method():
    settings = OptimiserSettings(method="column_generation", pivot_limit=3_000, gap_warning_fraction=0.06)
    assert solve_day(random_day(39), RULES, settings).method.startswith("column generation; branch and price")
    assert "the better of two methods" not in solve_day(random_day(39), RULES, settings).method


def test_the_answer_begins_with_the_name_of_its_method():
    assert solve_day(random_day(1), RULES, OptimiserSettings()).method.split(";")[0] == "exact"
