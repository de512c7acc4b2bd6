"""How each opportunity's negotiation went, and whether it is enough to bid."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.negotiation.agreements import options
from vpp_pipeline.schemas import Summary, door
from vpp_pipeline.settings import MarketRules


def summarise(
    segments: pl.DataFrame,
    agreements: pl.DataFrame,
    opportunities: pl.DataFrame,
    asked: int,
    rules: MarketRules,
    provenance: pl.DataFrame,
) -> pl.DataFrame:
    """One row per opportunity: rows of :class:`~vpp_pipeline.schemas.Summary`.

    ``asked``: prosumers called. ``provenance``: opportunity_id, engine, fingerprint, seconds. Feasible at 100 % of R is
    `agreed`, at 80 % `relaxed`.
    """
    heard = segments.group_by("opportunity_id").agg(
        rounds=pl.col("round").max(), bids=pl.col("prosumers").filter(pl.col("round") == 1).sum()
    )
    held = (
        options(agreements)
        .group_by("opportunity_id")
        .agg(members=pl.len(), committed_capacity_mw=pl.col("committed_capacity_kw").sum() / 1000.0)
    )
    closed = agreements.group_by("opportunity_id").agg(deals=pl.col("rank").count())
    rows = (
        opportunities.select("opportunity_id", "market_date", "required_capacity_mw", "forecast_price")
        .join(heard, on="opportunity_id", how="left")
        .join(held, on="opportunity_id", how="left")
        .join(closed, on="opportunity_id", how="left")
        .join(provenance, on="opportunity_id", how="left")
        .with_columns(
            pl.col("rounds", "bids", "members", "deals").fill_null(0), pl.col("committed_capacity_mw").fill_null(0.0)
        )
    )
    committed, required = pl.col("committed_capacity_mw"), pl.col("required_capacity_mw")
    enough_members = pl.col("members") >= rules.minimum_members
    status = (
        pl.when(enough_members & (committed >= required - 1e-9))
        .then(pl.lit("agreed"))
        .when(enough_members & (committed >= rules.required_fraction * required - 1e-9))
        .then(pl.lit("relaxed"))
        .otherwise(pl.lit("no_bid"))
    )
    reason = (
        pl.when(pl.col("bids") == 0)
        .then(pl.lit("no prosumer has capacity then"))
        .when(pl.col("members") == 0)
        .then(pl.format("no deal: at {} $ no offer reaches an owner's least price", pl.col("forecast_price").round(2)))
        .when(~enough_members)
        .then(pl.format("deals closed: {}, members needed: {}", "members", pl.lit(rules.minimum_members)))
        .when(status == "no_bid")
        .then(pl.format("{} MW under option, below 80 % of {} MW", committed.round(3), required))
        .otherwise(pl.format("{} deals hold {} MW for {} MW", "members", committed.round(3), required))
    )
    is_cut = pl.col("deals") > pl.col("members")
    cut = pl.format("{}; {} deals closed, the largest coalition keeps {}", reason, "deals", "members")
    reason = pl.when(is_cut).then(cut).otherwise(reason)
    return door(Summary, rows.with_columns(asked=asked, status=status, reason=reason))
