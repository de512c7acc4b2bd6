"""The inputs of a run, all of which are read before anything is written, and what its checks have found so far."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from functools import lru_cache

import dagster as dg

from vpp_pipeline.defs.asset_factory import market_date_of
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.dispatch.solvers import require_backend, require_solvers
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.llm.session import require_model
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.warehouse.day import LakeDay

BIDS_JOB = "bid_day"
_checked: dict[str, tuple[Settings, dict[str, str | None], CheckResult]] = {}  # by name of the check, the last one


@lru_cache(maxsize=1)
def _of_run(run_id: str, inputs: DayInputs) -> DayInputs:
    """The same object for all assets of a run, so that each file is read once."""
    return inputs


def day_inputs(context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage) -> DayInputs:
    """The run's inputs. A run of the whole day reads all of them first: where one is wrong, nothing is made."""
    inputs = inputs_of_run(context.run.run_id, market_date_of(context), desk.settings(), prices_source, storage)
    return read_all(inputs) if context.run.job_name == BIDS_JOB else inputs


def inputs_of_run(run_id: str, market_date: date, settings: Settings, prices: Prices, storage: Storage) -> DayInputs:
    """The inputs of a run, those that it has already read among them."""
    return _of_run(run_id, inputs_of(run_id, market_date, settings, prices, storage))


def inputs_of(run_id: str, market_date: date, settings: Settings, prices: Prices, storage: Storage) -> DayInputs:
    """The inputs of a day, none of them read yet; an empty ``run_id``: of no run."""
    file, node = prices.chosen()
    return DayInputs(
        market_date,
        settings,
        file,
        node,
        storage.requests,
        storage.lake,
        run_id,
        prices.meters_path(),
        prices.meters_time_zone(),
        prices.weather(),
    )


def read_all(inputs: DayInputs) -> DayInputs:
    """The inputs, all of them read. Raises InputError for the first that cannot be used, or where a solver is
    missing."""
    require_solvers(inputs.settings.optimiser)
    require_backend(inputs.settings.optimiser)
    require_model(inputs.settings)
    inputs.read_all()
    return inputs


def keep_result(check: str, day: LakeDay, settings: Settings, result: CheckResult) -> None:
    """Keep the result of ``check``, with the versions of the tables that it has read."""
    _checked[check] = (settings, dict(day.rests_on), result)


def results_so_far(day: LakeDay, settings: Settings, made: Collection[str]) -> dict[str, CheckResult]:
    """Results that this process has kept, of the versions that ``day`` has now, by check; none that rest on ``made``.

    A check of a million prosumers takes a minute: what has just been checked is not checked again beside the bids.
    """
    return {
        check: result
        for check, (of_settings, files, result) in _checked.items()
        if of_settings == settings
        and files
        and all(
            found is not None and table not in made and found == day.version(table) for table, found in files.items()
        )
    }
