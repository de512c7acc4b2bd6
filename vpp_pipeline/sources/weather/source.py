"""The weather expected of a market day: our own copy first, then the service, and never after the bids have closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.settings import WeatherSettings
from vpp_pipeline.sources.weather.answer import irradiance_of, question

KEPT = "weather.open_meteo"


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Weather:
    """What Open-Meteo expects at one place.

    An answer is kept with the moment it came, and a day made again takes the same one. A day whose bids have closed is
    not asked for: the service would answer by what has happened since.
    """

    settings: WeatherSettings
    latitude_deg: float
    longitude_deg: float
    now: Callable[[], datetime] = utc_now

    def irradiance(self, market_date: date) -> tuple[pl.DataFrame, str]:
        """``start_utc`` and irradiances of the day's hours, and when they were asked for.

        Raises ``NoDataError`` where there is none, and ``WeatherError`` where the service refuses.
        """
        lake, place = Lake(self._archive), self._partition(market_date)
        if lake.exists(KEPT, place):
            return self._held(lake, place)
        asked = self.now()
        if asked > bid_deadline_utc(market_date):
            raise NoDataError(
                f"the weather expected of {market_date} was not asked for before its bids closed at "
                f"{bid_deadline_utc(market_date):%Y-%m-%d %H:%MZ}, and now it would be hindsight",
                remedy="Choose a day whose bids are still open, or forecast.solar=clear_sky or metered",
            )
        frame = self._ask(market_date)
        when = f"{asked:%Y-%m-%dT%H:%M:%SZ}"
        lake.write(KEPT, place, frame, {"fetched_utc": when, "url": self.settings.url})
        return frame, when

    def _ask(self, market_date: date) -> pl.DataFrame:
        from vpp_pipeline.sources.weather.client import ask  # httpx is loaded by who asks, not by every run

        here = self.latitude_deg, self.longitude_deg
        return ask(self.settings, question(*here, market_date), lambda body: irradiance_of(body, *here, market_date))

    def _held(self, lake: Lake, place: str) -> tuple[pl.DataFrame, str]:
        try:
            return lake.read(KEPT, place), lake.metadata(KEPT, place)["fetched_utc"]
        except (InputError, KeyError) as error:
            raise InputError(
                f"our copy of the weather cannot be read: {error}",
                file=lake.path(KEPT, place),
                remedy="Remove the file; while the day's bids are open it is asked for again",
            ) from error

    @property
    def _archive(self) -> Path:
        return self.settings.archive or project_folder() / "data" / "archive"

    def _partition(self, market_date: date) -> str:
        """Ten thousandths of a degree, about eleven metres: a key of the lake has no point."""
        return f"{self.latitude_deg * 1e4:.0f}_{self.longitude_deg * 1e4:.0f}|{market_date}"
