"""What a day's bids take from outside: prices, the fleet, requests; and what follows from them before any deal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import LEAST_DAYS, comparable, history_dates, note_on
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake, LakeFiles
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.core.tables import CLASSES_BEFORE, MEMBERS_BEFORE, SCHEDULE_BEFORE, Tables
from vpp_pipeline.data_settings import WeatherSettings
from vpp_pipeline.fleet.archetypes import DEAL_SCHEMA, combine_deals, mean_deals
from vpp_pipeline.fleet.notes.apply import by_rules
from vpp_pipeline.forecasting.meter_checks import Metered
from vpp_pipeline.forecasting.meters import meters_of_day
from vpp_pipeline.forecasting.price_models import PriceForecaster, choose, past_forecasts
from vpp_pipeline.forecasting.price_scenarios import price_scenarios
from vpp_pipeline.inputs.day_fleet import DayFleet, fleet_of_day
from vpp_pipeline.inputs.requests import read_requests
from vpp_pipeline.inputs.resource_file import check_settings, hour_by_hour, part_names, resources_of_day
from vpp_pipeline.inputs.site_forecasts import Expected
from vpp_pipeline.llm.session import open_reader
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.open_source import PriceChoice, PriceFiles, open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.negotiation.requests import Requests
from vpp_pipeline.pipeline import (
    SITE_FORECASTS,
    aggregate,
    find_opportunities,
    is_storage_asked,
    limit_fleet,
    serve_requests,
)
from vpp_pipeline.schemas import PriceScenarios
from vpp_pipeline.settings import Settings
from vpp_pipeline.warehouse.day import LakeDay, published

LOG = logging.getLogger(__name__)
RECENT_DEALS = "market.recent_deals"  # a table of the lake only
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


@dataclass(frozen=True)
class DayInputs:
    """One market day's inputs, each read when first asked for and then kept. All raise InputError."""

    market_date: date
    settings: Settings
    prices: PriceChoice
    node: str | None
    requests_file: Path | None
    lake: Lake | None = None  # where earlier days lie: stored energy that carries over, and what was agreed
    run_id: str = ""  # in whose name a language model is asked about notes, where it may be
    meters: Path | None = None  # file or folder of metered hours
    meters_time_zone: str | None = None  # of their moments without an offset
    weather: WeatherSettings = field(default_factory=WeatherSettings)
    opened: PriceSource | None = None  # the source of ``prices``, where several days are read from it
    stated: Requests | None = field(default=None, compare=False)  # in place of those of the file
    is_hour_by_hour: bool = False  # storage is bid so, whatever settings or file say

    @cached_property
    def history(self) -> dict[date, pl.DataFrame]:
        """Prices of those of the seven days before that the source holds, as far as they are of the day's regime."""
        found = self._prices_of(history_dates(self.market_date))
        if self.regime_note and len(found) < LEAST_DAYS:
            raise InputError(
                f"{self.regime_note}; {len(found)} are left, where a forecast needs {LEAST_DAYS}",
                remedy="Choose a later day, whose week before is of one regime",
            )
        if not found:
            raise NoDataError(
                f"{self._source.name} holds no prices in the week before {self.market_date}",
                file=self.prices.path if isinstance(self.prices, PriceFiles) else None,
                remedy="Choose a day inside its range, or another source of prices",
            )
        return found

    @cached_property
    def regime_note(self) -> str:
        """Why days of the week before do not count, where the market's rules changed; see `CAISO.regimes`."""
        return note_on(history_dates(self.market_date), self.market_date, self._source.name)

    @cached_property
    def _source(self) -> PriceSource:
        return self.opened or open_source(self.prices, self.node)

    def _prices_of(self, days: list[date]) -> dict[date, pl.DataFrame]:
        """Prices of those of the days that the source holds and that are of the market day's regime."""
        return self._source.days(comparable(days, self.market_date, self._source.name))

    @cached_property
    def forecast(self) -> pl.DataFrame:
        """Rows of `market.price_forecast`."""
        days = self.history | self._past(self.forecaster.reads_days)
        return self.forecaster.forecast(self.market_date, pl.concat(days[day] for day in sorted(days)))

    @cached_property
    def forecaster(self) -> PriceForecaster:
        """Who expects the day's prices, by the settings and by what history there is."""
        return choose(
            self.market_date, self.settings.forecast, self._source.name, self._past, self._error_days, self._outlook
        )

    def _outlook(self, days: int) -> pl.DataFrame | None:
        """What the system was forecast to be on the day and on the ``days`` before, where `oasis.outlook` asks for it.

        OASIS is asked for the day itself alone; where it refuses, a warning says so, and the forecast does without.
        """
        source = self._source
        if not isinstance(source, OasisPrices) or not source.settings.outlook:
            return None
        before = comparable(history_dates(self.market_date, days), self.market_date, source.name)
        try:
            today = source.outlook(self.market_date, may_ask=True)
            return None if today is None else pl.concat([source.outlooks(before), today])
        except InputError as error:
            LOG.warning("the forecast does without the system's outlook of %s: %s", self.market_date, error)
            return None

    @property
    def _error_days(self) -> int:
        """Days whose forecasts' errors make scenarios; none of a single scenario."""
        return self.settings.risk.history_days if self.settings.risk.scenarios > 1 else 0

    def _past(self, days: int) -> dict[date, pl.DataFrame]:
        """Prices of those of the ``days`` days before that the source holds, each read once.

        OASIS itself is asked for no more than scenarios need: a model learns from our own copy.
        """
        wanted, source = history_dates(self.market_date, days), self._source
        new = [day for day in wanted if day not in self._read_before]
        if isinstance(source, OasisPrices):
            asked = set(history_dates(self.market_date, self._error_days))
            self._read_before.update(source.held_days(comparable(new, self.market_date, source.name)))
            new = [day for day in new if day in asked and day not in self._read_before]
        self._read_before.update(self._prices_of(new))
        return {day: self._read_before[day] for day in wanted if day in self._read_before}

    @cached_property
    def _read_before(self) -> dict[date, pl.DataFrame]:
        return dict(self.history)

    @cached_property
    def price_scenarios(self) -> pl.DataFrame:
        """Rows of `market.price_scenarios`, from the days before that the source holds; none of a single scenario."""
        risk = self.settings.risk
        if risk.scenarios == 1:
            return PriceScenarios.create_empty()
        days = self._past(risk.history_days)
        learns_days = self.forecaster.learns_days
        known = self._past(max(risk.history_days, learns_days)) if learns_days else days
        expect = past_forecasts(self.market_date, self.forecaster, known, risk.history_days)
        return price_scenarios(self.forecast, pl.concat(days.values()), risk, expect)

    @cached_property
    def metered(self) -> Metered:
        """What meters had shown when the day's bids close; nothing without a source."""
        return meters_of_day(self.meters, self.market_date, self.meters_time_zone, self.settings.forecast)

    @cached_property
    def expected(self) -> Expected:
        """Sun, load and charging expected of the day."""
        return self.expected_from(self.metered)

    def expected_from(self, metered: Metered) -> Expected:
        """The same from metered hours that were taken in before."""
        day, settings = self.market_date, self.settings.forecast
        return Expected(day, settings, metered, self.meters is not None, self.weather, self.lake)

    @property
    def resources(self) -> pl.DataFrame:
        """Rows of `market.resources`, which settle at the node of the day's prices."""
        return self._placed["market.resources"] if self._is_placed else self._named

    @property
    def _is_placed(self) -> bool:
        return not self.parts and is_storage_asked(self._named, self.settings, self.requests)

    @cached_property
    def parts(self) -> list[str]:
        """The resources that are made, bid, and verified apart; none of a fleet that is one.

        Raises InputError where a language model is to speak for a fleet in parts: each part would ask it anew.
        """
        fleet, names = self.settings.fleet, self._named["resource_id"].to_list()
        if len(names) == 1:
            return []
        size = fleet.prosumers
        if fleet.path:
            members = self._took_part.prosumers["resource_id"]
            size, names = len(members), [name for name in names if (members == name).any()]
        if size <= fleet.part_prosumers or len(names) == 1:
            return []
        chosen = {
            "negotiation.engine": self.settings.negotiation.engine == "llm",
            "model_use.reads_notes": self.settings.model_use.reads_notes,
        }
        if asked := [name for name, is_chosen in chosen.items() if is_chosen]:
            raise InputError(
                f"a language model cannot speak for a fleet in parts, and {size:,} prosumers are {len(names)}",
                column=", ".join(asked),
                remedy="Leave that at its default, or set fleet.part_prosumers to the size of the fleet",
            )
        return names

    @cached_property
    def _named(self) -> pl.DataFrame:
        """The resources of the settings or their file."""
        node, parts = self.forecast["node"][0], part_names(self.settings)
        found = resources_of_day(self.settings.resources, self.market_date, node, parts)
        if self.is_hour_by_hour:
            found = hour_by_hour(found)
        check_settings(found, self.settings)
        return found

    @cached_property
    def _placed(self) -> Tables:
        """Resources and their prosumers, with those who serve requests, which storage does not."""
        day = {
            FORECAST: self.forecast,
            "market.resources": self._named,
            **dict(zip(SITE_FORECASTS, self.expected.tables, strict=True)),
            "fleet.prosumers": self._took_part.prosumers,
        }
        return serve_requests(day, self.settings, self.requests)

    @cached_property
    def fleet(self) -> DayFleet:
        """Prosumers from the user's own file or generated, the readings of their notes, and quarantined rows."""
        found = self._took_part
        return replace(found, prosumers=self._placed["fleet.prosumers"]) if self._is_placed else found

    @cached_property
    def _took_part(self) -> DayFleet:
        """The same, each prosumer in the resource that the fleet's file names."""
        if self.settings.fleet.path is None and self.parts:
            known = (self.settings.fleet, self.market_date, self.schedule_before, by_rules, self.expected.tables)
            every = [fleet_of_day(*known, self.parts, part) for part in range(len(self.parts))]
            tables = ("prosumers", "notes", "quarantine")
            return DayFleet(*(pl.concat(getattr(one, name) for one in every) for name in tables))
        folder = self.lake.root.parent if self.lake else project_folder() / "data"
        with open_reader(self.settings, folder, run_id=self.run_id, market_date=self.market_date) as read:
            return fleet_of_day(
                self.settings.fleet,
                self.market_date,
                self.schedule_before,
                read,
                self.expected.tables,
                self._named["resource_id"].to_list(),
            )

    @cached_property
    def schedule_before(self) -> pl.DataFrame | None:
        """The schedule that initial states of charge carry over from, with `fleet.carry_over` and a day before.

        `dispatch/schedule` depends on its own day before; the fleet reads it without saying so, since that dependency
        would be a cycle.
        """
        if not self.settings.fleet.carry_over or self.lake is None:
            return None
        return LakeDay(self.lake, self.market_date).get(SCHEDULE_BEFORE)

    @cached_property
    def classes_before(self) -> Tables:
        """Storage classes of the last day before and their members, which the day keeps; none without such a day."""
        if self.lake is None or not (self.resources["participation"] == "storage").any():
            return {}
        day = LakeDay(self.lake, self.market_date)
        found = {name: day.get(name) for name in (CLASSES_BEFORE, MEMBERS_BEFORE)}
        return {name: table for name, table in found.items() if table is not None}

    @cached_property
    def requests(self) -> Requests:
        """Requests for the day, and rows of their file that cannot be read."""
        if self.stated is not None:
            return self.stated
        return read_requests(self.settings.opportunities.requests or self.requests_file, self.market_date)

    @cached_property
    def recent_deals(self) -> pl.DataFrame | None:
        """What was agreed on the days before, by segment and product; nothing unless the settings ask for it.

        Read as :attr:`schedule_before` is: a declared dependency on earlier agreements would be a cycle.
        """
        policy = self.settings.opportunities
        if policy.sizing != "planned" or policy.deal_days == 0 or self.lake is None:
            return None
        return recent_deals(self.lake, self.market_date, policy.deal_days, prices_behind(self.forecast))

    def read_all(self) -> None:
        """Raises InputError for the first input that cannot be used."""
        _ = self.forecast, self.price_scenarios, self.expected.tables, self.resources
        _ = self.requests, self.recent_deals
        if self.settings.fleet.path or not self.parts:  # those of a generated fleet are made where they are bid
            _ = self.fleet

    def keep_recent_deals(self, kept: LakeFiles) -> None:
        """Keep what the day is sized by, so that the same day comes out of another run later."""
        if self.recent_deals is not None:
            keep_deals(kept, self.settings.opportunities.deal_days, prices_behind(self.forecast), self.recent_deals)

    def tables(self) -> Tables:
        """The day's tables before any negotiation, opportunities included, for the stages of `pipeline.py`.

        The schedule of the day before lies under SCHEDULE_BEFORE.
        """
        day = {
            FORECAST: self.forecast,
            "market.price_scenarios": self.price_scenarios,
            "market.resources": self.resources,
            "market.metered_hours": self.metered.hours,
            "market.meter_quarantine": self.metered.quarantine,
            **dict(zip(SITE_FORECASTS, self.expected.tables, strict=True)),
            "fleet.prosumers": self.fleet.prosumers,
            "fleet.notes": self.fleet.notes,
            "fleet.quarantine": self.fleet.quarantine,
        }
        if self.schedule_before is not None:
            day[SCHEDULE_BEFORE] = self.schedule_before
        day |= limit_fleet(day)
        day |= aggregate(day | self.classes_before, self.settings)
        return day | find_opportunities(day, self.settings, self.requests, self.recent_deals)


