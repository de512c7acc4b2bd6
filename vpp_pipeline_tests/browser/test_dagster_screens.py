"""Dagster's own pages in a real Chromium, after `bid_day` was launched by clicks: they show the day's numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl
import pytest

from vpp_pipeline.core.display import usd
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.verification.registry import GUARDS
from vpp_pipeline_tests.browser.conftest import FIRST, SECOND, Desk

if TYPE_CHECKING:
    from vpp_pipeline_tests.browser.screens import Screens

pytestmark = pytest.mark.browser

ERRORS = re.compile(r"GraphQL error|An error occurred|PythonError|Unexpected error|Page not found|Traceback")
OWNERS = {
    "bids/final_bids": "trading-desk",
    "market/prices": "market-analysis",
    "fleet/prosumers": "fleet-operations",
    "negotiation/rounds": "prosumer-accounts",
    "dispatch/proof": "optimisation",
    "warehouse/published": "data-platform",
}


def table(desk: Desk, name: str, partition: str = FIRST) -> pl.DataFrame:
    return Lake(desk.folder / "data" / "lake").day(partition).read(name)


@pytest.mark.parametrize("name", OWNERS)
def test_an_assets_page_is_full(screens: Screens, name: str):
    page = screens.asset(name)
    for late in ("Freshness policy", "Columns"):  # the parts of a page come one by one
        page.get_by_text(late, exact=True).first.wait_for()
    words = screens.text()
    assert not ERRORS.search(words)
    for heading in (
        "Description",
        "Columns",
        "Metadata",
        "Group",
        "Owners",
        "Kinds",
        "Source code",
        "Freshness policy",
    ):
        assert heading in words, heading
    assert OWNERS[name] in words
    source = page.locator("a[href^='vscode:']").first.get_attribute("href")
    assert re.search(r"/vpp_pipeline/defs/\w+\.py:\d+$", source)
    drawn = screens.cell("sparkline").locator("img")
    assert drawn.evaluate("image => image.complete && image.naturalWidth") == 240
    rows = screens.rows("five_rows")
    assert len(rows) == (2 if name == "dispatch/proof" else 6)
    assert all(len(row) == len(rows[0]) and len(row) > 1 for row in rows)


def test_the_bids_of_the_day_are_those_of_the_table(screens: Screens, desk: Desk):
    final = table(desk, "bids.final_bids")
    screens.partition("bids/final_bids", FIRST)
    bids = final.filter(pl.col("status") == "bid")
    assert float(screens.value("expected_profit_usd")) == pytest.approx(bids["expected_profit_usd"].sum(), abs=0.005)
    cleared = pl.coalesce("expected_mw", "total_capacity_mw") * pl.col("duration_hours")
    assert float(screens.value("bid_mw_h")) == pytest.approx(bids.select(cleared.abs().sum()).item(), abs=0.005)
    assert int(screens.value("violations")) == 0
    assert int(screens.value("dagster/row_count")) == final.height
    assert screens.value("in_a_sentence").startswith(f"{bids.height} bids of ")
    best = bids.sort("expected_profit_usd", descending=True)["opportunity_id"].to_list()
    assert [row[0] for row in screens.rows("five_rows")[1:]] == best[:5]


def test_units_stand_beside_the_columns(screens: Screens):
    page = screens.asset("market/prices")
    row = page.locator("tr").filter(has=page.get_by_text("energy_usd_per_mwh", exact=True)).first.inner_text()
    assert "$/MWh" in row
    assert "price of energy" in row


def test_one_negotiation_is_a_partition_with_its_words(screens: Screens, desk: Desk):
    of_slot = table(desk, "market.opportunities").filter(slot="energy_he20")["opportunity_id"]  # one of each resource
    words = table(desk, "negotiation.messages").filter(pl.col("opportunity_id").is_in(of_slot.implode()))
    screens.partition("negotiation/rounds", FIRST, "energy_he20")
    assert "Materialized (" in screens.text()
    assert int(screens.value("words")) == words.height
    assert int(screens.value("accepted")) == (words["kind"] == "accept").sum()
    assert "deals closed" in screens.value("in_a_sentence")


def test_the_proof_tells_its_gap(screens: Screens, desk: Desk):
    proof = table(desk, "dispatch.proof")
    screens.partition("dispatch/proof", FIRST)
    assert float(screens.value("gap_fraction")) == pytest.approx(proof["gap_fraction"][0], abs=1e-6)
    assert f"dual bound {usd(proof['bound_usd'][0])}" in screens.value("in_a_sentence")


def test_the_checks_of_the_bids_answer_with_numbers(screens: Screens):
    page = screens.check("bids/final_bids", "bids_meet_80_percent_of_required_capacity")
    checks = [check.__name__ for check, asset in GUARDS.items() if asset == "bids.final_bids"]
    page.get_by_text("Succeeded").nth(len(checks) - 1).wait_for()  # each state is fetched after the list
    words = screens.text()
    assert not ERRORS.search(words)
    assert f"Checks ({len(checks)})" in words
    assert words.count("Succeeded") == len(checks)
    assert "Passed" in words
    assert re.search(r"violations\s+0\b", words)
    assert re.search(r"smallest_fill_fraction\s+[\d.]+", words)
    page.locator("canvas").first.wait_for()  # the history of both numbers
    assert page.locator("canvas").count() == 2


def test_the_history_of_figures_is_plotted_over_both_runs(screens: Screens, desk: Desk):
    screens.wait_for_green(desk.runs[SECOND])
    profits = [table(desk, "bids.final_bids", day)["expected_profit_usd"].sum() for day in (FIRST, SECOND)]
    page = screens.plots("bids/final_bids")
    for figure in ("expected_profit_usd", "bid_mw_h", "mean_satisfaction_score", "gap_fraction", "violations"):
        assert page.get_by_text(figure, exact=True).last.is_visible(), figure
    assert page.locator("canvas").count() > 8
    screens.open("/runs")
    page.get_by_text(desk.runs[SECOND]).first.wait_for()
    assert "Failure" not in screens.text()
    screens.partition("bids/final_bids", SECOND)
    assert float(screens.value("expected_profit_usd")) == pytest.approx(profits[1], abs=0.005)
    assert profits[0] != profits[1]
