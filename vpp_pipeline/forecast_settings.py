"""Settings of forecasts: how prices, sun, load and charging are expected, and how the weather is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ForecastSettings(BaseModel):
    """How what is not yet known is forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: Literal["auto", "model", "seven_day_mean", "yesterday"] = Field(
        "auto",
        description="`model` learns from the year before; `auto` is the model, but the mean for generated prices.",
    )
    solar: Literal["auto", "profile", "clear_sky", "metered", "weather"] = Field(
        "auto", description="`auto` is `metered` where meters measure sun, else the embedded `profile`."
    )
    load: Literal["auto", "profile", "metered"] = Field(
        "auto", description="`auto` is `metered` where meters measure load, else the embedded `profile`."
    )
    charging: Literal["auto", "none", "metered"] = Field(
        "auto", description="`auto` is `metered` where meters measure charging, else `none`: as the fleet states."
    )
    meters_late_hours: float = Field(
        48.0, gt=0, description="Meters whose newest hour is older than this when bids close are warned of."
    )
    latitude_deg: float = Field(34.0, ge=-66, le=66, description="Where the panels stand, for pvlib and the weather.")
    longitude_deg: float = Field(-118.0, ge=-180, le=180, description="East is positive.")
    tilt_deg: float = Field(20.0, ge=0, le=90, description="Slope of the panels.")
    azimuth_deg: float = Field(180.0, ge=0, le=360, description="Where the panels look; 180 is south.")
    performance: float = Field(
        0.80, gt=0, le=1.2, description="Output per kW installed at 1 kW/m²: inverter, heat, dirt, wiring."
    )
    clearness: float | None = Field(
        None, ge=0, le=1.2, description="`clear_sky` times this; empty: the month's mean in Fontana, California."
    )


class WeatherSettings(BaseModel):
    """How Open-Meteo is asked: the table [weather] in `data/prices.toml`. No part of a bid's fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "https://api.open-meteo.com/v1/forecast",
        pattern="^https?://",
        description="Address of the forecast; the environment variable VPP_WEATHER_URL goes before it.",
    )
    archive: Path | None = Field(None, description="Folder of our own copy; empty: `archive` beside prices.toml.")
    timeout_s: float = Field(20.0, gt=0, description="Limit of one whole answer.")
    attempts: int = Field(4, ge=1, description="Times that it is asked while it is busy, late or not whole.")
    backoff_s: float = Field(
        2.0, ge=0, description="Pause before the second attempt; doubles, up to twelve times this."
    )
