"""Owners' hours and days as they write them, `0-7, 21-23` and `sat, sun, 2023-12-25`, turned into whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def between(clock: Array, start: Array, end: Array) -> Flags:
    """Whether the clock lies in [start, end), which may run past midnight; never where ``start`` is negative."""
    wraps = start > end
    inside: Flags = np.where(wraps, (clock >= start) | (clock < end), (clock >= start) & (clock < end))
    return inside & (start >= 0)


def hour_flags(windows: pl.Series, clock: Array) -> Flags:
    """(N, T): whether each Pacific hour of ``clock`` (T,) lies in one of the owner's windows; no text, no window."""
    return _by_text(windows, len(clock), lambda text: _any_window(text, clock))


def day_flags(days: pl.Series, market_date: date) -> Flags:
    """(N,): whether the owner's days name ``market_date``, by its weekday or its date."""
    names = {WEEKDAYS[market_date.weekday()], market_date.isoformat()}
    return _by_text(days, 1, lambda text: np.array([not names.isdisjoint(_parts(text))]))[:, 0]


def _by_text(texts: pl.Series, width: int, flags_of: Callable[[str], Flags]) -> Flags:
    """(N, width): ``flags_of`` each text, worked out once for each text that occurs; none of an empty one."""
    if texts.null_count() == len(texts):
        return np.zeros((len(texts), width), dtype=bool)
    known = texts.unique().drop_nulls()
    table = np.vstack([*(flags_of(text) for text in known), np.zeros(width, dtype=bool)])
    places = texts.replace_strict(
        known, pl.int_range(len(known), eager=True), default=len(known), return_dtype=pl.Int64
    )
    return np.asarray(table[places.fill_null(len(known)).to_numpy()], dtype=bool)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _any_window(text: str, clock: Array) -> Flags:
    inside = np.zeros(len(clock), dtype=bool)
    for window in _parts(text):
        start, end = (np.asarray(float(hour)) for hour in window.split("-"))
        inside |= between(clock, start, end)
    return inside
