"""Every kWh is sold once, to one buyer, by someone who agreed, and is paid: each that is not is found out."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.verification.tampering import (
    CALLS,
    DEAL,
    DEALS,
    PAID,
    POSITIONS,
    SCHEDULE,
    Fault,
    added,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

SOLD = no_kilowatt_hour_is_sold_twice
TRADED = pl.col("is_bid")
NOON = (pl.col("status") == "bid") & (pl.col("opportunity_id") == "energy_20230815_1200")  # R = 2 MW


def below_dispatch(day: Day, by: float) -> pl.DataFrame:
    """Agreements with one member's commitment below what it delivers."""
    member = day[PAID].filter(pl.col("dispatched_kw") > by + 1).row(0, named=True)
    mine = (pl.col("opportunity_id") == member["opportunity_id"]) & (pl.col("prosumer_id") == member["prosumer_id"])
    return edited(day[DEALS], mine, committed_capacity_kw=member["dispatched_kw"] - by)


def sale_without_bid(day: Day, kw: float) -> pl.DataFrame:
    """A schedule in which someone sells energy in an hour without an energy bid."""
    idle = (
        day[POSITIONS].join(day[CALLS], on="opportunity_id").filter((pl.col("product") == "energy") & ~pl.col("is_bid"))
    )
    return edited(day[SCHEDULE], pl.col("start_utc") == idle["start_utc"][0], discharge_kw=kw)


def charging_while_selling(day: Day, kw: float) -> pl.DataFrame:
    """A schedule in which more is charged in an hour in which the fleet sells energy."""
    sold = (
        day[POSITIONS].join(day[CALLS], on="opportunity_id").filter((pl.col("product") == "energy") & pl.col("is_bid"))
    )
    return edited(day[SCHEDULE], pl.col("start_utc") == sold["start_utc"][0], grid_charge_kw=sees("grid_charge_kw", kw))


def longer_block(day: Day) -> pl.DataFrame:
    """Opportunities with the first of spin reaching into the hour of the second."""
    return edited(day[CALLS], pl.col("product") == "spin", duration_hours=2)


def swapped_delivery(day: Day) -> pl.DataFrame:
    """Payments in which 1 kWh moves from one member of a bid to another, each paid its own price for what it gets."""
    first = day[PAID].filter(
        (pl.col("dispatched_kwh") > 2) & (pl.col("opportunity_id") == day[PAID]["opportunity_id"][0])
    )
    by = dict(zip(first["prosumer_id"][:2], (1.0, -1.0), strict=True))
    moved = (
        pl.when(pl.col("opportunity_id") == first["opportunity_id"][0])
        .then(pl.col("prosumer_id").replace_strict(by, default=0.0))
        .otherwise(0.0)
    )
    return day[PAID].with_columns(
        dispatched_kwh=pl.col("dispatched_kwh") + moved, dispatched_kw=pl.col("dispatched_kw") + moved
    )


FAULTS = [
    Fault(
        SOLD,
        "sells beyond its commitment",
        DEALS,
        lambda day: below_dispatch(day, 1.0),
        r"prosumer_\d+ sells .* kW beyond its commitment at 2023-08-1",
    ),
    Fault(
        SOLD,
        "sells without an agreement",
        DEALS,
        lambda day: day[DEALS].join(day[PAID].head(1), on=DEAL, how="anti"),
        "beyond its commitment",
    ),
    Fault(
        SOLD,
        "sells without a bid",
        POSITIONS,
        edit(POSITIONS, TRADED, is_bid=False, quantity_mw=0.0),
        "beyond its commitment",
        None,
    ),
    Fault(
        SOLD,
        "sells in an hour nobody bid for",
        SCHEDULE,
        lambda day: sale_without_bid(day, 2.0),
        r"prosumer_\d+ sells 2\.0 kW beyond its commitment",
        None,
    ),
    Fault(
        SOLD,
        "the bid is more than members deliver",
        POSITIONS,
        edit(POSITIONS, TRADED, quantity_mw=sees("quantity_mw", 0.01)),
        "members deliver a different quantity",
    ),
    Fault(
        SOLD,
        "the bid is less than members deliver",
        POSITIONS,
        edit(POSITIONS, TRADED, quantity_mw=sees("quantity_mw", -0.01)),
        "members deliver a different quantity",
    ),
    Fault(
        SOLD,
        "charging eats what is sold",
        SCHEDULE,
        lambda day: charging_while_selling(day, 50.0),
        "energy_.*: members deliver a different quantity",
    ),
    Fault(SOLD, "an hour is sold to two buyers", CALLS, lambda day: longer_block(day), "two opportunities share", None),
    Fault(SOLD, "a delivery is not paid", PAID, dropped(PAID, pl.col("dispatched_kwh") > 1), r"kWh sold, .* kWh paid"),
    Fault(SOLD, "a delivery is paid twice", PAID, added(PAID, pl.col("dispatched_kwh") > 1), r"kWh sold, .* kWh paid"),
]

#: faults that only a wider look at other tables shows
WIDER_FAULTS = [
    Fault(
        SOLD, "one member is paid for the delivery of another", PAID, lambda day: swapped_delivery(day), "paid", None
    ),
    Fault(
        SOLD,
        "a payment's power is not its energy",
        PAID,
        edit(PAID, dispatched_kw=sees("dispatched_kw", 1)),
        "dispatched|paid",
        None,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", WIDER_FAULTS, ids=str)
def test_the_wider_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)
