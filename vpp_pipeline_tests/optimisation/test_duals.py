"""Prices that the solution reports, against what a little more of the thing really earns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.exact import formulate
from vpp_pipeline.optimisation.problem import DayProblem, unlimited_mw
from vpp_pipeline.optimisation.solve import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.optimisation.small_days import (
    RULES,
    deal,
    fleet,
    random_answer,
    random_day,
    small_day,
    with_fleet,
)

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


@pytest.mark.parametrize("seed", SEEDS)
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


@pytest.mark.parametrize("seed", SEEDS)
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
