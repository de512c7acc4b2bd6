"""The model's adviser: asked once per opportunity, followed where it answers, replaced by the rule elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.negotiation.negotiate import concession
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import LLMSettings, NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.llm import pretended_advice
from vpp_pipeline_tests.llm.spoken import Say, Spoken
from vpp_pipeline_tests.negotiation.random_terms import cases
from vpp_pipeline_tests.negotiation.rules import broken_words


def adviser_of(say: Say, **policy: Any) -> tuple[ModelAdviser, Spoken]:
    gateway = Spoken(say)
    return ModelAdviser(gateway, NegotiationPolicy(**policy), LLMSettings()), gateway


def entry(segment: str, counter: Any, final: Any, **more: Any) -> dict[str, Any]:
    return {"segment": segment, "counter_fraction": counter, "final_fraction": final} | more


#: asks end at 90 and at most 80 may be paid, so that every offer is seen; supply is 1.5 R, so the rule concedes evenly
SEGMENTS = ["home battery", "home battery", "home ev"]
PATIENT = terms_of([[25] * 3], [[90] * 3], [[130] * 3], [[80] * 3], required_kw=[50.0], segment=SEGMENTS)
BY_RULE = [40, 60, 80]


def offers(say: Say, prosumer: int = 0, terms: Terms = PATIENT, **policy: Any) -> tuple[list[float], ModelAdviser]:
    adviser, _ = adviser_of(say, **policy)
    outcome = concession(terms, NegotiationPolicy(**policy), adviser)
    return [float(offer) for offer in outcome.offer[:, 0, prosumer]], adviser


def test_each_kind_of_prosumer_gets_the_offers_that_are_advised() -> None:
    def say(_: dict[str, Any]) -> Any:
        return {"segments": [entry("home_battery", 0.6, 0.9), entry("home_ev", 0.4, 1.0)]}

    assert offers(say, 0)[0] == pytest.approx([40, 64, 76])
    assert offers(say, 2)[0] == pytest.approx([40, 56, 80])
    assert offers(say)[1].tally.fallback_fraction == 0.0


def test_between_counter_offer_and_final_offer_lies_a_line() -> None:
    found, _ = offers(
        lambda _: {"segments": [entry("home_battery", 0.5, 0.9), entry("home_ev", 0.5, 0.9)]},
        rounds=5,
        trust_region_fraction=1.0,
    )
    assert found == pytest.approx([40 + 40 * share for share in (0.0, 0.5, 0.5 + 0.4 / 3, 0.5 + 0.8 / 3, 0.9)])


def test_of_two_rounds_the_second_is_the_final_offer() -> None:
    found, _ = offers(lambda _: {"segments": [entry("home_battery", 0.0, 0.9)]}, rounds=2)
    assert found == pytest.approx([40, 76])


BAD = {
    "missing": [],
    "another kind": [entry("business_ev", 0.6, 0.9)],
    "an invented kind": [entry("homes of the rich", 0.6, 0.9)],
    "above 1": [entry("home_battery", 1.5, 0.9)],
    "below 0": [entry("home_battery", 0.6, -0.1)],
    "a number as text": [entry("home_battery", "0.6", 0.9)],
    "true": [entry("home_battery", True, 0.9)],
    "empty": [entry("home_battery", None, 0.9)],
    "a price beside it": [entry("home_battery", 0.6, 0.9, price_usd=500.0)],
    "half of it": [{"segment": "home_battery", "counter_fraction": 0.6}],
    "twice": [entry("home_battery", 0.6, 0.9), entry("home_battery", 0.5, 0.9)],
    "a list": [["home_battery", 0.6, 0.9]],
    "a word": ["concede everything"],
}


@pytest.mark.parametrize("entries", BAD.values(), ids=BAD)
def test_a_wrong_entry_costs_its_own_segment_alone(entries: list[Any]) -> None:
    def say(_: dict[str, Any]) -> Any:
        return {"segments": [*entries, entry("home_ev", 0.6, 0.9)]}

    found, adviser = offers(say, 0)
    assert found == pytest.approx(BY_RULE)
    assert offers(say, 2)[0] == pytest.approx([40, 64, 76])
    assert (adviser.tally.answered, adviser.tally.segments_by_rule, adviser.tally.segments) == (1, 1, 2)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_costs_its_own_segment_alone(number: str) -> None:
    text = f'{{"segments": [{{"segment": "home_battery", "counter_fraction": {number}, "final_fraction": 0.9}}]}}'
    found, adviser = offers(lambda _: text)
    assert found == pytest.approx(BY_RULE)
    assert adviser.tally.segments_by_rule == 2


@pytest.mark.parametrize("kind", list(FailKind))
def test_without_an_answer_the_rule_stands_and_is_counted(kind: FailKind) -> None:
    found, adviser = offers(lambda _: LLMError(kind))
    assert found == pytest.approx(BY_RULE)
    assert adviser.tally.failures == {str(kind): 1}
    assert adviser.tally.fallback_fraction == 1.0


def test_any_other_fault_is_not_hidden() -> None:
    def broken(_: dict[str, Any]) -> Any:
        raise RuntimeError("our own mistake")

    with pytest.raises(RuntimeError, match="our own mistake"):
        offers(broken)


def test_each_opportunity_is_asked_about_once_and_equal_questions_are_asked_once() -> None:
    three = terms_of([[25] * 3] * 3, [[90] * 3] * 3, [[130] * 3] * 3, [[80] * 3] * 3, [50.0, 50.0, 80.0], None, None)
    adviser, gateway = adviser_of(pretended_advice.good)
    outcome = concession(three, NegotiationPolicy(), adviser)
    assert len(gateway.asked) == 2
    assert (adviser.tally.asked, adviser.tally.answered) == (3, 3)
    np.testing.assert_array_equal(outcome.offer[:, 0], outcome.offer[:, 1])


def test_of_a_storage_resource_one_question_per_product_is_asked_about_its_largest_hour() -> None:
    names = [f"{product}_20230815_{hour}00_vpp-03" for product in ("energy", "spin") for hour in (19, 20)]
    hours = terms_of([[25] * 3] * 4, [[90] * 3] * 4, [[130] * 3] * 4, [[80] * 3] * 4, [50.0, 60.0, 55.0, 50.0])
    hours = replace(hours, opportunity_id=np.array(names, dtype=object))
    adviser, gateway = adviser_of(pretended_advice.good)
    concession(hours, NegotiationPolicy(), adviser)
    assert (len(gateway.asked), adviser.tally.asked) == (4, 4)
    adviser, gateway = adviser_of(pretended_advice.good, trust_region_fraction=1.0)
    policy = NegotiationPolicy(trust_region_fraction=1.0)
    outcome = concession(replace(hours, is_storage=True), policy, adviser)
    assert sorted(request.subject for request in gateway.asked) == [names[1], names[2]]
    told = [json.loads(request.user) for request in gateway.asked]
    assert sorted((one["product"], one["local_hour"]) for one in told) == [("energy", 20), ("spin", 19)]
    assert (adviser.tally.asked, adviser.tally.answered, adviser.tally.fallback_fraction) == (4, 4, 0.0)
    np.testing.assert_array_equal(outcome.offer[:, 0], outcome.offer[:, 1])  # both hours of energy are advised alike


ARMS: dict[str, Say] = {
    "random": pretended_advice.random,
    "hostile": pretended_advice.hostile,
    "spendthrift": pretended_advice.spendthrift,
    "good": pretended_advice.good,
    "seeded": pretended_advice.seeded,
    "failing": lambda _: LLMError(FailKind.SERVER),
    "half of it wrong": lambda question: {"segments": [*pretended_advice.random(question)["segments"][::2], "x"]},
}


@pytest.mark.parametrize("arm", ARMS)
@given(case=cases(st.just("concession")), trust=st.sampled_from([0.0, 0.15, 1.0]))
@tries(30)
def test_no_answer_breaks_a_rule(arm: str, case: tuple[Terms, NegotiationPolicy], trust: float) -> None:
    terms, policy = case
    policy = policy.model_copy(update={"trust_region_fraction": trust})
    adviser = ModelAdviser(Spoken(ARMS[arm]), policy, LLMSettings(workers=2))
    assert broken_words(concession(terms, policy, adviser), terms, policy) == []
