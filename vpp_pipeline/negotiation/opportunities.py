"""What the market can buy from the fleet today: hourly opportunities, requests in their place, and their hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, bid_deadline_utc, opportunity_id, slot_of
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.schemas import DESK, Opportunities, validate
from vpp_pipeline.settings import MarketRules, OpportunityPolicy


@dataclass(frozen=True, eq=False)  # by identity, so that a resource can be a key
class Resource:
    """What a resource may offer; by default whatever its members can."""

    resource_id: str = DESK
    participation: str = "hourly"
    minimum_mw: float = -np.inf
    maximum_mw: float = np.inf
    certified_mw: Mapping[str, float] = field(default_factory=dict)  # by reserve; one left out is not limited
    offers_mw: Mapping[str, Array] | None = None  # discharge and reserve of a storage resource (T,), before any deal
    sun_mw: Array | float = 0.0  # that its members may sell beside it (T,)
    size_mw: float = np.inf  # of a storage resource: what the devices of all its members discharge
    pool_id: str | None = None  # of which a storage resource is a part

    def most_mw(self, product: str) -> float:
        """Largest MW of ``product`` that it may offer in an hour."""
        return min(self.maximum_mw, self.certified_mw.get(product, np.inf))

    def closed(self, product: str, rules: MarketRules) -> str | None:
        """Why it may not offer ``product`` in any hour; None where it may."""
        if self.offers_mw is not None:
            return self._closed_as_storage(product, rules)
        least_mw = rules.minimum_mw(product)
        if self.participation == "none":
            return f"resource {self.resource_id} takes no part in the market"
        if self.participation == "proxy_demand" and product == "spin":
            return f"resource {self.resource_id} is proxy demand, which offers no spin"
        if self.certified_mw.get(product, np.inf) < least_mw:
            certified_mw = self.certified_mw[product]
            return f"resource {self.resource_id} is certified for {certified_mw:g} MW, the minimum is {least_mw:g} MW"
        if self.maximum_mw < least_mw:
            return f"resource {self.resource_id} has a Pmax of {self.maximum_mw:g} MW, the minimum is {least_mw:g} MW"
        return None

    def _closed_as_storage(self, product: str, rules: MarketRules) -> str | None:
        """The market's minimum is one of the resource as it is registered, not of each day or hour."""
        least_mw = rules.energy_minimum_mw
        if self.size_mw < least_mw:
            return f"resource {self.resource_id} can discharge {self.size_mw:.3f} MW, the minimum is {least_mw:g} MW"
        certified_mw, least_mw = self.certified_mw.get(product, np.inf), rules.storage_reserve_minimum_mw
        if certified_mw < least_mw:
            return f"resource {self.resource_id} is certified for {certified_mw:g} MW, the minimum is {least_mw:g} MW"
        return None

    def closed_to_requests(self, product: str, rules: MarketRules) -> str | None:
        """Why it serves no request for ``product``; None where it may."""
        if self.participation == "storage":
            return f"resource {self.resource_id} is bid as storage, which the market clears over the whole day"
        return self.closed(product, rules)

    def each_alone(self) -> Resource:
        """The same limits for each product by itself, whatever is offered beside it."""
        return replace(self, maximum_mw=np.inf, certified_mw={product: self.most_mw(product) for product in PRODUCTS})


def resources_of(table: pl.DataFrame | None) -> list[Resource]:
    """The rows of `market.resources`; the desk's single one for a day that was published before there were any."""
    if table is None:
        return [Resource()]
    return [
        Resource(
            row["resource_id"],
            row["participation"],
            -np.inf if row["minimum_mw"] is None else row["minimum_mw"],
            np.inf if row["maximum_mw"] is None else row["maximum_mw"],
            {one.name: mw for one in CAISO.reserves if (mw := row[one.certified_column]) is not None},
        )
        for row in table.iter_rows(named=True)
    ]


def members_of(fleet: Fleet, resources: Sequence[Resource]) -> dict[Resource, Fleet]:
    """Each of ``resources`` that has members, with those of ``fleet``."""
    members = {resource: np.flatnonzero(fleet.resource_id == resource.resource_id) for resource in resources}
    return {resource: fleet.part(mine) for resource, mine in members.items() if len(mine)}


