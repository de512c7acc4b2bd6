"""What owners agreed to on the days before, kept with the day whose opportunities were sized by it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.fleet.archetypes import DEAL_SCHEMA, combine_deals, mean_deals
from vpp_pipeline.market.regimes import comparable
from vpp_pipeline.warehouse.day import warehouse_of
from vpp_pipeline.warehouse.published import published_rows

KEPT = "market.recent_deals"  # a table of the lake only
FORECAST, AGREEMENTS = "market.price_forecast", "negotiation.agreements"
_COLUMNS: dict[str, list[str] | None] = {
    FORECAST: ["source", "node"],
    AGREEMENTS: [
        "opportunity_id",
        "prosumer_id",
        "holds_option",
        "agreed_price_usd_per_mwh",
        "committed_capacity_kw",
    ],
    "market.opportunities": ["opportunity_id", "product"],
    "fleet.prosumers": ["prosumer_id", "site_type", "store"],
}


def recent_deals(lake: Lake, market_date: date, days: int, prices: Mapping[str, str]) -> pl.DataFrame:
    """Rows of DEAL_SCHEMA over those of the ``days`` before whose bids are published.

    Each of them was closed before its own deadline. What :func:`keep_deals` has kept comes first, so that a day made
    again is the same day whatever was made since. ``prices``: source and node of the day's forecast; days at other
    prices, or of another market regime, do not count.
    """
    day = market_date.isoformat()
    if lake.exists(KEPT, day) and lake.metadata(KEPT, day) == _basis(days, prices):
        return lake.read(KEPT, day)
    alike = comparable(history_dates(market_date)[-days:], market_date, prices["source"])
    made = [published_rows(warehouse_of(lake), before, _COLUMNS) for before in alike]
    found = [_deals_of(tables) for tables in made if tables is not None and prices_behind(tables[FORECAST]) == prices]
    return combine_deals(pl.concat(found)) if found else pl.DataFrame(schema=DEAL_SCHEMA)


def keep_deals(lake: Lake, market_date: date, days: int, prices: Mapping[str, str], deals: pl.DataFrame) -> None:
    """Keep what the day was sized by."""
    lake.write(KEPT, market_date.isoformat(), deals, _basis(days, prices))


def prices_behind(forecast: pl.DataFrame) -> dict[str, str]:
    """Source and node of a day's forecast."""
    return forecast.select("source", "node").row(0, named=True)


def _basis(days: int, prices: Mapping[str, str]) -> dict[str, str]:
    return {"days": str(days), **prices}


def _deals_of(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return mean_deals(tables["market.opportunities"], tables["fleet.prosumers"], tables[AGREEMENTS])
