"""What benchmarks share: real prices, a choice of days, and a day prepared up to its negotiation."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.core.tables import Tables
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.negotiation.requests import Requests
from vpp_pipeline.pipeline import find_opportunities
from vpp_pipeline.settings import Settings

PRICES = Path(__file__).resolve().parents[1] / "../shared/data/caiso_prices"
NODE = "TH_SP15_GEN-APND"
FIRST, LAST, SEED = date(2023, 1, 20), date(2024, 12, 30), 20230815


def real_prices() -> PriceSource:
    """The real prices, or an end with a message where they are absent."""
    if not PRICES.exists():
        sys.exit(f"skipped: no real prices in {PRICES.resolve()}")
    return open_source(PRICES, NODE)


def random_days(count: int) -> list[date]:
    """Days of 2023 and 2024 in order, the same ones for the same count."""
    drawn = np.random.default_rng(SEED).choice((LAST - FIRST).days + 1, size=count, replace=False)
    return [FIRST + timedelta(days=int(k)) for k in np.sort(drawn)]


def prepare_day(
    market_date: date, source: PriceSource, settings: Settings, deals: pl.DataFrame | None = None
) -> Tables:
    """The day's tables up to the policy's opportunities, bid hour by hour; no requests. ``deals``: of days before."""
    forecast = settings.forecast.model_copy(update={"price": "seven_day_mean"})
    settings = settings.hour_by_hour().model_copy(update={"forecast": forecast})
    day = DayInputs(market_date, settings, None, None, None, opened=source).tables()
    return day if deals is None else day | find_opportunities(day, settings, Requests(), deals)
