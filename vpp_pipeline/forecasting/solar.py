"""What the sun will give: the clear sky of the place, from pvlib, times how clear it has been or is said to become."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import local_midnight_utc, market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.forecasting.similar_days import check_known
from vpp_pipeline.schemas import SolarForecast, validate

STEPS_PER_HOUR = 12
PAST_DAYS = 14
NIGHT_KW_PER_KW = 1e-6
LEAST_CLEAR_KWH = 0.5  # per kW: hours that together could give less say nothing about how clear it was


@dataclass(frozen=True)
class Panel:
    """Where solar power stands and how it looks at the sky; the embedded profile's place, Los Angeles, by default."""

    latitude_deg: float = 34.0
    longitude_deg: float = -118.0  # east is positive
    tilt_deg: float = 20.0
    azimuth_deg: float = 180.0  # 180: south
    performance: float = 0.80  # inverter, heat, dirt, wiring: of the irradiance, kW per kW installed at 1 kW/m2


class Sky(Protocol):
    """How clear the sky is expected to be: from past output, or from a weather service by the same interface."""

    def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> Array:
        """Output over the clear sky's for each hour (T,) of ``market_date``, 0 to somewhat above 1.

        ``past``: metered kW per kW, known when bids close. Raises ``NoDataError`` where it cannot say.
        """


def require_pvlib() -> None:
    """Raises ``InputError`` where the extra is not installed."""
    if importlib.util.find_spec("pvlib") is None:
        raise InputError(
            "solar forecasts from meters, weather or coordinates need pvlib, which is not installed",
            column="forecast.solar",
            remedy="Install the extra (pip install 'vpp-pipeline[solar]'), or choose forecast.solar=profile",
        )


def clear_sky(panel: Panel, market_date: date) -> Array:
    """Output under a clear sky (T,), kW per kW installed, mean of each of the day's 23, 24 or 25 hours.

    pvlib: solar position (NREL), simplified Solis irradiance, isotropic sky on the tilted panel; no network.
    """
    from pvlib import clearsky

    sun = _sun(panel, market_date)
    sky = clearsky.simplified_solis(sun["apparent_elevation"])
    return _output(panel, sun, sky["ghi"], sky["dni"], sky["dhi"])


def weather_output(panel: Panel, market_date: date, irradiance: pl.DataFrame) -> Array:
    """Output (T,), kW per kW installed, under the irradiance that is expected of each hour.

    ``irradiance``: ``start_utc``, ``ghi_w_per_m2``, ``dni_w_per_m2``, ``dhi_w_per_m2``, means of exactly the day's
    hours. The sun moves on within the hour, its irradiance is taken as even.
    """
    columns = ("ghi_w_per_m2", "dni_w_per_m2", "dhi_w_per_m2")
    hours = market_hours(market_date).join(irradiance, on="start_utc", how="left", maintain_order="left")
    ghi, dni, dhi = (np.repeat(hours[name].to_numpy(), STEPS_PER_HOUR) for name in columns)
    return _output(panel, _sun(panel, market_date), ghi, dni, dhi)


def _sun(panel: Panel, market_date: date) -> Any:
    """Where the sun stands, in pvlib's table, twelve times an hour."""
    import pandas as pd
    from pvlib import solarposition

    hours = market_hours(market_date).height
    step = timedelta(hours=1) / STEPS_PER_HOUR
    moments = pd.date_range(local_midnight_utc(market_date) + step / 2, periods=hours * STEPS_PER_HOUR, freq=step)
    return solarposition.get_solarposition(moments, panel.latitude_deg, panel.longitude_deg)


def _output(panel: Panel, sun: Any, ghi: Any, dni: Any, dhi: Any) -> Array:
    from pvlib import irradiance

    seen = irradiance.get_total_irradiance(
        panel.tilt_deg, panel.azimuth_deg, sun["apparent_zenith"], sun["azimuth"], dni, ghi, dhi
    )
    watts: Array = np.nan_to_num(np.asarray(seen["poa_global"], dtype=float)).clip(min=0.0)
    return np.asarray(panel.performance * watts.reshape(-1, STEPS_PER_HOUR).mean(axis=1) / 1000.0)


@dataclass(frozen=True)
class Steady:
    """The same share of the clear sky all day, such as a month's mean."""

    share: float

    def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> Array:
        """See :class:`Sky`."""
        return np.full(market_hours(market_date).height, self.share)


@dataclass(frozen=True)
class AsForecast:
    """As clear as a weather service says: see :func:`weather_output`."""

    irradiance: pl.DataFrame

    def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> Array:
        """See :class:`Sky`. In hours without sun it does not matter, and is 1."""
        clear = clear_sky(panel, market_date)
        expected = weather_output(panel, market_date, self.irradiance)
        return np.divide(expected, clear, out=np.ones_like(clear), where=clear > NIGHT_KW_PER_KW)


@dataclass(frozen=True)
class AsOfLate:
    """As clear as the last days were, hour by hour: what was metered over what the clear sky would have given.

    By hour, because mornings are often hazy where afternoons are clear, and because panels do not all look south.
    """

    days: int = PAST_DAYS

    def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> Array:
        """See :class:`Sky`. An hour with hardly any sun, or never metered, is as clear as all of them together."""
        recent = past.filter(pl.col("market_date") >= market_date - timedelta(days=self.days + 1))
        days = recent["market_date"].unique().sort().to_list()
        if not days:
            raise self._unknown(market_date)
        sky = pl.concat(market_hours(day).with_columns(clear=clear_sky(panel, day)) for day in days)
        seen = recent.select("start_utc", "value").join(sky, on="start_utc")
        possible = float(seen["clear"].sum())
        if possible < LEAST_CLEAR_KWH:
            raise self._unknown(market_date)
        given, clear = pl.col("value").sum(), pl.col("clear").sum()
        by_hour = seen.group_by("local_hour").agg(ratio=pl.when(clear >= LEAST_CLEAR_KWH).then(given / clear))
        hours = market_hours(market_date).join(by_hour, on="local_hour", how="left", maintain_order="left")
        overall = float(seen["value"].sum()) / possible
        ratios: Array = hours["ratio"].fill_null(overall).to_numpy()
        return ratios.clip(min=0.0)

    def _unknown(self, market_date: date) -> NoDataError:
        return NoDataError(
            f"no sunny hour metered in the {self.days} days before {market_date}", remedy="Give metered output."
        )


def solar_output(
    panel: Panel, market_date: date, past: pl.DataFrame, sky: Sky | None = None, method: str = "metered"
) -> pl.DataFrame:
    """Rows of ``market.solar_forecast``: the clear sky times its expected clearness, kW per kW installed, at most 1.

    ``past``: rows of :func:`~vpp_pipeline.forecasting.similar_days.as_metered`, kW per kW, known when bids close;
    no row where ``sky`` asks for none. Raises ``InputError`` for a later row and ``NoDataError`` where clearness cannot
    be said: never a silent zero.
    """
    if past.height:
        check_known(past, market_date)
    expected = clear_sky(panel, market_date) * (sky or AsOfLate()).clearness(panel, market_date, past)
    output = np.round(np.clip(expected, 0.0, 1.0), 5)
    named = {"method": pl.lit(method), "made_for_date": pl.lit(market_date)}
    return validate(SolarForecast, market_hours(market_date).with_columns(solar_kw_per_kw=output, **named))
