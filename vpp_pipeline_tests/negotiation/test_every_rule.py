"""Every rule of the negotiation at once, over random fleets, prices, opportunities and policies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpp_pipeline.negotiation.negotiate import ENGINES
from vpp_pipeline.verification.negotiation import check_negotiation
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay
from vpp_pipeline_tests.negotiation.random_days import random_days
from vpp_pipeline_tests.negotiation.rules import broken_rules, broken_words

ARRAYS = ("ask", "offer", "end", "end_round", "end_price")


@pytest.mark.slow
@pytest.mark.parametrize("ranking", ["cost_effectiveness", "original"])
@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # 4 x 250 cases
def test_no_negotiation_breaks_a_rule(engine: str, ranking: str, data: st.DataObject) -> None:
    day: NegotiatedDay = data.draw(random_days(engine, ranking))
    faults = check_negotiation(day.tables, day.settings)
    assert faults.is_empty(), faults
    assert broken_rules(day) == []

    terms, policy = day.terms, day.settings.negotiation
    outcome = ENGINES[engine](terms, policy, day.adviser)
    assert broken_words(outcome, terms, policy) == []

    again = ENGINES[engine](terms, policy, day.adviser)
    for array in ARRAYS:
        np.testing.assert_array_equal(getattr(outcome, array), getattr(again, array))
    for o, name in enumerate(terms.opportunity_id if day.adviser is None else []):  # an adviser may look at them all
        alone = ENGINES[engine](terms.only(terms.opportunity_id == name), policy)
        for array in ("end", "end_round", "end_price"):
            np.testing.assert_array_equal(getattr(alone, array)[0], getattr(outcome, array)[o])
