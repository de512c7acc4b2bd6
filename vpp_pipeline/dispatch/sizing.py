"""How much of the fleet to offer, hour by hour, before anyone is asked: the day rehearsed with a dozen typical stores.

The desk knows what every device can do and what kinds of owner typically ask; it does not know what one owner asks.
So each segment becomes a few stores, its cheapest to its dearest third, each with a third of the segment's limits.
They negotiate by the desk's own policy, and an LP finds their best day at forecast prices. What they sell in an hour is
what the fleet will sell then, more or less, and that is R: less leaves good hours unsold, more violates the 80% rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.fleet.archetypes import TIERS, typical_prices
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.fleet.envelope import highest_reachable_kwh
from vpp_pipeline.negotiation.agreements import deal_prices
from vpp_pipeline.negotiation.contract import Prices
from vpp_pipeline.negotiation.negotiate import ENGINES
from vpp_pipeline.negotiation.opportunities import (
    Resource,
    covered_hours,
    find_opportunities,
    hours_of,
    members_of,
    to_size_mw,
)
from vpp_pipeline.negotiation.outcome import Outcome
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import NegotiationPolicy, Settings

_PER_STORE = ("initial_stored_kwh", "terminal_stored_kwh", "capacity_kwh")
_PER_HOUR = ("max_charge_kw", "max_discharge_kw", "min_stored_kwh", "max_stored_kwh", "drive_kwh")


def opportunities_of_day(
    market_date: date,
    forecast: pl.DataFrame,
    fleet: Fleet,
    settings: Settings,
    requests: pl.DataFrame,
    deals: pl.DataFrame | None = None,
    resources: Sequence[Resource] = (Resource(),),
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Opportunities`, sized as `opportunities.sizing` says.

    Each of ``resources`` has those of its own members; one without any has none. ``deals``: what was agreed on the days
    before, by segment and product (`fleet.archetypes.DEAL_SCHEMA`).
    """
    policy, rules = settings.opportunities, settings.rules
    rows, asked = [], with_missing(requests, resource_id=DESK)
    for resource, part in members_of(fleet, resources).items():
        mine = asked.filter(pl.col("resource_id") == resource.resource_id)
        own, planned_mw = (market_date, forecast, part), None
        if policy.sizing == "planned" and resource.participation not in ("none", "storage"):
            planned_mw = planned_sizes_mw(*own, settings, mine, deals, resource)
        elif policy.sizing == "planned":
            planned_mw = np.zeros((len(PRODUCTS), forecast.height))
        rows.append(find_opportunities(*own, policy, rules, mine, planned_mw, resource))
    return pl.concat(rows).sort("opportunity_id")


def planned_sizes_mw(
    market_date: date,
    forecast: pl.DataFrame,
    fleet: Fleet,
    settings: Settings,
    requests: pl.DataFrame,
    deals: pl.DataFrame | None = None,
    resource: Resource | None = None,
) -> Array:
    """R (3, T) in MW for each of PRODUCTS and each hour, to the bid step.

    R is what the typical stores sell, at most ``planned_fraction`` of what the fleet can offer then. Where they sell
    less than the market's minimum, R is that: some owner may sell there all the same, and the optimiser need not. In
    hours of a request the request's own R holds.

    Reads devices and limits of ``fleet``, but no owner's price, willingness or patience.
    """
    rules = settings.rules
    rehearsal = _rehearse(market_date, forecast, fleet, settings, requests, deals, resource or Resource())
    is_request = (rehearsal.opportunities["origin"] == "request").to_numpy()
    sold_mw = _sold_mw(_typical_day(rehearsal, forecast, settings), is_request)
    return np.array([to_size_mw(mw, product, rules) for product, mw in zip(PRODUCTS, sold_mw, strict=True)])


@dataclass(frozen=True)
class _Rehearsal:
    """O opportunities and I typical stores: what they would be asked for, and how it would end."""

    opportunities: pl.DataFrame
    stores: Fleet
    capacity_kw: Array  # (O, I)
    outcome: Outcome
    prices: Prices  # (O, I) of the deals that closed
    agreed: Array  # (O, I) what they would be paid at the forecast


