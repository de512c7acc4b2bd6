"""How to tamper with one table of an honest day, and what the check that guards it must answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline_tests.conftest import SolvedDay

SCHEDULE, ENVELOPE, FLEET = "dispatch.schedule", "fleet.availability", "fleet.prosumers"
BIDS, SEGMENTS, PAID, BOOKS = "bids.final_bids", "bids.bid_segments", "dispatch.payments", "dispatch.reconciliation"
MESSAGES, DEALS, SUMMARY = "negotiation.messages", "negotiation.agreements", "negotiation.summary"
TALKS = "negotiation.segments"
POSITIONS, CALLS, FORECAST = "dispatch.positions", "market.opportunities", "market.price_forecast"
RESOURCES = "market.resources"

ROW = ["prosumer_id", "start_utc"]
DEAL = ["opportunity_id", "prosumer_id"]

Tamper = Callable[[Day], pl.DataFrame]


@dataclass(frozen=True)
class Fault:
    """A table changed in a way that the check must catch, the words it must answer with, and how many breaches."""

    check: Callable[..., CheckResult]
    name: str
    table: str
    tamper: Tamper
    words: str
    breaches: int | None = 1

    def __str__(self) -> str:
        return f"{self.check.__name__}: {self.name}"


def edited(frame: pl.DataFrame, where: pl.Expr, **changes: Any) -> pl.DataFrame:
    """``frame`` with the first row that satisfies ``where`` changed; kinds of columns stay."""
    rows = frame.with_row_index("_row")
    found = rows.filter(where)["_row"]
    assert len(found), f"no row to tamper with where {where}"
    chosen = pl.col("_row") == found[0]
    news = {
        name: pl.when(chosen)
        .then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        .cast(frame.schema[name])
        for name, value in changes.items()
    }
    return rows.with_columns(**news).drop("_row")


def edit(table: str, where: pl.Expr | bool = True, **changes: Any) -> Tamper:
    """Change the first row of ``table`` that satisfies ``where``."""
    condition = pl.lit(where) if isinstance(where, bool) else where
    return lambda day: edited(day[table], condition, **changes)


def dropped(table: str, where: pl.Expr) -> Tamper:
    """Remove the first row of ``table`` that satisfies ``where``."""

    def drop(day: Day) -> pl.DataFrame:
        rows = day[table].with_row_index("_row")
        found = rows.filter(where)["_row"]
        assert len(found), f"no row to drop where {where}"
        return rows.filter(pl.col("_row") != found[0]).drop("_row")

    return drop


def added(table: str, where: pl.Expr | bool = True, **changes: Any) -> Tamper:
    """Add a changed copy of the first row of ``table`` that satisfies ``where``."""
    condition = pl.lit(where) if isinstance(where, bool) else where

    def add(day: Day) -> pl.DataFrame:
        row = day[table].filter(condition).head(1)
        assert row.height, f"no row to copy where {where}"
        news = [(value if isinstance(value, pl.Expr) else pl.lit(value)).alias(name) for name, value in changes.items()]
        return pl.concat([day[table], row.with_columns(news).cast(dict(row.schema))])

    return add


def sees(column: str, by: float) -> pl.Expr:
    return pl.col(column) + by


def assert_caught(honest: SolvedDay, fault: Fault) -> None:
    """The check fails on the tampered day, in the fault's words and with its number of breaches."""
    result = fault.check(honest.with_table(fault.table, fault.tamper(honest.tables)), honest.settings)
    assert not result.passed
    assert re.search(fault.words, result.description), result.description
    if fault.breaches is not None:
        assert result.violations == fault.breaches, result.description
