"""A whole day settled: who came, what stores still did, and an account that adds up."""

from __future__ import annotations

from collections import ChainMap
from datetime import UTC, datetime

import polars as pl
import pytest

from vpp_pipeline.evaluation.settle_day import settle_day
from vpp_pipeline.settings import Settings, SettlementSettings
from vpp_pipeline.verification.settled_days import (
    owners_are_paid_by_their_deals,
    settled_dispatch_stays_within_limits,
    the_settled_account_adds_up,
)

EVERYONE = SettlementSettings(availability="fixed", availability_fraction=1.0, imbalance_factor=1.25)
SETTINGS = Settings()


def cleared(tables, **prices: pl.Expr) -> pl.DataFrame:
    """The forecast as the prices that cleared, but for those given."""
    forecast = tables["market.price_forecast"].with_columns(published_utc=pl.lit(datetime(2023, 8, 14, 20, tzinfo=UTC)))
    return forecast.with_columns(**prices)


def settled(day, settings: SettlementSettings = EVERYONE, **prices: pl.Expr) -> ChainMap:
    tables = day.tables | {"market.prices": cleared(day.tables, **prices)}
    return ChainMap(settle_day(tables, SETTINGS.rules, settings), tables)


def account(tables) -> dict[str, float]:
    return tables["evaluation.settled_days"].row(0, named=True)


def test_with_all_awarded_and_everyone_there_the_day_goes_as_planned(solved_day):
    """Where a deviation costs twice the price, nobody deviates; who delivers may change, as charging is paid by now."""
    more = {name: pl.col(name) + 100.0 for name in ("energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")}
    tables = settled(solved_day(), EVERYONE.model_copy(update={"imbalance_factor": 3.0}), **more)
    bids, found = tables["evaluation.settlement"], account(tables)
    assert found["awarded_bids"] == found["bids"] == bids.height
    assert bids["shortfall_mw"].max() == pytest.approx(0.0, abs=1e-6)
    net_kw = pl.col("discharge_kw") + pl.col("solar_sold_kw") - pl.col("grid_charge_kw")
    sums = {"net": net_kw.sum(), "spin": pl.col("spin_kw").sum(), "nonspin": pl.col("nonspin_kw").sum()}
    planned, done = (
        tables[table].group_by("start_utc").agg(**sums).sort("start_utc").drop("start_utc").to_numpy()
        for table in ("dispatch.schedule", "evaluation.dispatched")
    )
    assert done == pytest.approx(planned, abs=2e-2)
    assert found["imbalance_usd"] == pytest.approx(0.0, abs=0.05)


def test_nothing_is_awarded_where_nothing_clears_and_stores_keep_what_owners_are_owed(solved_day):
    worthless = dict.fromkeys(("energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h"), pl.lit(0.001))
    tables = settled(solved_day(), **worthless)
    policy = tables["evaluation.settlement"].filter(~pl.col("opportunity_id").str.contains("1200"))
    assert policy["awarded_mw"].sum() == 0.0
    assert settled_dispatch_stays_within_limits(tables, SETTINGS).passed


def test_what_is_sold_less_is_charged_less(solved_day):
    day = solved_day()
    whole = settled(day, energy_usd_per_mwh=pl.col("energy_usd_per_mwh") + 0.01)
    cheap = settled(day, energy_usd_per_mwh=pl.col("energy_usd_per_mwh").clip(upper_bound=40.0))
    charged = [tables["evaluation.dispatched"]["charge_kw"].sum() for tables in (whole, cheap)]
    assert account(cheap)["awarded_mwh"] < account(whole)["awarded_mwh"]
    assert charged[1] < charged[0]


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_whoever_comes_no_limit_is_broken_and_the_account_adds_up(solved_day, fraction: float):
    some = SettlementSettings(availability="fixed", availability_fraction=fraction)
    tables = settled(solved_day(), some, energy_usd_per_mwh=pl.col("energy_usd_per_mwh") * 1.2)
    assert account(tables)["limits_broken"] == 0
    for check in (settled_dispatch_stays_within_limits, the_settled_account_adds_up, owners_are_paid_by_their_deals):
        result = check(tables, SETTINGS)
        assert result.passed, result.description
    if fraction == 0.0:
        assert account(tables)["payments_usd"] == 0.0
        assert tables["evaluation.settlement"]["delivered_mw"].sum() == pytest.approx(0.0, abs=1e-9)


