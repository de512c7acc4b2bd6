"""What is kept of a run: its settings, its numbers, and versions of what it was made from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from vpp_pipeline.bidding.run_history import REQUESTS, Launch, changed_settings, requests_among, run_tables
from vpp_pipeline.core.provenance import hashes_of
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.registry import checks_table

NOW = datetime(2023, 8, 14, 16, tzinfo=UTC)


@pytest.fixture(scope="module")
def day(solved_day) -> dict[str, pl.DataFrame]:
    solved = solved_day(prosumers=30)
    return {**solved.tables, "bids.checks": checks_table(solved.tables, solved.settings)}


def test_only_settings_that_differ_from_the_defaults_are_told():
    assert changed_settings(Settings()) == {}
    settings = Settings.model_validate(
        {"negotiation": {"rounds": 5, "engine": "concession"}, "fleet": {"path": "a.csv"}}
    )
    assert changed_settings(settings) == {"negotiation.rounds": 5, "fleet.path": "a.csv"}


def test_a_run_adds_its_bids_up(day: dict[str, pl.DataFrame]):
    launch = Launch(NOW, NOW - timedelta(seconds=20), "schedule")
    tables = run_tables(day, Settings.model_validate({"fleet": {"prosumers": 30}}), {}, launch)
    (run,) = tables["bids.runs"].iter_rows(named=True)
    bids = tables["bids.run_bids"]
    trading = day["bids.final_bids"].filter(pl.col("status") == "bid")
    energy = trading.filter(pl.col("product") == "energy")
    assert (run["seconds"], run["started_by"], run["engine"]) == (20.0, "schedule", "concession")
    assert json.loads(run["settings"]) == {"fleet.prosumers": 30}
    assert run["bids"] == trading.height > 0
    assert run["energy_mwh"] == pytest.approx((energy["total_capacity_mw"] * energy["duration_hours"]).sum())
    assert run["expected_profit_usd"] == pytest.approx(trading["expected_profit_usd"].sum())
    assert bids.height == day["bids.final_bids"].height
    assert bids.filter(pl.col("curve").is_null()).height == bids.filter(pl.col("status") == "no_bid").height


def test_versions_change_with_their_own_inputs_alone(day: dict[str, pl.DataFrame]):
    def versions(tables: dict[str, pl.DataFrame]) -> dict[str, str | None]:
        hashes = hashes_of({**tables, REQUESTS: requests_among(tables["market.opportunities"])})
        row = run_tables(day, Settings(), hashes, Launch(NOW))["bids.runs"].row(0, named=True)
        return {name: value for name, value in row.items() if name.endswith("_version") and name != "code_version"}

    base = versions(day)
    assert None not in base.values()
    price = pl.col("energy_usd_per_mwh") + 1.0
    for table, change, column in (
        ("market.price_forecast", price, "prices_version"),
        ("fleet.prosumers", pl.col("initial_stored_kwh") * 0.5, "fleet_version"),
        ("market.opportunities", pl.col("forecast_price") + 1.0, "requests_version"),
        ("negotiation.agreements", pl.col("committed_capacity_kw") * 0.5, "deals_version"),
    ):
        other = versions({**day, table: day[table].with_columns(change)})
        assert {name for name in base if base[name] != other[name]} == {column}


def test_without_hashes_versions_are_empty(day: dict[str, pl.DataFrame]):
    row = run_tables(day, Settings(), {}, Launch(NOW))["bids.runs"].row(0, named=True)
    assert (row["prices_version"], row["seconds"], row["started_by"]) == (None, None, None)
