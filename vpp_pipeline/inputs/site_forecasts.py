"""Sun, load and charging that are expected of a day: by which way, and what stands in where that way fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial

import polars as pl

from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.data_settings import WeatherSettings
from vpp_pipeline.forecasting import profiles
from vpp_pipeline.forecasting.meter_checks import Metered
from vpp_pipeline.forecasting.metered import METERED, charging_from_meters, load_from_meters, solar_from_meters
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF
from vpp_pipeline.forecasting.similar_days import or_last_good
from vpp_pipeline.forecasting.solar import AsForecast, Panel, Steady, require_pvlib, solar_output
from vpp_pipeline.forecasting.weather import Weather
from vpp_pipeline.schemas import LoadForecast, validate
from vpp_pipeline.settings import ForecastSettings

LOG = logging.getLogger(__name__)
SOLAR, LOAD, CHARGING = "market.solar_forecast", "market.load_forecast", "market.charging_forecast"
SITES = ("home", "business")
FALLBACK_DAYS = 7
NO_SUCH_SITE = "profile: no"  # and which: its meters are of the other kind alone


@dataclass(frozen=True)
class Expected:
    """The day's forecasts, each made when first asked for. ``InputError``: one can be neither made nor stood in for."""

    market_date: date
    settings: ForecastSettings
    metered: Metered = field(default_factory=Metered)
    has_meters: bool = False  # whether a source is configured
    weather: WeatherSettings = field(default_factory=WeatherSettings)
    lake: Lake | None = None  # where the forecasts of earlier days lie

    @property
    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Sun, load and charging."""
        return self.solar, self.load, self.charging

    @cached_property
    def solar(self) -> pl.DataFrame:
        """Rows of `market.solar_forecast`."""
        asked = self._asked("solar", self.settings.solar, "profile")
        if asked == "profile":
            return profiles.solar_forecast(self.market_date)
        require_pvlib()
        ways = {METERED: self._metered_solar, "clear_sky": self._clear_sky, "weather": self._weather_solar}
        return self._or_last_good(SOLAR, asked, ways[asked])

    @cached_property
    def load(self) -> pl.DataFrame:
        """Rows of `market.load_forecast`; a kind of site that no meter measures has the embedded profile."""
        asked = self._asked("load", self.settings.load, "profile")
        profile = profiles.load_forecast(self.market_date)
        if asked == "profile":
            return profile
        parts = []
        for site in SITES:
            if self._is_not_metered(site):
                method = f"{NO_SUCH_SITE} {site} is metered"
                parts.append(profile.filter(pl.col("site_type") == site).with_columns(method=pl.lit(method)))
                continue
            parts.append(self._or_last_good(LOAD, asked, partial(self._metered_load, site), site))
        return validate(LoadForecast, pl.concat(parts))

    @cached_property
    def charging(self) -> pl.DataFrame:
        """Rows of `market.charging_forecast`; 1 throughout where no meter measures charging."""
        asked = self._asked("charging", self.settings.charging, "none")
        if asked == "none":
            return profiles.charging_forecast(self.market_date)
        return self._or_last_good(CHARGING, asked, self._metered_charging)

    def _asked(self, quantity: str, setting: str, otherwise: str) -> str:
        """The way to go: `auto` is by meters where they measure the quantity.

        Raises ``InputError`` for `metered` without meters: that is a slip, and no forecast is missing.
        """
        measured = self.has_meters and self.metered.measures(quantity)
        if setting == "auto":
            return METERED if measured and not self._went_another_way(quantity) else otherwise
        if setting == METERED and not measured:
            raise InputError(
                f"no meter measures {quantity}" if self.has_meters else "there is no source of meters",
                column=f"forecast.{quantity}",
                value=METERED,
                remedy="Name a file of metered hours (--meters, or path under [meters] in data/prices.toml)",
            )
        return setting

    def _went_another_way(self, quantity: str) -> bool:
        """Where no meter can be read, whether meters were read of late and did not measure this."""
        if not self.metered.is_unreadable:
            return False
        ways = {name: self._last_method(f"market.{name}_forecast") for name in ("solar", "load", "charging")}
        return ways[quantity] != "" and not _by_meters(ways[quantity]) and any(map(_by_meters, ways.values()))

    def _is_not_metered(self, site: str) -> bool:
        """Whether meters of load are all of other kinds of site; where none can be read, whether they were of late."""
        if self.metered.is_unreadable:
            return self._last_method(LOAD, site).startswith(NO_SUCH_SITE)
        return site not in self.metered.sites("load")

    def _last_method(self, table: str, site: str | None = None) -> str:
        """How the youngest forecast that the lake keeps of the week before was made; nothing where it keeps none."""
        for day in reversed(history_dates(self.market_date, FALLBACK_DAYS)):
            rows = self._rows(table, day, site)
            if rows is not None and "method" in rows.columns and rows.height:
                return "\n".join(rows["method"].unique())
        return ""

    @property
    def _panel(self) -> Panel:
        named = self.settings
        return Panel(named.latitude_deg, named.longitude_deg, named.tilt_deg, named.azimuth_deg, named.performance)

    def _metered_solar(self) -> pl.DataFrame:
        return self._with_reason("solar", lambda: solar_from_meters(self.market_date, self.metered.hours, self._panel))

    def _metered_load(self, site: str) -> pl.DataFrame:
        return self._with_reason("load", lambda: load_from_meters(self.market_date, self.metered.hours, site))

    def _metered_charging(self) -> pl.DataFrame:
        return self._with_reason("charging", lambda: charging_from_meters(self.market_date, self.metered.hours))

    def _with_reason(self, quantity: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """``make()``; where it fails, why no meter could be used comes first."""
        try:
            return make()
        except InputError as error:
            if why := self.metered.why_not(quantity).rstrip("."):
                raise NoDataError(why, column=quantity, remedy="See market.meter_quarantine") from error
            raise

    def _clear_sky(self) -> pl.DataFrame:
        month = float(profiles.CLEARNESS[self.market_date.month - 1])
        sky = Steady(month if self.settings.clearness is None else self.settings.clearness)
        return solar_output(self._panel, self.market_date, _NO_PAST, sky, "clear_sky")

    def _weather_solar(self) -> pl.DataFrame:
        service = Weather(self.weather, self.settings.latitude_deg, self.settings.longitude_deg)
        irradiance, when = service.irradiance(self.market_date)
        method = f"weather, asked {when}"
        return solar_output(self._panel, self.market_date, _NO_PAST, AsForecast(irradiance), method)

    def _or_last_good(
        self, table: str, asked: str, make: Callable[[], pl.DataFrame], site: str | None = None
    ) -> pl.DataFrame:
        """What ``make`` gives, else the last good forecast of the same way, whose method says why."""
        forecast, reason = or_last_good(
            make, lambda day: self._earlier(table, asked, day, site), self.market_date, FALLBACK_DAYS
        )
        if reason:
            LOG.warning("%s: no forecast by %s; %s", table, asked, reason)
            forecast = forecast.with_columns(method=pl.lit(f"last good{IN_PLACE_OF}{asked}: {reason}"))
        return forecast

    def _earlier(self, table: str, asked: str, day: date, site: str | None) -> pl.DataFrame | None:
        """The forecast that the lake keeps of an earlier day, if it was made for that day, and by the way asked for."""
        rows = self._rows(table, day, site)
        if rows is None or "method" not in rows.columns:  # older than the column: the embedded profile
            return None
        found = rows.filter(pl.col("method").str.starts_with(asked) & (pl.col("made_for_date") == day))
        return found if found.height else None

    def _rows(self, table: str, day: date, site: str | None) -> pl.DataFrame | None:
        kept = self.lake.day(day) if self.lake is not None else None
        if kept is None or not kept.exists(table):
            return None
        rows = kept.read(table)
        return rows if site is None else rows.filter(pl.col("site_type") == site)


def _by_meters(method: str) -> bool:
    return METERED in method


_NO_PAST = pl.DataFrame(
    schema={"market_date": pl.Date, "start_utc": pl.Datetime("us", "UTC"), "hour_ending": pl.Int32, "value": pl.Float64}
)
