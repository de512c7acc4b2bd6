"""Market days as runs on Ray, by the daemon and `deploy/cluster/dagster.yaml`: real Postgres, real Ray, and kills."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

pytest.importorskip("ray", reason="needs the extra cluster: make cluster-test")
pytest.importorskip("dagster_ray", reason="needs the extra cluster: make cluster-test")
pytest.importorskip("psycopg2", reason="needs the extra cluster: make cluster-test")

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.defs.sensors import AGAIN_TAG
from vpp_pipeline_tests.cluster.deployment import (
    BIN,
    PASSWORD,
    PORTFOLIO,
    Deployment,
    deployment,
    processes,
    wait_until,
)
from vpp_pipeline_tests.defs.desk import WHEN_AND_WHO

DAYS = ("2023-08-15", "2023-08-16")
LOST_DAY, TWICE = "2023-08-17", "2023-08-18"
WITHOUT_HEAD, WITHOUT_HISTORY, SHORTLY_WITHOUT = "2023-08-19", "2023-08-20", "2023-08-21"
PATIENCE_S = 600.0  # a day takes half a minute on an idle machine
ASK = """mutation ($of: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $of) { ... on LaunchBackfillSuccess { backfillId } }
}"""
#: what the launch of a run, or its moment, is part of
OF_THE_RUN = ("published_utc", "started_utc", "made_utc", "started_by")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Deployment]:
    """The deployment, with a desk of 30 prosumers and a portfolio of 25, on generated prices."""
    with deployment() as made:
        folders = {made.data: 30, made.root / "alone": 30}
        folders |= {made.data / "portfolios" / PORTFOLIO: 25, made.root / PORTFOLIO: 25}
        for folder, prosumers in folders.items():
            folder.mkdir(exist_ok=True)
            (folder / "prices.toml").write_text("synthetic = true\n")
            (folder / "settings.toml").write_text(f"[fleet]\nprosumers = {prosumers}\n")
        yield made


@pytest.fixture(scope="module")
def history(cluster: Deployment) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of the deployment, as its daemon has it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in cluster.environment.items():
            if name.startswith(("VPP_", "DAGSTER_", "PG", "RAY_")):
                patch.setenv(name, text)
        with dg.DagsterInstance.get() as instance:
            yield instance


def _backfill(cluster: Deployment, *days: str, location: str = "vpp_pipeline.definitions") -> str:
    """Ask for a back-fill of ``bid_day``, as Dagster's pages do; its id."""
    repository = {"repositoryLocationName": location, "repositoryName": "__repository__"}
    selector = {"partitionSetName": "bid_day_partition_set", "repositorySelector": repository}
    asked = json.dumps({"of": {"selector": selector, "partitionNames": list(days)}})
    workspace = f"{cluster.environment['DAGSTER_HOME']}/workspace.yaml"
    told = cluster.run(str(BIN / "dagster-graphql"), "-w", workspace, "-t", ASK, "-v", asked)
    return json.loads(told[told.index("{") :])["data"]["launchPartitionBackfill"]["backfillId"]


def _runs(history: dg.DagsterInstance, backfill: str) -> list[dg.DagsterRun]:
    return list(history.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))


def _in_its_middle(history: dg.DagsterInstance, backfill: str) -> dg.DagsterRun:
    """The back-fill's run, once its deals are struck and before its day is solved."""

    def negotiated() -> list[dg.DagsterRun]:
        return [run for run in _runs(history, backfill) if _has_negotiated(history, run.run_id)]

    found: list[dg.DagsterRun] = wait_until(negotiated, "the middle of the run", PATIENCE_S)
    return found[0]


def _ended(history: dg.DagsterInstance, backfill: str, count: int) -> list[dg.DagsterRun]:
    """The back-fill's runs, once ``count`` of them have ended and none is under way."""

    def all_ended() -> list[dg.DagsterRun]:
        runs = _runs(history, backfill)
        return runs if len(runs) >= count and all(run.is_finished for run in runs) else []

    return wait_until(all_ended, f"back-fill {backfill}", PATIENCE_S, pause_s=1.0)


def _bids(data: Path, day: str) -> dict[str, pl.DataFrame]:
    """The published tables of the day, without what belongs to a run; the bids of the day after take its prices in."""
    made = Lake(data / "lake").day(day)
    return {
        table: made.read(table).drop([*WHEN_AND_WHO, *OF_THE_RUN], strict=False)
        for table in made.committed.files
        if table not in ("bids.runs", "market.prices")
    }


def _alone(cluster: Deployment, day: str, folder: str = "alone") -> dict[str, pl.DataFrame]:
    """The same day by the command line, in a data folder of its own."""
    data = cluster.root / folder
    cluster.run(sys.executable, "-m", "vpp_pipeline", "bids", "--date", day, "--data", str(data), "--no-history")
    return _bids(data, day)


def _assert_equal(made: dict[str, pl.DataFrame], alone: dict[str, pl.DataFrame]) -> None:
    assert made.keys() == alone.keys()
    assert made["bids.final_bids"].height == 72 * made["bids.final_bids"]["resource_id"].n_unique()
    assert [table for table, rows in made.items() if not rows.equals(alone[table])] == []


