"""Top-ups beyond the agreed prices: one that is out of place is found out, whatever the rule."""

from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl
import pytest

from vpp_pipeline.settings import PaymentSettings, Settings
from vpp_pipeline.verification.money import top_ups_are_a_fair_part_of_the_profit
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.verification.tampering import BOOKS, PAID, Fault, Tamper, assert_caught, edit, sees

TOP_UPS = top_ups_are_a_fair_part_of_the_profit
SHARES, PRICES = "dispatch.owen_shares", "dispatch.internal_prices"
EARNS = pl.col("top_up_usd") > 0.1

FAULTS = [
    Fault(TOP_UPS, "top-ups that nobody gets", BOOKS, edit(BOOKS, top_ups_usd=1.0), "books hold the sum", 2),
    Fault(TOP_UPS, "kept profit by a cent", BOOKS, edit(BOOKS, kept_profit_usd=sees("kept_profit_usd", 0.01)), "kept"),
]

#: table, change, words
UNFAIR: dict[str, tuple[str, Tamper, str]] = {
    "one top-up by a cent": (SHARES, edit(SHARES, EARNS, top_up_usd=sees("top_up_usd", 0.01)), "books hold"),
    "all top-ups doubled": (
        SHARES,
        lambda day: day[SHARES].with_columns(pl.col("top_up_usd") * 2.0),
        "books hold the sum",
    ),
    "one prosumer is forgotten": (SHARES, lambda day: day[SHARES].slice(1), "books hold|not told"),
    "a share by a dollar": (
        SHARES,
        edit(SHARES, EARNS, owen_share_usd=sees("owen_share_usd", -1.0)),
        "another fraction",
    ),
    "two prosumers swap shares": (SHARES, lambda day: swapped(day[SHARES]), "share below"),
    "a source by a cent": (SHARES, edit(SHARES, EARNS, from_energy_usd=sees("from_energy_usd", 0.01)), "sources"),
    "an internal price by a dollar": (
        PRICES,
        edit(PRICES, pl.col("sell_usd_per_mwh") > 0, sell_usd_per_mwh=sees("sell_usd_per_mwh", 1.0)),
        "share below",
    ),
    "a payment by a cent": (PAID, edit(PAID, payment_usd=sees("payment_usd", 0.01)), "sources"),
}


def swapped(shares: pl.DataFrame) -> pl.DataFrame:
    """The largest and the smallest share, with their top-ups, change hands."""
    order = shares.sort("owen_share_usd")
    money = ["owen_share_usd", "top_up_usd"]
    return pl.concat(
        [order.drop(money), pl.concat([order.tail(1), order[1:-1], order.head(1)]).select(money)], how="horizontal"
    )


@pytest.fixture(scope="module")
def topped_up(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    return solved_day(prosumers=30, settings=Settings(payments=PaymentSettings(rule="owen")))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("name", UNFAIR)
def test_an_unfair_day_is_refused(topped_up: SolvedDay, name: str) -> None:
    assert TOP_UPS(topped_up.tables, topped_up.settings).passed
    table, tamper, words = UNFAIR[name]
    result = TOP_UPS(topped_up.with_table(table, tamper(topped_up.tables)), topped_up.settings)
    assert result.violations >= 1
    assert re.search(words, result.description), result.description


def test_nobody_is_topped_up_where_agreed_prices_are_the_rule(topped_up: SolvedDay) -> None:
    result = TOP_UPS(topped_up.tables, Settings())
    assert result.violations == 30
    assert "payments.rule is agreed" in result.description


def test_the_margin_is_kept(topped_up: SolvedDay) -> None:
    negotiation = topped_up.settings.negotiation.model_copy(update={"minimum_margin_fraction": 0.9})
    result = TOP_UPS(topped_up.tables, topped_up.settings.model_copy(update={"negotiation": negotiation}))
    assert "the margin is kept" in result.description
