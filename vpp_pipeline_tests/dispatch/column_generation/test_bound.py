"""Seeded faults: each check of the second method is shown to notice what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.column_generation import method
from vpp_pipeline.dispatch.column_generation.master import Coordinator
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, GroupSums
from vpp_pipeline.dispatch.exact import solve_exactly
from vpp_pipeline.dispatch.problem import DaySolution, Duals, merit_order_bound
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.brute_force import brute_force
from vpp_pipeline_tests.dispatch.column_generation import test_best_response as responses
from vpp_pipeline_tests.dispatch.column_generation import two_methods as days
from vpp_pipeline_tests.dispatch.small_days import RULES, random_day

DAY = 7  # a random day with bids, whose fleet has batteries, an EV and sun

price, prices = FleetPricer.price, Coordinator.prices


def bounds_too_little(pricer: FleetPricer, duals: Duals, asked: Flags | None = None) -> GroupSums:
    """A fleet whose best answers are said to be worth a thousandth less than they are."""
    sums = price(pricer, duals, asked)
    return replace(sums, value_usd=sums.value_usd - 1e-3 * np.abs(sums.value_usd))


def bounds_too_much(pricer: FleetPricer, duals: Duals, asked: Flags | None = None) -> GroupSums:
    sums = price(pricer, duals, asked)
    return replace(sums, value_usd=sums.value_usd + 1e-3 * np.abs(sums.value_usd) + 1e-3)


def forgets_a_prosumer(pricer: FleetPricer, duals: Duals, asked: Flags | None = None) -> GroupSums:
    """What the first group sells is left out of the sums, not what it is paid."""
    sums = price(pricer, duals, asked)
    return replace(sums, sold_kw=np.where(np.arange(pricer.groups)[:, None] == 0, 0.0, sums.sold_kw))


def wrong_prices(coordinator: Coordinator, tilt: Array) -> tuple[Array, Array]:
    """The bound is made of prices that are a hundredth below those of the master."""
    price_usd, market_usd = prices(coordinator, tilt)
    return 0.99 * price_usd, market_usd


@pytest.mark.parametrize("fault", [bounds_too_little, bounds_too_much, forgets_a_prosumer])
def test_a_fleet_that_is_wrong_about_its_answers_is_noticed(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[..., object]
):
    day = days.without_negative_prices(random_day(DAY))
    days.assert_same_relaxation(day)
    monkeypatch.setattr(FleetPricer, "price", fault)
    with pytest.raises((AssertionError, SolveError)):
        days.assert_same_relaxation(day)


def test_a_bound_below_what_is_earned_hands_the_day_to_the_exact_method(monkeypatch: pytest.MonkeyPatch):
    day = random_day(DAY)
    monkeypatch.setattr(FleetPricer, "price", bounds_too_little)
    answer = solve_by_columns(day, RULES, OptimiserSettings())
    assert answer.method.startswith("exact")
    assert "in place of column generation" in answer.method
    assert answer.bound_usd >= brute_force(day).objective_usd - 1e-6
    assert answer.objective_usd == solve_exactly(day, RULES, OptimiserSettings()).objective_usd


def test_a_fleet_too_large_for_the_exact_method_keeps_its_schedule_with_a_bound_by_merit_order(
    monkeypatch: pytest.MonkeyPatch,
):
    day = random_day(DAY)
    monkeypatch.setattr(FleetPricer, "price", bounds_too_little)
    monkeypatch.setattr(method, "EXACT_TAKES_OVER", 0)
    answer = solve_by_columns(day, RULES, OptimiserSettings())
    assert "bound by merit order" in answer.method
    assert answer.bound_usd == pytest.approx(merit_order_bound(day))
    assert answer.is_bid.any()
    days.assert_within_the_rules(day, answer)


@pytest.mark.parametrize("seed", seeds(days.SEEDS))
def test_no_schedule_earns_more_than_the_merit_order_bound(seed: int):
    day = random_day(seed)
    assert merit_order_bound(day) >= brute_force(day).objective_usd - 1e-9


def test_a_bound_made_of_wrong_prices_is_noticed(monkeypatch: pytest.MonkeyPatch):
    day = days.without_negative_prices(random_day(DAY))
    monkeypatch.setattr(Coordinator, "prices", wrong_prices)
    with pytest.raises((AssertionError, SolveError)):
        days.assert_same_relaxation(day)


def answered(**changed: Array) -> responses.Answered:
    """Eight prosumers' answers with something changed in them."""
    return replace(responses.drawn(1, 24), **changed)


