"""The report of a day: one HTML file that needs nothing else, or a page of the desk."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from vpp_pipeline.core.calendar import note_on_source
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.data_settings import lake_of
from vpp_pipeline.reporting.bids_and_fleet import bids, fleet, glance
from vpp_pipeline.reporting.checks import checks, inputs, reproduction
from vpp_pipeline.reporting.documents import FORMATS
from vpp_pipeline.reporting.html import Place, document, long_date
from vpp_pipeline.reporting.negotiation_and_payments import limits, negotiation, payments
from vpp_pipeline.reporting.queries import Facts, read_facts
from vpp_pipeline.reporting.settlement import settlement
from vpp_pipeline.reporting.storage import storage
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import Settings

#: values of each section by the name of its template, in the order of the page
SECTIONS = {
    "glance": glance,
    "settlement": settlement,
    "bids": bids,
    "storage": storage,
    "fleet": fleet,
    "negotiation": negotiation,
    "limits": limits,
    "payments": payments,
    "inputs": inputs,
    "checks": checks,
    "reproduction": reproduction,
}
#: what the navigation leads to, where the day has it
PARTS = {name: name.capitalize() for name in SECTIONS if name != "glance"}
BIDS = "bids.final_bids"
#: files of a day that the desk hands out -> the table and what it holds
DOWNLOADS = {
    **{f"bids.{kind}": (BIDS, f"bids, {kind}") for kind in FORMATS},
    **{f"segments.{kind}": ("bids.bid_segments", f"bid curves, {kind}") for kind in FORMATS},
    "oasis.csv": ("bids.oasis", "as OASIS writes bids, csv"),
}


def page(facts: Facts) -> str:
    """The day's report, by itself or, where the facts have a place, as a page of the desk."""
    source = (facts["forecast"] or [{"node": "unknown node", "source": "unknown"}])[0]
    values = {name: values_of(facts) for name, values_of in SECTIONS.items()}
    return document(
        "page.html.j2",
        facts.place,
        title=f"Bids for {long_date(facts.market_date)}",
        node=source["node"],
        source=source["source"],
        banners=banners(note_on_source(source["source"]), facts.one("day").get("stand_ins")),
        best=max(facts.trading, key=lambda bid: bid["expected_profit_usd"], default=None),
        parts={name: words for name, words in PARTS.items() if values[name]},
        sections=list(SECTIONS),
        market_date=str(facts.market_date),
        month=f"{facts.market_date:%Y-%m}",
        beside=facts.one("beside"),
        downloads=DOWNLOADS,
        **values,
    )


def banners(prices: str, forecasts: str | None) -> dict[str, str]:
    """What a reader must know before any figure: heading -> words."""
    told = {"Not for a market": prices, "A forecast stood in": forecasts or ""}
    return {heading: words.rstrip(".") for heading, words in told.items() if words}


def report_file(data: Path, market_date: date) -> Path:
    """Path of the day's report, whether it exists or not."""
    return data / "reports" / f"{market_date}.html"


def page_of_day(market_date: date) -> str:
    """Address of the day's page, below the desk's."""
    return f"days/{market_date}.html"


def write_report(data: Path, market_date: date, file: Path | None = None) -> Path:
    """Write the report of a published day and return its path; the old one stays until the new one is whole."""
    file = file or report_file(data, market_date)
    text = page(facts_of(data, market_date))
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, file)
    except OSError as error:
        raise InputError(
            f"the report cannot be written: {error.strerror}", file=file, remedy="Name another file"
        ) from None
    return file


def facts_of(data: Path, market_date: date, place: Place | None = None) -> Facts:
    """What the page of a published day is computed from. Raises NoDataError where no bids of it are published."""
    facts = read_facts(data / "vpp.duckdb", market_date)
    return replace(facts, settings=_settings(lake_of(data), facts), place=place)


def _settings(lake: Lake, facts: Facts) -> dict[str, Any]:
    """Settings of the published bids: they stand beside these in the lake or, where the day was taken from the
    warehouse again, in `bids.runs`, which has those that differ from the defaults.

    How the single resource took part is that of the day: another was the default before.
    """
    kept = lake.day(facts.market_date)
    with suppress(InputError, StoreError):  # damaged, or not to be had: the report needs no more than the warehouse has
        if kept.exists(BIDS) and "settings" in (told := kept.metadata(BIDS)):
            found: dict[str, Any] = json.loads(told["settings"])
            return found
    run = facts.one("run")
    settings = Settings().model_dump(mode="json") if run else {}
    for name, value in json.loads(run.get("settings", "{}")).items():
        group, _, setting = name.partition(".")
        settings.setdefault(group, {})[setting] = value
    for resource in facts["resources"] if run else ():
        if (resource["pool_id"] or resource["resource_id"]) == DESK:
            settings["resources"]["participation"] = resource["participation"] or "hourly"
    return settings
