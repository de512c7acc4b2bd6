"""What a day's bids take from outside: prices, the fleet, requests; and what follows from them before any deal."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from vpp_pipeline.chain import Inputs
from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.calendar import PRODUCTS, market_hours
from vpp_pipeline.domain.fleet import fleet_arrays
from vpp_pipeline.domain.forecast import forecast_prices, history_dates
from vpp_pipeline.domain.opportunities import requested_blocks
from vpp_pipeline.domain.scenarios import price_scenarios, scenario_dates
from vpp_pipeline.domain.verdict import SCHEDULE_BEFORE
from vpp_pipeline.errors import NoDataError
from vpp_pipeline.optimisation.sizing import opportunities_of_day
from vpp_pipeline.schemas import PriceScenarios
from vpp_pipeline.settings import Settings
from vpp_pipeline.sources.base import PriceSource
from vpp_pipeline.sources.day_fleet import DayFleet, fleet_of_day
from vpp_pipeline.sources.opening import open_source
from vpp_pipeline.sources.profiles import load_forecast, solar_forecast
from vpp_pipeline.sources.requests import read_requests
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.recent_deals import prices_behind, recent_deals


@dataclass(frozen=True)
class DayInputs:
    """One market day's inputs, each read when first asked for and then kept. All raise InputError."""

    market_date: date
    settings: Settings
    prices: Path | None
    node: str | None
    requests_file: Path | None
    lake: Path | None = None  # where earlier days lie: stored energy that carries over, and what was agreed

    @cached_property
    def history(self) -> dict[date, pl.DataFrame]:
        """Prices of those of the seven days before that the source holds."""
        found = self._prices_of(history_dates(self.market_date))
        if not found:
            raise NoDataError(
                f"{self._source.name} holds no prices in the week before {self.market_date}",
                file=self.prices,
                remedy="Choose a day inside its range, or another source of prices",
            )
        return found

    @cached_property
    def _source(self) -> PriceSource:
        return open_source(self.prices, self.node)

    def _prices_of(self, days: list[date]) -> dict[date, pl.DataFrame]:
        """Prices of those of the days that the source holds."""
        found = {}
        for day in days:
            with suppress(NoDataError):
                found[day] = self._source.day(day)
        return found

    @cached_property
    def forecast(self) -> pl.DataFrame:
        """Rows of `market.price_forecast`."""
        return forecast_prices(self.market_date, pl.concat(self.history.values()))

    @cached_property
    def price_scenarios(self) -> pl.DataFrame:
        """Rows of `market.price_scenarios`, from the days before that the source holds; none of a single scenario."""
        risk = self.settings.risk
        if risk.scenarios == 1:
            return PriceScenarios.create_empty()
        history = self._prices_of(scenario_dates(self.market_date, risk.history_days))
        return price_scenarios(self.forecast, pl.concat(history.values()), risk)

    @cached_property
    def fleet(self) -> DayFleet:
        """Who takes part, from the user's own file or generated; what notes say; who is quarantined."""
        return fleet_of_day(self.settings.fleet, self.market_date, self.schedule_before)

    @cached_property
    def schedule_before(self) -> pl.DataFrame | None:
        """What the stores begin with, if the setting says so and the day before was made.

        `dispatch/schedule` depends on its own day before; the fleet reads it without saying so, since that dependency
        would be a cycle.
        """
        if not self.settings.fleet.carry_over or self.lake is None:
            return None
        return LakeDay(Lake(self.lake), self.market_date).get(SCHEDULE_BEFORE)

    @cached_property
    def requests(self) -> pl.DataFrame:
        """Rows of the file of requests, those of the day being possible."""
        found = read_requests(self.settings.opportunities.requests or self.requests_file)
        for product in PRODUCTS:
            requested_blocks(found, product, market_hours(self.market_date)["start_utc"].to_list(), self.settings.rules)
        return found

    @cached_property
    def recent_deals(self) -> pl.DataFrame | None:
        """What was agreed on the days before, by segment and product; nothing unless the settings ask for it.

        Read as :attr:`schedule_before` is: a declared dependency on earlier agreements would be a cycle.
        """
        policy = self.settings.opportunities
        if policy.sizing != "planned" or policy.deal_days == 0 or self.lake is None:
            return None
        return recent_deals(Lake(self.lake), self.market_date, policy.deal_days, prices_behind(self.forecast))

    def read_all(self) -> None:
        """Raises InputError for the first input that cannot be used."""
        _ = self.forecast, self.price_scenarios, self.fleet, self.requests, self.recent_deals

    def for_chain(self) -> Inputs:
        """The same for `chain.py`: with the envelope of everyone who takes part, and the day's opportunities."""
        prosumers, forecast, day = self.fleet.prosumers, self.forecast, self.market_date
        envelope = hourly_envelope(prosumers, market_hours(day), solar_forecast(day), load_forecast(day))
        fleet = fleet_arrays(prosumers, envelope)
        wanted = opportunities_of_day(day, forecast, fleet, self.settings, self.requests, self.recent_deals)
        return Inputs(forecast, prosumers, envelope, wanted, self.schedule_before, self.price_scenarios)
