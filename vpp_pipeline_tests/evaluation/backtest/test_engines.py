"""Who is in and at what price, by each arm's way of deciding, on one opportunity of round numbers."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.evaluation.backtest.metrics import gini
from vpp_pipeline.evaluation.backtest.plans import centralised, greedy, posted_price
from vpp_pipeline.evaluation.backtest.strategies import _coalition
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.dispatch.small_days import fleet
from vpp_pipeline_tests.examples import terms_of

POLICY = NegotiationPolicy(contract="fixed")


def four() -> Terms:
    """40 kW each of 100 kW wanted, for at least 30, 20, 50 and 10 $/MWh; 45 could be paid."""
    least = [[30.0, 20.0, 50.0, 10.0]]
    return terms_of([[40.0] * 4], least, [[60.0] * 4], [[45.0] * 4], expected_price=[45.0])


def test_central_dispatch_has_everyone_at_the_least_price():
    outcome = centralised(four(), POLICY)
    assert outcome.is_closed.all()
    np.testing.assert_array_equal(outcome.end_price, four().reservation)


def test_greedy_takes_the_cheapest_until_it_has_enough():
    """10 and 20 $ make 80 kW, 30 $ makes 120 ≥ 100; the one at 50 $ is worth $45."""
    many = fleet(4, 3, has_store=True, capacity_kwh=100.0)
    assert greedy(many)(four(), POLICY).is_closed.tolist() == [[True, True, False, True]]


def test_greedy_asks_nobody_whose_energy_is_sold_in_a_dearer_hour():
    """Stores of 40 kWh: the $60 hour takes the three cheapest, and leaves the $45 hour nobody it pays."""
    two = terms_of(
        [[40.0] * 4] * 2,
        [[30.0, 20.0, 50.0, 10.0]] * 2,
        [[60.0] * 4] * 2,
        [[45.0] * 4] * 2,
        expected_price=[45.0, 60.0],
    )
    small = fleet(4, 3, has_store=True, capacity_kwh=40.0, maximum_cycles_per_day=1.0, discharge_efficiency=1.0)
    assert greedy(small)(two, POLICY).is_closed.tolist() == [[False] * 4, [True, True, False, True]]


def test_a_posted_price_is_taken_by_who_asks_no_more():
    outcome = posted_price(0.5)(four(), POLICY)
    assert outcome.is_closed.tolist() == [[False, True, False, True]]
    assert set(outcome.end_price[outcome.is_closed]) == {22.5}


def test_the_originals_score_prefers_large_offers_to_cheap_ones():
    """By its score 100 kW for 90 $/MWh come before 10 kW for 20; three members reach R of 250."""
    members = _coalition(np.array([20.0, 90.0, 90.0, 90.0]), np.array([10.0, 100.0, 100.0, 100.0]), 250.0)
    assert members.tolist() == [0.0, 100.0, 100.0, 100.0]


def test_the_original_needs_three_members_and_80_percent():
    assert not _coalition(np.array([20.0, 20.0]), np.array([100.0, 100.0]), 100.0).any()
    assert not _coalition(np.array([20.0] * 3), np.array([25.0] * 3), 100.0).any()


def test_gini_of_equal_shares_is_0_and_of_one_taker_among_four_three_quarters():
    assert abs(gini(np.ones(4))) < 1e-12
    assert gini(np.array([0.0, 0.0, 0.0, 8.0])) == 0.75
    assert gini(np.zeros(4)) is None
