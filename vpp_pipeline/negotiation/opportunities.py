"""What the market can buy from the fleet today: hourly opportunities, requests in their place, and their hours."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, bid_deadline_utc, opportunity_id, slot_of
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.schemas import Opportunities, validate
from vpp_pipeline.settings import MarketRules, OpportunityPolicy

REQUEST_COLUMNS = ("product", "start_utc", "duration_hours", "required_capacity_mw", "offered_price_usd_per_mwh")


def find_opportunities(
    market_date: date,
    forecast: pl.DataFrame,
    fleet: Fleet,
    policy: OpportunityPolicy,
    rules: MarketRules,
    requests: pl.DataFrame,
    planned_mw: Array | None = None,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Opportunities`: one per product and hour, and one per request.

    ``requests`` has REQUEST_COLUMNS, rows of any day. A request replaces the policy's opportunities of its product in
    the hours it covers and takes its first hour's slot. ``planned_mw`` (PRODUCTS, T): R where the sizing is `planned`
    (`dispatch/sizing.py`).

    Raises InputError for a request with an unknown product, that leaves its market day, or that meets another one.
    """
    starts = forecast["start_utc"].to_list()
    least_price = -np.inf if policy.minimum_price_usd_per_mwh is None else policy.minimum_price_usd_per_mwh
    rows = []
    for place, product in enumerate(PRODUCTS):
        price = forecast[PRICE_COLUMN[product]].to_numpy()
        offerable_mw = fleet.capacity_kw(product, rules.call_hours(product)).sum(axis=0) / 1000.0
        required_mw = _sizes_mw(offerable_mw, None if planned_mw is None else planned_mw[place], product, policy, rules)
        blocks = requested_blocks(requests, product, starts, rules)
        covered = {hour for first, last, _ in blocks for hour in range(first, last)}
        for hour in range(len(starts)):
            if hour in covered or (product == "energy" and price[hour] < least_price):
                continue
            rows.append((product, hour, hour + 1, required_mw[hour], price[hour], "policy", price, offerable_mw))
        rows += [
            (
                product,
                first,
                last,
                request["required_capacity_mw"],
                request["offered_price_usd_per_mwh"],
                "request",
                price,
                offerable_mw,
            )
            for first, last, request in blocks
        ]
    return validate(
        Opportunities, pl.DataFrame([_row(market_date, forecast, *row) for row in rows], infer_schema_length=None)
    )


def _row(
    market_date: date,
    forecast: pl.DataFrame,
    product: str,
    first: int,
    last: int,
    required_mw: float,
    price: float,
    origin: str,
    market_price: Array,
    offerable_mw: Array,
) -> dict[str, object]:
    start = forecast["start_utc"][first]
    return {
        "opportunity_id": opportunity_id(product, start),
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
    requests: pl.DataFrame, product: str, starts: list[object], rules: MarketRules
) -> list[tuple[int, int, dict[str, float]]]:
    """First hour, hour after the last, and the request itself, for every request of ``product`` that starts today."""
    unknown = requests.filter(~pl.col("product").is_in(PRODUCTS))
    if unknown.height:
        raise InputError(
            "unknown product in a request",
            remedy=f"Use one of {', '.join(PRODUCTS)}",
            column="product",
            value=unknown["product"][0],
        )
    blocks: list[tuple[int, int, dict[str, float]]] = []
    for request in requests.filter(pl.col("product") == product).sort("start_utc").iter_rows(named=True):
        if request["start_utc"] not in starts:
            continue
        first = starts.index(request["start_utc"])
        last = first + request["duration_hours"]
        if last > len(starts):
            raise InputError(
                f"the {product} request from {request['start_utc']:%Y-%m-%d %H:%M} UTC leaves its market day",
                remedy="Shorten it, or split it at Pacific midnight",
                column="duration_hours",
                value=request["duration_hours"],
            )
        if blocks and first < blocks[-1][1]:
            raise InputError(
                f"two {product} requests cover the hour from {request['start_utc']:%Y-%m-%d %H:%M} UTC",
                remedy="Move or merge one of them",
                column="start_utc",
            )
        if request["required_capacity_mw"] < rules.minimum_mw(product):
            raise InputError(
                f"the {product} request from {request['start_utc']:%Y-%m-%d %H:%M} UTC is too small for the market",
                column="required_capacity_mw",
                value=request["required_capacity_mw"],
                remedy=f"Ask for at least {rules.minimum_mw(product)} MW",
            )
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
