"""Any solver that CVXPY knows, by name: the same answer, its time limit, and a clear word where it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest

from vpp_pipeline.core.errors import InputError, SolveError
from vpp_pipeline.dispatch import without_output
from vpp_pipeline.dispatch.exact import Log, solve_lp
from vpp_pipeline.dispatch.formulation import Formulation, formulate
from vpp_pipeline.dispatch.problem import unlimited_mw
from vpp_pipeline.dispatch.solvers import (
    FIRST_ORDER,
    decides_bids,
    require_solvers,
    solve_day,
    solver_of_lps,
    time_limit,
)
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.brute_force import brute_force
from vpp_pipeline_tests.dispatch.small_days import RULES, random_answer, random_day
from vpp_pipeline_tests.dispatch.test_solve import delivers_exactly, keeps_its_limits

INSTALLED = cp.installed_solvers()
DECIDING = [name for name in INSTALLED if decides_bids(name)]  # others than SCIPY where the machine has them
STOPPED = "stopped at its time limit of 0.0001 s"
missing = pytest.mark.skipif("GUROBI" in INSTALLED or "CPLEX" in INSTALLED, reason="the solver is here")


def test_what_a_library_writes_meanwhile_is_lost_and_nothing_after_it(capfd: pytest.CaptureFixture[str]):
    os.write(1, b"before ")
    with without_output():
        os.write(1, b"Running HiGHS")
    os.write(1, b"after")
    assert capfd.readouterr().out == "before after"


def test_highs_prints_nothing():
    """In a process of its own, since HiGHS 1.16 prints its banner once a process."""
    script = """
import cvxpy as cp
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram
x = cp.Variable(2, bounds=[0.0, 1.0])
problem = cp.Problem(cp.Maximize(cp.sum(x)), [cp.sum(x) <= 1.0])
WarmLinearProgram(problem).solve()
problem.solve(solver="HIGHS")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("seed", seeds(range(12)))
def test_clarabel_earns_what_highs_earns(seed: int):
    answer = solve_day(random_day(seed), RULES, OptimiserSettings(solver="CLARABEL"))
    assert answer.solver == "CLARABEL"
    assert answer.objective_usd == pytest.approx(random_answer(seed).objective_usd, rel=1e-6, abs=1e-6)
    assert "took over" not in answer.method
    assert delivers_exactly(random_day(seed), answer)
    assert keeps_its_limits(random_day(seed), answer)


@pytest.mark.parametrize("seed", seeds([0, 5, 8]))
def test_duals_do_not_depend_on_the_solver(seed: int):
    """Where the optimum has one price; in these days it has."""
    ours = random_answer(seed).duals
    theirs = solve_day(random_day(seed), RULES, OptimiserSettings(solver="CLARABEL")).duals
    for name in ("sell", "buy"):
        ours_usd, theirs_usd = getattr(ours, name), getattr(theirs, name)
        assert (np.isneginf(ours_usd) == np.isneginf(theirs_usd)).all()
        told = np.isfinite(ours_usd)
        assert theirs_usd[told] == pytest.approx(ours_usd[told], abs=1e-2)


@pytest.mark.parametrize("solver", DECIDING)
@pytest.mark.parametrize("seed", seeds([4, 13, 22]))
def test_another_mixed_integer_solver_finds_the_same_bids(seed: int, solver: str):
    """Each with its own cuts and branching; no branch and bound of ours."""
    try:
        require_solvers(OptimiserSettings(solver=solver))
    except InputError:
        pytest.skip(f"{solver} has no licence here")
    day = random_day(seed)
    best = brute_force(day)
    try:
        answer = solve_day(day, RULES, OptimiserSettings(solver=solver))
    except SolveError:
        assert solver == "CPLEX"
        return
    ours = solve_day(day, RULES, OptimiserSettings(gap_target_fraction=0.0))
    assert answer.is_bid.astype(int).tolist() == list(best.decisions)
    assert answer.objective_usd == pytest.approx(ours.objective_usd, rel=1e-6)
    assert answer.bound_usd >= best.objective_usd - 1e-6
    assert f"mixed-integer search by {solver}" in answer.method
    assert "branch and bound" not in answer.method
    assert ("LPs by HIGHS" in answer.method) is (solver_of_lps(solver) != solver)
    assert delivers_exactly(day, answer)