def find_opportunities(
    market_date: date,
    forecast: pl.DataFrame,
    fleet: Fleet,
    policy: OpportunityPolicy,
    rules: MarketRules,
    requests: pl.DataFrame,
    planned_mw: Array | None = None,
    resource: Resource | None = None,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Opportunities`: one per product and hour, and one per request.

    ``requests``: as `place_requests` leaves them. A request replaces the policy's opportunities of its product in the
    hours it covers and takes its first hour's slot. ``planned_mw`` (PRODUCTS, T): R where the sizing is `planned`
    (`dispatch/sizing.py`). ``fleet``: the members of ``resource``. What it may not offer is listed with the reason, at
    the market's minimum; R is at most what it is certified for, and the three R of an hour at most its Pmax together,
    what earns most at the forecast first.
    """
    resource = resource or Resource()
    starts = forecast["start_utc"].to_list()
    least_price = -np.inf if policy.minimum_price_usd_per_mwh is None else policy.minimum_price_usd_per_mwh
    prices = np.stack([forecast[PRICE_COLUMN[product]].to_numpy() for product in PRODUCTS])
    offerable_mw = np.stack([fleet.capacity_kw(p, rules.call_hours(p)).sum(axis=0) for p in PRODUCTS]) / 1000.0
    blocks = {product: requested_blocks(requests, product, starts) for product in PRODUCTS}
    if resource.offers_mw is None:
        planned = [None] * len(PRODUCTS) if planned_mw is None else list(planned_mw)
        of_products = zip(offerable_mw, planned, PRODUCTS, strict=True)
        wanted_mw = np.stack([_sizes_mw(most_mw, mw, product, policy, rules) for most_mw, mw, product in of_products])
        required_mw, closed = _within_limits(resource, wanted_mw, prices, blocks, rules)
    else:
        required_mw, closed = _of_storage(resource, resource.offers_mw, rules)
    rows, is_thrifty = [], resource.offers_mw is None  # storage charges in hours that would not be worth a sale
    for p, product in enumerate(PRODUCTS):
        covered = {hour for first, last, _ in blocks[product] for hour in range(first, last)}
        found = [
            (hour, hour + 1, required_mw[p, hour], prices[p, hour], "policy", closed.get((p, hour)))
            for hour in range(len(starts))
            if hour not in covered and not (is_thrifty and product == "energy" and prices[p, hour] < least_price)
        ] + [
            (first, last, request["required_capacity_mw"], request["offered_price_usd_per_mwh"], "request", None)
            for first, last, request in blocks[product]
        ]
        rows += [_row(market_date, forecast, resource, product, *one, prices[p], offerable_mw[p]) for one in found]
    return validate(Opportunities, pl.DataFrame(rows, schema_overrides={"closed_reason": pl.String}))


def _within_limits(
    resource: Resource,
    wanted_mw: Array,
    prices: Array,
    blocks: Mapping[str, list[tuple[int, int, dict[str, Any]]]],
    rules: MarketRules,
) -> tuple[Array, dict[tuple[int, int], str]]:
    """R (3, T) of each product and hour within what ``resource`` may offer; product and hour -> why it may not.

    Requests come first; then what earns most at the forecast takes what is left of Pmax.
    """
    required_mw, closed = wanted_mw.copy(), dict[tuple[int, int], str]()
    left_mw = np.full(wanted_mw.shape[1], resource.maximum_mw)
    is_requested = np.zeros(wanted_mw.shape, dtype=bool)
    for p, product in enumerate(PRODUCTS):
        for first, last, request in blocks[product]:
            left_mw[first:last] -= request["required_capacity_mw"]
            is_requested[p, first:last] = True
    for hour in range(wanted_mw.shape[1]):
        for p in np.argsort(-(wanted_mw[:, hour] * prices[:, hour]), kind="stable"):
            if is_requested[p, hour]:
                continue
            product = PRODUCTS[p]
            most_mw, least_mw = min(resource.most_mw(product), left_mw[hour]), rules.minimum_mw(product)
            reason = resource.closed(product, rules)
            if reason is None and _down_to_step(most_mw, rules) < least_mw:
                reason = f"the Pmax of resource {resource.resource_id} is taken by products that earn more in this hour"
            if reason is not None:
                required_mw[p, hour], closed[p, hour] = least_mw, reason
                continue
            required_mw[p, hour] = min(wanted_mw[p, hour], _down_to_step(most_mw, rules))
            left_mw[hour] -= required_mw[p, hour]
    return required_mw, closed


def _of_storage(
    resource: Resource, offers_mw: Mapping[str, Array], rules: MarketRules
) -> tuple[Array, dict[tuple[int, int], str]]:
    """R (3, T) of a storage resource, all that it offers before any deal; product and hour -> why it sells nothing.

    Energy and reserves are over the same MW: the market awards no more than there is. Own sun comes on top of R, which
    is 0 in hours that sell sun alone.
    """
    offered_mw, closed = np.stack([offers_mw[product] for product in PRODUCTS]), dict[tuple[int, int], str]()
    for p, product in enumerate(PRODUCTS):
        reason = resource.closed(product, rules)
        sold_mw = np.maximum(offered_mw[p], resource.sun_mw) if product == "energy" else offered_mw[p]
        for hour in np.flatnonzero((sold_mw < rules.storage_step_mw) | (reason is not None)).tolist():
            closed[p, hour] = reason or f"resource {resource.resource_id} cannot sell it in this hour"
    return offered_mw, closed


def _down_to_step(mw: float, rules: MarketRules) -> float:
    """The largest bid of at most ``mw``."""
    if not np.isfinite(mw):
        return mw
    return float(np.round(np.floor(mw / rules.quantity_step_mw + 1e-9) * rules.quantity_step_mw, 6))


def _row(
    market_date: date,
    forecast: pl.DataFrame,
    resource: Resource,
    product: str,
    first: int,
    last: int,
    required_mw: float,
    price: float,
    origin: str,
    closed_reason: str | None,
    market_price: Array,
    offerable_mw: Array,
) -> dict[str, object]:
    start, resource_id = forecast["start_utc"][first], resource.resource_id
    return {
        "opportunity_id": opportunity_id(product, start, None if resource_id == DESK else resource_id),
        "market_date": market_date,
        "slot": slot_of(product, forecast["hour_ending"][first]),
        "product": product,
        "start_utc": start,
        "duration_hours": last - first,
        "required_capacity_mw": float(required_mw),
        "offerable_capacity_mw": float(offerable_mw[first:last].min()),
        "forecast_price": float(price),
        "market_price": float(market_price[first:last].mean()),
        "origin": origin,
        "resource_id": resource_id,
        "participation": resource.participation,
        "closed_reason": closed_reason,
        "deadline_utc": bid_deadline_utc(market_date),
    }


def _sizes_mw(
    offerable_mw: Array, planned_mw: Array | None, product: str, policy: OpportunityPolicy, rules: MarketRules
) -> Array:
    """R of each hour (T,): planned, or a share of what the fleet can offer, or a fixed size."""
    if policy.sizing == "planned":
        if planned_mw is None:
            raise ValueError("opportunities.sizing is `planned`: give the planned sizes")
        return to_size_mw(planned_mw, product, rules)
    wanted_mw = (
        policy.fraction * offerable_mw if policy.sizing == "fraction" else np.full_like(offerable_mw, policy.fixed_mw)
    )
    return to_size_mw(wanted_mw, product, rules)


def to_size_mw(wanted_mw: Array, product: str, rules: MarketRules) -> Array:
    """Sizes as the market takes them: to the nearest bid step, never below the market's minimum."""
    steps = np.round(wanted_mw / rules.quantity_step_mw)
    return np.maximum(np.round(steps * rules.quantity_step_mw, 6), rules.minimum_mw(product))


def requested_blocks(
    requests: pl.DataFrame, product: str, starts: list[object]
) -> list[tuple[int, int, dict[str, Any]]]:
    """First hour, hour after the last, and the request itself, for every request of ``product`` that starts today.

    Raises ValueError where one leaves the day or meets another: `place_requests` leaves no such request.
    """
    blocks: list[tuple[int, int, dict[str, Any]]] = []
    for request in requests.filter(pl.col("product") == product).sort("start_utc").iter_rows(named=True):
        if request["start_utc"] not in starts:
            continue
        first = starts.index(request["start_utc"])
        last = first + request["duration_hours"]
        if last > len(starts) or (blocks and first < blocks[-1][1]):
            raise ValueError(f"the {product} request from {request['start_utc']} leaves the day or meets another")
        blocks.append((first, last, request))
    return blocks


def hours_of(opportunities: pl.DataFrame, starts: pl.Series) -> list[slice]:
    """The hours of the day (as slices) that each opportunity covers."""
    first = np.searchsorted(starts.to_numpy(), opportunities["start_utc"].to_numpy())
    return [slice(int(f), int(f) + int(n)) for f, n in zip(first, opportunities["duration_hours"], strict=True)]


def covered_hours(opportunities: pl.DataFrame, starts: pl.Series) -> Flags:
    """Whether each opportunity covers each hour of the day (O, T)."""
    covers = np.zeros((opportunities.height, len(starts)), dtype=bool)
    for o, block in enumerate(hours_of(opportunities, starts)):
        covers[o, block] = True
    return covers


def hours_covered(opportunities: pl.DataFrame) -> pl.DataFrame:
    """One row per opportunity and hour it covers, with its product, duration_hours and forecast_price."""
    return (
        opportunities.select("opportunity_id", "product", "start_utc", "duration_hours", "forecast_price")
        .with_columns(offset=pl.int_ranges(0, "duration_hours"))
        .explode("offset")
        .with_columns(start_utc=pl.col("start_utc") + pl.duration(hours="offset"))
        .drop("offset")
    )
