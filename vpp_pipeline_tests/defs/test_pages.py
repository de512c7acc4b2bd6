"""Every asset's page is full: owner, description, and columns before a run, and its figures after one."""

from __future__ import annotations

import math
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import dagster as dg
import pytest

from vpp_pipeline.core.display import usd
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import (
    INLINE,
    LINEAGE,
    LINEAGE_OF_COLUMNS,
    ROW_COUNT,
    ROWS,
    SENTENCE,
    SPARKLINE,
    declared,
    lineage_of,
)
from vpp_pipeline.evaluation.backtest.strategies import DEFAULT_ARMS
from vpp_pipeline.reporting.asset_pages import PAGES
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.defs.desk import (
    CHECKS,
    DAY,
    EXAMPLE_SLOT,
    GRAPH,
    TradingDesk,
    evaluations,
    example_run,
    small_desk,
)

ASSETS = sorted(".".join(key.path) for key in GRAPH.get_all_asset_keys())
SETTLED = {
    f"evaluation.{name}" for name in ("dispatched", "deliveries", "settlement", "settled_days", "storage_awards")
}
BEHIND = re.compile(r"\d \$|\d %")  # a sign of dollars or percent after a space
AFTER = SETTLED | {"evaluation.benchmark"}
MADE_BY_BID_DAY = [name for name in ASSETS if name not in {"market.prices", *AFTER}]
#: what the desk follows from run to run, and where
FOLLOWED = {
    "bids.final_bids": {
        *("bids", "bid_mw_h", "expected_profit_usd", "payments_usd", "gap_fraction", "violations"),
        *("mean_satisfaction_score", "mean_reliability_score"),
    },
    "warehouse.published": {
        *("bid_mw_h", "expected_profit_usd", "mean_satisfaction_score", "gap_fraction", "violations"),
        *("publication_seconds", "file_mb"),
    },
    "dispatch.proof": {"objective_usd", "bound_usd", "gap_fraction", "solve_seconds"},
    "dispatch.payments": {"paid_usd", "mean_satisfaction_score"},
    "dispatch.schedule": {"sold_mwh", "held_mw_h", "charged_mwh"},
    "dispatch.reconciliation": {"kept_profit_usd"},
    "dispatch.infeasibilities": {"violations"},
    "bids.checks": {"violations", "warnings"},
    "negotiation.summary": {"negotiated", "reused", "committed_mw", "seconds"},
    "negotiation.agreements": {"mean_satisfaction_score", "committed_mw"},
    "negotiation.rounds": {"seconds", "accepted", "accepted_mw"},
    "negotiation.llm_calls": {"questions", "cost_usd"},
    "market.opportunities": {"required_mw", "offerable_mw"},
    "fleet.prosumers": {"prosumers", "store_mw", "store_mwh"},
}


@pytest.mark.parametrize("name", ASSETS)
def test_a_page_is_full_before_anything_runs(name: str):
    asset = GRAPH.get(key_of(name))
    assert asset.description
    assert asset.owners
    assert asset.kinds
    assert asset.group_name == name.split(".")[0]
    assert asset.freshness_policy is not None
    assert all(column.description for column in asset.metadata["dagster/column_schema"].columns)
    sources = asset.metadata["dagster/code_references"].code_references
    assert any(source.file_path.endswith(".py") and source.line_number for source in sources)


def test_every_table_of_the_graph_has_a_page():
    assert set(PAGES) == set(ASSETS) - {"warehouse.published"}


def materialisations() -> dict[str, list[dg.AssetMaterialization]]:
    found: dict[str, list[dg.AssetMaterialization]] = {}
    for event in example_run()[1].get_asset_materialization_events():
        made = event.materialization
        found.setdefault(".".join(made.asset_key.path), []).append(made)
    return found


def assert_full(made: dg.AssetMaterialization) -> None:
    """Assert that one materialization has all that its page shows, in the formats of amounts and shares."""
    metadata = made.metadata
    height = metadata[ROW_COUNT].value
    assert isinstance(height, int)
    assert any(letter.isdigit() for letter in metadata[SENTENCE].value), metadata[SENTENCE].value
    assert "–" not in metadata[SENTENCE].value  # every figure of the sentence has a value
    for words in (metadata[SENTENCE].value, metadata[SPARKLINE].value.partition("\n\n")[2]):
        assert not BEHIND.search(words), words
    table = metadata[ROWS]
    assert not any(BEHIND.search(str(cell)) for record in table.records for cell in record.data.values())
    assert len(table.records) == min(height, 5) or made.asset_key == key_of("warehouse.published")
    assert [column.name for column in table.schema.columns] == list(table.records[0].data) if table.records else True
    is_drawn(metadata[SPARKLINE].value, height)
    numbers = [
        value.value for value in metadata.values() if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
    ]
    assert len(numbers) > 1
    assert all(math.isfinite(number) for number in numbers)


