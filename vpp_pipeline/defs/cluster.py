"""How Dagster queues and launches runs on a Ray cluster: the two classes that `deploy/cluster/dagster.yaml` names.

Loaded by the webserver, the daemon, and each run there, and by nothing else: it needs the extra `cluster`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.defs.keys import portfolio_of

try:
    from dagster_ray.core.run_launcher import RayRunLauncher
except ImportError as error:
    raise InputError(
        f"runs on a Ray cluster need the extra cluster: {error}",
        remedy="Install it: make cluster, or pip install 'vpp-pipeline[cluster]'",
    ) from error

if TYPE_CHECKING:
    from dagster._core.launcher import LaunchRunContext, ResumeRunContext

RAY_TAG = "dagster-ray/config"
DAY_TAG = "vpp/day"  # of which the queue lets one run at a time
PARTITION_TAG = "dagster/partition"


class PortfolioQueue(dg.QueuedRunCoordinator):
    """The queue, which marks each run of a market day with its portfolio and day.

    A limit by the tag ``dagster/partition`` would let the day of one portfolio wait for that of another.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Mark the run, and put it into the queue."""
        run = context.dagster_run
        if day := run.tags.get(PARTITION_TAG):
            self._instance.add_run_tags(run.run_id, {DAY_TAG: f"{portfolio_of(run)} {day}".strip()})
        return super().submit_run(context)


class RayRuns(RayRunLauncher):
    """Runs as jobs of a Ray cluster, none of which chooses how Ray runs it.

    Whoever reaches Dagster may tag a run. By its tag, the launcher of dagster-ray would let a run install packages,
    name files, and read environment variables of the daemon: it would run any code on the cluster.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit the run to Ray. Raises InputError for one that brings Ray's configuration with it."""
        _require_no_configuration(context.dagster_run)
        super().launch_run(context)

    def resume_run(self, context: ResumeRunContext) -> None:
        """The same, for a run that is continued."""
        _require_no_configuration(context.dagster_run)
        super().resume_run(context)


def _require_no_configuration(run: dg.DagsterRun) -> None:
    given: Any = run.tags.get(RAY_TAG)
    if given is not None:
        raise InputError(
            f"a run may not choose how Ray runs it, by the tag {RAY_TAG}",
            value=given,
            remedy="Leave the tag out; CPUs, memory, and environment stand in deploy/cluster/dagster.yaml",
        )
