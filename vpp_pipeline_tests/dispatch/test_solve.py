"""Settlement, limits of time and solvers, and what the answer says about them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.core.arrays import round_down, round_up
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.brute_force import brute_force
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, random_answer, random_day, small_day

SEEDS = range(36)
KW = 1e-4


def delivers_exactly(day: DayProblem, answer: DaySolution) -> bool:
    """Each opportunity's members deliver q in each of its hours, and nothing is sold without a bid."""
    schedule = answer.schedule
    sold_kw = [
        schedule.exported_kw.sum(axis=0) - schedule.grid_charge_kw.sum(axis=0),
        schedule.spin_kw.sum(axis=0),
        schedule.nonspin_kw.sum(axis=0),
    ]
    for product in range(3):
        is_covered = day.covers[answer.is_bid & (day.product == product)].any(axis=0)
        for o in np.flatnonzero(answer.is_bid & (day.product == product)):
            if not np.allclose(sold_kw[product][day.covers[o]], 1000.0 * answer.quantity_mw[o], rtol=0.0, atol=KW):
                return False
        if schedule.sold_kw(product)[:, ~is_covered].max(initial=0.0) > KW:
            return False
    return True


def keeps_its_limits(day: DayProblem, answer: DaySolution) -> bool:
    """Every limit of every prosumer, from the powers alone."""
    fleet, s = day.fleet, answer.schedule
    eta_d = fleet.discharge_efficiency[:, None]
    change_kwh = fleet.charge_efficiency[:, None] * s.charge_kw - s.discharge_kw / eta_d - fleet.drive_kwh
    after_kwh = fleet.initial_stored_kwh[:, None] + change_kwh.cumsum(axis=1)
    before_kwh = after_kwh - change_kwh
    floor_before = np.column_stack(
        [np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0]), fleet.min_stored_kwh[:, :-1]]
    )
    reserve_kw = s.spin_kw + s.nonspin_kw
    backing_kwh = reserve_kw * day.call_hours / eta_d
    excess = [
        *(
            -kw
            for kw in (s.grid_charge_kw, s.solar_charge_kw, s.discharge_kw, s.solar_sold_kw, s.spin_kw, s.nonspin_kw)
        ),
        s.charge_kw - fleet.max_charge_kw,
        s.discharge_kw + reserve_kw - fleet.max_discharge_kw,
        s.exported_kw + reserve_kw - np.maximum(fleet.load_kw - fleet.solar_kw, 0.0) - fleet.export_limit_kw,
        s.solar_charge_kw + s.solar_sold_kw - fleet.surplus_kw,
        fleet.min_stored_kwh - after_kwh,
        after_kwh - fleet.max_stored_kwh,
        (fleet.terminal_stored_kwh - after_kwh[:, -1])[:, None],
        backing_kwh - (after_kwh - fleet.min_stored_kwh),
        backing_kwh - (before_kwh - floor_before),
        ((s.discharge_kw / eta_d).sum(axis=1) - fleet.maximum_cycles_per_day * fleet.capacity_kwh)[:, None],
        np.abs(after_kwh - s.stored_kwh),
    ]
    traded_kw = day.committed_kw * answer.is_bid[day.agreement_opportunity]
    excess += [s.sold_kw(product) - day.by_prosumer_and_hour(product, traded_kw) for product in range(3)]
    return max(float(part.max()) for part in excess) <= KW


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_settled_bids_are_whole_steps_within_the_rules_and_are_delivered_within_every_limit(seed: int):
    day, answer = random_day(seed), random_answer(seed)
    steps = answer.quantity_mw / RULES.quantity_step_mw
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    assert (answer.quantity_mw[~answer.is_bid] == 0.0).all()
    assert (answer.quantity_mw[answer.is_bid] >= day.minimum_mw[answer.is_bid] - 1e-9).all()
    assert (answer.quantity_mw[answer.is_bid] <= day.required_mw[answer.is_bid] + 1e-9).all()
    assert not (answer.is_bid & ~day.may_bid).any()
    assert delivers_exactly(day, answer)
    assert keeps_its_limits(day, answer)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_nobody_charges_and_discharges_at_once_where_the_agreed_price_exceeds_what_burning_earns(seed: int):
    """Sending 1 kWh round a store burns 1 / (ηc ηd) - 1, which earns at most that times the lowest negative price."""
    day = random_day(seed)
    worth = day.call_price - day.satisfaction_worth
    i = day.agreement_prosumer
    burnt = 1.0 / (day.fleet.charge_efficiency * day.fleet.discharge_efficiency) - 1.0
    pays = worth <= burnt[i] * max(0.0, -day.market_price.min())
    safe = np.setdiff1d(np.arange(len(day.fleet)), i[pays & (day.product[day.agreement_opportunity] == 0)])
    schedule = random_answer(seed).schedule
    assert np.minimum(schedule.charge_kw, schedule.discharge_kw)[safe].max(initial=0.0) < 1e-6


