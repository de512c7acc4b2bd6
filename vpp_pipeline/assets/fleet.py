"""The fleet and what it can do on the day."""

import dagster as dg
import polars as pl

from vpp_pipeline.assets.partitions import market_date_of
from vpp_pipeline.assets.resources import _Desk
from vpp_pipeline.assets.tables import key_of, table_asset
from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.sources.fleet_file import read_fleet


@table_asset("fleet.prosumers", {"polars"})
def prosumers(context: dg.AssetExecutionContext, desk: _Desk) -> pl.DataFrame:
    """The homes and businesses that take part: devices, limits and what each owner asks for.

    Generated from a seed, or read from a user's own file (setting `fleet.path`).
    """
    settings = desk.settings().fleet
    market_date = market_date_of(context)
    return read_fleet(settings.path, market_date) if settings.path else generate_fleet(settings, market_date)


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
