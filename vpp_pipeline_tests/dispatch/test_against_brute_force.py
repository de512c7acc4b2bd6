"""Branch and bound over CVXPY's formulation, against SciPy's LP solved for every combination of bids."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from vpp_pipeline.dispatch.branch_and_bound import Limits, search
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.brute_force import Best, brute_force
from vpp_pipeline_tests.dispatch.small_days import RULES, random_answer, random_day

SEEDS = range(36)
RELATIVE = 1e-6


@cache
def case(seed: int) -> tuple[DayProblem, Best]:
    day = random_day(seed)
    return day, brute_force(day)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_the_search_finds_the_best_of_all_combinations_of_bids(seed: int):
    day, best = case(seed)
    nothing = np.zeros(len(day.price))
    found = search(
        day, formulate(day, binary=False), (best.no_bid_usd, nothing), gap_target=0.0, limits=Limits(5_000, 1e6)
    )
    assert found.objective_usd == pytest.approx(best.objective_usd, rel=RELATIVE, abs=RELATIVE)
    assert found.bound_usd == pytest.approx(best.objective_usd, rel=RELATIVE, abs=RELATIVE)
    assert not found.ran_out


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_the_settled_day_lies_between_no_bid_and_the_best_and_its_bound_above(seed: int):
    _, best = case(seed)
    answer = random_answer(seed)
    tolerance = RELATIVE * max(1.0, abs(best.objective_usd))
    assert best.no_bid_usd - tolerance <= answer.objective_usd <= best.objective_usd + tolerance
    assert answer.bound_usd >= best.objective_usd - tolerance
    assert answer.bound_usd >= answer.objective_usd


@pytest.mark.parametrize("seed", seeds(SEEDS[:12]))
def test_a_finer_bid_step_settles_at_the_best(seed: int):
    day, best = case(seed)
    fine = RULES.model_copy(update={"quantity_step_mw": 1e-6})
    answer = solve_day(day, fine, OptimiserSettings(gap_target_fraction=0.0))
    assert answer.objective_usd == pytest.approx(best.objective_usd, rel=1e-5, abs=1e-3)


@pytest.mark.slow  # it solves all of them
def test_the_random_days_are_worth_testing():
    """They hold 23, 24 and 25 hours, negative prices, blocks, all products, and bids that rules and prices forbid."""
    days = [case(seed)[0] for seed in SEEDS]
    bests = [case(seed)[1] for seed in SEEDS]
    assert {len(day.market_price) for day in days} == {23, 24, 25}
    assert min(day.market_price.min() for day in days) < -100.0
    assert max(day.hours.max() for day in days) == 3.0
    assert {int(product) for day in days for product in day.product} == {0, 1, 2}
    assert max(len(day.price) for day in days) == 6
    assert sum(0 < sum(best.decisions) < len(best.decisions) for best in bests) >= 15
    assert sum(best.feasible < 2 ** len(best.decisions) for best in bests) >= 10
    assert any((day.fleet.drive_kwh > 0).any() for day in days)
    assert any((day.satisfaction_worth > 0).any() for day in days)
