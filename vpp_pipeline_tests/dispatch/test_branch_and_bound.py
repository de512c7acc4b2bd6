"""Cuts and reduced costs of the search: tighter bounds, and no decisions lost (optima: test_against_brute_force.py)."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch import branch_and_bound
from vpp_pipeline.dispatch.branch_and_bound import CUT_ROUNDS, Limits, _Relaxation, search
from vpp_pipeline.dispatch.formulation import CUT_TOLERANCE_KW, Cuts, Formulation, formulate
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw


@pytest.fixture(scope="module")
def linear(default_day: DayProblem) -> Formulation:
    """The default day with every bid open."""
    made = formulate(default_day, binary=False)
    made.set_quantities(np.zeros(len(default_day.price)), unlimited_mw(default_day))
    made.set_bids(np.zeros(len(default_day.price)), default_day.may_bid.astype(float))
    return made


def relaxation(linear: Formulation, day: DayProblem) -> _Relaxation:
    return _Relaxation(linear, linear.program.another(), Cuts(linear, day))


@pytest.mark.slow
def test_cuts_tighten_the_root(default_day: DayProblem, linear: Formulation):
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    plain = relaxation(linear, default_day).solve(closed, open_)
    cut = relaxation(linear, default_day).solve(closed, open_, CUT_ROUNDS)
    found = search(default_day, linear, (-1000.0, closed), 0.0, Limits(nodes=10, pivots=1e6))
    assert plain is not None
    assert cut is not None
    assert found.objective_usd <= cut.objective_usd + 1e-6
    assert cut.objective_usd < plain.objective_usd - 1.0


def test_no_minimum_is_met_by_what_is_bought_in_the_same_hour(
    default_day: DayProblem, linear: Formulation, monkeypatch: pytest.MonkeyPatch
):
    """Without cuts the relaxation buys and sells at once; with all of them it buys no more than the fleet charges."""
    monkeypatch.setattr(branch_and_bound, "LEAST_CUT_FRACTION", -1.0)
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    bought_for_nothing_mw = []
    for rounds in (0, 5 * CUT_ROUNDS):
        linear.program.take_parameters()
        relaxed = relaxation(linear, default_day)
        assert relaxed.solve(closed, open_, rounds) is not None
        values = relaxed.values
        buy_mw = linear.program.value_of(linear.variables.buy, values)
        charge_kw = linear.program.value_of(linear.variables.grid_charge, values)
        charged_mw = charge_kw.reshape(linear.variables.grid_charge.shape, order="F").sum(axis=0) / 1000.0
        bought_for_nothing_mw.append(np.maximum(buy_mw - charged_mw, 0.0).sum())
    assert bought_for_nothing_mw[0] > 0.01
    assert bought_for_nothing_mw[1] < CUT_TOLERANCE_KW


def test_rounds_of_cuts_that_hardly_lower_the_bound_are_left_out(
    default_day: DayProblem, linear: Formulation, monkeypatch: pytest.MonkeyPatch
):
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    plain = relaxation(linear, default_day).solve(closed, open_)
    few = relaxation(linear, default_day).solve(closed, open_, CUT_ROUNDS)
    monkeypatch.setattr(branch_and_bound, "LEAST_CUT_FRACTION", -1.0)
    all_ = relaxation(linear, default_day).solve(closed, open_, CUT_ROUNDS)
    assert plain is not None
    assert few is not None
    assert all_ is not None
    lowered_usd = plain.objective_usd - all_.objective_usd
    assert -1e-6 <= few.objective_usd - all_.objective_usd < 0.1 * lowered_usd


def test_every_cut_holds_wherever_the_bids_are_decided(default_day: DayProblem, linear: Formulation):
    """Random decisions: the rows of both kinds hold, and those of the root change no objective."""
    plain, cut = relaxation(linear, default_day), relaxation(linear, default_day)
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    assert cut.solve(closed, open_, CUT_ROUNDS) is not None
    rng, feasible = np.random.default_rng(7), 0
    for share in (0.0, 0.1, 0.3, 0.5, 0.7):
        decisions = open_ * (rng.random(len(open_)) < share)
        without, with_cuts = plain.solve(decisions, decisions), cut.solve(decisions, decisions)
        assert (without is None) == (with_cuts is None)
        if without is not None and with_cuts is not None:
            feasible += 1
            assert with_cuts.objective_usd == pytest.approx(without.objective_usd, abs=1e-6)
            rows, _ = Cuts(linear, default_day).violated(plain.values)
            assert rows.shape[0] == 0
    assert feasible >= 3


@pytest.mark.parametrize("open_usd", [0.1, 0.5, 2.0])
def test_reduced_costs_rule_out_only_what_is_worse(default_day: DayProblem, linear: Formulation, open_usd: float):
    """Decisions ruled out at the root, against an answer so much below it, are tried: none earns more than that."""
    closed, open_ = np.zeros(len(default_day.price)), default_day.may_bid.astype(float)
    relaxed = relaxation(linear, default_day)
    root = relaxed.solve(closed, open_, CUT_ROUNDS)
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
