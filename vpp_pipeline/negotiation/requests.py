"""Requests of the day: which resource serves each, and which cannot be offered, with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.display import usd
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.opportunities import Resource, requested_blocks
from vpp_pipeline.schemas import RequestQuarantine, validate
from vpp_pipeline.schemas.columns import PRICE_LIMIT_USD_PER_MWH
from vpp_pipeline.settings import MarketRules

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
SPARE = 2.0  # what owners who serve a request can offer, over what it asks for: some decline


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


#: what the members of a resource can offer together of each product that is asked for (T,), MW
Offerable = Mapping[Resource, Mapping[str, Array]]


def offerable_mw(requests: Requests, parts: Mapping[Resource, Fleet], rules: MarketRules) -> Offerable:
    """What each of ``parts``, resources with their members, can offer of what ``requests`` ask for."""
    products = requests.rows["product"].unique().sort()
    return {
        resource: {
            product: fleet.capacity_kw(product, rules.call_hours(product)).sum(axis=0) / 1000.0 for product in products
        }
        for resource, fleet in parts.items()
    }


def place_requests(requests: Requests, forecast: pl.DataFrame, offerable: Offerable, rules: MarketRules) -> Requests:
    """``requests`` with the resource that serves each, of those that are ``offerable``; those that the market does not
    take or no resource can offer move to the quarantine.

    Of two rows that say the same, the first counts. Rows of one product that otherwise share an hour are all set aside,
    whatever their order: which of them is meant is not ours to guess, and no hour is offered twice. Rows of several
    products take a resource's Pmax in the order of the file.
    """
    starts = forecast["start_utc"]
    today = requests.rows.filter(pl.col("start_utc").is_in(starts.implode())).sort("file_row")
    rows = list(today.iter_rows(named=True))
    place = {start: hour for hour, start in enumerate(starts)}
    first = {row["file_row"]: place[row["start_utc"]] for row in rows}
    server = {row["file_row"]: _server(row, _hours_asked(row, first), offerable, rules) for row in rows}
    faults = []
    for row in rows:
        resource = server[row["file_row"]]
        left_mw = offerable[resource][row["product"]][first[row["file_row"]] :]
        faults += [(row, fault) for fault in _faults_of(row, resource, left_mw, rules)]
    wrong = {row["file_row"] for row, _ in faults}
    faults += _conflicts([row for row in rows if row["file_row"] not in wrong], first)
    wrong |= {row["file_row"] for row, _ in faults}
    faults += _beyond_the_maximum([row for row in rows if row["file_row"] not in wrong], server, first, len(starts))
    wrong |= {row["file_row"] for row, _ in faults}
    new = quarantined(forecast["market_date"][0], faults)
    serves = pl.Series("resource_id", [server[row].resource_id for row in today["file_row"]], pl.String)
    return Requests(
        today.with_columns(serves).filter(~pl.col("file_row").is_in(list(wrong))),
        validate(RequestQuarantine, pl.concat([requests.quarantine, new])),
    )


def who_serves(requests: Requests, forecast: pl.DataFrame, fleet: Fleet, floor: Array, rules: MarketRules) -> Flags:
    """Who of ``fleet`` (N,) is bid hour by hour, so that the day's ``requests`` can be served where all others are
    storage. A request that the whole fleet could not serve takes no owner.

    Row by row of their file, of who has not been chosen yet: first those who typically ask no more than it offers
    (``floor``, (PRODUCTS, N, T)), of them those who can offer most, until they can offer SPARE times what is asked,
    each counted with the most that one owner may commit. So few owners leave storage, and some may decline.
    """
    placed = place_requests(requests, forecast, offerable_mw(requests, {Resource(): fleet}, rules), rules).rows
    blocks = {product: requested_blocks(placed, product, forecast["start_utc"].to_list()) for product in PRODUCTS}
    asked = [(p, *block) for p, product in enumerate(PRODUCTS) for block in blocks[product]]
    serves = np.zeros(len(fleet), dtype=bool)
    for p, first, last, request in sorted(asked, key=lambda one: int(one[-1]["file_row"])):
        product, wanted_kw = PRODUCTS[p], 1000.0 * float(request["required_capacity_mw"])
        offers_kw = fleet.capacity_kw(product, rules.call_hours(product))[:, first:last].min(axis=1)
        is_dear = floor[p, :, first:last].max(axis=1) > request["offered_price_usd_per_mwh"]
        order = np.lexsort((-offers_kw, is_dear))
        order = order[(offers_kw > 0.0)[order] & ~serves[order]]
        counted_kw = np.minimum(offers_kw[order], rules.maximum_commitment_fraction * wanted_kw)
        before_kw = np.cumsum(counted_kw) - counted_kw
        serves[order[before_kw < SPARE * wanted_kw]] = True
    return serves


def _server(
    request: Mapping[str, Any],
    hours: range,
    offerable: Offerable,
    rules: MarketRules,
) -> Resource:
    """The resource whose members can offer most in the weakest hour asked for, of those that may offer so much."""
    product, mw = request["product"], request["required_capacity_mw"]

    def fits(resource: Resource) -> tuple[bool, float]:
        may = resource.closed_to_requests(product, rules) is None and mw <= resource.most_mw(product) + TOLERANCE_MW
        return may, float(offerable[resource][product][hours.start : hours.stop].min())

    return max(offerable, key=fits)


def _beyond_the_maximum(
    requests: list[dict[str, Any]], server: Mapping[int, Resource], first: Mapping[int, int], hours: int
) -> list[tuple[dict[str, Any], RequestFault]]:
    """Requests for which rows before them leave too little of their resource's Pmax in an hour."""
    left_mw: dict[Resource, Array] = {}
    faults = []
    for request in requests:
        resource, asked = server[request["file_row"]], _hours_asked(request, first)
        left = left_mw.setdefault(resource, np.full(hours, resource.maximum_mw))[asked.start : asked.stop]
        if request["required_capacity_mw"] > left.min() + TOLERANCE_MW:
            problem = f"the rows before it leave {left.min():g} MW of the Pmax of resource {resource.resource_id}"
            remedy = "Ask for less, or for other hours"
            faults.append((request, RequestFault("required_capacity_mw", problem, remedy)))
        else:
            left -= request["required_capacity_mw"]
    return faults


def _faults_of(
    request: Mapping[str, Any], resource: Resource, offerable_mw: Array, rules: MarketRules
) -> Iterator[RequestFault]:
    """What is wrong with one request; ``offerable_mw`` (hours from its start to the day's end,) of its product by the
    members of ``resource``, which serves it.
    """
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
    elif (reason := resource.closed_to_requests(product, rules)) is not None:
        yield RequestFault("product", reason, "Ask for another product, or let a resource that is bid hourly offer it")
    elif wanted_mw > resource.most_mw(product) + TOLERANCE_MW:
        most = f"{resource.most_mw(product):g} MW"
        yield RequestFault(
            "required_capacity_mw",
            f"resource {resource.resource_id} may offer {most} of {product}",
            f"Ask for at most {most}, or raise the limits of the resource",
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
