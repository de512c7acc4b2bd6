"""What the bids earned at the prices that cleared, with everyone there or with those who came.

Money follows two settlements: awards are paid at the day-ahead price; energy that is missing is bought back, and
energy beyond the award is sold, at the same price made worse by a stated factor. Reserve that is not held is not paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array, Flags
from vpp_pipeline.domain.calendar import PRICE_COLUMN
from vpp_pipeline.domain.payments import hours_covered
from vpp_pipeline.errors import InputError
from vpp_pipeline.schemas import Settlement, door
from vpp_pipeline.settings import SettlementSettings


@dataclass(frozen=True)
class Delivery:
    """Who delivers a day's bids, and what missing energy costs."""

    payments: pl.DataFrame  # rows of `dispatch.payments`
    schedule: pl.DataFrame  # rows of `dispatch.schedule`
    members: pl.DataFrame  # prosumer_id, is_there, wear_usd_per_mwh
    imbalance_factor: float  # at least 1


def delivery_of(
    payments: pl.DataFrame, schedule: pl.DataFrame, prosumers: pl.DataFrame, settings: SettlementSettings
) -> Delivery:
    """The delivery of ``prosumers`` (rows of `fleet.prosumers`), drawn as ``settings`` say."""
    rows = prosumers.sort("prosumer_id")
    is_there = who_is_there(rows["availability_fraction"].to_numpy(), rows["market_date"][0], settings)
    members = rows.select("prosumer_id", "wear_usd_per_mwh", is_there=pl.Series(is_there))
    return Delivery(payments, schedule, members, settings.imbalance_factor)


def who_is_there(availability_fraction: Array, market_date: date, settings: SettlementSettings) -> Flags:
    """Whether each prosumer (N,), in the order of its id, is there all day; the same draw for the same seed and day."""
    chance = (
        availability_fraction
        if settings.availability == "fleet"
        else np.full_like(availability_fraction, settings.availability_fraction)
    )
    rng = np.random.default_rng([settings.seed, market_date.toordinal()])
    return np.asarray(rng.random(len(chance)) < chance)


def imbalance_usd(price_usd_per_mwh: Array, surplus_mwh: Array, factor: float) -> Array:
    """What energy beyond the award is paid; negative: what missing energy costs. Never better than the price itself.

    price · surplus − (factor − 1) · |price| · |surplus|
    """
    worse = (factor - 1.0) * np.abs(price_usd_per_mwh) * np.abs(surplus_mwh)
    return np.asarray(price_usd_per_mwh * surplus_mwh - worse)


def same_source(forecast: pl.DataFrame, prices: pl.DataFrame) -> None:
    """Raises InputError unless prices and forecast (and so the bids) rest on the same source and node."""
    bid_on, cleared = (frame.select("source", "node").row(0) for frame in (forecast, prices))
    if bid_on != cleared:
        raise InputError(
            f"the bids of {prices['market_date'][0]} rest on other prices: {' at '.join(bid_on)}, not "
            f"{' at '.join(cleared)}",
            column="source, node",
            remedy="Name the source of the bids (--prices, --node), or make the bids again from this one",
        )