def _rehearse(
    market_date: date,
    forecast: pl.DataFrame,
    fleet: Fleet,
    settings: Settings,
    requests: pl.DataFrame,
    deals: pl.DataFrame | None,
    resource: Resource,
) -> _Rehearsal:
    """Negotiate the day with the typical stores; with ``deals``, a second time at the level of what was agreed."""
    policy, rules, negotiation = settings.opportunities, settings.rules, settings.negotiation
    largest = policy.model_copy(update={"sizing": "fraction", "fraction": policy.planned_fraction})
    alone = resource.each_alone()  # how a Pmax is shared out follows from what they would sell
    opportunities = find_opportunities(market_date, forecast, fleet, largest, rules, requests, resource=alone)
    segments = sorted(set(fleet.segment))
    stores = _typical_stores(fleet, segments, typical_prices(segments, settings.fleet, negotiation).ravel())

    capacity_of = {p: _thirds_of(fleet, segments, fleet.capacity_kw(p, rules.call_hours(p))) for p in PRODUCTS}
    blocks = zip(opportunities["product"], hours_of(opportunities, forecast["start_utc"]), strict=True)
    capacity_kw = np.array([capacity_of[product][:, block].min(axis=1) for product, block in blocks])

    terms = prepare_terms(opportunities, forecast, stores, negotiation, rules)
    rehearsal = _ended(terms, opportunities, stores, capacity_kw, negotiation)
    if deals is None or deals.is_empty():
        return rehearsal
    level = _levels(rehearsal, deals)
    told = replace(terms, reservation=level * terms.reservation, opening_ask=level * terms.opening_ask)
    return _ended(told, opportunities, stores, capacity_kw, negotiation)


def _ended(
    terms: Terms, opportunities: pl.DataFrame, stores: Fleet, capacity_kw: Array, policy: NegotiationPolicy
) -> _Rehearsal:
    outcome = ENGINES[policy.engine](terms, policy)
    prices = deal_prices(outcome, terms, policy)
    return _Rehearsal(opportunities, stores, capacity_kw, outcome, prices, prices.expected(terms.index_price))


def _levels(rehearsal: _Rehearsal, deals: pl.DataFrame) -> Array:
    """Agreed price of ``deals`` over that of the rehearsal (O, I), by segment and product; 1 where there is none."""
    level, outcome = np.ones_like(rehearsal.capacity_kw), rehearsal.outcome
    products, segments = rehearsal.opportunities["product"].to_numpy(), rehearsal.stores.segment
    for segment, product, agreed, _ in deals.iter_rows():
        pairs = (products == product)[:, None] & (segments == segment)[None, :]
        closed = pairs & outcome.is_closed
        paid = (rehearsal.agreed[closed] * rehearsal.capacity_kw[closed]).sum()
        if paid > 0.0:
            level[pairs] = agreed * rehearsal.capacity_kw[closed].sum() / paid
    return level


def _typical_day(rehearsal: _Rehearsal, forecast: pl.DataFrame, settings: Settings) -> DayProblem:
    """The day's problem of the typical stores with the deals of the rehearsal, any quantity up to R allowed."""
    opportunities, outcome = rehearsal.opportunities, rehearsal.outcome
    opportunity, store = np.nonzero(outcome.is_closed)
    return DayProblem(
        market_date=forecast["market_date"][0],
        fleet=rehearsal.stores,
        start_utc=forecast["start_utc"],
        market_price=forecast[PRICE_COLUMN["energy"]].to_numpy(),
        opportunity_id=opportunities["opportunity_id"].to_numpy(),
        product=np.array([PRODUCTS.index(product) for product in opportunities["product"]], dtype=np.int64),
        covers=covered_hours(opportunities, forecast["start_utc"]),
        price=opportunities["forecast_price"].to_numpy(),
        required_mw=opportunities["required_capacity_mw"].to_numpy(),
        minimum_mw=np.zeros(opportunities.height),
        may_bid=np.ones(opportunities.height, dtype=bool),
        agreement_opportunity=opportunity,
        agreement_prosumer=store,
        committed_kw=rehearsal.capacity_kw[opportunity, store],
        call_price=rehearsal.prices.call_price[opportunity, store],
        premium=np.zeros(len(store)),
        satisfaction_worth=np.zeros(len(store)),
        call_hours=settings.rules.backing_hours,
        charging_adder=settings.optimiser.charging_adder_usd_per_mwh,
    )


