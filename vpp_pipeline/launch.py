"""Run a job in this process against the project's own Dagster instance, so that `dagster dev` shows it too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from filelock import FileLock

from vpp_pipeline.assets.partitions import DAYS, FIRST_MARKET_DATE
from vpp_pipeline.definitions import defs
from vpp_pipeline.errors import InputError
from vpp_pipeline.paths import project_folder

OPENING_TIMEOUT_S = 120.0
STAGES = {
    "market": "prices and forecasts",
    "fleet": "fleet",
    "negotiation": "negotiation",
    "day": "optimisation",
    "dispatch": "payments",
}
STAGES |= {"formed": "bids", "warehouse": "publication"}


@contextmanager
def project_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that `dagster dev` uses in the project folder (DAGSTER_HOME's, where that is set)."""
    if os.getenv("DAGSTER_HOME"):
        with _only_creator(Path(os.environ["DAGSTER_HOME"])):
            instance = dg.DagsterInstance.get()
        with instance:
            yield instance
        return
    project = project_folder()
    home = project / "data" / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    # dagster.yaml's own paths are relative to the folder that Dagster is started in; here they must not depend on it
    overrides: dict[str, Any] = {
        "storage": {"sqlite": {"base_dir": str(home / "history")}},
        "local_artifact_storage": _local("dagster._core.storage.root", "LocalArtifactStorage", home),
        "compute_logs": _local(
            "dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager", home / "logs"
        ),
        "telemetry": {"enabled": False},
    }
    with _only_creator(home):
        instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(project), overrides=overrides))
    with instance:
        yield instance


@contextmanager
def _only_creator(home: Path) -> Iterator[None]:
    """One process at a time: two that make a new history's databases at once leave them with two schema versions."""
    with FileLock(home / "opening.lock", timeout=OPENING_TIMEOUT_S):
        yield


def _local(module: str, name: str, folder: Path) -> dict[str, Any]:
    return {"module": module, "class": name, "config": {"base_dir": str(folder)}}


def run_job(
    job: str, market_date: date, data: Path, prices: dict[str, Any], settings: dict[str, Any]
) -> dict[str, float]:
    """Run ``job`` for one market day; seconds per stage. Raises the failed asset's own error."""
    partition = market_date.isoformat()
    if not DAYS.has_partition_key(partition):
        raise InputError(
            f"{partition} is not a market day of this pipeline",
            remedy=f"Choose a day from {FIRST_MARKET_DATE} to {DAYS.get_last_partition_key()}",
        )
    storage = {"config": {"data_folder": str(data.resolve())}}
    config = {
        "resources": {"storage": storage, "prices_source": {"config": prices}, "desk": {"config": settings}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    with project_instance() as instance:
        result = defs.resolve_job_def(job).execute_in_process(
            run_config=config, partition_key=partition, instance=instance
        )
    seconds: dict[str, float] = {}
    for event in result.all_events:
        if event.event_type_value == "STEP_SUCCESS" and event.step_key is not None:
            is_check = "_bid" in event.step_key or event.step_key.count("__") != 1
            stage = STAGES.get(event.step_key.split("_")[0], "checks")
            stage = "checks" if is_check and stage not in ("optimisation", "bids") else stage
            seconds[stage] = seconds.get(stage, 0.0) + event.step_success_data.duration_ms / 1000.0
    return seconds