def test_a_value_that_is_a_millionth_wrong_is_noticed():
    true = responses.drawn(1, 24)
    responses.assert_exact(true)
    for wrong in (true.value + 1e-6, true.value - 1e-6):
        with pytest.raises(AssertionError):
            responses.assert_exact(answered(value=wrong))


def test_a_bound_below_the_best_schedule_is_noticed():
    below = responses.drawn(0, 4, lowest=-150.0, whole=True)
    responses.assert_bound(below)
    best = np.array([below.best(i, one_way=True) for i in range(len(below.value))])
    with pytest.raises(AssertionError):
        responses.assert_bound(replace(below, value=best - 1e-6))


@pytest.mark.parametrize("power", range(responses.POWERS))
def test_a_watt_more_than_a_limit_allows_is_noticed(power: int):
    true = responses.drawn(1, 24)
    for sign in (-1.0, 1.0):
        powers = true.powers.copy()
        powers[power, :, 5] += sign * 100.0
        assert min(responses.excess(true.stores, i, powers[:, i], 1.0) for i in range(8)) > 1.0


def halved(kw: Array, t: int) -> Array:
    kw = kw.copy()
    kw[:, t] *= 0.5
    return kw


@pytest.mark.parametrize("power", ["grid_charge_kw", "solar_charge_kw", "discharge_kw", "solar_sold_kw"])
def test_half_of_what_was_scheduled_is_noticed_as_undelivered_or_missing_in_store(power: str):
    """As if the weights of an hour's columns added up to one half."""
    day, answer = random_day(DAY), days.by_columns(DAY)
    days.assert_within_the_rules(day, answer)
    kw = getattr(answer.schedule, power)
    assert kw.max() > 1.0
    schedule = replace(answer.schedule, **{power: halved(kw, int(kw.max(axis=0).argmax()))})
    with pytest.raises(AssertionError):
        days.assert_within_the_rules(day, replace(answer, schedule=schedule))


def test_a_quantity_off_its_step_or_below_its_minimum_is_noticed():
    day, answer = random_day(DAY), days.by_columns(DAY)
    for change in (0.004, -1.0):
        with pytest.raises(AssertionError):
            days.assert_within_the_rules(day, replace(answer, quantity_mw=answer.quantity_mw + change * answer.is_bid))


def test_an_objective_that_is_not_the_money_of_the_schedule_is_noticed():
    day, answer = random_day(DAY), days.by_columns(DAY)
    assert days.money_of(day, answer) == pytest.approx(answer.objective_usd, rel=1e-7)
    assert days.money_of(day, replace(answer, quantity_mw=answer.quantity_mw * 0.99)) < answer.objective_usd - 1e-3


def test_a_bound_that_the_other_method_beats_is_noticed():
    columns, book = days.by_columns(DAY), days.by_the_book(DAY)

    def with_bound(answer: DaySolution, bound_usd: float) -> DaySolution:
        return replace(answer, bound_usd=bound_usd, objective_usd=min(answer.objective_usd, bound_usd))

    days.assert_neither_beats_the_others_bound(columns, book)
    with pytest.raises(AssertionError):
        days.assert_neither_beats_the_others_bound(with_bound(columns, 0.99 * book.objective_usd), book)
