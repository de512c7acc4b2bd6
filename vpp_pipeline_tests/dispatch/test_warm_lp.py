"""One LP after another in the same HiGHS instance: each as if it were solved afresh, values and duals."""

from __future__ import annotations

import cvxpy as cp
import highspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram
from vpp_pipeline_tests.cases import tries


class Shop:
    """Sell x (3,) at a price each, from a stock; x₂ cannot move, and one limit is too wide to bind at first."""

    def __init__(self) -> None:
        self.stock, self.wide = cp.Parameter(value=10.0), cp.Parameter(value=100.0)
        self.x, self.free = cp.Variable(3, bounds=[np.array([0, 0, 2.0]), np.array([8, 8, 2.0])]), cp.Variable(1)
        self.in_stock, self.narrow = cp.sum(self.x) <= self.stock, self.x[0] <= self.wide
        limits = [self.in_stock, self.narrow, self.free == self.x[0], self.x[2] <= 5.0]
        self.problem = cp.Problem(cp.Maximize(np.array([3.0, 2.0, 7.0]) @ self.x), limits)


def test_what_cannot_move_keeps_its_value_and_its_cost():
    shop = Shop()
    program = WarmLinearProgram(shop.problem)
    cost, values = program.solve()
    np.testing.assert_allclose(program.value_of(shop.x, values), [8, 0, 2])
    assert cost == pytest.approx(-(24 + 14))


def test_a_limit_that_was_too_wide_to_bind_binds_once_it_is_narrow():
    shop = Shop()
    program = WarmLinearProgram(shop.problem)
    program.solve()
    shop.wide.value = 3.0
    program.take_parameters()
    _, values = program.solve()
    np.testing.assert_allclose(program.value_of(shop.x, values), [3, 5, 2])


def test_an_impossible_problem_has_no_answer_and_the_next_one_has():
    shop = Shop()
    program = WarmLinearProgram(shop.problem)
    shop.stock.value = 1.0
    program.take_parameters()
    assert program.solve() is None
    shop.stock.value = 10.0
    program.take_parameters()
    assert program.solve() is not None


def test_a_warm_start_in_numerical_trouble_is_followed_by_a_cold_one(monkeypatch: pytest.MonkeyPatch):
    """HiGHS answered `Unknown` to a drawn day with two scenarios, and the day went to a search that a clock ends."""
    program = WarmLinearProgram(Shop().problem)
    status, told = highspy.Highs.getModelStatus, []

    def in_trouble_once(highs: highspy.Highs) -> highspy.HighsModelStatus:
        told.append(status(highs))
        return highspy.HighsModelStatus.kUnknown if len(told) == 1 else told[-1]

    monkeypatch.setattr(highspy.Highs, "getModelStatus", in_trouble_once)
    answer = program.solve()
    assert answer is not None
    assert answer[0] == pytest.approx(-(24 + 14))
    assert len(told) == 2


def test_bounds_by_which_rows_were_left_out_cannot_be_changed():
    shop = Shop()
    with pytest.raises(ValueError, match="rows were left out"):
        WarmLinearProgram(shop.problem).set_bounds(shop.x, np.zeros(3), np.full(3, 50.0))


def test_another_begins_where_the_first_stands_and_goes_its_own_way():
    shop = Shop()
    program = WarmLinearProgram(shop.problem)
    program.solve()
    twin = program.another()
    twin.set_bounds(shop.free, np.zeros(1), np.ones(1))
    np.testing.assert_allclose(twin.value_of(shop.x, twin.solve()[1]), [1, 7, 2])
    np.testing.assert_allclose(program.value_of(shop.x, program.solve()[1]), [8, 0, 2])


@tries(30)
@given(st.lists(st.tuples(st.integers(2, 29), st.integers(0, 100)), min_size=1, max_size=4))
def test_values_and_duals_are_those_of_a_fresh_solve(steps: list[tuple[int, int]]):
    warm, fresh = Shop(), Shop()
    program = WarmLinearProgram(warm.problem)
    for stock, wide in steps:
        for shop in (warm, fresh):
            shop.stock.value, shop.wide.value = stock + 0.5, wide  # halves: the price of stock is never ambiguous
        program.take_parameters()
        program.hand_over(program.solve())
        fresh.problem.solve(solver="HIGHS")
        np.testing.assert_allclose(warm.x.value, fresh.x.value, atol=1e-6)
        assert warm.problem.value == pytest.approx(fresh.problem.value)
        assert warm.in_stock.dual_value == pytest.approx(fresh.in_stock.dual_value, abs=1e-6)
