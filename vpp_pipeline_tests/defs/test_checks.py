"""The rules as Dagster's checks: each shown to fail on a seeded fault, and what a failure stops."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from vpp_pipeline.definitions import defs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.verification.registry import METRICS
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline.warehouse.day import BY_HAND
from vpp_pipeline_tests.defs.desk import (
    CHECKS,
    DAY,
    GRAPH,
    TradingDesk,
    evaluations,
    failures,
    files,
    made,
    new_desk,
    settled_small_desk,
)
from vpp_pipeline_tests.defs.seeded_faults import FAULTS, WARNINGS, changed, seed


def rests_on(table: str) -> list[str]:
    """Every table that `bid_day` makes, in the end, from ``table``."""
    ordered = defs.resolve_job_def("bid_day").asset_layer.selected_asset_keys
    found = dg.AssetSelection.assets(key_of(table)).downstream(include_self=False).resolve(GRAPH) & ordered
    return sorted(".".join(key.path) for key in found)


@pytest.fixture(scope="module")
def made_day() -> TradingDesk:
    return settled_small_desk()


@pytest.fixture
def desk(made_day: TradingDesk, tmp_path: Path) -> TradingDesk:
    """A desk of its own with the day's bids made, published and settled."""
    return new_desk(shutil.copytree(made_day.data, tmp_path / "data"))


#: what one step makes: the bids and what stands beside them
FORMED = ("bids.final_bids", "bids.bid_segments", "bids.checks", "dispatch.reconciliation")
METRIC_OF = {check.__name__: metric for check, metric in METRICS.items()}
#: no rules of a day: whether prices come in time, tested with OASIS (market/oasis/test_waiting.py)
LATENESS = {"prices_are_in_when_they_should_be", "the_forecast_rests_on_the_whole_week"}


def test_every_rule_has_a_fault_that_it_finds():
    assert set(FAULTS) == {check.name for check in CHECKS} - LATENESS


@pytest.fixture(scope="module")
def healthy_day(made_day: TradingDesk) -> dict[str, dg.AssetCheckEvaluation]:
    """What every check says of the day as it was made."""
    return {
        rule: found
        for asset in {asset for asset, *_ in FAULTS.values()}
        for rule, found in made_day.check(asset).items()
    }


@pytest.mark.parametrize("rule", FAULTS)
def test_a_rule_fails_on_its_fault_with_numbers(
    desk: TradingDesk, healthy_day: dict[str, dg.AssetCheckEvaluation], rule: str
):
    asset, table, fault = FAULTS[rule]
    healthy = healthy_day[rule]
    seed(desk, table, fault)
    found = desk.check(asset)[rule]
    assert (healthy.passed, found.passed) == (True, False)
    assert (healthy.partition, found.partition) == (DAY, DAY)
    severity = dg.AssetCheckSeverity.WARN if rule in WARNINGS else dg.AssetCheckSeverity.ERROR
    assert (found.severity, found.blocking) == (severity, rule not in WARNINGS)
    assert found.metadata["violations"].value >= 1
    assert METRIC_OF[rule] in found.metadata
    assert found.description
    assert any(letter.isdigit() for letter in found.description)
    assert healthy.description
    assert any(letter.isdigit() for letter in healthy.description)


def test_dagster_answers_day_by_day_whether_a_rule_was_kept(desk: TradingDesk):
    """The last result of one day says nothing of another."""
    key = dg.AssetCheckKey(key_of("market.prices"), "prices_are_complete_and_ordered")
    days = ("2023-08-14", "2023-08-16")
    for day in days:
        assert desk.run("ingest_market", day).success
    desk.lake.write("market.prices", days[0], desk.lake.day(days[0]).read("market.prices").head(23))
    desk.check("market.prices", day=days[0])
    status = desk.instance.event_log_storage.get_asset_check_state([(key, GRAPH.get(key).partitions_def)])[key]
    kept = {state.value: list(subset.value.get_partition_keys()) for state, subset in status.subsets.items()}
    assert (kept["FAILED"], kept["SUCCEEDED"]) == ([days[0]], [days[1]])


#: of another run than the bids', in which they stop the publication; bids made again go out beside an old settlement
OF_SETTLEMENT = {check.__name__ for check in SETTLED}
OF_BIDS = set(FAULTS) - WARNINGS - OF_SETTLEMENT - {"bids_were_ready_before_the_deadline"}


