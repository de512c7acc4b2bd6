"""Why the day can be trusted: rules, proof and money; and what it takes to make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

from vpp_pipeline.reporting.html import Html, facts_list, grid, many, moment, number, percent, section, table, tag
from vpp_pipeline.reporting.queries import Facts
from vpp_pipeline.settings import Settings


def checks(facts: Facts) -> Html:
    """Every rule with its answer, and how the money adds up."""
    rows = facts["checks"]
    broken = sum(1 for row in rows if not row["passed"] and not row["is_warning"])
    lead = (
        f"{many(len(rows), 'rule')}, {many(broken, 'broken', 'broken')}. "
        "Each is checked from the published tables by code that shares nothing with the solver."
    )
    lines = [(row["check_name"].replace("_", " "), _verdict(row), row["description"]) for row in rows]
    books, proof = facts.one("books"), facts.one("proof")
    money = [
        ("profit of the bids", books.get("sum_bid_profit_usd")),
        ("charging and rounding that no bid carries", books.get("unallocated_usd")),
        ("less top-ups", -books["top_ups_usd"] if books.get("top_ups_usd") is not None else None),
        ("kept", books.get("kept_profit_usd")),
    ]
    rows_of_money = [(name, number(value)) for name, value in money if value is not None]
    return section(
        "checks",
        "Rules, proof and money",
        lead,
        table("Rules", ("Rule", ".Answer", ".In numbers"), lines),
        grid("two", table("The day's money", ("What", "$"), rows_of_money), _proof(proof)),
    )


def _verdict(row: dict[str, Any]) -> str:
    if row["passed"]:
        return "✓ holds"
    return "! warns" if row["is_warning"] else f"✗ broken {number(row['violations'], 0)} times"


def _proof(proof: dict[str, Any]) -> Html:
    """How good the day is at most."""
    if not proof:
        return Html("")
    rows = [
        ("method", f"{proof['method']} ({proof['solver']})"),
        ("objective", f"{number(proof['objective_usd'])} $"),
        ("no schedule is worth more than", f"{number(proof['bound_usd'])} $"),
        ("gap", percent(proof["gap_fraction"], 3)),
    ]
    if proof["scenarios"] > 1:
        rows += [
            (f"mean of {proof['scenarios']} scenarios", f"{number(proof['mean_usd'])} $"),
            ("mean of the worst (CVaR)", f"{number(proof['cvar_usd'])} $"),
            ("worst", f"{number(proof['worst_usd'])} $"),
        ]
    return table("The proof", ("What", ".Value"), rows)


def stamp(facts: Facts) -> Html:
    """Inputs, settings, seed and code version: what makes the same bids again."""
    made, forecast, size = facts.one("stamp"), (facts["forecast"] or [{}])[0], facts.one("fleet")
    chosen = _chosen(facts.settings)
    arguments = "".join(
        f" --set {quote(f'{name}={value}')}"
        for name, value in chosen.items()
        if name not in ("fleet.seed", "fleet.prosumers", "fleet.path")
    )
    fleet_arguments = "".join(
        f" --{option} {quote(str(chosen[name]))}"
        for option, name in (("fleet", "fleet.path"), ("prosumers", "fleet.prosumers"), ("seed", "fleet.seed"))
        if name in chosen
    )
    prices = (
        "" if forecast.get("source") == "synthetic" else f" --prices PATH --node {quote(str(forecast.get('node')))}"
    )
    command = f"python -m vpp_pipeline bids --date {facts.market_date}{prices}{fleet_arguments}{arguments}"
    pairs = [
        (
            "Prices",
            f"{forecast.get('node', '')}, {forecast.get('source', '')}, forecast by {forecast.get('method', '')}",
        ),
        ("Youngest input published", moment(forecast.get("latest_input_utc"))),
        (
            "Fleet",
            f"{many(size['prosumers'], 'prosumer')} at {many(size['sites'], 'site')}, "
            f"{many(facts.one('quarantine')['cells'], 'cell')} in quarantine",
        ),
        ("Seed of the fleet", str(made["seed"]) if made.get("seed") is not None else "none: a fleet of your own"),
        (
            "Settings that differ from the defaults",
            ", ".join(f"{name} = {value}" for name, value in chosen.items()) or _none(facts.settings),
        ),
        ("Code version", made.get("code_version", "")),
        ("Fingerprint of inputs, settings and code", made.get("fingerprint", "")),
        ("Run", made.get("run_id", "")),
        ("Made", moment(made.get("created_utc"))),
    ]
    settings = json.dumps(facts.settings, indent=1, sort_keys=True)
    return section(
        "stamp",
        "How to make these bids again",
        "The same inputs, settings and code give the same bids: the fingerprint tells whether they are.",
        tag("pre", tag("code", command), tabindex="0", aria_label="Command that makes the bids again"),
        facts_list(pairs),
        tag("details", tag("summary", "All settings"), tag("pre", tag("code", settings), tabindex="0"))
        if facts.settings
        else "",
    )


def _none(settings: Mapping[str, Any]) -> str:
    return "none" if settings else "not known: the lake is not at hand"


def _chosen(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``group.name`` -> value of the settings that are not the defaults."""
    defaults = Settings().model_dump(mode="json")
    return {
        f"{group}.{name}": value
        for group, values in settings.items()
        for name, value in values.items()
        if value != defaults.get(group, {}).get(name)
    }
