"""Market data, forecasts and opportunities."""

from contextlib import suppress
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from vpp_pipeline.assets.inputs import day_inputs
from vpp_pipeline.assets.io_manager import first_rows
from vpp_pipeline.assets.partitions import DAYS, WEEK_BEFORE, market_date_of
from vpp_pipeline.assets.resources import Prices, Storage, _Desk
from vpp_pipeline.assets.tables import key_of, table_asset
from vpp_pipeline.domain.fleet import fleet_arrays
from vpp_pipeline.domain.forecast import history_dates
from vpp_pipeline.domain.settlement import same_source
from vpp_pipeline.errors import InputError
from vpp_pipeline.provenance import frame_hash
from vpp_pipeline.sources import profiles
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.recent_deals import keep_deals, prices_behind

PRICES = "market.prices"


@table_asset(PRICES, {"parquet"})
def prices(context: dg.AssetExecutionContext, prices_source: Prices, storage: Storage) -> dg.MaterializeResult[None]:
    """Day-ahead prices of the day as the market published them: energy, spin and nonspin of one node.

    A day is written only when it is complete. Its data version is a hash of its content, so that a correction makes
    everything downstream stale, and a repetition nothing.
    """
    market_date = market_date_of(context)
    frame = prices_source.open().day(market_date)
    if storage.lake.exists("market.price_forecast", market_date.isoformat()):
        same_source(storage.day(market_date)["market.price_forecast"], frame)
    storage.lake.write(PRICES, market_date.isoformat(), frame)
    return dg.MaterializeResult(data_version=dg.DataVersion(frame_hash(frame)), metadata=_price_metadata(frame))


def _price_metadata(frame: pl.DataFrame) -> dict[str, Any]:
    return {
        "dagster/row_count": frame.height,
        "mean_energy_usd_per_mwh": float(frame["energy_usd_per_mwh"].to_numpy().mean()),
        "highest_energy_usd_per_mwh": float(frame["energy_usd_per_mwh"].to_numpy().max()),
        "source": frame["source"][0],
        "node": frame["node"][0],
        "first_rows": first_rows(frame),
    }


@table_asset("market.price_forecast", {"polars"}, deps=[dg.AssetDep(key_of(PRICES), partition_mapping=WEEK_BEFORE)])
def price_forecast(
    context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """Prices expected for the day: the mean by hour of the seven days before, all published before bids close.

    Days of that week that the lake does not hold yet, or holds from another source, are ingested on the way and
    recorded as materialisations of `market/prices`. A price of the day itself is never read.
    """
    inputs = day_inputs(context, desk, prices_source, storage)
    forecast = inputs.forecast
    for day in history_dates(inputs.market_date):
        if day not in inputs.history:
            context.log.warning(f"the source holds no prices of {day}; the forecast does without")
        elif _replace(storage.lake, day, inputs.history[day]) and DAYS.has_partition_key(day.isoformat()):
            context.log_event(
                dg.AssetMaterialization(
                    key_of(PRICES),
                    partition=day.isoformat(),
                    metadata=_price_metadata(inputs.history[day]),
                    tags={"dagster/data_version": frame_hash(inputs.history[day])},
                )
            )
    return dg.Output(forecast, data_version=dg.DataVersion(frame_hash(forecast)))


def _replace(lake: Lake, day: date, frame: pl.DataFrame) -> bool:
    """Write the day's prices unless the lake holds just these; whether it did. A damaged file is replaced."""
    with suppress(InputError):
        if lake.read(PRICES, day.isoformat()).equals(frame):
            return False
    lake.write(PRICES, day.isoformat(), frame)
    return True


@table_asset("market.price_scenarios", {"polars"}, deps=[key_of("market.price_forecast")])
def price_scenarios(
    context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """Prices that may come instead of the forecast, as wrong as the forecasts of the weeks before would have been.

    Empty unless `risk.scenarios` is above 1. Days before the forecast's week are read from the source of prices itself;
    a price of the day is never read.
    """
    table = day_inputs(context, desk, prices_source, storage).price_scenarios
    metadata = {"scenarios": table["scenario"].n_unique(), "days_of_errors": table["error_date"].n_unique()}
    return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)), metadata=metadata)


@table_asset("market.solar_forecast", {"polars"})
def solar_forecast(
    context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage
) -> pl.DataFrame:
    """Expected solar output per kW installed, hour by hour (embedded profile, synthetic)."""
    return profiles.solar_forecast(day_inputs(context, desk, prices_source, storage).market_date)


@table_asset("market.load_forecast", {"polars"})
def load_forecast(
    context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage
) -> pl.DataFrame:
    """Expected consumption of homes and businesses as a multiple of their mean (embedded profile, synthetic)."""
    return profiles.load_forecast(day_inputs(context, desk, prices_source, storage).market_date)


@table_asset(
    "market.opportunities",
    {"polars"},
    ins={
        "forecast": dg.AssetIn(key_of("market.price_forecast")),
        "prosumers": dg.AssetIn(key_of("fleet.prosumers")),
        "availability": dg.AssetIn(key_of("fleet.availability")),
    },
)
def opportunities(
    context: dg.AssetExecutionContext,
    desk: _Desk,
    prices_source: Prices,
    storage: Storage,
    forecast: pl.DataFrame,
    prosumers: pl.DataFrame,
    availability: pl.DataFrame,
) -> dg.Output[pl.DataFrame]:
    """What can be sold: each product in each hour, sized to the fleet, and the requests that replace some of them.

    `planned` sizes are rehearsed with typical prosumers; with `opportunities.deal_days`, at the level of the deals of
    the days before. These are kept (lake table `market.recent_deals`), so that a day made again is the same day.
    """
    from vpp_pipeline.optimisation.sizing import opportunities_of_day

    inputs = day_inputs(context, desk, prices_source, storage)
    deals, day = inputs.recent_deals, inputs.market_date
    fleet = fleet_arrays(prosumers, availability)
    table = opportunities_of_day(day, forecast, fleet, inputs.settings, inputs.requests, deals)
    if deals is not None:
        keep_deals(storage.lake, day, inputs.settings.opportunities.deal_days, prices_behind(forecast), deals)
    return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)))
