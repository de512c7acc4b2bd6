"""Key figures of the day, its bids, and the schedule of the fleet, as values for the templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import usd
from vpp_pipeline.reporting.charts import (
    Offer,
    PricedBid,
    energy_chart,
    prices_chart,
    stack_chart,
    stacked_hours,
)
from vpp_pipeline.reporting.html import PER, PRODUCTS, Figure, Link, Table, many, number, price
from vpp_pipeline.reporting.queries import Facts, Rows
from vpp_pipeline.reporting.storage import certified
from vpp_pipeline.reporting.svg import Series

RESERVES = tuple(reserve.name for reserve in CAISO.reserves)
EXPLAINED = 9  # bids whose reasons are shown at once, by profit; the others one step away
MOST_OFFERS = 8  # parts of an hour's stack that are drawn one by one; of more, those that the forecast reaches as one
MOST_ROWS = 100  # bids in the table and among the reasons, by profit; the others one step away


def glance(facts: Facts) -> dict[str, Any]:
    """The figures that a trader looks at first."""
    bids, checks = facts.trading, facts["checks"]
    energy = [bid for bid in bids if bid["product"] == "energy"]
    reserve = [bid for bid in bids if bid["product"] != "energy"]
    return {
        "profit_usd": _total(bids, "expected_profit_usd"),
        "energy_profit_usd": _total(energy, "expected_profit_usd"),
        "reserve_profit_usd": _total(reserve, "expected_profit_usd"),
        "is_assumed": any(resource["is_assumed"] for resource in facts["resources"]),
        "unallocated_usd": facts.one("books").get("unallocated_usd") or 0.0,
        "payments_usd": _total(bids, "payments_usd"),
        "delivering": facts.one("deliveries").get("prosumers", 0),
        "energy_mwh": sum(max(bid["expected_mwh"], 0.0) for bid in energy),
        "charged_mwh": sum(max(-bid["expected_mwh"], 0.0) for bid in energy),
        "energy_bids": len(energy),
        "reserve_mw_h": _total(reserve, "expected_mwh"),
        "reserve_bids": len(reserve),
        "satisfaction_score": facts.one("content").get("satisfaction_score"),
        "sample": facts.sample,
        "failed": sum(1 for check in checks if not check["passed"] and not check["is_warning"]),
        "checks": len(checks),
        "warnings": sum(1 for check in checks if not check["passed"] and check["is_warning"]),
        "gap_fraction": facts.one("proof").get("gap_fraction"),
        "lowest_reliability": min(
            (bid["reliability_score"] for bid in bids if bid["reliability_score"] is not None), default=None
        ),
    }


def bids(facts: Facts) -> dict[str, Any]:
    """Every bid against the forecast, in charts and as a table, with the reasons of bids and no-bids.

    Bids of storage resources are in the tables of these, hour by hour.
    """
    trading, labels, stores = facts.trading, [hour["pacific"] for hour in facts["forecast"]], facts.stores
    by_hour = [bid for bid in trading if bid["resource_id"] not in stores]
    columns = {
        "Hour, PT": "text",
        "Product": "product",
        "MW": "number",
        "Bid price": "usd",
        "Expected price": "usd",
        "Profit": "usd",
        "Payments": "usd",
        "Members": "count",
        "Reliability": "percent",
        "Satisfaction": "number",
    }
    names: tuple[str, ...] = (
        *("pacific", "product", "total_capacity_mw", "bid_price_usd_per_mwh", "forecast_price", "expected_profit_usd"),
        *("payments_usd", "coalition_size", "reliability_score", "satisfaction_score"),
    )
    if len(facts["resources"]) > 1:
        columns, names = {"Hour, PT": "text", "Resource": "text"} | columns, (names[0], "resource_id", *names[1:])
    ranked = sorted(by_hour, key=_by_profit)
    largest = {bid["opportunity_id"] for bid in ranked[:MOST_ROWS]}
    explained_ids = {row["opportunity_id"] for row in facts["why"]} & largest
    rows, more = (
        [[_cell(bid, name, explained_ids) for name in names] for bid in part]
        for part in (ranked[:MOST_ROWS], ranked[MOST_ROWS:])
    )
    caption = "Bids of the day; prices per MWh, for reserve per MW and hour"
    reasons = {row["opportunity_id"]: row["why"] for row in facts["why"]}
    explained = [
        {**bid, "reason": reasons.get(bid["opportunity_id"], bid["reason"])} for bid in sorted(trading, key=_by_profit)
    ]
    others = [bid for bid in explained[EXPLAINED:] if bid["opportunity_id"] in largest]
    return {
        "counts": {name: sum(bid["product"] == name for bid in trading) for name in PRODUCTS},
        "charts": [_prices(facts, product, labels) for product in PRODUCTS],
        "stacks": [_stack(facts, product) for product in PRODUCTS],
        "resources": _resources(facts),
        "are_several": len(facts["resources"]) > 1,
        "is_spread": any(len(each) > 1 for each in _by_hour_and_product(trading).values()),
        "in_storage": len(trading) - len(by_hour),
        "table": Table(caption, columns, rows),
        "more": Table(f"{caption}: the other {len(more)}", columns, more),
        "explained": explained[:EXPLAINED],
        "others": others,
        "unexplained": len(explained) - len(explained[:EXPLAINED]) - len(others),
        "idle_count": len(facts["bids"]) - len(trading),
        "idle": _idle([bid for bid in facts["bids"] if bid["status"] != "bid"], reasons),
    }


def _by_profit(bid: dict[str, Any]) -> tuple[bool, float, str]:
    """Energy first, then reserve, each with the highest profit first."""
    return bid["product"] != PRODUCTS[0], -bid["expected_profit_usd"], bid["opportunity_id"]


def _cell(bid: dict[str, Any], name: str, explained: set[str]) -> Any:
    """A bid's cell of the table; its hour leads to the reason, where that is on the page."""
    is_link = name == "pacific" and bid["opportunity_id"] in explained
    return Link(bid[name], f"#why-{quote(bid['opportunity_id'])}") if is_link else bid[name]