def _sold_mw(day: DayProblem, is_request: Flags) -> Array:
    """What leaves the stores of each product (3, T) on their best day. Raises SolveError.

    Energy is net of what other stores charge in the same hour, as the position of a bid is. A request (O,) counts as
    bid: half a decision would let the fleet buy in that hour at the market price what it sells at another.
    """
    from vpp_pipeline.dispatch.formulation import formulate

    linear = formulate(day, binary=False)
    linear.set_bids(is_request.astype(float), day.may_bid.astype(float))
    linear.set_quantities(np.zeros(len(is_request)), unlimited_mw(day))
    linear.solve("HIGHS")
    schedule = linear.schedule()
    net_kw = schedule.exported_kw - schedule.grid_charge_kw
    return np.array([kw.sum(axis=0) for kw in (net_kw, *schedule.held_kw)]) / 1000.0


def _thirds_of(fleet: Fleet, segments: list[str], values: Array, counted: Flags | None = None) -> Array:
    """Each segment's sum of ``values`` (N, …), of those ``counted`` (N,), divided among its thirds (S·TIERS, …)."""
    taken = np.ones(len(fleet), dtype=bool) if counted is None else counted
    sums = [values[taken & (fleet.segment == segment)].sum(axis=0) for segment in segments]
    return np.repeat(np.array(sums) / TIERS, TIERS, axis=0)


def _typical_stores(fleet: Fleet, segments: list[str], price_usd_per_mwh: Array) -> Fleet:
    """Each segment as TIERS stores whose limits add up to those of its members, asking ``price`` (S·TIERS,).

    Stores that cannot be discharged all day (a plain charger, an opt-out day) have nothing to sell and are left out;
    their sun is not. Efficiencies are means by size, so that a tight store may reach a little less than its members
    must hold: its floors are at most what it reaches.
    """
    sells = fleet.max_discharge_kw.max(axis=1) > 0.0
    store = {name: _thirds_of(fleet, segments, getattr(fleet, name), sells) for name in (*_PER_STORE, *_PER_HOUR)}
    size_kwh = store["capacity_kwh"]

    def mean(name: str) -> Array:
        weighted = _thirds_of(fleet, segments, getattr(fleet, name) * fleet.capacity_kwh, sells)
        return np.where(size_kwh > 0.0, weighted / np.maximum(size_kwh, 1e-9), 1.0)

    charge_efficiency = mean("charge_efficiency")
    limits = (store[name] for name in ("max_charge_kw", "max_stored_kwh", "drive_kwh"))
    reached_kwh = highest_reachable_kwh(store["initial_stored_kwh"], charge_efficiency, *limits)[:, 1:]
    floors = {
        "min_stored_kwh": np.minimum(store["min_stored_kwh"], reached_kwh),
        "terminal_stored_kwh": np.minimum(store["terminal_stored_kwh"], reached_kwh[:, -1]),
    }
    ones = np.ones(len(size_kwh))
    return Fleet(
        **(store | floors),
        prosumer_id=np.array([f"{segment} {third}" for segment in segments for third in range(1, TIERS + 1)]),
        segment=np.repeat(segments, TIERS),
        resource_id=np.full(len(segments) * TIERS, fleet.resource_id[0], dtype=object),
        has_store=size_kwh > 0.0,
        charge_efficiency=charge_efficiency,
        discharge_efficiency=mean("discharge_efficiency"),
        maximum_cycles_per_day=mean("maximum_cycles_per_day"),
        willingness_fraction=ones,  # `price` says it all
        minimum_compensation_usd_per_kwh=price_usd_per_mwh / 1000.0,
        wear_usd_per_mwh=0.0 * ones,
        patience=ones,
        availability_fraction=ones,
        solar_kw=_thirds_of(fleet, segments, np.minimum(fleet.surplus_kw, fleet.export_room_kw)),
        load_kw=np.zeros_like(store["drive_kwh"]),
        export_limit_kw=_thirds_of(fleet, segments, fleet.export_room_kw),
        limited_by=np.full(store["drive_kwh"].shape, -1, dtype=np.int8),
    )
