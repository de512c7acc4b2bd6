"""The report of a day as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vpp_pipeline.core.calendar import note_on_source
from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.reporting.bids_and_fleet import bids, fleet, glance
from vpp_pipeline.reporting.checks import checks, reproduction
from vpp_pipeline.reporting.html import FOLDER, long_date, render
from vpp_pipeline.reporting.negotiation_and_payments import limits, negotiation, payments
from vpp_pipeline.reporting.queries import Facts, read_facts
from vpp_pipeline.reporting.storage import storage
from vpp_pipeline.settings import Settings

#: values of each section by the name of its template, in the order of the page
SECTIONS = {
    "glance": glance,
    "bids": bids,
    "storage": storage,
    "fleet": fleet,
    "negotiation": negotiation,
    "limits": limits,
    "payments": payments,
    "checks": checks,
    "reproduction": reproduction,
}
#: what the navigation leads to, where the day has it
PARTS = {name: name.capitalize() for name in SECTIONS if name != "glance"}
BIDS = "bids.final_bids"


def page(facts: Facts) -> str:
    """The day's report as HTML that is well-formed XML too; a browser loads nothing for it and runs nothing in it."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    source = (facts["forecast"] or [{"node": "unknown node", "source": "unknown"}])[0]
    values = {name: values_of(facts) for name, values_of in SECTIONS.items()}
    text = render(
        "page.html.j2",
        policy=f"default-src 'none'; style-src 'sha256-{_hash(style)}'; base-uri 'none'; form-action 'none'",
        title=f"Bids for {long_date(facts.market_date)}",
        style=Markup(style),
        node=source["node"],
        source=source["source"],
        banner=note_on_source(source["source"]),
        best=max(facts.trading, key=lambda bid: bid["expected_profit_usd"], default=None),
        parts={name: words for name, words in PARTS.items() if values[name]},
        sections=list(SECTIONS),
        **values,
    )
    return printable(text)  # owners' words may hold characters that XML does not know


def _hash(text: str) -> str:
    """As a Content-Security-Policy names the one style sheet that may apply."""
    return b64encode(sha256(text.encode()).digest()).decode()


def report_file(data: Path, market_date: date) -> Path:
    """Path of the day's report, whether it exists or not."""
    return data / "reports" / f"{market_date}.html"


def write_report(data: Path, market_date: date, file: Path | None = None) -> Path:
    """Write the report of a published day and return its path; the old one stays until the new one is whole."""
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
    """Settings of the published bids: they stand beside these in the lake or, where the day was taken from the
    warehouse again, in `bids.runs`, which has those that differ from the defaults."""
    kept = lake.day(facts.market_date)
    with suppress(InputError):  # damaged: the report needs no more than the warehouse has
        if kept.exists(BIDS) and "settings" in (told := kept.metadata(BIDS)):
            found: dict[str, Any] = json.loads(told["settings"])
            return found
    run = facts.one("run")
    settings = Settings().model_dump(mode="json") if run else {}
    for name, value in json.loads(run.get("settings", "{}")).items():
        group, _, setting = name.partition(".")
        settings.setdefault(group, {})[setting] = value
    return settings
