"""The 80 % rule, coalitions, curves and time: each breach is found out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.bids import (
    bid_curves_are_valid_for_caiso,
    bids_meet_80_percent_of_required_capacity,
    bids_were_ready_before_the_deadline,
    coalitions_have_enough_members,
    resources_bid_within_their_limits,
)
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import DAY
from vpp_pipeline_tests.verification.tampering import (
    BIDS,
    FLEET,
    FORECAST,
    PAID,
    RESOURCES,
    SEGMENTS,
    Fault,
    Tamper,
    added,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

EIGHTY = bids_meet_80_percent_of_required_capacity
COALITION = coalitions_have_enough_members
CURVES = bid_curves_are_valid_for_caiso
READY = bids_were_ready_before_the_deadline
BID, NO_BID = pl.col("status") == "bid", pl.col("status") == "no_bid"
NOON = BID & (pl.col("opportunity_id") == "energy_20230815_1200")  # R = 2 MW
SPIN = BID & (pl.col("product") == "spin")
OUTSIDE = "bids outside 80-100% of R; first: bid_id vpp_bid_"
ENERGY_CURVES = pl.col("bid_id").str.contains("energy")
SECOND = ENERGY_CURVES & (pl.col("segment") == 2)


FIRST = pl.col("segment") == 1


def keep_members(day: Day, count: int) -> pl.DataFrame:
    """Payments with only ``count`` members left in the first bid."""
    first = day[PAID]["opportunity_id"][0]
    mine = day[PAID].filter(opportunity_id=first)
    return pl.concat([mine.head(count), day[PAID].filter(pl.col("opportunity_id") != first)])


def last_of_second(day: Day) -> pl.Expr:
    """The last segment of a curve with several."""
    several = day[SEGMENTS].filter(SECOND)["bid_id"][0]
    last = day[SEGMENTS].filter(bid_id=several)["segment"].max()
    return (pl.col("bid_id") == several) & (pl.col("segment") == last)


def curve_edit(**changes: Any) -> Tamper:
    return lambda day: edited(day[SEGMENTS], last_of_second(day), **changes)


def short_first_segment(day: Day) -> pl.DataFrame:
    """The first segment ends at half of it, the second begins there."""
    several = pl.col("bid_id") == day[SEGMENTS].filter(SECOND)["bid_id"][0]
    half_mw = day[SEGMENTS].filter(several & FIRST)["to_mw"][0] / 2.0
    ended = edited(day[SEGMENTS], several & FIRST, to_mw=half_mw)
    return edited(ended, several & (pl.col("segment") == 2), from_mw=half_mw)


def two_segments_of_reserve(day: Day) -> pl.DataFrame:
    spin = day[SEGMENTS].filter(pl.col("bid_id").str.contains("_spin_")).head(1)
    second = spin.with_columns(segment=pl.lit(2, pl.Int32), from_mw=pl.col("to_mw"), to_mw=pl.col("to_mw") + 0.1)
    return pl.concat([day[SEGMENTS], second])


def most_offered_mw(day: Day) -> float:
    """What is offered of all products in the hour with most; every block is an hour long."""
    return float(
        day[BIDS].filter(BID).group_by("start_utc").agg(pl.col("total_capacity_mw").sum())["total_capacity_mw"].max()
    )


FAULTS = [
    Fault(
        resources_bid_within_their_limits,
        "a member of another resource is called",
        FLEET,
        lambda day: edited(day[FLEET], pl.col("prosumer_id") == day[PAID]["prosumer_id"][0], resource_id="north"),
        "bids beyond the limits of their resource.*is no member of it",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "spin beyond certification",
        RESOURCES,
        edit(RESOURCES, certified_spin_mw=0.01),
        "bids beyond the limits of their resource.*spin beyond its certification",
        None,
    ),
    Fault(
        resources_bid_within_their_limits,
        "one hour beyond Pmax",
        RESOURCES,
        lambda day: edited(day[RESOURCES], pl.lit(True), maximum_mw=most_offered_mw(day) - 0.01),
        "1 bids beyond the limits of their resource.*more than its Pmax",
    ),
    Fault(
        EIGHTY,
        "offers 79 % of R",
        BIDS,
        edit(BIDS, NOON, total_capacity_mw=1.58),
        f"1 {OUTSIDE}.*total_capacity_mw 1.58, required_capacity_mw 2.0",
    ),
    Fault(
        EIGHTY,
        "offers more than R",
        BIDS,
        edit(BIDS, NOON, total_capacity_mw=2.01),
        f"{OUTSIDE}.*total_capacity_mw 2.01",
    ),
    Fault(
        EIGHTY,
        "offers between two steps",
        BIDS,
        edit(BIDS, NOON, total_capacity_mw=1.805),
        f"{OUTSIDE}.*total_capacity_mw 1.805",
    ),
    Fault(
        EIGHTY,
        "offers below the market's minimum of reserve",
        BIDS,
        edit(BIDS, SPIN, required_capacity_mw=0.5, total_capacity_mw=0.49),
        f"{OUTSIDE}.*total_capacity_mw 0.49",
    ),
    Fault(
        EIGHTY,
        "offers below the market's minimum of energy",
        BIDS,
        edit(BIDS, NOON, required_capacity_mw=0.1, total_capacity_mw=0.09),
        f"{OUTSIDE}.*total_capacity_mw 0.09, required_capacity_mw 0.1",
    ),
    Fault(
        EIGHTY,
        "a row without a bid has MW",
        BIDS,
        edit(BIDS, NO_BID, total_capacity_mw=0.5),
        f"{OUTSIDE}.*total_capacity_mw 0.5",
    ),
    Fault(EIGHTY, "a row without a bid has revenue", BIDS, edit(BIDS, NO_BID, expected_revenue_usd=0.01), OUTSIDE),
    Fault(COALITION, "a coalition of two", PAID, lambda day: keep_members(day, 2), r"coalition_size \d+, found 2"),
    Fault(COALITION, "a coalition of nobody", PAID, lambda day: keep_members(day, 0), r"coalition_size \d+, found 0"),
    Fault(
        COALITION,
        "a member too many is claimed",
        BIDS,
        edit(BIDS, BID, coalition_size=sees("coalition_size", 1)),
        "too small or miscounted",
    ),
    Fault(
        READY,
        "a price from after the deadline",
        FORECAST,
        edit(FORECAST, latest_input_utc=bid_deadline_utc(DAY) + timedelta(hours=3)),
        "1 hours or bids after the deadline; .*2023-08-14 20:00",
    ),
    Fault(
        READY,
        "a price from the very deadline",
        FORECAST,
        edit(FORECAST, latest_input_utc=bid_deadline_utc(DAY)),
        "1 hours or bids after the deadline",
    ),
    Fault(
        CURVES,
        "a bid without a curve",
        SEGMENTS,
        lambda day: day[SEGMENTS].filter(pl.col("bid_id") != day[SEGMENTS]["bid_id"][0]),
        "fault no curve, or no bid",
        None,
    ),
    Fault(
        CURVES,
        "a curve without a bid",
        SEGMENTS,
        added(SEGMENTS, FIRST, bid_id="vpp_bid_nobody"),
        "bid_id vpp_bid_nobody, segment 1, fault no curve, or no bid",
        None,
    ),
    Fault(
        CURVES,
        "a gap",
        SEGMENTS,
        edit(SEGMENTS, SECOND, from_mw=sees("from_mw", 0.001)),
        "segment 2, fault a gap in MW",
    ),
    Fault(
        CURVES,
        "an overlap",
        SEGMENTS,
        edit(SEGMENTS, SECOND, from_mw=sees("from_mw", -0.01)),
        "segment 2, fault a gap in MW",
    ),
    Fault(CURVES, "does not begin at 0", SEGMENTS, edit(SEGMENTS, FIRST, from_mw=0.05), "segment 1, fault a gap in MW"),
    Fault(CURVES, "an empty segment", SEGMENTS, curve_edit(to_mw=pl.col("from_mw")), "fault MW do not rise", 3),
    Fault(CURVES, "a price falls", SEGMENTS, curve_edit(price_usd_per_mwh=1.0), "fault price falls", 2),
    Fault(
        CURVES,
        "a price a cent above that of the dearest member",
        SEGMENTS,
        curve_edit(price_usd_per_mwh=sees("price_usd_per_mwh", 0.01)),
        "fault price is not that of the dearest member",
    ),
    Fault(
        CURVES,
        "members are called for more than is asked",
        PAID,
        lambda day: day[PAID].with_columns(pl.col("call_price_usd_per_mwh") + 300.0),
        "fault first price below average cost",
        None,
    ),
    Fault(
        CURVES,
        "a bid of energy without members",
        PAID,
        lambda day: day[PAID].filter(~pl.col("opportunity_id").str.contains("energy")),
        "fault price is not that of the dearest member",
        None,
    ),
    Fault(
        CURVES,
        "energy above its cap",
        SEGMENTS,
        curve_edit(price_usd_per_mwh=1000.01),
        "fault price outside the limits",
        2,  # and above that of the dearest member
    ),
    Fault(
        CURVES,
        "energy below its floor",
        SEGMENTS,
        edit(SEGMENTS, ENERGY_CURVES & FIRST, price_usd_per_mwh=-150.01),
        "fault price outside the limits",
        3,
    ),
    Fault(
        CURVES,
        "reserve above its cap",
        SEGMENTS,
        edit(SEGMENTS, pl.col("bid_id").str.contains("_spin_"), price_usd_per_mwh=250.01),
        "fault price outside the limits",
        2,
    ),
    Fault(
        CURVES,
        "reserve below its floor",
        SEGMENTS,
        edit(SEGMENTS, pl.col("bid_id").str.contains("_spin_"), price_usd_per_mwh=-0.01),
        "fault price outside the limits",
        3,
    ),
    Fault(CURVES, "an eleventh segment", SEGMENTS, curve_edit(segment=11), "segment 11, fault too many segments"),
    Fault(
        CURVES, "two segments of reserve", SEGMENTS, two_segments_of_reserve, "segment 2, fault too many segments", 2
    ),
    Fault(
        CURVES,
        "ends short of the bid",
        SEGMENTS,
        curve_edit(to_mw=sees("to_mw", -0.001)),
        "fault curve does not end at the bid's MW",
    ),
    Fault(
        CURVES,
        "the bid grows beyond its curve",
        BIDS,
        edit(BIDS, BID & (pl.col("product") == "nonspin"), total_capacity_mw=sees("total_capacity_mw", 0.01)),
        "fault curve does not end at the bid's MW",
    ),
    Fault(
        CURVES,
        "a first segment below 80% of R",
        SEGMENTS,
        short_first_segment,
        "segment 1, fault first segment below 80% of R",
    ),
    Fault(
        CURVES,
        "a first price below average cost",
        PAID,
        edit(PAID, charging_cost_usd=sees("charging_cost_usd", 1000)),
        "segment 1, fault first price below average cost",
        None,
    ),
    Fault(
        CURVES,
        "another bid price than the first",
        BIDS,
        edit(BIDS, BID, bid_price_usd_per_mwh=sees("bid_price_usd_per_mwh", 0.01)),
        "segment 1, fault bid price is not the first price",
    ),
    Fault(
        EIGHTY,
        "the bid states a smaller R than was asked",
        BIDS,
        edit(BIDS, NOON, required_capacity_mw=1.0, total_capacity_mw=0.8),
        OUTSIDE,
    ),
    Fault(EIGHTY, "a product that the market lacks", BIDS, edit(BIDS, NOON, product="regup"), f"1 {OUTSIDE}"),
    Fault(EIGHTY, "a row without a bid has payments", BIDS, edit(BIDS, NO_BID, payments_usd=5.0), OUTSIDE),
    Fault(EIGHTY, "a row without a bid has a price", BIDS, edit(BIDS, NO_BID, bid_price_usd_per_mwh=5.0), OUTSIDE),
]

#: faults that only a wider look at other tables shows
WIDER_FAULTS = [
    Fault(EIGHTY, "an opportunity has no row", BIDS, dropped(BIDS, NO_BID), "bids", None),
    Fault(EIGHTY, "another MW than the optimiser's", BIDS, edit(BIDS, NOON, total_capacity_mw=1.99), "bids outside"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", WIDER_FAULTS, ids=str)
def test_the_wider_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize(
    ("minutes_late", "is_scheduled", "passes"), [(1, True, False), (1, False, True), (0, True, True)]
)
def test_only_a_scheduled_run_must_be_early(
    honest: SolvedDay, minutes_late: int, is_scheduled: bool, passes: bool
) -> None:
    made = bid_deadline_utc(DAY) + timedelta(minutes=minutes_late)
    tables = honest.with_table(BIDS, edited(honest.tables[BIDS], pl.lit(True), created_utc=made))
    result = verify(tables, honest.settings, is_scheduled=is_scheduled)[READY.__name__]
    assert result.passed == passes
    assert result.violations == (0 if passes else 1)
    assert passes or f"{made:%H:%M}" in result.description
