"""`dagster.yaml` says what we mean it to say, in Dagster's own reading."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity

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


def test_a_market_day_is_run_once_at_a_time(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [
            {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        ]


def test_only_a_lost_process_is_retried(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 7200


def test_one_run_publishes_at_a_time_and_a_killed_step_keeps_no_place(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert pools.pool_granularity == PoolGranularity.RUN


def test_nothing_is_sent_to_dagster(project: Path):
    with dg.DagsterInstance.from_config(str(project)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
