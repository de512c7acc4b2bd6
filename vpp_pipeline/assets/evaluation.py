"""What the bids earned once prices are known."""

import dagster as dg
import polars as pl

from vpp_pipeline.assets.resources import _Desk
from vpp_pipeline.assets.tables import key_of, table_asset
from vpp_pipeline.domain.settlement import delivery_of, settle

TABLES = {
    "opportunities": "market.opportunities",
    "final_bids": "bids.final_bids",
    "bid_segments": "bids.bid_segments",
    "prices": "market.prices",
    "payments": "dispatch.payments",
    "schedule": "dispatch.schedule",
    "prosumers": "fleet.prosumers",
}


@table_asset(
    "evaluation.settlement", {"polars"}, ins={name: dg.AssetIn(key_of(table)) for name, table in TABLES.items()}
)
def settlement(
    desk: _Desk,
    opportunities: pl.DataFrame,
    final_bids: pl.DataFrame,
    bid_segments: pl.DataFrame,
    prices: pl.DataFrame,
    payments: pl.DataFrame,
    schedule: pl.DataFrame,
    prosumers: pl.DataFrame,
) -> pl.DataFrame:
    """What each bid earned at the prices that cleared: awards by segment, revenue, who was there, payments, profit."""
    delivery = delivery_of(payments, schedule, prosumers, desk.settings().settlement)
    return settle(opportunities, final_bids, bid_segments, prices, delivery)