def _by_hour_and_product(bids: Rows) -> dict[tuple[object, str], Rows]:
    found: dict[tuple[object, str], Rows] = {}
    for bid in bids:
        found.setdefault((bid["start_utc"], bid["product"]), []).append(bid)
    return found


def _idle(idle: Rows, reasons: dict[str, str]) -> Table:
    """No-bids with their reasons; of many, those of one resource, product, and reason in one row."""
    told = [(bid, str(reasons.get(bid["opportunity_id"], bid["reason"]))) for bid in idle]
    if len(idle) <= MOST_ROWS:
        columns = {"Hour, PT": "text", "Product": "product", "Expected price": "usd", "Reason": "text"}
        rows = [[bid["pacific"], bid["product"], bid["forecast_price"], why] for bid, why in told]
        return Table("Opportunities without a bid", columns, rows)
    hours: dict[tuple[str, ...], list[str]] = {}
    for bid, why in told:
        hours.setdefault((bid["resource_id"], bid["product"], why), []).append(bid["pacific"])
    return Table(
        "Opportunities without a bid, by resource and reason",
        {"Resource": "text", "Product": "product", "Hours": "count", "First and last, PT": "text", "Reason": "text"},
        [
            [name, product, len(of_reason), f"{of_reason[0]}, {of_reason[-1]}", why]
            for (name, product, why), of_reason in sorted(hours.items())
        ],
    )


def _resources(facts: Facts) -> Table:
    """What each resource earns with ancillary services and without, and what it is certified for.

    Storage resources have a table of their own.
    """
    columns = {
        "Resource": "text",
        "Takes part": "text",
        "Members": "count",
        **{f"Certified {name}, MW": "text" for name in RESERVES},
        "Profit without reserve": "usd",
        "Profit of reserve": "usd",
        "Profit": "usd",
        "Payments": "usd",
    }
    rows = [
        [
            *(row[name] for name in ("resource_id", "participation", "prosumers")),
            *(certified(row, reserve.certified_column, facts) for reserve in CAISO.reserves),
            *(row[f"{name}_usd"] for name in ("energy_profit", "reserve_profit", "expected_profit", "payments")),
        ]
        for row in facts["resources"]
        if row["pool_id"] is None
    ]
    return Table("Expected earnings of each resource, with ancillary services and without", columns, rows)


