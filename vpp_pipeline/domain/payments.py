"""What each prosumer delivers, is paid, and how the charging that sales cause is shared among the bids."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.domain.negotiation.agreements import options
from vpp_pipeline.domain.rows import side_by_side
from vpp_pipeline.domain.satisfaction import satisfaction_score
from vpp_pipeline.schemas import Payments, door

DUST_KW = 1e-6  # less than a milliwatt is solver dust, not a delivery
WISH_TOLERANCE = 1e-4  # kW or kWh
AGREED = (
    "market_date",
    "opportunity_id",
    "prosumer_id",
    "committed_capacity_kw",
    "reservation_price_usd_per_mwh",
    "agreed_price_usd_per_mwh",
)
SOLD = {
    "energy": pl.col("discharge_kw") + pl.col("solar_sold_kw"),
    "spin": pl.col("spin_kw"),
    "nonspin": pl.col("nonspin_kw"),
}


def sold_by_hour(schedule: pl.DataFrame) -> pl.DataFrame:
    """What each prosumer sells of each product, by hour with a sale: prosumer_id, start_utc, product, sold_kw."""
    keys = ["prosumer_id", "start_utc"]
    return pl.concat(
        [
            schedule.lazy().filter(sold != 0.0).select(*keys, product=pl.lit(product), sold_kw=sold)
            for product, sold in SOLD.items()
        ]
    ).collect()


def hours_covered(opportunities: pl.DataFrame) -> pl.DataFrame:
    """One row per opportunity and hour it covers, with its product, duration_hours and forecast_price."""
    return (
        opportunities.select("opportunity_id", "product", "start_utc", "duration_hours", "forecast_price")
        .with_columns(offset=pl.int_ranges(0, "duration_hours"))
        .explode("offset")
        .with_columns(start_utc=pl.col("start_utc") + pl.duration(hours="offset"))
        .drop("offset")
    )


def payments_of(
    opportunities: pl.DataFrame,
    agreements: pl.DataFrame,
    schedule: pl.DataFrame,
    positions: pl.DataFrame,
    charging: pl.DataFrame,
    availability: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Payments`: one per prosumer dispatched in an opportunity that trades.

    Payment = agreed price x energy delivered (reserve: capacity held). The charging that a prosumer's sales cause
    (`to_recover_usd`, where positive) is split over its bids in proportion to revenue - payment.
    """
    traded = opportunities.join(positions.filter("is_bid").select("opportunity_id"), on="opportunity_id", how="semi")
    owned = (
        hours_covered(traded)
        .join(sold_by_hour(schedule), on=["product", "start_utc"])
        .group_by("opportunity_id", "prosumer_id", "duration_hours", "forecast_price")
        .agg(dispatched_kwh=pl.col("sold_kw").sum())
        .with_columns(dispatched_kw=pl.col("dispatched_kwh") / pl.col("duration_hours"))
        .filter(pl.col("dispatched_kw") > DUST_KW)
        .sort("opportunity_id", "prosumer_id")
        .join(options(agreements).select(AGREED), on=["opportunity_id", "prosumer_id"])
        .pipe(with_costs, charging)
    )
    score = satisfaction_score(
        owned["agreed_price_usd_per_mwh"].to_numpy(),
        owned["reservation_price_usd_per_mwh"].to_numpy(),
        (owned["dispatched_kw"] / owned["committed_capacity_kw"]).clip(0.0, 1.0).to_numpy(),
        owned["prosumer_id"].is_in(let_down(schedule, availability).implode()).to_numpy(),
    )
    return door(Payments, owned.with_columns(satisfaction_score=score))


def with_costs(delivered: pl.DataFrame, charging: pl.DataFrame) -> pl.DataFrame:
    """``delivered`` with what each prosumer is paid (`payment_usd`) and is to recover (`charging_cost_usd`).

    ``delivered``: one row per prosumer and opportunity that trades, with prosumer_id, forecast_price, dispatched_kwh
    and agreed_price_usd_per_mwh. ``charging``: rows of `dispatch.charging`.
    """
    mwh = pl.col("dispatched_kwh") / 1000.0
    paid = delivered.join(charging.select("prosumer_id", "to_recover_usd"), on="prosumer_id").with_columns(
        payment_usd=pl.col("agreed_price_usd_per_mwh") * mwh
    )
    paid = paid.with_columns(earned=(pl.col("forecast_price") * mwh - pl.col("payment_usd")).clip(lower_bound=0.0))
    share = pl.col("earned") / pl.col("earned").sum().over("prosumer_id")
    recovered = pl.when(pl.col("earned").sum().over("prosumer_id") > 0).then(
        share * pl.col("to_recover_usd").clip(lower_bound=0.0)
    )
    return paid.with_columns(charging_cost_usd=recovered.fill_null(0.0))


def let_down(schedule: pl.DataFrame, availability: pl.DataFrame) -> pl.Series:
    """Prosumers whose owner's wishes the schedule breaks: quiet hours, hours without charging, what is to be kept."""
    hour = ["prosumer_id", "start_utc"]
    limits = availability.select(*hour, "max_discharge_kw", "max_charge_kw", "min_stored_kwh")
    rows = side_by_side(schedule.select(*hour, "discharge_kw", "charge_kw", "stored_kwh"), limits, on=hour)
    is_broken = (
        (pl.col("discharge_kw") > pl.col("max_discharge_kw") + WISH_TOLERANCE)
        | (pl.col("charge_kw") > pl.col("max_charge_kw") + WISH_TOLERANCE)
        | (pl.col("stored_kwh") < pl.col("min_stored_kwh") - WISH_TOLERANCE)
    )
    return rows.filter(is_broken)["prosumer_id"].unique()


def top_ups(share_usd: Array, profit_usd: float, minimum_margin_fraction: float) -> Array:
    """What each prosumer (N,) is paid beyond its agreed payments, $: the same part of every positive share.

    All of it, unless the sum would exceed the day's ``profit_usd`` less the aggregator's margin.
    """
    owed_usd = np.maximum(share_usd, 0.0)
    affordable_usd = max(profit_usd, 0.0) * (1.0 - minimum_margin_fraction)
    return np.asarray(owed_usd * min(1.0, affordable_usd / max(float(owed_usd.sum()), 1e-9)))