def recent_deals(lake: Lake, market_date: date, days: int, prices: Mapping[str, str]) -> pl.DataFrame:
    """Rows of DEAL_SCHEMA over those of the ``days`` before whose bids are published.

    Each of them was closed before its own deadline. What :func:`keep_deals` has kept comes first, so that the same
    day comes out of another run later. ``prices``: source and node of the day's forecast; days at
    other prices, or of another market regime, do not count.
    """
    kept = lake.day(market_date)
    try:
        if kept.exists(RECENT_DEALS) and kept.metadata(RECENT_DEALS) == _basis(days, prices):
            return kept.read(RECENT_DEALS)
    except InputError as error:
        LOG.warning("%s; the deals of the days before are joined anew", error)
    alike = comparable(history_dates(market_date)[-days:], market_date, prices["source"])
    before = [day for earlier in alike if (day := published(lake, earlier)) is not None]
    tables = [{table: day.rows(table, columns) for table, columns in _COLUMNS.items()} for day in before]
    found = [_deals_of(day) for day in tables if prices_behind(day[FORECAST]) == prices]
    return combine_deals(pl.concat(found)) if found else pl.DataFrame(schema=DEAL_SCHEMA)


def keep_deals(kept: LakeFiles, days: int, prices: Mapping[str, str], deals: pl.DataFrame) -> None:
    """Keep what the day was sized by; it is committed with the day's bids."""
    kept.write(RECENT_DEALS, deals, _basis(days, prices))


def prices_behind(forecast: pl.DataFrame) -> dict[str, str]:
    """Source and node of a day's forecast."""
    return forecast.select("source", "node").row(0, named=True)


def _basis(days: int, prices: Mapping[str, str]) -> dict[str, str]:
    return {"days": str(days), **prices}


def _deals_of(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return mean_deals(tables["market.opportunities"], tables["fleet.prosumers"], tables[AGREEMENTS])