def burning_day(lowest_usd: float, agreed_usd: float) -> DayProblem:
    """Three full stores (one-way efficiency 0.95), a bid of 0.1 MW at 20 $/MWh, then an hour that pays for charging."""
    batteries = fleet(
        3,
        2,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        initial_stored_kwh=100,
        capacity_kwh=100,
        max_stored_kwh=100,
        maximum_cycles_per_day=2,
        max_charge_kw=100,
        max_discharge_kw=100,
    )
    return small_day(batteries, [20.0, lowest_usd], [deal("energy", [0], 20.0, 0.1, kw=39.0, agreed=agreed_usd)])


@pytest.mark.parametrize("credit", [0.0, 10.0])
def test_energy_is_not_burnt_at_the_lowest_price_where_owners_are_paid_enough(credit: float):
    """At -150 $/MWh burning earns 0.108 x 150 = 16.2 $/MWh; owners get 29 $/MWh less a credit of 5."""
    day = burning_day(-150.0, 29.0)
    day = replace(day, price=np.array([60.0]), satisfaction_worth=np.full(3, credit / 2.0))
    schedule = solve_day(day, RULES, OptimiserSettings()).schedule
    assert schedule.discharge_kw[:, 0].sum() == pytest.approx(100.0)
    assert schedule.charge_kw[:, 0] == pytest.approx(np.zeros(3), abs=1e-6)


def test_energy_is_never_burnt_even_where_owners_are_paid_little():
    schedule = solve_day(burning_day(-150.0, 8.0), RULES, OptimiserSettings()).schedule
    assert np.minimum(schedule.charge_kw, schedule.discharge_kw).max() < 1e-3


def test_two_solves_give_identical_answers():
    day = random_day(29)
    first, second = (solve_day(day, RULES, OptimiserSettings()) for _ in range(2))
    assert first.objective_usd == second.objective_usd
    assert (first.quantity_mw == second.quantity_mw).all()
    assert (first.stored_value_usd_per_mwh == second.stored_value_usd_per_mwh).all()
    for name, values in vars(first.schedule).items():
        assert (values == getattr(second.schedule, name)).all(), name


@pytest.mark.parametrize("binary", [True, False])
def test_the_formulation_is_parametrised_convex(binary: bool):
    problem = formulate(random_day(0), binary=binary).problem
    assert problem.is_dcp(dpp=True)
    assert problem.is_mixed_integer() is binary


@pytest.mark.parametrize("seed", seeds([8, 18, 29]))
def test_no_time_at_all_still_gives_an_answer_not_worse_than_no_bid_and_says_so(seed: int):
    day = random_day(seed)
    best = brute_force(day)
    answer = solve_day(day, RULES, OptimiserSettings(time_limit_seconds=1e-9))
    assert re.search(r"stopped at its \S+ s of CPU time", answer.method)  # of the method whose answer is better
    assert answer.objective_usd >= best.no_bid_usd - 1e-6
    assert answer.bound_usd >= best.objective_usd - 1e-6
    assert answer.gap_fraction == pytest.approx(
        (answer.bound_usd - answer.objective_usd) / (answer.bound_usd - answer.no_bid_usd)
    )
    assert delivers_exactly(day, answer)
    assert keeps_its_limits(day, answer)


@pytest.mark.filterwarnings("error")
def test_no_warning_is_raised():
    for seed in (1, 11, 29):
        solve_day(random_day(seed), RULES, OptimiserSettings())


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (0.1, 0.1, 0.1),
        (0.3, 0.3, 0.3),
        (0.437, 0.43, 0.44),
        (0.43 - 1e-10, 0.43, 0.43),
        (0.43 + 1e-10, 0.43, 0.43),
        (0.0, 0.0, 0.0),
    ],
)
def test_quantities_are_rounded_to_the_step_and_dust_does_not_cost_a_step(value: float, down: float, up: float):
    assert round_down(np.array([value]), 0.01) == pytest.approx([down], abs=1e-12)
    assert round_up(np.array([value]), 0.01) == pytest.approx([up], abs=1e-12)
