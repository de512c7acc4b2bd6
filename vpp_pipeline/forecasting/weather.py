"""The weather expected of a market day: our own copy first, then the service, and never after the bids have closed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.errors import Again, InputError, NoDataError, WeatherDownError, WeatherError, without_secrets
from vpp_pipeline.core.http import Refused, ask, get
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.data_settings import WeatherSettings

KEPT = "weather.open_meteo"
#: the service's name -> ours; all are means over the hour that ends at the time given
VARIABLES: Mapping[str, str] = {
    "shortwave_radiation": "ghi_w_per_m2",
    "direct_normal_irradiance": "dni_w_per_m2",
    "diffuse_radiation": "dhi_w_per_m2",
}
UNITS = {"time": "iso8601", **dict.fromkeys(VARIABLES, "W/m²")}
MOST_W_PER_M2 = 1_500.0  # more than the sun gives above the air
NEAR_DEG = 0.5  # it answers for the nearest point of its grid
LARGEST_BYTES = 5_000_000  # a day's answer has some 3,000
LONGEST_WAIT_S = 90.0  # that an answer may ask for: Open-Meteo's shortest limit is by the minute
ADDRESS = "Check the address (VPP_WEATHER_URL, or url under [weather] in data/prices.toml)"
LAYOUT = "Compare its documentation (open-meteo.com/en/docs) with forecasting/weather.py"


def utc_now() -> datetime:
    """The clock, which tests replace."""
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
        copies, place = ParquetFolder(self._archive), self._partition(market_date)
        if copies.exists(KEPT, place):
            return self._held(copies, place)
        asked = self.now()
        if asked > bid_deadline_utc(market_date):
            raise NoDataError(
                f"the weather expected of {market_date} was not asked for before its bids closed at "
                f"{bid_deadline_utc(market_date):%Y-%m-%d %H:%MZ}, and now it would be hindsight",
                remedy="Choose a day whose bids are still open, or forecast.solar=clear_sky or metered",
            )
        frame = self._ask(market_date)
        when = f"{asked:%Y-%m-%dT%H:%M:%SZ}"
        copies.write(KEPT, place, frame, {"fetched_utc": when, "url": without_secrets(self.settings.url)})
        return frame, when

    def _ask(self, market_date: date) -> pl.DataFrame:
        """The service's answer, asked for again where it is late or not whole.

        Raises ``WeatherDownError`` when the attempts are used up and ``WeatherError`` for what no repetition heals.
        """
        asked, here = self.settings, (self.latitude_deg, self.longitude_deg)
        parameters = question(*here, market_date)

        def once() -> pl.DataFrame:
            body = get(asked.url, parameters, timeout_s=asked.timeout_s, largest_bytes=LARGEST_BYTES)
            return irradiance_of(body, *here, market_date)

        try:
            return ask(once, f"weather of {market_date}", asked.attempts, asked.backoff_s, LONGEST_WAIT_S)
        except Refused as refusal:
            raise WeatherError(str(refusal), file=asked.url, remedy=ADDRESS) from None
        except Again as last:
            raise WeatherDownError(
                f"the weather service gave no whole answer in {asked.attempts} attempts; the last one: {last}",
                file=asked.url,
                remedy="Try again later, or choose forecast.solar=clear_sky or metered meanwhile",
            ) from last

    def _held(self, copies: ParquetFolder, place: str) -> tuple[pl.DataFrame, str]:
        try:
            return copies.read(KEPT, place), copies.metadata(KEPT, place)["fetched_utc"]
        except (InputError, KeyError) as error:
            raise InputError(
                f"our copy of the weather cannot be read: {error}",
                file=copies.path(KEPT, place),
                remedy="Remove the file; while the day's bids are open it is asked for again",
            ) from error

    @property
    def _archive(self) -> Path:
        return self.settings.archive or project_folder() / "data" / "archive"

    def _partition(self, market_date: date) -> str:
        """Ten thousandths of a degree, about eleven metres: a key has no point."""
        return f"{self.latitude_deg * 1e4:.0f}_{self.longitude_deg * 1e4:.0f}|{market_date}"


def question(latitude_deg: float, longitude_deg: float, market_date: date) -> dict[str, str]:
    """The query for the UTC days that the market day touches; its hours end on the second one, or the third's start."""
    ends = market_hours(market_date)["start_utc"] + timedelta(hours=1)
    return {
        "latitude": f"{latitude_deg:.4f}",
        "longitude": f"{longitude_deg:.4f}",
        "hourly": ",".join(VARIABLES),
        "start_date": f"{ends[0]:%Y-%m-%d}",
        "end_date": f"{ends[-1]:%Y-%m-%d}",
        "timezone": "GMT",
        "timeformat": "iso8601",
    }


