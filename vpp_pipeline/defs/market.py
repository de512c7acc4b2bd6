"""Prices, their forecast, and opportunities."""

import logging
from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from vpp_pipeline.core.calendar import comparable, history_dates, note_on_source
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.core.tables import AGGREGATED
from vpp_pipeline.day_parts import InParts, Made, made, over_parts
from vpp_pipeline.defs.asset_factory import DAYS, WEEK_BEFORE, outputs_of, table_asset, table_outs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import figures_of
from vpp_pipeline.defs.price_intake import (
    PRICE_HISTORY,
    PRICES,
    materialisation_of,
    replace_prices,
    say_missing,
    take_in_days,
)
from vpp_pipeline.defs.resources import Desk, Prices, Storage
from vpp_pipeline.defs.run_inputs import day_inputs
from vpp_pipeline.defs.sensors import LOCK_TAG
from vpp_pipeline.negotiation.requests import Requests, place_requests
from vpp_pipeline.pipeline import find_opportunities, offerable, open_opportunities
from vpp_pipeline.settings import Settings
from vpp_pipeline.warehouse.day import LakeDay, parts_in

LOG = logging.getLogger(__name__)
OFFERED = {name: f"market.{name}" for name in ("opportunities", "request_quarantine")}


@table_asset(PRICES, {"parquet"}, backfill_policy=dg.BackfillPolicy.single_run())
def prices(
    context: dg.AssetExecutionContext, prices_source: Prices, storage: Storage
) -> Iterator[dg.MaterializeResult[None]]:
    """Day-ahead prices of the day as the market published them: energy and reserves of one node.

    A day is written only when it is complete. Its data version is a hash of its content, so that a correction makes
    everything downstream stale, and a repetition nothing. A range of days is one run; days that OASIS does not give
    are named at its end, and the others are kept.
    """
    source = prices_source.open()
    days = [date.fromisoformat(key) for key in context.partition_keys]
    taken = take_in_days(source, storage.lake, days)
    if taken.missing:
        for day, frame in taken.frames.items():
            context.log_event(materialisation_of(day, frame))
        say_missing(taken.missing, is_patient=LOCK_TAG not in context.run.tags)
    if len(days) == 1:
        frame = taken.frames[days[0]]
        yield dg.MaterializeResult(data_version=dg.DataVersion(frame_hash(frame)), metadata=figures_of(PRICES, frame))
        return
    # one result for all days can have one data version only: each day's own is logged after it, and the last one counts
    yield dg.MaterializeResult()
    for day, frame in taken.frames.items():
        context.log_event(materialisation_of(day, frame))


@table_asset(PRICE_HISTORY, {"polars"})
def price_history(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> dg.MaterializeResult[None]:
    """Prices of the seven days before, taken in before the forecast is made from them.

    Days that the lake does not hold yet, or holds from another source, are ingested and recorded as materialisations of
    `market/prices`, where their rows lie. The data version is a hash of all of them. A price of the day itself is never
    read.
    """
    inputs = day_inputs(context, desk, prices_source, storage)
    if inputs.regime_note:
        LOG.warning(inputs.regime_note)
    week = pl.concat(inputs.history[day] for day in sorted(inputs.history))
    for day in comparable(history_dates(inputs.market_date), inputs.market_date, week["source"][0]):
        if day not in inputs.history:
            LOG.warning("the source holds no prices of %s; the forecast does without", day)
            continue
        try:
            is_new = replace_prices(storage.lake, day, inputs.history[day])
        except InputError as error:  # the day's file list is damaged: its prices are at hand all the same
            LOG.warning("%s", error)
            continue
        if is_new and DAYS.has_partition_key(day.isoformat()):
            context.log_event(materialisation_of(day, inputs.history[day]))
    return dg.MaterializeResult(data_version=dg.DataVersion(frame_hash(week)), metadata=figures_of(PRICE_HISTORY, week))


# Dagster notes which versions a step rests on when it begins: a forecast that took in its own week was stale at once
@table_asset(
    "market.price_forecast",
    {"polars"},
    deps=[dg.AssetDep(key_of(PRICES), partition_mapping=WEEK_BEFORE), key_of(PRICE_HISTORY)],
)
def price_forecast(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """Prices expected for the day, from prices published before its bids close.

    By models that learn from up to two years before (setting `forecast.price`), else the mean by hour of the seven days
    before; the column `method` says which. Days before that week are read from the source of prices itself. A price of
    the day itself is never read.
    """
    forecast = day_inputs(context, desk, prices_source, storage).forecast
    if note := note_on_source(forecast["source"][0]):
        context.log.warning(note)
    return dg.Output(forecast, data_version=dg.DataVersion(frame_hash(forecast)))


@table_asset("market.price_scenarios", {"polars"}, deps=[key_of("market.price_forecast")])
def price_scenarios(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """Prices that may come instead of the forecast, as wrong as the forecasts of the weeks before would have been.

    Empty unless `risk.scenarios` is above 1. Days before the forecast's week are read from the source of prices itself;
    a price of the day is never read.
    """
    table = day_inputs(context, desk, prices_source, storage).price_scenarios
    return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)))


@table_asset("market.resources", {"polars"}, deps=[key_of("market.price_forecast")])
def resources(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> dg.Output[pl.DataFrame]:
    """What bids are made for: one resource for the whole fleet, or those of a file (setting `resources.path`).

    Each has its way to take part, its limits in MW, and the reserve that it is certified for.
    """
    table = day_inputs(context, desk, prices_source, storage).resources
    return dg.Output(table, data_version=dg.DataVersion(frame_hash(table)))


@dg.multi_asset(
    outs=table_outs(OFFERED, {"polars"}),
    deps=[
        key_of(table)
        for table in (
            "market.price_forecast",
            "market.resources",
            "fleet.prosumers",
            "fleet.availability",
            *AGGREGATED,
        )
    ],
    partitions_def=DAYS,
    name="market_opportunities",
)
def market_opportunities(
    context: dg.AssetExecutionContext, desk: Desk, prices_source: Prices, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """What can be sold: each product in each hour, sized to the fleet, and the requests that replace some of them.

    `planned` sizes are rehearsed with typical prosumers; with `opportunities.deal_days`, at the level of the deals of
    the days before. These are kept (lake table `market.recent_deals`), so that a day made again is the same day.
    Requests that cannot be offered are set aside, each with its reason; the policy's opportunities keep their hours.
    """
    inputs = day_inputs(context, desk, prices_source, storage)
    day, settings, deals = storage.day(inputs.market_date), inputs.settings, inputs.recent_deals
    if parts_in(day.kept):
        tables = _in_parts(day, settings, inputs.requests, deals)
    else:
        tables = dict(find_opportunities(day, settings, inputs.requests, deals))
    inputs.keep_recent_deals(storage.lake.day(inputs.market_date, storage.owner))
    yield from outputs_of(tables, OFFERED)


def _in_parts(day: LakeDay, settings: Settings, requests: Requests, deals: pl.DataFrame | None) -> Made:
    """Each part tells what it can offer; then requests have their place, and each part finds its opportunities."""
    offers = over_parts(day, settings, lambda part: offerable(part, settings, requests))
    of_all = {resource: mw for part in offers for resource, mw in part.items()}
    placed = place_requests(requests, day["market.price_forecast"], of_all, settings.rules)
    tables = made(day, settings, lambda part: open_opportunities(part, settings, placed, deals))
    return tables | {"market.request_quarantine": placed.quarantine}
