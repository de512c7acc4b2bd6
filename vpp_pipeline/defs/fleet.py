"""The fleet and what it can do on the day."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.defs.asset_factory import DAYS, key_of, market_date_of, table_asset, table_outs
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.defs.run_inputs import day_inputs
from vpp_pipeline.pipeline import SITE_FORECASTS, limit_fleet

EXPECTED = [key_of(table) for table in SITE_FORECASTS]
FLEET = {name: f"fleet.{name}" for name in ("prosumers", "notes", "quarantine")}


@dg.multi_asset(outs=table_outs(FLEET, {"polars"}), deps=EXPECTED, partitions_def=DAYS, name="fleet_of_day")
def fleet_of_day(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame]]:
    """The homes and businesses that take part, the readings of their owners' notes, and rows that cannot take part.

    Generated from a seed, or read from a user's own file (setting `fleet.path`). Who cannot keep their own
    limits on the day, by the load and charging that are expected, is set aside. The data version is a hash of the
    content, so that another fleet makes everything downstream stale.
    """
    tables = day_inputs(context, desk, prices_source, storage).fleet
    for name in FLEET:
        table = getattr(tables, name)
        yield dg.Output(table, name, data_version=dg.DataVersion(frame_hash(table)))


@table_asset("fleet.availability", {"polars"}, deps=[key_of("fleet.prosumers"), *EXPECTED])
def availability(context: dg.AssetExecutionContext, storage: Storage) -> pl.DataFrame:
    """What each prosumer can do in each hour once physics and its owner's preferences are honored."""
    return limit_fleet(storage.day(market_date_of(context)))["fleet.availability"]
