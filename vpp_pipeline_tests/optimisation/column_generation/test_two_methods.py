"""Column generation and the readable method solve the same day: each stays below the other's bound.

Where a price below zero makes lost energy earn, both bounds are valid but need not be the same: such a day "burns".
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from vpp_pipeline.optimisation.column_generation.coordinator import Coordinator
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.groups import groups_of, likeness
from vpp_pipeline.optimisation.column_generation.master import Master
from vpp_pipeline.optimisation.column_generation.method import solve_by_columns
from vpp_pipeline.optimisation.column_generation.pricing import NO_SALE, FleetPricer, stores_of
from vpp_pipeline.optimisation.exact import formulate
from vpp_pipeline.optimisation.exact_method import solve_exactly
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution, Duals, unlimited_mw
from vpp_pipeline.optimisation.uncertainty import outcome_of
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.optimisation.brute_force import brute_force
from vpp_pipeline_tests.optimisation.small_days import RULES, deal, fleet, random_day, small_day
from vpp_pipeline_tests.optimisation.test_risk import random_scenarios
from vpp_pipeline_tests.optimisation.test_solve import delivers_exactly, keeps_its_limits

SEEDS = range(40)
MORE_SEEDS = range(40, 160)
SETTINGS = OptimiserSettings(time_limit_seconds=30.0)  # never reached where a gap can be closed
SHORT = OptimiserSettings(time_limit_seconds=0.5)
RELATIVE = 1e-6
SECONDS = 10.0
TIGHT = OptimiserSettings(gap_target_fraction=1e-7, time_limit_seconds=1.0)


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
    owed = day.agreed_price - day.satisfaction_worth
    pays = owed <= burnt[day.agreement_prosumer] * max(0.0, -day.market_price.min())
    return bool((pays & (day.product[day.agreement_opportunity] == 0)).any())


def without_negative_prices(day: DayProblem) -> DayProblem:
    """The day, and each of its scenarios, with prices of charging of 0 at least."""
    scenarios = day.scenarios
    if scenarios is not None:
        scenarios = replace(scenarios, market_price=np.maximum(scenarios.market_price, 0.0))
    return replace(day, market_price=np.maximum(day.market_price, 0.0), scenarios=scenarios)


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
        usd -= (day.agreed_price[k] - day.satisfaction_worth[k]) * sold_kw / 1000.0
    for o, quantity_mw in enumerate(answer.quantity_mw):
        usd += day.price[o] * quantity_mw * day.covers[o].sum()
    for t, price in enumerate(day.market_price):
        if not any(answer.is_bid[o] and day.product[o] == 0 and day.covers[o, t] for o in range(len(day.price))):
            usd -= (price + day.charging_adder) * answer.schedule.grid_charge_kw[:, t].sum() / 1000.0
    return usd


EVERY_SEED = [*SEEDS, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MORE_SEEDS)]


@pytest.mark.parametrize("seed", EVERY_SEED)
def test_neither_method_beats_the_bound_of_the_other(seed: int):
    assert_neither_beats_the_others_bound(by_columns(seed), by_the_book(seed))


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if not burns(random_day(seed))])
def test_both_methods_earn_the_same_within_the_gap_that_they_were_asked_for(seed: int):
    columns, book = by_columns(seed), by_the_book(seed)
    gap_usd = SETTINGS.gap_target_fraction * max(1.0, abs(book.bound_usd))
    assert columns.objective_usd == pytest.approx(book.objective_usd, rel=0.0, abs=gap_usd)


@pytest.mark.parametrize("seed", SEEDS)
def test_bids_are_whole_steps_within_the_rules_and_delivered_within_every_limit(seed: int):
    assert_within_the_rules(random_day(seed), by_columns(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_objective_is_the_money_of_the_schedule(seed: int):
    day, answer = random_day(seed), by_columns(seed)
    assert money_of(day, answer) == pytest.approx(answer.objective_usd, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_each_owners_charging_costs_without_sales_is_the_same(seed: int):
    assert by_columns(seed).no_sale_charging_usd == pytest.approx(
        by_the_book(seed).no_sale_charging_usd, rel=1e-7, abs=1e-7
    )


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_the_answer_lies_between_no_bid_and_the_best_of_all_combinations_and_its_bound_above(seed: int):
    best, answer = brute_force(random_day(seed)), by_columns(seed)
    tolerance = RELATIVE * max(1.0, abs(best.objective_usd))
    assert best.no_bid_usd - tolerance <= answer.objective_usd <= best.objective_usd + tolerance
    if not burns(random_day(seed)):
        assert answer.bound_usd >= best.objective_usd - tolerance


@pytest.mark.parametrize("seed", range(10))
def test_with_a_finer_step_and_no_gap_the_answer_is_the_best_of_all_combinations(seed: int):
    day, fine = without_negative_prices(random_day(seed)), RULES.model_copy(update={"quantity_step_mw": 1e-6})
    answer = solve_by_columns(day, fine, OptimiserSettings(gap_target_fraction=1e-7))
    best = brute_force(day)
    assert answer.objective_usd == pytest.approx(best.objective_usd, rel=1e-5, abs=1e-3)
    assert answer.bound_usd == pytest.approx(best.objective_usd, rel=RELATIVE, abs=1e-3)


def by_cvxpy(day: DayProblem) -> float:
    """The relaxation with 0 ≤ z ≤ 1, $."""
    linear = formulate(day, binary=False)
    linear.set_bids(np.zeros(len(day.price)), day.may_bid.astype(float))
    linear.set_quantities(np.zeros(len(day.price)), unlimited_mw(day))
    return linear.solve("HIGHS")


def generation_of(day: DayProblem, groups: int | None = None) -> Generation:
    """Column generation that begins with no sale alone; each prosumer a group, or ``groups`` of them."""
    stores = stores_of(day)
    group, count = groups_of(likeness(stores), groups or len(day.fleet))
    most_mw = np.minimum(stores.energy_kw, stores.room).sum(axis=0) / 1000.0, stores.max_charge.sum(axis=0) / 1000.0
    coordinator = Coordinator(day, *most_mw)
    pricer = FleetPricer(stores, group, count, day.call_hours)
    generation = Generation(pricer, coordinator, Master(coordinator, count), dust=0.0, parts=0)
    nothing = np.zeros(len(day.market_price))
    generation.put(Duals(nothing + NO_SALE, coordinator.market, nothing, nothing))
    return generation


def assert_same_relaxation(day: DayProblem, groups: int | None = None) -> None:
    """What the columns earn, and their bound, are CVXPY's optimum."""
    until = time.perf_counter() + SECONDS
    low, high = np.zeros(len(day.price)), day.may_bid.astype(float)
    answer, bound_usd = generation_of(day, groups).converge(low, high, 1e-9, until)
    expected = pytest.approx(by_cvxpy(day), rel=1e-7, abs=1e-7)
    assert answer.objective_usd == expected
    assert bound_usd == expected


