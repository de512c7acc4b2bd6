"""The file of requests: what is read, what is set aside row by row, and what is refused as a whole."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import example_file
from vpp_pipeline.inputs.requests import COLUMNS, LAYOUT, WHOLE_ROW, read_requests
from vpp_pipeline.negotiation.requests import REQUEST_SCHEMA
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import AUTUMN, DAY, SPRING

EMBEDDED = example_file("opportunities.csv")
GOOD = "energy,2023-08-15T09:00,1,2.0,85"


def _file(folder: Path, *rows: str) -> Path:
    path = folder / "requests.csv"
    path.write_text("\n".join(["# a comment", LAYOUT, *rows]) + "\n", encoding="utf-8")
    return path


def test_embedded_file_holds_the_originals_example():
    found = read_requests(EMBEDDED, DAY)
    assert found.rows.select(list(REQUEST_SCHEMA)).rows() == [
        ("energy", datetime(2023, 8, 15, 19, tzinfo=UTC), 1, 2.0, 85.0)
    ]
    assert found.rows.select("file_row", "file").row(0) == (4, "opportunities.csv")
    assert found.quarantine.is_empty()


def test_a_spreadsheet_s_mark_of_utf_8_is_passed_over(tmp_path: Path):
    path = tmp_path / "requests.csv"
    path.write_text(f"{LAYOUT}\r\nenergy,2023-08-15T12:00,1,2.0,85\r\n,,,,\r\n", encoding="utf-8-sig")
    found = read_requests(path, DAY)
    assert (found.rows.height, found.quarantine.height) == (1, 0)  # nor is its empty row a request


def test_a_file_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path):
    path = tmp_path / "requests.csv"
    path.write_text(f"{LAYOUT}\nénergie,2023-08-15T12:00,1,2.0,85\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"not readable as text in UTF-8.*row 2.*Save it again as CSV"):
        read_requests(path, DAY)


def test_no_file_is_no_request():
    found = read_requests(None, DAY)
    assert found.rows.is_empty()
    assert found.quarantine.is_empty()


@pytest.mark.parametrize(
    ("start", "utc_hour"),
    [
        ("2023-08-15T12:00", 19),
        ("2023-12-15T12:00", 20),
        ("2023-08-15T12:00+00:00", 12),
        ("2023-08-15 12:00-07:00", 19),
        ("2023-08-16T02:00+00:00", 2),  # the evening of the day before in Pacific time
        ("2024-11-03T01:00-08:00", 9),  # the second of two
    ],
)
def test_times_are_pacific_unless_they_say_otherwise(tmp_path: Path, start: str, utc_hour: int):
    path, day = _file(tmp_path, f"spin,{start},2,0.6,9.5"), date.fromisoformat(start[:10])
    found = read_requests(path, DAY if start.startswith("2023-08") else day)
    assert found.rows["start_utc"][0].hour == utc_hour


def test_rows_of_other_days_are_passed_over_wrong_ones_as_well(tmp_path: Path):
    others = ["water,2023-08-14T12:00,x,y,z", "energy,2023-08-16T12:00,1,2,0,85", "energy,2023-08-16T00:00,1,2.0,85"]
    found = read_requests(_file(tmp_path, *others, GOOD), DAY)
    assert found.rows["file_row"].to_list() == [6]
    assert found.quarantine.is_empty()


NUMBER = "not a number"
FAULTS: list[tuple[str, str, str | None, str]] = [
    ("water,2023-08-15T12:00,1,2.0,85", "product", "water", "not a product"),
    (",2023-08-15T12:00,1,2.0,85", "product", None, "not a product"),
    ("energy,noon,1,2.0,85", "start", "noon", "not a moment"),
    ("energy,,1,2.0,85", "start", None, "not a moment"),
    ("energy,2023-02-30T12:00,1,2.0,85", "start", "2023-02-30T12:00", "not a moment"),
    ("energy,2023-08-15,1,2.0,85", "start", "2023-08-15", "a day without an hour"),
    ("energy,2023-08-15T12:30,1,2.0,85", "start", "2023-08-15T12:30", "not on the hour"),
    ("energy,9999-12-31T23:00,1,2.0,85", "start", "9999-12-31T23:00", "no calendar"),
    ("energy,0001-01-01T00:00+09:00,1,2.0,85", "start", "0001-01-01T00:00+09:00", "no calendar"),
    ("energy,2023-08-15T12:00,1.5,2.0,85", "duration_hours", "1.5", "not a whole number"),
    ("energy,2023-08-15T12:00,0,2.0,85", "duration_hours", "0", "not from 1 to 25"),
    ("energy,2023-08-15T12:00,1e300,2.0,85", "duration_hours", "1e300", "not from 1 to 25"),
    ("energy,2023-08-15T12:00,,2.0,85", "duration_hours", None, NUMBER),
    ("energy,2023-08-15T12:00,1,nan,85", "required_capacity_mw", "nan", NUMBER),
    ("energy,2023-08-15T12:00,1,1e999,85", "required_capacity_mw", "1e999", NUMBER),
    ("energy,2023-08-15T12:00,1,2_0,85", "required_capacity_mw", "2_0", NUMBER),
    ("energy,2023-08-15T12:00,1,٢,85", "required_capacity_mw", "٢", NUMBER),
    ("energy,2023-08-15T12:00,1,2.0,dear", "offered_price_usd_per_mwh", "dear", NUMBER),
    ("energy,2023-08-15T12:00,1,2.0,$85", "offered_price_usd_per_mwh", "$85", NUMBER),
    ("energy,2023-08-15T12:00,1", WHOLE_ROW, "energy,2023-08-15T12:00,1", "3 instead of 5 cells"),
    ("energy,2023-08-15T12:00,1,2,0,85", WHOLE_ROW, "energy,2023-08-15T12:00,1,2,0,85", "6 instead of 5 cells"),
    ("please sell", WHOLE_ROW, "please sell", "1 instead of 5 cells"),
]


@pytest.mark.parametrize(("row", "column", "value", "problem"), FAULTS, ids=[row for row, *_ in FAULTS])
def test_a_wrong_row_is_set_aside_with_its_place_and_the_others_are_read(
    tmp_path: Path, row: str, column: str, value: str | None, problem: str
):
    found = read_requests(_file(tmp_path, GOOD, row, "spin,2023-08-15T20:00,1,1,5"), DAY)
    assert found.rows["file_row"].to_list() == [3, 5]
    told = found.quarantine.row(0, named=True)
    assert found.quarantine.height == 1
    assert (told["market_date"], told["file"], told["file_row"]) == (DAY, "requests.csv", 4)
    assert (told["column_name"], told["value"]) == (column, value)
    assert problem in told["problem"]
    assert told["remedy"]
    assert ",".join(json.loads(told["row_json"]).values()) == row


def test_all_that_is_wrong_with_a_row_is_told(tmp_path: Path):
    found = read_requests(_file(tmp_path, "water,2023-08-15T12:30,x,y,z"), DAY)
    assert sorted(found.quarantine["column_name"]) == sorted(COLUMNS)


@pytest.mark.parametrize(
    ("start", "problem", "remedy"),
    [
        (f"{SPRING}T02:00", "does not have", "another hour"),
        (f"{AUTUMN}T01:00", "comes twice", "-07:00 for the first"),
    ],
)
def test_an_hour_that_the_day_has_not_or_has_twice_needs_its_offset(
    tmp_path: Path, start: str, problem: str, remedy: str
):
    day = date.fromisoformat(start[:10])
    path = _file(tmp_path, f"energy,{start},1,2.0,85", f"energy,{day}T12:00,1,2.0,85")
    found = read_requests(path, day)
    assert found.rows["file_row"].to_list() == [4]
    told = found.quarantine.row(0, named=True)
    assert (told["file_row"], told["column_name"], told["value"]) == (3, "start", start)
    assert problem in told["problem"]
    assert remedy in told["remedy"]
    assert read_requests(path, DAY).quarantine.is_empty()  # it is another day's


@tries(200)
@given(rows=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=6))
def test_whatever_the_rows_hold_the_good_one_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[str]):
    folder = tmp_path_factory.mktemp("drawn")
    found = read_requests(_file(folder, *rows, GOOD), DAY)
    assert found.rows["start_utc"].to_list() == [datetime(2023, 8, 15, 9, tzinfo=PACIFIC)]
    assert found.quarantine["file_row"].is_unique().all()


def test_a_wrong_header_an_empty_file_and_a_missing_one_are_refused(tmp_path: Path):
    other, empty = tmp_path / "other.csv", tmp_path / "empty.csv"
    other.write_text("a,b\n1,2\n")
    empty.write_text("# nothing yet\n\n")
    with pytest.raises(InputError, match=r"unknown columns.*row 1, column a, b.*all others are product, start"):
        read_requests(other, DAY)
    with pytest.raises(InputError, match="an empty file of requests"):
        read_requests(empty, DAY)
    with pytest.raises(InputError, match="does not exist"):
        read_requests(tmp_path / "none.csv", DAY)
    with pytest.raises(InputError, match="does not exist"):
        read_requests(tmp_path, DAY)
