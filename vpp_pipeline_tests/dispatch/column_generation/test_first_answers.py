"""A large day has bids however little its search is given, and what exceeds them is given up within every limit."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import pytest

from vpp_pipeline.core.arrays import Flags
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.branch_and_bound import Allowance, Limits
from vpp_pipeline.dispatch.column_generation.branch_and_price import Leaf
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, stores_of
from vpp_pipeline.dispatch.column_generation.recovery import OnStep, give_up_excess
from vpp_pipeline.dispatch.column_generation.shard import Mix, Plan, Put
from vpp_pipeline.dispatch.column_generation.warm_start import decisions_of, prepare, search
from vpp_pipeline.dispatch.formulation import Formulation
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, Duals
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.column_generation.test_days_at_their_limits import battery_day
from vpp_pipeline_tests.dispatch.column_generation.two_methods import SEEDS, assert_within_the_rules, by_columns
from vpp_pipeline_tests.dispatch.conftest import make_day
from vpp_pipeline_tests.dispatch.small_days import RULES, random_day
from vpp_pipeline_tests.dispatch.test_solve import delivers_exactly, keeps_its_limits

NO_TIME = OptimiserSettings(method="column_generation", time_limit_seconds=1e-9, time_limit_seconds_per_thousand=0.0)
MANY = Limits(nodes=1_000, pivots=np.inf)
COARSE = RULES.model_copy(update={"quantity_step_mw": 0.037})  # leaves far more to give up than the market's step


@pytest.mark.slow
@pytest.mark.parametrize(("prosumers", "every"), [(1_000, 2), (1_200, 1)])
def test_a_search_without_any_time_still_bids_close_to_the_best(prosumers: int, every: int):
    """A fleet large enough to be sampled: its first answers leave less than 5% of what bidding could add."""
    day = make_day(OptimiserSettings(), prosumers=prosumers)
    day = replace(day, may_bid=day.may_bid & (np.arange(len(day.price)) % every == 0))
    answer = solve_by_columns(day, RULES, NO_TIME)
    assert "branch and price, 0 nodes" in answer.method
    assert every > 1 or "stopped at its 1e-09 s of CPU time" in answer.method
    assert answer.is_bid.sum() >= 20
    assert answer.gap_fraction < 0.05
    assert_within_the_rules(day, answer)


def test_a_sample_that_the_exact_method_cannot_decide_is_decided_by_columns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails(linear: Formulation, solver: str) -> float:
        raise SolveError(f"{solver} has no answer")

    sample = prepare(random_day(3), 1e-3)
    by_columns_alone = search(prepare(random_day(3), 1e-3), 1e-3, MANY).decisions
    monkeypatch.setattr(Formulation, "solve", fails)
    assert by_columns_alone.any()
    assert (decisions_of(sample, 1e-3, MANY, searches=False).decisions == by_columns_alone).all()
    assert "the exact method failed: HIGHS has no answer" in caplog.text


def test_a_limit_counts_the_process_s_own_seconds_and_not_those_it_waits():
    limit = Allowance.from_now(Limits(1, 1.0, 0.02), lambda: 0.0)
    time.sleep(0.05)
    assert limit.ran_out() == ""
    begun = time.process_time()
    while time.process_time() < begun + 0.03:
        pass
    assert limit.ran_out() == "time"


def test_a_limit_counts_what_was_done_since_it_began():
    done = 7.0
    limit = Allowance.from_now(Limits(nodes=3, pivots=10.0), lambda: done)
    done = 17.0
    assert [limit.ran_out(nodes) for nodes in (0, 2, 3)] == ["", "", "nodes"]
    done = 17.5
    assert limit.ran_out(2) == "pivots"


@pytest.mark.parametrize("method", ["exact", "column_generation"])
def test_a_search_that_stops_at_its_simplex_iterations_stops_at_the_same_ones_each_time(method: Literal["exact"]):
    settings = OptimiserSettings(method=method, pivot_limit=20, gap_target_fraction=0.0, gap_warning_fraction=1.0)
    first, second = (solve_day(random_day(12), RULES, settings) for _ in range(2))
    assert re.search(r"stopped at its limit of 2\d simplex iterations", first.method)  # 20, and more for pricing
    assert first.method == second.method
    assert first.quantity_mw.tobytes() == second.quantity_mw.tobytes()
    assert first.bound_usd == second.bound_usd


def given_up(day: DayProblem, answer: DaySolution) -> tuple[OnStep, DaySchedule, Flags]:
    """What `give_up_excess` makes of an answer whose bids are on a finer step: its plan, what that comes to, and which
    bids fail."""
    count, hours = len(day.fleet), len(day.market_price)
    pricer = FleetPricer(stores_of(day), np.arange(count), count, day.call_hours)
    plan = Plan.of(Mix((), np.zeros((0, count)))).then(Put(np.arange(count), answer.schedule))
    on_step, fails = give_up_excess(day, pricer, plan, answer.is_bid.astype(float), COARSE)
    nothing = Duals(*np.zeros((4, hours)))
    return on_step, pricer.collect(on_step.plan, nothing, nothing).schedule, fails


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_what_exceeds_a_coarser_step_is_given_up_within_every_limit(seed: int):
    """Reserve, sun and discharge are lowered and idle stores charged, or the bid is said to fail."""
    day, answer = random_day(seed), by_columns(seed)
    on_step, schedule, fails = given_up(day, answer)
    for name, values in vars(schedule).items():
        assert values.min() >= min(getattr(answer.schedule, name).min(), 0.0), name
    steps = on_step.quantity_mw / COARSE.quantity_step_mw
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    assert (on_step.quantity_mw <= answer.quantity_mw + 1e-9).all()
    assert fails[answer.is_bid & (on_step.quantity_mw < day.minimum_mw - 1e-9)].all()
    if not fails.any():
        lowered = replace(answer, schedule=schedule, quantity_mw=on_step.quantity_mw)
        assert delivers_exactly(day, lowered)
        assert keeps_its_limits(day, lowered)


def test_full_stores_charge_no_more_and_the_bid_that_nobody_can_lower_fails():
    """Four full batteries without sun that must discharge 100 kW each and may hold no more: nothing can be given up."""
    day = battery_day(initial_stored_kwh=400.0)
    answer = solve_by_columns(day, RULES, OptimiserSettings())
    full = replace(
        day, fleet=replace(day.fleet, max_stored_kwh=np.minimum(day.fleet.max_stored_kwh, answer.schedule.stored_kwh))
    )
    *_, fails = given_up(full, answer)
    energy = answer.is_bid & (day.product == 0)
    assert energy.any()
    assert fails[energy].all()


@pytest.mark.parametrize("seed", [3, 8, 21])
def test_a_search_that_begins_at_the_leaves_of_another_ends_where_a_search_from_the_root_does(seed: int):
    day, gap = random_day(seed), 1e-6
    whole = search(prepare(day, gap), gap, MANY)
    for branchings in (1, 2, 4):
        leaves = search(prepare(day, gap), gap, replace(MANY, nodes=branchings)).leaves
        assert_hold_every_decision_once(leaves, day.may_bid)
        begun = replace(prepare(day, gap), first=np.zeros(len(day.price)), leaves=leaves)
        found = search(begun, gap, MANY)
        assert_hold_every_decision_once(found.leaves, day.may_bid)
        assert found.objective_usd == pytest.approx(whole.objective_usd, rel=1e-5, abs=1e-3)
        assert found.bound_usd >= whole.objective_usd - 1e-6


def assert_hold_every_decision_once(leaves: tuple[Leaf, ...], may_bid: Flags) -> None:
    for z in product((0.0, 1.0), repeat=len(may_bid)):
        if not (np.array(z) > may_bid).any():
            assert sum(bool(((leaf.low <= z) & (z <= leaf.high)).all()) for leaf in leaves) == 1


def test_a_search_without_branchings_passes_the_leaves_on():
    day, gap = random_day(3), 1e-6
    leaves = search(prepare(day, gap), gap, replace(MANY, nodes=2)).leaves
    passed = search(replace(prepare(day, gap), leaves=leaves), gap, replace(MANY, nodes=0)).leaves
    assert len(leaves) > 1
    assert sorted((*leaf.low, *leaf.high) for leaf in passed) == sorted((*leaf.low, *leaf.high) for leaf in leaves)


def test_the_fleet_sells_what_it_buys_only_where_a_bid_is_undecided():
    """What `both_mw` says is what a bid of energy is branched on for."""
    undecided = 0
    for seed in SEEDS:
        prepared = prepare(random_day(seed), 1e-3)
        generation, day = prepared.generation, prepared.generation.coordinator.day
        nothing, anything = np.zeros(len(day.price)), day.may_bid.astype(float)
        relaxed, _ = generation.converge(nothing, anything, 1e-4)
        open_hours = day.covers[generation.coordinator.is_energy & (np.minimum(relaxed.z, 1.0 - relaxed.z) > 1e-6)]
        assert (relaxed.both_mw[~open_hours.any(axis=0)] < 1e-9).all()
        undecided += int((relaxed.both_mw > 1e-9).any())
        decided, _ = generation.converge(np.round(relaxed.z), np.round(relaxed.z), 1e-4)
        assert (decided.both_mw < 1e-9).all()
    assert undecided > 0
