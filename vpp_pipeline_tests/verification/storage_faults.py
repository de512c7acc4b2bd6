"""Faults of storage resources, each a table of the day tampered with, and the rule that finds it."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.bids import (
    bids_meet_80_percent_of_required_capacity,
    coalitions_have_enough_members,
    resources_bid_within_their_limits,
)
from vpp_pipeline.verification.certificate import storage_members_can_deliver_every_award
from vpp_pipeline.verification.money import money_adds_up
from vpp_pipeline.verification.negotiation import negotiations_follow_the_protocol
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice
from vpp_pipeline.verification.storage import (
    storage_curves_span_their_resource,
    storage_reserve_is_covered,
    storage_state_of_charge_is_consistent,
)
from vpp_pipeline_tests.verification.tampering import (
    BIDS,
    CALLS,
    DEALS,
    ENVELOPE,
    FLEET,
    PAID,
    POSITIONS,
    RESOURCES,
    SCHEDULE,
    SEGMENTS,
    Fault,
    Tamper,
    added,
    dropped,
    edit,
    edited,
    sees,
)

CURVES, COVERED = storage_curves_span_their_resource, storage_reserve_is_covered
CERTIFICATE, STATES = storage_members_can_deliver_every_award, storage_state_of_charge_is_consistent
LIMITS, PLAN, WHOLE = "dispatch.storage_limits", "dispatch.storage_plan", "dispatch.storage_resources"
SHARES, CLASSES, MEMBERS = "dispatch.storage_shares", "fleet.storage_classes", "fleet.storage_members"
BASELINE, CHARGING = "fleet.baseline", "dispatch.charging"
BID, ENERGY, SPIN = (
    pl.col("status") == "bid",
    pl.col("bid_id").str.contains("_energy_"),
    pl.col("bid_id").str.contains("_spin_"),
)
CHARGES, COVER = ENERGY & (pl.col("price_usd_per_mwh") == 0.0), ENERGY & (pl.col("price_usd_per_mwh") == 1_000.0)
SELLS = ENERGY & pl.col("price_usd_per_mwh").is_between(1.0, 999.0)
GIVES = pl.col("share_fraction").is_between(0.01, 0.9)


def more(column: str, part: float = 0.01) -> pl.Expr:
    return pl.col(column) * (1.0 + part)


def too_many_segments(day: Day) -> pl.DataFrame:
    """A segment of discharge cut into ten more."""
    rows = day[SEGMENTS]
    cut = rows.filter(SELLS).head(1)
    step = (cut["to_mw"] - cut["from_mw"]) / 11.0
    pieces = [
        cut.with_columns(
            from_mw=pl.col("from_mw") + k * step,
            to_mw=pl.when(pl.lit(k == 10)).then("to_mw").otherwise(pl.col("from_mw") + (k + 1) * step),
        )
        for k in range(11)
    ]
    rest = rows.join(cut, on=["bid_id", "segment"], how="anti")
    every = pl.concat([rest, *pieces]).sort("bid_id", "from_mw")
    return every.with_columns(segment=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("bid_id"))


def with_larger_share(day: Day, table: str, part: float) -> pl.DataFrame:
    """One member of each resource has a share that is larger by ``part``; the shares still add up to 1."""
    rows = day[table].sort("resource_id", "prosumer_id")
    one = (GIVES & (GIVES.cast(pl.Int32).cum_sum().over("resource_id") == 1)).fill_null(False)
    grown = pl.when(one).then(more("share_fraction", part)).otherwise("share_fraction")
    left = (1.0 - grown.filter(one).sum()) / (1.0 - pl.col("share_fraction").filter(one).sum())
    share = pl.when(one).then(grown).otherwise(pl.col("share_fraction") * left.over("resource_id"))
    return rows.with_columns(share_fraction=share).select(day[table].columns)


def both_ways(day: Day) -> pl.DataFrame:
    """A plan that charges what it discharges more in the same hour, at the same state of charge."""
    whole = day[WHOLE].select("resource_id", "charge_efficiency", "discharge_efficiency")
    out = pl.col("discharge_mw") > 0.01
    more_mw = 0.005 / (pl.col("charge_efficiency") * pl.col("discharge_efficiency"))
    rows = day[PLAN].join(whole, on="resource_id", maintain_order="left")
    rows = edited(rows, out, charge_mw=more_mw, discharge_mw=sees("discharge_mw", 0.005))
    return rows.select(day[PLAN].columns)


def unbacked(day: Day) -> pl.DataFrame:
    """Limits in which the state of charge may hardly fall below the plan in an hour that holds reserve."""
    held = day[PLAN].filter(pl.col("spin_mw") + pl.col("nonspin_mw") > 0.01).row(0, named=True)
    here = (pl.col("resource_id") == held["resource_id"]) & (pl.col("start_utc") == held["start_utc"])
    return edited(day[LIMITS], here, lowest_stored_mwh=held["stored_mwh"] - 0.001)


def below_plan(column: str, planned: pl.Expr) -> Tamper:
    """A limit of the day of the first resource that charges and discharges, which its plan does not keep."""

    def change(day: Day) -> pl.DataFrame:
        plans = day[PLAN].join(day[WHOLE], on="resource_id").group_by("resource_id", maintain_order=True)
        busy = plans.agg(value=planned, moved=pl.col("discharge_mw").sum()).filter(pl.col("moved") > 0.05)
        name, value = busy.row(0)[:2]
        return edited(day[WHOLE], pl.col("resource_id") == name, **{column: value})

    return change


def not_certified(day: Day) -> pl.DataFrame:
    """A certification below what a resource offers, and still above the least."""
    offered = day[BIDS].filter(BID, pl.col("product") == "spin").sort("total_capacity_mw")["resource_id"][-1]
    return edited(day[WHOLE], pl.col("resource_id") == offered, certified_spin_mw=0.1)


def swapped_resources(day: Day) -> pl.DataFrame:
    """A member of one resource in another."""
    last = day[MEMBERS]["resource_id"].max()
    return edited(day[MEMBERS], GIVES & (pl.col("resource_id") != last), resource_id=last)


FAULTS = [
    Fault(CURVES, "a gap", SEGMENTS, edit(SEGMENTS, SELLS, from_mw=sees("from_mw", 0.01)), "a gap in MW", None),
    Fault(CURVES, "charges more", SEGMENTS, edit(SEGMENTS, CHARGES, from_mw=sees("from_mw", -0.1)), "a gap in MW"),
    Fault(CURVES, "pays for charging", SEGMENTS, edit(SEGMENTS, CHARGES, price_usd_per_mwh=0.01), "price of charging"),
    Fault(
        CURVES, "below the members' price", SEGMENTS, edit(SEGMENTS, SELLS, price_usd_per_mwh=1.0), "of discharge", None
    ),
    Fault(
        CURVES,
        "two cents above the members' price",
        SEGMENTS,
        edit(SEGMENTS, SELLS, price_usd_per_mwh=sees("price_usd_per_mwh", 0.02)),
        "another price of discharge",
        None,
    ),
    Fault(CURVES, "cover for sale", SEGMENTS, edit(SEGMENTS, COVER, price_usd_per_mwh=999.99), "cover below", None),
    Fault(CURVES, "no cover", SEGMENTS, dropped(SEGMENTS, COVER), "does not span|not one curve", None),
    Fault(CURVES, "twelve segments", SEGMENTS, too_many_segments, "too many segments", None),
    Fault(
        CURVES,
        "charging dearer than discharging",
        SEGMENTS,
        edit(SEGMENTS, CHARGES, price_usd_per_mwh=900.0),
        "price falls|price of charging",
        None,
    ),
    Fault(CURVES, "beyond the cap", SEGMENTS, edit(SEGMENTS, COVER, price_usd_per_mwh=1_001.0), "outside the", None),
    Fault(
        CURVES,
        "another mean price",
        LIMITS,
        edit(LIMITS, discharge_price_usd_per_mwh=sees("discharge_price_usd_per_mwh", -1.0)),
        "another price of discharge|not the mean call price",
        None,
    ),
    Fault(
        CURVES,
        "another mean price of a reserve by a tenth of a cent",
        LIMITS,
        edit(LIMITS, pl.col("spin_usd_per_mw_h") > 0, spin_usd_per_mw_h=sees("spin_usd_per_mw_h", 0.001)),
        "price of spin is not the mean call price",
        None,
    ),
    Fault(
        CURVES,
        "a deal at another floor",
        DEALS,
        lambda day: day[DEALS].with_columns(floor_price_usd_per_mwh=pl.col("floor_price_usd_per_mwh") + 1.0),
        "not the mean call price",
        None,
    ),
    Fault(
        CURVES,
        "reserve at another price",
        SEGMENTS,
        edit(SEGMENTS, SPIN, price_usd_per_mwh=sees("price_usd_per_mwh", 0.02)),
        "another price of spin",
        None,
    ),
    Fault(
        CURVES,
        "reserve of other MW",
        SEGMENTS,
        edit(SEGMENTS, SPIN, to_mw=sees("to_mw", 0.01)),
        "another segment",
        None,
    ),
    Fault(
        CURVES,
        "another bid price",
        BIDS,
        edit(BIDS, BID, bid_price_usd_per_mwh=sees("bid_price_usd_per_mwh", 0.01)),
        "bid price is not",
    ),
    Fault(
        CURVES, "offers more discharge", POSITIONS, edit(POSITIONS, quantity_mw=sees("quantity_mw", 0.001)), "", None
    ),
    Fault(CURVES, "limits of no such resource", LIMITS, added(LIMITS, resource_id="vpp-99"), "no such one", None),
    Fault(COVERED, "certified for less", WHOLE, not_certified, "spin beyond its certification", None),
    Fault(COVERED, "certified in parts", RESOURCES, edit(RESOURCES, certified_nonspin_mw=0.2), "more in parts"),
    Fault(COVERED, "a shorter call", WHOLE, edit(WHOLE, call_hours=0.5), "call of another length", None),
    Fault(COVERED, "an empty store", LIMITS, unbacked, "not backed", None),
    Fault(
        COVERED,
        "nothing backs the first hour",
        WHOLE,
        lambda day: day[WHOLE].with_columns(first_backing_mwh=pl.lit(0.0)),
        "not backed before the hour",
        None,
    ),
    Fault(
        COVERED,
        "plans more than it bids",
        PLAN,
        edit(PLAN, pl.col("spin_mw") > 0.01, spin_mw=sees("spin_mw", 0.5)),
        "beyond the curve",
        None,
    ),
    Fault(COVERED, "a curve too short", SEGMENTS, dropped(SEGMENTS, COVER), "without a curve that covers it", None),
    Fault(
        CERTIFICATE,
        "a share 1% too large",
        SHARES,
        lambda day: with_larger_share(day, SHARES, 0.01),
        "another share than its class's|asked for",
        None,
    ),
    Fault(
        CERTIFICATE, "shares above 1", SHARES, edit(SHARES, GIVES, share_fraction=more("share_fraction")), "sum", None
    ),
    Fault(
        CERTIFICATE,
        "a member that comes less often",
        FLEET,
        lambda day: day[FLEET].with_columns(availability_fraction=pl.col("availability_fraction") * 0.99),
        "more sun than is expected",
        None,
    ),
    Fault(
        CERTIFICATE,
        "fewer cycles",
        FLEET,
        lambda day: day[FLEET].with_columns(maximum_cycles_per_day=pl.col("maximum_cycles_per_day") * 0.5),
        "asked for .* of cycles",
        None,
    ),
    Fault(
        CERTIFICATE,
        "a higher floor",
        ENVELOPE,
        lambda day: day[ENVELOPE].with_columns(min_stored_kwh=more("min_stored_kwh", 0.02)),
        "asked for|baseline falls below",
        None,
    ),
    Fault(
        CERTIFICATE,
        "more reserve beside its share",
        BASELINE,
        lambda day: day[BASELINE].with_columns(spare_reserve_kw=more("spare_reserve_kw")),
        "asked for",
        None,
    ),
    Fault(
        CERTIFICATE,
        "reserve that nobody holds",
        LIMITS,
        edit(LIMITS, reserve_beyond_mw=sees("reserve_beyond_mw", 0.1)),
        "more reserve beside its power than members hold",
        None,
    ),
    Fault(
        CERTIFICATE,
        "wider limits",
        LIMITS,
        lambda day: day[LIMITS].with_columns(max_charge_mw=more("max_charge_mw", 0.05)),
        "asked for .* of charge",
        None,
    ),
    Fault(
        CERTIFICATE, "a fuller baseline", BASELINE, edit(BASELINE, stored_kwh=sees("stored_kwh", 1.0)), "states another"
    ),
    Fault(
        CERTIFICATE, "an hour without a baseline", BASELINE, lambda day: day[BASELINE].slice(1), "of another hour", None
    ),
    Fault(CERTIFICATE, "a member of no resource", MEMBERS, dropped(MEMBERS, GIVES), "in no storage resource|sum", None),
    Fault(CERTIFICATE, "a member of two", SHARES, added(SHARES, GIVES, resource_id="vpp-01"), "has two shares", None),
    Fault(CERTIFICATE, "a member of another resource", MEMBERS, swapped_resources, "of others|sum", None),
    Fault(
        CERTIFICATE,
        "a member of another pool",
        FLEET,
        edit(FLEET, resource_id="north"),
        "in a storage resource of another pool",
    ),
    Fault(CERTIFICATE, "bound and not", SHARES, edit(SHARES, GIVES, is_bound=False), "a share without a deal", None),
    Fault(
        CERTIFICATE,
        "a deal for less than its part",
        DEALS,
        lambda day: day[DEALS].with_columns(committed_capacity_kw=pl.col("committed_capacity_kw") * 0.2),
        "more than its deal",
        None,
    ),
    Fault(
        STATES, "energy from nowhere", PLAN, edit(PLAN, stored_mwh=sees("stored_mwh", 0.01)), "does not follow", None
    ),
    Fault(
        STATES,
        "charges for nothing",
        PLAN,
        edit(PLAN, pl.col("charge_mw") > 0.01, charge_mw=sees("charge_mw", -0.005)),
        "does not follow",
        None,
    ),
    Fault(STATES, "both at once", PLAN, both_ways, "charges and discharges at once", None),
    Fault(
        STATES,
        "a better store",
        WHOLE,
        edit(WHOLE, pl.col("bound_members") > 0, discharge_efficiency=sees("discharge_efficiency", 0.001)),
        "other efficiencies|does not follow",
        None,
    ),
    Fault(
        STATES,
        "more discharge in the day than it may",
        WHOLE,
        below_plan("daily_discharge_mwh", (pl.col("discharge_mw") / pl.col("discharge_efficiency")).sum() - 0.01),
        "discharges more than in a day it may",
        None,
    ),
    Fault(
        STATES,
        "ends too low",
        WHOLE,
        below_plan("final_stored_mwh", pl.col("stored_mwh").last() + 0.01),
        "ends below the least",
        1,
    ),
    Fault(
        STATES,
        "room that the class has not",
        LIMITS,
        edit(LIMITS, highest_stored_mwh=sees("highest_stored_mwh", 0.001)),
        "above wider than its class",
    ),
    Fault(
        STATES,
        "more cycles than the class has",
        WHOLE,
        edit(WHOLE, daily_discharge_mwh=sees("daily_discharge_mwh", 0.001)),
        "cycles wider than its class",
        None,
    ),
    Fault(STATES, "an hour without a plan", PLAN, lambda day: day[PLAN].slice(1), "of another hour, or none", None),
    Fault(STATES, "no such resource", WHOLE, dropped(WHOLE, pl.col("members") > 0), "not in dispatch", None),
    Fault(STATES, "a resource twice", WHOLE, added(WHOLE), "twice in dispatch.storage_resources", None),
    Fault(STATES, "a plan of no such resource", PLAN, added(PLAN, resource_id="vpp-99"), "no such one", None),
    Fault(
        STATES,
        "members do otherwise",
        SCHEDULE,
        edit(SCHEDULE, pl.col("discharge_kw") > 20.0, discharge_kw=sees("discharge_kw", -15.0)),
        "members discharge another quantity",
        1,
    ),
]

#: of rules that hold hourly bids as well
OF_OTHER_RULES = [
    Fault(
        bids_meet_80_percent_of_required_capacity,
        "half of R",
        BIDS,
        edit(BIDS, BID, total_capacity_mw=0.5 * pl.col("required_capacity_mw")),
        "outside 80-100% of R",
    ),
    Fault(
        bids_meet_80_percent_of_required_capacity,
        "reserve of nothing",
        BIDS,
        edit(BIDS, BID & (pl.col("product") == "spin"), total_capacity_mw=0.0),
        "outside 80-100% of R",
    ),
    Fault(
        bids_meet_80_percent_of_required_capacity,
        "a product that is closed",
        CALLS,
        lambda day: day[CALLS].with_columns(closed_reason=pl.lit("closed")),
        "outside 80-100% of R",
        None,
    ),
    Fault(
        bids_meet_80_percent_of_required_capacity,
        "a resource below the market's minimum",
        CALLS,
        lambda day: day[CALLS].with_columns(required_capacity_mw=pl.lit(0.09)),
        "outside 80-100% of R",
        None,
    ),
    Fault(
        bids_meet_80_percent_of_required_capacity,
        "another expectation than is planned",
        BIDS,
        edit(BIDS, BID, expected_mw=sees("expected_mw", 0.001)),
        "outside 80-100% of R",
    ),
    Fault(
        coalitions_have_enough_members,
        "one member more",
        BIDS,
        edit(BIDS, BID & (pl.col("coalition_size") > 0), coalition_size=sees("coalition_size", 1)),
        "too small or miscounted",
    ),
    Fault(
        coalitions_have_enough_members,
        "nobody has a deal",
        DEALS,
        lambda day: day[DEALS].with_columns(holds_option=pl.lit(False)),
        "too small or miscounted",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "a smaller Pmax",
        RESOURCES,
        edit(RESOURCES, maximum_mw=0.5),
        "more than its Pmax",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "a smaller Pmin",
        RESOURCES,
        edit(RESOURCES, minimum_mw=-0.1),
        "less than its Pmin",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "a smaller certification",
        RESOURCES,
        edit(RESOURCES, certified_spin_mw=0.1),
        "spin beyond its certification",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "a pool that takes part hour by hour",
        RESOURCES,
        edit(RESOURCES, participation="hourly"),
        "no such resource",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "a class of no pool",
        CLASSES,
        lambda day: day[CLASSES].with_columns(pool_id=pl.lit("north")),
        "no such resource",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "an opportunity that takes part otherwise",
        CALLS,
        edit(CALLS, participation="hourly"),
        "takes part otherwise",
    ),
    Fault(
        no_kilowatt_hour_is_sold_twice,
        "charging that is in no bid",
        SCHEDULE,
        edit(SCHEDULE, grid_charge_kw=sees("grid_charge_kw", 15.0)),
        "members deliver a different quantity",
    ),
    Fault(
        no_kilowatt_hour_is_sold_twice,
        "another expectation than is delivered",
        POSITIONS,
        edit(POSITIONS, expected_mw=sees("expected_mw", 0.02)),
        "members deliver a different quantity",
    ),
    Fault(
        no_kilowatt_hour_is_sold_twice,
        "a deal for less than is delivered",
        DEALS,
        lambda day: day[DEALS].with_columns(committed_capacity_kw=pl.col("committed_capacity_kw") * 0.2),
        "beyond its commitment",
        None,
    ),
    Fault(
        money_adds_up,
        "revenue of what is offered",
        BIDS,
        edit(
            BIDS,
            BID & (pl.col("expected_mw") < 0),
            expected_revenue_usd=pl.col("forecast_price") * pl.col("total_capacity_mw"),
        ),
        "fault revenue",
        None,
    ),
    Fault(
        money_adds_up,
        "no cost of the baseline",
        CHARGING,
        edit(
            CHARGING,
            pl.col("no_sale_charging_usd") > 0,
            no_sale_charging_usd=0.0,
            to_recover_usd=pl.col("charging_usd"),
        ),
        "charging without sales",
        None,
    ),
    Fault(
        money_adds_up,
        "a delivery that is not paid",
        PAID,
        dropped(PAID, pl.col("dispatched_kwh") > 1),
        "fault payments",
        None,
    ),
    Fault(
        negotiations_follow_the_protocol,
        "summary of another R",
        CALLS,
        edit(CALLS, required_capacity_mw=more("required_capacity_mw")),
        "summary does not match",
        None,
    ),
]