def is_drawn(markdown: str, rows: int) -> None:
    """Assert that the line is an image that Dagster shows in place, or that there are no rows."""
    if rows == 0:
        assert markdown.endswith(": no rows")
        return
    assert len(markdown) < INLINE  # longer ones hide behind a button
    head, _, rest = markdown.partition("](data:image/svg+xml,")
    assert head.startswith("![")
    svg = ElementTree.fromstring(unquote(rest.partition(")")[0]))
    assert svg.find("{http://www.w3.org/2000/svg}title").text == head.removeprefix("![")


@pytest.mark.parametrize("name", MADE_BY_BID_DAY)
def test_every_materialization_has_a_full_page(name: str):
    for made in materialisations()[name]:
        assert_full(made)
        followed = FOLLOWED.get(name, set())
        assert followed <= set(made.metadata)
        assert all(isinstance(made.metadata[each].value, int | float) for each in followed)


def test_prices_taken_in_by_the_way_have_a_page_too():
    made = materialisations()["market.prices"]
    assert len(made) == 7
    for each in made:
        assert_full(each)


def test_the_figures_are_those_of_the_tables():
    desk, _ = example_run()
    made = materialisations()
    final = desk.day()["bids.final_bids"]
    page = made["bids.final_bids"][0].metadata
    assert page["expected_profit_usd"].value == pytest.approx(final["expected_profit_usd"].sum(), abs=0.005)
    assert page[ROW_COUNT].value == final.height
    assert f"{page['bids'].value} bids" in page[SENTENCE].value
    best = page[ROWS].records[0].data
    assert best["profit"] == usd(final["expected_profit_usd"].max())
    assert f"expected profit {usd(final['expected_profit_usd'].sum())}" in page[SENTENCE].value
    rows = {tuple(each.partition.split("|")): each.metadata[ROW_COUNT].value for each in made["negotiation.rounds"]}
    assert len(rows) == 72
    assert sum(rows.values()) == desk.day()["negotiation.messages"].height


def test_main_tables_say_which_columns_theirs_come_from():
    """Of tables that the asset rests on, and of columns that these have."""
    lineages = {name: made[0].metadata.get(LINEAGE_OF_COLUMNS) for name, made in materialisations().items()}
    assert {name for name, lineage in lineages.items() if lineage} == set(LINEAGE) - SETTLED
    for name in LINEAGE:
        parents = GRAPH.get(key_of(name)).parent_keys
        for column, sources in lineage_of(name).deps_by_column.items():
            assert column in TABLES[name].column_names(), f"{name}.{column}"
            for source in sources:
                table = ".".join(source.asset_key.path)
                assert source.asset_key in parents, f"{name}.{column}: {table}"
                assert source.column_name in TABLES[table].column_names(), f"{name}.{column}: {source}"


@pytest.fixture(scope="module")
def small() -> TradingDesk:
    return small_desk()


def test_a_negotiation_made_alone_has_its_own_figures(small: TradingDesk):
    result = small.materialise("negotiation.rounds", partition=f"{DAY}|{EXAMPLE_SLOT}")
    assert result.success
    (made,) = (event.materialization for event in result.get_asset_materialization_events())
    assert_full(made)
    assert FOLLOWED["negotiation.rounds"] <= set(made.metadata)


@pytest.fixture(scope="module")
def settled(small: TradingDesk) -> dg.ExecuteInProcessResult:
    return small.run("settle_day")


def test_settlement_has_a_page(settled: dg.ExecuteInProcessResult):
    assert settled.success
    made = {
        ".".join(event.asset_key.path): event.materialization for event in settled.get_asset_materialization_events()
    }
    assert set(made) == {"market.prices", "warehouse.published"} | SETTLED
    for each in made.values():
        assert_full(each)
    assert {"profit_usd", "awarded_mw", "delivered_mw"} <= set(made["evaluation.settlement"].metadata)


@pytest.mark.slow
def test_a_past_day_is_replayed_by_every_arm_and_published_by_itself(small: TradingDesk):
    result = small.run("backtest_day", settings={"fleet": {"prosumers": 12}, "optimiser": {"node_limit": 0}})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert_full(event.materialization)
    assert {"ours_net_usd", "best_net_usd", "ours_violations"} <= set(event.materialization.metadata)
    with open_warehouse(small.warehouse) as connection:
        arms = connection.execute(f"select count(*) from evaluation.benchmark where market_date = '{DAY}'").fetchall()
    assert arms == [(len(DEFAULT_ARMS),)]


def test_every_check_answers_with_numbers(settled: dg.ExecuteInProcessResult):
    found = evaluations(example_run()[1]) | evaluations(settled)
    assert set(found) == {key.name for key in CHECKS}
    for name, answer in found.items():
        assert any(letter.isdigit() for letter in answer.description), f"{name}: {answer.description}"
        assert any(isinstance(value, dg.FloatMetadataValue) for value in answer.metadata.values()), name


def test_the_columns_of_a_page_exist():
    for name, page in PAGES.items():
        assert set(page.columns.values()) <= set(declared(name).column_names()), name
