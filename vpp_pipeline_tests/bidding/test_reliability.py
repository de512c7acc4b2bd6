"""The chance to deliver, against every subset of the coalition."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.bidding import bids
from vpp_pipeline.bidding.bids import GRID_POINTS, delivery_probability
from vpp_pipeline_tests.cases import tries

CHANCES = st.floats(0, 1)


def over_all_subsets(member_kw: np.ndarray, chance: np.ndarray, threshold_kw: float) -> float:
    """P(Σ x B ≥ threshold) by adding up every subset of members that delivers."""
    total = 0.0
    for comes in product((0, 1), repeat=len(member_kw)):
        delivers = np.array(comes, bool)
        if member_kw[delivers].sum() >= threshold_kw:
            total += float(np.prod(np.where(delivers, chance, 1.0 - chance)))
    return total


@pytest.mark.parametrize(
    ("threshold_kw", "chance"),
    [(100.0, 0.9 * 0.8), (60.0, 0.9), (40.0, 0.98), (41.0, 0.9), (100.1, 0.0), (0.0, 1.0)],
)
def test_two_members_by_hand(threshold_kw: float, chance: float) -> None:
    # 60 kW come with 0.9, 40 kW with 0.8
    found = delivery_probability(np.array([60.0, 40.0]), np.array([0.9, 0.8]), threshold_kw)
    assert found == pytest.approx(chance)


@given(st.lists(st.tuples(st.integers(1, 390), CHANCES), min_size=1, max_size=9), CHANCES, st.floats(0, 1))
@tries(60)
def test_on_the_grid_it_is_exact(members: list[tuple[int, float]], chance: float, part: float) -> None:
    sizes = [size for size, _ in members]
    member_kw = np.array([*sizes, GRID_POINTS - sum(sizes)], float)  # the last fills up to 4,000: one kW a grid point
    chances = np.array([*(c for _, c in members), chance])
    threshold_kw = float(round(part * GRID_POINTS))
    exact = over_all_subsets(member_kw, chances, threshold_kw)
    assert delivery_probability(member_kw, chances, threshold_kw) == pytest.approx(exact, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0.01, 500), CHANCES), min_size=1, max_size=8), st.floats(0.05, 0.99))
@tries(60)
def test_off_the_grid_it_is_off_by_no_more_than_the_rounding(members: list[tuple[float, float]], part: float) -> None:
    member_kw, chances = np.array(members).T
    threshold_kw = part * member_kw.sum()
    slack_kw = (len(members) + 1) / (2 * GRID_POINTS) * member_kw.sum()
    least = over_all_subsets(member_kw, chances, threshold_kw + slack_kw)
    most = over_all_subsets(member_kw, chances, threshold_kw - slack_kw)
    found = delivery_probability(member_kw, chances, threshold_kw)
    assert least - 1e-9 <= found <= most + 1e-9


def test_a_hundred_certain_members_deliver() -> None:
    assert delivery_probability(np.full(100, 3.3), np.ones(100), 0.8 * 330.0) == 1.0


def test_nobody_delivers_nothing() -> None:
    assert delivery_probability(np.array([]), np.array([]), 0.0) == 0.0


def test_thousands_of_small_members_are_as_likely_as_the_normal_law_says() -> None:
    """Each is far below 1/4000 of the total: on the grid of a small coalition all of them would round to nothing."""
    member_kw, chances = np.random.default_rng(1).uniform(0.5, 9.0, 9_000), np.full(9_000, 0.8)
    mean_kw, deviation_kw = 0.8 * member_kw.sum(), np.sqrt(0.8 * 0.2 * (member_kw**2).sum())
    for steps, expected in ((-1.0, 0.8413), (0.0, 0.5), (1.0, 0.1587)):
        found = delivery_probability(member_kw, chances, mean_kw + steps * deviation_kw)
        assert found == pytest.approx(expected, abs=0.04)  # the grid is off by 0.08 deviations here


def test_blocks_of_members_add_up_to_the_binomial_law() -> None:
    members = np.full(600, 2.0)
    found = delivery_probability(members, np.full(600, 0.5), 600.0)  # at least 300 of 600
    assert found == pytest.approx(0.5 + comb(600, 300) / 2**601, abs=1e-9)


@pytest.mark.parametrize("largest", [1, 2, 400])
def test_a_large_coalition_at_once_is_as_by_halves(largest: int) -> None:
    rng = np.random.default_rng(largest)
    member_kw = np.where(rng.random(6_000) < 0.1, largest, 1) * 5.0  # of one size: a lattice with many a frequency
    chances = rng.uniform(0.5, 1.0, 6_000)
    mean_kw, deviation_kw = member_kw @ chances, np.sqrt((chances * (1.0 - chances)) @ member_kw**2)
    for steps in (-9.0, -2.0, 0.0, 1.0, 9.0):
        threshold_kw = mean_kw + steps * deviation_kw
        found = delivery_probability(member_kw, chances, threshold_kw)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bids, "LARGE_COALITION", 10_000)
            by_halves = delivery_probability(member_kw, chances, threshold_kw)
        assert found == pytest.approx(by_halves, abs=1e-9)


def test_large_coalitions_of_certain_and_of_idle_members() -> None:
    for chance in (0.0, 1.0):
        assert delivery_probability(np.full(5_000, 2.0), np.full(5_000, chance), 8_000.0) == pytest.approx(chance)
