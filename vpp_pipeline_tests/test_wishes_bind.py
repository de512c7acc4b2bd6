"""Every wish of an owner and every limit of a device changes the bids: taken away, the day is bid otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.fleet.arrays import fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope, out_of_reach
from vpp_pipeline.fleet.notes.apply import tighten
from vpp_pipeline.negotiation.opportunities import find_opportunities
from vpp_pipeline.pipeline import bid
from vpp_pipeline.schemas import Notes, Quarantine
from vpp_pipeline.settings import MarketRules, OpportunityPolicy, Settings
from vpp_pipeline.verification.bids import bids_were_ready_before_the_deadline
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.conftest import request_table
from vpp_pipeline_tests.examples import BATTERY, DAY, EV, flat_profiles, fleet_table, forecast_of

Tables = dict[str, pl.DataFrame]

#: 18 $/MWh but for the evening: 60, 90, 120, 90 from 18:00 on; reserve is worth nothing
PRICES = [18.0] * 18 + [60.0, 90.0, 120.0, 90.0] + [18.0] * 2
SETTINGS = Settings(
    rules=MarketRules(energy_minimum_mw=0.05), opportunities=OpportunityPolicy(sizing="fixed_mw", fixed_mw=0.3)
)
SIZE = {
    "capacity_kwh": 400.0,
    "max_charge_kw": 100.0,
    "max_discharge_kw": 100.0,
    "initial_stored_kwh": 200.0,
    "terminal_stored_kwh": 200.0,
    "export_limit_kw": 100.0,
}
STORE = {**BATTERY, **SIZE, "maximum_cycles_per_day": 2.0}
CAR = {**EV, **SIZE, "ev_ready_fraction": 0.5, "ev_drive_kwh": 10.0}


def day_of(row: dict[str, Any], solar: float = 0.0, load: float = 0.0) -> Tables:
    """The day of four prosumers of this kind, with all tables; no limit is broken and no other rule."""
    return _day_of(tuple(sorted(row.items())), solar, load)


@cache  # the wishes are taken from a few rows that are the same without them
def _day_of(columns: tuple[tuple[str, Any], ...], solar: float, load: float) -> Tables:
    row = dict(columns)
    prosumers, notes = tighten(fleet_table(*({**row, "site_id": f"site_{k}"} for k in range(4))))
    profiles, hours = flat_profiles(DAY, solar, load), market_hours(DAY)
    envelope = hourly_envelope(prosumers, hours, *profiles)
    assert out_of_reach(prosumers, envelope).is_empty()
    forecast = forecast_of(PRICES, spin=0.0, nonspin=0.0)
    fleet = fleet_arrays(prosumers, envelope)
    calls = find_opportunities(DAY, forecast, fleet, SETTINGS.opportunities, SETTINGS.rules, request_table())
    stamp = Stamp("test", "test", None, "test", datetime(2023, 8, 14, 12, tzinfo=UTC))
    day = {
        "market.price_forecast": forecast,
        "fleet.prosumers": prosumers,
        "fleet.notes": notes,
        "fleet.quarantine": Quarantine.create_empty(),
        "fleet.availability": envelope,
        "market.opportunities": calls,
    }
    tables = bid(day, SETTINGS, stamp)
    results = verify(tables, SETTINGS)
    del results[bids_were_ready_before_the_deadline.__name__]  # prices by hand have no time of publication
    assert [result.description for result in results.values() if not result.passed] == []
    return tables


def offered(tables: Tables) -> list[tuple[object, ...]]:
    """What goes to the market: opportunity, MW and price of every bid."""
    columns = ["opportunity_id", "total_capacity_mw", "bid_price_usd_per_mwh"]
    return tables["bids.final_bids"].filter(status="bid").select(columns).rows()


def sold_mwh(tables: Tables) -> float:
    return float(tables["bids.final_bids"]["total_capacity_mw"].sum())


#: leaves for the last hour of the day, and owes little when it ends
LATE = {"ev_departure_hour": 23, "ev_arrival_hour": 24, "terminal_stored_kwh": 80.0}

WISHES = {
    "backup reserve as a share": (STORE, {"backup_reserve_fraction": 0.5}, {"backup_reserve_fraction": 0.2}),
    "backup reserve in hours of load": (
        {**STORE, "mean_load_kw": 20.0},
        {"backup_reserve_hours": 8.0},  # 8 h x 20 kW / 0.8 = 200 kWh
        {"backup_reserve_hours": 0.0},
    ),
    "EV ready charge": (
        {**CAR, **LATE, "no_charge_hours": "18-23"},
        {"ev_ready_fraction": 0.6},
        {"ev_ready_fraction": 0.3},
    ),
    "EV ready-by hour": (
        {**CAR, **LATE, "ev_ready_fraction": 0.9},
        {"ev_ready_hour": 18},
        {"ev_ready_hour": None},
    ),
    "quiet hours": (STORE, {"quiet_hours": "20-21"}, {"quiet_hours": None}),
    "hours without export": (STORE, {"no_export_hours": "20-21"}, {"no_export_hours": None}),
    "hours without charging": (
        {**STORE, "terminal_stored_kwh": 100.0},
        {"no_charge_hours": "0-18, 22-24"},
        {"no_charge_hours": None},
    ),
    "opt-out weekday": (STORE, {"opt_out_days": "tue"}, {"opt_out_days": None}),
    "opt-out date": (STORE, {"opt_out_days": "2023-08-15"}, {"opt_out_days": None}),
    "maximum cycles": (STORE, {"maximum_cycles_per_day": 0.5}, {"maximum_cycles_per_day": 2.0}),
    "participation willingness": (
        STORE,
        {"participation_willingness_fraction": 0.0},
        {"participation_willingness_fraction": 1.0},
    ),
    "minimum compensation": (
        STORE,
        {"minimum_compensation_usd_per_kwh": 0.07},
        {"minimum_compensation_usd_per_kwh": 0.0},
    ),
    "no V2G": (CAR, {"has_v2g": False, "max_discharge_kw": 0.0}, {}),
    "driving energy": (
        {**CAR, "max_charge_kw": 12.0, "terminal_stored_kwh": 180.0},
        {"ev_drive_kwh": 120.0},
        {"ev_drive_kwh": 0.0},
    ),
    "hours away": (
        CAR,
        {"ev_departure_hour": 8, "ev_arrival_hour": 20},
        {"ev_departure_hour": 8, "ev_arrival_hour": 17},
    ),
    "export limit": (STORE, {"export_limit_kw": 60.0}, {"export_limit_kw": 100.0}),
    "note": (STORE, {"note": "Keep 50 % for outages, no discharge after 8pm, not below 7 cents."}, {"note": None}),
}


@pytest.mark.parametrize("wish", WISHES)
def test_taken_away_the_day_is_bid_otherwise(wish: str) -> None:
    row, with_it, without = WISHES[wish]
    bound, free = (day_of({**row, **wishes}, load=1.0) for wishes in (with_it, without))
    assert offered(bound) != offered(free)
    assert sold_mwh(free) > 0.0
    # nobody's wish makes the aggregator richer
    assert bound["dispatch.proof"]["objective_usd"][0] <= free["dispatch.proof"]["objective_usd"][0] + 1e-6


def test_solar_serves_the_load_first_and_only_what_is_left_is_sold() -> None:
    home = {**STORE, "has_solar": True, "solar_size_kw": 80.0, "mean_load_kw": 20.0, "max_discharge_kw": 50.0}
    sunny = day_of(home, solar=0.5, load=1.0)["dispatch.schedule"]  # 40 kW of sun, 20 kW of load
    used = sunny.select(pl.col("solar_charge_kw") + pl.col("solar_sold_kw")).to_series()
    assert used.max() == pytest.approx(20.0)
    assert day_of(home, solar=0.25, load=1.0)["dispatch.schedule"]["solar_sold_kw"].max() == 0.0  # all for the load
    dull, bright = (day_of(home, solar=sun, load=1.0) for sun in (0.25, 0.5))
    assert offered(dull) != offered(bright)
    assert offered(bright) != offered(day_of({**home, "mean_load_kw": 10.0}, solar=0.5, load=1.0))


def test_load_makes_room_behind_the_export_limit() -> None:
    # the meter sees discharge less load: 60 kW of limit and 30 kW of load let 90 kW out
    home = {**STORE, "export_limit_kw": 60.0, "mean_load_kw": 30.0}
    alone, at_home = day_of(home, load=0.0), day_of(home, load=1.0)
    assert alone["dispatch.schedule"]["discharge_kw"].max() == pytest.approx(60.0, abs=1e-4)
    assert at_home["dispatch.schedule"]["discharge_kw"].max() == pytest.approx(90.0, abs=1e-4)


def test_a_note_alone_is_as_good_as_the_columns() -> None:
    said = {**STORE, "note": "Keep 50 % for outages, no discharge after 8pm, not below 7 cents."}
    written = {
        **STORE,
        "backup_reserve_fraction": 0.5,
        "quiet_hours": "20-24",
        "minimum_compensation_usd_per_kwh": 0.07,
    }
    assert offered(day_of(said)) == offered(day_of(written))


def test_every_owner_without_notes_has_none() -> None:
    assert day_of(STORE)["fleet.notes"].equals(Notes.create_empty())
