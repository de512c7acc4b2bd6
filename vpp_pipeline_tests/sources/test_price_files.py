"""Files of prices: both layouts read right, and every way of being wrong is named with its place."""

from __future__ import annotations

import gzip
import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.errors import InputError, NoDataError
from vpp_pipeline.schemas import Prices
from vpp_pipeline.sources.base import complete_day
from vpp_pipeline.sources.caiso_file import CaisoFile
from vpp_pipeline.sources.opening import open_source
from vpp_pipeline.sources.price_table import PriceTable
from vpp_pipeline.sources.synthetic import Synthetic

DAY = date(2023, 8, 15)
HEADER = "start_utc,node,energy_usd_per_mwh,spin_usd_per_mw_h,nonspin_usd_per_mw_h"
CAISO_HEADER = "datetime,node,SP15,NonSpin,RegDown,Spin"


def table_lines(day: date = DAY, node: str = "A") -> list[str]:
    """Header and the day's hours: energy 10.5, 11.5 … $/MWh."""
    starts = market_hours(day)["start_utc"]
    return [HEADER, *(f"{start:%Y-%m-%dT%H:%M:%SZ},{node},{k + 10.5},2,1" for k, start in enumerate(starts))]


def caiso_lines(day: date = DAY, node: str = "A") -> list[str]:
    starts = market_hours(day)["start_utc"]
    return [CAISO_HEADER, *(f"{start:%Y-%m-%d %H:%M:%S},{node},{k + 10.5},1,9,300.5" for k, start in enumerate(starts))]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(lines: list[str], number: int, column: int, value: str) -> list[str]:
    """``lines`` with one cell replaced; ``number`` counts from 1."""
    cells = lines[number - 1].split(",")
    cells[column] = value
    return [*lines[: number - 1], ",".join(cells), *lines[number:]]


def complaint(path: Path, day: date = DAY, node: str | None = None) -> str:
    """What opening and reading says; it must be an ``InputError`` that is not ``NoDataError``."""
    with pytest.raises(InputError) as caught:
        open_source(path, node).day(day)
    assert not isinstance(caught.value, NoDataError)
    return str(caught.value)


def assert_names(message: str, *, row: int, column: str, value: str, file: Path) -> None:
    assert f"file {file}" in message
    assert f"row {row}," in message
    assert f"column {column}" in message
    assert f"value {value}" in message
    assert re.search(r"\. [A-Z].*\.$", message), "ends in a remedy"


def test_price_table_is_read_as_written(tmp_path: Path) -> None:
    prices = open_source(write(tmp_path / "prices.csv", table_lines()))
    rows = prices.day(DAY)
    assert isinstance(prices, PriceTable)
    assert rows["energy_usd_per_mwh"].to_list() == [k + 10.5 for k in range(24)]
    assert rows["source"].unique().to_list() == ["file"]
    assert rows["published_utc"][0].isoformat() == "2023-08-14T20:00:00+00:00"  # 13:00 PDT the day before
    assert Prices.is_valid(rows)


def test_caiso_layout_takes_naive_time_as_utc_and_sp15_as_the_nodes_energy_price(tmp_path: Path) -> None:
    rows = open_source(write(tmp_path / "caiso.csv", caiso_lines())).day(DAY)
    assert rows["start_utc"][0].isoformat() == "2023-08-15T07:00:00+00:00"
    assert rows["energy_usd_per_mwh"][0] == 10.5
    assert rows["spin_usd_per_mw_h"][0] == 300.5  # above 250: scarce, and real
    assert rows["nonspin_usd_per_mw_h"][0] == 1


def test_caiso_layout_accepts_an_offset(tmp_path: Path) -> None:
    naive = write(tmp_path / "naive.csv", caiso_lines())
    aware = write(tmp_path / "aware.csv", [re.sub(r"(\d\d:00:00),", r"\1+00:00,", line) for line in caiso_lines()])
    assert open_source(naive).day(DAY).equals(open_source(aware).day(DAY))


def test_row_order_offsets_gzip_and_parquet_do_not_matter(tmp_path: Path) -> None:
    lines = table_lines()
    wanted = open_source(write(tmp_path / "a.csv", lines)).day(DAY)
    assert open_source(write(tmp_path / "b.csv", [lines[0], *lines[:0:-1]])).day(DAY).equals(wanted)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress("\r\n".join(lines).encode("utf-8-sig")))
    assert open_source(tmp_path / "c.csv.gz").day(DAY).equals(wanted)
    local = pl.col("start_utc").dt.convert_time_zone("America/Los_Angeles")
    columns = HEADER.split(",")
    wanted.select(columns).with_columns(local).write_parquet(tmp_path / "d.parquet")
    assert open_source(tmp_path / "d.parquet").day(DAY).equals(wanted)
    lines[1:] = [
        f"{start:%Y-%m-%dT%H:%M:%S}-07:00," + line.split(",", 1)[1]
        for start, line in zip(wanted.select(local)["start_utc"], lines[1:], strict=True)
    ]
    assert open_source(write(tmp_path / "e.csv", lines)).day(DAY).equals(wanted)


@pytest.mark.parametrize("day", [date(2024, 3, 10), date(2024, 7, 11), date(2024, 11, 3)])
def test_clock_change_days_need_exactly_their_hours(tmp_path: Path, day: date) -> None:
    assert open_source(write(tmp_path / "p.csv", table_lines(day))).day(day).height == market_hours(day).height
    message = complaint(write(tmp_path / "q.csv", table_lines(day)[:-1]), day)
    assert f"has {market_hours(day).height} hours, 1 missing" in message


def test_a_directory_holds_several_files(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"{k}.csv", table_lines(DAY + timedelta(days=k)))
    (tmp_path / "LICENSE.txt").write_text("not prices")
    prices = open_source(tmp_path)
    assert [prices.day(DAY + timedelta(days=k)).height for k in range(3)] == [24, 24, 24]


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


def test_a_file_that_says_it_is_synthetic_stays_labelled_so(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ["# source: synthetic", *table_lines()])
    assert open_source(path).day(DAY)["source"].unique().to_list() == ["synthetic (file)"]


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


def test_a_price_at_the_sanity_bound_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 7, 2, "-5000"))
    assert open_source(path).day(DAY)["energy_usd_per_mwh"].min() == -5000


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
    assert "row 1, column start_utc" in complaint(path)


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
    assert "without price files" in complaint(tmp_path)
    write(tmp_path / "p.csv", table_lines())
    (tmp_path / "p.parquet").touch()
    assert "both CSV and Parquet" in complaint(tmp_path)


def test_a_directory_of_two_layouts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", table_lines())
    second = write(tmp_path / "2.csv", caiso_lines())
    assert f"file {second}" in complaint(tmp_path)


def test_without_a_path_prices_are_synthetic() -> None:
    assert isinstance(open_source(None, None), Synthetic)


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


def test_caiso_file_can_be_opened_by_itself(tmp_path: Path) -> None:
    assert CaisoFile(write(tmp_path / "p.csv", caiso_lines()), "A").day(DAY).height == 24
