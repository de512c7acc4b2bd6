"""The default day as the pipeline's pure functions make it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest
from filelock import FileLock

from vpp_pipeline.core.calendar import history_dates, market_hours, pacific_moment_utc
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.fleet.arrays import fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.negotiation.opportunities import find_opportunities
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import (
    FleetSettings,
    MarketRules,
    NegotiationPolicy,
    OpportunityPolicy,
    OptimiserSettings,
    Settings,
)
from vpp_pipeline_tests.dispatch.small_days import random_day

MARKET_DATE = date(2023, 8, 15)
REQUEST = pl.DataFrame(
    {
        "product": ["energy"],
        "start_utc": [pacific_moment_utc(MARKET_DATE, 12)],
        "duration_hours": [1],
        "required_capacity_mw": [2.0],
        "offered_price_usd_per_mwh": [85.0],
    }
)


def make_day(
    optimiser: OptimiserSettings,
    lowest_usd_per_mwh: float | None = None,
    fleet_seed: int = 20230815,
    requests: pl.DataFrame = REQUEST,
    prosumers: int = 200,
    negotiation: NegotiationPolicy | None = None,
) -> DayProblem:
    """The default fleet's day; with ``lowest_usd_per_mwh``, that is the price from 09:00 to 15:00."""
    a_tenth = OpportunityPolicy(sizing="fraction", fraction=0.1)  # sizes at which the search closes its gap
    settings = Settings(
        fleet=FleetSettings(seed=fleet_seed, prosumers=prosumers),
        opportunities=a_tenth,
        optimiser=optimiser,
        negotiation=negotiation or NegotiationPolicy(),
    )
    history = pl.concat([open_source().day(day) for day in history_dates(MARKET_DATE)])
    if lowest_usd_per_mwh is not None:
        noon = pl.col("hour_ending").is_between(10, 15)
        history = history.with_columns(
            energy_usd_per_mwh=pl.when(noon).then(lowest_usd_per_mwh).otherwise("energy_usd_per_mwh")
        )
    forecast = forecast_prices(MARKET_DATE, history)
    prosumers = generate_fleet(settings.fleet, MARKET_DATE)
    envelope = hourly_envelope(
        prosumers, market_hours(MARKET_DATE), solar_forecast(MARKET_DATE), load_forecast(MARKET_DATE)
    )
    fleet = fleet_arrays(prosumers, envelope)
    opportunities = find_opportunities(MARKET_DATE, forecast, fleet, settings.opportunities, settings.rules, requests)
    day = {
        "market.price_forecast": forecast,
        "fleet.prosumers": prosumers,
        "fleet.availability": envelope,
        "market.opportunities": opportunities,
    }
    return prepare_problem(day, settings)[1]


@pytest.fixture(scope="session")
def pipeline_day() -> Callable[..., DayProblem]:
    """Makes the default day for other settings of the optimiser, prices, fleets or requests."""
    return make_day


@pytest.fixture(scope="session")
def default_day() -> DayProblem:
    """2023-08-15: 200 prosumers, 24 hours, 72 opportunities, one of them the request of the original example."""
    return make_day(OptimiserSettings())


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The kernels, compiled by one process while another waits: it takes half a minute, and is kept on disk."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "kernels.lock"):
        solve_by_columns(random_day(0), MarketRules(), OptimiserSettings())
