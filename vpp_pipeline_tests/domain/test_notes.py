"""Notes: the common sentences are understood, the others kept and reported, and no note ever loosens a limit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpp_pipeline.domain.archetypes import NOTES
from vpp_pipeline.domain.notes.tighten import read_note, tighten
from vpp_pipeline.schemas import Notes, Prosumers
from vpp_pipeline_tests.domain.examples import BATTERY, EV, fleet_table

RESERVE, HOURS, MONEY = "backup_reserve_fraction", "backup_reserve_hours", "minimum_compensation_usd_per_kwh"
QUIET, NO_CHARGE, OUT, CYCLES = "quiet_hours", "no_charge_hours", "opt_out_days", "maximum_cycles_per_day"
READY, BY = "ev_ready_fraction", "ev_ready_hour"
PAGE = (Path(__file__).parents[2] / "docs" / "notes.md").read_text(encoding="utf-8")
TABLES = [
    [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    for table in re.findall(r"(?:^\|.*\n?)+", PAGE, flags=re.MULTILINE)
]

ISSUE = "keep 40 % for outages, no EV discharge before 7am, not below 12 cents"
UNDERSTOOD: list[tuple[str, list[tuple[str, float | str, str | None]]]] = [
    (ISSUE, [(RESERVE, 0.4, None), (QUIET, "0-7", "ev"), (MONEY, 0.12, None)]),
    ("ALWAYS KEEP AT LEAST 40%!", [(RESERVE, 0.4, None)]),
    ("Please keep 30 % for us, thanks", [(RESERVE, 0.3, None)]),
    ("keep half for outages", [(RESERVE, 0.5, None)]),
    ("Keep forty percent in reserve", [(RESERVE, 0.4, None)]),
    ("always leave 30 % in the battery", [(RESERVE, 0.3, "battery")]),
    ("keep 25 % in the car", [(RESERVE, 0.25, "ev")]),
    ("never discharge the Tesla below 20 %", [(RESERVE, 0.2, "ev")]),
    ("never discharge my Tesla Powerwall below 20 %", [(RESERVE, 0.2, "battery")]),
    ("backup reserve of 35 %", [(RESERVE, 0.35, None)]),
    ("12.5 % reserve, please", [(RESERVE, 0.125, None)]),
    ("no lower than 30 per cent", [(RESERVE, 0.3, None)]),
    ("save 20 % for emergencies", [(RESERVE, 0.2, None)]),
    ("keep enough for 6 hours", [(HOURS, 6.0, None)]),
    ("keep at least 2.5 h of backup", [(HOURS, 2.5, None)]),
    ("reserve four hours for blackouts", [(HOURS, 4.0, None)]),
    ("I want at least 15 cents", [(MONEY, 0.15, None)]),
    ("don't sell below 10 cents per kWh", [(MONEY, 0.10, None)]),
    ("minimum price 8 cents a kWh", [(MONEY, 0.08, None)]),
    ("nothing below $0.05", [(MONEY, 0.05, None)]),
    ("at least 250 USD per MWh", [(MONEY, 0.25, None)]),
    ("not for less than twelve cents", [(MONEY, 0.12, None)]),
    ("no discharge before 7 a.m. Not below 12 cents.", [(QUIET, "0-7", None), (MONEY, 0.12, None)]),
    ("no discharge after 21:30", [(QUIET, "21-24", None)]),
    ("no discharge from 10 to 2 pm", [(QUIET, "10-14", None)]),
    ("no discharge between 9pm and 11pm every day", [(QUIET, "21-23", None)]),
    ("Quiet hours: 21-6", [(QUIET, "21-6", None)]),
    ("quiet 22:30–22:10", [(QUIET, "0-24", None)]),
    ("quiet from 9pm to midnight", [(QUIET, "21-24", None)]),
    ("my battery must never discharge before noon", [(QUIET, "0-12", "battery")]),
    ("no V2G", [(QUIET, "0-24", "ev")]),
    ("don’t charge my EV’s battery from 4 to 9 pm", [(NO_CHARGE, "16-21", "ev")]),
    ("no charging before 9am & no discharge after 10pm", [(NO_CHARGE, "0-9", None), (QUIET, "22-24", None)]),
    ("not on weekends; not below 3 cents", [(OUT, "sat, sun", None), (MONEY, 0.03, None)]),
    ("not on Sat, Sun and Mon", [(OUT, "sat, sun, mon", None)]),
    ("Leave the car out on 1st of January 2024", [(OUT, "2024-01-01", "ev")]),
    ("I'm not available on weekdays", [(OUT, "mon, tue, wed, thu, fri", None)]),
    ("don't sell on Sundays", [(OUT, "sun", None)]),
    ("I need the car fully charged by 7:30", [(READY, 1.0, "ev"), (BY, 7, "ev")]),
    ("Charge my truck to 80% by 6 in the morning", [(READY, 0.8, "ev"), (BY, 6, "ev")]),
    ("car full when I leave", [(READY, 1.0, "ev")]),
    ("max. 2 cycles per day", [(CYCLES, 2.0, None)]),
    ("one full cycle a day at most", [(CYCLES, 1.0, None)]),
    ("never cycle the battery more than twice a day", [(CYCLES, 2.0, "battery")]),
    ("Battery: keep 40 %, max 1 cycle.", [(RESERVE, 0.4, "battery"), (CYCLES, 1.0, "battery")]),
    ("- keep 40 %\n- no weekends", [(RESERVE, 0.4, None), (OUT, "sat, sun", None)]),
]
REFUSED = [
    "perhaps keep 40 %",
    "keep about 40 %",
    "keep 40 % if it is hot",
    "keep 40 % only when I am away",
    "If it is hot, keep 40 %, not below 12 cents",
    "keep 40 %\nif it is hot",
    "keep 40 %, 30 % in summer",
    "keep 40 %, but I may change my mind",
    "no discharge before 7am on Sundays",
    "no discharge before 7am but not on Sundays",
    "In summer:\n- keep 40 %\n- no weekends",
    "My neighbour said: keep 40 %",
    "I don't want to keep 40 %",
    "no need to keep 40 %",
    "keep 0 %",
    "keep 40 % for yourselves",
    "30 % for me",
    "at most 40 % reserve",
    "save 20 %",
    "keep 48 hours for outages",
    "keep 4 hours",
    "not below 12",
    "not below 12 cents per MWh",
    "at least 15 cents daily",
    "at least 15 cents if you must",
    "up to 15 cents",
    "no discharge before 25:00",
    "no discharge after midnight",
    "quiet from 7am to 7am",
    "no discharge in the morning",
    "no EV discharge or battery charging before 7am",
    "don't charge from the grid before 7am",
    "don't discharge more than 60 %",
    "I'm out on Sundays",
    "not next Sunday",
    "not on 24-26 Dec 2023",
    "leave me out at Christmas",
    "battery full by 8am",
    "car full by midnight",
    "car full by 8am on Mondays",
    "car ready by 8am",
    "charge the car up to 80 % by 7am",
    "0 cycles",
    "max 1 cycle per week",
    "call me before you use it",
    "keep " + "40 % " * 500,
]


def limits(text: str) -> list[tuple[str | None, Any, str | None]]:
    return [(reading.preference, reading.value, reading.device) for reading in read_note(text)]


def one(**changes: object) -> dict[str, Any]:
    """The only row of a battery with ``changes``, as `tighten` leaves it."""
    return tighten(fleet_table(BATTERY | changes))[0].row(0, named=True)


def rows(notes: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return notes.select(columns).rows()


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


def test_the_issues_note_at_a_home_with_battery_and_ev() -> None:
    fleet, notes = tighten(fleet_table(BATTERY | {"note": ISSUE}, EV))
    battery, ev = fleet.rows(named=True)
    assert (battery[RESERVE], battery[MONEY], battery[QUIET]) == (0.4, 0.12, None)
    assert (ev[RESERVE], ev[MONEY], ev[QUIET]) == (0.2, 0.02, "0-7")
    assert rows(notes, "part", "applies_to", "quote", "wanted", "before", "after", "status") == [
        (1, "prosumer_1", "keep 40 % for outages", "0.4", "0.2", "0.4", "applied"),
        (2, "prosumer_2", "no EV discharge before 7am", "0-7", None, "0-7", "applied"),
        (3, "prosumer_1", "not below 12 cents", "0.12", "0.02", "0.12", "applied"),
    ]
    assert notes["prosumer_id"].unique().to_list() == ["prosumer_1"]
    assert Notes.is_valid(notes)
    assert Prosumers.is_valid(fleet)


def test_a_named_device_is_every_one_of_the_site_and_of_no_other() -> None:
    note = {"note": "keep 50 % in the battery"}
    fleet, notes = tighten(fleet_table(BATTERY | note, EV, BATTERY, BATTERY | {"site_id": "site_2"}))
    assert fleet[RESERVE].to_list() == [0.5, 0.2, 0.5, 0.2]
    assert rows(notes, "part", "applies_to") == [(1, "prosumer_1"), (1, "prosumer_3")]


def test_a_device_that_the_site_lacks_is_reported() -> None:
    before = fleet_table(BATTERY | {"note": "car full by 6am"}, EV | {"site_id": "site_2"})
    fleet, notes = tighten(before)
    assert fleet.equals(before)
    assert rows(notes, "part", "applies_to", "wanted", "before", "after", "status") == [
        (1, "prosumer_1", "1.0", None, None, "no such device"),
        (2, "prosumer_1", "6", None, None, "no such device"),
    ]


def test_what_is_not_understood_is_kept_and_changes_nothing() -> None:
    before = fleet_table(BATTERY | {"note": "Be gentle, call me!"})
    fleet, notes = tighten(before)
    assert fleet.equals(before)
    assert rows(notes, "quote", "preference", "wanted", "before", "after", "status") == [
        ("Be gentle", None, None, None, None, "not understood"),
        ("call me", None, None, None, None, "not understood"),
    ]


def test_a_looser_wish_is_already_met() -> None:
    note = "keep 10 %, max 3 cycles, at least 1 cent, no discharge before 6am, not on 2023-12-24"
    before = fleet_table(BATTERY | {"note": note, QUIET: "22-7", OUT: "sun"})  # 24 December 2023 is a Sunday
    fleet, notes = tighten(before)
    assert fleet.equals(before)
    assert rows(notes, "before", "after", "status") == [
        ("0.2", "0.2", "already met"),
        ("1.0", "1.0", "already met"),
        ("0.02", "0.02", "already met"),
        ("22-7", "22-7", "already met"),
        ("sun", "sun", "already met"),
    ]


def test_limits_on_one_column_combine() -> None:
    fleet, notes = tighten(
        fleet_table(
            BATTERY | {QUIET: "12-14", "note": "keep 30 % in the battery, no battery discharge after 9pm"},
            EV | {"note": "keep 60 % in the battery; no battery discharge before 6am; no battery discharge after 10pm"},
        )
    )
    battery = fleet.row(0, named=True)
    assert (battery[RESERVE], battery[QUIET]) == (0.6, "12-14, 21-24, 0-6")
    assert notes.filter(preference=RESERVE)["after"].to_list() == ["0.6", "0.6"]
    assert notes["status"].to_list() == ["applied"] * 5


def test_hours_and_days_keep_the_owners_own_first() -> None:
    assert one(note="not on Sundays and 2023-12-23", **{OUT: "sat"})[OUT] == "sat, sun"
    assert one(note="no charging from 9pm to 6am", **{NO_CHARGE: "5-7"})[NO_CHARGE] == "5-7, 21-6"


@pytest.mark.parametrize(
    ("leaves", "returns", "stated", "wanted", "after", "status"),
    [
        (8, 17, None, "6am", 6, "applied"),
        (8, 17, None, "8am", None, "already met"),
        (8, 17, None, "noon", None, "already met"),  # away since 8
        (8, 17, 5, "6am", 5, "already met"),
        (8, 17, None, "8pm", 20, "applied"),  # the evening before it leaves at 8
        (8, 17, 20, "6am", 20, "already met"),
        (21, 6, None, "8am", 8, "applied"),  # at home by day
        (21, 6, None, "5am", None, "already met"),  # it left at 21, and is back at 6
        (0, 0, None, "8am", 8, "applied"),  # at home all day
    ],
)
def test_an_ev_is_ready_earlier_never_later(
    leaves: int, returns: int, stated: int | None, wanted: str, after: int | None, status: str
) -> None:
    row = EV | {"ev_departure_hour": leaves, "ev_arrival_hour": returns, BY: stated, "note": f"EV at 90 % by {wanted}"}
    fleet, notes = tighten(fleet_table(row))
    assert fleet[BY].to_list() == [after]
    assert fleet[READY].to_list() == [0.9]
    assert notes.filter(preference=BY)["status"].to_list() == [status]


def test_without_notes_the_fleet_comes_back_as_it_is() -> None:
    fleet = fleet_table(BATTERY, EV)
    same, notes = tighten(fleet)
    assert same is fleet
    assert notes.is_empty()
    assert Notes.is_valid(notes)
    assert tighten(fleet.clear())[1].is_empty()
    assert tighten(fleet_table(BATTERY | {"note": " .\n"}))[1].is_empty()


CLAUSES = [text for text, _ in UNDERSTOOD] + REFUSED[:-1] + [row[0] for table in TABLES for row in table]
TEXTS = st.lists(st.sampled_from(CLAUSES), min_size=1, max_size=4).flatmap(
    lambda clauses: st.sampled_from([", ", "; ", ". ", "\n", " and ", " but ", " ", " - "]).map(
        lambda join: join.join(clauses)
    )
) | st.text(max_size=80)
WINDOWS = st.none() | st.sampled_from(["0-7", "21-6", "16-21", "22-24, 0-5", "7-7", "0-24"])
ROWS = st.fixed_dictionaries(
    {
        "note": st.none() | TEXTS,
        RESERVE: st.sampled_from([0.0, 0.25, 0.4, 1.0]),
        HOURS: st.sampled_from([0.0, 4.0, 9.5]),
        MONEY: st.sampled_from([0.0, 0.12, 1.0]),
        CYCLES: st.sampled_from([0.5, 1.0, 2.0]),
        QUIET: WINDOWS,
        NO_CHARGE: WINDOWS,
        OUT: st.none() | st.sampled_from(["sun", "sat, sun, 2023-12-25", "2023-12-24"]),
        "site_id": st.sampled_from(["site_1", "site_2"]),
    }
)
EVS = {
    READY: st.none() | st.sampled_from([0.0, 0.8, 1.0]),
    BY: st.none() | st.integers(0, 24),
    "ev_departure_hour": st.integers(0, 24),
    "ev_arrival_hour": st.integers(0, 24),
}
FLEETS = st.lists(
    st.tuples(ROWS, st.none() | st.fixed_dictionaries(EVS)).map(
        lambda pair: (BATTERY if pair[1] is None else EV) | pair[0] | (pair[1] or {})
    ),
    min_size=1,
    max_size=20,
)


def hours_of(windows: str | None) -> set[int]:
    edges = [[int(edge) for edge in window.split("-")] for window in windows.split(", ")] if windows else []
    return {
        h for start, end in edges for h in range(24) if (start <= h < end if start <= end else h >= start or h < end)
    }


def days_of(days: str | None) -> set[str]:
    return set(days.split(", ")) if days else set()


def owed_hours(row: dict[str, Any]) -> set[int]:
    """Hours at whose end the EV owes its ready charge, walked back from when it leaves."""
    leaves, by = row["ev_departure_hour"], row[BY] if row[BY] is not None else row["ev_departure_hour"]
    return {hour % 24 for hour in range(leaves - (leaves - by) % 24 - 1, leaves)}


@given(FLEETS)
@settings(max_examples=40, deadline=None)
def test_no_note_ever_loosens_a_limit(devices: Sequence[dict[str, Any]]) -> None:
    before = fleet_table(*devices)
    after, notes = tighten(before)
    assert Prosumers.is_valid(after)
    assert Notes.is_valid(notes)
    others = pl.exclude(notes["preference"].drop_nulls().unique().to_list())
    assert after.select(others).equals(before.select(others))
    tightened = set(notes.filter(pl.col("status") == "applied")["applies_to"])
    for was, now in zip(before.rows(named=True), after.rows(named=True), strict=True):
        assert (was != now) == (was["prosumer_id"] in tightened)
        assert all(now[column] >= was[column] for column in (RESERVE, HOURS, MONEY))
        assert (now[READY] or 0.0) >= (was[READY] or 0.0)
        assert now[CYCLES] <= was[CYCLES]
        assert all(hours_of(now[column]) >= hours_of(was[column]) for column in (QUIET, NO_CHARGE))
        assert days_of(now[OUT]) >= days_of(was[OUT])
        if was["store"] == "ev":
            assert owed_hours(now) >= owed_hours(was)
    again, repeated = tighten(after)
    assert again.equals(after)
    assert "applied" not in repeated["status"]


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_no_text_is_lost(text: str) -> None:
    nothing_is_lost(text)