def _assert_whole(cluster: Deployment, day: str, run_id: str) -> None:
    """One run's bids, all of them, in lake and warehouse, and nothing left of another."""
    import duckdb

    lake = Lake(cluster.data / "lake")
    assert lake.manifest(day).run_id == run_id
    assert lake.owners(day) == {}
    assert lake.day(day).read("bids.final_bids")["run_id"].unique().to_list() == [run_id]
    with duckdb.connect(cluster.data / "vpp.duckdb", read_only=True) as warehouse:
        found = warehouse.execute("select distinct run_id from bids.final_bids where market_date = ?", [day]).fetchall()
    assert found == [(run_id,)]


def test_days_of_a_back_fill_run_on_ray_and_bid_as_the_command_line_does(
    cluster: Deployment, history: dg.DagsterInstance
):
    runs = _ended(history, _backfill(cluster, *DAYS), len(DAYS))
    assert [_why(history, run) for run in runs if run.status != dg.DagsterRunStatus.SUCCESS] == []
    assert len(runs) == len(DAYS)
    jobs = json.dumps(_ray_jobs(cluster))
    for run in runs:
        assert f"dagster-run-{run.run_id}" in jobs
        assert run.tags["vpp/day"] == run.tags["dagster/partition"]
        _assert_whole(cluster, run.tags["dagster/partition"], run.run_id)
    for day in DAYS:
        _assert_equal(_bids(cluster.data, day), _alone(cluster, day))


