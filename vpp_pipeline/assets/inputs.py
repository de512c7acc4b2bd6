"""The inputs of a run, all of which are read before anything is written."""

from __future__ import annotations

from functools import lru_cache

import dagster as dg

from vpp_pipeline.assets.partitions import market_date_of
from vpp_pipeline.assets.resources import Prices, Storage, _Desk
from vpp_pipeline.sources.day_inputs import DayInputs

BIDS_JOB = "bid_day"


@lru_cache(maxsize=1)
def _of_run(run_id: str, inputs: DayInputs) -> DayInputs:
    """The same object for all assets of a run, so that each file is read once."""
    return inputs


def day_inputs(context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage) -> DayInputs:
    """The run's inputs. A run of the whole day reads all of them first: where one is wrong, the lake stays as it is."""
    file, node = prices_source.chosen()
    inputs = _of_run(
        context.run.run_id,
        DayInputs(market_date_of(context), desk.settings(), file, node, storage.requests),
    )
    if context.run.job_name == BIDS_JOB:
        inputs.read_all()
    return inputs
