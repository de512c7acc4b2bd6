"""Runs of the command line whose process was killed.

Dagster would show them as running, and queue every later run of their market day behind them. Each holds a file lock
while it lives, which the operating system frees whatever happens.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from vpp_pipeline.core.paths import project_home

LOCK_TAG = "vpp_pipeline/lock"  # marks a run of the command line; anyone may write tags, so its content is never read
LIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def lock_of(run_id: str) -> Path:
    """The file that a run of the command line holds locked: named after its id alone, beside the history.

    Raises ValueError where the id is not one that Dagster makes.
    """
    return project_home() / "running" / f"{uuid.UUID(run_id)}.lock"


def close_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose lock is free; their ids."""
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=LIVE)):
        if LOCK_TAG not in run.tags:
            continue
        file = lock_of(run.run_id)
        if not file.is_file():  # of another machine, or begun again from Dagster's UI, which copies tags
            continue
        try:
            with FileLock(file, timeout=0):
                instance.report_run_failed(run, "Its process ended without a word; run the day again.")
                closed.append(run.run_id)
        except Timeout:
            continue
        file.unlink(missing_ok=True)
    return closed


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs of the command line as failed whose process was killed, so that nothing waits for them.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    closed = close_lost_runs(context.instance)
    return dg.SkipReason(f"closed {', '.join(closed)}" if closed else "every run has its process")
