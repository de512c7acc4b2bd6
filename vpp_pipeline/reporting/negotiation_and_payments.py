"""How deals were struck, what stops prosumers from more, and what they are paid."""

from __future__ import annotations

from vpp_pipeline.reporting.bids_and_fleet import UNIT
from vpp_pipeline.reporting.charts import Bar, Series, bars_chart, columns_chart, rounds_chart
from vpp_pipeline.reporting.html import PRODUCTS, Html, figure, grid, many, number, percent, section, table, tag
from vpp_pipeline.reporting.queries import Facts

STEPS = {
    "asked": "asked",
    "bids": "answered with an ask",
    "countered": "got an offer",
    "agreed": "agreed",
    "delivering": "deliver",
}
LEGEND = [(product, product) for product in PRODUCTS]
MOST_LIMITS = 10


def negotiation(facts: Facts) -> Html:
    """From the call to the delivery, and how prices met."""
    engines = ", ".join(row["engine"] for row in facts["engines"])
    lead = (
        f"Each opportunity is negotiated with every prosumer by itself (engine: {engines}); "
        "counted are prosumers, once per opportunity."
    )
    charts = [chart for product in PRODUCTS if (chart := _rounds(facts, product))]
    return section(
        "negotiation",
        "Negotiation",
        lead,
        grid("two", _funnel(facts), _satisfaction(facts)),
        tag("h3", "Price concessions by round") if charts else "",
        grid("three", *charts) if charts else "",
    )


def _funnel(facts: Facts) -> Html:
    by_product = {row["product"]: row for row in facts["funnel"]}
    counts = {step: {name: by_product[name][step] for name in PRODUCTS if name in by_product} for step in STEPS}
    asked = sum(counts["asked"].values())
    bars = []
    for step, words in STEPS.items():
        total = sum(counts[step].values())
        told = f"{number(total, 0)}, {percent(total / asked)}" if asked else "0"
        bars.append(
            Bar(
                words,
                [(value, name, f"{name}: {number(value, 0)} {words}") for name, value in counts[step].items()],
                told,
            )
        )
    deals, deliveries = (sum(counts[step].values()) for step in ("agreed", "delivering"))
    ends = f"Of {many(asked, 'call')}, {number(deals, 0)} end in a deal and {number(deliveries, 0)} in a delivery."
    rows = [(words, *(number(counts[step].get(name, 0), 0) for name in PRODUCTS)) for step, words in STEPS.items()]
    return figure(
        "From call to delivery",
        bars_chart("Negotiation funnel", ends, bars),
        ends,
        LEGEND,
        table("Prosumers left at each step, by product", ("Step", *(name.capitalize() for name in PRODUCTS)), rows),
    )


def _satisfaction(facts: Facts) -> Html:
    rows, content, made = facts["satisfaction"], facts.one("content"), facts.one("deliveries")
    if not rows:
        return figure("Satisfaction", "", "Nobody delivers, so nobody is asked how content they are.", [])
    starts = sorted({0.0, *(5.0 + 0.5 * k for k in range(10))})
    found = {(row["product"], float(row["from_score"])): row["deliveries"] for row in rows}
    stack = [
        Series(f"deliveries of {name}", name, [float(found.get((name, start), 0)) for start in starts])
        for name in PRODUCTS
    ]
    labels = ["< 5" if start == 0.0 else f"{start:g}" for start in starts]
    words = (
        f"{many(made['deliveries'], 'delivery', 'deliveries')}, "
        f"mean {number(content.get('satisfaction_score'))} of 10, weighted by commitment. "
        "5 is the least price; more above it, and more of the commitment called, is better; 0 would be a broken wish."
    )
    behind = table(
        "Deliveries by satisfaction",
        ("Score from", *(name.capitalize() for name in PRODUCTS)),
        [(label, *(number(series.values[k], 0) for series in stack)) for k, label in enumerate(labels)],
    )
    chart = columns_chart("Satisfaction of deliveries", words, "deliveries", labels, stack)
    return figure("Satisfaction, 0 to 10", chart, words, LEGEND, behind)


