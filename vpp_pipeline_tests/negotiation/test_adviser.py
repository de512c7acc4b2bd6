"""An adviser proposes how far to give way; whatever it says, the rules hold."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.negotiation.negotiate import Adviser, Seen, concession
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.advisers import HOSTILE, Constant, Says, Shaped
from vpp_pipeline_tests.negotiation.random_terms import cases
from vpp_pipeline_tests.negotiation.rules import broken_words
from vpp_pipeline_tests.negotiation.talks import TWO, lines, prices, talk

#: the ask never falls below 90, so offers are seen to the end; supply 1.5, so the rule concedes evenly
PATIENT = terms_of([[75]], [[90]], [[130]], [[80]], required_kw=[50.0])


def offers(shares: dict[int, float], **policy: object) -> list[float]:
    """Offers to a prosumer that never closes, as the adviser says."""
    return prices(talk(PATIENT, Says(shares), **policy), "a", "offer")


def test_without_an_adviser_offers_follow_the_rule() -> None:
    assert prices(talk(PATIENT), "a", "offer") == pytest.approx([40, 60, 80])


def test_inside_the_trust_region_the_adviser_is_followed() -> None:
    # 0.6 instead of 0.5 of the way from 40 to 80, 0.9 instead of 1.0
    assert offers({2: 0.6, 3: 0.9}) == pytest.approx([40, 40 + 0.6 * 40, 40 + 0.9 * 40])


def test_outside_it_is_held_at_the_border() -> None:
    # 0.5 + 0.15 and 0.5 - 0.15 of the way; in the last round at most all of it, at least 1 - 0.15
    assert offers({2: 1.0, 3: 7.0}) == pytest.approx([40, 40 + 0.65 * 40, 80])
    assert offers({2: 0.0, 3: -7.0}) == pytest.approx([40, 40 + 0.35 * 40, 40 + 0.85 * 40])


def test_it_never_takes_back_what_was_conceded() -> None:
    # rule 0, 1/3, 2/3, 1 with a trust of 0.5: 0.8 is followed; 0.2 would be allowed, and is not less than 0.8
    found = offers({2: 0.8, 3: 0.2, 4: 0.0}, rounds=4, trust_region_fraction=0.5)
    assert found == pytest.approx([40, 72, 72, 72])


def test_what_is_kept_back_can_grow_again() -> None:
    found = offers({2: 0.2, 3: 0.5, 4: 0.9}, rounds=4, trust_region_fraction=0.2)
    assert found == pytest.approx([40, 40 + 0.2 * 40, 40 + 0.5 * 40, 40 + 0.9 * 40])


def test_without_trust_the_rule_stands() -> None:
    assert offers({2: 1.0, 3: 0.0}, trust_region_fraction=0.0) == pytest.approx([40, 60, 80])


def test_it_is_asked_after_the_first_round_and_told_the_rule() -> None:
    adviser = Says({2: 0.5, 3: 1.0})
    talk(PATIENT, adviser)
    assert adviser.asked == {2: [0.5], 3: [1.0]}


def test_it_sees_nothing_of_the_owners_least_prices_and_can_change_nothing() -> None:
    class Curious:
        def concede(self, seen: Seen) -> Array:
            assert {field.name for field in fields(seen)}.isdisjoint({"reservation", "opening_ask", "patience"})
            for field in fields(seen):
                values = getattr(seen, field.name)
                assert isinstance(values, int) or not values.flags.writeable
            assert seen.ask[0, 0] == pytest.approx({2: 110.0, 3: 90.0}[seen.round_])
            return seen.rule

    assert talk(PATIENT, Curious()).equals(talk(PATIENT))


@pytest.mark.parametrize("policy", [{"rounds": 1}, {"engine": "uniform_clearing"}], ids=str)
def test_where_nothing_can_be_conceded_it_is_not_asked(policy: dict[str, object]) -> None:
    adviser = Says({})
    talk(PATIENT, adviser, **policy)
    assert adviser.asked == {}


def test_a_generous_adviser_closes_a_deal_earlier() -> None:
    # all of the 80 in round 2: meets b's 120 no more than before, but closes with a at (50 + 80) / 2
    said = talk(TWO, Constant(1.0), trust_region_fraction=1.0)
    assert lines(said, "a")[-1] == (2, "accept", 65.0)


def test_a_generous_adviser_brings_on_an_early_deadlock() -> None:
    stuck = terms_of([[75]], [[90]], [[90]], [[80]], required_kw=[50.0])
    said = talk(stuck, Constant(1.0), trust_region_fraction=1.0, rounds=5)
    assert lines(said, "a")[-1] == (2, "withdraw", 90.0)


def test_a_mean_adviser_loses_deals_but_breaks_no_rule() -> None:
    # 40 + 0.85 x 40 = 74 is the last offer; the ask stands at 76
    mean = terms_of([[75]], [[76]], [[130]], [[80]], required_kw=[50.0])
    assert lines(talk(mean), "a")[-1] == (3, "accept", 78.0)
    assert lines(talk(mean, Constant(0.0)), "a")[-1] == (3, "withdraw", 76.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_replaced_by_the_rule(value: float) -> None:
    assert talk(TWO, Constant(value)).equals(talk(TWO))


@pytest.mark.parametrize(
    "kind", ["scalar", "flat", "column too many", "row too many", "one row", "empty", "words", "ragged", "a map"]
)
def test_an_answer_of_the_wrong_shape_is_replaced_by_the_rule(kind: str) -> None:
    assert talk(TWO, Shaped(kind)).equals(talk(TWO))


def test_one_bad_number_does_not_spoil_the_others() -> None:
    class Partly:
        def concede(self, seen: Seen) -> Array:
            advice = np.full(seen.rule.shape, 0.6)
            advice[0, 0] = np.nan
            return advice

    terms = terms_of([[37.5, 37.5]], [[90, 90]], [[130, 130]], [[80, 80]], required_kw=[50.0])
    said = talk(terms, Partly())
    assert prices(said, "a", "offer")[1] == pytest.approx(60)
    assert prices(said, "b", "offer")[1] == pytest.approx(64)


@given(cases(st.just("concession")), st.sampled_from(HOSTILE), st.sampled_from([0.0, 0.15, 1.0]))
@tries(300)
def test_a_hostile_adviser_breaks_no_rule(
    case: tuple[Terms, NegotiationPolicy], adviser: Adviser, trust: float
) -> None:
    terms, policy = case
    policy = policy.model_copy(update={"trust_region_fraction": trust})
    assert broken_words(concession(terms, policy, adviser), terms, policy) == []
