"""The report as a file beside the warehouse."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

from vpp_pipeline.errors import InputError
from vpp_pipeline.report.facts import read_facts
from vpp_pipeline.report.page import page
from vpp_pipeline.warehouse.lake import Lake

BIDS = "bids.final_bids"


def report_file(data: Path, market_date: date) -> Path:
    """Where the day's report is, or will be."""
    return data / "reports" / f"{market_date}.html"


def write_report(data: Path, market_date: date, file: Path | None = None) -> Path:
    """Write the report of a published day; the old one stays until the new one is whole."""
    file = file or report_file(data, market_date)
    facts = read_facts(data / "vpp.duckdb", market_date, _settings(Lake(data / "lake"), market_date))
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


def _settings(lake: Lake, market_date: date) -> dict[str, Any]:
    """Settings that made the bids, which stand beside them in the lake."""
    if not lake.exists(BIDS, market_date.isoformat()):
        return {}
    found: dict[str, Any] = json.loads(lake.metadata(BIDS, market_date.isoformat()).get("settings", "{}"))
    return found
