"""What each prosumer delivers, is paid, and how the charging that sales cause is shared among the bids."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.tables import side_by_side
from vpp_pipeline.negotiation.agreements import options, satisfaction_score
from vpp_pipeline.negotiation.opportunities import hours_covered
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
        .join(charging.select("prosumer_id").with_row_index("place"), on="prosumer_id")
    )
    payment_usd, charging_cost_usd = costs_usd(
        owned["place"].to_numpy(),
        owned["dispatched_kwh"].to_numpy() / 1000.0,
        owned["agreed_price_usd_per_mwh"].to_numpy(),
        owned["forecast_price"].to_numpy(),
        charging["to_recover_usd"].to_numpy(),
    )
    score = satisfaction_score(
        owned["agreed_price_usd_per_mwh"].to_numpy(),
        owned["reservation_price_usd_per_mwh"].to_numpy(),
        (owned["dispatched_kw"] / owned["committed_capacity_kw"]).clip(0.0, 1.0).to_numpy(),
        owned["prosumer_id"].is_in(let_down(schedule, availability).implode()).to_numpy(),
    )
    money = {"payment_usd": payment_usd, "charging_cost_usd": charging_cost_usd, "satisfaction_score": score}
    return door(Payments, owned.with_columns(**{name: pl.Series(values) for name, values in money.items()}))


def costs_usd(
    prosumer: Indices, mwh: Array, agreed_price: Array, forecast_price: Array, to_recover_usd: Array
) -> tuple[Array, Array]:
    """What each of D deliveries is paid, and the charging (D,) that it recovers of what its prosumer (N,) must, $.

    ``prosumer`` (D,): place in ``to_recover_usd``. One row per prosumer and opportunity that trades.
    """
    payment_usd = agreed_price * mwh
    earned_usd = np.maximum(forecast_price * mwh - payment_usd, 0.0)
    of_prosumer_usd = np.bincount(prosumer, weights=earned_usd, minlength=len(to_recover_usd))[prosumer]
    share = np.divide(earned_usd, of_prosumer_usd, out=np.zeros_like(earned_usd), where=of_prosumer_usd > 0.0)
    return payment_usd, share * np.maximum(to_recover_usd, 0.0)[prosumer]


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
