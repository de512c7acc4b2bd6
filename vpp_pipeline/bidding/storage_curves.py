"""Curves of storage bids, from the limits and prices of each resource in each hour.

    energy     [sun − charge, sun]            the most that is paid for charging
               [sun, sun + discharge]         the mean call price of the members
               [sun + discharge, … + beyond]  the market's cap, where members hold reserve beyond that power
    reserve    one pair each, over the same MW: the market awards no more than there is

The sun that is sold is a self-schedule, where the curve begins. CAISO wants reserve covered by an energy bid, so the
curve spans all that energy and reserves may be awarded together.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.bidding.curves import CENT, asked_price
from vpp_pipeline.core.arrays import round_down
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.tables import AGGREGATED, BOUND, Day
from vpp_pipeline.schemas import BidSegments, validate
from vpp_pipeline.settings import MarketRules

HOUR = ["resource_id", "start_utc"]
DIGITS = 9
RESOURCES, SHARES, LIMITS, _ = BOUND
BASELINE = AGGREGATED[-1]
_SEGMENTS = {
    "market_date": pl.Date,
    "bid_id": pl.String,
    "segment": pl.Int32,
    "from_mw": pl.Float64,
    "to_mw": pl.Float64,
    "price_usd_per_mwh": pl.Float64,
}


def storage_segments(bids: pl.DataFrame, storage: Day, rules: MarketRules) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.BidSegments` of storage ``bids``.

    ``bids``: bid_id, market_date, product, resource_id, start_utc, total_capacity_mw. ``storage``: the day's tables of
    storage resources.
    """
    floor, cap = rules.price_limits("energy")
    hours = _awardable(bids, storage[LIMITS].drop("market_date"))
    rows = []
    for bid in bids.join(hours, on=HOUR, how="left").sort("bid_id").iter_rows(named=True):
        if bid["product"] == "energy":
            curve = _energy(bid, floor, cap)
        else:
            price = bid[CAISO.product(bid["product"]).price_column]
            curve = [(0.0, bid["total_capacity_mw"], asked_price(price, bid["product"], rules))]
        spans = [(round(low, DIGITS), round(high, DIGITS), price) for low, high, price in curve]
        for number, span in enumerate((span for span in spans if span[1] > span[0]), start=1):
            rows.append((bid["market_date"], bid["bid_id"], number, *span))
    return validate(BidSegments, pl.DataFrame(rows, schema=_SEGMENTS, orient="row"))


def _energy(bid: dict[str, float], floor: float, cap: float) -> list[tuple[float, float, float]]:
    """From, to, and price of each segment; one of no width counts for nothing."""
    sun_mw, discharge_mw = bid["self_schedule_mw"], bid["max_discharge_mw"]
    charge_price = max(float(round_down(bid["charge_price_usd_per_mwh"], CENT)), floor)
    curve = [(sun_mw - bid["max_charge_mw"], sun_mw, charge_price)]
    if discharge_mw > 0.0:
        asked = np.ceil(round(bid["discharge_price_usd_per_mwh"] / CENT, 6)) * CENT
        curve.append((sun_mw, sun_mw + discharge_mw, round(float(min(max(asked, charge_price, floor), cap)), 2)))
    curve.append((sun_mw + discharge_mw, sun_mw + bid["covered_mw"], cap))
    return curve


def first_prices(curves: pl.DataFrame, bids: pl.DataFrame, storage: Day) -> pl.DataFrame:
    """bid_id, bid_price_usd_per_mwh: price of the first segment that sells."""
    begins = pl.when(pl.col("product") == "energy").then("self_schedule_mw").otherwise(0.0)
    placed = bids.join(storage[LIMITS], on=HOUR, how="left").filter(pl.col("total_capacity_mw") > 0.0)
    curves = curves.join(placed.select("bid_id", begins=begins), on="bid_id")
    selling = curves.filter(pl.col("from_mw") >= pl.col("begins") - 1e-9)
    first = selling.sort("bid_id", "segment").group_by("bid_id", maintain_order=True).first()
    return first.select("bid_id", bid_price_usd_per_mwh="price_usd_per_mwh")


