"""The rules that no day may break, as blocking checks in the run that makes the bids. The logic is the domain's."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.tables import Day
from vpp_pipeline.defs.asset_factory import DAYS, key_of, market_date_of
from vpp_pipeline.defs.bids import is_scheduled
from vpp_pipeline.defs.resources import Desk, Storage
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.bids import bids_were_ready_before_the_deadline
from vpp_pipeline.verification.inputs import prices_are_complete_and_ordered
from vpp_pipeline.verification.registry import GUARDS, WARNINGS
from vpp_pipeline.verification.schedule import SETTLED
from vpp_pipeline.verification.verdict import Verdict

#: tags of a run: the partition it makes, or the first and last of a range
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

Claim = Callable[..., Verdict]


def _check(claim: Claim, table: str) -> dg.AssetChecksDefinition:
    """``claim`` as a check of the asset that makes ``table``; blocking, unless it only ever warns."""
    blocking = claim not in WARNINGS

    @dg.asset_check(asset=key_of(table), name=claim.__name__, description=claim.__doc__, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, desk: Desk, storage: Storage) -> dg.AssetCheckResult:
        of = storage.settled_day if claim in SETTLED else storage.day
        verdicts = [_judge(context, claim, table, of(day), desk.settings()) for day in _days_of(context, table)]
        verdict = next((one for one in verdicts if not one.passed), verdicts[-1])
        return dg.AssetCheckResult(
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.WARN if verdict.is_warning else dg.AssetCheckSeverity.ERROR,
            description=verdict.description,
            metadata={"violations": verdict.violations, "measured": float(verdict.measured)},
        )

    return check


def _days_of(context: dg.AssetCheckExecutionContext, table: str) -> list[date]:
    """The market days to check: all of a run that makes a range, else the one of :func:`_day_of`."""
    first, last = (context.run.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG))
    if first is None or last is None:
        return [_day_of(context, table)]
    return [date.fromisoformat(key) for key in DAYS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))]


def _day_of(context: dg.AssetCheckExecutionContext, table: str) -> date:
    """The market day to check: the run's; for the button of the *Checks* page, which names none, the day made last."""
    if context.run.tags.get(PARTITION_TAG):
        return market_date_of(context)
    latest = context.instance.get_latest_materialization_event(key_of(table))
    partition = latest.asset_materialization.partition if latest and latest.asset_materialization else None
    if partition is None:
        raise NoDataError(f"no day of {table} was made yet", remedy="Make a day's bids first, by the job bid_day")
    return date.fromisoformat(partition)


def _judge(context: dg.AssetCheckExecutionContext, claim: Claim, table: str, day: Day, settings: Settings) -> Verdict:
    extra: dict[str, Any] = {}
    if claim is bids_were_ready_before_the_deadline:
        extra["is_scheduled"] = is_scheduled(context.run)
    if claim is prices_are_complete_and_ordered:
        extra["table"] = table
    return partial(claim, **extra)(day, settings)


all_checks = [_check(claim, table) for claim, table in [*GUARDS.items(), *SETTLED.items()]]
all_checks.append(_check(prices_are_complete_and_ordered, "market.prices"))
