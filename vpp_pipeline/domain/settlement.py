"""What the bids earned at the prices that cleared."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.calendar import PRICE_COLUMN
from vpp_pipeline.domain.payments import hours_covered
from vpp_pipeline.errors import InputError
from vpp_pipeline.schemas import Settlement, door


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
    opportunities: pl.DataFrame, final_bids: pl.DataFrame, segments: pl.DataFrame, prices: pl.DataFrame
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Settlement`, one per bid.

    A segment is awarded where the clearing price (mean over the block; the offered price of a request) reaches its
    own. Revenue is paid at the clearing price; payments and charging follow in proportion to the award. Everything
    awarded counts as delivered, and charging is taken at forecast prices.
    """
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
    bids = (
        final_bids.filter(pl.col("status") == "bid")
        .join(cleared, on="opportunity_id")
        .join(opportunities.select("opportunity_id", "origin"), on="opportunity_id")
        .with_columns(
            clearing_price=pl.when(pl.col("origin") == "request").then("forecast_price").otherwise("cleared"),
            bid_mw="total_capacity_mw",
        )
    )
    awarded = (
        segments.join(bids.select("bid_id", "clearing_price"), on="bid_id")
        .filter(pl.col("price_usd_per_mwh") <= pl.col("clearing_price"))
        .group_by("bid_id")
        .agg(awarded_mw=(pl.col("to_mw") - pl.col("from_mw")).sum())
    )
    rows = bids.join(awarded, on="bid_id", how="left").with_columns(pl.col("awarded_mw").fill_null(0.0))
    share = pl.col("awarded_mw") / pl.col("bid_mw")
    rows = rows.with_columns(
        delivered_mw="awarded_mw",
        revenue_usd=(pl.col("clearing_price") * pl.col("awarded_mw") * pl.col("duration_hours")).round(2),
        payments_usd=(pl.col("payments_usd") * share).round(2),
        charging_cost_usd=(pl.col("charging_cost_usd") * share).round(2),
    )
    profit = pl.col("revenue_usd") - pl.col("payments_usd") - pl.col("charging_cost_usd")
    return door(Settlement, rows.with_columns(profit_usd=profit.round(2)))
