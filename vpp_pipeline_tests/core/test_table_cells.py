"""Cells as numbers and moments: with an offset or in a zone, and the hours when clocks change are told by name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.table_cells import moments, number, zone_of
from vpp_pipeline_tests.examples import AUTUMN, SPRING

PACIFIC = "America/Los_Angeles"


def read(words: list[str] | pl.Series, zone: str | None = None, meters: list[str] | None = None) -> list[datetime]:
    starts = pl.Series("start_utc", words)
    rows = pl.DataFrame({"file": "f.csv", "row": range(2, len(starts) + 2), "start_utc": starts, "meter": "a"})
    rows = rows if meters is None else rows.with_columns(meter=pl.Series(meters))
    return moments(rows, "start", zone, ["meter"]).to_list()


def utc(day: str, *hours: float) -> list[datetime]:
    return [datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=hour) for hour in hours]


@pytest.mark.parametrize(
    "word",
    [
        "2023-08-15T07:00:00Z",
        "2023-08-15 07:00z",
        "2023-08-15T07:00:00.000+00:00",
        "2023-08-15 00:00:00-07:00",
        "2023-08-15T0:00-0700",
        " 2023-08-15T12:30:00+05:30 ",
        "2023-08-15T07:00:00-00:00",  # OASIS
    ],
)
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_offset_that_is_written_counts(word: str, zone: str | None):
    assert read([word], zone) == utc("2023-08-15", 7)


@pytest.mark.parametrize(
    "word", ["noon", "15.08.2023 09:00", "2023-13-45T09:00:00Z", "2023-08-15T09:00+99:00", "", "24"]
)
def test_what_is_no_moment_is_named(word: str):
    with pytest.raises(InputError, match=rf"not a moment \(file f.csv, row 3, column start, value {re.escape(word)}"):
        read(["2023-08-15T07:00:00Z", word], PACIFIC)


def test_a_day_without_an_hour_is_no_moment():
    with pytest.raises(InputError, match="a day without an hour"):
        read(["2023-08-15"], PACIFIC)


def test_local_time_needs_a_zone():
    with pytest.raises(InputError, match=r"without its offset .*row 3.*--timezone"):
        read(["2023-08-15T07:00:00Z", "2023-08-15 00:00"])
    assert read(["2023-08-15 00:00", "2023-08-15 00:00Z"], PACIFIC) == [*utc("2023-08-15", 7), *utc("2023-08-15", 0)]
    assert read(["2023-08-15 00:00"], "UTC") == utc("2023-08-15", 0)
    assert read(pl.Series([datetime(2023, 8, 15)]), PACIFIC) == utc("2023-08-15", 7)


def test_the_hour_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=rf"an hour that {PACIFIC} does not have, .*row 4.*value {SPRING} 02:00"):
        read([f"{SPRING} {clock}" for clock in ("00:00", "01:00", "02:00", "03:00")], PACIFIC)
    assert read([f"{SPRING} 02:00"], "Etc/GMT+8") == utc(str(SPRING), 10)


CLOCKS = ["00:00", "01:00", "01:00", "02:00"]
QUARTERS = [f"01:{minute}" for minute in ("00", "15", "30", "45")]


@pytest.mark.parametrize(
    ("clocks", "hours"),
    [
        (CLOCKS, [7, 8, 9, 10]),
        (CLOCKS[::-1], [10, 9, 8, 7]),  # the newest first
        ([*QUARTERS, *QUARTERS, "02:00"], [8, 8.25, 8.5, 8.75, 9, 9.25, 9.5, 9.75, 10]),
    ],
)
def test_the_repeated_hour_is_told_by_the_order_of_its_series(clocks: list[str], hours: list[float]):
    assert read([f"{AUTUMN} {clock}" for clock in clocks], PACIFIC) == utc(str(AUTUMN), *hours)


def test_each_series_has_its_own_order():
    clocks = ["01:00", "01:00", "01:00", "01:00"]
    told = read([f"{AUTUMN} {clock}" for clock in clocks], PACIFIC, ["a", "b", "a", "b"])
    assert told == utc(str(AUTUMN), 8, 8, 9, 9)


@pytest.mark.parametrize(
    "clocks",
    [
        ["00:00", "01:00", "02:00"],  # once: which?
        ["00:00", "01:00", "01:00", "01:00", "02:00"],
        ["01:00", "01:00", "01:15", "01:15", "02:00"],  # sorted by the clock
    ],
)
def test_the_repeated_hour_is_refused_where_the_order_does_not_tell(clocks: list[str]):
    with pytest.raises(InputError, match=rf"an hour that {PACIFIC} has twice.*value {AUTUMN} 01:00.*-07:00"):
        read([f"{AUTUMN} {clock}" for clock in clocks], PACIFIC)


def test_an_unknown_zone_is_refused_with_the_one_that_is_meant():
    assert zone_of(PACIFIC) == PACIFIC
    with pytest.raises(InputError, match="did you mean America/Los_Angeles"):
        zone_of("America/Los_Angles")
    for name in ("Pacific", "../etc/passwd", ""):
        with pytest.raises(InputError, match="IANA"):
            zone_of(name)


@pytest.mark.parametrize(
    "text", ["", " ", "2_0", "2,0", "٢", "１２", "nan", "inf", "1e999", "0x10", "1 000", "--1", "5 kW"]
)
def test_what_is_no_number_is_none(text: str):
    assert number(text) is None