def settle(
    opportunities: pl.DataFrame,
    final_bids: pl.DataFrame,
    segments: pl.DataFrame,
    prices: pl.DataFrame,
    delivery: Delivery | None = None,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Settlement`, one per bid.

    A segment is awarded where the clearing price (mean over the block; the offered price of a request) reaches its
    own. Revenue is paid at the clearing price; payments and charging follow in proportion to the award. Who is not
    there delivers nothing and is paid nothing, but charges as planned. Without ``delivery`` everything awarded counts
    as delivered. Charging is taken at forecast prices.
    """
    bids = _with_clearing_prices(opportunities, final_bids, prices)
    rows = (
        bids.join(awards(segments, bids), on="bid_id", how="left")
        .join(_delivered(opportunities, bids, delivery), on="opportunity_id", how="left")
        .with_columns(pl.col("awarded_mw", "missing_mw", "wear_usd").fill_null(0.0), pl.col("absent").fill_null(0))
    )
    share = pl.when(pl.col("bid_mw") > 0.0).then(pl.col("awarded_mw") / pl.col("bid_mw")).otherwise(0.0)
    is_energy, price, hours = pl.col("product") == "energy", pl.col("clearing_price"), pl.col("duration_hours")
    factor = 1.0 if delivery is None else delivery.imbalance_factor
    rows = rows.with_columns(share=share, shortfall_mw=share * pl.col("missing_mw"))
    short_mwh = pl.col("shortfall_mw") * hours
    rows = rows.with_columns(
        delivered_mw=(pl.col("awarded_mw") - pl.col("shortfall_mw")).clip(lower_bound=0.0),
        revenue_usd=(price * pl.col("awarded_mw") * hours).round(2),
        no_pay_usd=pl.when(is_energy).then(0.0).otherwise(price * short_mwh).round(2),
        imbalance_usd=pl.when(is_energy)
        .then((price + (factor - 1.0) * price.abs()) * short_mwh)
        .otherwise(0.0)
        .round(2),
        payments_usd=(pl.col("owed_usd").fill_null(pl.col("payments_usd")) * pl.col("share")).round(2),
        charging_cost_usd=(pl.col("charging_cost_usd") * pl.col("share")).round(2),
        wear_usd=(pl.col("wear_usd") * pl.col("share")).round(2),
        absent_members="absent",
    )
    costs = ("no_pay_usd", "imbalance_usd", "payments_usd", "charging_cost_usd")
    profit = pl.col("revenue_usd") - pl.sum_horizontal(costs)
    return door(Settlement, rows.with_columns(profit_usd=profit.round(2)))


def awards(segments: pl.DataFrame, bids: pl.DataFrame) -> pl.DataFrame:
    """bid_id, awarded_mw: MW of the segments whose price ``bids.clearing_price`` reaches; no row where none is."""
    return (
        segments.join(bids.select("bid_id", "clearing_price"), on="bid_id")
        .filter(pl.col("price_usd_per_mwh") <= pl.col("clearing_price"))
        .group_by("bid_id")
        .agg(awarded_mw=(pl.col("to_mw") - pl.col("from_mw")).sum())
    )


def _with_clearing_prices(opportunities: pl.DataFrame, final_bids: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """The bids with `clearing_price` and `bid_mw`."""
    long = prices.unpivot(
        on=list(PRICE_COLUMN.values()), index="start_utc", variable_name="column", value_name="cleared"
    ).with_columns(
        product=pl.col("column").replace_strict({column: product for product, column in PRICE_COLUMN.items()})
    )
    cleared = (
        hours_covered(opportunities)
        .join(long, on=["product", "start_utc"], how="left")
        .group_by("opportunity_id")
        .agg(pl.col("cleared").mean())
    )
    clearing = pl.when(pl.col("origin") == "request").then("forecast_price").otherwise("cleared")
    return (
        final_bids.filter(pl.col("status") == "bid")
        .join(cleared, on="opportunity_id")
        .join(opportunities.select("opportunity_id", "origin"), on="opportunity_id")
        .with_columns(clearing_price=clearing, bid_mw="total_capacity_mw")
    )


def _delivered(opportunities: pl.DataFrame, bids: pl.DataFrame, delivery: Delivery | None) -> pl.DataFrame:
    """Per opportunity, all of it being awarded: missing_mw, absent; of those there owed_usd, and wear_usd of stores."""
    if delivery is None:
        kinds = {"missing_mw": pl.Float64, "absent": pl.Int64, "owed_usd": pl.Float64, "wear_usd": pl.Float64}
        return pl.DataFrame(schema={"opportunity_id": pl.String, **kinds})
    discharged = (
        hours_covered(opportunities.filter(pl.col("product") == "energy"))
        .join(delivery.schedule.select("prosumer_id", "start_utc", "discharge_kw"), on="start_utc")
        .group_by("opportunity_id", "prosumer_id")
        .agg(discharged_mwh=pl.col("discharge_kw").sum() / 1000.0)
    )
    is_there = pl.col("is_there")
    return (
        delivery.payments.join(delivery.members, on="prosumer_id")
        .join(discharged, on=["opportunity_id", "prosumer_id"], how="left")
        .sort("opportunity_id", "prosumer_id")
        .group_by("opportunity_id", maintain_order=True)
        .agg(
            missing_mw=pl.col("dispatched_kw").filter(~is_there).sum() / 1000.0,
            absent=(~is_there).sum().cast(pl.Int64),
            owed_usd=pl.col("payment_usd").filter(is_there).sum(),
            wear_usd=(pl.col("discharged_mwh").fill_null(0.0) * pl.col("wear_usd_per_mwh")).filter(is_there).sum(),
        )
        .join(bids.select("opportunity_id"), on="opportunity_id", how="semi")
    )
