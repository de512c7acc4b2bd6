"""What meters had shown, what is expected of each site, the fleet, and what it can do on the day."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.core.tables import AGGREGATED, SCHEDULE_BEFORE
from vpp_pipeline.day_parts import InParts, Made, cut, in_hand, made, over_parts, together, written
from vpp_pipeline.defs.asset_factory import DAYS, market_date_of, outputs_of, table_asset, table_outs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.defs.run_inputs import day_inputs
from vpp_pipeline.fleet.notes.apply import by_rules
from vpp_pipeline.forecasting.meter_checks import Metered
from vpp_pipeline.inputs import day_fleet
from vpp_pipeline.inputs.day_fleet import DayFleet
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import CLASSES, SITE_FORECASTS, aggregate, limit_fleet, refuse_taken_names
from vpp_pipeline.warehouse.day import PartDay

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
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """The homes and businesses that take part, the readings of their owners' notes, and rows that cannot take part.

    Generated from a seed, or read from a user's own file (setting `fleet.path`). Who cannot keep their own
    limits on the day, by the load and charging that are expected, is set aside. The data version is a hash of the
    content, so that another fleet makes everything downstream stale. A fleet above `fleet.part_prosumers` is made in
    parts, one resource each, and so is all that rests on it.
    """
    inputs = day_inputs(context, desk, prices_source, storage)
    tables: Made = _fleet_in_parts(inputs, storage) if inputs.parts else dict(_tables_of(inputs.fleet))
    yield from outputs_of(tables, FLEET)


def _tables_of(fleet: DayFleet) -> dict[str, pl.DataFrame]:
    return {table: getattr(fleet, name) for name, table in FLEET.items()}


def _fleet_in_parts(inputs: DayInputs, storage: Storage) -> Made:
    """A generated fleet part by part, each made where it is worked on; one that a file has by its resources."""
    settings, names, market_date = inputs.settings, inputs.parts, inputs.market_date
    if settings.fleet.path:
        return cut(storage.lake, market_date, _tables_of(inputs.fleet), names)

    def part(day: PartDay) -> dict[str, pl.DataFrame]:
        expected = tuple(day[table] for table in SITE_FORECASTS)
        before = day.get(SCHEDULE_BEFORE) if settings.fleet.carry_over else None
        known = (settings.fleet, market_date, before, by_rules, expected)
        return _tables_of(day_fleet.fleet_of_day(*known, names, day.kept.part))

    files = over_parts(storage.day(market_date), settings, lambda day: written(day, part(day)), len(names))
    return together(storage.lake, files)


@table_asset("fleet.availability", {"polars"}, deps=[*map(key_of, ("market.resources", "fleet.prosumers")), *EXPECTED])
def availability(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> dg.Output[Any]:
    """What each prosumer can do in each hour once physics and its owner's preferences are honored."""
    tables = made(storage.day(market_date_of(context)), desk.settings(), limit_fleet)
    return dg.Output(tables["fleet.availability"])


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
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """Owners of resources that take part as storage, cut into classes that are bid as one storage resource each.

    Classes of the last day before that has any are kept while hardly an owner has come or gone (setting
    `resources.storage_remade_fraction`). Empty where no resource takes part as storage.
    """
    day, settings = storage.day(market_date_of(context)), desk.settings()
    tables = made(day, settings, partial(aggregate, settings=settings))
    refuse_taken_names(in_hand(day, tables)[CLASSES], day["market.resources"])  # no part knows the others'
    yield from outputs_of(tables, STORAGE)
