"""What the sun will give: the clear sky of the place, from pvlib, times how clear it has been or is said to become."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.domain.calendar import local_midnight_utc, market_hours
from vpp_pipeline.errors import NoDataError
from vpp_pipeline.forecasting.metered import check_known
from vpp_pipeline.schemas import SolarForecast, door

STEPS_PER_HOUR = 12
PAST_DAYS = 14
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
    """How clear the sky is expected to be: past output, or a weather service behind the same door."""

    def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> Array:
        """Output over the clear sky's for each hour (T,) of ``market_date``, 0 to somewhat above 1.

        ``past``: metered kW per kW, known when bids close. Raises ``NoDataError`` where it cannot say.
        """


def clear_sky(panel: Panel, market_date: date) -> Array:
    """Output under a clear sky (T,), kW per kW installed, mean of each of the day's 23, 24 or 25 hours.

    pvlib: solar position (NREL), simplified Solis irradiance, isotropic sky on the tilted panel; no network.
    """
    import pandas as pd
    from pvlib import clearsky, irradiance, solarposition

    hours = market_hours(market_date).height
    step = timedelta(hours=1) / STEPS_PER_HOUR
    moments = pd.date_range(local_midnight_utc(market_date) + step / 2, periods=hours * STEPS_PER_HOUR, freq=step)
    sun = solarposition.get_solarposition(moments, panel.latitude_deg, panel.longitude_deg)
    sky = clearsky.simplified_solis(sun["apparent_elevation"])
    seen = irradiance.get_total_irradiance(
        panel.tilt_deg, panel.azimuth_deg, sun["apparent_zenith"], sun["azimuth"], sky["dni"], sky["ghi"], sky["dhi"]
    )
    watts: Array = np.nan_to_num(seen["poa_global"].to_numpy(dtype=float)).clip(min=0.0)
    return np.asarray(panel.performance * watts.reshape(hours, STEPS_PER_HOUR).mean(axis=1) / 1000.0)


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


def solar_output(panel: Panel, market_date: date, past: pl.DataFrame, sky: Sky | None = None) -> pl.DataFrame:
    """Rows of ``market.solar_forecast``: the clear sky times its expected clearness, kW per kW installed, at most 1.

    ``past``: rows of :func:`~vpp_pipeline.forecasting.metered.as_metered`, kW per kW, known when bids close. Raises
    ``InputError`` for a later row and ``NoDataError`` where clearness cannot be said: never a silent zero.
    """
    check_known(past, market_date)
    expected = clear_sky(panel, market_date) * (sky or AsOfLate()).clearness(panel, market_date, past)
    output = np.round(np.clip(expected, 0.0, 1.0), 5)
    return door(SolarForecast, market_hours(market_date).with_columns(solar_kw_per_kw=output))
