"""Kinds of columns, each declared with the sentence that describes it, and the unit that a name ends in.

The unit ends a column's name: ``_kw``, ``_kwh``, ``_mw``, ``_usd``, ``_usd_per_mwh`` (reserve prices: $ per MW held
for one hour), ``_fraction`` (0-1). Positive power is export to the grid. Moments are UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dataframely as dy

from vpp_pipeline.core.caiso import CAISO

PRICE_LIMIT_USD_PER_MWH = 5_000.0  # a sanity bound on data, wider than any CAISO cap


C = TypeVar("C", bound=dy.Column)
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


def column(kind: Callable[..., C], words: str, **rules: Any) -> C:
    """A column with the sentence that describes it."""
    return kind(description=words, **rules)


def text(words: str, **rules: Any) -> dy.String:
    return column(dy.String, words, **rules)


def number(words: str, **rules: Any) -> dy.Float64:
    return column(dy.Float64, words, **rules)


def amount(words: str, **rules: Any) -> dy.Float64:
    """A number that is never negative."""
    return column(dy.Float64, words, min=0.0, **rules)


def fraction(words: str, **rules: Any) -> dy.Float64:
    return column(dy.Float64, words, min=0.0, max=1.0, **rules)


def count(words: str, **rules: Any) -> dy.Int32:
    return column(dy.Int32, words, min=0, **rules)


def moment(words: str, **rules: Any) -> dy.Datetime:
    return column(dy.Datetime, words, time_zone="UTC", time_unit="us", **rules)


def market_day(**rules: Any) -> dy.Date:
    return column(dy.Date, "CAISO trade date (Pacific).", **rules)


def choice(words: str, options: tuple[str, ...], **rules: Any) -> dy.String:
    return column(dy.String, f"{words} One of: {', '.join(options)}.", check=lambda c: c.is_in(options), **rules)


def price(words: str, **rules: Any) -> dy.Float64:
    return number(words, min=-PRICE_LIMIT_USD_PER_MWH, max=PRICE_LIMIT_USD_PER_MWH, **rules)


START = "Start of the hour."
OPPORTUNITY = "The opportunity: product, Pacific date and start; the resource, where it is not the desk's single one."
PROSUMER = "The prosumer: one controllable store with the solar and load behind it."
PRODUCTS = CAISO.names


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
