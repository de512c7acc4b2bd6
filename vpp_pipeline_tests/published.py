"""A solved day as runs leave it: its tables in a lake, with the settings that made them, and published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import polars as pl

from vpp_pipeline.bidding.run_history import Launch, run_tables
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.evaluation.settle_day import settle_day
from vpp_pipeline.schemas import Checks
from vpp_pipeline.settings import FleetSettings, ResourceSettings, Settings
from vpp_pipeline.verification.registry import checks_table
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline_tests.conftest import SolvedDay

#: resources of this day take part as storage
STORAGE = Settings(fleet=FleetSettings(prosumers=60), resources=ResourceSettings(participation="storage"))


def published(
    day: SolvedDay,
    data: Path,
    runs: int = 1,
    *,
    is_settled: bool = True,
    prices: Mapping[str, pl.Expr] = MappingProxyType({}),
) -> Path:
    """Write, settle at the forecast and publish the day below ``data``, which is returned; earlier runs bid half.

    Unless ``is_settled``, bids are neither checked nor settled. ``prices``: columns that clear otherwise.
    """
    market_date = day.tables["market.opportunities"]["market_date"][0]
    lake, told = Lake(data / "lake"), {"bids.final_bids": {"settings": day.settings.model_dump_json()}}
    checks = checks_table(day.tables, day.settings) if is_settled else Checks.create_empty()
    everything = {**day.tables, "bids.checks": checks}
    made = {
        table: lake.put(table, market_date, frame, told.get(table))
        for table, frame in everything.items()
        if table != "market.prices"
    }
    cleared = day.tables["market.price_forecast"].with_columns(
        published_utc=pl.lit(datetime(2023, 8, 14, 20, tzinfo=UTC)), **prices
    )
    if is_settled:
        settled = settle_day(day.tables | {"market.prices": cleared}, day.settings.rules, day.settings.settlement)
        made |= {table: lake.put(table, market_date, frame) for table, frame in settled.items()}
    for k in range(runs):  # as runs with other settings would have left them
        run_id = day.tables["bids.final_bids"]["run_id"][0] if k == runs - 1 else f"earlier_{k}"
        run = run_tables(everything, day.settings, {}, Launch(datetime(2023, 8, 14, 15 + k, tzinfo=UTC)))
        run = {table: rows.with_columns(run_id=pl.lit(run_id)) for table, rows in run.items()}
        if k < runs - 1:
            run["bids.run_bids"] = run["bids.run_bids"].with_columns(pl.col("total_capacity_mw") * 0.5)
        publish(lake, data / "vpp.duckdb", market_date, made, run)
    return data
