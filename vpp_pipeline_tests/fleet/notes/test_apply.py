"""Notes applied to a fleet: to whom they apply, how they combine, and that they only ever tighten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.fleet.notes.apply import tighten
from vpp_pipeline.schemas import Notes, Prosumers
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import BATTERY, EV, fleet_table
from vpp_pipeline_tests.fleet.notes.sentences import (
    BY,
    CYCLES,
    HOURS,
    ISSUE,
    MONEY,
    NO_CHARGE,
    OUT,
    QUIET,
    READY,
    RESERVE,
    TEXTS,
)


def one(**changes: object) -> dict[str, Any]:
    """The only row of a battery with ``changes``, as `tighten` leaves it."""
    return tighten(fleet_table(BATTERY | changes))[0].row(0, named=True)


def rows(notes: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return notes.select(columns).rows()


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
@tries(40)
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
