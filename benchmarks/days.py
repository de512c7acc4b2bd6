"""What benchmarks share: real prices, a choice of days, and a day prepared up to its negotiation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import history_dates, market_hours
from vpp_pipeline.dispatch.sizing import opportunities_of_day
from vpp_pipeline.fleet.arrays import fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.inputs.day_fleet import DayFleet, fleet_of_day
from vpp_pipeline.inputs.requests import read_requests
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import Inputs
from vpp_pipeline.settings import Settings

PRICES = Path(__file__).resolve().parents[1] / "../shared/data/caiso_prices"
NODE = "TH_SP15_GEN-APND"
FIRST, LAST, SEED = date(2023, 1, 20), date(2024, 12, 30), 20230815


@dataclass(frozen=True)
class PreparedDay:
    """What a day's bids are made from, and the fleet as it was read."""

    inputs: Inputs
    fleet: DayFleet


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
) -> PreparedDay:
    """Forecast, fleet, hourly limits and the policy's opportunities; no requests. ``deals``: of the days before."""
    history = pl.concat([source.day(day) for day in history_dates(market_date)])
    forecast, fleet = forecast_prices(market_date, history), fleet_of_day(settings.fleet, market_date)
    availability = hourly_envelope(
        fleet.prosumers, market_hours(market_date), solar_forecast(market_date), load_forecast(market_date)
    )
    arrays = fleet_arrays(fleet.prosumers, availability)
    opportunities = opportunities_of_day(market_date, forecast, arrays, settings, read_requests(None), deals)
    return PreparedDay(Inputs(forecast, fleet.prosumers, availability, opportunities), fleet)