def irradiance_of(body: bytes, latitude_deg: float, longitude_deg: float, market_date: date) -> pl.DataFrame:
    """``start_utc`` and the three irradiances of exactly the day's hours.

    Raises ``Again`` for an answer that is torn or lacks an hour or a number, ``WeatherError`` for any other layout.
    """
    told = _parsed(body)
    _check_place(told, latitude_deg, longitude_deg)
    hourly, units = told.get("hourly"), told.get("hourly_units")
    if not isinstance(hourly, dict) or not isinstance(units, dict):
        raise WeatherError("no hourly values", value=", ".join(told), remedy=LAYOUT)
    for name, unit in UNITS.items():
        if units.get(name) != unit:
            raise WeatherError(
                "another unit than asked for", column=name, value=units.get(name), remedy=f"Expected {unit}. {LAYOUT}"
            )
    columns = {name: values for name in UNITS if isinstance(values := hourly.get(name), list)}
    if len(columns) < len(UNITS) or len({len(values) for values in columns.values()}) != 1:
        raise WeatherError("columns of unlike length, or none", value=", ".join(hourly), remedy=LAYOUT)
    return _of_day(columns, market_date)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:  # also nested too deeply, or a number without end
        raise Again(f"{len(body)} bytes that are not JSON ({error})") from None
    if not isinstance(told, dict):
        raise WeatherError("JSON that is no object", remedy=LAYOUT)
    if told.get("error"):
        raise WeatherError(f"the weather service refuses: {told.get('reason', 'without a reason')}", remedy=LAYOUT)
    return told


def _check_place(told: dict[str, Any], latitude_deg: float, longitude_deg: float) -> None:
    """The clock is UTC and the place is the one asked for."""
    if told.get("utc_offset_seconds") != 0:
        raise WeatherError(
            "times of another clock than UTC",
            column="utc_offset_seconds",
            value=told.get("utc_offset_seconds"),
            remedy=LAYOUT,
        )
    for name, asked in (("latitude", latitude_deg), ("longitude", longitude_deg)):
        given = told.get(name)
        if not isinstance(given, int | float) or not abs(given - asked) <= NEAR_DEG:
            raise WeatherError(f"an answer for another place than {asked}", column=name, value=given, remedy=LAYOUT)


def _of_day(columns: dict[str, Any], market_date: date) -> pl.DataFrame:
    kinds = {"time": pl.String, **dict.fromkeys(VARIABLES, pl.Float64)}
    try:
        rows = pl.DataFrame(columns, strict=False, schema_overrides=kinds)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise Again(f"values that cannot be read ({error})") from None
    end = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", time_zone="UTC", strict=False)
    rows = rows.with_columns(start_utc=end - timedelta(hours=1)).rename(dict(VARIABLES))
    hours = market_hours(market_date).select("start_utc").join(rows, on="start_utc", how="left", maintain_order="left")
    if hours.height != market_hours(market_date).height:
        raise WeatherError("an hour that occurs twice", column="time", remedy=LAYOUT)
    for name in VARIABLES.values():
        for start, value in hours.select("start_utc", name).iter_rows():
            if value is None or not math.isfinite(value):
                raise Again(f"no {name} for the hour from {start:%Y-%m-%dT%H:%MZ}")
            if not 0.0 <= value <= MOST_W_PER_M2:
                raise WeatherError("an irradiance that cannot be", column=name, value=value, remedy=LAYOUT)
    return hours.select("start_utc", *VARIABLES.values())
