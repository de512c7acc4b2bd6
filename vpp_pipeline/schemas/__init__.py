"""Every table, declared once: columns, units, keys, bounds, and descriptions.

Validation, DuckDB comments, Dagster's *Columns* panel and docs/fleet.md derive from here.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl
from dataframely.exc import ValidationError

from vpp_pipeline.core.errors import InputError, ViolationError
from vpp_pipeline.schemas.bids import BidSegments, Checks, FinalBids, RunBids, Runs, Settlement
from vpp_pipeline.schemas.columns import PRODUCTS
from vpp_pipeline.schemas.dispatch import (
    Charging,
    Infeasibilities,
    InternalPrices,
    OwenShares,
    Payments,
    Positions,
    Proof,
    Reconciliation,
    ScenarioQuantities,
    Schedule,
    Starts,
    StorageLimits,
    StoragePlan,
    StorageResources,
    StorageShares,
)
from vpp_pipeline.schemas.evaluation import Benchmark, Deliveries, Dispatched, SettledDays, StorageAwards
from vpp_pipeline.schemas.fleet import (
    ENTRIES,
    Availability,
    BaselineHours,
    Notes,
    Prosumers,
    Quarantine,
    StorageClasses,
    StorageMembers,
)
from vpp_pipeline.schemas.market import (
    DESK,
    PARTICIPATION,
    ChargingForecast,
    LoadForecast,
    MeteredHours,
    MeterQuarantine,
    Opportunities,
    PriceForecast,
    Prices,
    PriceScenarios,
    RequestQuarantine,
    Resources,
    SolarForecast,
)
from vpp_pipeline.schemas.negotiation import Agreements, LLMCalls, Messages, Segments, Summary

__all__ = [
    "DESK",
    "ENTRIES",
    "PARTICIPATION",
    "PRODUCTS",
    "TABLES",
    "Agreements",
    "Availability",
    "BaselineHours",
    "Benchmark",
    "BidSegments",
    "Charging",
    "ChargingForecast",
    "Checks",
    "Deliveries",
    "Dispatched",
    "FinalBids",
    "Infeasibilities",
    "InternalPrices",
    "LLMCalls",
    "LoadForecast",
    "Messages",
    "MeterQuarantine",
    "MeteredHours",
    "Notes",
    "Opportunities",
    "OwenShares",
    "Payments",
    "Positions",
    "PriceForecast",
    "PriceScenarios",
    "Prices",
    "Proof",
    "Prosumers",
    "Quarantine",
    "Reconciliation",
    "RequestQuarantine",
    "Resources",
    "RunBids",
    "Runs",
    "ScenarioQuantities",
    "Schedule",
    "Segments",
    "SettledDays",
    "Settlement",
    "SolarForecast",
    "Starts",
    "StorageAwards",
    "StorageClasses",
    "StorageLimits",
    "StorageMembers",
    "StoragePlan",
    "StorageResources",
    "StorageShares",
    "Summary",
    "is_in_order",
    "sentence",
    "validate",
]

SLICE = 200_000  # rows of a larger table that are validated at once
#: table name in the warehouse -> schema; the order is that of the pipeline
TABLES: dict[str, type[dy.Schema]] = {
    "market.prices": Prices,
    "market.price_forecast": PriceForecast,
    "market.price_scenarios": PriceScenarios,
    "market.metered_hours": MeteredHours,
    "market.meter_quarantine": MeterQuarantine,
    "market.solar_forecast": SolarForecast,
    "market.load_forecast": LoadForecast,
    "market.charging_forecast": ChargingForecast,
    "market.resources": Resources,
    "market.opportunities": Opportunities,
    "market.request_quarantine": RequestQuarantine,
    "fleet.prosumers": Prosumers,
    "fleet.notes": Notes,
    "fleet.quarantine": Quarantine,
    "fleet.availability": Availability,
    "fleet.storage_classes": StorageClasses,
    "fleet.storage_members": StorageMembers,
    "fleet.baseline": BaselineHours,
    "negotiation.messages": Messages,
    "negotiation.segments": Segments,
    "negotiation.summary": Summary,
    "negotiation.agreements": Agreements,
    "negotiation.llm_calls": LLMCalls,
    "dispatch.starts": Starts,
    "dispatch.infeasibilities": Infeasibilities,
    "dispatch.schedule": Schedule,
    "dispatch.positions": Positions,
    "dispatch.storage_resources": StorageResources,
    "dispatch.storage_shares": StorageShares,
    "dispatch.storage_limits": StorageLimits,
    "dispatch.storage_plan": StoragePlan,
    "dispatch.proof": Proof,
    "dispatch.scenario_quantities": ScenarioQuantities,
    "dispatch.charging": Charging,
    "dispatch.internal_prices": InternalPrices,
    "dispatch.owen_shares": OwenShares,
    "dispatch.payments": Payments,
    "dispatch.reconciliation": Reconciliation,
    "bids.final_bids": FinalBids,
    "bids.bid_segments": BidSegments,
    "bids.checks": Checks,
    "bids.runs": Runs,
    "bids.run_bids": RunBids,
    "evaluation.dispatched": Dispatched,
    "evaluation.settlement": Settlement,
    "evaluation.deliveries": Deliveries,
    "evaluation.settled_days": SettledDays,
    "evaluation.storage_awards": StorageAwards,
    "evaluation.benchmark": Benchmark,
}


#: stages whose tables hold what comes from outside; the others compute theirs
TAKEN_IN = ("market", "fleet")
#: dataframely's rule -> what is wrong with the rows that break it
BROKEN = {
    "primary_key": "comes twice",
    "nullability": "is empty",
    "dtype": "is of another kind",
    "nan": "is not a number",
    "inf": "is not finite",
    "min": "is below",
    "min_exclusive": "is not above",
    "max": "is above",
    "check": "is none of the allowed values",
}


def sentence(schema: type[dy.Schema]) -> str:
    """The description of a table."""
    return (schema.__doc__ or "").strip()


def validate(schema: type[dy.Schema], frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with its columns in declared order and rows in key order.

    A large table is validated in slices, and its key by neighboring rows once it is in order: half the time, and no
    copy of its columns. Where a value breaks the schema, raises InputError for a table of what is taken in, and
    ViolationError for one that is computed.
    """
    try:
        return _validated(schema, frame)
    except (ValidationError, pl.exceptions.InvalidOperationError):  # the latter where a kind cannot be changed
        raise _error_of(schema, frame) from None  # in our words: the library's are of its own rules


