"""What is taken out of an owner's words before they leave the house."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.fleet.archetypes import NOTES
from vpp_pipeline.llm.notes import KNOWN_WORDS, clean, redact
from vpp_pipeline_tests.fleet.notes.sentences import BY
from vpp_pipeline_tests.llm.injections import BIDI, HIDDEN, SELECTORS, TAGS, ZERO_WIDTH


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("mail me at john.doe+vpp@mail.example", "mail me at [email]"),
        ("mail anna at gmail dot com", "mail [email]"),
        ("write john (at) home.example", "write [email]"),
        ("phone 555-867-5309", "phone [phone]"),
        ("or (415) 867 5309 or +1 415.867.5309", "or [phone] or [phone]"),
        ("or 4158675309", "or [phone]"),
        ("local 867-5309", "local [phone]"),
        ("at 12 Elm Street, apt 4b", "at [address], [address]"),
        ("we live at 1600 old mill road", "we live at [address]"),
        ("San Diego CA 92101", "[name] [name] [address]"),
        ("account 1234 5678 9012", "account [number]"),
        ("my ssn is 123-45-6789", "my ssn is [number]"),
        ("see https://me.example/x", "see [link]"),
        ("my name is bob smith", "my name is [name] [name]"),
        ("ask for lucy first", "ask for [name] [name]"),
        ("Regards, Mr. Okafor", "[name], [name]. [name]"),
        ("says Maria Lopez", "says [name] [name]"),
        ("Thanks, José", "Thanks, [name]"),
        ("I follow @solar_joe", "I follow [name]"),
    ],
)
def test_what_names_a_person_is_taken_out(words: str, told: str) -> None:
    assert redact(words) == told


@pytest.mark.parametrize("note", [*(note.text for note in NOTES), "Keep 40 % on Sundays and on 2023-12-24, Tesla too"])
def test_what_limits_is_left_as_it_is(note: str) -> None:
    assert redact(note) == note


def test_times_days_and_money_of_every_sentence_of_the_rules_stay() -> None:
    assert [words for words in BY if "[number]" in redact(str(words)) or "[phone]" in redact(str(words))] == []


@pytest.mark.parametrize("hidden", [ZERO_WIDTH, BIDI, TAGS, SELECTORS, HIDDEN, "\x00", "\x1b[2J", "\ufeff", "\u3164"])
def test_hidden_characters_are_stripped(hidden: str) -> None:
    found = clean(f"be{hidden} gentle{hidden}")
    assert found.replace("[2J", "") == "be gentle"


@given(st.text(max_size=300))
def test_what_is_clean_can_be_seen_and_stays_so(text: str) -> None:
    found = clean(text)
    assert all(char == "\n" or unicodedata.category(char)[0] != "C" for char in found)
    assert clean(found) == found


@given(st.from_regex(r"[a-z]{2,8}@[a-z]{2,8}\.[a-z]{2,3}", fullmatch=True), st.text(alphabet="ab ,.!\n", max_size=20))
def test_an_address_is_found_wherever_it_stands(address: str, beside: str) -> None:
    assert address not in redact(f"{beside} {address} {beside}")


def test_no_name_is_a_known_word() -> None:
    names = {"john", "maria", "anna", "bob", "lopez", "smith", "garcia", "lucy", "joe", "kim", "ana", "ali"}
    assert names.isdisjoint(KNOWN_WORDS)