@pytest.mark.parametrize("seed", seeds([4, 13, 22]))
def test_a_solver_that_tells_its_bound_proves_its_gap(seed: int):
    """The relaxation is 0.01 to 1.3 above these optima, relatively; SCIPY has closed that."""
    answer = solve_day(random_day(seed), RULES, OptimiserSettings(solver="SCIPY"))
    best = brute_force(random_day(seed))
    assert answer.bound_usd == pytest.approx(best.objective_usd, rel=2e-4)


@pytest.mark.parametrize("seed", seeds([4, 13, 22]))
def test_a_solver_without_time_leaves_the_first_answer_and_says_so(seed: int):
    day = random_day(seed)
    answer = solve_day(day, RULES, OptimiserSettings(solver="SCIPY", time_limit_seconds=1e-4))
    assert STOPPED in answer.method
    assert answer.objective_usd >= brute_force(day).no_bid_usd - 1e-6
    assert answer.bound_usd >= brute_force(day).objective_usd - 1e-6
    assert answer.gap_fraction > 0.0


def test_each_solver_is_given_the_time_limit_in_its_own_words():
    assert time_limit("HIGHS", 8.0) == {"time_limit": 8.0}
    assert time_limit("GUROBI", 8.0) == {"TimeLimit": 8.0}
    assert time_limit("MOSEK", 8.0) == {"mosek_params": {"MSK_DPAR_MIO_MAX_TIME": 8.0}}
    assert time_limit("CPLEX", 8.0) == {"cplex_params": {"timelimit": 8.0}}
    assert time_limit("GLPK_MI", 8.0) == {"tm_lim": 8000}
    assert time_limit("ECOS_BB", 8.0) == {}


@missing
@pytest.mark.parametrize("setting", ["solver", "fallback_solver"])
def test_a_solver_that_is_not_installed_is_named_with_its_setting_and_the_way_to_get_it(setting: str):
    with pytest.raises(InputError) as refused:
        solve_day(random_day(4), RULES, OptimiserSettings(**{setting: "GUROBI"}))
    words = str(refused.value)
    assert f"the setting optimiser.{setting} cannot be used: GUROBI is not installed (value 'GUROBI')" in words
    assert "pip install gurobipy" in words
    assert "CLARABEL" in words
    assert "HIGHS" in words


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_a_solver_whose_answers_break_limits_is_refused_and_recommended_nowhere(name: str):
    with pytest.raises(InputError, match="first-order") as refused:
        require_solvers(OptimiserSettings(solver=name))
    assert "HIGHS" in str(refused.value)
    with pytest.raises(InputError) as unknown:
        require_solvers(OptimiserSettings(solver="NOBODY"))
    assert name not in str(unknown.value).replace(",", " ").split()


def test_a_name_that_nobody_knows_gets_the_list_of_names():
    with pytest.raises(InputError, match=r"CVXPY knows no solver of that name \(value 'highs'\).*GUROBI, HIGHS"):
        require_solvers(OptimiserSettings(solver="highs"))


def test_default_solvers_need_no_look_at_cvxpy():
    require_solvers(OptimiserSettings())


@missing
def test_both_solvers_are_named_when_both_fail():
    linear = no_bid(4)
    with pytest.raises(SolveError, match=r"(?s)GUROBI.*; .*CPLEX"):
        solve_lp(linear, OptimiserSettings(solver="GUROBI", fallback_solver="CPLEX"), Log())


@missing
def test_the_fallback_that_took_over_an_lp_is_recorded():
    log, linear = Log(), no_bid(4)
    value = solve_lp(linear, OptimiserSettings(solver="GUROBI", fallback_solver="CLARABEL"), log)
    assert value == pytest.approx(brute_force(random_day(4)).no_bid_usd, abs=1e-3)
    assert log.steps == ["CLARABEL took over an LP: GUROBI: The solver GUROBI is not installed."]


def no_bid(seed: int) -> Formulation:
    """The formulation of a random day with nothing bid."""
    day = random_day(seed)
    linear, nothing = formulate(day, binary=False), np.zeros(len(day.price))
    linear.set_bids(nothing, nothing)
    linear.set_quantities(nothing, unlimited_mw(day))
    return linear
