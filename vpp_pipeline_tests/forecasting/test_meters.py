"""Metered hours from files: what is used, what is set aside and why, and that nothing is filled in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.meters import meters_of_day, read_meters, synthetic_meters, write_meters
from vpp_pipeline_tests.forecasting.meter_lines import DAY, FIRST, lines, twice, with_value, without, write

Change = Callable[[pl.DataFrame], pl.DataFrame]
NOON = "2024-07-10T19:00:00Z"  # 12:00 Pacific of a Wednesday
HOUR = datetime(2024, 7, 10, 19, tzinfo=UTC)


def hour(table: pl.DataFrame, quantity: str, site: str = "all", start: datetime = HOUR) -> dict[str, object]:
    rows = table.filter(
        (pl.col("quantity") == quantity) & (pl.col("site_type") == site) & (pl.col("start_utc") == start)
    )
    return rows.row(0, named=True)


def test_meters_are_told_together_by_their_sizes(tmp_path: Path):
    made = meters_of_day(write(tmp_path, lines()), DAY)
    assert made.quarantine.is_empty()
    sun = hour(made.hours, "solar")
    assert (sun["meters"], sun["hour_ending"], sun["metered_date"]) == (3, 13, date(2024, 7, 10))
    assert sun["metered_per_unit"] == pytest.approx(0.62)
    assert hour(made.hours, "load", "home")["metered_per_unit"] == pytest.approx(1.0)
    assert hour(made.hours, "load", "home")["meters"] == 2
    assert hour(made.hours, "load", "business")["meters"] == 1


def test_the_last_hour_is_the_one_that_ends_at_the_deadline_and_the_first_four_weeks_before(tmp_path: Path):
    starts = meters_of_day(write(tmp_path, lines()), DAY).hours["start_utc"]
    assert starts.max() == bid_deadline_utc(DAY) - timedelta(hours=1)
    assert starts.min() == datetime(2024, 6, 18, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "column", "problem", "value"),
    [
        (with_value("solar_kwh", "n/a", "a", NOON), "solar_kwh", "not a number", "n/a"),
        (with_value("load_kwh", "-0.2", "a", NOON), "load_kwh", "less than 0", "-0.2"),
        (with_value("load_kwh", "inf", "a", NOON), "load_kwh", "not finite", "inf"),
        (with_value("solar_kwh", None, "a", NOON), "solar_kwh", "empty, where other hours", None),
        (with_value("solar_kwh", "7.0", "a", NOON), "solar_kwh", "more than 1.5 times", "7.0"),
        (with_value("load_kwh", "1000", "a", NOON), "load_kwh", "more than 50 times", "1000"),
        (with_value("solar_size_kw", "0", "a", NOON), "solar_kwh", "solar_size_kw: needs a size above 0", "0"),
        (with_value("mean_load_kw", "one", "a", NOON), "load_kwh", "mean_load_kw: needs a size above 0", "one"),
        (with_value("site_type", "hoem", "a", NOON), "load_kwh", "site_type: neither home nor business", "hoem"),
        (with_value("start_utc", "2024-07-10T19:15:00Z", "a", NOON), "load_kwh", "not the start of an hour", None),
        (twice("a", NOON), "load_kwh", "the hour occurs twice", NOON),
        (without("a", NOON), "load_kwh", "an hour is missing", NOON),
    ],
)
def test_a_wrong_hour_sets_the_meters_day_aside_and_says_why(
    tmp_path: Path, change: Change, column: str, problem: str, value: str | None
):
    rows = change(lines())
    made = meters_of_day(write(tmp_path, rows), DAY)
    told = made.quarantine.filter(
        (pl.col("column_name") == column) & pl.col("problem").str.contains(problem, literal=True)
    )
    assert told.height == 1, made.quarantine
    found = told.row(0, named=True)
    assert (found["meter_id"], found["days"], found["first_date"], found["file"]) == (
        "a",
        1,
        date(2024, 7, 10),
        "meters.csv",
    )
    assert found["remedy"]
    if value is not None:
        assert found["value"] == value
        assert rows.row(found["file_row"] - 2, named=True)["meter_id"] == "a"
    quantity, site = ("solar", "all") if column == "solar_kwh" else ("load", "home")
    whole = meters_of_day(write(tmp_path, lines(), "whole.csv"), DAY).hours
    before, after = hour(whole, quantity, site), hour(made.hours, quantity, site)
    assert after["meters"] == before["meters"] - 1  # type: ignore[operator]
    assert after["metered_per_unit"] == pytest.approx(before["metered_per_unit"])  # the others, not a fall
    morning = HOUR - timedelta(hours=3)
    assert hour(made.hours, quantity, site, morning)["meters"] == after["meters"]  # the whole day, not the hour
    other_day = HOUR - timedelta(days=1)
    assert hour(made.hours, quantity, site, other_day)["meters"] == before["meters"]


def test_a_meter_that_stands_still_is_set_aside(tmp_path: Path):
    day = pl.col("start_utc").is_between(pl.lit("2024-07-10T07:00:00Z"), pl.lit("2024-07-11T06:00:00Z"))
    dark = pl.when(day & (pl.col("meter_id") == "b")).then(pl.lit("0.0"))
    rows = lines().with_columns(solar_kwh=dark.otherwise("solar_kwh"), load_kwh=dark.otherwise("load_kwh"))
    made = meters_of_day(write(tmp_path, rows), DAY)
    assert set(made.quarantine["column_name"]) == {"solar_kwh", "load_kwh"}
    assert set(made.quarantine["problem"]) == {"the same number in every hour of a day"}
    assert hour(made.hours, "solar")["meters"] == 2


def test_a_solar_meter_that_shows_half_of_what_others_do_is_set_aside(tmp_path: Path):
    weak = pl.when(pl.col("meter_id") == "c").then((pl.col("solar_kwh").cast(pl.Float64) * 0.4).cast(pl.String))
    made = meters_of_day(write(tmp_path, lines().with_columns(solar_kwh=weak.otherwise("solar_kwh"))), DAY)
    told = made.quarantine.row(0, named=True)
    assert made.quarantine.height == 1
    assert (told["meter_id"], told["column_name"], told["value"]) == ("c", "solar_kwh", "40%")
    assert told["days"] == 29
    assert hour(made.hours, "solar")["meters"] == 2
    assert hour(made.hours, "load", "business")["meters"] == 1


def test_evs_that_nobody_charges_have_no_mean_day(tmp_path: Path):
    idle = pl.when(pl.col("charging_kwh").is_not_null()).then(pl.lit("0"))
    made = meters_of_day(write(tmp_path, lines().with_columns(charging_kwh=idle)), DAY)
    assert made.hours.filter(quantity="charging").is_empty()
    assert made.why_not("charging") == "a: no meter has shown anything in 28 days"


def test_an_ev_that_stays_away_is_no_fault_and_an_unmeasured_quantity_neither(tmp_path: Path):
    day = pl.col("start_utc").str.starts_with("2024-07-10") & (pl.col("meter_id") == "a")
    rows = lines().with_columns(charging_kwh=pl.when(day).then(pl.lit("0")).otherwise("charging_kwh"))
    made = meters_of_day(write(tmp_path, rows), DAY)
    assert made.quarantine.is_empty()
    assert hour(made.hours, "charging")["metered_per_unit"] == 0.0
    without_sun = meters_of_day(write(tmp_path, rows.drop("solar_kwh", "solar_size_kw")), DAY)
    assert not without_sun.measures("solar")
    assert without_sun.measures("load")


def test_charging_is_told_against_the_mean_of_whole_days(tmp_path: Path):
    charging = meters_of_day(write(tmp_path, lines()), DAY).hours.filter(quantity="charging")
    whole = charging.filter(pl.col("metered_date") < DAY - timedelta(days=1))
    assert whole["metered_per_unit"].mean() == pytest.approx(1.0)


def test_meters_without_a_new_hour_are_named(tmp_path: Path):
    old = meters_of_day(write(tmp_path, lines()), DAY + timedelta(days=60))
    assert old.hours.is_empty()
    assert old.measures("solar")
    assert "no hour in the 28 days before" in old.why_not("load")
    assert "newest 2024-07-18T06:00:00Z" in set(old.quarantine["value"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.rename({"load_kwh": "laod_kwh"}), "unknown columns"),
        (lambda rows: rows.drop("solar_size_kw"), "column solar_size_kw"),
        (lambda rows: rows.drop("meter_id"), "column meter_id"),
        (lambda rows: rows.drop("solar_kwh", "load_kwh", "charging_kwh"), "solar_kwh or load_kwh or charging_kwh"),
        (with_value("start_utc", "2024-07-10T19:00:00", "a", NOON), "without its offset"),
        (with_value("start_utc", "noon", "a", NOON), "not a moment"),
        (with_value("meter_id", "", "a", NOON), "a row without a meter"),
    ],
)
def test_a_layout_that_cannot_be_read_is_refused_whole(tmp_path: Path, change: Change, message: str):
    file = write(tmp_path, change(lines()))
    with pytest.raises(InputError, match=message) as refused:
        read_meters(file, DAY)
    assert "meters.csv" in str(refused.value)
    made = meters_of_day(file, DAY)
    assert made.hours.is_empty()
    assert made.is_unreadable
    assert message.split()[0] in made.quarantine["problem"][0]


def test_a_folder_and_parquet_and_local_time_say_the_same(tmp_path: Path):
    whole = meters_of_day(write(tmp_path, lines()), DAY).hours
    folder = tmp_path / "folder"
    folder.mkdir()
    rows = lines()
    write(folder, rows.filter(pl.col("meter_id") == "a"), "a.csv")
    write(folder, rows.filter(pl.col("meter_id") != "a").drop("charging_kwh"), "b.csv")
    assert meters_of_day(folder, DAY).hours.equals(whole)
    moment = pl.col("start_utc").str.to_datetime("%+", time_zone="UTC").dt.convert_time_zone("America/Los_Angeles")
    numbers = pl.col("solar_size_kw", "mean_load_kw", "solar_kwh", "load_kwh", "charging_kwh").cast(pl.Float64)
    file = tmp_path / "meters.parquet"
    rows.with_columns(moment, numbers).write_parquet(file)
    assert meters_of_day(file, DAY).hours.equals(whole)


def test_no_meters_are_no_hours_and_no_fault():
    made = meters_of_day(None, DAY)
    assert made.hours.is_empty()
    assert made.quarantine.is_empty()


@pytest.mark.parametrize("day", [date(2024, 3, 12), date(2024, 11, 5)])
def test_days_of_23_and_25_hours_are_whole(tmp_path: Path, day: date):
    made = meters_of_day(write(tmp_path, lines(day - timedelta(days=20), day)), day)
    assert made.quarantine.is_empty()
    changed = made.hours.filter((pl.col("metered_date") == day - timedelta(days=2)) & (pl.col("quantity") == "solar"))
    assert changed.height == (23 if day.month == 3 else 25)


def test_the_command_writes_an_example_and_nothing_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["make-meters", "--out", str(tmp_path / "my.csv"), "--sites", "2", "--from", "2023-08-01"]
    assert main([*command, "--to", "2023-08-02"]) == 0
    assert "wrote 96 synthetic hours of 2 sites" in capsys.readouterr().out
    assert main(command) == 2
    assert "the file is there already" in capsys.readouterr().err
    assert main(["make-meters", "--out", str(tmp_path / "no.csv"), "--to", "2020-01-01"]) == 2
    assert "ends before it begins" in capsys.readouterr().err


def test_the_example_is_the_same_each_time_whole_and_labelled(tmp_path: Path):
    file = tmp_path / "example.csv"
    assert write_meters(file, FIRST, DAY, 5) == 5 * 31 * 24
    assert file.read_text().startswith("# source: synthetic\n")
    made = meters_of_day(file, DAY)
    assert made.quarantine.is_empty()
    assert set(made.hours["source"]) == {"synthetic (file)"}
    assert synthetic_meters(FIRST, FIRST, 3).equals(synthetic_meters(FIRST, FIRST, 3))