def _prices(facts: Facts, product: str, labels: Sequence[str]) -> Figure:
    """Bid prices of one product under its price forecast."""
    hours = facts["forecast"]
    place = {hour["start_utc"]: number_ for number_, hour in enumerate(hours)}
    mine = [bid for bid in facts.trading if bid["product"] == product]
    priced = [
        PricedBid(
            place[bid["start_utc"]],
            bid["duration_hours"],
            bid["total_capacity_mw"],
            bid["bid_price_usd_per_mwh"],
            bid["forecast_price"],
        )
        for bid in mine
        if bid["bid_price_usd_per_mwh"] is not None  # only charges, sells sun, or covers reserve
    ]
    forecast = [hour[product] for hour in hours]
    best = max(mine, key=lambda bid: bid["expected_profit_usd"], default=None)
    caption = f"{many(len(mine), 'bid')}, expected profit {usd(_total(mine, 'expected_profit_usd'))}"
    if best is not None:
        caption += f"; highest at {best['pacific']} PT, {usd(best['expected_profit_usd'])}"
    clearing = {hour["start_utc"]: hour[product] for hour in facts["cleared"] if hour["node"] == hours[0]["node"]}
    cleared = [clearing.get(hour["start_utc"]) for hour in hours]
    unit = f"$/{PER[product]}"
    words = f"{caption}. Expected prices range from {usd(min(forecast))} to {price(max(forecast), product)}."
    bids_at = [[bid for bid in priced if bid.place <= k < bid.place + bid.hours] for k in range(len(labels))]
    is_spread = any(bid.price != of_hour[0].price for of_hour in bids_at for bid in of_hour)
    legend = [(product, "lowest bid" if is_spread else "bid"), ("forecast", "forecast")]
    if is_spread:
        legend.insert(1, (f"{product} spread", "up to the highest"))
    if any(bid.hours == 1 and abs(bid.expected - forecast[bid.place]) > 0.005 for bid in priced):
        legend.append(("offered", "price of a request"))
    rows = [
        [
            hour,
            expected,
            *((min(bid.price for bid in of_hour), sum(bid.mw for bid in of_hour)) if of_hour else (None, None)),
        ]
        for hour, expected, of_hour in zip(labels, forecast, bids_at, strict=True)
    ]
    columns = {"Hour, PT": "text", f"Forecast, {unit}": "number", f"Bid, {unit}": "number", "MW": "number"}
    if clearing:
        legend.append(("cleared", "clearing price"))
        columns[f"Clearing price, {unit}"] = "number"
        rows = [[*row, value] for row, value in zip(rows, cleared, strict=True)]
    return Figure(
        product.capitalize(),
        prices_chart(f"Price of {product}, bids and forecast", words, unit, labels, forecast, product, priced, cleared),
        f"{caption}.",
        legend,
        Table(f"{product.capitalize()} by hour", columns, rows),
    )


def _stack(facts: Facts, product: str) -> Figure:
    """MW offered by hour ending in the order of their prices, awards once settled, and what was bid before."""
    hours = facts["forecast"]
    labels = [str(hour["hour_ending"]) for hour in hours]
    offers = list(_offers(facts, product))
    awarded: list[float | None] = [None] * len(hours)
    for bid in facts["settled"]:
        if bid["product"] == product:
            for place in _places(hours, bid):
                awarded[place] = (awarded[place] or 0.0) + bid["awarded_mw"]
    before: dict[str, dict[int, float]] = {"run": {}, "day": {}}
    for row in facts["earlier"]:
        if row["product"] == product:
            before[row["kind"]][row["hour_ending"]] = row["mw"]
    runs, days = ([before[kind].get(hour["hour_ending"]) for hour in hours] for kind in ("run", "day"))
    ghost_day = next((row["market_date"] for row in facts["earlier"] if row["kind"] == "day"), None)
    kinds = {offer.kind for offer in offers}
    entries = [
        (product, "at the forecast or below"),
        (f"{product} dearer", "above the forecast"),
        ("charge", "charging, forecast or above"),
        ("charge dearer", "charging below the forecast"),
    ]
    legend = [(kind, words) for kind, words in entries if kind in kinds]
    lines: list[tuple[str, str, list[float | None]]] = [
        ("awarded", "awarded", awarded),
        ("ghost-run", "previous run", runs),
        ("ghost-day", f"previous day, {ghost_day}", days),
    ]
    shown = [(kind, words, values) for kind, words, values in lines if any(value is not None for value in values)]
    offered = [
        sum(offer.mw for offer in offers if offer.place == place and offer.mw > 0.0) for place in range(len(hours))
    ]
    peak = max(range(len(hours)), key=offered.__getitem__, default=0)
    caption = "No MW are offered."
    if offers and offered[peak]:
        caption = f"Most in hour ending {labels[peak]}: {number(offered[peak])} MW."
    columns = {"Hour ending": "text", "Hour, PT": "text", "MW offered": "number"}
    columns |= {words[:1].upper() + words[1:]: "number" for _, words, _ in shown}
    rows = [
        [label, hour["pacific"], offered[place], *(values[place] for _, _, values in shown)]
        for place, (label, hour) in enumerate(zip(labels, hours, strict=True))
    ]
    title = f"Bid stack of {product} by hour ending"
    ghosts = [("ghost-day", days), ("ghost-run", runs)]
    chart = stack_chart(title, caption, labels, offers, awarded, ghosts)
    legend += [(kind, words) for kind, words, _ in shown]
    return Figure(product.capitalize(), chart, caption, legend, Table(f"{title}, MW", columns, rows))


def _places(hours: Rows, block: dict[str, Any]) -> Iterator[int]:
    """Places of the hours that a block covers."""
    end = block["start_utc"] + timedelta(hours=block["duration_hours"])
    return (place for place, hour in enumerate(hours) if block["start_utc"] <= hour["start_utc"] < end)


