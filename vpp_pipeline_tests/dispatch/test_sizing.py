"""Planned sizes: what a dozen typical stores would sell, from devices and published assumptions alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS, market_hours, pacific_moment_utc
from vpp_pipeline.dispatch.sizing import opportunities_of_day, planned_sizes_mw
from vpp_pipeline.fleet.archetypes import DEAL_SCHEMA
from vpp_pipeline.fleet.arrays import Fleet, fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.negotiation.opportunities import Resource
from vpp_pipeline.settings import FleetSettings, NegotiationPolicy, OpportunityPolicy, Settings
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.conftest import request_table
from vpp_pipeline_tests.examples import AUTUMN, BATTERY, DAY, SPRING, fleet_of, forecast_of

PLANNED = Settings(opportunities=OpportunityPolicy(sizing="planned"))
ENERGY, SPIN, NONSPIN = range(3)
LOSSLESS = {**BATTERY, "charge_efficiency": 1.0, "discharge_efficiency": 1.0, "backup_reserve_fraction": 0.0}
#: 4 MW and 4 MWh, half full at both ends of the day; one cycle a day
SHORT = LOSSLESS | {
    "capacity_kwh": 4_000.0,
    "initial_stored_kwh": 2_000.0,
    "terminal_stored_kwh": 2_000.0,
    "max_charge_kw": 4_000.0,
    "max_discharge_kw": 4_000.0,
    "export_limit_kw": 4_000.0,
}
LONG = SHORT | {"capacity_kwh": 16_000.0, "initial_stored_kwh": 8_000.0, "terminal_stored_kwh": 8_000.0}
#: 20 $/MWh, but for 100 from 18:00 and 90 from 19:00
EVENING = [20.0] * 18 + [100.0, 90.0] + [20.0] * 4


def sizes(
    fleet: Fleet, forecast: pl.DataFrame, *requests: tuple[object, ...], deals: pl.DataFrame | None = None
) -> Array:
    return planned_sizes_mw(forecast["market_date"][0], forecast, fleet, PLANNED, request_table(*requests), deals)


@cache
def generated(day: date = DAY, seed: int = 20230815, prosumers: int = 60) -> Fleet:
    rows = generate_fleet(FleetSettings(prosumers=prosumers, seed=seed), day)
    return fleet_arrays(rows, hourly_envelope(rows, market_hours(day), solar_forecast(day), load_forecast(day)))


def offerable_mw(fleet: Fleet) -> Array:
    return np.array([fleet.capacity_kw(p, PLANNED.rules.reserve_call_hours).sum(axis=0) for p in PRODUCTS]) / 1000.0


def test_the_best_hour_takes_three_quarters_of_the_fleet_and_the_next_what_is_left_in_store():
    energy = sizes(fleet_of(SHORT), forecast_of(EVENING, spin=0.0, nonspin=0.0))[ENERGY]
    # 4 MWh when full: 0.75 x 4 MW in the dearer hour, the last MWh in the other; elsewhere the market's minimum
    assert energy[18] == pytest.approx(3.0)
    assert energy[19] == pytest.approx(1.0)
    assert energy[1:18] == pytest.approx(0.1)


def test_a_store_that_is_large_enough_sells_in_both_hours():
    energy = sizes(fleet_of(LONG), forecast_of(EVENING, spin=0.0, nonspin=0.0))[ENERGY]
    assert energy[[18, 19]] == pytest.approx([3.0, 3.0])


def test_reserve_is_held_in_every_hour_where_the_stored_energy_backs_it():
    spin, nonspin = sizes(fleet_of(LONG), forecast_of(20.0, spin=10.0, nonspin=0.0))[[SPIN, NONSPIN]]
    assert spin == pytest.approx(3.0)  # 0.75 x 4 MW, backed by 8 of 16 MWh
    assert nonspin == pytest.approx(0.5)  # worth nothing: the market's minimum


def test_an_hour_too_cheap_for_anyone_is_listed_at_the_markets_minimum():
    energy = sizes(fleet_of(LONG), forecast_of(20.0, spin=0.0, nonspin=0.0))[ENERGY]
    assert energy == pytest.approx(0.1)


def test_a_request_takes_its_power_from_the_reserve_of_its_hour():
    forecast = forecast_of(20.0, spin=10.0, nonspin=0.0)
    request = ("energy", pacific_moment_utc(DAY, 12), 1, 2.0, 500.0)
    alone, beside = sizes(fleet_of(LONG), forecast)[SPIN], sizes(fleet_of(LONG), forecast, request)[SPIN]
    assert beside[12] == pytest.approx(2.0)  # of 4 MW
    assert np.delete(beside, 12) == pytest.approx(np.delete(alone, 12))


def test_owners_private_wishes_do_not_move_the_sizes():
    fleet, forecast = generated(), forecast_of(EVENING, spin=1.0)
    told = replace(
        fleet,
        minimum_compensation_usd_per_kwh=fleet.minimum_compensation_usd_per_kwh * 9.0,
        wear_usd_per_mwh=fleet.wear_usd_per_mwh + 50.0,
        willingness_fraction=1.0 - fleet.willingness_fraction,
        patience=fleet.patience[::-1],
        availability_fraction=fleet.availability_fraction / 2.0,
    )
    assert np.array_equal(sizes(fleet, forecast), sizes(told, forecast))


def test_dear_deals_of_recent_days_leave_less_to_sell_and_cheap_ones_more():
    fleet, forecast = fleet_of(LONG), forecast_of(EVENING, spin=0.0, nonspin=0.0)

    def planned(agreed: float) -> float:
        deals = pl.DataFrame([("home battery", "energy", agreed, 1000.0)], schema=DEAL_SCHEMA, orient="row")
        return float(sizes(fleet, forecast, deals=deals)[ENERGY][18])

    assert planned(300.0) == pytest.approx(0.1)  # nobody would close at 72 $, all that 100 leaves
    assert planned(90.0) < planned(50.0) == pytest.approx(3.0)


def test_deals_of_another_segment_or_product_change_nothing():
    fleet, forecast = fleet_of(LONG), forecast_of(EVENING)
    rows = [("business battery", "energy", 500.0, 1.0), ("home battery", "spin", 0.0, 0.0)]
    deals = pl.DataFrame(rows[:1], schema=DEAL_SCHEMA, orient="row")
    assert np.array_equal(sizes(fleet, forecast), sizes(fleet, forecast, deals=deals))


@tries(12)
@given(
    seed=st.integers(0, 5),
    energy=st.lists(st.floats(-60.0, 400.0), min_size=24, max_size=24),
    spin=st.floats(0.0, 60.0),
    nonspin=st.floats(0.0, 60.0),
)
def test_sizes_are_on_the_step_and_between_the_minimum_and_what_can_be_offered(seed, energy, spin, nonspin):
    fleet = generated(seed=seed)
    found = sizes(fleet, forecast_of(energy, spin=spin, nonspin=nonspin))
    step, least = PLANNED.rules.quantity_step_mw, np.array([[PLANNED.rules.minimum_mw(p)] for p in PRODUCTS])
    assert found / step == pytest.approx(np.round(found / step))
    assert (found >= least).all()
    assert (found <= np.maximum(offerable_mw(fleet), least)).all()


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2023, 8, 20), 24)])
def test_days_of_any_length_and_with_opt_outs_are_sized(day: date, hours: int):
    assert sizes(generated(day), forecast_of(80.0, day=day)).shape == (3, hours)


def test_the_same_inputs_give_the_same_sizes():
    forecast = forecast_of(EVENING, spin=1.0)
    assert np.array_equal(sizes(generated(), forecast), sizes(generated(), forecast))


def test_every_engine_can_be_rehearsed():
    auction = PLANNED.model_copy(update={"negotiation": NegotiationPolicy(engine="uniform_clearing")})
    found = planned_sizes_mw(DAY, forecast_of(EVENING, spin=0.0), generated(), auction, request_table())
    assert found[ENERGY].argmax() == 18


def test_opportunities_carry_the_planned_sizes():
    fleet, forecast = fleet_of(LONG), forecast_of(EVENING, spin=0.0, nonspin=0.0)
    rows = opportunities_of_day(DAY, forecast, fleet, PLANNED, request_table())
    assert rows.height == 72
    assert rows["required_capacity_mw"].to_list() == pytest.approx(sizes(fleet, forecast).ravel().tolist())


def test_a_resource_without_members_has_no_opportunities():
    fleet, forecast = fleet_of(LONG | {"resource_id": "north"}), forecast_of(EVENING)
    resources = [Resource("north"), Resource("south")]
    rows = opportunities_of_day(DAY, forecast, fleet, PLANNED, request_table(), None, resources)
    assert rows["resource_id"].unique().to_list() == ["north"]
    assert rows.height == 72


def test_each_resource_is_sized_by_its_own_members():
    north, south = LONG | {"resource_id": "north"}, SHORT | {"resource_id": "south"}
    forecast = forecast_of(EVENING, spin=0.0, nonspin=0.0)
    resources = [Resource("north"), Resource("south")]
    rows = opportunities_of_day(DAY, forecast, fleet_of(north, south), PLANNED, request_table(), None, resources)
    sizes_mw = dict(rows.select("opportunity_id", "required_capacity_mw").iter_rows())
    assert sizes_mw["energy_20230815_1900_north"] == pytest.approx(3.0)
    assert sizes_mw["energy_20230815_1900_south"] == pytest.approx(1.0)
    assert rows["opportunity_id"].is_sorted()