@pytest.mark.parametrize("seed", EVERY_SEED)
def test_the_relaxation_is_the_same_to_seven_digits(seed: int):
    assert_same_relaxation(without_negative_prices(random_day(seed)))


@pytest.mark.parametrize("aversion", [0.3, 1.0])
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_the_relaxation_under_risk_is_the_same_to_seven_digits(seed: int, aversion: float):
    assert_same_relaxation(without_negative_prices(random_scenarios(random_day(seed), seed, aversion)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("seed", SEEDS[:6])
def test_prosumers_who_share_columns_give_the_same_relaxation(seed: int, groups: int):
    assert_same_relaxation(without_negative_prices(random_day(seed)), groups)


def with_risk(seed: int) -> DayProblem:
    return without_negative_prices(random_scenarios(random_day(seed), seed, (0.3, 0.6, 1.0)[seed % 3]))


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_under_risk_both_methods_give_the_same_risk_adjusted_objective(seed: int):
    day = with_risk(seed)
    columns, book = solve_by_columns(day, RULES, SETTINGS), solve_exactly(day, RULES, SETTINGS)
    assert_neither_beats_the_others_bound(columns, book)
    assert_within_the_rules(day, columns)
    assert outcome_of(day, columns).risk_adjusted_usd == pytest.approx(columns.objective_usd, rel=1e-7, abs=1e-7)
    gap_usd = SETTINGS.gap_target_fraction * max(1.0, abs(book.bound_usd))
    assert columns.objective_usd == pytest.approx(book.objective_usd, rel=0.0, abs=gap_usd)


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


def many(day: DayProblem, times: int, seed: int) -> DayProblem:
    """The day with ``times`` its prosumers, no two alike, and bids as many times as large."""
    rng, n = np.random.default_rng(seed), len(day.fleet)
    arrays = {
        field.name: np.concatenate([value] * times)
        for field in fields(day.fleet)
        if isinstance(value := getattr(day.fleet, field.name), np.ndarray)
    }
    agreed = np.tile(day.agreed_price, times) * rng.uniform(0.9, 1.1, times * len(day.agreed_price))
    return replace(
        day,
        fleet=replace(day.fleet, **arrays | {"prosumer_id": np.array([f"p{i}" for i in range(n * times)])}),
        required_mw=day.required_mw * times,
        minimum_mw=np.round(day.minimum_mw * times, 2),
        agreement_opportunity=np.tile(day.agreement_opportunity, times),
        agreement_prosumer=np.concatenate([day.agreement_prosumer + k * n for k in range(times)]),
        committed_kw=np.tile(day.committed_kw, times),
        agreed_price=agreed,
        satisfaction_worth=np.minimum(np.tile(day.satisfaction_worth, times), agreed),
    )


@pytest.mark.parametrize("seed", [4])
def test_a_fleet_larger_than_its_groups_and_the_part_that_is_settled_is_solved_alike(seed: int):
    day = many(without_negative_prices(random_day(seed)), 60, seed)
    assert len(day.fleet) > 200
    assert_same_relaxation(day)
    settings = OptimiserSettings(time_limit_seconds=10.0)
    columns = solve_by_columns(day, RULES, settings)
    assert_within_the_rules(day, columns)
    assert money_of(day, columns) == pytest.approx(columns.objective_usd, rel=1e-7)
    assert_neither_beats_the_others_bound(columns, solve_exactly(day, RULES, settings))
    assert columns.gap_fraction <= 2e-3


def test_a_bid_that_lacks_a_fifth_of_a_kilowatt_is_not_bid():
    """The first bid can reach 0.2198 MW, of 0.22 at least: what it lacks costs little, but is not allowed."""
    answer = solve_by_columns(random_day(129), RULES, SETTINGS)
    assert answer.objective_usd == pytest.approx(brute_force(random_day(129)).objective_usd, rel=2e-3)
    assert answer.is_bid.tolist() == [False, False, True, False]


@pytest.mark.parametrize("seed", [7, 29])
def test_two_solves_give_the_same_bits(seed: int):
    first, second = (solve_by_columns(random_day(seed), RULES, SETTINGS) for _ in range(2))
    assert "time limit" not in first.method
    assert first.objective_usd == second.objective_usd
    assert first.bound_usd == second.bound_usd
    assert first.quantity_mw.tobytes() == second.quantity_mw.tobytes()
    for name, values in vars(first.schedule).items():
        assert values.tobytes() == getattr(second.schedule, name).tobytes(), name
    for name, values in vars(first.duals).items():
        assert values.tobytes() == getattr(second.duals, name).tobytes(), name


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_no_time_at_all_still_gives_a_bound_and_an_answer_not_worse_than_no_bid(seed: int):
    day, best = random_day(seed), brute_force(random_day(seed))
    answer = solve_by_columns(day, RULES, OptimiserSettings(time_limit_seconds=1e-4))
    tolerance = RELATIVE * max(1.0, abs(best.objective_usd))
    assert answer.objective_usd >= best.no_bid_usd - tolerance
    assert answer.bound_usd >= best.objective_usd - tolerance
    assert answer.objective_usd <= answer.bound_usd
    assert_within_the_rules(day, answer)


def test_the_days_are_worth_comparing():
    """Bids, no bids, blocks, all lengths of day, prices below zero, and few that burn."""
    days, answers = [random_day(seed) for seed in SEEDS], [by_columns(seed) for seed in SEEDS]
    assert {len(day.market_price) for day in days} == {23, 24, 25}
    assert sum(bool(answer.is_bid.any()) for answer in answers) >= 25
    assert sum(bool((answer.is_bid & (day.hours > 1.0)).any()) for day, answer in zip(days, answers, strict=True)) >= 8
    assert sum(bool((day.market_price < 0.0).any()) for day in days) >= 20
    assert sum(burns(day) for day in days) <= 15
