"""Column generation and the readable method solve the same random day: each stays below the other's bound."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.exact import solve_exactly
from vpp_pipeline.dispatch.infeasibility import infeasibilities
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.scenarios import outcome_of
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds, tries
from vpp_pipeline_tests.dispatch.brute_force import brute_force
from vpp_pipeline_tests.dispatch.column_generation.two_methods import (
    EVERY_SEED,
    RELATIVE,
    SEEDS,
    SETTINGS,
    SHORT,
    assert_neither_beats_the_others_bound,
    assert_same_relaxation,
    assert_within_the_rules,
    burns,
    by_columns,
    by_the_book,
    money_of,
    of_size,
    without_negative_prices,
)
from vpp_pipeline_tests.dispatch.small_days import RULES, random_day
from vpp_pipeline_tests.dispatch.test_risk import random_scenarios


@pytest.mark.parametrize("seed", EVERY_SEED)
def test_neither_method_beats_the_bound_of_the_other(seed: int):
    assert_neither_beats_the_others_bound(by_columns(seed), by_the_book(seed))


@tries(60)
@given(
    st.integers(0, 100_000),
    st.sampled_from([1.0, 1.0, 40.0, 3_000.0]),
    st.sampled_from([0.0, 0.0, 60.0, 200.0, 1_000.0]),
    st.sampled_from([None, 0.05, 0.5, 1.0]),
)
def test_a_bound_is_one_at_any_size_price_and_efficiency(
    seed: int, size: float, below_usd: float, efficiency: float | None
):
    """Devices of up to 2 GWh, prices that fall by up to $1,000, and stores that lose nearly all that they take."""
    drawn = random_day(seed)
    day = of_size(replace(drawn, market_price=drawn.market_price - below_usd), size)
    if efficiency is not None:
        lossy = np.full(len(day.fleet), efficiency)
        day = replace(day, fleet=replace(day.fleet, charge_efficiency=lossy, discharge_efficiency=lossy))
    if not infeasibilities(day).is_empty():
        return
    columns, book = solve_by_columns(day, RULES, SHORT), solve_exactly(day, RULES, SHORT)
    assert "in place of column generation" not in columns.method
    assert_neither_beats_the_others_bound(columns, book)
    assert_within_the_rules(day, columns)
    assert columns.objective_usd >= columns.no_bid_usd - RELATIVE * max(1.0, abs(columns.no_bid_usd))


@pytest.mark.parametrize("seed", seeds([seed for seed in SEEDS if not burns(random_day(seed))]))
def test_both_methods_earn_the_same_within_the_gap_that_they_were_asked_for(seed: int):
    columns, book = by_columns(seed), by_the_book(seed)
    gap_usd = SETTINGS.gap_target_fraction * max(1.0, abs(book.bound_usd))
    assert columns.objective_usd == pytest.approx(book.objective_usd, rel=0.0, abs=gap_usd)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_bids_are_whole_steps_within_the_rules_and_delivered_within_every_limit(seed: int):
    assert_within_the_rules(random_day(seed), by_columns(seed))


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_the_objective_is_the_money_of_the_schedule(seed: int):
    day, answer = random_day(seed), by_columns(seed)
    assert money_of(day, answer) == pytest.approx(answer.objective_usd, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_what_each_owners_charging_costs_without_sales_is_the_same(seed: int):
    assert by_columns(seed).no_sale_charging_usd == pytest.approx(
        by_the_book(seed).no_sale_charging_usd, rel=1e-7, abs=1e-7
    )


@pytest.mark.parametrize("seed", seeds(SEEDS[:20]))
def test_the_answer_lies_between_no_bid_and_the_best_of_all_combinations_and_its_bound_above(seed: int):
    best, answer = brute_force(random_day(seed)), by_columns(seed)
    tolerance = RELATIVE * max(1.0, abs(best.objective_usd))
    assert best.no_bid_usd - tolerance <= answer.objective_usd <= best.objective_usd + tolerance
    if not burns(random_day(seed)):
        assert answer.bound_usd >= best.objective_usd - tolerance


@pytest.mark.parametrize("seed", seeds(range(10)))
def test_with_a_finer_step_and_no_gap_the_answer_is_the_best_of_all_combinations(seed: int):
    day, fine = without_negative_prices(random_day(seed)), RULES.model_copy(update={"quantity_step_mw": 1e-6})
    answer = solve_by_columns(day, fine, OptimiserSettings(gap_target_fraction=1e-7))
    best = brute_force(day)
    assert answer.objective_usd == pytest.approx(best.objective_usd, rel=1e-5, abs=1e-3)
    assert answer.bound_usd == pytest.approx(best.objective_usd, rel=RELATIVE, abs=1e-3)


def with_risk(seed: int) -> DayProblem:
    return without_negative_prices(random_scenarios(random_day(seed), seed, (0.3, 0.6, 1.0)[seed % 3]))


@pytest.mark.parametrize("seed", seeds(SEEDS[:12]))
def test_under_risk_both_methods_give_the_same_risk_adjusted_objective(seed: int):
    day = with_risk(seed)
    columns, book = solve_by_columns(day, RULES, SETTINGS), solve_exactly(day, RULES, SETTINGS)
    assert_neither_beats_the_others_bound(columns, book)
    assert_within_the_rules(day, columns)
    assert outcome_of(day, columns).risk_adjusted_usd == pytest.approx(columns.objective_usd, rel=1e-7, abs=1e-7)
    gap_usd = SETTINGS.gap_target_fraction * max(1.0, abs(book.bound_usd))
    assert columns.objective_usd == pytest.approx(book.objective_usd, rel=0.0, abs=gap_usd)


def many(day: DayProblem, times: int, seed: int) -> DayProblem:
    """The day with ``times`` its prosumers, no two alike, and bids as many times as large."""
    rng, n = np.random.default_rng(seed), len(day.fleet)
    arrays = {
        field.name: np.concatenate([value] * times)
        for field in fields(day.fleet)
        if isinstance(value := getattr(day.fleet, field.name), np.ndarray)
    }
    agreed = np.tile(day.call_price, times) * rng.uniform(0.9, 1.1, times * len(day.call_price))
    return replace(
        day,
        fleet=replace(day.fleet, **arrays | {"prosumer_id": np.array([f"p{i}" for i in range(n * times)])}),
        required_mw=day.required_mw * times,
        minimum_mw=np.round(day.minimum_mw * times, 2),
        agreement_opportunity=np.tile(day.agreement_opportunity, times),
        agreement_prosumer=np.concatenate([day.agreement_prosumer + k * n for k in range(times)]),
        committed_kw=np.tile(day.committed_kw, times),
        call_price=agreed,
        premium=np.tile(day.premium, times),
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


@pytest.mark.parametrize("seed", seeds([29, 7]))
def test_two_solves_give_the_same_bits(seed: int):
    first, second = (solve_by_columns(random_day(seed), RULES, SETTINGS) for _ in range(2))
    assert "stopped" not in first.method
    assert first.objective_usd == second.objective_usd
    assert first.bound_usd == second.bound_usd
    assert first.quantity_mw.tobytes() == second.quantity_mw.tobytes()
    for name, values in vars(first.schedule).items():
        assert values.tobytes() == getattr(second.schedule, name).tobytes(), name
    for name, values in vars(first.duals).items():
        assert values.tobytes() == getattr(second.duals, name).tobytes(), name


@pytest.mark.parametrize("seed", seeds(SEEDS[:8]))
def test_no_time_at_all_still_gives_a_bound_and_an_answer_not_worse_than_no_bid(seed: int):
    day, best = random_day(seed), brute_force(random_day(seed))
    answer = solve_by_columns(day, RULES, OptimiserSettings(time_limit_seconds=1e-4))
    tolerance = RELATIVE * max(1.0, abs(best.objective_usd))
    assert answer.objective_usd >= best.no_bid_usd - tolerance
    assert answer.bound_usd >= best.objective_usd - tolerance
    assert answer.objective_usd <= answer.bound_usd
    assert_within_the_rules(day, answer)


@pytest.mark.slow  # it solves all of them
def test_the_days_are_worth_comparing():
    """Bids, no bids, blocks, all lengths of day, prices below zero, and few that burn."""
    days, answers = [random_day(seed) for seed in SEEDS], [by_columns(seed) for seed in SEEDS]
    assert {len(day.market_price) for day in days} == {23, 24, 25}
    assert sum(bool(answer.is_bid.any()) for answer in answers) >= 25
    assert sum(bool((answer.is_bid & (day.hours > 1.0)).any()) for day, answer in zip(days, answers, strict=True)) >= 8
    assert sum(bool((day.market_price < 0.0).any()) for day in days) >= 20
    assert sum(burns(day) for day in days) <= 15
