"""What a trader sees on Dagster's pages, in a real browser, after a day was launched there."""

from __future__ import annotations

import re

import pytest

from vpp_pipeline_tests.browser.conftest import DAY, Desk

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

#: asset -> owner's team, and words that its sentence must have
ASSETS = {
    "bids/final_bids": ("trading-desk", r"\d+ bids of [\d.]+ MW expect [\d.]+ \$ of profit"),
    "market/prices": ("market-analysis", r"Energy cleared at [\d.]+ \$/MWh on average"),
    "fleet/prosumers": ("fleet-operations", r"200"),
    "dispatch/proof": ("optimisation", r"[\d.]+ ?%"),
    "negotiation/summary": ("prosumer-accounts", r"72"),
    "warehouse/published": ("data-platform", r"\d"),
}


@pytest.mark.parametrize("asset", ASSETS)
def test_an_assets_page_is_full(desk: Desk, asset: str):
    owner, sentence = ASSETS[asset]
    page = desk.screens.asset(asset)
    for heading in ("Columns", "five_rows", "Source code"):  # they come one by one
        page.get_by_text(heading, exact=True).first.wait_for()
    words = desk.screens.text()
    assert re.search(sentence, desk.screens.value("in_a_sentence").inner_text()), words
    for heading in ("Row count", "Columns", "Owners", "Kinds", "Freshness policy", "Source code", "five_rows"):
        assert heading in words, heading
    assert owner in words
    picture = desk.screens.value("sparkline").locator("img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert any(letter.isdigit() for letter in picture.get_attribute("alt"))
    assert page.get_by_text("Something went wrong").count() == 0


def test_a_negotiation_is_a_partition_with_its_own_figures(desk: Desk):
    desk.screens.partition("negotiation/rounds", DAY, "energy_he13")
    assert f"{DAY}|energy_he13" in desk.screens.text()
    assert re.search(r"rounds\s+3\s", desk.screens.text())
    assert re.search(r"accepted\s+[1-9]\d*\s", desk.screens.text())


def test_a_check_answers_with_numbers_and_plots_their_history(desk: Desk):
    page = desk.screens.check("bids/final_bids", "money_adds_up")
    words = desk.screens.text()
    assert "Passed" in words
    assert re.search(r"[\d.]+ \$ of bid profit \+ -?[\d.]+ \$ unallocated = [\d.]+ \$, to the cent", words)
    assert "This is a blocking asset check" in words
    assert "Plots" in words
    assert page.locator("canvas").count() >= 2
    assert float(desk.screens.value("measured").inner_text()) > 0.0


def test_each_run_of_an_asset_keeps_its_figures(desk: Desk):
    page = desk.screens.open("/assets/bids/final_bids?view=events")
    page.get_by_text("expected_profit_usd").first.wait_for()
    for figure in ("bid_mw", "expected_profit_usd", "mean_satisfaction_score", "gap_fraction", "violations"):
        assert page.get_by_text(figure).count() > 0, figure
    assert page.get_by_text(re.compile(f"^{DAY}$")).count() >= 2  # a line for each run


def test_both_runs_are_in_the_warehouse_to_compare(desk: Desk):
    from vpp_pipeline.warehouse.publish import open_warehouse

    with open_warehouse(desk.folder / "data" / "vpp.duckdb") as connection:
        kept = connection.execute("select count(distinct run_id) from bids.runs").fetchall()
    assert kept == [(2,)]
