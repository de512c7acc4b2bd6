"""A note on the day's bids: every number in it is one of the day's, or the note is made by rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.llm.brief import Fact, Sentence, brief_of, brief_question, facts_of, faults_of, note_by_rule, text_of
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.settings import LLMSettings
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.llm.spoken import Say, Spoken

LIVE = LLMSettings(mode="live")
FACTS = {
    "bids": Fact(42, "count", "bids"),
    "profit": Fact(363.69, "$", "profit"),
    "revenue": Fact(1021.2, "$", "revenue"),
    "margin": Fact(35.6, "%", "margin"),
    "energy": Fact(6.76, "MW", "energy"),
    "price": Fact(104.43, "$/MWh", "price"),
    "hour": Fact(19, "hour", "hour"),
    "small": Fact(0.07, "%", "gap"),
    "loss": Fact(-12.5, "$", "loss"),
}


@pytest.fixture(scope="module")
def honest(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    return solved_day()


def faults(text: str, *facts: str) -> list[str]:
    return faults_of(Sentence(text=text, facts=list(facts) or list(FACTS)), FACTS)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("We bid 42 times today.", ["bids"]),
        ("Profit should be 363.69 $.", ["profit"]),
        ("Profit should be $363.7, or $364.", ["profit"]),
        ("Profit should be 364 dollars on 1,021.20 $.", ["profit", "revenue"]),
        ("A margin of 36 % or 35.6%.", ["margin"]),
        ("6.8 MW at 104 $/MWh from 19:00 on.", ["energy", "price", "hour"]),
        ("6.76 MW at $104.43/MWh.", ["energy", "price"]),
        ("A loss of -12.5 $ is expected.", ["loss"]),
        ("A loss, -$12.50, is expected.", ["loss"]),
        ("The gap is 0.07 %.", ["small"]),
    ],
)
def test_numbers_as_they_are_or_rounded_to_their_own_digits_pass(text: str, facts: list[str]) -> None:
    assert faults(text, *facts) == []


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("We bid 43 times today.", ["bids"]),
        ("Profit should be 360 $.", ["profit"]),
        ("Profit should be 363.6 $.", ["profit"]),
        ("Profit should be 36369 cents.", ["profit"]),
        ("Profit should be 363.69 %.", ["profit"]),
        ("Profit should be 363.69.", ["profit"]),
        ("Profit should be $0.36k.", ["profit"]),
        ("Profit should be 363.69 million $.", ["profit"]),
        ("Profit should be -363.69 $.", ["profit"]),
        ("Profit should be -$363.69.", ["profit"]),
        ("Energy earns $104.43 then.", ["price"]),
        ("Energy earns 104.43/MWh then.", ["price"]),
        ("A loss of 12.5 $ is expected.", ["loss"]),
        ("The gap is 0.1 %.", ["small"]),
        ("The gap is 0 %.", ["small"]),
        ("6.76 kW of energy are bid.", ["energy"]),
        ("It begins at 19:30 today.", ["hour"]),
        ("It begins at 19 today.", ["hour"]),
        ("Profit is $104.43/MWh here.", ["profit"]),
        ("We bid 42 times and sell to 17 markets.", ["bids"]),
        ("Profit should be 363.69 $.", ["bids"]),  # the number of another fact
        ("Profit should be 363.69 $.", ["profit", "no_such_fact"]),
        ("Forty-two bids, that is 42.", ["bids"]),
        ("We bid 42 times, twice as many as before.", ["bids"]),
        ("We bid 42 times, half of them at night.", ["bids"]),
        ("We bid a dozen times and 42.", ["bids"]),
        ("We bid very often today.", ["bids"]),
        ("We bid 4２ times.", ["bids"]),
        ("We bid 42 times, ½ of it.", ["bids"]),
        ("We bid 42 times, ٤٢.", ["bids"]),
        ("We bid 42x times.", ["bids"]),
        ("CO2 falls by 42 today.", ["bids"]),
        ("We bid 42 times; see https://evil.example/x", ["bids"]),
        ("We bid 42 times; see evil.com now.", ["bids"]),
        ("We bid 42 times [click](x).", ["bids"]),
        ("We bid 42 times <b>now</b>.", ["bids"]),
        ("We bid 42\u200b times.", ["bids"]),
        ("We bid 42\u202e times.", ["bids"]),
        ("We bid 1e3 times or 42.", ["bids"]),
        ("We bid 42.000.000 times.", ["bids"]),
        ("We bid 4,2 times.", ["bids"]),
    ],
)
def test_any_other_number_refuses_the_sentence(text: str, facts: list[str]) -> None:
    assert faults(text, *facts) != []


@given(st.floats(-1e5, 1e5).map(lambda value: round(value, 2)), st.integers(0, 2))
@tries(300)
def test_a_number_passes_exactly_if_it_is_the_facts_rounded(value: float, decimals: int) -> None:
    written = f"{value:.{decimals}f}"
    close = abs(float(written) - 363.69) <= 0.5 * 10.0**-decimals + 1e-9
    assert (faults(f"It is {written} $ today.", "profit") == []) == close


def test_the_rules_note_passes_what_a_models_note_must(honest: SolvedDay) -> None:
    facts = facts_of(honest.tables)
    sentences = re.split(r"(?<=\.) (?=[A-Z])", note_by_rule(facts))
    assert len(sentences) == 6
    named = {name: fact for name, fact in facts.items() if text_of(fact) in note_by_rule(facts)}
    for sentence in sentences:
        mine = [
            name
            for name, fact in named.items()
            if re.search(rf"(?<![\d.]){re.escape(text_of(fact))}(?!\d|:\d)", sentence)
        ]
        assert faults_of(Sentence(text=sentence, facts=mine), facts) == []


def test_facts_are_the_warehouses_numbers(honest: SolvedDay) -> None:
    facts, bids = facts_of(honest.tables), honest.tables["bids.final_bids"].filter(status="bid")
    assert facts["bids"].value == bids.height
    assert facts["profit"].value == pytest.approx(bids["expected_profit_usd"].sum(), abs=0.005)
    assert facts["best_profit"].value == pytest.approx(bids["expected_profit_usd"].max(), abs=0.005)
    assert facts["no_bids"].value == facts["no_deals"].value + facts["worth_more_elsewhere"].value


def test_a_question_holds_named_numbers_and_nobody(honest: SolvedDay) -> None:
    asked = brief_question(facts_of(honest.tables), honest.problem.market_date, LIVE)
    assert "prosumer_" not in asked.user
    assert set(json.loads(asked.user)) == set(facts_of(honest.tables))


def written(honest: SolvedDay, say: Say) -> Any:
    return brief_of(honest.tables, LIVE, Spoken(say))


def test_a_verified_note_is_the_models(honest: SolvedDay) -> None:
    def say(facts: dict[str, Any]) -> Any:
        text = f"We bid {facts['bids']['number']} of {facts['opportunities']['number']}."
        return {"sentences": [{"text": text, "facts": ["bids", "opportunities"]}]}

    note = written(honest, say)
    assert note.text.startswith("We bid 4")
    assert "numbers were verified" in note.author


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (lambda _: LLMError(FailKind.TIMEOUT), "no answer (timeout)"),
        (lambda _: {"sentences": [{"text": "We bid 9999 times.", "facts": ["bids"]}]}, "a model's note was refused"),
        (
            lambda facts: {
                "sentences": [
                    {"text": f"We bid {facts['bids']['number']} times.", "facts": ["bids"]},
                    {"text": "Profit will triple tomorrow, to 42.", "facts": ["bids"]},
                ]
            },
            "a number in words: triple",
        ),
    ],
)
def test_one_wrong_number_refuses_the_whole_note_and_the_rules_stands_in(honest: SolvedDay, say: Say, why: str) -> None:
    note = written(honest, say)
    assert note.text == note_by_rule(facts_of(honest.tables))
    assert why in note.author


def test_without_a_model_the_note_is_made_by_rule(honest: SolvedDay) -> None:
    note = brief_of(honest.tables, LLMSettings(), Spoken(lambda _: LLMError(FailKind.OFF)))
    assert note.author == "Made by rule from the day's tables."
    assert "# Bids of Tuesday 15 August 2023" in note.markdown()
