"""Inputs, and what of them was set aside; checks, optimality, and reconciliation; and what reproduces the day."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.reporting.html import Table, many, moment
from vpp_pipeline.reporting.queries import Facts, Rows
from vpp_pipeline.settings import Settings

FAULT = {"Column": "text", "Value": "text", "Problem": "text", "Remedy": "text"}
MOST_WORDS = 160  # letters of a value at fault: a row may hold more than a reader needs


def inputs(facts: Facts) -> dict[str, Any]:
    """What the day rests on, and the meters, rows of the fleet, and requests set aside, each with its reason."""
    meters, fleet, requests = (facts[f"{name}_aside"] for name in ("meters", "fleet", "requests"))
    asides = {
        "Meters set aside": ("Meter", meters, lambda row: row["meter_id"]),
        "Rows of the fleet set aside": ("Prosumer", fleet, lambda row: row["prosumer_id"] or f"row {row['file_row']}"),
        "Requests set aside": ("Request", requests, lambda row: f"row {row['file_row']}"),
    }
    return {
        "counts": {
            "meter": len({row["meter_id"] for row in meters}),
            "row": len({row["file_row"] for row in fleet}),
            "request": len({row["file_row"] for row in requests}),
        },
        "methods": Table(
            "Forecasts",
            {"Forecast of": "text", "Method": "text", "Made for, or latest input": "text"},
            [[row["what"], row["method"], str(row["made_for"])] for row in facts["methods"]],
        ),
        "metered": Table(
            "Metered hours behind the forecasts",
            {"Quantity": "text", "Source": "text", "Meters": "count", "First day": "text", "Last day": "text"},
            [
                [row["quantity"], row["source"], row["meters"], str(row["first_date"]), str(row["last_date"])]
                for row in facts["metered"]
            ],
        ),
        "asides": [_aside(caption, head, rows, name) for caption, (head, rows, name) in asides.items() if rows],
    }


def _aside(caption: str, head: str, rows: Rows, name: Callable[[dict[str, Any]], str]) -> Table:
    """What was set aside: its name, what is wrong with it and where, and the remedy."""

    def place(row: dict[str, Any]) -> str:
        days = f"{many(row['days'], 'day')} from {row['first_date']}" if row.get("first_date") else ""
        line = f"row {row['file_row']} of {row['file']}" if row["file"] and row["file_row"] else ""
        return ", ".join(filter(None, (days, line)))

    def value(row: dict[str, Any]) -> str | None:
        text = row["value"]
        return text if text is None or len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}…"

    cells = [[name(row), place(row), row["column_name"], value(row), row["problem"], row["remedy"]] for row in rows]
    return Table(caption, {head: "text", "Where": "text", **FAULT}, cells)


def checks(facts: Facts) -> dict[str, Any]:
    """Every check with its result, how the money adds up, and how far the schedule is from its bound."""
    rows, books = facts["checks"], facts.one("books")
    money = [
        ("profit of the bids", books.get("sum_bid_profit_usd")),
        ("charging and rounding not allocated to bids", books.get("unallocated_usd")),
        ("less top-ups", -books["top_ups_usd"] if books.get("top_ups_usd") is not None else None),
        ("profit after top-ups", books.get("kept_profit_usd")),
    ]
    return {
        "count": len(rows),
        "failed": sum(1 for row in rows if not row["passed"] and not row["is_warning"]),
        "table": Table(
            "Checks",
            {"Check": "text", "Result": "text", "Details": "text"},
            [[row["check_name"].replace("_", " "), _result(row), row["description"]] for row in rows],
        ),
        "money": Table(
            "Reconciliation",
            {"Item": "text", "Amount": "usd"},
            [[name, value] for name, value in money if value is not None],
        ),
        "optimality": _optimality(facts.one("proof")),
    }


def _result(row: dict[str, Any]) -> str:
    if row["passed"]:
        return "✓\N{NO-BREAK SPACE}passed"
    return "!\N{NO-BREAK SPACE}warning" if row["is_warning"] else f"✗ failed: {many(row['violations'], 'violation')}"


def _optimality(proof: dict[str, Any]) -> Table | None:
    """Objective, dual bound, and the gap between them."""
    if not proof:
        return None
    rows = [
        ("method", f"{proof['method']} ({proof['solver']})"),
        ("objective", usd(proof["objective_usd"])),
        ("dual bound: no schedule is worth more", usd(proof["bound_usd"])),
        ("gap", percent(proof["gap_fraction"], 3)),
    ]
    if proof["scenarios"] > 1:
        rows += [
            (f"mean of {proof['scenarios']} scenarios", usd(proof["mean_usd"])),
            ("mean of the worst (CVaR)", usd(proof["cvar_usd"])),
            ("worst", usd(proof["worst_usd"])),
        ]
    return Table("Optimality", {"Item": "text", "Value": "text"}, rows)


def reproduction(facts: Facts) -> dict[str, Any]:
    """Inputs, settings, seed, and code version that give the same bids again, and the command."""
    origin, forecast, size = facts.one("stamp"), (facts["forecast"] or [{}])[0], facts.one("fleet")
    changed = _changed(facts.settings)
    unchanged = "none" if facts.settings else "unknown: the lake is not available"
    return {
        "command": _command(facts, forecast, changed),
        "items": {
            "Prices": f"{forecast.get('node', '')}, {forecast.get('source', '')}, "
            f"forecast method {forecast.get('method', '')}",
            "Publication of the latest input": moment(forecast.get("latest_input_utc")),
            "Fleet": f"{many(size['prosumers'], 'prosumer')} at {many(size['sites'], 'site')}, "
            f"{many(facts.one('quarantine')['cells'], 'cell')} in quarantine",
            "Seed of the fleet": "none: a fleet from a file" if origin.get("seed") is None else origin["seed"],
            "Settings other than defaults": ", ".join(f"{name} = {value}" for name, value in changed.items())
            or unchanged,
            "Code version": origin.get("code_version", ""),
            "Fingerprint of inputs, settings, and code": origin.get("fingerprint", ""),
            "Run": origin.get("run_id", ""),
            "Creation": moment(origin.get("created_utc")),
        },
        "settings": json.dumps(facts.settings, indent=1, sort_keys=True) if facts.settings else "",
    }


def _command(facts: Facts, forecast: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """The command line that gives the same bids, quoted for a shell."""
    options = {"fleet.path": "fleet", "fleet.prosumers": "prosumers", "fleet.seed": "seed"}
    words = [f"python -m vpp_pipeline bids --date {facts.market_date}"]
    if forecast.get("source") != "synthetic":
        words.append(f"--prices PATH --node {quote(str(forecast.get('node')))}")
    words += [f"--{option} {quote(str(changed[name]))}" for name, option in options.items() if name in changed]
    words += [f"--set {quote(f'{name}={value}')}" for name, value in changed.items() if name not in options]
    return " ".join(words)


def _changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``group.name`` -> value of the settings that are not the defaults.

    Beside a file of resources, which states participation itself, an older day names the default of then.
    """
    defaults = Settings().model_dump(mode="json")
    if settings.get("resources", {}).get("path"):
        settings = {**settings, "resources": {**settings["resources"], "participation": "storage"}}
    return {
        f"{group}.{name}": value
        for group, values in settings.items()
        for name, value in values.items()
        if value != defaults.get(group, {}).get(name)
    }
