"""Asking a part of the fleet: its columns are the whole fleet's, and what was not asked is not taken for an answer."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.column_generation.branch_and_price import Generation, _PartialPricing
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer
from vpp_pipeline.dispatch.column_generation.warm_start import prepare
from vpp_pipeline.dispatch.problem import Duals
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.column_generation.drawn_stores import draw_prices, draw_stores
from vpp_pipeline_tests.dispatch.column_generation.two_methods import by_cvxpy, without_negative_prices
from vpp_pipeline_tests.dispatch.small_days import random_day


def test_groups_that_are_asked_answer_as_they_do_among_all_and_the_others_not_at_all():
    rng, count, hours = np.random.default_rng(8), 60, 24
    pricer = FleetPricer(draw_stores(rng, count, hours), rng.integers(0, 7, count), 7, 1.0)
    duals, asked = draw_prices(rng, hours), np.arange(7) % 3 == 0
    everyone, some = vars(pricer.price(duals)), vars(pricer.price(duals, asked))
    for name, values in some.items():
        assert values[asked] == pytest.approx(everyone[name][asked], rel=1e-12, abs=1e-12), name
        assert not values[~asked].any(), name
    assert pricer.sweeps == pytest.approx(1.0 + asked[pricer.group].mean())


def generation_with_parts(seed: int, parts: int) -> tuple[Generation, float]:
    """A small day whose groups are asked a part at a time, and what the relaxation earns by CVXPY, $."""
    day = without_negative_prices(random_day(seed))
    generation = prepare(day, 1e-9).generation
    generation.parts = parts
    return generation, by_cvxpy(day)


@pytest.mark.parametrize("parts", [0, 2, 3])
@pytest.mark.parametrize("seed", seeds(range(12)))
def test_asked_a_part_at_a_time_the_fleet_earns_what_cvxpy_says(seed: int, parts: int):
    generation, best_usd = generation_with_parts(seed, parts)
    day = generation.coordinator.day
    answer, bound_usd = generation.converge(np.zeros(len(day.price)), day.may_bid.astype(float), 1e-9)
    assert answer.objective_usd == pytest.approx(best_usd, rel=1e-7, abs=1e-6)
    assert bound_usd == pytest.approx(best_usd, rel=1e-7, abs=1e-6)


def test_answers_of_a_part_are_no_bound():
    generation, _ = generation_with_parts(7, 2)
    day = generation.coordinator.day
    low, high = np.zeros(len(day.price)), day.may_bid.astype(float)
    before, _ = generation.bound(low, high)
    nothing = np.zeros(len(day.market_price))
    generation.put(Duals(nothing, nothing, nothing, nothing), asked=np.arange(generation.pricer.groups) < 1)
    assert generation.dual_bounds[-1].value_usd == np.inf
    assert generation.bound(low, high)[0] == before


def asked_in_turn(turns: _PartialPricing, objectives: list[float], bound: float = 100.0) -> list[int | None]:
    return [turns.next(objective, bound) for objective in objectives]


def test_parts_are_asked_round_after_round_while_they_close_the_gap_then_everyone():
    assert asked_in_turn(_PartialPricing(2), [0.0, 30.0, 60.0, 70.0, 80.0]) == [
        1,
        0,
        1,
        0,
        1,
    ]  # 60 of 100, then 20 of 40
    assert asked_in_turn(_PartialPricing(2), [0.0, 5.0, 10.0, 11.0]) == [1, 0, None, 1]
    assert asked_in_turn(_PartialPricing(0), [0.0, 90.0]) == [None, None]


def test_a_part_without_a_better_answer_ends_its_round():
    turns = _PartialPricing(4)
    assert turns.next(0.0, 100.0) == 3
    turns.found(better=False)
    assert asked_in_turn(turns, [0.0, 0.0]) == [None, 3]
