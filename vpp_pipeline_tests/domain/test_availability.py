"""The hourly envelope: physics first, then the owner's wishes."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from vpp_pipeline.errors import InputError
from vpp_pipeline_tests.domain.examples import AUTUMN, BATTERY, DAY, EV, SPRING, envelope


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
    ("start", "end", "quiet"), [(21, 23, [21, 22]), (22, 2, [0, 1, 22, 23]), (0, 1, [0]), (5, 5, [])]
)
def test_in_quiet_hours_the_store_charges_but_does_not_discharge(start: int, end: int, quiet: list[int]) -> None:
    hours = envelope({**BATTERY, "quiet_start_hour": start, "quiet_end_hour": end})
    assert hours.filter(pl.col("max_discharge_kw") == 0)["local_hour"].to_list() == quiet
    assert hours["max_charge_kw"].to_list() == [5.0] * 24


def test_quiet_hours_follow_the_clock_when_it_is_changed() -> None:
    owner = {**BATTERY, "quiet_start_hour": 1, "quiet_end_hour": 3}
    assert (envelope(owner, day=SPRING)["max_discharge_kw"] == 0).sum() == 1  # 1:00 only, 2:00 is skipped
    assert (envelope(owner, day=AUTUMN)["max_discharge_kw"] == 0).sum() == 3  # 1:00 twice, and 2:00


@pytest.mark.parametrize(("weekday", "is_out"), [(1, False), (2, True), (3, False)])
def test_on_an_opt_out_weekday_nothing_is_exported(weekday: int, is_out: bool) -> None:
    hours = envelope({**BATTERY, "opt_out_weekday": weekday})  # 2023-08-15 is a Tuesday, 2
    assert (hours["max_discharge_kw"].max() == 0) == is_out
    assert (hours["export_limit_kw"].max() == 0) == is_out
    assert hours["max_charge_kw"].min() == 5.0


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


def test_an_impossible_ready_by_names_the_prosumer_and_the_shortfall() -> None:
    # 25 kWh at midnight + 5 h x 1 kW x 0.9 = 29.5 kWh at 5:00, where 40 are owed
    late = {**EV, "ev_departure_hour": 5, "max_charge_kw": 1.0}
    with pytest.raises(
        InputError, match=r"1 prosumers .* first prosumer_2: it must hold 40\.00 kWh .* at most 29\.50 kWh"
    ):
        envelope(EV, late)


def test_terminal_energy_out_of_reach_is_refused() -> None:
    # back at 17:00 with 50 - 9 kWh; 7 h x 0.1 kW x 0.9 brings 0.63 kWh
    with pytest.raises(InputError, match=r"prosumer_1: it must hold 48\.00 kWh"):
        envelope({**EV, "max_charge_kw": 5.0, "ev_drive_kwh": 40.0, "terminal_stored_kwh": 48.0})


def test_a_ready_by_that_is_just_reached_is_accepted() -> None:
    just = {**EV, "ev_departure_hour": 5, "max_charge_kw": 10.0 / 3.0}  # 25 + 5 x 3.333 x 0.9 = 40
    assert at(envelope(just), 4)["min_stored_kwh"].to_list() == [40.0]
