"""The page as a whole: one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from vpp_pipeline.report.day import bids, fleet, glance
from vpp_pipeline.report.evidence import checks, stamp
from vpp_pipeline.report.facts import Facts
from vpp_pipeline.report.markup import Html, tag, text
from vpp_pipeline.report.people import limits, negotiation, payments
from vpp_pipeline.report.words import long_date, many, number

STYLE = Path(__file__).with_name("style.css")
PARTS = {
    "bids": "Bids",
    "fleet": "Fleet",
    "negotiation": "Negotiation",
    "limits": "Limits",
    "payments": "Payments",
    "checks": "Rules",
    "stamp": "Make it again",
}


def page(facts: Facts) -> str:
    """The day's report as HTML that is well-formed XML too."""
    title = f"Bids for {long_date(facts.market_date)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    sections = [part(facts) for part in (glance, bids, fleet, negotiation, limits, payments, checks, stamp)]
    links = [tag("li", tag("a", words, href=f"#{name}")) for name, words in PARTS.items()]
    body = tag(
        "body",
        tag("a", "Skip to the figures", href="#glance", class_="skip"),
        tag(
            "header",
            tag("p", "Virtual power plant, day-ahead", class_="kicker"),
            tag("h1", title),
            tag("p", _sentence(facts), class_="lead"),
        ),
        tag("nav", tag("ul", *links), aria_label="Parts of this page"),
        tag("main", *sections, id="main"),
        tag("footer", tag("p", "Every number on this page is a row of the warehouse, vpp.duckdb: ask it in SQL.")),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sentence(facts: Facts) -> Html:
    source = (facts["forecast"] or [{"node": "unknown node", "source": "unknown"}])[0]
    trading = facts.trading
    where = f"{source['node']}, prices: {source['source']}. "
    if not trading:
        return text(where, "No bid: no opportunity of the day pays for what it would take.")
    profit = sum(bid["expected_profit_usd"] for bid in trading)
    best = max(trading, key=lambda bid: bid["expected_profit_usd"])
    return text(
        where,
        f"{many(len(trading), 'bid')} are expected to earn {number(profit)} $; the best is {best['product']} "
        f"at {best['pacific']}, {number(best['total_capacity_mw'])} MW for {number(best['expected_profit_usd'])} $.",
    )
