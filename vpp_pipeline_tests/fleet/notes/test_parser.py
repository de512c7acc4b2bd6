"""What is read from an owner's words: only what a rule surely understands, each with its quote, and nothing is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given

from vpp_pipeline.fleet.archetypes import NOTES
from vpp_pipeline.fleet.notes.parser import read_note
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.fleet.notes.sentences import (
    BY,
    MONEY,
    NO_CHARGE,
    QUIET,
    READY,
    REFUSED,
    RESERVE,
    TABLES,
    TEXTS,
    UNDERSTOOD,
    limits,
)


@pytest.mark.parametrize(("text", "expected"), UNDERSTOOD)
def test_a_common_sentence_is_understood(text: str, expected: list[tuple[str, float | str, str | None]]) -> None:
    assert limits(text) == expected


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_sure_is_not_understood(text: str) -> None:
    assert {reading.preference for reading in read_note(text)} == {None}


@pytest.mark.parametrize("text", dict.fromkeys(row[0] for row in TABLES[0]))
def test_the_page_says_what_is_understood(text: str) -> None:
    written = [
        (column.strip("`"), value, device or None) for shown, column, value, device in TABLES[0] if shown == text
    ]
    assert [(column, str(value), device) for column, value, device in limits(text)] == written


@pytest.mark.parametrize("text", [row[0] for row in TABLES[1]])
def test_the_page_says_what_is_refused(text: str) -> None:
    assert [(reading.quote, reading.preference) for reading in read_note(text)] == [(text.rstrip("."), None)]


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.text)
def test_the_generated_fleets_notes_are_read_as_it_means_them(note: Any) -> None:
    kept = [value for column, value, _ in limits(note.text) if column == RESERVE]
    assert kept == ([note.keep_fraction] if note.keep_fraction else [])


@pytest.mark.parametrize("text", [*(text for text, _ in UNDERSTOOD), *REFUSED])
def test_quotes_are_verbatim_in_order_and_lose_nothing(text: str) -> None:
    nothing_is_lost(text)


def nothing_is_lost(text: str) -> None:
    """Quotes follow each other in the text; between them stand only separators and conjunctions."""
    between, end = "", 0
    readings = read_note(text)
    for last, reading in zip([None, *readings], readings, strict=False):
        is_second_of_clause = last and (last.preference, reading.preference) in ((READY, BY), (QUIET, NO_CHARGE))
        if not (is_second_of_clause and last.quote == reading.quote):
            start = text.index(reading.quote, end)
            between, end = between + " " + text[end:start], start + len(reading.quote)
    assert not re.sub(r"(?i)\b(?:and|plus|but)\b|[\s,;.!&+*•–—-]", "", between + " " + text[end:])


@pytest.mark.parametrize(
    "change", ["maybe {}", "{} unless it rains", "{}, if possible", "Unless it rains, {}", "don't {}", "{}?"]
)
@pytest.mark.parametrize("text", [text for text, _ in UNDERSTOOD if len({r.quote for r in read_note(text)}) == 1])
def test_a_hedge_a_condition_or_a_negation_is_not_understood(text: str, change: str) -> None:
    assert {reading.preference for reading in read_note(change.format(text.strip(".!- ")))} == {None}


def test_a_condition_takes_its_own_clause_and_no_other() -> None:
    text = "keep 40 % for outages, no discharge before 7am unless it is hot, not below 12 cents"
    assert limits(text) == [(RESERVE, 0.4, None), (None, None, None), (MONEY, 0.12, None)]


@given(TEXTS)
@tries(300)
def test_no_text_is_lost(text: str) -> None:
    nothing_is_lost(text)
