"""Days solved by both methods, and what must hold of both answers.

Where a price below zero makes lost energy earn, both bounds are valid but need not be the same: such a day "burns".
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from vpp_pipeline.dispatch.column_generation.branch_and_price import Generation
from vpp_pipeline.dispatch.column_generation.master import Coordinator, Master
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, stores_of
from vpp_pipeline.dispatch.column_generation.shard import NO_SALE
from vpp_pipeline.dispatch.column_generation.warm_start import groups_of, similarity_order
from vpp_pipeline.dispatch.exact import solve_exactly
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, Duals, unlimited_mw
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.small_days import HOURLY, RULES, random_day
from vpp_pipeline_tests.dispatch.test_solve import delivers_exactly, keeps_its_limits

SEEDS = range(40)
SETTINGS = OptimiserSettings(pivot_limit=200_000)  # never reached where a gap can be closed
SHORT = OptimiserSettings(pivot_limit=2_500)
RELATIVE = 1e-6
TIGHT = OptimiserSettings(pivot_limit=2_500, gap_target_fraction=1e-7)


@cache
def by_columns(seed: int) -> DaySolution:
    day = random_day(seed)
    return solve_by_columns(day, RULES, SHORT if burns(day) else SETTINGS)


@cache
def by_the_book(seed: int) -> DaySolution:
    return solve_exactly(random_day(seed), RULES, SETTINGS)


def burns(day: DayProblem) -> bool:
    """Sending 1 kWh round a store burns 1 / (ηc ηd) - 1: it earns at most that times the lowest price below zero."""
    burnt = 1.0 / (day.fleet.charge_efficiency * day.fleet.discharge_efficiency) - 1.0
    owed = day.call_price - day.satisfaction_worth
    pays = owed <= burnt[day.agreement_prosumer] * max(0.0, -day.market_price.min())
    return bool((pays & (day.product[day.agreement_opportunity] == 0)).any())


def without_negative_prices(day: DayProblem) -> DayProblem:
    """The day, and each of its scenarios, with prices of charging of 0 at least."""
    scenarios = day.scenarios
    if scenarios is not None:
        scenarios = replace(scenarios, market_price=np.maximum(scenarios.market_price, 0.0))
    return replace(day, market_price=np.maximum(day.market_price, 0.0), scenarios=scenarios)


def of_size(day: DayProblem, size: float) -> DayProblem:
    """The day with devices, commitments and opportunities ``size`` times as large, at the same prices."""
    in_kw = (*HOURLY, "initial_stored_kwh", "terminal_stored_kwh", "capacity_kwh")
    fleet = replace(day.fleet, **{name: size * getattr(day.fleet, name) for name in in_kw})
    bids = {name: size * getattr(day, name) for name in ("committed_kw", "required_mw", "minimum_mw")}
    return replace(day, fleet=fleet, **bids)


def assert_neither_beats_the_others_bound(first: DaySolution, second: DaySolution) -> None:
    tolerance = RELATIVE * max(1.0, abs(first.bound_usd))
    assert first.objective_usd <= second.bound_usd + tolerance
    assert second.objective_usd <= first.bound_usd + tolerance
    assert first.objective_usd <= first.bound_usd
    assert second.objective_usd <= second.bound_usd


def assert_within_the_rules(day: DayProblem, answer: DaySolution) -> None:
    """Whole steps between minimum and R, or nothing; delivered to the last watt; every limit of every prosumer."""
    steps = answer.quantity_mw / RULES.quantity_step_mw
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    assert (answer.quantity_mw[~answer.is_bid] == 0.0).all()
    assert (answer.quantity_mw[answer.is_bid] >= day.minimum_mw[answer.is_bid] - 1e-9).all()
    assert (answer.quantity_mw[answer.is_bid] <= day.required_mw[answer.is_bid] + 1e-9).all()
    assert not (answer.is_bid & ~day.may_bid).any()
    assert delivers_exactly(day, answer)
    assert keeps_its_limits(day, answer)
    assert np.minimum(answer.schedule.charge_kw, answer.schedule.discharge_kw).max(initial=0.0) < 1e-3


def money_of(day: DayProblem, answer: DaySolution) -> float:
    """What the answer earns, counted agreement by agreement and hour by hour."""
    usd = 0.0
    for k, o in enumerate(day.agreement_opportunity):
        sold_kw = answer.schedule.sold_kw(int(day.product[o]))[day.agreement_prosumer[k], day.covers[o]].sum()
        usd -= (day.call_price[k] - day.satisfaction_worth[k]) * sold_kw / 1000.0
    for o, quantity_mw in enumerate(answer.quantity_mw):
        usd += day.price[o] * quantity_mw * day.covers[o].sum()
    for t, price in enumerate(day.market_price):
        if not any(answer.is_bid[o] and day.product[o] == 0 and day.covers[o, t] for o in range(len(day.price))):
            usd -= (price + day.charging_adder) * answer.schedule.grid_charge_kw[:, t].sum() / 1000.0
    return usd


def by_cvxpy(day: DayProblem) -> float:
    """The relaxation with 0 ≤ z ≤ 1, $."""
    linear = formulate(day, binary=False)
    linear.set_bids(np.zeros(len(day.price)), day.may_bid.astype(float))
    linear.set_quantities(np.zeros(len(day.price)), unlimited_mw(day))
    return linear.solve("HIGHS")


def generation_of(day: DayProblem, groups: int | None = None) -> Generation:
    """Column generation that begins with no sale alone; each prosumer a group, or ``groups`` of them."""
    stores = stores_of(day)
    group, count = groups_of(similarity_order(stores), groups or len(day.fleet))
    most_mw = np.minimum(stores.energy_kw, stores.room).sum(axis=0) / 1000.0, stores.max_charge.sum(axis=0) / 1000.0
    coordinator = Coordinator(day, *most_mw)
    pricer = FleetPricer(stores, group, count, day.call_hours)
    generation = Generation(pricer, coordinator, Master(coordinator, count), dust=0.0, parts=0)
    nothing = np.zeros(len(day.market_price))
    generation.put(Duals(nothing + NO_SALE, coordinator.market, nothing, nothing))
    return generation


def assert_same_relaxation(day: DayProblem, groups: int | None = None) -> None:
    """What the columns earn, and their bound, are CVXPY's optimum."""
    low, high = np.zeros(len(day.price)), day.may_bid.astype(float)
    answer, bound_usd = generation_of(day, groups).converge(low, high, 1e-9)
    expected = pytest.approx(by_cvxpy(day), rel=1e-7, abs=1e-7)
    assert answer.objective_usd == expected
    assert bound_usd == expected


EVERY_SEED = seeds(range(160), often=8)
