"""The negotiation, the limits that bind, and the payments, as values for the templates."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.reporting.charts import Bar, bars_chart, columns_chart, rounds_chart
from vpp_pipeline.reporting.html import PER, PRODUCTS, Figure, Link, Table, many, number, price, statement_address
from vpp_pipeline.reporting.queries import Facts
from vpp_pipeline.reporting.svg import Series

STEPS = {
    "asked": "contacted",
    "bids": "submitted an ask",
    "countered": "received an offer",
    "agreed": "agreed",
    "delivering": "deliver",
}
BY_PRODUCT = {product.capitalize(): "count" for product in PRODUCTS}
LEGEND = [(product, product) for product in PRODUCTS]
MOST_LIMITS = 10


def negotiation(facts: Facts) -> dict[str, Any]:
    """The funnel from first contact to delivery, satisfaction, and prices by round."""
    return {
        "engines": ", ".join(row["engine"] for row in facts["engines"]),
        "overview": [_funnel(facts), _satisfaction(facts)],
        "rounds": [chart for product in PRODUCTS if (chart := _rounds(facts, product))],
    }


def _funnel(facts: Facts) -> Figure:
    by_product = {row["product"]: row for row in facts["funnel"]}
    counts = {step: {name: by_product[name][step] for name in PRODUCTS if name in by_product} for step in STEPS}
    totals = {step: sum(counts[step].values()) for step in STEPS}
    bars = [
        Bar(
            words,
            [(value, name, f"{name}: {number(value, 0)} {words}") for name, value in counts[step].items()],
            f"{number(totals[step], 0)}, {percent(totals[step] / totals['asked'])}" if totals["asked"] else "0",
        )
        for step, words in STEPS.items()
    ]
    caption = (
        f"Of {many(totals['asked'], 'contact')}, {number(totals['agreed'], 0)} lead to a deal "
        f"and {number(totals['delivering'], 0)} to a delivery."
    )
    return Figure(
        "Negotiation funnel",
        bars_chart("Negotiation funnel", caption, bars),
        caption,
        LEGEND,
        Table(
            "Prosumers at each step, by product",
            {"Step": "text", **BY_PRODUCT},
            [[words, *(counts[step].get(name, 0) for name in PRODUCTS)] for step, words in STEPS.items()],
        ),
    )


def _satisfaction(facts: Facts) -> Figure:
    heading = "Owner satisfaction, 0 to 10"
    if not facts["satisfaction"]:
        return Figure(heading, Markup(), "No deliveries, so no satisfaction scores.")
    starts = sorted({0.0, *(5.0 + 0.5 * k for k in range(10))})
    found = {(row["product"], float(row["from_score"])): row["deliveries"] for row in facts["satisfaction"]}
    series = [
        Series(f"deliveries of {name}", name, [float(found.get((name, start), 0)) for start in starts])
        for name in PRODUCTS
    ]
    labels = ["< 5" if start == 0.0 else f"{start:g}" for start in starts]
    caption = (
        f"{many(facts.one('deliveries')['deliveries'], 'delivery', 'deliveries')}, mean "
        f"{number(facts.one('content')['satisfaction_score'])} of 10, weighted by commitment. 5 is payment at the "
        "reservation price; more above it and a higher share of the commitment called raise the score; 0 is a "
        "violated preference."
    )
    return Figure(
        heading,
        columns_chart("Satisfaction of deliveries", caption, "deliveries", labels, series),
        caption,
        LEGEND,
        Table(
            "Deliveries by satisfaction",
            {"Score from": "text", **BY_PRODUCT},
            [[label, *(each.values[k] for each in series)] for k, label in enumerate(labels)],
        ),
    )


def _rounds(facts: Facts, product: str) -> Figure | None:
    rows = [row for row in facts["concessions"] if row["product"] == product]
    if not rows:
        return None
    names = ("round", "mean_ask_usd_per_mwh", "mean_offer_usd_per_mwh", "accepted")
    rounds, asks, offers, deals = ([row[name] for row in rows] for name in names)
    caption = f"Mean ask in open negotiations from {usd(asks[0])} to {price(asks[-1], product)}"
    if offers[0] is not None and offers[-1] is not None:
        caption += f", mean offer from {usd(offers[0])} to {usd(offers[-1])}"
    caption += f"; {many(sum(deals), 'deal')}."
    unit = f"$/{PER[product]}"
    columns = {
        "Round": "count",
        "Negotiations": "count",
        f"Mean ask, {unit}": "number",
        f"Mean offer, {unit}": "number",
        "Deals": "count",
        "MW of deals": "number",
        "Withdrawals": "count",
    }
    cells = ("round", "talks", "mean_ask_usd_per_mwh", "mean_offer_usd_per_mwh", "accepted", "accepted_mw", "left")
    return Figure(
        product.capitalize(),
        rounds_chart(f"Asks and offers by round, {product}", caption, unit, rounds, asks, offers, deals),
        caption,
        [("ask", "mean ask of owners"), ("offer", "mean offer to owners")],
        Table(f"{product.capitalize()} by round", columns, [[row[name] for name in cells] for row in rows]),
    )


def limits(facts: Facts) -> dict[str, Any]:
    """The limits that bind most often."""
    rows = facts["limits"]
    values: dict[str, Any] = {"sample": facts.sample, "chart": None}
    if not rows:
        return values
    bars = [
        Bar(
            row["limit_name"],
            [(row["times"], "owner" if row["limit_name"].startswith("owner") else "limit", _times(row))],
            _times(row),
        )
        for row in rows[:MOST_LIMITS]
    ]
    caption = f"Most frequent: {rows[0]['limit_name']}, {_times(rows[0])}."
    legend = [("limit", "of device, storage, or contract"), ("owner", "owner preference, or EV away")]
    return {
        **values,
        "chart": Figure("Most frequent limits", bars_chart("Binding limits", caption, bars), caption, legend),
        "table": Table(
            "How often each limit binds",
            {"Limit": "text", "Times": "count", "Prosumers": "count"},
            [[row["limit_name"], row["times"], row["prosumers"]] for row in rows],
        ),
    }


def _times(row: dict[str, Any]) -> str:
    return many(row["times"], "time")


def payments(facts: Facts) -> dict[str, Any]:
    """Payments by archetype, and the owners who earn most with the reasons."""
    kinds = facts["archetypes"]
    paid_usd = float(sum(row["payment_usd"] for row in kinds))
    bars = [
        Bar(
            f"{row['archetype']}: {number(row['delivering'], 0)} of {many(row['prosumers'], 'prosumer')} deliver",
            [(row["payment_usd"], "paid", usd(row["payment_usd"]))],
            usd(row["payment_usd"]),
        )
        for row in kinds
    ]
    caption = f"Highest: {kinds[0]['archetype']}, {usd(kinds[0]['payment_usd'])}." if paid_usd else "No payments."
    columns = {
        "Archetype": "text",
        "Sites": "count",
        "Prosumers": "count",
        "Deliver": "count",
        "Total": "usd",
        "Per site": "usd",
    }
    cells = ("archetype", "sites", "prosumers", "delivering", "payment_usd", "usd_per_site")
    earner_columns = {
        "Prosumer": "text",
        "Archetype": "text",
        "Earnings": "usd",
        "Surplus": "usd",
        "Energy, kWh": "tenths",
        "Reserve, kW·h": "tenths",
        "Satisfaction": "number",
        "Reason": "text",
    }
    earner_cells = (
        *("archetype", "earned_usd", "above_least_usd", "energy_kwh", "reserve_kw_h"),
        *("satisfaction_score", "why"),
    )
    return {
        "paid_usd": paid_usd,
        "top_ups_usd": facts.one("books").get("top_ups_usd") or 0.0,
        "chart": Figure("Payments by archetype", bars_chart("Payments by archetype", caption, bars), caption),
        "table": Table("Payments by archetype", columns, [[row[name] for name in cells] for row in kinds]),
        "earners": Table(
            "Highest earnings; surplus is the part above reservation prices",
            earner_columns,
            [[_owner(facts, row["prosumer_id"]), *(row[name] for name in earner_cells)] for row in facts["earners"]],
        ),
    }


def _owner(facts: Facts, prosumer_id: str) -> str | Link:
    """The owner's id; on the desk it leads to the statement of the month."""
    if facts.place is None:
        return prosumer_id
    return Link(prosumer_id, facts.place.root + statement_address(prosumer_id, f"{facts.market_date:%Y-%m}"))
