"""What the bids earned once prices are known, and what other ways to run the day would have."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from vpp_pipeline.core.tables import Tables
from vpp_pipeline.day_parts import InParts, made
from vpp_pipeline.defs.asset_factory import DAYS, market_date_of, table_asset, table_outs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import figures_of
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.defs.run_inputs import day_inputs
from vpp_pipeline.evaluation.settle_day import READS, settle_day
from vpp_pipeline.warehouse.day import LakeDay, PartDay
from vpp_pipeline.warehouse.publish import SETTLES, publish_tables

BENCHMARK = "evaluation.benchmark"
SETTLED = {
    name: f"evaluation.{name}" for name in ("dispatched", "deliveries", "settlement", "settled_days", "storage_awards")
}


def settles(context: dg.AssetExecutionContext) -> bool:
    """Whether the run settles published bids and makes none: the job `settle_day`, or the same assets by hand."""
    chosen = context.job_def.asset_layer.selected_asset_keys
    return key_of("bids.final_bids") not in chosen and any(key_of(table) in chosen for table in SETTLED.values())


@dg.multi_asset(
    outs=table_outs(SETTLED, {"polars"}),
    deps=[key_of(table) for table in READS],
    partitions_def=DAYS,
    name="settlement_of_day",
)
def settlement_of_day(
    context: dg.AssetExecutionContext, desk: Desk, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """What each bid earned at clearing prices, what the fleet did for it, what owners are paid, and the day's account.

    Of the published bids, not of what later runs have made and not published.
    """
    settings, day = desk.settings(), storage.settled_day(market_date_of(context))
    counts = day.kept.heights("fleet.prosumers")

    def settled_of(part: LakeDay) -> Tables:
        before = sum(counts[: part.kept.part]) if isinstance(part, PartDay) else 0
        return settle_day(part, settings.rules, settings.settlement, before)

    settled = made(day, settings, settled_of)
    of_bids = dg.MetadataValue.json(day.kept.present("bids.final_bids").version)
    for output, table in SETTLED.items():
        yield dg.Output(settled[table], output, metadata={SETTLES: of_bids})


@table_asset(BENCHMARK, {"cvxpy", "duckdb"}, deps=[key_of("market.prices")])
def benchmark(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> dg.MaterializeResult[None]:
    """What several ways to run a past day would have earned, on the same fleet, prices, absences and settlement.

    Indexed deals by both engines, fixed prices by both, central dispatch with and without owner preferences, a greedy
    merit order, a posted price, perfect foresight, and the original's algorithm; docs/backtest.md explains them. The
    rows are those that `vpp-pipeline backtest` writes, and are published by themselves: the day's own bids are neither
    needed nor changed.
    """
    from vpp_pipeline.evaluation.backtest.run import PastDays, replay_days
    from vpp_pipeline.evaluation.backtest.strategies import DEFAULT_ARMS

    day = market_date_of(context)
    read = PastDays(day_inputs(context, desk, prices_source, storage))
    replay_days([day], read, desk.settings(), DEFAULT_ARMS, storage.lake, read.name, lambda _: None)
    publish_tables(storage.lake, storage.warehouse, [day], [BENCHMARK])
    return dg.MaterializeResult(metadata=figures_of(BENCHMARK, storage.lake.day(day).read(BENCHMARK)))
