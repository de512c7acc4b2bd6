"""The unit of a column, by the end of its name. The view `explain.catalogue` says it in SQL; a test holds both."""

from __future__ import annotations

import dataframely as dy

PRICE = "$/MWh; reserve: $/MW per hour"
#: end of the name -> unit; the first that fits counts
_BY_NAME = (
    ("usd_per_mwh", "$/MWh"),
    ("usd_per_mw_h", "$/MW per hour"),
    ("usd_per_kwh", "$/kWh"),
    ("_usd", "$"),
    ("_kw_per_kw", "kW/kW"),
    ("_kw_h", "kW·h"),
    ("_mw_h", "MW·h"),
    ("_mwh", "MWh"),
    ("_mw", "MW"),
    ("_kwh", "kWh"),
    ("_kw", "kW"),
    ("_fraction", "0-1"),
    ("_efficiency", "0-1"),
    ("reliability_score", "0-1"),
)
_BY_BEGINNING = (("usd_", "$"), ("mw_", "MW"))  # before the name of what it is of


def unit_of(name: str, column: dy.Column) -> str:
    """``$/MWh``, ``kW``, …; empty where a column has none, as names and counts."""
    for end, unit in _BY_NAME:
        if name.endswith(end):
            return unit
    for begin, unit in _BY_BEGINNING:
        if name.startswith(begin):
            return unit
    if name.endswith("_score"):
        return "0-10"
    if name.endswith("_utc"):
        return "UTC"
    if name.endswith("_hours") and not isinstance(column, dy.String):
        return "h"
    if name == "seconds":
        return "s"
    is_price = "price" in name or name.startswith("forecast_")
    return PRICE if is_price and isinstance(column, dy.Float64) else ""
