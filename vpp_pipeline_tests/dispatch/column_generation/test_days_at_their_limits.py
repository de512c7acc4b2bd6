"""Days made by hand, at their limits, are solved alike by both methods."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

import numba as nb
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.dispatch.column_generation import pricing, shard
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.exact import solve_exactly
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import FleetSettings, Settings
from vpp_pipeline_tests.dispatch.brute_force import brute_force
from vpp_pipeline_tests.dispatch.column_generation.two_methods import (
    TIGHT,
    assert_neither_beats_the_others_bound,
    assert_within_the_rules,
    money_of,
)
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, small_day

BATTERY: dict[str, object] = {
    "charge_efficiency": 0.9,
    "discharge_efficiency": 0.9,
    "initial_stored_kwh": 200.0,
    "terminal_stored_kwh": 150.0,
    "capacity_kwh": 400.0,
    "max_stored_kwh": 400.0,
    "max_charge_kw": 200.0,
    "max_discharge_kw": 200.0,
}
PRICES = [20.0, 60.0, 90.0, 30.0]
DEALS = [
    deal("energy", [1, 2], 80.0, 0.3, kw=190.0, agreed=[20.0, 30.0, 50.0, 70.0]),
    deal("energy", [3], 40.0, 0.1, kw=100.0, agreed=15.0),
    deal("spin", [0, 1], 12.0, 0.55, kw=200.0, agreed=2.0),
    deal("nonspin", [2], 8.0, 0.5, kw=180.0, agreed=1.0),
]


def battery_day(prices: list[float] = PRICES, call_hours: float = 1.0, **given: object) -> DayProblem:
    """Four batteries, four hours: a block of energy, another at night, reserve; ``given`` changes the fleet."""
    rules = RULES.model_copy(update={"reserve_call_hours": call_hours})
    return small_day(fleet(4, 4, **{**BATTERY, **given}), prices, DEALS, rules=rules)


HAND_MADE = {
    "plain": battery_day(),
    "a call of half an hour": battery_day(call_hours=0.5),
    "a call of two hours": battery_day(call_hours=2.0),
    "no loss": battery_day(charge_efficiency=1.0, discharge_efficiency=1.0),
    "no store": battery_day(
        max_stored_kwh=0.0, initial_stored_kwh=0.0, terminal_stored_kwh=0.0, capacity_kwh=0.0, solar_kw=150.0
    ),
    "no power": battery_day(max_charge_kw=0.0, max_discharge_kw=0.0),
    "floor is cap": battery_day(min_stored_kwh=200.0, max_stored_kwh=200.0, terminal_stored_kwh=200.0, solar_kw=150.0),
    "nothing may leave the meter": battery_day(export_limit_kw=0.0, solar_kw=100.0),
    "half a cycle a day": battery_day(maximum_cycles_per_day=0.5, max_discharge_kw=400.0),
    "no cycle at all": battery_day(maximum_cycles_per_day=0.0),
    "equal prices": battery_day([50.0] * 4),
    "all prices zero": battery_day([0.0] * 4),
    "all prices below zero": battery_day([-10.0, -80.0, -30.0, -5.0]),
    "prices below zero and sun": battery_day([-10.0, -80.0, 90.0, -5.0], solar_kw=300.0),
    "EV never home": battery_day(
        max_charge_kw=0.0, max_discharge_kw=0.0, drive_kwh=40.0, terminal_stored_kwh=40.0, min_stored_kwh=40.0
    ),
    "one hour": small_day(fleet(4, 1, **BATTERY), [50.0], [deal("energy", [0], 80.0, 0.2, kw=60.0, agreed=20.0)]),
    "no commitments": small_day(
        fleet(4, 2, **BATTERY), [50.0, 20.0], [deal("spin", [0], 9.0, 0.5, kw=0.0, agreed=0.0)]
    ),
}


@pytest.mark.slow
def test_a_day_asks_for_no_kernel_but_those_of_the_warm_up(monkeypatch: pytest.MonkeyPatch):
    """By its name and by the types of what it is given: of numbers, and whether an array may be written to."""
    asked: set[tuple[str, tuple[Any, ...]]] = set()

    def noted(name: str, kernel: Any) -> Callable[..., None]:
        def called(*given: Any) -> None:
            asked.add((name, tuple(map(nb.typeof, given))))
            kernel(*given)

        return called

    for module in (pricing, shard):
        for name, kernel in list(vars(module).items()):
            if hasattr(kernel, "signatures"):
                monkeypatch.setattr(module, name, noted(name, kernel))
    assert main(["warm-up"]) == 0
    warm, names = asked.copy(), {name for name, _ in asked}
    settings = Settings(fleet=FleetSettings(prosumers=12))
    day = prepare_problem(DayInputs(date(2023, 8, 16), settings, None, None, None).tables(), settings)[1]
    solve_by_columns(day, settings.rules, settings.optimiser)
    assert names == {"spread", "add_responses", "add_schedules", "fill_values", "fill_stored_values"}
    assert asked == warm


@pytest.mark.slow  # half a minute where the kernels are new; the test above needs no compiler for the same claim
def test_after_the_warm_up_a_day_compiles_nothing():
    """In a process that has compiled nothing yet, which this one has (conftest.py)."""
    script = """
from datetime import date
from vpp_pipeline.cli.main import main
from vpp_pipeline.dispatch.column_generation import best_response
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import FleetSettings, Settings
assert main(["warm-up"]) == 0
kernels = [one for one in vars(best_response).values() if hasattr(one, "signatures")]
print(sum(len(kernel.signatures) for kernel in kernels))
settings = Settings(fleet=FleetSettings(prosumers=12))
day = prepare_problem(DayInputs(date(2023, 8, 16), settings, None, None, None).tables(), settings)[1]
solve_by_columns(day, settings.rules, settings.optimiser)
print(sum(len(kernel.signatures) for kernel in kernels))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said, warm, after = done.stdout.splitlines()
    assert said.startswith("kernels ready")
    assert int(warm) == int(after) > 0


@cache
def hand_made_by_columns(name: str) -> DaySolution:
    return solve_by_columns(HAND_MADE[name], RULES, TIGHT)


@pytest.mark.parametrize("name", HAND_MADE)
def test_days_at_their_limits_are_solved_alike(name: str):
    day, columns = HAND_MADE[name], hand_made_by_columns(name)
    book = solve_exactly(day, RULES, TIGHT)
    assert_neither_beats_the_others_bound(columns, book)
    assert_within_the_rules(day, columns)
    assert money_of(day, columns) == pytest.approx(columns.objective_usd, abs=1e-7)
    assert columns.objective_usd == pytest.approx(book.objective_usd, rel=1e-6, abs=1e-6)
    assert columns.objective_usd >= brute_force(day).no_bid_usd - 1e-6


def test_most_of_these_days_have_something_to_bid():
    assert sum(hand_made_by_columns(name).is_bid.any() for name in HAND_MADE) >= 10


def test_a_day_without_opportunities_is_charged_at_its_cheapest():
    """From 200 to 218 kWh, 18 / 0.9 = 20 kWh each, at 20 $/MWh."""
    day = small_day(fleet(4, 2, **{**BATTERY, "terminal_stored_kwh": 218.0}), [50.0, 20.0], [])
    answer = solve_by_columns(day, RULES, TIGHT)
    assert answer.objective_usd == pytest.approx(-4 * 18.0 / 0.9 * 20.0 / 1000.0)
    assert answer.bound_usd == pytest.approx(answer.objective_usd)
