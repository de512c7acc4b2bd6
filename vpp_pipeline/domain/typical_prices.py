"""What each kind of prosumer typically asks, known before anyone is asked: no owner's own row is read here.

First the published assumptions that the generator draws from; then, where there are any, the deals of recent days.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.domain.archetypes import BUSINESS, HOUSEHOLDS, WEAR_USD_PER_MWH, Archetype
from vpp_pipeline.settings import FleetSettings, NegotiationPolicy

TIERS = 3  # a segment's cheapest, middle and dearest third
_POINTS = 20  # of each quantity that is drawn: 8,000 typical owners of each archetype

#: what is kept of earlier days' deals
DEAL_SCHEMA = {
    "segment": pl.String,
    "product": pl.String,
    "agreed_price_usd_per_mwh": pl.Float64,
    "committed_capacity_kw": pl.Float64,
}


def typical_prices(segments: Sequence[str], fleet: FleetSettings, policy: NegotiationPolicy) -> Array:
    """Mean energy reservation price (S, TIERS) of each segment's thirds, cheapest first, $/MWh.

    By the published assumptions: wear, least compensation and willingness of the segment's archetypes, in their shares.
    """
    return np.array([_thirds(segment, fleet, policy) for segment in segments])


def mean_deals(opportunities: pl.DataFrame, prosumers: pl.DataFrame, agreements: pl.DataFrame) -> pl.DataFrame:
    """What one day's owners agreed to, by segment and product (DEAL_SCHEMA): mean price by capacity, and capacity."""
    segment = pl.format("{} {}", "site_type", "store")
    return combine_deals(
        agreements.filter("holds_option")
        .join(opportunities.select("opportunity_id", "product"), on="opportunity_id")
        .join(prosumers.select("prosumer_id", segment=segment), on="prosumer_id")
    )


def combine_deals(deals: pl.DataFrame) -> pl.DataFrame:
    """One row per segment and product of several (DEAL_SCHEMA): the mean price by capacity, and the sum of capacity."""
    kw = pl.col("committed_capacity_kw")
    price = (pl.col("agreed_price_usd_per_mwh") * kw).sum() / kw.sum()
    combined = deals.filter(kw > 0.0).group_by("segment", "product").agg(price, kw.sum())
    return combined.select(list(DEAL_SCHEMA)).sort("segment", "product")


def _thirds(segment: str, fleet: FleetSettings, policy: NegotiationPolicy) -> Array:
    """The mean of each third (TIERS,) of what a segment's typical owners ask."""
    site, _, store = segment.partition(" ")
    shares = (fleet.commuter_share, fleet.home_office_share, fleet.retired_share, fleet.night_shift_share)
    mix = [(BUSINESS, 1.0)] if site == "business" else list(zip(HOUSEHOLDS, shares, strict=True))
    asked = np.concatenate([_asked(archetype, store != "none", policy) for archetype, _ in mix])
    weight = np.repeat([share for _, share in mix], len(asked) // len(mix))
    order = np.argsort(asked, kind="stable")
    below = np.cumsum(weight[order]) - weight[order] / 2.0
    third = (TIERS * below / weight.sum()).astype(np.int64)
    sums = [np.bincount(third, values, TIERS) for values in (weight[order] * asked[order], weight[order])]
    return np.asarray(sums[0] / sums[1])


def _asked(archetype: Archetype, has_store: bool, policy: NegotiationPolicy) -> Array:
    """Energy reservation prices ($/MWh) of typical owners: every combination of evenly spread quantiles."""
    from scipy.special import betaincinv

    quantile = (np.arange(_POINTS) + 0.5) / _POINTS
    wear = np.interp(quantile, [0.0, 1.0], WEAR_USD_PER_MWH) if has_store else np.zeros(_POINTS)
    compensation = 1000.0 * np.interp(quantile, [0.0, 1.0], archetype.compensation_usd_per_kwh)
    inconvenience = policy.inconvenience_usd_per_mwh * (1.0 - betaincinv(*archetype.willingness, quantile))
    return np.asarray(wear[:, None, None] + compensation[None, :, None] + inconvenience[None, None, :]).ravel()
