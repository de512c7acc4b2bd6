"""The fleet and what it can do on the day."""

import dagster as dg
import polars as pl

from vpp_pipeline.assets.inputs import day_inputs
from vpp_pipeline.assets.partitions import market_date_of
from vpp_pipeline.assets.resources import Prices, Storage, _Desk
from vpp_pipeline.assets.tables import key_of, table_asset
from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.provenance import frame_hash


@table_asset("fleet.prosumers", {"polars"})
def prosumers(
    context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """The homes and businesses that take part: devices, limits and what each owner asks for.

    Generated from a seed, or read from a user's own file (setting `fleet.path`). The data version is a hash of the
    content, so that another fleet makes everything downstream stale.
    """
    table = day_inputs(context, desk, prices_source, storage).fleet
    return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)))


@table_asset(
    "fleet.availability",
    {"polars"},
    ins={
        "prosumers": dg.AssetIn(key_of("fleet.prosumers")),
        "solar": dg.AssetIn(key_of("market.solar_forecast")),
        "load": dg.AssetIn(key_of("market.load_forecast")),
    },
)
def availability(
    context: dg.AssetExecutionContext, prosumers: pl.DataFrame, solar: pl.DataFrame, load: pl.DataFrame
) -> pl.DataFrame:
    """What each prosumer can do in each hour once physics and its owner's wishes are honoured."""
    return hourly_envelope(prosumers, market_hours(market_date_of(context)), solar, load)