#: what every broken claim stops is tested on plain tables (verification/test_registry.py): here, that a run is stopped
OFTEN = {"money_adds_up", "no_prosumer_is_pushed_past_its_limits"}


@pytest.mark.parametrize(
    "rule", [*sorted(OFTEN), *(pytest.param(rule, marks=pytest.mark.slow) for rule in sorted(OF_BIDS - OFTEN))]
)
def test_nothing_broken_is_published(desk: TradingDesk, rule: str):
    _, table, fault = FAULTS[rule]
    seed(desk, table, fault)
    before = files(desk.data)
    refused = desk.materialise("warehouse.published")
    (message,) = failures(refused).values()
    assert "ViolationError: no bids are published" in message
    assert rule in message
    assert files(desk.data) == before


def test_the_last_door_verifies_by_itself(desk: TradingDesk):
    """A broken schedule that no check has looked at yields no bids."""
    seed(desk, *FAULTS["no_prosumer_is_pushed_past_its_limits"][1:])
    before = files(desk.data)
    refused = desk.materialise(*FORMED)
    (message,) = failures(refused).values()
    assert "no_prosumer_is_pushed_past_its_limits" in message
    assert made(refused) == set()
    assert files(desk.data) == before


def test_a_failed_rule_stops_the_rest_of_the_run_and_leaves_the_warehouse(desk: TradingDesk):
    """A fleet whose EV discharges without its owner's leave, put into the lake by hand; then all that rests on it."""
    honest = desk.by_hand().read("fleet.prosumers")
    is_ev = (pl.col("store") == "ev") & ~pl.col("has_v2g")
    assert honest.filter(is_ev).height
    desk.by_hand().write("fleet.prosumers", changed("max_discharge_kw", pl.lit(7.0), is_ev)(honest))
    before = files(desk.data)
    broken = desk.materialise(*rests_on("fleet.prosumers"))
    after = files(desk.data)
    desk.by_hand().write("fleet.prosumers", honest)
    assert not broken.success
    assert not evaluations(broken)["every_prosumer_is_physical"].passed
    assert made(broken) == {"fleet.availability"}
    assert {name: after[name] for name in before} == before  # nothing that is published has changed
    assert {name.split(DAY)[0] for name in after.keys() - before} == {
        "lake/fleet/availability/",
        f"lake/working/{BY_HAND}/",
    }


def test_a_warning_does_not_stop_the_run(desk: TradingDesk, tmp_path: Path):
    """Spin below nonspin is strange, and possible."""
    lines = ["start_utc,node,energy_usd_per_mwh,spin_usd_per_mw_h,nonspin_usd_per_mw_h"]
    for day in range(8, 15):
        frame = desk.lake.day(f"2023-08-{day:02d}").read("market.prices")
        rows = frame.select("start_utc", "node", "energy_usd_per_mwh").iter_rows()
        lines += [f"{start:%Y-%m-%dT%H:%M:%SZ},{node},{energy},1.0,2.0" for start, node, energy in rows]
    path = tmp_path / "inverted.csv"
    path.write_text("\n".join(lines) + "\n")
    inverted = replace(desk, prices={"path": str(path)})
    tables = ("market.price_forecast", "market.price_scenarios", "market.opportunities", "market.request_quarantine")
    result = inverted.materialise(*tables)
    check = evaluations(result)["prices_are_complete_and_ordered"]
    assert result.success
    assert "market.opportunities" in made(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "24 hours with spin below nonspin" in (check.description or "")


def test_only_a_scheduled_run_of_bids_must_meet_the_deadline(desk: TradingDesk):
    """The market for 2023-08-15 closed long ago: the schedule's run is refused, one by hand was not."""
    bids = [key_of(table) for table in (*FORMED, "warehouse.published")]
    late = desk.run(tags={"dagster/schedule_name": "bid_at_eight"}, only=bids)
    (message,) = failures(late).values()
    assert "bids_were_ready_before_the_deadline" in message
    assert made(late) == set()
    assert desk.run(only=bids).success
    settled = desk.run("settle_day", tags={"dagster/schedule_name": "settle_at_two"})
    assert settled.success
