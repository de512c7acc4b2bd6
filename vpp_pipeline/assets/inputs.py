"""What a day's bids take from outside: prices, the fleet, requests. All of it is read before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path

import dagster as dg
import polars as pl

from vpp_pipeline.assets.partitions import market_date_of
from vpp_pipeline.assets.resources import Prices, Storage, _Desk
from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.calendar import PRODUCTS, market_hours
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.domain.forecast import forecast_prices, history_dates
from vpp_pipeline.domain.opportunities import requested_blocks
from vpp_pipeline.errors import NoDataError
from vpp_pipeline.settings import Settings
from vpp_pipeline.sources.fleet_file import read_fleet
from vpp_pipeline.sources.opening import open_source
from vpp_pipeline.sources.profiles import load_forecast, solar_forecast
from vpp_pipeline.sources.requests import read_requests

BIDS_JOB = "bid_day"


@dataclass(frozen=True)
class DayInputs:
    """One market day's inputs, each read when first asked for and then kept. All raise InputError."""

    market_date: date
    settings: Settings
    prices: Path | None
    node: str | None
    requests_file: Path | None

    @cached_property
    def history(self) -> dict[date, pl.DataFrame]:
        """Prices of those of the seven days before that the source holds."""
        source = open_source(self.prices, self.node)
        found = {}
        for day in history_dates(self.market_date):
            try:
                found[day] = source.day(day)
            except NoDataError:
                continue
        if not found:
            raise NoDataError(
                f"{source.name} holds no prices in the week before {self.market_date}",
                file=self.prices,
                remedy="Choose a day inside its range, or another source of prices",
            )
        return found

    @cached_property
    def forecast(self) -> pl.DataFrame:
        """Rows of `market.price_forecast`."""
        return forecast_prices(self.market_date, pl.concat(self.history.values()))

    @cached_property
    def fleet(self) -> pl.DataFrame:
        """Rows of `fleet.prosumers`: the user's own file, or generated."""
        chosen = self.settings.fleet
        return read_fleet(chosen.path, self.market_date) if chosen.path else generate_fleet(chosen, self.market_date)

    @cached_property
    def requests(self) -> pl.DataFrame:
        """Rows of the file of requests, those of the day being possible."""
        found = read_requests(self.settings.opportunities.requests or self.requests_file)
        for product in PRODUCTS:
            requested_blocks(found, product, market_hours(self.market_date)["start_utc"].to_list(), self.settings.rules)
        return found

    def read_all(self) -> None:
        """Raises InputError for the first input that cannot be used."""
        _ = self.forecast, self.fleet, self.requests
        solar, load = solar_forecast(self.market_date), load_forecast(self.market_date)
        hourly_envelope(self.fleet, market_hours(self.market_date), solar, load)


@lru_cache(maxsize=1)
def _of_run(run_id: str, inputs: DayInputs) -> DayInputs:
    """The same object for all assets of a run, so that each file is read once."""
    return inputs


def day_inputs(context: dg.AssetExecutionContext, desk: _Desk, prices_source: Prices, storage: Storage) -> DayInputs:
    """The run's inputs. A run of the whole day reads all of them first: where one is wrong, the lake stays as it is."""
    file, node = prices_source.chosen()
    inputs = _of_run(
        context.run.run_id,
        DayInputs(market_date_of(context), desk.settings(), file, node, storage.requests),
    )
    if context.run.job_name == BIDS_JOB:
        inputs.read_all()
    return inputs
