"""Run a job in this process against the Dagster instance of its data folder, so that Dagster's pages show it too."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import dagster as dg

# The one file that imports what Dagster keeps private. Its two public ways to run a job in this process both lose
# something. `JobDefinition.execute_in_process` keeps every table of a run in memory to its end: 44 MB at 2,000
# prosumers, 2 GB at 100,000. `execute_job` keeps none, but makes the run's id itself, and the lock that tells a living
# run from a killed one is named after that id before the run begins. Neither says which code location the job is of,
# without which Dagster's pages show the run on no timeline and with no job.
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.execute_in_process import merge_run_tags
from dagster._core.execution.job_execution_result import JobExecutionResult
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origin_from_module_name
from filelock import FileLock
from sqlalchemy.exc import DBAPIError

from vpp_pipeline.cli.progress import stages
from vpp_pipeline.core.errors import InputError, ViolationError
from vpp_pipeline.core.paths import dagster_settings, history_folder
from vpp_pipeline.definitions import definitions_of
from vpp_pipeline.defs.asset_factory import DAYS, FIRST_MARKET_DATE
from vpp_pipeline.defs.keys import PREFIX
from vpp_pipeline.defs.owner import Owner, owners_part, run_part
from vpp_pipeline.defs.resources import Storage
from vpp_pipeline.defs.run_inputs import BIDS_JOB, inputs_of_run, read_all
from vpp_pipeline.defs.sensors import LOCK_TAG, close_lost_runs, lock_of
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.settings import llm_of_environment, read_settings
from vpp_pipeline.verification.registry import GUARDS
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline.warehouse.day import published_day

LOG = logging.getLogger(__name__)
OPENING_TIMEOUT_S = 120.0
LOCATION, REPOSITORY = "vpp_pipeline.definitions", "__repository__"  # as `vpp-pipeline dev` serves them
HOME_NOTE = """# Written by vpp-pipeline at each start: changes are lost. For settings of your own, name another folder,
# which has a dagster.yaml, by the environment variable DAGSTER_HOME.
#
"""
STAGES = {
    "market": "prices and forecasts",
    "fleet": "fleet",
    "negotiation": "negotiation",
    "day": "optimization",
    "dispatch": "payments",
    "formed": "bids",
    "warehouse": "publication",
    "settlement": "settlement",
    "evaluation": "back-test",
}


CHECKS = "checks"


class Ran(NamedTuple):
    """A run that succeeded, and the seconds of its stages."""

    run_id: str
    seconds: dict[str, float]


@contextmanager
def instance_of(data: Path, *, keeps_history: bool = True) -> Iterator[dg.DagsterInstance]:
    """The instance of a data folder, which `vpp-pipeline dev` shows (DAGSTER_HOME's, where that is set).

    Without ``keeps_history`` one that is gone when the process ends. Raises InputError where the history is damaged.
    """
    if not keeps_history:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
        return
    try:
        with _kept_instance(data) as instance:
            yield instance
    except (DBAPIError, sqlite3.Error) as error:
        raise InputError(
            f"Dagster's run history cannot be used: {' '.join(str(getattr(error, 'orig', error)).split())}",
            file=history_folder(data),
            remedy="Bids need no history: add --no-history to the command. Then free the disk, or move the folder "
            "aside; Dagster makes a new one",
        ) from error


@contextmanager
def _kept_instance(data: Path) -> Iterator[dg.DagsterInstance]:
    home = prepare_home(data)
    # two processes that make a new history's databases at once would leave them with two schema versions
    with FileLock(home / "opening.lock", timeout=OPENING_TIMEOUT_S):
        is_named = bool(os.getenv("DAGSTER_HOME"))
        # `local_temp` is public, and lasting in spite of its name: what the folder's dagster.yaml says
        instance = dg.DagsterInstance.get() if is_named else dg.DagsterInstance.local_temp(str(home))
    with instance:
        yield instance


def prepare_home(data: Path) -> Path:
    """The folder of the history of ``data``, ready to be a DAGSTER_HOME; one that the user names stays as it is.

    The project's `dagster.yaml` is written there, its paths absolute: those of the original are relative to the folder
    that Dagster is started in.
    """
    home = history_folder(data).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if os.getenv("DAGSTER_HOME"):
        return home
    settings = HOME_NOTE + re.sub(
        r"(?m)^( +base_dir: )data/dagster(.*)$",
        lambda line: line[1] + json.dumps(f"{home.as_posix()}{line[2]}", ensure_ascii=False),
        dagster_settings(),
    )
    file = home / "dagster.yaml"
    with FileLock(home / "opening.lock", timeout=OPENING_TIMEOUT_S):
        if not file.is_file() or file.read_text(encoding="utf-8") != settings:
            draft = file.with_name(".dagster.yaml.draft")
            draft.write_text(settings, encoding="utf-8")
            os.replace(draft, file)
    return home


@contextmanager
def _living_run(run_id: str, data: Path) -> Iterator[dict[str, str]]:
    """Tags of a new run on ``data``, whose lock is held while this process lives."""
    file = lock_of(run_id, data)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        # Dagster's own retries would start it again behind the back of who sits at the command line
        yield {LOCK_TAG: "held", "dagster/max_retries": "0"}
    file.unlink(missing_ok=True)


def run_job(
    job: str,
    market_date: date,
    data: Path,
    prices: dict[str, Any],
    settings: dict[str, Any],
    *,
    keeps_history: bool = True,
) -> Ran:
    """Run ``job`` for one market day. Raises the failed asset's own error.

    Where its inputs cannot be used there is no run: a typo must not show a published day as failed.
    """
    partition = market_date.isoformat()
    if not DAYS.has_partition_key(partition):
        raise InputError(
            f"{partition} is not a market day of this pipeline",
            remedy=f"Choose a day from {FIRST_MARKET_DATE} to {DAYS.get_last_partition_key()}",
        )
    owner = Owner(data.resolve(), llm=owners_part(settings), names_any_file=True)
    resources = {
        # repeated from Dagster's UI, the run must not go to another folder
        "storage": {"data_folder": str(data.resolve())},
        "prices_source": prices,
        "desk": run_part(settings),
    }
    config = {
        "resources": {name: {"config": chosen} for name, chosen in resources.items()},
        "loggers": {"console": {"config": {"log_level": "DEBUG" if LOG.isEnabledFor(logging.DEBUG) else "CRITICAL"}}},
    }
    run_id = str(uuid4())
    with stages() as begin:
        _validate(job, market_date, owner, prices, settings, run_id)
        return _run(job, partition, owner, config, run_id, data, begin, keeps_history=keeps_history)


def _run(
    job: str,
    partition: str,
    owner: Owner,
    config: dict[str, Any],
    run_id: str,
    data: Path,
    begin: Callable[[str], None],
    *,
    keeps_history: bool,
) -> Ran:
    """The run itself; ``begin`` is given the name of each stage that begins."""

    def note(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event and event.event_type_value == "STEP_START" and event.step_key:
            stage = _stage(event.step_key)
            if stage != CHECKS:
                begin(stage)

    living = _living_run(run_id, data) if keeps_history else nullcontext({LOCK_TAG: "none"})
    with instance_of(data, keeps_history=keeps_history) as instance, living as tags:
        close_lost_runs(instance, data)
        LOG.info("job %s for %s, run %s", job, partition, run_id)
        instance.add_event_listener(run_id, note)
        try:
            result = execute(definitions_of(owner).resolve_job_def(job), config, partition, instance, run_id, tags)
        except dg.DagsterError:  # that of a failed blocking check has no public name
            if broken := _broken_checks(instance, run_id):
                raise ViolationError(broken) from None
            raise
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
    seconds: dict[str, float] = {}
    for event in result.all_events:
        if event.event_type_value == "STEP_SUCCESS" and event.step_key is not None:
            stage = _stage(event.step_key)
            seconds[stage] = seconds.get(stage, 0.0) + event.step_success_data.duration_ms / 1000.0
            LOG.info("%s: %.2f s", event.step_key, event.step_success_data.duration_ms / 1000.0)
    return Ran(run_id, seconds)


def _validate(
    job: str, market_date: date, owner: Owner, prices: dict[str, Any], settings: dict[str, Any], run_id: str
) -> None:
    """Read what the run will read; of the bids' inputs the run takes what was read. Raises InputError."""
    storage, source = Storage(data_folder=str(owner.folder), owner=run_id), owner.prices_of(prices)
    if job == BIDS_JOB:
        owners = {"llm": {**llm_of_environment(), **settings.get("llm", {})}}
        read_all(inputs_of_run(run_id, market_date, read_settings(settings | owners), source, storage))
        return
    if job == "settle_day":
        published_day(storage.lake, market_date)
    opened = source.open()
    if not isinstance(opened, OasisPrices):  # which is asked by the run, with its waits
        opened.day(market_date)


def execute(
    job: dg.JobDefinition,
    config: dict[str, Any],
    partition: str,
    instance: dg.DagsterInstance,
    run_id: str,
    tags: dict[str, str],
) -> JobExecutionResult:
    """Run the job in this process, as a run of the code location that `vpp-pipeline dev` serves."""
    location = location_origin_from_module_name(LOCATION, None, str(Path.cwd()), LOCATION, sys.executable)
    run = instance.create_run_for_job(
        job_def=job,
        run_config=config,
        tags=merge_run_tags(job, partition, tags, None, instance, config),
        run_id=run_id,
        remote_job_origin=RemoteRepositoryOrigin(location, REPOSITORY).get_job_origin(job.name),
    )
    return execute_run(InMemoryJob(job_def=job), run, instance, raise_on_error=True)


def _broken_checks(instance: dg.DagsterInstance, run_id: str) -> str:
    """The results of the checks that stopped a run."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    results = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    errors = [result for result in results if not result.passed and result.severity == dg.AssetCheckSeverity.ERROR]
    broken = [f"{result.check_name}: {result.description}" for result in errors]
    return f"no bids are published; {'; '.join(broken)}" if broken else ""


def _stage(step: str) -> str:
    """What a person calls the step: ``market__price_forecast``, or that followed by the name of its check."""
    is_check = any(step.endswith(claim.__name__) for claim in (*GUARDS, *SETTLED))
    of_portfolio = "".join(f"{name.replace('-', '_')}__" for name in PREFIX)
    return CHECKS if is_check else STAGES[step.removeprefix(of_portfolio).split("_")[0]]
