"""Prices that the solution reports, against what a little more of the thing really earns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, random_answer, random_day, small_day, with_fleet

SEEDS = [1, 3, 5, 15, 29]
STEP_KWH, STEP_MW = 1e-3, 1e-4


def earned_usd(day: DayProblem, is_bid: np.ndarray, low_mw: np.ndarray, high_mw: np.ndarray) -> float:
    """What the day earns with these bids decided and quantities within these bounds; -inf where that is impossible."""
    linear = formulate(day, binary=False)
    linear.set_bids(is_bid.astype(float), is_bid.astype(float))
    linear.set_quantities(low_mw, high_mw)
    try:
        return linear.solve("HIGHS")
    except SolveError as error:
        assert "infeasible" in str(error)  # noqa: PT017 - anything else is a defect
        return -math.inf


def two_sided(earned: list[float], step: float) -> tuple[float, float]:
    """Slopes to the left and to the right, from the values at -step, 0, +step."""
    return (earned[1] - earned[0]) / step, (earned[2] - earned[1]) / step


def test_stored_energy_is_worth_what_it_saves_in_the_worked_day():
    """One kWh more at the end of the cheap hour saves buying 1 / 0.8 kWh at 20 $/MWh: 25 $/MWh.

    Quantities are settled, so one kWh more at the end of the day, where 50 kWh are owed, saves the same: 25 $/MWh.
    """
    batteries = fleet(
        3,
        2,
        charge_efficiency=0.8,
        discharge_efficiency=0.8,
        initial_stored_kwh=50,
        terminal_stored_kwh=50,
        max_stored_kwh=200,
        max_charge_kw=70,
        max_discharge_kw=50,
    )
    answer = solve_day(
        small_day(batteries, [20.0, 100.0], [deal("energy", [1], 100.0, 0.12, kw=45.0, agreed=30.0)]),
        RULES,
        OptimiserSettings(),
    )
    assert answer.stored_value_usd_per_mwh == pytest.approx(np.full((3, 2), 25.0), abs=1e-6)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_stored_value_equals_what_less_driving_earns(seed: int):
    """The dual lies between the slopes to both sides; where they agree, it equals them. Most of them agree."""
    day = random_day(seed)
    answer = random_answer(seed)
    settled = answer.quantity_mw
    rng = np.random.default_rng(seed)
    smooth = 0
    for i, t in zip(rng.integers(0, len(day.fleet), 12), rng.integers(0, len(day.market_price), 12), strict=True):
        earned = []
        for less in (-STEP_KWH, 0.0, STEP_KWH):
            drive_kwh = day.fleet.drive_kwh.copy()
            drive_kwh[i, t] -= less
            earned.append(earned_usd(with_fleet(day, drive_kwh=drive_kwh), answer.is_bid, settled, settled))
        left, right = (1000.0 * slope for slope in two_sided(earned, STEP_KWH))
        value = answer.stored_value_usd_per_mwh[i, t]
        assert min(left, right) - 0.01 <= value <= max(left, right) + 0.01
        smooth += abs(left - right) < 0.01
    assert smooth >= 6


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_shadow_price_equals_what_moving_the_limits_of_the_quantity_earns_per_hour(seed: int):
    day = random_day(seed)
    answer = random_answer(seed)
    free, nothing = unlimited_mw(day) + 1.0, np.zeros(len(day.price))
    checked = 0
    for o in np.flatnonzero(answer.is_bid):
        earned = []
        for more in (-STEP_MW, 0.0, STEP_MW):
            limits = {"required_mw": day.required_mw.copy(), "minimum_mw": day.minimum_mw.copy()}
            for limit in limits.values():
                limit[o] += more
            earned.append(earned_usd(replace(day, **limits), answer.is_bid, nothing, free))
        left, right = (slope / day.hours[o] for slope in two_sided(earned, STEP_MW))
        assert min(left, right) - 1e-3 <= answer.shadow_price_usd_per_mwh[o] <= max(left, right) + 1e-3
        checked += 1
    assert checked > 0


GIFT_KW = 1e-2


def with_one_more(day: DayProblem, member: Fleet, opportunity: int | None = None) -> DayProblem:
    """The day with one more prosumer, who gives GIFT_KW to an opportunity for nothing, if one is named."""
    joined = {name: np.concatenate([getattr(day.fleet, name), getattr(member, name)]) for name in vars(member)}
    wider = replace(day, fleet=Fleet(**{name: joined[name] for name in Fleet.__dataclass_fields__}))
    if opportunity is None:
        return wider
    return replace(
        wider,
        agreement_opportunity=np.append(day.agreement_opportunity, opportunity),
        agreement_prosumer=np.append(day.agreement_prosumer, len(day.fleet)),
        committed_kw=np.append(day.committed_kw, GIFT_KW),
        call_price=np.append(day.call_price, 0.0),
        premium=np.append(day.premium, 0.0),
        satisfaction_worth=np.append(day.satisfaction_worth, 0.0),
    )


def giver(product: int, hour: int, hours: int) -> Fleet:
    """Sun, or for reserves a full store, that can give GIFT_KW in that hour alone."""
    kw = np.zeros((1, hours))
    kw[0, hour] = GIFT_KW
    return fleet(1, hours, initial_stored_kwh=10.0, max_discharge_kw=kw) if product else fleet(1, hours, solar_kw=kw)


def taker(hour: int, hours: int) -> Fleet:
    """A store that must charge GIFT_KW in that hour, and drives it away."""
    kw = np.zeros((1, hours))
    kw[0, hour] = GIFT_KW
    return fleet(1, hours, max_charge_kw=kw, drive_kwh=kw)


@pytest.mark.parametrize("product", [0, 1, 2])
def test_one_more_kw_for_nothing_earns_the_dual_of_its_hour(product: int):
    """Where the slopes to both sides differ, the dual may be above what more earns, never below; mostly they agree."""
    agree = []
    for seed in SEEDS:
        day, answer = random_day(seed), random_answer(seed)
        dual = (answer.duals.sell, answer.duals.spin, answer.duals.nonspin)[product]
        nothing, free = np.zeros(len(day.price)), unlimited_mw(day)
        before_usd = earned_usd(day, answer.is_bid, nothing, free)
        for o in np.flatnonzero(answer.is_bid & (day.product == product)):
            for t in np.flatnonzero(day.covers[o]):
                more = with_one_more(day, giver(product, t, len(day.market_price)), o)
                slope = 1000.0 * (earned_usd(more, answer.is_bid, nothing, free) - before_usd) / GIFT_KW
                assert slope <= dual[t] + 0.01
                agree.append(abs(slope - dual[t]) < 0.01)
    assert len(agree) >= 2
    assert np.mean(agree) > 0.7


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_one_more_kw_of_charging_costs_the_dual_of_its_hour(seed: int):
    day, answer = random_day(seed), random_answer(seed)
    nothing, free, hours = np.zeros(len(day.price)), unlimited_mw(day), len(day.market_price)
    before_usd = earned_usd(day, answer.is_bid, nothing, free)
    costs, some = [], range(seed % 3, hours, 3)
    for t in some:
        after_usd = earned_usd(with_one_more(day, taker(t, hours)), answer.is_bid, nothing, free)
        costs.append(1000.0 * (before_usd - after_usd) / GIFT_KW)
    assert (np.array(costs) >= answer.duals.buy[some] - 0.01).all()
    assert np.mean(np.abs(costs - answer.duals.buy[some]) < 0.01) > 0.7


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_duals_say_where_nothing_can_be_sold(seed: int):
    day, answer = random_day(seed), random_answer(seed)
    sells = [day.covers[answer.is_bid & (day.product == product)].any(axis=0) for product in range(3)]
    assert (np.isneginf(answer.duals.sell) == ~sells[0]).all()
    assert (answer.duals.sell <= answer.duals.buy).all()
    assert answer.duals.buy[~sells[0]].tolist() == (day.market_price + day.charging_adder)[~sells[0]].tolist()
    assert (answer.duals.spin[~sells[1]] == 0.0).all()
    assert (answer.duals.nonspin[~sells[2]] == 0.0).all()


def test_shadow_price_of_the_worked_day():
    """R = 0.1 MW binds; one MW more would earn 100 - 30 = 70 $ an hour, three times over in a block of three."""
    solar = fleet(3, 3, solar_kw=100.0)
    answer = solve_day(
        small_day(solar, [90.0] * 3, [deal("energy", [0, 1, 2], 100.0, 0.1, kw=39.0, agreed=30.0)]),
        RULES,
        OptimiserSettings(),
    )
    assert answer.objective_usd == pytest.approx(0.1 * 70.0 * 3)
    assert answer.shadow_price_usd_per_mwh == pytest.approx([70.0])
