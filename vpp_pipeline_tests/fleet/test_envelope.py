"""The hourly envelope: physics first, then the owner's wishes."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.fleet.envelope import hourly_envelope, out_of_reach
from vpp_pipeline_tests.examples import AUTUMN, BATTERY, DAY, EV, SPRING, envelope, flat_profiles, fleet_of, fleet_table


def short(*rows: dict[str, Any]) -> pl.DataFrame:
    """Who cannot keep their own limits."""
    return out_of_reach(fleet_table(*rows), envelope(*rows))


def at(hours: pl.DataFrame, *clock: int) -> pl.DataFrame:
    """The rows of the given Pacific hours."""
    return hours.filter(pl.col("local_hour").is_in(clock))


def except_at(hours: pl.DataFrame, *clock: int) -> pl.DataFrame:
    return hours.filter(~pl.col("local_hour").is_in(clock))


def test_an_ev_that_is_away_has_no_power() -> None:
    hours, away = envelope(EV), range(8, 17)
    assert at(hours, *away).select("max_charge_kw", "max_discharge_kw").unique().row(0) == (0.0, 0.0)
    assert except_at(hours, *away).select("max_charge_kw", "max_discharge_kw").unique().rows() == [(10.0, 10.0)]


def test_an_ev_holds_its_ready_charge_at_the_end_of_the_hour_before_it_leaves() -> None:
    floor = envelope(EV)
    assert at(floor, 7)["min_stored_kwh"].to_list() == [40.0]  # 0.8 x 50 kWh
    assert except_at(floor, 7)["min_stored_kwh"].unique().to_list() == [10.0]  # 0.2 x 50 kWh


def test_the_backup_reserve_is_a_floor_of_every_hour() -> None:
    hours = envelope(BATTERY)
    assert hours["min_stored_kwh"].to_list() == [2.0] * 24
    assert hours["max_stored_kwh"].to_list() == [10.0] * 24


def test_a_ready_charge_below_the_reserve_does_not_lower_it() -> None:
    assert envelope({**EV, "ev_ready_fraction": 0.1})["min_stored_kwh"].to_list() == [10.0] * 24


@pytest.mark.parametrize("day", [DAY, SPRING, AUTUMN])
@pytest.mark.parametrize(("leaves", "returns"), [(8, 17), (1, 5), (22, 24)])
def test_an_ev_loses_its_driving_energy_while_away_and_only_then(day: date, leaves: int, returns: int) -> None:
    ev = {
        **EV,
        "ev_departure_hour": leaves,
        "ev_arrival_hour": returns,
        "ev_ready_fraction": 0.5,
        "terminal_stored_kwh": 10.0,
    }
    hours = envelope(ev, day=day)
    assert hours["drive_kwh"].sum() == pytest.approx(9.0)
    assert except_at(hours, *range(leaves, returns))["drive_kwh"].sum() == 0.0
    assert at(hours, *range(leaves, returns))["drive_kwh"].n_unique() == 1


def test_an_ev_of_a_night_shift_is_away_past_midnight() -> None:
    ev = {**EV, "ev_departure_hour": 22, "ev_arrival_hour": 6, "ev_ready_fraction": 0.5, "terminal_stored_kwh": 10.0}
    hours = envelope(ev)
    assert hours.filter(pl.col("max_charge_kw") == 0)["local_hour"].to_list() == [0, 1, 2, 3, 4, 5, 22, 23]
    assert hours["drive_kwh"].sum() == pytest.approx(9.0)
    assert at(hours, 21)["min_stored_kwh"].to_list() == [25.0]


def test_an_ev_that_leaves_at_three_is_ready_on_the_spring_day_too() -> None:
    ev = {**EV, "ev_departure_hour": 3, "ev_ready_fraction": 0.6}
    assert envelope(ev)["min_stored_kwh"].max() == 30.0
    assert at(envelope(ev, day=SPRING), 1)["min_stored_kwh"].to_list() == [30.0]  # clock 2 does not exist


@pytest.mark.parametrize(
    ("windows", "hours"),
    [
        ("21-23", [21, 22]),
        ("22-2", [0, 1, 22, 23]),
        ("0-1", [0]),
        ("0-24", list(range(24))),
        ("5-7, 21-23, 22-24", [5, 6, 21, 22, 23]),
    ],
)
def test_windows_bar_discharging_or_charging_and_nothing_else(windows: str, hours: list[int]) -> None:
    quiet, idle = envelope({**BATTERY, "quiet_hours": windows}), envelope({**BATTERY, "no_charge_hours": windows})
    shut = envelope({**BATTERY, "no_export_hours": windows})
    for limit in ("max_discharge_kw", "export_limit_kw"):
        assert shut.filter(pl.col(limit) == 0)["local_hour"].to_list() == hours
    assert shut.filter(pl.col("limited_by") == "no export")["local_hour"].to_list() == hours
    assert quiet.filter(pl.col("max_discharge_kw") == 0)["local_hour"].to_list() == hours
    assert idle.filter(pl.col("max_charge_kw") == 0)["local_hour"].to_list() == hours
    assert quiet["max_charge_kw"].to_list() == idle["max_discharge_kw"].to_list() == [5.0] * 24
    assert quiet.filter(pl.col("limited_by") == "quiet hours")["local_hour"].to_list() == hours


def test_quiet_hours_follow_the_clock_when_it_is_changed() -> None:
    owner = {**BATTERY, "quiet_hours": "1-3"}
    assert (envelope(owner, day=SPRING)["max_discharge_kw"] == 0).sum() == 1  # 1:00 only, 2:00 is skipped
    assert (envelope(owner, day=AUTUMN)["max_discharge_kw"] == 0).sum() == 3  # 1:00 twice, and 2:00


@pytest.mark.parametrize(
    ("days", "is_out"),
    [("mon", False), ("tue", True), ("sat, tue, sun", True), ("2023-08-15", True), ("mon, 2023-08-16", False)],
)
def test_on_an_opt_out_day_nothing_is_exported(days: str, is_out: bool) -> None:
    hours = envelope({**BATTERY, "opt_out_days": days}, BATTERY)  # 2023-08-15 is a Tuesday
    owner = hours.filter(prosumer_id="prosumer_1")
    assert (owner["max_discharge_kw"].max() == 0) == is_out
    assert (owner["export_limit_kw"].max() == 0) == is_out
    assert set(owner["limited_by"]) == ({"opted out"} if is_out else {None})
    assert hours["max_charge_kw"].min() == 5.0
    assert hours.filter(prosumer_id="prosumer_2")["max_discharge_kw"].min() == 5.0


@pytest.mark.parametrize(
    ("fraction", "hours", "floor"),
    [
        (0.2, 0.0, 2.0),
        (0.2, 1.0, 2.0),  # 1 h x 1.2 kW / 0.8 = 1.5 kWh: the share is more
        (0.2, 4.0, 6.0),  # 4 h x 1.2 kW / 0.8 = 6 kWh
        (0.0, 24.0, 10.0),  # 36 kWh would be wanted: the whole store is kept
    ],
)
def test_backup_in_hours_of_load_is_a_floor_beside_the_share(fraction: float, hours: float, floor: float) -> None:
    owner = {**BATTERY, "backup_reserve_fraction": fraction, "backup_reserve_hours": hours, "mean_load_kw": 0.6}
    owner["initial_stored_kwh"] = 10.0
    assert envelope(owner, load=2.0)["min_stored_kwh"].unique().to_list() == pytest.approx([floor])


@pytest.mark.parametrize(
    ("leaves", "returns", "ready", "owed"),
    [
        (8, 17, None, [7]),
        (8, 17, 8, [7]),
        (8, 17, 6, [5, 6, 7]),
        (8, 17, 22, [21, 22, 23, *range(8)]),  # home at 17:00, ready from 22:00 until it leaves the next morning
        (22, 6, 20, [19, 20, 21]),  # a night shift
        (0, 6, None, [23]),  # leaves at midnight: what is owed, is owed when the day ends
        (24, 6, None, [23]),
        (8, 17, 0, [23, *range(8)]),  # ready from midnight on
        (8, 17, 24, [23, *range(8)]),
    ],
)
def test_the_ready_charge_is_held_from_its_hour_until_the_ev_leaves(
    leaves: int, returns: int, ready: int | None, owed: list[int]
) -> None:
    ev = {**EV, "ev_departure_hour": leaves, "ev_arrival_hour": returns, "ev_ready_hour": ready}
    ev["initial_stored_kwh"] = 50.0
    held = envelope(ev).filter(pl.col("min_stored_kwh") == 40.0)
    assert sorted(held["local_hour"]) == sorted(owed)


def test_solar_and_load_scale_with_the_site() -> None:
    home, business = (
        {**BATTERY, "solar_size_kw": 8.0, "mean_load_kw": 1.5},
        {**BATTERY, "site_type": "business", "mean_load_kw": 40.0},
    )
    hours = envelope(home, business, solar=0.25, load=1.2)  # the example gives businesses twice the load: 2.4
    first, second = hours.filter(prosumer_id="prosumer_1"), hours.filter(prosumer_id="prosumer_2")
    assert first["solar_kw"].unique().to_list() == [2.0]  # 8 x 0.25
    assert first["load_kw"].unique().to_list() == pytest.approx([1.8])  # 1.5 x 1.2
    assert second["load_kw"].unique().to_list() == pytest.approx([96.0])  # 40 x 2.4
    assert second["solar_kw"].max() == 0.0


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_days_of_clock_change_have_a_row_per_hour(day: date) -> None:
    hours = envelope(EV, BATTERY, day=day)
    assert hours.height == 2 * {SPRING: 23, AUTUMN: 25}[day]
    assert hours.filter((pl.col("prosumer_id") == "prosumer_1") & (pl.col("max_charge_kw") == 0)).height == 9


def test_a_ready_charge_out_of_reach_is_met_as_far_as_charging_at_full_power_goes() -> None:
    # 25 kWh at midnight + 5 h x 1 kW x 0.9 = 29.5 kWh at 5:00, where 40 are owed
    late = {**EV, "ev_departure_hour": 5, "max_charge_kw": 1.0, "terminal_stored_kwh": 20.0}
    hours = envelope(late)
    assert short(late).is_empty()
    assert at(hours, 4)["min_stored_kwh"].to_list() == pytest.approx([29.5])
    assert except_at(hours, 4)["min_stored_kwh"].unique().to_list() == [10.0]
    below = hours.filter(pl.col("limited_by") == "below its floor")
    assert below.select("local_hour", "max_discharge_kw", "max_charge_kw").rows() == [(4, 0.0, 1.0)]


def test_a_store_below_its_floor_charges_at_full_power_until_it_is_there_and_is_free_afterwards() -> None:
    """The case from outside: 5 of 60 kWh, floor 12, 7 kW x 0.95 = 6.65 kWh an hour."""
    ev = {**EV, "capacity_kwh": 60.0, "max_charge_kw": 7.0, "charge_efficiency": 0.95, "initial_stored_kwh": 5.0}
    hours = envelope(ev | {"ev_ready_fraction": 0.5, "terminal_stored_kwh": 12.0})
    floor = hours["min_stored_kwh"].to_list()
    assert floor[:3] == pytest.approx([11.65, 12.0, 12.0])
    assert hours.filter(pl.col("limited_by") == "below its floor")["local_hour"].to_list() == [0]
    assert hours["max_discharge_kw"].to_list()[:3] == [0.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("start_kwh", "idle", "floor"),
    [
        (0.0, None, [4.5, 9.0, 9.0]),  # a battery at 0 of 10 kWh that keeps 9: two hours at 5 kW x 0.9
        (0.0, "0-1", [0.0, 4.5, 9.0]),  # it may not charge in the first hour
        (9.0, None, [9.0, 9.0, 9.0]),
        (8.9, "0-2", [8.9, 8.9, 9.0]),
    ],
)
def test_hours_without_charging_and_the_start_decide_how_long_a_store_recovers(
    start_kwh: float, idle: str | None, floor: list[float]
) -> None:
    home = {**BATTERY, "backup_reserve_fraction": 0.9, "initial_stored_kwh": start_kwh, "no_charge_hours": idle}
    assert envelope(home)["min_stored_kwh"].to_list()[:3] == pytest.approx(floor)
    assert short(home).is_empty()


def test_more_driving_than_the_store_holds_is_named() -> None:
    # 25 kWh at midnight, full with 50 at 8:00; 63 kWh over nine hours are 7 an hour: 1 is missing after eight hours
    (row,) = short({**EV, "ev_drive_kwh": 63.0, "terminal_stored_kwh": 0.0, "backup_reserve_fraction": 0.0}).rows(
        named=True
    )
    assert row["column_name"] == "ev_drive_kwh"
    assert row["problem"] == "it drives 6.0 kWh more than it holds in the hour from 2023-08-15 15:00 Pacific"


@pytest.mark.parametrize(("leaves", "returns", "clock"), [(2, 3, 3), (2, 4, 3), (1, 3, 1)])
def test_a_trip_in_the_hour_that_does_not_exist_is_driven_in_the_next(leaves: int, returns: int, clock: int) -> None:
    """The case from outside: an EV that leaves at 2:00 and returns at 3:00 drives on the 23-hour day too."""
    ev = {**EV, "ev_departure_hour": leaves, "ev_arrival_hour": returns, "ev_ready_fraction": 0.5}
    hours = envelope(ev, day=SPRING)
    assert hours["drive_kwh"].sum() == pytest.approx(9.0)
    assert hours.filter(pl.col("drive_kwh") > 0)["local_hour"].to_list() == [clock]
    assert at(hours, clock).select("max_charge_kw", "max_discharge_kw").row(0) == (0.0, 0.0)
    assert set(at(hours, clock)["limited_by"]) == {"away"}


def test_terminal_energy_out_of_reach_is_named() -> None:
    # back at 17:00 with 50 - 40 = 10 kWh; 7 h x 5 kW x 0.9 brings 31.5 kWh
    (row,) = short({**EV, "max_charge_kw": 5.0, "ev_drive_kwh": 40.0, "terminal_stored_kwh": 48.0}).rows(named=True)
    assert "it must hold 48.0 kWh" in row["problem"]
    assert row["problem"].endswith("41.5 kWh")


def test_hours_without_charging_can_put_the_ready_charge_out_of_reach() -> None:
    assert short({**EV, "no_charge_hours": "4-8"}).is_empty()  # 4 h x 10 kW x 0.9 + 25 = 61 kWh before 4:00
    hours = envelope({**EV, "no_charge_hours": "0-7"})  # one hour, from 7:00: 25 + 9
    assert at(hours, 7)["min_stored_kwh"].to_list() == pytest.approx([34.0])


def test_a_ready_by_that_is_just_reached_is_accepted() -> None:
    just = {**EV, "ev_departure_hour": 5, "max_charge_kw": 10.0 / 3.0}  # 25 + 5 x 3.333 x 0.9 = 40
    assert at(envelope(just), 4)["min_stored_kwh"].to_list() == [40.0]
    assert short(just).is_empty()


def test_a_slice_of_the_fleet_gives_its_rows() -> None:
    rows = [BATTERY, {**EV, "quiet_hours": "1-2"}, {**BATTERY, "opt_out_days": "tue"}]
    whole, hours = envelope(*rows), market_hours(DAY)
    one = hourly_envelope(fleet_table(*rows)[1:2], hours, *flat_profiles(DAY, 0.0, 0.0))
    assert one.equals(whole.filter(prosumer_id="prosumer_2").drop("local_hour"))


def test_in_hours_without_export_neither_store_nor_sun_is_sold() -> None:
    home = {**BATTERY, "has_solar": True, "solar_size_kw": 8.0, "no_export_hours": "12-15"}
    fleet = fleet_of(home, {**home, "no_export_hours": None}, solar=0.5)
    for product in ("energy", "spin"):
        offered = fleet.capacity_kw(product, 1.0)[:, 12:15]
        assert offered[0].max() == 0.0 < offered[1].min()
