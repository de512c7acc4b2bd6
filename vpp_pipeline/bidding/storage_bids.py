"""The day of a storage resource: what it bids once deals are struck, and what the market clears at the forecast."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from vpp_pipeline.aggregation.clearing import Clearing
from vpp_pipeline.aggregation.offer import StorageOffer
from vpp_pipeline.aggregation.resource_offers import bound_offer, bound_tables
from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.tables import Day
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, Duals
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.negotiation.opportunities import Resource
from vpp_pipeline.settings import MarketRules

ENERGY = PRODUCTS.index("energy")
KW_PER_MW = 1000.0


def solve_storage(day: DayProblem, resource: Resource, tables: Day, rules: MarketRules) -> DaySolution:
    """The day of one storage resource, whose members are ``day.fleet``: what it bids, and what clears at the forecast.

    ``tables``: AGGREGATED of the day. Raises SolveError where the clearing has no answer.
    """
    begun = time.perf_counter()
    price, may_offer = _by_product_and_hour(day, day.price), _by_product_and_hour(day, day.may_bid) > 0.0
    price[ENERGY] = day.market_price
    floor = _floors(day)
    offer, is_bound = bound_offer(resource, day.fleet, tables, floor, may_offer, price, rules)
    charge_price = np.full_like(offer.bids.charge_price, -day.charging_adder)
    if rules.storage_kept_by == "coordinator":  # what is charged is sold later: it must be awarded
        charge_price[offer.resources.max_charge_kw > 0.0] = rules.energy_price_cap_usd_per_mwh
    offer = replace(offer, bids=replace(offer.bids, charge_price=charge_price))
    awards = offer.awards(price)
    schedule, own_kw = offer.schedule(awards), offer.baseline.grid_charge_kw
    buys_at = day.market_price + day.charging_adder
    no_sale_usd = own_kw @ buys_at / KW_PER_MW
    net_kw = offer.self_schedule_kw + awards.discharge_kw[0] - awards.charge_kw[0]
    cleared_mw = np.stack([net_kw, *(kw[0] for kw in awards.held_kw)]) / KW_PER_MW
    is_bid = offer.offered_mw > 0.0
    is_bid[ENERGY] = is_bid.any(axis=0) | (offer.resources.max_charge_kw[0] + offer.self_schedule_kw > 0.0)
    of_each = (day.product, day.covers.argmax(axis=1))
    objective_usd = _earned_usd(day, schedule, price) - float(schedule.grid_charge_kw.sum(axis=0) @ buys_at) / KW_PER_MW
    adder_usd = day.charging_adder * (schedule.grid_charge_kw - own_kw).sum(axis=1) / KW_PER_MW
    return DaySolution(
        schedule=schedule,
        is_bid=is_bid[of_each],
        quantity_mw=offer.offered_mw[of_each],
        objective_usd=objective_usd,
        bound_usd=objective_usd + _left_open_usd(day, offer, awards, schedule, price),
        no_bid_usd=-float(no_sale_usd.sum()),
        stored_value_usd_per_mwh=np.outer(offer.resources.share > 0.0, KW_PER_MW * awards.stored_value[0]),
        shadow_price_usd_per_mwh=np.zeros(len(day.price)),
        duals=Duals(day.market_price, buys_at, *price[1:]),
        no_sale_charging_usd=no_sale_usd,
        method="storage resources, as the market clears them",
        solver="HiGHS",
        status="optimal",
        seconds=time.perf_counter() - begun,
        refusals=_refusals(day, is_bound, is_bid[of_each]),
        expected_mw=np.where(is_bid, cleared_mw, 0.0)[of_each],
        own_charging_usd=no_sale_usd + adder_usd,
        callable_members=offer.callable_members[of_each],
        storage=bound_tables(resource, day.market_date, day.start_utc, offer, is_bound, awards),
    )


def _by_product_and_hour(day: DayProblem, values: Array | Flags) -> Array:
    """``values`` (O,) spread over (3, T); 0 where there is no opportunity."""
    spread = np.zeros((len(PRODUCTS), day.covers.shape[1]))
    o, t = np.nonzero(day.covers)
    spread[day.product[o], t] = values[o]
    return spread


def _floors(day: DayProblem) -> Array:
    """Call prices (3, n, T) of the deals; infinite without one."""
    floor = np.full((len(PRODUCTS), len(day.fleet), day.covers.shape[1]), np.inf)
    k, t = np.nonzero(day.covers[day.agreement_opportunity])
    floor[day.product[day.agreement_opportunity[k]], day.agreement_prosumer[k], t] = day.call_price[k]
    return floor


def _earned_usd(day: DayProblem, schedule: DaySchedule, price: Array) -> float:
    """What all sales bring at ``price`` (3, T) beyond the call prices of their deals, $."""
    return sum(
        float(((price[p] - day.by_prosumer_and_hour(p, day.call_price)) * schedule.sold_kw(p)).sum()) / KW_PER_MW
        for p in range(len(PRODUCTS))
    )


def _left_open_usd(
    day: DayProblem, offer: StorageOffer, awards: Clearing, schedule: DaySchedule, price: Array
) -> float:
    """By how much the award's worth by its own bid exceeds what it earns when owners are paid by their own deals, $.

    A mean price is exact where all of a reserve is awarded; of a part, more may fall to dearer owners.
    """
    sun_kw = offer.baseline.solar_sold_kw
    sun_usd = float(((price[ENERGY] - day.by_prosumer_and_hour(ENERGY, day.call_price)) * sun_kw).sum())
    bought_usd = float((price[ENERGY] - offer.bids.charge_price[0]) @ awards.charge_kw[0])
    earned_usd = _earned_usd(day, schedule, price) - (sun_usd + bought_usd) / KW_PER_MW
    return max(0.0, float(awards.worth_usd.sum()) - earned_usd)


def _refusals(day: DayProblem, is_bound: Flags, is_bid: Flags) -> dict[str, str]:
    """Why opportunities with deals are not bid."""
    left_out = int((~is_bound).sum())
    named = day.opportunity_id[day.may_bid & ~is_bid].tolist()
    return dict.fromkeys(named, f"{left_out} members have no deal for their part; the others offer less than 80% of R")