def test_absent_members_are_missed_and_not_paid(solved_day):
    day = solved_day()
    whole, half = settled(day), settled(day, SettlementSettings(availability="fixed", availability_fraction=0.5))
    bids = half["evaluation.settlement"]
    assert bids["absent_members"].sum() > 0
    assert bids["payments_usd"].sum() < whole["evaluation.settlement"]["payments_usd"].sum()
    assert account(half)["net_usd"] < account(whole)["net_usd"]


@pytest.mark.parametrize(
    ("table", "column", "change", "check"),
    [
        ("dispatched", "stored_kwh", pl.col("stored_kwh") - 1.0, settled_dispatch_stays_within_limits),
        ("dispatched", "discharge_kw", pl.col("discharge_kw") + 1.0, settled_dispatch_stays_within_limits),
        ("dispatched", "charge_kw", pl.col("charge_kw") + 0.01, settled_dispatch_stays_within_limits),
        ("settled_days", "net_usd", pl.col("net_usd") + 1.5, the_settled_account_adds_up),
        ("settled_days", "reserve_usd", pl.col("reserve_usd") + 1.5, the_settled_account_adds_up),
        ("settlement", "payments_usd", pl.col("payments_usd") + 0.5, the_settled_account_adds_up),
        ("settlement", "delivered_mw", pl.lit(0.0), the_settled_account_adds_up),
        (
            "deliveries",
            "paid_price_usd_per_mwh",
            pl.col("paid_price_usd_per_mwh") + 0.01,
            owners_are_paid_by_their_deals,
        ),
        ("deliveries", "paid_price_usd_per_mwh", pl.lit(0.0), owners_are_paid_by_their_deals),
        (
            "deliveries",
            "index_price_usd_per_mwh",
            pl.col("index_price_usd_per_mwh") + 0.01,
            owners_are_paid_by_their_deals,
        ),
        ("deliveries", "cap_price_usd_per_mwh", pl.col("cap_price_usd_per_mwh") + 0.01, owners_are_paid_by_their_deals),
        ("deliveries", "floor_price_usd_per_mwh", pl.lit(0.0), owners_are_paid_by_their_deals),
        ("deliveries", "is_forced", ~pl.col("is_forced"), owners_are_paid_by_their_deals),
        ("deliveries", "payment_usd", pl.col("payment_usd") * 1.1, owners_are_paid_by_their_deals),
        ("deliveries", "delivered_kwh", pl.col("delivered_kwh") * 1.1, owners_are_paid_by_their_deals),
        ("deliveries", "satisfaction_score", pl.lit(4.0), owners_are_paid_by_their_deals),
        ("deliveries", "prosumer_id", pl.lit("prosumer_000"), owners_are_paid_by_their_deals),
    ],
)
def test_a_fault_in_a_settled_day_is_seen(solved_day, table: str, column: str, change: pl.Expr, check):
    tables = settled(solved_day())
    faulty = tables[f"evaluation.{table}"].with_columns(**{column: change})
    assert check(tables, SETTINGS).passed
    assert not check(ChainMap({f"evaluation.{table}": faulty}, tables), SETTINGS).passed


def test_a_delivery_that_is_not_paid_is_seen(solved_day):
    tables = settled(solved_day())
    paid = tables["evaluation.deliveries"]
    assert paid.height > 10
    fewer = ChainMap({"evaluation.deliveries": paid.slice(1)}, tables)
    assert "delivered and paid kWh differ" in owners_are_paid_by_their_deals(fewer, SETTINGS).description


def test_what_owners_are_paid_follows_the_price_that_clears_and_not_the_forecast(solved_day):
    """At half the prices nobody is paid more for a MWh than before, and somebody less; each is told why."""
    day = solved_day()
    half = {name: pl.col(name) / 2.0 for name in ("energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")}
    names = ["opportunity_id", "prosumer_id", "paid_price_usd_per_mwh", "is_forced", "reason"]
    whole, halved = (settled(day, **prices)["evaluation.deliveries"].select(names) for prices in ({}, half))
    called = pl.all_horizontal(~pl.col("is_forced"), ~pl.col("is_forced_right"))
    both = whole.join(halved, on=names[:2], suffix="_right").filter(called)
    fell = both["paid_price_usd_per_mwh"] - both["paid_price_usd_per_mwh_right"]
    assert fell.min() >= -1e-9
    assert whole["reason"].str.starts_with("Paid ").all()
    assert whole["reason"].str.ends_with(".").all()
