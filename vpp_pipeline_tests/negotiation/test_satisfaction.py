"""One formula for contentment, by hand and within its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.negotiation.agreements import satisfaction_score, satisfaction_worth, surplus_fraction
from vpp_pipeline_tests.cases import tries

PRICES = st.one_of(st.just(0.0), st.floats(0.01, 1000))


@pytest.mark.parametrize(
    ("agreed", "reservation", "used", "score"),
    [
        (50.0, 40.0, 1.0, 6.0),  # 5 + 5 x 10/50
        (50.0, 40.0, 0.5, 5.5),  # half dispatched, half the gain
        (50.0, 40.0, 0.0, 5.0),  # nothing lost, nothing gained
        (40.0, 40.0, 1.0, 5.0),
        (50.0, 0.0, 1.0, 10.0),
        (0.0, 0.0, 1.0, 5.0),
    ],
)
def test_satisfaction_by_hand(agreed: float, reservation: float, used: float, score: float) -> None:
    assert satisfaction_score(np.array([agreed]), np.array([reservation]), used).tolist() == pytest.approx([score])


def test_a_broken_preference_leaves_nothing() -> None:
    scores = satisfaction_score(np.array([50.0, 50.0]), np.array([40.0, 40.0]), 1.0, np.array([True, False]))
    assert scores.tolist() == [0.0, 6.0]


@given(PRICES, PRICES, st.floats(0, 1), st.floats(0, 1))
@tries(200)
def test_it_lies_in_0_to_10_and_grows_with_use_and_price(agreed: float, least: float, used: float, more: float) -> None:
    low, high = sorted((used, more))

    def score(price: float, use: float) -> float:
        return float(satisfaction_score(np.array([price]), np.array([least]), use)[0])

    assert 5.0 <= score(agreed, low) <= score(agreed, high) <= 10.0
    if agreed >= least:
        assert score(agreed + 1.0, high) >= score(agreed, high)


@given(PRICES, PRICES, st.floats(0, 10))
@tries(100)
def test_a_content_owner_is_never_worth_more_than_the_payment(agreed: float, least: float, weight: float) -> None:
    worth = float(satisfaction_worth(np.array([agreed]), np.array([least]), weight)[0])
    assert 0.0 <= worth <= min(agreed, weight) + 1e-12


def test_the_worth_by_hand() -> None:
    # sigma = (50 - 40) / 50 = 0.2; 5 $/MWh x 0.2 = 1 $; a price of 0.1 bounds the worth
    worth = satisfaction_worth(np.array([50.0, 0.1]), np.array([40.0, 0.0]), 5.0)
    assert worth.tolist() == pytest.approx([1.0, 0.1])
    assert surplus_fraction(np.array([50.0]), np.array([40.0])).tolist() == [0.2]
