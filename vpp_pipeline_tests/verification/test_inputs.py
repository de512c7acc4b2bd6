"""Prices, opportunities, and prosumers: each impossible one is found out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.inputs import (
    every_prosumer_is_physical,
    no_hour_is_offered_twice,
    prices_are_complete_and_ordered,
)
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import DAY
from vpp_pipeline_tests.verification.tampering import (
    CALLS,
    ENVELOPE,
    FLEET,
    FORECAST,
    Fault,
    added,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

PRICES = prices_are_complete_and_ordered
PHYSICAL = every_prosumer_is_physical
STORE, EV = pl.col("store") == "battery", pl.col("store") == "ev"


def clock() -> pl.Expr:
    return pl.col("start_utc").dt.convert_time_zone("America/Los_Angeles").dt.hour().cast(pl.Int32)


def of_owner(day: Day, owner: pl.Expr, hour: pl.Expr) -> pl.Expr:
    """One hour of the envelope of the first prosumer that satisfies ``owner``."""
    who = day[FLEET].filter(owner)["prosumer_id"][0]
    return (pl.col("prosumer_id") == who) & hour


def while_away(day: Day, column: str) -> pl.DataFrame:
    return edited(day[ENVELOPE], of_owner(day, EV, clock() == 12), **{column: 5.0})


def not_ready(day: Day) -> pl.DataFrame:
    leaves = day[FLEET].filter(EV)["ev_departure_hour"][0]
    reserve = day[FLEET].filter(EV).select(pl.col("backup_reserve_fraction") * pl.col("capacity_kwh")).item(0, 0)
    return edited(day[ENVELOPE], of_owner(day, EV, clock() == leaves - 1), min_stored_kwh=reserve)


def in_quiet_hours(day: Day) -> pl.DataFrame:
    return edited(
        day[ENVELOPE], of_owner(day, pl.col("quiet_hours").str.contains("21-23"), clock() == 22), max_discharge_kw=3.0
    )


def on_opt_out(day: Day) -> pl.DataFrame:
    tuesday = pl.col("opt_out_days").str.contains("tue") & (pl.col("export_limit_kw") > 1)
    return edited(day[ENVELOPE], of_owner(day, tuesday, clock() == 12), export_limit_kw=1.0)


FAULTS = [
    Fault(
        no_hour_is_offered_twice,
        "an hour is in two opportunities of a product",
        CALLS,
        added(CALLS, opportunity_id="again"),
        "1 hours offered twice or outside the day; first: opportunity_id again, .* of two opportunities",
    ),
    Fault(
        no_hour_is_offered_twice,
        "a block runs into the next one",
        CALLS,
        edit(CALLS, pl.col("opportunity_id") == "spin_20230815_1200", duration_hours=2),
        "1 hours offered twice .* of two opportunities",
    ),
    Fault(
        no_hour_is_offered_twice,
        "a block leaves the day",
        CALLS,
        edit(CALLS, pl.col("opportunity_id") == "spin_20230815_2300", duration_hours=3),
        "2 hours offered twice .* product spin, start_utc 2023-08-16 07:00.* outside the market day",
        2,
    ),
    Fault(
        PRICES,
        "an hour is missing",
        FORECAST,
        dropped(FORECAST, pl.col("hour_ending") == 7),
        "23 rows for 24 hours: 1 missing, 0 unexpected",
    ),
    Fault(PRICES, "an hour comes twice", FORECAST, added(FORECAST), "25 rows for 24 hours: 0 missing, 0 unexpected"),
    Fault(
        PRICES,
        "hours are out of order",
        FORECAST,
        lambda day: day[FORECAST].reverse(),
        "24 rows for 24 hours: 0 missing, 0 unexpected",
    ),
    Fault(
        PRICES,
        "an hour of another day",
        FORECAST,
        edit(FORECAST, pl.col("hour_ending") == 7, start_utc=pl.col("start_utc") + pl.duration(days=1)),
        "24 rows for 24 hours: 1 missing, 1 unexpected",
        2,
    ),
    Fault(
        PRICES,
        "spin is cheaper than nonspin",
        FORECAST,
        edit(FORECAST, pl.col("hour_ending") == 7, spin_usd_per_mw_h=0.5, nonspin_usd_per_mw_h=0.6),
        "1 hours with spin below nonspin; .*0.5.*0.6",
    ),
    Fault(
        PHYSICAL,
        "starts above its capacity",
        FLEET,
        edit(FLEET, STORE, initial_stored_kwh=sees("capacity_kwh", 1)),
        "prosumer_id prosumer_001, fault starts with more than it holds",
    ),
    Fault(
        PHYSICAL,
        "owes more than it holds",
        FLEET,
        edit(FLEET, STORE, terminal_stored_kwh=sees("capacity_kwh", 1)),
        "fault owes more than it holds",
    ),
    Fault(
        PHYSICAL,
        "has power without a store",
        FLEET,
        edit(FLEET, pl.col("store") == "none", max_charge_kw=5.0),
        "fault has power without a store",
    ),
    Fault(
        PHYSICAL,
        "has a store without capacity",
        FLEET,
        edit(FLEET, STORE, capacity_kwh=0.0, initial_stored_kwh=0.0, terminal_stored_kwh=0.0),
        "fault has a store without capacity",
        25,
    ),
    Fault(
        PHYSICAL,
        "is an EV without a departure",
        FLEET,
        edit(FLEET, EV, ev_departure_hour=None),
        "fault is an EV without hours",
        2,
    ),
    Fault(
        PHYSICAL,
        "is an EV without an arrival",
        FLEET,
        edit(FLEET, EV, ev_arrival_hour=None),
        "fault is an EV without hours",
        2,
    ),
    Fault(
        PHYSICAL,
        "discharges an EV without V2G",
        FLEET,
        edit(FLEET, EV & (pl.col("max_discharge_kw") > 0), has_v2g=False),
        "fault discharges an EV without V2G",
    ),
    Fault(
        PHYSICAL,
        "floor above the ceiling",
        ENVELOPE,
        edit(ENVELOPE, min_stored_kwh=sees("max_stored_kwh", 1)),
        "fault envelope exceeds the device at 2023-08-15 07:00",
    ),
    Fault(
        PHYSICAL,
        "ceiling above the capacity",
        ENVELOPE,
        edit(ENVELOPE, max_stored_kwh=sees("max_stored_kwh", 1)),
        "fault envelope exceeds the device",
    ),
    Fault(
        PHYSICAL,
        "charges more than the device",
        ENVELOPE,
        edit(ENVELOPE, max_charge_kw=sees("max_charge_kw", 1)),
        "fault envelope exceeds the device",
    ),
    Fault(
        PHYSICAL,
        "discharges more than the device",
        ENVELOPE,
        edit(ENVELOPE, max_discharge_kw=sees("max_discharge_kw", 1)),
        "fault envelope exceeds the device",
    ),
    Fault(
        PHYSICAL,
        "an hour is missing",
        ENVELOPE,
        dropped(ENVELOPE, pl.col("prosumer_id") == "prosumer_005"),
        "prosumer_id prosumer_005, fault 23 hours",
    ),
    Fault(PHYSICAL, "gives more than it took", FLEET, edit(FLEET, STORE, discharge_efficiency=1.2), "fault"),
    Fault(
        PHYSICAL,
        "has no envelope",
        ENVELOPE,
        lambda day: day[ENVELOPE].filter(pl.col("prosumer_id") != "prosumer_005"),
        "prosumer_id prosumer_005",
    ),
    Fault(
        PHYSICAL,
        "floor below the owner's reserve",
        ENVELOPE,
        edit(ENVELOPE, pl.col("min_stored_kwh") > 1, min_stored_kwh=0.0),
        "fault",
    ),
    Fault(
        PHYSICAL,
        "exports more than the site may",
        ENVELOPE,
        edit(ENVELOPE, export_limit_kw=sees("export_limit_kw", 1)),
        "fault",
    ),
]

#: faults that only a wider look at other tables shows
WIDER_FAULTS = [
    Fault(PHYSICAL, "charges while it is away", ENVELOPE, lambda day: while_away(day, "max_charge_kw"), "fault"),
    Fault(PHYSICAL, "leaves without its ready charge", ENVELOPE, lambda day: not_ready(day), "fault"),
    Fault(PHYSICAL, "discharge limit above 0 in quiet hours", ENVELOPE, lambda day: in_quiet_hours(day), "fault"),
    Fault(PHYSICAL, "exports on an opt-out day", ENVELOPE, lambda day: on_opt_out(day), "fault"),
    Fault(
        PHYSICAL,
        "drives without using energy",
        ENVELOPE,
        edit(ENVELOPE, pl.col("drive_kwh") > 0, drive_kwh=0.0),
        "fault",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", WIDER_FAULTS, ids=str)
def test_the_wider_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_actual_prices_are_held_to_the_same_claim(solved_day: Callable[..., SolvedDay]) -> None:
    day = solved_day()
    one_day = day.tables["market.prices"].filter(market_date=DAY - timedelta(days=1))
    tables = day.with_table("market.prices", one_day)
    assert prices_are_complete_and_ordered(tables, day.settings, "market.prices").violations == 0
    short = day.with_table("market.prices", one_day.head(23))
    assert "1 missing" in prices_are_complete_and_ordered(short, day.settings, "market.prices").description
