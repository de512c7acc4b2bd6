"""The nightly sweep: what is past its time in lake, warehouse, and run history."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.defs.keys import OWN_TAGS, is_own
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline.warehouse.retention import sweep

AT_ONCE = 100
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def forget_runs(instance: dg.DagsterInstance, days: int, *, is_dry: bool = False) -> int:
    """Remove runs of this portfolio that ended and were made more than ``days`` ago, with their logs; how many.

    Their tables and bids are not touched: `bids.runs` keeps a row of each that published. ``is_dry``: count them alone.
    """
    past = dg.RunsFilter(statuses=ENDED, created_before=datetime.now(UTC) - timedelta(days=days))
    count, cursor = 0, None
    while True:
        runs = instance.get_runs(past, cursor=cursor, limit=AT_ONCE)
        own = [run for run in runs if is_own(run)]
        for run in own if not is_dry else ():
            instance.delete_run(run.run_id)
        count += len(own)
        kept = runs if is_dry else [run for run in runs if not is_own(run)]
        cursor = kept[-1].run_id if kept else cursor
        if len(runs) < AT_ONCE:
            return count


DRY = dg.Field(bool, default_value=False, description="Remove nothing, and say in the log what would be.")


@dg.op(config_schema={"dry_run": DRY})
def sweep_past(context: dg.OpExecutionContext, storage: Storage, prices_source: Prices) -> None:
    """Remove what [retention] in data/prices.toml no longer keeps."""
    kept, is_dry = prices_source.retention(), context.op_config["dry_run"]
    swept = sweep(storage.lake, storage.warehouse, kept, datetime.now(PACIFIC).date(), is_dry=is_dry)
    runs = forget_runs(context.instance, kept.history_days, is_dry=is_dry)
    context.log.info(f"{'a dry run: ' if is_dry else ''}{swept}; {runs} runs removed from the history")


@dg.job(
    tags=OWN_TAGS,
    description="Remove detail of old days, tables that were never published, and old run history, by [retention] in "
    "data/prices.toml. With `dry_run: true` it removes nothing, and its log says what it would.",
)
def sweep_storage() -> None:
    sweep_past()


sweep_at_three = dg.ScheduleDefinition(
    job=sweep_storage,
    cron_schedule="0 3 * * *",
    tags={"dagster/priority": "-5"},
    execution_timezone=str(PACIFIC),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="03:00 Pacific: what is past its time goes, long before the morning's bids.",
)
