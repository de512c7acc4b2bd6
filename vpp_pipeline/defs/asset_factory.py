"""An asset that is a table: key, group, columns, description, owner, freshness and partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from inspect import getdoc
from typing import Any

import dagster as dg
import polars as pl

from vpp_pipeline.core.calendar import PACIFIC, SLOTS
from vpp_pipeline.core.lake import content_of
from vpp_pipeline.core.provenance import code_version, frame_hash
from vpp_pipeline.core.tables import AGGREGATED
from vpp_pipeline.day_parts import InParts, Made
from vpp_pipeline.defs.keys import PREFIX, key_of
from vpp_pipeline.defs.metadata import columns_of, declared
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import SETTLED

#: group -> the team that answers for its tables
OWNERS = {
    "market": "team:market-analysis",
    "fleet": "team:fleet-operations",
    "negotiation": "team:prosumer-accounts",
    "dispatch": "team:optimisation",
    "bids": "team:trading-desk",
    "evaluation": "team:settlements",
    "warehouse": "team:data-platform",
}
OWNERS_BY_TABLE = {
    "dispatch.payments": "team:prosumer-accounts",
    "dispatch.owen_shares": "team:prosumer-accounts",
    "dispatch.reconciliation": "team:settlements",
}
_INPUTS = "inputs.day_inputs.DayInputs"
_SOLUTION = (
    "dispatch.infeasibility.infeasibilities",
    "pipeline.state_problem",
    "pipeline.solve",
    "pipeline.tabulate",
    "day_parts.sum_of",
)
#: what computes a table, or all tables of a group that are not named; an edit elsewhere does not make it stale
COMPUTED_BY: dict[str, tuple[str, ...]] = {
    "market.prices": ("market.open_source.open_source",),
    "market.metered_hours": (f"{_INPUTS}.metered",),
    "market.meter_quarantine": (f"{_INPUTS}.metered",),
    "market.solar_forecast": (f"{_INPUTS}.expected_from",),
    "market.load_forecast": (f"{_INPUTS}.expected_from",),
    "market.charging_forecast": (f"{_INPUTS}.expected_from",),
    "market.price_history": (f"{_INPUTS}.history",),
    "market.price_forecast": (f"{_INPUTS}.forecast",),
    "market.price_scenarios": (f"{_INPUTS}.price_scenarios",),
    "market.resources": (f"{_INPUTS}.resources",),
    "market.opportunities": ("pipeline.find_opportunities", f"{_INPUTS}.requests", f"{_INPUTS}.recent_deals"),
    "market.request_quarantine": ("pipeline.find_opportunities", f"{_INPUTS}.requests", f"{_INPUTS}.recent_deals"),
    "fleet": (f"{_INPUTS}.fleet",),
    "fleet.availability": ("pipeline.limit_fleet",),
    **dict.fromkeys(AGGREGATED, ("pipeline.aggregate",)),
    "negotiation": ("pipeline.negotiate",),
    "negotiation.llm_calls": ("llm.session.audit_of",),
    "dispatch": _SOLUTION,
    "dispatch.payments": ("pipeline.pay",),
    "dispatch.reconciliation": ("pipeline.form", "day_parts.sum_of"),
    "bids": ("pipeline.form", "pipeline.verify"),
    "evaluation": ("evaluation.settle_day.settle_day", "day_parts.sum_of"),
    "evaluation.benchmark": ("evaluation.backtest.run.replay_days",),
    "warehouse": ("warehouse.publish.publish", "warehouse.publish.publish_settlement"),
}
# 75 slots a day: a first day further back would put more than the ~100,000 keys that Dagster's pages stay quick with
FIRST_MARKET_DATE = date(2023, 8, 1)

# end_offset=2: at 08:00 Pacific tomorrow's trade date must exist already
DAYS = dg.DailyPartitionsDefinition(FIRST_MARKET_DATE.isoformat(), timezone=str(PACIFIC), end_offset=2)
ROUNDS = dg.MultiPartitionsDefinition({"date": DAYS, "slot": dg.StaticPartitionsDefinition(list(SLOTS))})

SAME_DAY = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="date")
DAY_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True)
WEEK_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-7, end_offset=-1, allow_nonexistent_upstream_partitions=True)


def _fresh(deadline: str, hours: float) -> dg.FreshnessPolicy:
    """Made by the deadline (cron, Pacific), at most ``hours`` before it. Dagster looks at the latest day made, any."""
    return dg.FreshnessPolicy.cron(deadline, lower_bound_delta=timedelta(hours=hours), timezone=str(PACIFIC))


# 09:00: an hour before the market closes, so that there is time to bid again, and an hour after the run began at 08:00.
# Up to 20 hours before: later than the 08:00 run of the day before
BIDS_DUE = time(9)
BY_NINE = _fresh(f"0 {BIDS_DUE.hour} * * *", 20.0)
FRESHNESS = {
    "market.prices": _fresh("30 14 * * *", 2.5),  # published at 13:00; by 14:30 those that came since noon are in
    # settled at 14:00, or when late prices are in
    **dict.fromkeys(SETTLED, _fresh("0 15 * * *", 3.0)),
}


def version_of(table: str) -> str:
    """Version of the code that computes the table."""
    return code_version(*COMPUTED_BY[table if table in COMPUTED_BY else table.split(".")[0]])


def told_of(table: str) -> dict[str, Any]:
    """An asset's page before it is ever materialized: its owners, freshness, and code version."""
    group = table.split(".")[0]
    return {
        "owners": [OWNERS_BY_TABLE.get(table, OWNERS[group])],
        "freshness_policy": FRESHNESS.get(table, BY_NINE),
        "code_version": version_of(table),
    }


def table_asset(table: str, kinds: set[str], **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorator of an asset that makes ``table``; its docstring is the catalogue entry."""
    group, name = table.split(".")
    metadata = {"dagster/column_schema": columns_of(declared(table)), "dagster/table_name": table}
    arguments: dict[str, Any] = {"partitions_def": DAYS, "metadata": metadata} | told_of(table) | options
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=name,
        key_prefix=[*PREFIX, group],
        group_name=group,
        kinds=kinds,
        **arguments,
    )
    return decorator


def table_outs(tables: Mapping[str, str], kinds: set[str]) -> dict[str, dg.AssetOut]:
    """Outputs of one computation that makes several tables: output name -> table."""
    return {
        output: dg.AssetOut(
            key=key_of(table),
            group_name=table.split(".")[0],
            description=getdoc(TABLES[table]),
            kinds=kinds,
            metadata={"dagster/column_schema": columns_of(declared(table)), "dagster/table_name": table},
            **told_of(table),
        )
        for output, table in tables.items()
    }


def outputs_of(tables: Made, names: Mapping[str, str]) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """The outputs of a computation, name -> table, with the hash of its content as data version."""
    for name, table in names.items():
        yield dg.Output(tables[table], name, data_version=dg.DataVersion(version_of_rows(tables[table])))


def version_of_rows(rows: pl.DataFrame | InParts) -> str:
    """The hash of the rows."""
    return content_of(rows.parts) if isinstance(rows, InParts) else frame_hash(rows)


def market_date_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """The market day of a run."""
    return date.fromisoformat(context.partition_key)