def _rounds(facts: Facts, product: str) -> Html | None:
    rows = [row for row in facts["concessions"] if row["product"] == product]
    if not rows:
        return None
    asks, offers = ([row[name] for row in rows] for name in ("mean_ask_usd_per_mwh", "mean_offer_usd_per_mwh"))
    deals, rounds = [row["accepted"] for row in rows], [row["round"] for row in rows]
    words = f"Mean ask of those still talking from {number(asks[0])} to {number(asks[-1])} {UNIT[product]}"
    if offers[0] is not None and offers[-1] is not None:
        words += f", mean offer to them from {number(offers[0])} to {number(offers[-1])}"
    words += f"; {many(sum(deals), 'deal')}."
    behind = table(
        f"{product.capitalize()} by round",
        ("Round", "Talks", f"Mean ask {UNIT[product]}", f"Mean offer {UNIT[product]}", "Deals", "MW of deals", "Left"),
        [
            (
                number(row["round"], 0),
                number(row["talks"], 0),
                number(row["mean_ask_usd_per_mwh"]),
                number(row["mean_offer_usd_per_mwh"]),
                number(row["accepted"], 0),
                number(row["accepted_mw"]),
                number(row["left"], 0),
            )
            for row in rows
        ],
    )
    chart = rounds_chart(f"Asks and offers by round, {product}", words, UNIT[product], rounds, asks, offers, deals)
    return figure(product.capitalize(), chart, words, [("ask", "owners ask"), ("offer", "we offer")], behind)


def limits(facts: Facts) -> Html:
    """What stops prosumers most often."""
    rows = facts["limits"][:MOST_LIMITS]
    lead = (
        "How often a limit was reached, counted per prosumer and hour (a commitment: per delivery). "
        "A limit of the owner is never traded away."
    )
    if facts.every > 1:
        lead += f" Counted {facts.sampled.replace('from', 'in')}."
    if not rows:
        return section("limits", "What stops them", lead, tag("p", "No limit was reached.", class_="note"))
    bars = [
        Bar(
            row["limit_name"],
            [
                (
                    row["times"],
                    "owner" if row["limit_name"].startswith("owner") else "limit",
                    f"{number(row['times'], 0)} times",
                )
            ],
            f"{number(row['times'], 0)} times",
        )
        for row in rows
    ]
    words = f"Reached most often: {rows[0]['limit_name']}, {number(rows[0]['times'], 0)} times."
    behind = table(
        "Limits reached",
        ("Limit", "Times", "Prosumers"),
        [(row["limit_name"], number(row["times"], 0), number(row["prosumers"], 0)) for row in facts["limits"]],
    )
    legend = [("limit", "of device, store or deal"), ("owner", "the owner's wish, or the car away")]
    chart = figure("Limits reached most often", bars_chart("Limits reached", words, bars), words, legend)
    return section("limits", "What stops them", lead, grid("two", chart, behind))


def payments(facts: Facts) -> Html:
    """Who is paid what, and why."""
    kinds, books = facts["archetypes"], facts.one("books")
    paid = sum(row["payment_usd"] for row in kinds)
    lead = f"{number(paid)} $ at agreed prices, nobody below their least price"
    lead += f", and {number(books['top_ups_usd'])} $ of top-ups." if books.get("top_ups_usd") else "."
    bars = [
        Bar(
            f"{row['archetype']}: {many(row['delivering'], 'prosumer')} of {number(row['prosumers'], 0)} deliver",
            [(row["payment_usd"], "paid", f"{number(row['payment_usd'])} $")],
            f"{number(row['payment_usd'])} $",
        )
        for row in kinds
    ]
    words = f"Most goes to {kinds[0]['archetype']}: {number(kinds[0]['payment_usd'])} $." if paid else "Nobody is paid."
    behind = table(
        "Payments by kind of home or business",
        ("Kind", "Sites", "Prosumers", "Deliver", "Paid $", "$ per site"),
        [
            (
                row["archetype"],
                *(number(row[name], 0) for name in ("sites", "prosumers", "delivering")),
                number(row["payment_usd"]),
                number(row["usd_per_site"]),
            )
            for row in kinds
        ],
    )
    earners = [
        (
            row["prosumer_id"],
            row["archetype"],
            number(row["earned_usd"]),
            number(row["above_least_usd"]),
            number(row["energy_kwh"], 1),
            number(row["reserve_kw_h"], 1),
            number(row["satisfaction_score"]),
            row["why"],
        )
        for row in facts["earners"]
    ]
    heads = ("Prosumer", ".Kind", "Earned $", "Above least $", "Energy kWh", "Reserve kW·h", "Satisfaction", ".Why")
    chart = figure("Paid, by kind of home or business", bars_chart("Payments by kind", words, bars), words, [])
    return section(
        "payments",
        "Payments",
        lead,
        grid("two", chart, behind),
        table("Who earns most", heads, earners) if earners else "",
    )
