"""Files of prices: every way of being wrong is named with its place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import complete_day
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline_tests.market.price_lines import (
    DAY,
    HEADER,
    assert_names,
    caiso_lines,
    changed,
    complaint,
    table_lines,
    write,
)


def test_an_hour_in_two_files_is_a_duplicate(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", table_lines())
    second = write(tmp_path / "2.csv", table_lines())
    message = complaint(tmp_path)
    assert_names(message, row=2, column="start_utc", value="2023-08-15T07:00:00Z", file=second)
    assert f"first in row 2 of {tmp_path / '1.csv'}" in message


def test_comments_are_skipped_but_counted(tmp_path: Path) -> None:
    lines = changed(table_lines(), 5, 2, "cheap")
    path = write(tmp_path / "p.csv", ["# mine", "# bought in 2023", *lines[:3], "# between", "", *lines[3:]])
    assert_names(complaint(path), row=9, column="energy_usd_per_mwh", value="cheap", file=path)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "row"),
        ("NaN", "NaN"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("cheap", "cheap"),
        ("1.5 $", "1.5 $"),
        ("5000.01", "5000.01"),
        ("-99999", "-99999"),
    ],
)
@pytest.mark.parametrize("column", [2, 3, 4])
def test_a_price_that_is_no_sane_number_is_named_with_its_place(
    tmp_path: Path, given: str, shown: str, column: int
) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 7, column, given))
    message = complaint(path)
    assert "row 7" in message
    assert f"column {HEADER.split(',')[column]}" in message
    assert shown in message
    assert f"file {path}" in message


def test_caiso_messages_use_the_files_own_column_names(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", changed(caiso_lines(), 25, 5, "abc"))
    assert_names(complaint(path), row=25, column="Spin", value="abc", file=path)


def test_a_missing_hour_is_named(tmp_path: Path) -> None:
    lines = table_lines()
    path = write(tmp_path / "p.csv", lines[:10] + lines[11:])  # line 11 is hour ending 10, 16:00 UTC
    message = complaint(path)
    assert_names(message, row=10, column="start_utc", value="2023-08-15T16:00:00Z", file=path)
    assert "hour ending 10" in message


def test_a_duplicate_hour_is_named(tmp_path: Path) -> None:
    lines = table_lines()
    path = write(tmp_path / "p.csv", [*lines, lines[3]])
    assert_names(complaint(path), row=26, column="start_utc", value="2023-08-15T09:00:00Z", file=path)


def test_a_row_off_the_hour_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 4, 0, "2023-08-15T09:15:00Z"))
    assert_names(complaint(path), row=4, column="start_utc", value="2023-08-15 09:15", file=path)


@pytest.mark.parametrize("naive", ["2023-08-15T09:00:00", "2023-08-15 09:00", "2023-08-15"])
def test_a_naive_timestamp_is_refused_in_our_layout(tmp_path: Path, naive: str) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 4, 0, naive))
    assert_names(complaint(path), row=4, column="start_utc", value=naive, file=path)


@pytest.mark.parametrize("text", ["15.08.2023 09:00", "2023-13-45T09:00:00Z", "noon"])
@pytest.mark.parametrize("lines", [table_lines(), caiso_lines()])
def test_an_unreadable_timestamp_is_refused(tmp_path: Path, lines: list[str], text: str) -> None:
    path = write(tmp_path / "p.csv", changed(lines, 4, 0, text))
    assert_names(complaint(path), row=4, column=lines[0].split(",")[0], value=text, file=path)


def test_naive_parquet_timestamps_are_refused(tmp_path: Path) -> None:
    rows = open_source(write(tmp_path / "p.csv", table_lines())).day(DAY).select(HEADER.split(","))
    path = tmp_path / "p.parquet"
    rows.with_columns(pl.col("start_utc").dt.replace_time_zone(None)).write_parquet(path)
    assert "row 2, column start_utc" in complaint(path)


@pytest.mark.parametrize("lines", [table_lines(), caiso_lines()])
@pytest.mark.parametrize("column", [1, 2])
def test_a_missing_column_is_named(tmp_path: Path, lines: list[str], column: int) -> None:
    name = lines[0].split(",")[column]
    path = write(tmp_path / "p.csv", [lines[0].replace(name, "other", 1), *lines[1:]])
    message = complaint(path)
    assert f"column {name}" in message
    assert f"file {path}" in message


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [line + ",1" if k else line + ",node" for k, line in enumerate(table_lines())])
    assert "column node" in complaint(path)


@pytest.mark.parametrize("line", ["2023-08-15T09:00:00Z,A,1,2", "2023-08-15T09:00:00Z,A,1,2,3,4"])
def test_a_line_with_too_few_or_too_many_values_is_named(tmp_path: Path, line: str) -> None:
    lines = table_lines()
    path = write(tmp_path / "p.csv", [*lines[:3], line, *lines[4:]])
    assert "row 4" in complaint(path)


def test_a_row_without_a_node_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 6, 1, ""))
    assert "row 6, column node" in complaint(path)


def test_an_unknown_node_lists_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [*table_lines(node="A"), *table_lines(node="B")[1:]])
    assert open_source(path, "B").node == "B"
    assert "A, B" in complaint(path, node="C")
    assert "A, B" in complaint(path)  # two nodes, neither SP15: which one is meant must be said
    with pytest.raises(InputError, match="TH_SP15_GEN-APND"):
        open_source(None, "B")


def test_a_day_the_source_does_not_hold_is_no_data(tmp_path: Path) -> None:
    prices = open_source(write(tmp_path / "p.csv", table_lines()))
    with pytest.raises(NoDataError, match="2023-08-15 to 2023-08-15"):
        prices.day(DAY + timedelta(days=1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"# only a comment\n", "empty file"),
        (HEADER.encode(), "no rows"),
        (b"a,b\n1,2\n", "unknown layout"),
        (b"\xff\xfe\x00", "not readable as text"),
        (b"\x1f\x8b broken gzip", "not readable as text"),
        (HEADER.encode() + b'\n"x\n', ""),
    ],
)
def test_a_file_that_holds_no_prices_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    message = complaint(path)
    assert words in message
    assert f"file {path}" in message


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1 not really")
    assert "not a readable Parquet file" in complaint(tmp_path / "p.parquet")


def test_a_path_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file or directory" in complaint(tmp_path / "nothing")
    assert "without files of prices" in complaint(tmp_path)
    write(tmp_path / "p.csv", table_lines())
    (tmp_path / "p.parquet").touch()
    assert "both CSV and Parquet" in complaint(tmp_path)


def test_a_directory_of_two_layouts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", table_lines())
    second = write(tmp_path / "2.csv", caiso_lines())
    assert f"file {second}" in complaint(tmp_path)


def test_complete_day_refuses_naive_frames_mixed_nodes_and_wrong_columns() -> None:
    day = Synthetic().day(DAY).select(HEADER.split(","))
    assert complete_day(day, DAY, "f").height == 24
    with pytest.raises(InputError, match="time zone"):
        complete_day(day.with_columns(pl.col("start_utc").dt.replace_time_zone(None)), DAY, "f")
    with pytest.raises(InputError, match="2 nodes"):
        complete_day(pl.concat([day, day.with_columns(node=pl.lit("B"))]), DAY, "f")
    with pytest.raises(InputError, match="column spin_usd_per_mw_h"):
        complete_day(day.drop("spin_usd_per_mw_h"), DAY, "f")
    with pytest.raises(InputError, match="24 missing"):
        complete_day(day.clear(), DAY, "f")
    with pytest.raises(InputError, match="not the start of an hour of market day 2023-08-16"):
        complete_day(day, DAY + timedelta(days=1), "f")
