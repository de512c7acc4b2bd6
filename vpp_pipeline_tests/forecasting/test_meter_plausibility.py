"""Meters held against the sun and their sizes: a fault that all meters of an export share is told with its cause."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.meters import meters_of_day, synthetic_meters
from vpp_pipeline.forecasting.profiles import clear_sky
from vpp_pipeline.settings import ForecastSettings, read_settings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.forecasting.real_meters import BROKEN_PV, HOMES, SETTINGS, homes

DAY = date(2023, 8, 15)
SOLAR, LOAD, CHARGING = "solar_kwh", "load_kwh", "charging_kwh"
QUARTER = "2023-08-01T19:15:00Z"
CLOCK = pl.col("start_utc").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
LOCAL_DAY = CLOCK.dt.convert_time_zone("America/Los_Angeles").dt.date()

Change = Callable[[pl.DataFrame], pl.DataFrame]


@cache
def rows_of(day: date = DAY, sites: int = 5) -> pl.DataFrame:
    return synthetic_meters(day - timedelta(days=30), day, sites)


def shifted(hours: int) -> Change:
    return lambda rows: rows.with_columns((CLOCK + timedelta(hours=hours)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def times(column: str, factor: float) -> Change:
    return lambda rows: rows.with_columns(pl.col(column) * factor)


def added_up(*keys: pl.Expr) -> Change:
    columns = pl.col(SOLAR, LOAD, CHARGING)
    return lambda rows: rows.sort("meter_id", "start_utc").with_columns(columns.cum_sum().over("meter_id", *keys))


def written(folder: Path, rows: pl.DataFrame, name: str = "meters.csv") -> Path:
    rows.write_csv(folder / name)
    return folder / name


def told(folder: Path, rows: pl.DataFrame, day: date = DAY, accepted: str = "") -> dict[str, set[str]]:
    """Problems by column."""
    made = meters_of_day(written(folder, rows), day, settings=ForecastSettings(accepted_suspicions=accepted))
    problems = made.quarantine.group_by("column_name").agg("problem")
    return {column: set(found) for column, found in problems.iter_rows()}


FAULTS: dict[str, tuple[Change, set[str], str]] = {
    # those of the cases from outside
    "local time as UTC": (shifted(-7), {SOLAR, LOAD, CHARGING}, "local time written as UTC"),
    "hour ending as start": (shifted(1), {SOLAR, LOAD, CHARGING}, "the hour's end is probably written as its start"),
    "total of the day": (added_up(LOCAL_DAY), {SOLAR, LOAD, CHARGING}, "probably a total of the day"),
    "counter": (added_up(), {SOLAR, LOAD, CHARGING}, "probably the reading of a counter"),
    "load in MWh": (times(LOAD, 1e-3), {LOAD}, "probably MWh instead of kWh"),
    "solar in MWh": (times(SOLAR, 1e-3), {SOLAR}, "probably MWh instead of kWh"),
    "load times four": (times(LOAD, 4.0), {LOAD}, "kW of quarter hours added up"),
    # more of each kind
    "UTC as local time": (shifted(7), {SOLAR, LOAD, CHARGING}, "solar energy"),
    "standard time as daylight time": (shifted(-1), {SOLAR, LOAD, CHARGING}, "standard time is probably read"),
    "New York": (shifted(3), {SOLAR, LOAD, CHARGING}, "solar energy"),
    "total of the day in UTC": (added_up(CLOCK.dt.date()), {SOLAR, LOAD, CHARGING}, "probably a total of the day"),
    "load in Wh": (times(LOAD, 1e3), {LOAD}, "probably Wh instead of kWh"),
    "solar in Wh": (times(SOLAR, 1e3), {SOLAR}, "probably Wh instead of kWh"),
    "solar times four": (times(SOLAR, 4.0), {SOLAR}, "kW of quarter hours added up"),
    "a quarter of the load": (times(LOAD, 0.25), {LOAD}, "one quarter hour of each hour"),
    "solar in W per kW": (times(SOLAR, 200.0), {SOLAR}, "probably Wh instead of kWh"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_all_meters_share_is_told_with_its_cause(tmp_path: Path, fault: str):
    change, columns, cause = FAULTS[fault]
    found = told(tmp_path, change(rows_of()))
    assert set(found) == columns
    assert all(len(problems) == 1 and cause in next(iter(problems)) for problems in found.values()), found


@pytest.mark.parametrize(
    "fault", ["local time as UTC", "counter", "load in MWh", "load times four", "solar times four"]
)
def test_one_meter_alone_is_set_aside_and_the_others_are_used(tmp_path: Path, fault: str):
    change, columns, _ = FAULTS[fault]
    rows, wrong = rows_of(), pl.col("meter_id") == "meter_001"
    mixed = pl.concat([change(rows.filter(wrong)), rows.filter(~wrong)])
    made = meters_of_day(written(tmp_path, mixed), DAY)
    assert set(made.quarantine["meter_id"]) == {"meter_001"}
    assert set(made.quarantine["column_name"]) == columns
    assert set(made.quarantine["days"]) <= {28, 29}
    assert made.hours.filter(quantity="solar")["meters"].max() == (4 if SOLAR in columns else 5)


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ("local time as UTC", "night, clock"),
        ("hour ending as start", "clock"),
        ("total of the day", "running_total,night,clock,level"),
        ("load times four", "level"),
    ],
)
def test_a_suspicion_can_be_accepted(tmp_path: Path, fault: str, accepted: str):
    change, _, _ = FAULTS[fault]
    made = meters_of_day(
        written(tmp_path, change(rows_of())), DAY, settings=ForecastSettings(accepted_suspicions=accepted)
    )
    suspected = made.quarantine.filter(pl.col("remedy").str.contains("accepted_suspicions"))
    assert suspected.is_empty()


def test_the_remedy_names_the_setting_and_the_value_is_what_was_found(tmp_path: Path):
    made = meters_of_day(written(tmp_path, times(LOAD, 4.0)(rows_of())), DAY)
    row = made.quarantine.row(0, named=True)
    assert row["value"].endswith(" times")
    assert row["remedy"].endswith("or accept it: forecast.accepted_suspicions=level")
    assert (row["file"], row["days"]) == ("meters.csv", 29)


def test_an_unknown_suspicion_is_refused():
    with pytest.raises(InputError, match="lag is no suspicion; write one or more of night, clock"):
        read_settings({"forecast": {"accepted_suspicions": "night,lag"}})


@pytest.mark.parametrize("month", seeds([6, 12, 3, 9, 1, 2, 4, 5, 7, 8, 10, 11]))
def test_synthetic_meters_are_suspected_in_no_month(tmp_path: Path, month: int):
    day = date(2024, month, 20)
    assert told(tmp_path, rows_of(day, 4), day) == {}


def test_panels_elsewhere_are_held_against_their_own_sun(tmp_path: Path):
    """A clear sky of New York under Pacific dates: early by three hours, unless the settings say where it is."""
    place = {"latitude_deg": 40.7, "longitude_deg": -74.0}
    rows = rows_of(sites=4)
    days = [DAY - timedelta(days=back) for back in range(31)]
    starts = rows.filter(meter_id="meter_001")["start_utc"]
    sky = [float(value) for day in sorted(days) for value in clear_sky(day, *place.values())]
    there = rows.join(pl.DataFrame({"start_utc": starts, "sky": sky}), on="start_utc").with_columns(
        solar_kwh=0.8 * pl.col("sky") * pl.col("solar_size_kw")
    )
    file = written(tmp_path, there.drop("sky"))
    assert meters_of_day(file, DAY, settings=ForecastSettings(**place)).quarantine.is_empty()
    assert set(meters_of_day(file, DAY).quarantine["column_name"]) == {SOLAR, LOAD, CHARGING}


@pytest.mark.slow
@pytest.mark.skipif(not HOMES.exists(), reason="the real homes are not at hand")
def test_real_homes_are_suspected_on_no_day_of_a_year_but_for_their_winter_clock(tmp_path: Path):
    """Their summer clock is right; in winter it is an hour early, which is told as long as it is not accepted."""
    file = homes(tmp_path)
    for back in range(0, 330, 30):
        made = meters_of_day(file, date(2016, 9, 3) + timedelta(days=back), settings=SETTINGS)
        assert not made.quarantine["remedy"].str.contains("accepted_suspicions").any()
    strict = SETTINGS.model_copy(update={"accepted_suspicions": ""})
    summer, winter = (meters_of_day(file, day, settings=strict) for day in (date(2017, 6, 30), date(2017, 3, 1)))
    assert set(summer.quarantine["meter_id"]) == set(BROKEN_PV)
    assert winter.quarantine["problem"].str.contains("standard time is probably read as daylight time").any()


def quarters(rows: pl.DataFrame) -> pl.DataFrame:
    """The same energy in four rows an hour, more in the second half."""
    parts = pl.DataFrame({"minute": [0, 15, 30, 45], "share": [0.1, 0.2, 0.3, 0.4]})
    columns = [name for name in (SOLAR, LOAD, CHARGING) if name in rows.columns]
    start = (CLOCK + pl.duration(minutes="minute")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return rows.join(parts, how="cross").with_columns(start, pl.col(columns) * pl.col("share")).drop("minute", "share")


def test_quarter_hours_are_added_up_to_the_same_hours(tmp_path: Path):
    rows = rows_of(sites=3)
    hourly, parted = written(tmp_path, rows), written(tmp_path, quarters(rows), "quarters.csv")
    wanted, found = meters_of_day(hourly, DAY), meters_of_day(parted, DAY)
    assert found.quarantine.is_empty()
    keys = ["quantity", "site_type", "start_utc"]
    both = wanted.hours.join(found.hours, on=keys, how="full", suffix="_found")
    assert both.height == wanted.hours.height == found.hours.height
    assert (both["metered_per_unit"] - both["metered_per_unit_found"]).abs().max() < 1e-9


def test_meters_of_hours_and_of_quarters_may_lie_in_one_file(tmp_path: Path):
    rows, second = rows_of(sites=3), pl.col("meter_id") == "meter_002"
    mixed = pl.concat([rows.filter(~second), quarters(rows.filter(second))])
    found = meters_of_day(written(tmp_path, mixed), DAY)
    assert found.quarantine.is_empty()
    assert found.hours.filter(quantity="solar")["meters"].unique().to_list() == [3]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            lambda rows: rows.filter(pl.col("start_utc") != "2023-08-01T19:15:00Z"),
            "an hour is missing, or a part of it",
        ),
        (
            lambda rows: rows.with_columns(
                pl.when(pl.col("start_utc") == QUARTER).then(-1.0).otherwise(pl.col(LOAD)).alias(LOAD)
            ),
            "less than 0",
        ),
        (
            lambda rows: pl.concat([rows, rows.filter(pl.col("start_utc") == QUARTER)]),
            "start_utc: the hour occurs twice",
        ),
    ],
)
def test_a_quarter_that_cannot_be_used_costs_its_day(tmp_path: Path, spoil: Change, problem: str):
    rows = rows_of(sites=3)
    wrong = pl.col("meter_id") == "meter_001"
    parted = quarters(rows.select("start_utc", "meter_id", "site_type", "mean_load_kw", LOAD))
    file = written(tmp_path, pl.concat([spoil(parted.filter(wrong)), parted.filter(~wrong)]))
    quarantine = meters_of_day(file, DAY).quarantine
    assert problem in set(quarantine["problem"].str.split(";").list.first())
    assert set(quarantine.select("meter_id", "first_date", "days").rows()) == {("meter_001", date(2023, 8, 1), 1)}


def test_the_newest_hour_counts_only_when_it_is_whole(tmp_path: Path):
    rows = quarters(rows_of(sites=2))
    last = meters_of_day(written(tmp_path, rows), DAY).hours["start_utc"].max()
    cut = rows.filter(last + timedelta(minutes=45) > CLOCK)
    found = meters_of_day(written(tmp_path, cut), DAY)
    assert found.quarantine.is_empty()
    assert found.hours["start_utc"].max() == last - timedelta(hours=1)


def test_mean_kw_of_quarter_hours_added_up_are_four_times_too_much(tmp_path: Path):
    rows = quarters(rows_of(sites=4)).with_columns(pl.col(SOLAR, LOAD) * 4)
    found = told(tmp_path, rows)
    assert all("kW of quarter hours added up" in next(iter(found[column])) for column in (SOLAR, LOAD))
