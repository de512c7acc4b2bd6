"""What meters had shown, what is expected of each site, the fleet, and what it can do on the day."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.core.tables import AGGREGATED
from vpp_pipeline.defs.asset_factory import DAYS, market_date_of, table_asset, table_outs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.defs.run_inputs import day_inputs
from vpp_pipeline.forecasting.meter_checks import Metered
from vpp_pipeline.pipeline import SITE_FORECASTS, aggregate, limit_fleet

EXPECTED = [key_of(table) for table in SITE_FORECASTS]
FLEET = {name: f"fleet.{name}" for name in ("prosumers", "notes", "quarantine")}
STORAGE = {table.removeprefix("fleet."): table for table in AGGREGATED}
METERS = {"metered_hours": "market.metered_hours", "meter_quarantine": "market.meter_quarantine"}


@dg.multi_asset(outs=table_outs(METERS, {"polars"}), partitions_def=DAYS, name="market_meters")
def market_meters(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame]]:
    """What meters had shown by the time the day's bids close, and which of their days cannot be used.

    From the file or folder that `[meters]` in data/prices.toml, or the run, names; empty without one. The data version
    is a hash of the content: taking in corrected meters makes the forecasts of the day stale.
    """
    metered = day_inputs(context, desk, prices_source, storage).metered
    for name, table in (("metered_hours", metered.hours), ("meter_quarantine", metered.quarantine)):
        yield dg.Output(table, name, data_version=dg.DataVersion(frame_hash(table)))


def _site_forecast(name: str, description: str) -> dg.AssetsDefinition:
    """The asset that makes ``market.<name>_forecast`` from what the assets of metered hours hold."""

    @table_asset(f"market.{name}_forecast", {"polars"}, deps=map(key_of, METERS.values()), description=description)
    def forecast(
        context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
    ) -> dg.Output[pl.DataFrame]:
        inputs = day_inputs(context, desk, prices_source, storage)
        day = storage.day(inputs.market_date)
        table = getattr(inputs.expected_from(Metered(*(day[meters] for meters in METERS.values()))), name)
        age = table.select((pl.col("market_date") - pl.col("made_for_date")).dt.total_days().max()).item()
        metadata = {"method": "; ".join(table["method"].unique().sort()), "age_days": age}
        return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)), metadata=metadata)

    return forecast


solar_forecast = _site_forecast(
    "solar",
    """Expected solar output per kW installed, hour by hour.

By the setting `forecast.solar`: from meters, from a weather service, from the clear sky of the coordinates, or the
embedded profile (synthetic); the column `method` says which. Where it cannot be made, the last good one of the week
before stands in, and a check warns.""",
)
load_forecast = _site_forecast(
    "load",
    """Expected consumption of homes and businesses as a multiple of their mean.

By the setting `forecast.load`: from meters, or the embedded profile (synthetic); else as `market/solar_forecast`.""",
)
charging_forecast = _site_forecast(
    "charging",
    """Expected charging of EVs as a multiple of their mean; its mean over the day scales what each EV drives.

By the setting `forecast.charging`: from meters, or 1 throughout; else as `market/solar_forecast`.""",
)


@dg.multi_asset(
    outs=table_outs(FLEET, {"polars"}),
    deps=[*EXPECTED, key_of("market.resources")],
    partitions_def=DAYS,
    name="fleet_of_day",
)
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


@table_asset("fleet.availability", {"polars"}, deps=[*map(key_of, ("market.resources", "fleet.prosumers")), *EXPECTED])
def availability(context: dg.AssetExecutionContext, storage: Storage) -> pl.DataFrame:
    """What each prosumer can do in each hour once physics and its owner's preferences are honored."""
    return limit_fleet(storage.day(market_date_of(context)))["fleet.availability"]


@dg.multi_asset(
    outs=table_outs(STORAGE, {"polars"}),
    deps=[
        key_of(table)
        for table in ("market.price_forecast", "market.resources", "fleet.prosumers", "fleet.availability")
    ],
    partitions_def=DAYS,
    name="fleet_in_storage",
)
def fleet_in_storage(
    context: dg.AssetExecutionContext, desk: Desk, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame]]:
    """Owners of resources that take part as storage, cut into classes that are bid as one storage resource each.

    Classes of the last day before that has any are kept while hardly an owner has come or gone (setting
    `resources.storage_remade_fraction`). Empty where no resource takes part as storage.
    """
    tables = aggregate(storage.day(market_date_of(context)), desk.settings())
    for name, table in STORAGE.items():
        yield dg.Output(tables[table], name, data_version=dg.DataVersion(frame_hash(tables[table])))
