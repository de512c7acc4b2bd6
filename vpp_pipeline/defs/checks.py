"""Checks of `verification/` as Dagster asset checks: a failure stops the run before bids are published."""

from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg

from vpp_pipeline.day_parts import results_of_parts
from vpp_pipeline.defs.asset_factory import DAYS, market_date_of
from vpp_pipeline.defs.bids import is_scheduled
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Desk, Storage
from vpp_pipeline.defs.run_inputs import keep_result
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.bids import bids_were_ready_before_the_deadline
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.verification.inputs import prices_are_complete_and_ordered
from vpp_pipeline.verification.registry import GUARDS, METRICS, OF_WHOLE_DAY, WARNINGS
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline.warehouse.day import LakeDay, parts_in

#: tags of a run: the first and last of a range
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

Check = Callable[..., CheckResult]


def _asset_check(check: Check, table: str) -> dg.AssetChecksDefinition:
    """``check`` as Dagster's check of the asset ``table``; blocking, unless it is one of the warnings."""

    @dg.asset_check(
        asset=key_of(table),
        name=check.__name__,
        description=check.__doc__,
        blocking=check not in WARNINGS,
        partitions_def=DAYS,
    )
    def run_check(context: dg.AssetCheckExecutionContext, desk: Desk, storage: Storage) -> dg.AssetCheckResult:
        tables_of = storage.settled_day if check in SETTLED else storage.figures
        days = _days_of(context)
        results = [_run(context, check, table, tables_of(day), desk.settings()) for day in days]
        if len(days) > 1:  # Dagster gives what a check returns to the day of its run, and that of a range to none
            for day, one in zip(days, results, strict=True):
                of_day = dg.AssetCheckEvaluation(
                    asset_key=key_of(table), check_name=check.__name__, partition=day.isoformat(), **_told(check, one)
                )
                context.op_execution_context.log_event(of_day)  # type: ignore[arg-type]  # it takes this as well
        return dg.AssetCheckResult(**_told(check, next((one for one in results if not one.passed), results[-1])))

    return run_check


def _told(check: Check, result: CheckResult) -> dict[str, Any]:
    """The result as Dagster takes it; the name of its number ends in the unit."""
    return {
        "passed": result.passed,
        "severity": dg.AssetCheckSeverity.WARN if result.is_warning else dg.AssetCheckSeverity.ERROR,
        "description": result.description,
        "metadata": {"violations": result.violations, METRICS[check]: float(result.value)},
    }


def _days_of(context: dg.AssetCheckExecutionContext) -> list[date]:
    """The market days of the run: that of its partition, or all of a range."""
    first, last = (context.run.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG))
    if first is None or last is None:
        return [market_date_of(context)]
    return [date.fromisoformat(key) for key in DAYS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))]


def _run(
    context: dg.AssetCheckExecutionContext, check: Check, table: str, day: LakeDay, settings: Settings
) -> CheckResult:
    extra: dict[str, Any] = {}
    if check is bids_were_ready_before_the_deadline:
        extra["is_scheduled"] = is_scheduled(context.run)
    if check is prices_are_complete_and_ordered:
        extra["table"] = table
    if parts_in(day.kept) and check not in OF_WHOLE_DAY:
        result = results_of_parts(day, settings, [check])[check.__name__]
    else:
        result = check(day, settings, **extra)
    if GUARDS.get(check) == table:
        keep_result(check.__name__, day, settings, result)
    return result


all_checks = [_asset_check(check, table) for check, table in [*GUARDS.items(), *SETTLED.items()]]
all_checks.append(_asset_check(prices_are_complete_and_ordered, "market.prices"))
