"""The inputs of a run, all of which are read before anything is written, and what its checks have found so far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

import dagster as dg
import polars as pl
from filelock import FileLock, Timeout

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import acquire
from vpp_pipeline.defs.asset_factory import market_date_of
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.dispatch.solvers import require_solvers
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.llm.session import require_model
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.warehouse.day import Files, LakeDay

BIDS_JOB = "bid_day"
_checked: dict[str, tuple[Settings, dict[str, Files | None], CheckResult]] = {}  # by name of the check, the last one
PATIENCE_S = 900.0  # a run that waits longer for another of its day gives up


@lru_cache(maxsize=1)
def _of_run(run_id: str, inputs: DayInputs) -> DayInputs:
    """The same object for all assets of a run, so that each file is read once."""
    return inputs


_held: dict[str, FileLock] = {}  # run id -> the lock of its day


def _hold_day(run_id: str, lake: Path, market_date: date) -> None:
    """Make the day of this lake the run's, until :func:`let_go`; the operating system frees a killed one's.

    Two runs of one day share its files in the lake. Dagster's queue keeps its own apart, this all of them.
    """
    if run_id in _held:
        return
    while _held:  # an earlier run of this process is over, or this one would not have begun
        _held.popitem()[1].release()
    file = lake.resolve() / f"{market_date}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        acquire(lock, PATIENCE_S, f"another run of {market_date} is under way in {lake}", quiet_s=0.0)
    except Timeout:
        raise InputError(
            f"another run of {market_date} has been under way for {PATIENCE_S / 60:.0f} minutes",
            file=file,
            remedy="Wait for it or stop it, then start this one again",
        ) from None
    _held[run_id] = lock


def let_go(run_id: str) -> None:
    """Release the day after the run's last table: another run of it may begin."""
    if run_id in _held:
        _held.pop(run_id).release()


def day_inputs(context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage) -> DayInputs:
    """The run's inputs. A run of the whole day reads all of them first: where one is wrong, the lake stays as it is."""
    file, node = prices_source.chosen()
    inputs = _of_run(
        context.run.run_id,
        DayInputs(
            market_date_of(context),
            desk.settings(),
            file,
            node,
            storage.requests,
            storage.lake.root,
            context.run.run_id,
            prices_source.meters_path(),
            prices_source.weather(),
        ),
    )
    if context.run.job_name == BIDS_JOB:
        require_solvers(inputs.settings.optimiser)
        require_model(inputs.settings)
        _hold_day(context.run.run_id, storage.lake.root, inputs.market_date)
        inputs.read_all()
    return inputs


def keep_result(check: str, day: LakeDay, settings: Settings, result: CheckResult) -> None:
    """Keep the result of ``check``, with the files of the tables that it has read."""
    _checked[check] = (settings, dict(day.rests_on), result)


def results_so_far(day: LakeDay, settings: Settings, made: Mapping[str, pl.DataFrame]) -> dict[str, CheckResult]:
    """Results that this process has kept, of the files that ``day`` has now, by check; none that rest on ``made``.

    A check of a million prosumers takes a minute: what has just been checked is not checked again beside the bids.
    """
    return {
        check: result
        for check, (of_settings, files, result) in _checked.items()
        if of_settings == settings
        and files
        and all(found is not None and table not in made and found == day.files(table) for table, found in files.items())
    }
