"""Kinds of columns: each is declared with the sentence that describes it.

The unit ends a column's name: ``_kw``, ``_kwh``, ``_mw``, ``_usd``, ``_usd_per_mwh`` (reserve prices: $ per MW held
for one hour), ``_fraction`` (0-1). Positive power is export to the grid. Moments are UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dataframely as dy

PRICE_LIMIT_USD_PER_MWH = 5_000.0  # a sanity bound on data, wider than any CAISO cap


C = TypeVar("C", bound=dy.Column)


def column(kind: Callable[..., C], words: str, **rules: Any) -> C:
    """A column and the sentence that describes it."""
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
OPPORTUNITY = "The opportunity: product, Pacific date and start."
PROSUMER = "The prosumer: one controllable store with the solar and load behind it."
PRODUCTS = ("energy", "spin", "nonspin")
