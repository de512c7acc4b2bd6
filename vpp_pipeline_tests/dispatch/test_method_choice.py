"""Which method solves the day, and that the answer says so."""

from __future__ import annotations

import pytest

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


def test_the_answer_begins_with_the_name_of_its_method():
    assert solve_day(random_day(1), RULES, OptimiserSettings()).method.split(";")[0] == "exact"
