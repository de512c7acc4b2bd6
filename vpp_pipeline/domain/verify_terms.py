"""What each side may accept, computed a second time from the published tables: apart from `negotiation/terms.py`."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.payments import hours_covered
from vpp_pipeline.domain.verdict import Day
from vpp_pipeline.settings import NegotiationPolicy, Settings

DEAL = ["opportunity_id", "prosumer_id"]
HOUR = ["prosumer_id", "start_utc"]


def limits_of_deals(day: Day, settings: Settings) -> pl.DataFrame:
    """One row per opportunity and prosumer: `least` and `ceiling` price, `most_kw` within envelope and share of R."""
    pairs = day["market.opportunities"].join(day["fleet.prosumers"].drop("market_date"), how="cross")
    cheapest = max(0.0, float(day["market.price_forecast"]["energy_usd_per_mwh"].sort()[:4].to_numpy().mean()))
    recharging = pl.when((pl.col("product") == "energy") & (pl.col("store") != "none")).then(
        cheapest / (pl.col("charge_efficiency") * pl.col("discharge_efficiency"))
    )
    left = pl.col("forecast_price") - recharging.otherwise(0.0)
    share_kw = 1000.0 * settings.rules.maximum_commitment_fraction * pl.col("required_capacity_mw")
    rows = pairs.select(
        *DEAL,
        "availability_fraction",
        share_kw=share_kw,
        least=_least_price(settings.negotiation),
        ceiling=left * (1.0 - settings.negotiation.minimum_margin_fraction),
    )
    block = _offerable(day, settings).rename({"offerable_kw": "hour_kw"})
    allowed = (
        hours_covered(day["market.opportunities"])
        .join(block, on=["product", "start_utc"])
        .group_by(DEAL)
        .agg(allowed_kw=pl.col("hour_kw").min())
    )
    return rows.join(allowed, on=DEAL, how="left").with_columns(most_kw=pl.min_horizontal("share_kw", "allowed_kw"))


def _least_price(policy: NegotiationPolicy) -> pl.Expr:
    """Reservation price, from the fleet's columns."""
    energy = (
        pl.col("wear_usd_per_mwh")
        + 1000.0 * pl.col("minimum_compensation_usd_per_kwh")
        + policy.inconvenience_usd_per_mwh * (1.0 - pl.col("participation_willingness_fraction"))
    )
    held = {
        product: policy.holding_usd_per_mw_h(product) + policy.call_probability(product) * energy
        for product in ("spin", "nonspin")
    }
    product = pl.col("product")
    return (
        pl.when(product == "energy").then(energy).when(product == "spin").then(held["spin"]).otherwise(held["nonspin"])
    )


def _offerable(day: Day, settings: Settings) -> pl.DataFrame:
    """Most each prosumer can offer of each product in each hour: product, prosumer_id, start_utc, offerable_kw.

    A store is charged all it can from midnight on; what then lies above the floor could be sold, or stand behind a call
    of ``reserve_call_hours`` before and after the hour.
    """
    state = day["fleet.prosumers"].select(
        "prosumer_id",
        "charge_efficiency",
        "discharge_efficiency",
        before="initial_stored_kwh",
        floor_before=pl.lit(None),
    )
    hours = []
    for _, hour in day["fleet.availability"].sort("start_utc").group_by("start_utc", maintain_order=True):
        now = hour.join(state, on="prosumer_id").with_columns(
            floor_before=pl.coalesce("floor_before", pl.min_horizontal("before", "min_stored_kwh")),
            after=pl.min_horizontal(
                pl.col("before") + pl.col("charge_efficiency") * pl.col("max_charge_kw") - pl.col("drive_kwh"),
                "max_stored_kwh",
            ),
        )
        hours.append(now)
        state = now.select(
            "prosumer_id",
            "charge_efficiency",
            "discharge_efficiency",
            before="after",
            floor_before="min_stored_kwh",
        )
    rows = pl.concat(hours, how="vertical_relaxed")
    sun_kw = pl.col("solar_kw") - pl.col("load_kw")
    room_kw = pl.col("export_limit_kw") + (-sun_kw).clip(lower_bound=0.0)
    delivered = (pl.col("before") - pl.col("drive_kwh") - pl.col("min_stored_kwh")).clip(lower_bound=0.0)
    energy = pl.min_horizontal("max_discharge_kw", delivered * pl.col("discharge_efficiency"))
    behind = pl.min_horizontal(pl.col("before") - pl.col("floor_before"), pl.col("after") - pl.col("min_stored_kwh"))
    backed = behind.clip(lower_bound=0.0) * pl.col("discharge_efficiency") / settings.rules.reserve_call_hours
    offers = {
        "energy": pl.min_horizontal(energy + sun_kw.clip(lower_bound=0.0), room_kw),
        "spin": pl.min_horizontal("max_discharge_kw", backed, room_kw),
    }
    offers["nonspin"] = offers["spin"]
    return pl.concat([rows.select(*HOUR, product=pl.lit(name), offerable_kw=kw) for name, kw in offers.items()])
