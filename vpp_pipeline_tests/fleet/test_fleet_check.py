"""What a wrong row of a user's fleet is told: its cells, and its device as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.fleet.device_rules import device_faults, device_remedies
from vpp_pipeline.fleet.file import COLUMNS, DEFAULTS
from vpp_pipeline_tests.fleet.fleet_rows import DAY, EXAMPLE, FLEET, PLACE, ROWS, load, spoilt, told

BATTERY, SOLAR, EV, V2G, NIGHT_SHIFT = "oak_2_battery", "elm_9_solar", "oak_11_ev", "elm_1_ev", "oak_8_ev"
COLUMNS_PAGE = EXAMPLE.parents[1] / "docs" / "fleet.md"


def test_columns_with_a_default_may_be_left_out_or_empty(tmp_path: Path):
    batteries = [row for row in ROWS if row["store"] == "battery"]
    needed = [{name: cell for name, cell in row.items() if name not in DEFAULTS} for row in batteries]
    blank = [row | dict.fromkeys(DEFAULTS, " ") for row in batteries]
    read = load(tmp_path, needed).prosumers
    assert read.equals(load(tmp_path, blank).prosumers)
    assert set(read["site_type"]) == {"home"}
    assert set(read["patience"]) == {1.0}
    sized = [row | {"solar_size_kw": "4"} for row in needed]
    assert load(tmp_path, sized).prosumers["has_solar"].all()


CELLS = [
    (BATTERY, "capacity_kwh", "large", "not a number"),
    (BATTERY, "capacity_kwh", "13,5", "not a number"),
    (BATTERY, "capacity_kwh", "", "empty"),
    (BATTERY, "site_id", "  ", "empty"),
    (BATTERY, "prosumer_id", "", "empty"),
    (BATTERY, "charge_efficiency", "nan", "not a finite number"),
    (BATTERY, "export_limit_kw", "inf", "not a finite number"),
    (EV, "ev_arrival_hour", "nan", "not a finite number"),
    (BATTERY, "max_charge_kw", "-5", "below 0"),
    (BATTERY, "charge_efficiency", "1.2", "above 1"),
    (BATTERY, "discharge_efficiency", "0", "not above 0"),
    (BATTERY, "patience", "0", "not above 0"),
    (EV, "ev_departure_hour", "25", "above 24"),
    (EV, "ev_departure_hour", "1e12", "above 24"),
    (EV, "ev_departure_hour", "8.5", "not a whole number"),
    (BATTERY, "has_solar", "maybe", "neither true nor false"),
    (V2G, "has_v2g", "2", "neither true nor false"),
    (BATTERY, "store", "tank", "not one of the choices"),
    (BATTERY, "site_type", "Home", "not one of the choices"),
    (BATTERY, "quiet_hours", "21-25", "not hours"),
    (BATTERY, "quiet_hours", "21-23,0-7", "not hours"),
    (BATTERY, "quiet_hours", "٢-٣", "not hours"),
    (BATTERY, "no_charge_hours", "21 to 23", "not hours"),
    (BATTERY, "no_charge_hours", "5-5", "a window without an hour"),
    (BATTERY, "quiet_hours", "0-7, 05-5, 21-23", "a window without an hour"),
    (BATTERY, "quiet_hours", "24-0", "a window without an hour"),
    (BATTERY, "opt_out_days", "Sunday", "not days"),
    (BATTERY, "opt_out_days", "sun, 2023-02-31", "a date that does not exist"),
]


@pytest.mark.parametrize(("who", "column", "value", "problem"), CELLS)
def test_a_bad_cell_is_told_with_row_column_value_and_problem(
    tmp_path: Path, who: str, column: str, value: str, problem: str
):
    loaded = load(tmp_path, spoilt(who, **{column: value}))
    assert told(loaded) == [(PLACE[who] + 2, column, value if value.strip() else None, problem)]
    reason = loaded.quarantine.row(0, named=True)
    assert (reason["market_date"], reason["file"]) == (DAY, "fleet.csv")
    assert reason["remedy"]
    assert json.loads(reason["row_json"]) == {
        name: cell or None for name, cell in (ROWS[PLACE[who]] | {column: value}).items()
    }
    assert loaded.prosumers.equals(FLEET.filter(pl.col("prosumer_id") != who))


def test_words_that_mean_the_same_are_read(tmp_path: Path):
    rows = spoilt(V2G, has_v2g="TRUE", ev_departure_hour="8.0", capacity_kwh=" 75 ", note=" a note, as it is ")
    assert load(tmp_path, rows).prosumers.equals(
        FLEET.with_columns(note=pl.when(prosumer_id=V2G).then(pl.lit(" a note, as it is ")).otherwise("note"))
    )


HOURS = "store, ev_departure_hour, ev_arrival_hour"
IS_EV = "store, ev_arrival_hour, ev_departure_hour, ev_ready_hour, ev_ready_fraction, ev_drive_kwh"
STAY = "store, ev_ready_hour, ev_departure_hour, ev_arrival_hour"
START = "initial_stored_kwh, capacity_kwh"
EMPTY = {"capacity_kwh": "0", "initial_stored_kwh": "0", "terminal_stored_kwh": "0"}
DEVICES: list[tuple[str, str, dict[str, str], str, str]] = [
    ("starts with more than it holds", BATTERY, {"initial_stored_kwh": "99"}, START, "99, 16"),
    ("owes more than it holds", BATTERY, {"terminal_stored_kwh": "17"}, "terminal_stored_kwh, capacity_kwh", "17, 16"),
    (
        "asks for hours of a load that it has not",
        SOLAR,
        {"backup_reserve_hours": "4", "mean_load_kw": "0"},
        "backup_reserve_hours, mean_load_kw",
        "4, 0",
    ),
    (
        "has power without a store",
        SOLAR,
        {"max_charge_kw": "5"},
        "store, max_charge_kw, max_discharge_kw",
        "none, 5, 0",
    ),
    ("has capacity without a store", SOLAR, {"capacity_kwh": "5"}, "store, capacity_kwh", "none, 5"),
    ("has a store without capacity", BATTERY, EMPTY, "store, capacity_kwh", "battery, 0"),
    ("is an EV without hours", EV, {"ev_departure_hour": ""}, HOURS, "ev, empty, 15"),
    ("is an EV without hours", EV, {"ev_arrival_hour": ""}, HOURS, "ev, 9, empty"),
    ("leaves and returns at the same hour", EV, {"ev_departure_hour": "15"}, HOURS, "ev, 15, 15"),
    (
        "leaves and returns at the same hour",
        EV,
        {"ev_departure_hour": "0", "ev_arrival_hour": "24", "ev_ready_fraction": ""},
        HOURS,
        "ev, 0, 24",
    ),
    ("must be ready while it is away", EV, {"ev_ready_hour": "10"}, STAY, "ev, 10, 9, 15"),
    ("must be ready while it is away", NIGHT_SHIFT, {"ev_ready_hour": "22"}, STAY, "ev, 22, 21, 6"),
    ("must be ready while it is away", NIGHT_SHIFT, {"ev_ready_hour": "5"}, STAY, "ev, 5, 21, 6"),
    ("asks for an EV that it is not", BATTERY, {"ev_ready_hour": "7"}, IS_EV, "battery, empty, empty, 7, empty, 0"),
    (
        "asks for an EV that it is not",
        BATTERY,
        {"ev_ready_fraction": "0.8"},
        IS_EV,
        "battery, empty, empty, empty, 0.8, 0",
    ),
    ("asks for an EV that it is not", BATTERY, {"ev_drive_kwh": "9"}, IS_EV, "battery, empty, empty, empty, empty, 9"),
    ("asks for an EV that it is not", SOLAR, {"ev_arrival_hour": "18"}, IS_EV, "none, 18, empty, empty, empty, 0"),
    ("allows V2G without an EV", BATTERY, {"has_v2g": "true"}, "store, has_v2g", "battery, true"),
    (
        "discharges an EV without V2G",
        V2G,
        {"has_v2g": "false"},
        "store, has_v2g, max_discharge_kw",
        "ev, false, 11.5",
    ),
    ("disagrees with itself on solar", BATTERY, {"has_solar": "true"}, "has_solar, solar_size_kw", "true, 0"),
    ("disagrees with itself on solar", SOLAR, {"has_solar": "false"}, "has_solar, solar_size_kw", "false, 7.5"),
]


@pytest.mark.parametrize(("problem", "who", "cells", "columns", "value"), DEVICES)
def test_a_device_that_cannot_be_is_told(
    tmp_path: Path, problem: str, who: str, cells: dict[str, str], columns: str, value: str
):
    loaded = load(tmp_path, spoilt(who, **cells))
    assert told(loaded) == [(PLACE[who] + 2, columns, value, problem)]
    assert loaded.prosumers.equals(FLEET.filter(pl.col("prosumer_id") != who))


def test_an_ev_may_have_to_be_ready_in_the_evening_of_its_return(tmp_path: Path):
    assert load(tmp_path, spoilt(EV, ev_ready_hour="22")).quarantine.is_empty()  # at home from 15 to 9


def test_every_fault_of_a_device_is_tried_and_has_a_remedy():
    assert device_faults().keys() == device_remedies().keys()
    above_1 = "gives more than it took"  # in a file, a cell out of bounds
    of_two_rows = "repeats its site's solar or load"
    assert {problem for problem, *_ in DEVICES} | {above_1, of_two_rows} == set(device_faults())


def test_the_same_sun_or_load_on_two_rows_of_a_site_is_not_sold_twice(tmp_path: Path):
    fault, twice = "repeats its site's solar or load", {"has_solar": "true", "solar_size_kw": "6.2"}  # the battery's
    assert [(row[0], row[3]) for row in told(load(tmp_path, spoilt("elm_1_ev", **twice)))] == [(2, fault), (3, fault)]
    second_array = spoilt("elm_1_ev", has_solar="true", solar_size_kw="2")
    assert load(tmp_path, second_array).quarantine.is_empty()


def test_all_faults_of_a_row_are_told_but_not_what_one_implies_of_others(tmp_path: Path):
    row = PLACE[BATTERY] + 2
    loaded = load(tmp_path, spoilt(BATTERY, capacity_kwh="-1", has_solar="true", quiet_hours="5-5"))
    assert told(loaded) == [
        (row, "capacity_kwh", "-1", "below 0"),
        (row, "has_solar, solar_size_kw", "true, 0", "disagrees with itself on solar"),
        (row, "quiet_hours", "5-5", "a window without an hour"),
    ]


def test_all_rows_of_a_repeated_prosumer_are_set_aside(tmp_path: Path):
    loaded = load(tmp_path, [*ROWS, ROWS[0] | {"prosumer_id": f" {BATTERY}", "site_id": "elsewhere"}])
    problem = "several rows of one prosumer"
    assert told(loaded) == [
        (PLACE[BATTERY] + 2, "prosumer_id", BATTERY, problem),
        (len(ROWS) + 2, "prosumer_id", f" {BATTERY}", problem),
    ]
    assert set(loaded.quarantine["prosumer_id"]) == {BATTERY}
    assert loaded.prosumers.equals(FLEET.filter(pl.col("prosumer_id") != BATTERY))


UNITS = {
    "_usd_per_kwh": "$/kWh",
    "_usd_per_mwh": "$/MWh",
    "_kwh": "kWh",
    "_kw": "kW",
    "_fraction": "0–1",
    "_efficiency": "0–1",
    "_hour": "hour, 0–24",
    "backup_reserve_hours": "h",
    "_hours": "hours, 0–24",
    "_days": "days",
    "_cycles_per_day": "cycles per day",
    "has_": "true, false",
    "patience": "number",
}


def test_the_page_on_fleets_holds_every_column_as_declared():
    page = COLUMNS_PAGE.read_text()
    defaults = {name: "empty" if value is None else str(value).lower() for name, value in DEFAULTS.items()}
    defaults["has_solar"] = "whether `solar_size_kw` is above 0"
    for name, column in COLUMNS.items():
        unit = next((unit for part, unit in UNITS.items() if name.startswith(part) or name.endswith(part)), "text")
        assert f"| `{name}` | {unit} | {defaults.get(name, 'needed')} | {column.description} |\n" in page
