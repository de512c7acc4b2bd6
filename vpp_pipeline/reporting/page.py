"""The report as one file that needs nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.reporting.bids_and_fleet import bids, fleet, glance
from vpp_pipeline.reporting.checks import checks, stamp
from vpp_pipeline.reporting.html import Html, long_date, many, number, tag, text
from vpp_pipeline.reporting.negotiation_and_payments import limits, negotiation, payments
from vpp_pipeline.reporting.queries import Facts, read_facts
from vpp_pipeline.settings import Settings

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
BIDS = "bids.final_bids"


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


def report_file(data: Path, market_date: date) -> Path:
    """Where the day's report is, or will be."""
    return data / "reports" / f"{market_date}.html"


def write_report(data: Path, market_date: date, file: Path | None = None) -> Path:
    """Write the report of a published day; the old one stays until the new one is whole."""
    file = file or report_file(data, market_date)
    facts = read_facts(data / "vpp.duckdb", market_date)
    facts = replace(facts, settings=_settings(Lake(data / "lake"), facts))
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page(facts), encoding="utf-8")
        os.replace(draft, file)
    except OSError as error:
        raise InputError(
            f"the report cannot be written: {error.strerror}", file=file, remedy="Name another file"
        ) from None
    return file


def _settings(lake: Lake, facts: Facts) -> dict[str, Any]:
    """Settings that made the published bids: they stand beside these in the lake or, where a later run left others
    there, in `bids.runs`, which keeps those that differ from the defaults."""
    stamp, day = facts.one("stamp"), facts.market_date.isoformat()
    if lake.exists(BIDS, day) and lake.read(BIDS, day, ["run_id"])["run_id"][0] == stamp["run_id"]:
        found: dict[str, Any] = json.loads(lake.metadata(BIDS, day).get("settings", "{}"))
        return found
    kept = facts.one("run")
    settings = Settings().model_dump(mode="json") if kept else {}
    for name, value in json.loads(kept.get("settings", "{}")).items():
        group, _, setting = name.partition(".")
        settings.setdefault(group, {})[setting] = value
    return settings
