"""`dagster.yaml` says what we mean it to say, in Dagster's own reading."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import TagType, get_tag_type
from dagster._core.test_utils import create_run_for_test
from dagster._utils.tags import TagConcurrencyLimitsCounter

from vpp_pipeline.cli.main import main
from vpp_pipeline.cli.run_job import LOCATION, REPOSITORY, instance_of
from vpp_pipeline.definitions import defs
from vpp_pipeline.defs.sensors import LOCK_TAG

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with our dagster.yaml, entered as a user would."""
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path


def test_history_is_kept_in_the_data_folder(project: Path):
    @dg.asset
    def one() -> int:
        return 1

    with dg.DagsterInstance.from_config(str(project)) as instance:
        dg.materialize([one], instance=instance)
    with dg.DagsterInstance.from_config(str(project)) as later:
        assert [run.is_success for run in later.get_runs()] == [True]
    assert {path.relative_to(project).parts[:2] for path in project.rglob("*.db")} == {("data", "dagster")}
    assert {path.name for path in project.iterdir()} == {"data", "dagster.yaml"}


def test_the_packages_own_logs_stand_in_the_event_log_of_a_run(project: Path):
    @dg.asset
    def one() -> None:
        logging.getLogger("vpp_pipeline.market.anything").warning("OASIS is slow")
        logging.getLogger("httpx").warning("not ours")

    with dg.DagsterInstance.from_config(str(project)) as instance:
        run_id = dg.materialize([one], instance=instance).run_id
        found = [entry for entry in instance.all_logs(run_id) if not entry.is_dagster_event]
        assert [(entry.level, entry.user_message, entry.step_key) for entry in found] == [
            (logging.WARNING, "OASIS is slow", "one")
        ]


@pytest.mark.parametrize(
    ("running", "queued", "waits"),
    [
        ({"dagster/partition": "2023-08-15"}, {"dagster/partition": "2023-08-15"}, True),
        ({"dagster/partition": "2023-08-15"}, {"dagster/partition": "2023-08-16"}, False),
        ({"dagster/partition": "2023-08-15", "dagster/backfill": "a"}, {"dagster/partition": "2023-08-16"}, False),
        (
            {"dagster/partition": "2023-08-15", "dagster/backfill": "a"},
            {"dagster/partition": "2023-08-16", "dagster/backfill": "b"},
            True,
        ),
    ],
)
def test_two_days_run_at_once_but_not_one_day_twice_nor_two_days_of_back_fills(
    running: dict[str, str], queued: dict[str, str], waits: bool, project: Path
):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2
        begun = create_run_for_test(instance, "bid_day", status=dg.DagsterRunStatus.STARTED, tags=running)
        counter = TagConcurrencyLimitsCounter(queue.tag_concurrency_limits, [begun])
        asked = create_run_for_test(instance, "bid_day", tags=queued)
        assert counter.is_blocked(asked) == waits


def test_only_a_lost_process_is_retried(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 7200


def test_no_run_waits_for_the_publication_of_another():
    """Publications take turns by a file lock (warehouse/test_publish_at_once.py), which a killed process lets go of."""
    jobs = [defs.resolve_job_def(job.name) for job in defs.get_repository_def().get_all_jobs()]
    pools = {(job.name, node.name): node.definition.pool for job in jobs for node in job.nodes}
    assert len(pools) > 20
    assert {name: pool for name, pool in pools.items() if pool is not None} == {}


def test_nothing_is_sent_to_dagster(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_a_run_of_the_command_line_is_on_the_timeline_and_its_mark_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By the code location that `vpp-pipeline dev` serves: Dagster's pages ask for runs of a location."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert main(["ingest", "--date", "2023-08-15", "--data", str(tmp_path)]) == 0
    with instance_of(tmp_path) as instance:
        here = dg.RunsFilter(tags={".dagster/repository": f"{REPOSITORY}@{LOCATION}"}, job_name="ingest_market")
        (run,) = instance.get_runs(here)
        shown = {name for name in run.tags if get_tag_type(name) != TagType.HIDDEN}
        assert LOCK_TAG in set(run.tags) - shown
        assert {name.partition("/")[0] for name in shown} == {"dagster"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["bids", "--node", "NOWHERE"], "does not make prices of this node"),
        (["bids", "--fleet", "absent.csv"], "absent.csv"),
        (["bids", "--engine", "auction"], "auction"),
        (["ingest", "--prices", "absent.csv"], "no such file"),
        (["settle"], "no bids of 2023-08-15 are published"),
    ],
)
def test_there_is_no_run_where_the_input_cannot_be_used(
    command: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A typo showed a published day as failed."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    assert main([name, "--date", "2023-08-15", "--data", str(tmp_path), *rest]) == 2
    assert words in capsys.readouterr().err
    with instance_of(tmp_path) as instance:
        assert instance.get_runs() == []
    assert not any((tmp_path / "dagster").glob("running/*.lock"))