def told_of_storage(bids: pl.DataFrame, storage: Day) -> pl.DataFrame:
    """``bids`` with what each energy bid of a storage resource offers in its `reason`."""
    placed = bids.join(storage[LIMITS].drop("market_date"), on=HOUR, how="left")
    cleared = pl.col("expected_mw") - pl.col("self_schedule_mw")
    does = (
        pl.when(cleared > 1e-6)
        .then(pl.format("discharges {} MW", cleared.round(3)))
        .when(cleared < -1e-6)
        .then(pl.format("charges {} MW", (-cleared).round(3)))
        .otherwise(pl.lit("does neither"))
    )
    of_energy = pl.format(
        "offers to charge up to {} MW and to discharge up to {} MW, beside {} MW of sun; at the forecast it {}",
        pl.col("max_charge_mw").round(3),
        pl.col("max_discharge_mw").round(3),
        pl.col("self_schedule_mw").round(3),
        does,
    )
    of_reserve = pl.format(
        "offers {} MW, as far as the market leaves it beside energy; at the forecast {} MW clear",
        pl.col("total_capacity_mw").round(3),
        pl.col("expected_mw").round(3),
    )
    is_bid = (pl.col("status") == "bid") & (pl.col("participation") == "storage").fill_null(False)
    words = pl.when(pl.col("product") == "energy").then(of_energy).otherwise(of_reserve)
    return placed.with_columns(reason=pl.when(is_bid).then(words).otherwise("reason")).select(bids.columns)


def member_power(bids: pl.DataFrame, storage: Day, fleet: pl.DataFrame) -> pl.DataFrame:
    """What each member could give to each of ``bids`` that sells, if it comes: could_kw, `availability_fraction`."""
    devices = fleet.select("prosumer_id", "availability_fraction", "discharge_efficiency")
    members = storage[SHARES].filter("is_bound").select("prosumer_id", "resource_id", "share_fraction")
    of_resource = storage[RESOURCES].select("resource_id", efficiency="discharge_efficiency")
    members = members.join(devices, on="prosumer_id").join(of_resource, on="resource_id")
    hours = _awardable(bids, storage[LIMITS]).select(*HOUR, "max_discharge_mw", "reserve_beyond_mw", "held_mw")
    baseline = storage[BASELINE].select("prosumer_id", "start_utc", "spare_reserve_kw")
    selling = bids.filter(pl.col("total_capacity_mw") > 0.0).select(
        "opportunity_id", "product", "total_capacity_mw", *HOUR
    )
    rows = (
        selling.join(hours, on=HOUR)
        .join(members, on="resource_id")
        .join(baseline, on=["prosumer_id", "start_utc"], how="left")
    )
    is_energy = pl.col("product") == "energy"
    shared_mw = pl.when(is_energy).then("max_discharge_mw").otherwise("held_mw")
    shared_kw = 1000.0 * pl.col("share_fraction") * shared_mw / pl.col("efficiency")
    beside_kw = pl.when(is_energy | (pl.col("reserve_beyond_mw") <= 0.0)).then(0.0).otherwise("spare_reserve_kw")
    could_kw = shared_kw * pl.col("discharge_efficiency") + beside_kw
    found = rows.with_columns(could_kw=could_kw).filter(pl.col("could_kw") > 1e-6)
    return found.sort("opportunity_id", "prosumer_id")


def _awardable(bids: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """``limits`` of each resource and hour with the most that may be awarded of what it ``bids``.

    `covered_mw`: discharge and all reserves together. `held_mw`: reserve that members hold within their shares; what
    they hold beyond comes first, so where that is all the reserve of an hour, shares give none.
    """
    reserve = pl.col("total_capacity_mw").filter(pl.col("product") != "energy")
    offered = bids.group_by(HOUR).agg(largest_mw=reserve.max(), together_mw=reserve.sum())
    rows = limits.join(offered, on=HOUR, how="left").with_columns(pl.col("largest_mw", "together_mw").fill_null(0.0))
    discharge, beyond, together = (pl.col(f"{name}_mw") for name in ("max_discharge", "reserve_beyond", "together"))
    power_mw = pl.max_horizontal(discharge + beyond, "largest_mw")
    return rows.with_columns(
        covered_mw=pl.min_horizontal(discharge + together, power_mw),
        held_mw=(pl.min_horizontal(power_mw, together) - beyond).clip(lower_bound=0.0),
    )
