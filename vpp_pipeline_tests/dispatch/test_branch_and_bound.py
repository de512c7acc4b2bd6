"""Cuts and reduced costs of the search: tighter bounds, and no decisions lost (optima: test_against_brute_force.py)."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.branch_and_bound import _Relaxation, search
from vpp_pipeline.dispatch.formulation import Formulation, formulate, sold_only_with_a_bid
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw


@pytest.fixture(scope="module")
def linear(default_day: DayProblem) -> Formulation:
    """The default day with every bid open."""
    made = formulate(default_day, binary=False)
    made.set_quantities(np.zeros(len(default_day.price)), unlimited_mw(default_day))
    made.set_bids(np.zeros(len(default_day.price)), default_day.may_bid.astype(float))
    return made


def relaxation(linear: Formulation) -> _Relaxation:
    return _Relaxation(linear, linear.program.another())


def test_cuts_tighten_the_root(default_day: DayProblem, linear: Formulation):
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    plain = relaxation(linear).solve(closed, open_)
    cut = relaxation(linear).cut(sold_only_with_a_bid(linear, default_day), closed, open_)
    found = search(default_day, linear, (-1000.0, closed), 0.0, 60.0, node_limit=10)
    assert plain is not None
    assert cut is not None
    assert found.objective_usd <= cut.objective_usd + 1e-6
    assert cut.objective_usd < plain.objective_usd - 1.0


def test_cuts_change_nothing_once_every_bid_is_decided(default_day: DayProblem, linear: Formulation):
    plain, cut = relaxation(linear), relaxation(linear)
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    assert cut.cut(sold_only_with_a_bid(linear, default_day), closed, open_) is not None
    rng, feasible = np.random.default_rng(7), 0
    for share in (0.0, 0.1, 0.3, 0.5, 0.7):
        decisions = open_ * (rng.random(len(open_)) < share)
        without, with_cuts = plain.solve(decisions, decisions), cut.solve(decisions, decisions)
        assert (without is None) == (with_cuts is None)
        if without is not None and with_cuts is not None:
            feasible += 1
            assert with_cuts.objective_usd == pytest.approx(without.objective_usd, abs=1e-6)
    assert feasible >= 3


@pytest.mark.parametrize("open_usd", [0.1, 0.5, 2.0])
def test_reduced_costs_rule_out_only_what_is_worse(default_day: DayProblem, linear: Formulation, open_usd: float):
    """Decisions ruled out at the root, against an answer so much below it, are tried: none earns more than that."""
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    relaxed = relaxation(linear)
    root = relaxed.cut(sold_only_with_a_bid(linear, default_day), closed, open_)
    assert root is not None
    best_usd = root.objective_usd - open_usd
    low, high = root.narrowed(best_usd)
    ruled_out = np.flatnonzero((low == high) & (closed < open_))
    assert len(ruled_out) > 0
    for bid in ruled_out[:8]:
        other_low, other_high = closed.copy(), open_.copy()
        other_low[bid] = other_high[bid] = 1.0 - low[bid]
        other = relaxed.solve(other_low, other_high)
        assert other is None or other.objective_usd <= best_usd + 1e-6
