"""What the market can buy from the fleet today: hourly opportunities, requests in their place, and their hours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, bid_deadline_utc, opportunity_id, slot_of
from vpp_pipeline.core.display import usd
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.schemas import Opportunities, RequestQuarantine, validate
from vpp_pipeline.schemas.columns import PRICE_LIMIT_USD_PER_MWH
from vpp_pipeline.settings import MarketRules, OpportunityPolicy

REQUEST_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "product": pl.String,
    "start_utc": pl.Datetime("us", "UTC"),
    "duration_hours": pl.Int32,
    "required_capacity_mw": pl.Float64,
    "offered_price_usd_per_mwh": pl.Float64,
}
#: where a request stands, so that one that is set aside can be found
PLACE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "file_row": pl.Int32,
    "file": pl.String,
    "row_json": pl.String,
}
TOLERANCE_MW = 1e-9


@dataclass(frozen=True)
class Requests:
    """Requests for one market day, and those rows of their file that are not offered.

    ``rows``: REQUEST_SCHEMA and PLACE_SCHEMA; ``quarantine``: rows of `market.request_quarantine`.
    """

    rows: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REQUEST_SCHEMA | PLACE_SCHEMA))
    quarantine: pl.DataFrame = field(default_factory=RequestQuarantine.create_empty)


class RequestFault(NamedTuple):
    """What is wrong with a request."""

    column_name: str  # as the file has it
    problem: str
    remedy: str


def quarantined(market_date: date, faults: Iterable[tuple[Mapping[str, Any], RequestFault]]) -> pl.DataFrame:
    """Rows of `market.request_quarantine`: each fault with its request, of which PLACE_SCHEMA is read."""
    rows = [
        {
            "market_date": market_date,
            **{name: request[name] for name in PLACE_SCHEMA},
            **fault._asdict(),
            "value": json.loads(request["row_json"]).get(fault.column_name) or None,
        }
        for request, fault in faults
    ]
    return validate(RequestQuarantine, pl.DataFrame(rows, schema=RequestQuarantine.create_empty().schema))


def place_requests(requests: Requests, forecast: pl.DataFrame, fleet: Fleet, rules: MarketRules) -> Requests:
    """``requests`` with those moved to the quarantine that the market does not take or the fleet cannot offer.

    Of two rows that say the same, the first counts. Rows of one product that otherwise share an hour are all set aside,
    whatever their order: which of them is meant is not ours to guess, and no hour is offered twice.
    """
    starts = forecast["start_utc"]
    today = requests.rows.filter(pl.col("start_utc").is_in(starts.implode())).sort("file_row")
    rows = list(today.iter_rows(named=True))
    place = {start: hour for hour, start in enumerate(starts)}
    first = {row["file_row"]: place[row["start_utc"]] for row in rows}
    offerable_mw = {
        product: fleet.capacity_kw(product, rules.call_hours(product)).sum(axis=0) / 1000.0
        for product in today["product"].unique().sort()
    }
    faults = [
        (row, fault)
        for row in rows
        for fault in _faults_of(row, offerable_mw[row["product"]][first[row["file_row"]] :], rules)
    ]
    wrong = {row["file_row"] for row, _ in faults}
    faults += _conflicts([row for row in rows if row["file_row"] not in wrong], first)
    wrong |= {row["file_row"] for row, _ in faults}
    new = quarantined(forecast["market_date"][0], faults)
    return Requests(
        today.filter(~pl.col("file_row").is_in(list(wrong))),
        validate(RequestQuarantine, pl.concat([requests.quarantine, new])),
    )


def _faults_of(request: Mapping[str, Any], offerable_mw: Array, rules: MarketRules) -> Iterator[RequestFault]:
    """What is wrong with one request; ``offerable_mw`` (hours from its start to the day's end,) of its product."""
    product, hours, wanted_mw = request["product"], request["duration_hours"], request["required_capacity_mw"]
    minimum_mw, left = rules.minimum_mw(product), len(offerable_mw)
    most_mw = float(offerable_mw[:hours].min())
    if hours > left:
        yield RequestFault(
            "duration_hours",
            f"leaves its market day, which ends {left} h after the start",
            "Shorten it, or split it at Pacific midnight",
        )
    if wanted_mw < minimum_mw:
        yield RequestFault(
            "required_capacity_mw",
            f"below the market's minimum of {minimum_mw:g} MW",
            f"Ask for at least {minimum_mw:g} MW",
        )
    elif max(rules.required_fraction * wanted_mw, minimum_mw) > most_mw + TOLERANCE_MW:
        fits_mw = np.floor(100.0 * most_mw / rules.required_fraction) / 100.0
        yield RequestFault(
            "required_capacity_mw",
            f"more than the fleet can offer: a bid needs {100 * rules.required_fraction:g}% of it and at least "
            f"{minimum_mw:g} MW, and the fleet has {most_mw:.3f} MW of {product} throughout these hours",
            f"Ask for at most {fits_mw:g} MW, or for other hours" if most_mw >= minimum_mw else "Ask for other hours",
        )
    bound = PRICE_LIMIT_USD_PER_MWH  # of the tables, where a setting allows more
    low, high = (max(-bound, min(limit, bound)) for limit in rules.price_limits(product))
    price, unit = request["offered_price_usd_per_mwh"], "MWh" if product == "energy" else "MW per hour"
    if not low <= price <= high:
        side, limit = ("below", low) if price < low else ("above", high)
        word = "floor" if price < low else "cap"
        yield RequestFault(
            "offered_price_usd_per_mwh",
            f"{side} the market's {word} of {usd(limit)}/{unit}",
            f"Offer between {usd(low)} and {usd(high)}/{unit}",
        )


def _conflicts(requests: list[dict[str, Any]], first: Mapping[int, int]) -> list[tuple[dict[str, Any], RequestFault]]:
    """Repeated requests but the first of each, and all that share an hour of their product; ``first`` hour by row."""
    by_content: dict[tuple[Any, ...], int] = {}
    askers: dict[tuple[str, int], list[int]] = {}
    faults, alone = [], []
    for request in requests:
        row, content = request["file_row"], tuple(request[name] for name in REQUEST_SCHEMA)
        if content in by_content:
            problem = f"row {by_content[content]} asks for the same"
            faults.append((request, RequestFault("start", problem, "Remove one, or add their MW up in one row")))
            continue
        by_content[content] = row
        alone.append(request)
        for hour in _hours_asked(request, first):
            askers.setdefault((request["product"], hour), []).append(row)
    for request in alone:
        row, hours = request["file_row"], _hours_asked(request, first)
        others = {other for hour in hours for other in askers[request["product"], hour][:2]} - {row}
        if others:
            problem = f"shares an hour of {request['product']} with row {min(others)}; neither is offered"
            faults.append((request, RequestFault("start", problem, "Keep one of them, move one, or merge them")))
    return faults


def _hours_asked(request: Mapping[str, Any], first: Mapping[int, int]) -> range:
    start = first[request["file_row"]]
    return range(start, start + request["duration_hours"])


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

    ``requests``: REQUEST_SCHEMA, as :func:`place_requests` leaves them. A request replaces the policy's opportunities
    of its product in the hours it covers and takes its first hour's slot. ``planned_mw`` (PRODUCTS, T): R where the
    sizing is `planned` (`dispatch/sizing.py`).
    """
    starts = forecast["start_utc"].to_list()
    least_price = -np.inf if policy.minimum_price_usd_per_mwh is None else policy.minimum_price_usd_per_mwh
    rows = []
    for place, product in enumerate(PRODUCTS):
        price = forecast[PRICE_COLUMN[product]].to_numpy()
        offerable_mw = fleet.capacity_kw(product, rules.call_hours(product)).sum(axis=0) / 1000.0
        required_mw = _sizes_mw(offerable_mw, None if planned_mw is None else planned_mw[place], product, policy, rules)
        blocks = requested_blocks(requests, product, starts)
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
    requests: pl.DataFrame, product: str, starts: list[object]
) -> list[tuple[int, int, dict[str, Any]]]:
    """First hour, hour after the last, and the request itself, for every request of ``product`` that starts today.

    Raises ValueError where one leaves the day or meets another: :func:`place_requests` leaves no such request.
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
