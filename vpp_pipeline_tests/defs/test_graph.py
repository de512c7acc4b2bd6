"""What Dagster sees before anything runs: the asset graph of the design, its words and its partitions."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from vpp_pipeline.core.provenance import code_version
from vpp_pipeline.definitions import defs
from vpp_pipeline.defs.asset_factory import COMPUTED_BY, DAYS, ROUNDS
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.evaluation.settle_day import READS
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.verification.registry import GUARDS, WARNINGS
from vpp_pipeline.verification.settled_days import SETTLED as CHECKS
from vpp_pipeline.warehouse.day import BY_RUN
from vpp_pipeline_tests.defs.desk import GRAPH

INPUTS = {
    "market.price_forecast",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "fleet.storage_members",
}
STORAGE = {"fleet.storage_classes", "fleet.storage_members", "fleet.baseline"}
SOLVE = INPUTS | STORAGE | {"market.price_scenarios", "negotiation.summary", "negotiation.agreements"}
SOLUTION = {
    f"dispatch.{name}"
    for name in (
        "infeasibilities",
        "starts",
        "schedule",
        "positions",
        "charging",
        "internal_prices",
        "owen_shares",
        "proof",
        "scenario_quantities",
        "storage_resources",
        "storage_shares",
        "storage_limits",
        "storage_plan",
    )
}
FLEET = {"fleet.prosumers", "fleet.notes", "fleet.quarantine"}
ASIDE = {"market.request_quarantine"}
SETTLED = {
    f"evaluation.{name}" for name in ("dispatched", "deliveries", "settlement", "settled_days", "storage_awards")
}
METERS = {"market.metered_hours", "market.meter_quarantine"}
EXPECTED = {"market.solar_forecast", "market.load_forecast", "market.charging_forecast"}
BIDS = {"bids.final_bids", "bids.bid_segments", "bids.checks", "dispatch.reconciliation"}

OFFER_INPUTS = {"market.price_forecast", "market.resources", "fleet.prosumers", "fleet.availability"}
DEPENDENCIES: dict[str, set[str]] = {
    "market.prices": set(),
    **{table: set() for table in METERS},
    **dict.fromkeys(EXPECTED, METERS),
    **dict.fromkeys(FLEET, EXPECTED | {"market.resources"}),
    "market.price_history": set(),
    "market.price_forecast": {"market.prices", "market.price_history"},
    "market.price_scenarios": {"market.price_forecast"},
    "fleet.availability": {"market.resources", "fleet.prosumers", *EXPECTED},
    "market.resources": {"market.price_forecast"},
    **dict.fromkeys(STORAGE, OFFER_INPUTS),
    "market.opportunities": OFFER_INPUTS | STORAGE,
    "market.request_quarantine": OFFER_INPUTS | STORAGE,
    "negotiation.rounds": INPUTS,
    "negotiation.summary": INPUTS,
    "negotiation.agreements": {"negotiation.rounds", "negotiation.summary"},
    "negotiation.llm_calls": {"fleet.notes", "negotiation.summary", "dispatch.proof"},
    **dict.fromkeys(SOLUTION, SOLVE | {"dispatch.schedule"}),  # of the day before
    "dispatch.infeasibilities": SOLVE,
    "dispatch.payments": {"market.opportunities", "fleet.availability", "negotiation.agreements"}
    | {f"dispatch.{name}" for name in ("schedule", "positions", "charging")},
    **dict.fromkeys(
        BIDS,
        SOLVE
        | FLEET
        | ASIDE
        | SOLUTION - {"dispatch.infeasibilities"}
        | {"market.resources", "dispatch.payments", "negotiation.llm_calls"},
    ),
    **{table: set(READS) for table in SETTLED},
    "evaluation.benchmark": {"market.prices"},
    "warehouse.published": SOLVE
    | FLEET
    | ASIDE
    | SOLUTION
    | BIDS
    | {"market.resources", "dispatch.payments", "negotiation.llm_calls"}
    | SETTLED,
}
BY_HAND = {"negotiation.rounds", "evaluation.benchmark"}
SETTLING = {"market.prices"} | SETTLED


def name_of(key: dg.AssetKey) -> str:
    return ".".join(key.path)


def test_the_graph_is_that_of_the_design():
    found = {
        name_of(key): {name_of(parent) for parent in GRAPH.get(key).parent_keys} for key in GRAPH.get_all_asset_keys()
    }
    assert found == DEPENDENCIES


def test_an_asset_is_a_table_of_its_groups_schema():
    beside = {"negotiation.messages", "negotiation.segments", *BY_RUN}
    assert set(TABLES) - beside == set(DEPENDENCIES) - {
        "negotiation.rounds",
        "warehouse.published",
        "market.price_history",
    }
    assert {name: GRAPH.get(key_of(name)).group_name for name in DEPENDENCIES} == {
        name: name.split(".")[0] for name in DEPENDENCIES
    }


@pytest.mark.parametrize("table", sorted(DEPENDENCIES))
def test_every_asset_is_explained(table: str):
    asset = GRAPH.get(key_of(table))
    assert asset.description
    assert asset.description.strip().endswith((".", "|"))
    assert asset.owners
    assert asset.kinds
    assert asset.code_version
    if table in TABLES:
        columns = asset.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == TABLES[table].column_names()
        assert all(column.description for column in columns)


def test_a_table_has_the_version_of_the_code_that_computes_it():
    """And each entry of the list is of a table or a group that there is."""
    versions = {name: GRAPH.get(key_of(name)).code_version for name in DEPENDENCIES}
    assert len(set(versions.values())) > 15
    assert versions["negotiation.summary"] == code_version("pipeline.negotiate")
    assert set(COMPUTED_BY) <= set(DEPENDENCIES) | {name.split(".")[0] for name in DEPENDENCIES}


def test_only_negotiations_are_partitioned_by_more_than_the_day():
    kinds = {name: GRAPH.get(key_of(name)).partitions_def for name in DEPENDENCIES}
    assert kinds.pop("negotiation.rounds") == ROUNDS
    assert set(kinds.values()) == {DAYS}


def test_forecasts_rest_on_the_week_before_and_never_on_the_day():
    parents = GRAPH.get_parent_partition_keys_for_child(
        "2023-08-15", key_of("market.prices"), key_of("market.price_forecast")
    )
    assert sorted(parents.partitions_subset.get_partition_keys()) == [f"2023-08-{day:02d}" for day in range(8, 15)]


def test_a_schedule_rests_on_that_of_the_day_before_and_on_no_other():
    key = key_of("dispatch.schedule")
    for day, before in (("2023-08-15", ["2023-08-14"]), ("2023-08-01", [])):
        parents = GRAPH.get_parent_partition_keys_for_child(day, key, key)
        assert list(parents.partitions_subset.get_partition_keys()) == before


def test_every_rule_is_a_blocking_check_of_its_asset():
    wanted = {dg.AssetCheckKey(key_of(table), check.__name__) for check, table in (GUARDS | CHECKS).items()}
    wanted.add(dg.AssetCheckKey(key_of("market.prices"), "prices_are_complete_and_ordered"))
    watching = {
        dg.AssetCheckKey(key_of("market.prices"), "prices_are_in_when_they_should_be"),
        dg.AssetCheckKey(key_of("market.price_forecast"), "the_forecast_rests_on_the_whole_week"),
    }
    assert set(GRAPH.asset_check_keys) == wanted | watching
    assert not any(GRAPH.get(key).blocking for key in watching)  # bids are made without the newest prices
    for key in wanted:
        assert GRAPH.get(key).blocking == (key.name not in {check.__name__ for check in WARNINGS})
        assert GRAPH.get(key).description
    of_no_day = watching - {dg.AssetCheckKey(key_of("market.price_forecast"), "the_forecast_rests_on_the_whole_week")}
    for key in wanted | watching:  # whether prices come is asked of the newest day, whichever that is
        assert GRAPH.get(key).partitions_def == (None if key in of_no_day else DAYS)


def test_pages_stay_quick_with_the_number_of_negotiation_partitions():
    """Dagster's pages slow down beyond ~100,000 keys; there are 75 a day, so this holds until March 2027."""
    assert 75 * len(DAYS.get_partition_keys(current_time=datetime(2026, 12, 31, tzinfo=UTC))) < 100_000


def test_jobs_and_what_they_make():
    jobs = {
        name: {name_of(key) for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys}
        for name in ("ingest_market", "bid_day", "settle_day", "backtest_day")
    }
    assert jobs == {
        "ingest_market": {"market.prices"},
        "bid_day": set(DEPENDENCIES) - BY_HAND - SETTLING,
        "settle_day": SETTLING | {"warehouse.published"},
        "backtest_day": {"evaluation.benchmark"},
    }
