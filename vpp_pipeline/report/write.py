"""The report as a file beside the warehouse."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.report.facts import Facts, read_facts
from vpp_pipeline.report.page import page
from vpp_pipeline.settings import Settings

BIDS = "bids.final_bids"


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
