"""Notes read by a model: what the words bear out tightens, and nothing that anybody writes or answers loosens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vpp_pipeline.evaluation.compare import agreement_table, compare_readings
from vpp_pipeline.fleet.notes.parser import read_note
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.llm.notes import ModelReader, occurs
from vpp_pipeline.settings import LLMSettings, ModelUseSettings, Settings
from vpp_pipeline_tests.llm.spoken import Say, Spoken

Row = dict[str, Any]


def reader_of(say: Say) -> tuple[ModelReader, Spoken]:
    gateway = Spoken(say)
    return ModelReader(gateway, LLMSettings(workers=2)), gateway


def limit(preference: str, quote: str, number: float | None = None, text: str | None = None, **more: Any) -> Row:
    return {"preference": preference, "number": number, "text": text, "device": None, "quote": quote} | more


def read(note: str, *limits: Row) -> list[tuple[str | None, Any, str]]:
    reader, _ = reader_of(lambda _: {"limits": list(limits)})
    return [(said.preference, said.value, said.read_by) for said in reader([note])[0]]


# what is read


@pytest.mark.parametrize(
    ("note", "found"),
    [
        ("if the grid fails I want 60 % left", limit("backup_reserve_fraction", "I want 60 % left", 0.6)),
        ("leave me six hours of juice if you can", limit("backup_reserve_hours", "leave me six hours", 6.0)),
        ("anything under 15 cents is an insult", limit("minimum_compensation_usd_per_kwh", "under 15 cents", 0.15)),
        ("twice through the battery is my max", limit("maximum_cycles_per_day", "twice through the battery", 2.0)),
        ("we nap from 1 pm to 3 pm, hush", limit("quiet_hours", "from 1 pm to 3 pm", text="13-15")),
        ("hands off before 7:30 am please, ok", limit("quiet_hours", "before 7:30 am", text="0-8")),
        ("the wallbox is loud at night, 22 to 6", limit("no_charge_hours", "at night, 22 to 6", text="22-6")),
        ("Sundays are for church", limit("opt_out_days", "Sundays are for church", text="sun")),
        ("off to grandma on 2023-12-24", limit("opt_out_days", "on 2023-12-24", text="2023-12-24")),
    ],
)
def test_a_limit_that_the_words_bear_out_is_read(note: str, found: Row) -> None:
    assert all(reading.preference is None for reading in read_note(note)), "the rules understand it by themselves"
    value = found["number"] if found["number"] is not None else found["text"]
    assert (found["preference"], value, "model") in read(note, found)


@pytest.mark.parametrize(
    ("note", "found"),
    [
        ("be gentle with the battery", limit("backup_reserve_fraction", "be gentle with the battery", 0.9)),
        ("I like 40 % best", limit("backup_reserve_fraction", "I like 40 %", 0.5)),
        ("I like 40 % best", limit("backup_reserve_fraction", "keep 40 %", 0.4)),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 4", 0.04)),
        ("I like 140 % best", limit("backup_reserve_fraction", "like 140 %", 1.4)),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 40 %", 0.4, text="40 %")),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 40 %", text="0.4")),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 40 %", 0.4, device="ev")),
        ("I like 40 % best", limit("export_limit_kw", "like 40 %", 0.4)),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 40 %", 0.4, applies_to="prosumer_2")),
        ("I like 40 % best", limit("backup_reserve_fraction", "like 40 %", -0.4)),
        ("about 5 dollars would be nice", limit("minimum_compensation_usd_per_kwh", "about 5 dollars", 5.0)),
        ("quiet after dinner", limit("quiet_hours", "quiet after dinner", text="19-24")),
        ("quiet after 9 pm I say", limit("quiet_hours", "after 9 pm", text="18-24")),
        ("quiet after 9 pm I say", limit("quiet_hours", "after 9 pm", text="0-24")),
        ("quiet after 9 pm I say", limit("quiet_hours", "after 9 pm", text="21-25")),
        ("not when I am at church", limit("opt_out_days", "not when I am at church", text="sun")),
        ("Sundays are for church", limit("opt_out_days", "Sundays are for church", text="sat, sun")),
        ("the 31 Feb 2023 is fine", limit("opt_out_days", "31 Feb 2023", text="2023-02-28")),
        ("car by 7, 80 % or so", limit("ev_ready_hour", "car by 7", 8.0)),
        ("car by 7, 80 % or so", limit("ev_ready_hour", "car by 7", 7.5)),
    ],
)
def test_what_the_words_do_not_bear_out_is_no_limit(note: str, found: Row) -> None:
    assert read(note, found) == [(said.preference, said.value, "rule") for said in read_note(note)]


def test_a_quote_must_stand_there_as_whole_words() -> None:
    assert occurs("keep  40 %", "please keep 40 % of it")
    assert not occurs("keep 4", "please keep 40 % of it")
    assert not occurs("[name] keeps 40 %", "[name] keeps 40 % of it")
    assert not occurs("", "anything")


def test_what_the_rules_understand_is_not_asked_about_and_stands() -> None:
    reader, gateway = reader_of(lambda _: {"limits": []})
    notes = ["keep 40 % for outages", "keep 30 % in the battery. Be gentle"]
    readings = reader(notes)
    assert [said.preference for said in readings[0]] == ["backup_reserve_fraction"]
    assert [said.preference for said in readings[1]] == ["backup_reserve_fraction", None]
    assert [json.loads(asked.user) for asked in gateway.asked] == [{"note": "Be gentle"}]


@pytest.mark.parametrize("kind", [FailKind.TIMEOUT, FailKind.BUDGET, FailKind.REPLAY_MISS, FailKind.INVALID_OUTPUT])
def test_without_an_answer_the_rules_stand_alone(kind: FailKind) -> None:
    reader, _ = reader_of(lambda _: LLMError(kind))
    assert reader(["be gentle"]) == [read_note("be gentle")]
    assert reader.tally.failures == {str(kind): 1}


def test_a_question_holds_one_note_no_name_and_no_id() -> None:
    reader, gateway = reader_of(lambda _: {"limits": []})
    reader(
        [
            "be gentle, says Maria Lopez, maria@home.example, 555-867-5309",
            "knock first at 12 Elm Street",
            "be gentle, says Maria Lopez, maria@home.example, 555-867-5309",
        ]
    )
    told = [json.loads(asked.user) for asked in gateway.asked]
    assert told == [
        {"note": "be gentle, says [name] [name], [email], [phone]"},
        {"note": "knock first at [address]"},
    ]
    assert all("note_" in asked.subject and "prosumer" not in asked.subject for asked in gateway.asked)


def test_owners_words_leave_only_where_two_settings_say_so() -> None:
    with pytest.raises(ValueError, match="paid_tier_confirmed"):
        ModelUseSettings(reads_notes=True)
    assert not ModelUseSettings().reads_notes
    assert not Settings().model_use.paid_tier_confirmed


def test_rules_and_model_are_held_against_each_other() -> None:
    def say(question: Row) -> Any:
        quote = question["note"]
        return {
            "limits": [
                limit("backup_reserve_fraction", quote, 0.4),
                limit("opt_out_days", quote, text="sun"),
                limit("maximum_cycles_per_day", quote, 9.0),
            ]
        }

    notes = ["keep 40 % for outages", "40 % or so would be nice, Sundays too", "keep 50 % for outages"]
    readings = compare_readings(notes, reader_of(say)[0])
    found = set(readings.select("note", "preference", "agreement").rows())
    assert {
        (1, "backup_reserve_fraction", "same"),
        (2, "backup_reserve_fraction", "model only"),
        (2, "opt_out_days", "model only"),
        (3, "backup_reserve_fraction", "rule only"),
        (1, "maximum_cycles_per_day", "refused"),
    } <= found
    counts = {row["preference"]: row for row in agreement_table(readings).rows(named=True)}
    assert counts["backup_reserve_fraction"]["same"] == 1
    assert sum(value for row in counts.values() for value in row.values() if isinstance(value, int)) == readings.height