def test_a_run_whose_process_is_killed_is_reported_and_run_again(cluster: Deployment, history: dg.DagsterInstance):
    backfill = _backfill(cluster, LOST_DAY)
    first = _in_its_middle(history, backfill)
    killed = _processes_of(first)
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert Lake(cluster.data / "lake").manifest(LOST_DAY).number == 0
    runs = _ended(history, backfill, 2)
    by_id = {run.run_id: run for run in runs}
    again = next(run for run in runs if run.run_id != first.run_id)
    assert by_id[first.run_id].status == dg.DagsterRunStatus.FAILURE
    assert again.status == dg.DagsterRunStatus.SUCCESS
    assert again.root_run_id == first.run_id
    told = history.all_logs(first.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert any("Ray job" in (entry.get_dagster_event().message or "") for entry in told)
    assert Lake(cluster.data / "lake").manifest(LOST_DAY).number == 1
    _assert_whole(cluster, LOST_DAY, again.run_id)
    _assert_equal(_bids(cluster.data, LOST_DAY), _alone(cluster, LOST_DAY))


@pytest.mark.parametrize(("part", "day"), [("ray", WITHOUT_HEAD), ("postgres", WITHOUT_HISTORY)])
def test_a_day_whose_head_or_history_is_lost_in_its_middle_is_run_again_once_that_is_back(
    cluster: Deployment, history: dg.DagsterInstance, part: str, day: str
):
    """Every process of the part is killed, and it is started again, as docs/deploy.md says; the bids are those of an
    undisturbed day."""
    backfill = _backfill(cluster, day)
    first = _in_its_middle(history, backfill)
    cluster.lose(part)
    wait_until(lambda: not _processes_of(first), "the end of the run's process", PATIENCE_S)
    assert Lake(cluster.data / "lake").manifest(day).number == 0
    cluster.start_again(part)
    wanted = dg.RunsFilter(tags={"vpp/day": day}, statuses=[dg.DagsterRunStatus.SUCCESS])
    (last,) = wait_until(lambda: list(history.get_runs(wanted)), "the run after it", PATIENCE_S, pause_s=1.0)
    lost = history.get_run_by_id(first.run_id)
    assert lost is not None
    assert lost.status == dg.DagsterRunStatus.FAILURE
    assert first.run_id in (last.root_run_id, last.tags.get(AGAIN_TAG))  # by Dagster's retry, or by our sensor
    _assert_whole(cluster, day, last.run_id)
    _assert_equal(_bids(cluster.data, day), _alone(cluster, day))
    assert cluster.parts["daemon"].poll() is None


def test_where_the_history_comes_back_at_once_the_run_goes_on_or_the_day_is_launched_again(
    cluster: Deployment, history: dg.DagsterInstance
):
    """A run that was writing just then has a failed step, which Dagster does not run again."""
    backfill = _backfill(cluster, SHORTLY_WITHOUT)
    _in_its_middle(history, backfill)
    cluster.lose("postgres")
    cluster.start_again("postgres")
    (run,) = _ended(history, backfill, 1)
    if run.status == dg.DagsterRunStatus.FAILURE:
        assert "OperationalError" in _why(history, run)
        assert Lake(cluster.data / "lake").manifest(SHORTLY_WITHOUT).number == 0
        (run,) = _ended(history, _backfill(cluster, SHORTLY_WITHOUT), 1)
    assert run.status == dg.DagsterRunStatus.SUCCESS, _why(history, run)
    _assert_whole(cluster, SHORTLY_WITHOUT, run.run_id)
    _assert_equal(_bids(cluster.data, SHORTLY_WITHOUT), _alone(cluster, SHORTLY_WITHOUT))


def test_two_back_fills_and_a_command_of_one_day_give_one_result(cluster: Deployment, history: dg.DagsterInstance):
    asked = [_backfill(cluster, TWICE), _backfill(cluster, TWICE)]
    wait_until(lambda: any(run.is_finished is False for run in _runs(history, asked[0])), "the first run", PATIENCE_S)
    by_hand = cluster.start(
        "by_hand", sys.executable, "-m", "vpp_pipeline", "bids", "--date", TWICE
    )  # waits in no queue
    (one,), (other,) = (_ended(history, backfill, 1) for backfill in asked)
    assert [_why(history, run) for run in (one, other) if run.status != dg.DagsterRunStatus.SUCCESS] == []
    assert by_hand.wait(PATIENCE_S) == 0
    first, last = sorted(
        (history.get_run_record_by_id(run.run_id) for run in (one, other)), key=lambda it: it.start_time
    )
    assert first.end_time <= last.start_time  # the queue lets one run of a day at a time
    manifests = Lake(cluster.data / "lake").manifests(TWICE)
    assert len({manifest.run_id for manifest in manifests}) == len(manifests) == 3
    _assert_whole(cluster, TWICE, manifests[-1].run_id)
    _assert_equal(_bids(cluster.data, TWICE), _alone(cluster, TWICE))


def test_a_portfolio_bids_beside_the_same_day_of_another_desk(cluster: Deployment, history: dg.DagsterInstance):
    day, before = DAYS[0], Lake(cluster.data / "lake").manifest(DAYS[0])
    folder = cluster.data / "portfolios" / PORTFOLIO
    others = _bids(cluster.data, day)
    (run,) = _ended(history, _backfill(cluster, day, location=PORTFOLIO), 1)
    assert run.status == dg.DagsterRunStatus.SUCCESS, _why(history, run)
    assert run.tags["vpp/day"] == f"{PORTFOLIO} {day}"
    assert {key.path[0] for key in _materialized(history, run)} == {PORTFOLIO}
    made = _bids(folder, day)
    assert made["fleet.prosumers"].height == 25
    _assert_equal(made, _alone(cluster, day, PORTFOLIO))
    _assert_equal(_bids(cluster.data, day), others)
    assert Lake(cluster.data / "lake").manifest(day) == before


def test_a_run_that_brings_rays_configuration_is_not_launched(cluster: Deployment, history: dg.DagsterInstance):
    workspace = f"{cluster.environment['DAGSTER_HOME']}/workspace.yaml"
    tags = {"dagster-ray/config": json.dumps({"runtime_env": {"pip": ["anything"]}}), "dagster/partition": TWICE}
    location = ("-l", "vpp_pipeline.definitions")
    cluster.run(
        *(str(BIN / "dagster"), "job", "launch", "-w", workspace, *location, "-j", "bid_day"),
        *("--tags", json.dumps(tags)),
    )
    wanted = dg.RunsFilter(tags={"dagster-ray/config": tags["dagster-ray/config"]})
    run = wait_until(lambda: [run for run in history.get_runs(wanted) if run.is_finished], "the refusal", PATIENCE_S)[0]
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert f"dagster-run-{run.run_id}" not in json.dumps(_ray_jobs(cluster))


def test_the_password_stands_in_its_file_alone(cluster: Deployment):
    assert PASSWORD not in json.dumps(_ray_jobs(cluster))
    assert PASSWORD not in cluster.logs()
    assert [process for process in processes(PASSWORD) if process != os.getppid()] == []
    kept = [file for file in cluster.root.rglob("*") if file.is_file() and file.name != "pgpass"]
    assert len(kept) > 100
    assert [file for file in kept if PASSWORD.encode() in file.read_bytes()] == []


def _why(history: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What the run's history says of its failure."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.get_dagster_event() for entry in history.all_logs(run.run_id, of_type=kinds)]
    errors = [event.step_failure_data.error for event in events if event.is_step_failure]
    return "; ".join([*(str(event.message) for event in events), *(error.to_string() for error in errors if error)])


def _materialized(history: dg.DagsterInstance, run: dg.DagsterRun) -> set[dg.AssetKey]:
    events = history.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {entry.get_dagster_event().asset_key for entry in events}


def _has_negotiated(history: dg.DagsterInstance, run_id: str) -> bool:
    done = history.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    return any(entry.step_key == "negotiation__summary" for entry in done)


def _processes_of(run: dg.DagsterRun) -> list[int]:
    """Those of the run itself, not Ray's supervisor or the shell that started it."""
    return [process for process in processes(run.run_id) if _is_run(process)]


def _is_run(process: int) -> bool:
    try:
        return b"execute_run" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def _ray_jobs(cluster: Deployment) -> list[dict[str, object]]:
    """What Ray's dashboard shows of its jobs."""
    import urllib.request

    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    address = f"{cluster.environment['VPP_RAY_ADDRESS']}/api/jobs/"
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


def test_ray_answers_nobody_without_the_token(cluster: Deployment):
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.environment['VPP_RAY_ADDRESS']}/api/jobs/", timeout=30)
    assert refused.value.code in (401, 403)
