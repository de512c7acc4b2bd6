"""Market days and negotiation slots as Dagster partitions."""

from __future__ import annotations

from datetime import date

import dagster as dg

from vpp_pipeline.core.calendar import SLOTS

# 75 slots a day: a first day further back would put more than the ~100,000 keys that Dagster's pages stay quick with
FIRST_MARKET_DATE = date(2023, 8, 1)

# end_offset=2: at 08:00 Pacific tomorrow's trade date must exist already
DAYS = dg.DailyPartitionsDefinition(FIRST_MARKET_DATE.isoformat(), timezone="America/Los_Angeles", end_offset=2)
ROUNDS = dg.MultiPartitionsDefinition({"date": DAYS, "slot": dg.StaticPartitionsDefinition(list(SLOTS))})

SAME_DAY = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="date")
DAY_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True)
WEEK_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-7, end_offset=-1, allow_nonexistent_upstream_partitions=True)


def market_date_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """The market day of a run."""
    return date.fromisoformat(context.partition_key)