def _offers(facts: Facts, product: str) -> Iterator[Offer]:
    """Segments of all bids of a product by hour, the cheapest first, and of charging that which pays most first."""
    hours = facts["forecast"]
    of_place: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for segment in facts["segments"]:
        if segment["product"] == product:
            low, high = segment["from_mw"], segment["to_mw"]
            parts = (max(high, 0.0) - max(low, 0.0), min(low, 0.0) - min(high, 0.0))  # of selling, and of charging
            for place in _places(hours, segment):
                of_place[place] += [(segment["price"], mw) for mw in parts if abs(mw) > 1e-9]
    for place, priced in sorted(of_place.items()):
        hour = hours[place]
        for sign in (1.0, -1.0):
            mine = sorted(((at, mw) for at, mw in priced if mw * sign > 0.0), key=lambda part: sign * part[0])
            does = [sign * at <= sign * hour[product] for at, _ in mine]  # whether the forecast reaches it
            cut = sum(does)
            groups = [[part] for part in mine] if len(mine) <= MOST_OFFERS else [mine[:cut], mine[cut:]]
            for group in filter(None, groups):
                low, high = min(at for at, _ in group), max(at for at, _ in group)
                at = usd(low) if low == high else f"{usd(low)} to {usd(high)}"
                mw = sum(mw for _, mw in group)
                kind = product if sign > 0.0 else "charge"
                kind += "" if sign * group[0][0] <= sign * hour[product] else " dearer"
                words = f"hour ending {hour['hour_ending']}, {hour['pacific']} PT: {number(abs(mw), 3)} MW"
                yield Offer(place, mw, kind, f"{words}{'' if sign > 0.0 else ' of charging'} at {at}")


def fleet(facts: Facts) -> dict[str, Any]:
    """The schedule by hour, stacked by product, and the state of charge behind it; no charts where there is none."""
    hours = facts["hours"]
    charts = [_dispatch(hours), _stored(hours)] if hours else []
    return {**facts.one("fleet"), "has_storage": bool(facts["storage"]), "charts": charts}


def _dispatch(hours: Sequence[dict[str, Any]]) -> Figure:
    labels = [hour["pacific"] for hour in hours]
    up = [
        Series("of energy from storage", "energy", [hour["discharge_mw"] for hour in hours]),
        Series("of solar sold", "solar", [hour["solar_sold_mw"] for hour in hours]),
        *(Series(f"of {name}", name, [hour[f"{name}_mw"] for hour in hours]) for name in RESERVES),
    ]
    charging = [hour["grid_charge_mw"] + hour["solar_charge_mw"] for hour in hours]
    peak = max(hours, key=lambda hour: hour["discharge_mw"] + hour["solar_sold_mw"])
    peak_mw = peak["discharge_mw"] + peak["solar_sold_mw"]
    caption = f"Peak sale {number(peak_mw)} MW at {peak['pacific']} PT" if peak_mw else "No energy is sold"
    caption += f"; {number(sum(charging))} MWh of charging over the day."
    names = ("discharge_mw", "solar_sold_mw", *(f"{name}_mw" for name in RESERVES), "grid_charge_mw", "solar_charge_mw")
    heads = ("Discharge", "Solar sold", *(name.capitalize() for name in RESERVES), "Charging, grid", "Charging, solar")
    return Figure(
        "Energy, reserve, and charging",
        stacked_hours("Dispatch by hour", caption, "MW", labels, up, [Series("of charging", "charge", charging)]),
        caption,
        [
            ("energy", "energy from storage"),
            ("solar", "solar sold"),
            *((name, name) for name in RESERVES),
            ("charge", "charging"),
        ],
        Table(
            "Dispatch by hour, MW",
            {"Hour, PT": "text", **dict.fromkeys(heads, "thousandths")},
            [[hour["pacific"], *(hour[name] for name in names)] for hour in hours],
        ),
    )


def _stored(hours: Sequence[dict[str, Any]]) -> Figure:
    labels = [hour["pacific"] for hour in hours]
    full = max(hours, key=lambda hour: hour["stored_mwh"])
    caption = (
        f"Highest at the end of the hour from {full['pacific']} PT: "
        f"{number(full['stored_mwh'])} of {number(full['max_stored_mwh'])} MWh."
    )
    low, stored, high = ([hour[name] for hour in hours] for name in ("min_stored_mwh", "stored_mwh", "max_stored_mwh"))
    return Figure(
        "State of charge",
        energy_chart("State of charge by hour", caption, labels, stored, low, high),
        caption,
        [("stored", "state of charge"), ("band", "between floor and capacity")],
        Table(
            "State of charge at the end of each hour, MWh",
            {"Hour, PT": "text", "Floor": "number", "State of charge": "number", "Capacity": "number"},
            list(zip(labels, low, stored, high, strict=True)),
        ),
    )


def _total(rows: Sequence[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] for row in rows))