def _validated(schema: type[dy.Schema], frame: pl.DataFrame) -> pl.DataFrame:
    key = schema.primary_key()
    if frame.height <= SLICE or not key:
        return schema.validate(frame.select(schema.column_names()), cast=True).sort(key)
    rows: pl.DataFrame = schema.cast(frame)
    if not is_in_order(rows, key):
        rows = rows.sort(key)
    if not is_in_order(rows, key):  # a key that comes twice: told with all that is wrong
        return schema.validate(rows)
    for part in rows.iter_slices(SLICE):
        schema.validate(part)
    return rows


def _error_of(schema: type[dy.Schema], frame: pl.DataFrame) -> InputError | ViolationError:
    """What to say of a table that breaks its schema: the first rule that is broken, in how many rows, and a value."""
    _, failure = schema.filter(frame.select(schema.column_names()), cast=True)
    rule, count = next(iter(failure.counts().items()))
    name, _, kind = rule.rpartition("|")
    names, declared = [name] if name else schema.primary_key(), schema.columns().get(name)
    first = failure.details().filter(pl.col(rule) == "invalid").row(0, named=True)
    table = next((name for name, one in TABLES.items() if one is schema), schema.__name__)
    limit = getattr(declared, kind) if kind.startswith(("min", "max")) else None
    problem = f"{BROKEN.get(kind, 'is against its declaration')}{'' if limit is None else f' {limit:,g}'}"
    words = f"the table {table} cannot be used: {', '.join(names)} {problem} in {count} of {frame.height} rows"
    value = ", ".join(str(first[name]) for name in names)
    if table.partition(".")[0] in TAKEN_IN:
        return InputError(words, column=", ".join(names), value=value, remedy="Correct the values where they come from")
    return ViolationError(f"{words} (value {value}). Nothing is published")


def is_in_order(rows: pl.DataFrame, key: list[str]) -> bool:
    """Whether every row comes after the one before it by ``key``, so that none comes twice."""
    after = pl.lit(False)
    for name in reversed(key):
        before = pl.col(name).shift(1)
        after = (pl.col(name) > before) | ((pl.col(name) == before) & after)
    return bool(rows.select(after.slice(1).fill_null(False).all()).item())
