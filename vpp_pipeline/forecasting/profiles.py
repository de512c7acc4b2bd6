"""Embedded forecasts of solar output, load and charging: synthetic, deterministic, for any date.

Solar is geometry (34 N, 118 W, Los Angeles) times a day's clearness, drawn for the date. Load is a mean shape by
season and hour. Levels are statistics of 17 homes in Fontana, California (CityLearn, August 2016 to July 2017), printed
by `python benchmarks/calibrate_synthetic_prices.py profiles`. Those files keep PST all year, without daylight saving:
the script moves them to UTC first and to the Pacific clock after, or every summer hour would be one off.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from vpp_pipeline.core.calendar import local_midnight_utc, market_hours
from vpp_pipeline.market.synthetic_prices import normals
from vpp_pipeline.schemas import ChargingForecast, LoadForecast, SolarForecast, validate

Floats = npt.NDArray[np.float64]
METHOD = "profile"

LATITUDE_DEG, LONGITUDE_DEG = 34.0, -118.0
TILT_DEG = 20.0  # a roof that faces south
PERFORMANCE = 0.80  # inverter, heat, dirt, wiring
DIFFUSE_FRACTION = 0.15  # of clear-sky irradiance
STEPS_PER_HOUR = 12

# Daily output of 15 homes (two with broken meters left out) over the clear-sky output, by month, January to December.
CLEARNESS = np.array([0.56, 0.59, 0.83, 0.86, 0.82, 0.91, 0.84, 0.74, 0.69, 0.69, 0.75, 0.61])
CLEARNESS_DEVIATION = np.array([0.31, 0.25, 0.17, 0.18, 0.26, 0.08, 0.08, 0.04, 0.14, 0.25, 0.22, 0.29])
CLEARNESS_RANGE = (0.1, 1.0)
CLEARNESS_CARRY = 0.5  # correlation from one day to the next
MEMORY_DAYS = 5
SKY_SEED, SKY_STREAM = 1, 1

# Mean of 17 homes' load, each over its own mean, by season (winter, spring, summer, autumn) and Pacific hour.
# fmt: off
HOME_LOAD = np.array([
    [0.87, 0.83, 0.86, 0.88, 0.96, 1.1, 1.02, 1.21, 1.34, 1.36, 1.22, 1.14,
     1.07, 0.97, 0.87, 0.87, 1, 1.09, 1.2, 1.24, 1.13, 1.05, 0.95, 0.91],
    [0.58, 0.5, 0.47, 0.47, 0.48, 0.53, 0.59, 0.69, 0.88, 1.07, 1.25, 1.18,
     1.22, 1.12, 1.06, 0.99, 0.93, 0.89, 0.8, 0.88, 0.89, 0.76, 0.68, 0.64],
    [0.98, 0.8, 0.69, 0.61, 0.56, 0.56, 0.58, 0.69, 0.87, 1.1, 1.46, 1.66,
     1.79, 1.77, 1.79, 1.83, 1.91, 1.87, 1.77, 1.59, 1.39, 1.31, 1.25, 1.14],
    [0.67, 0.57, 0.51, 0.49, 0.49, 0.52, 0.62, 0.7, 0.89, 1.09, 1.23, 1.19,
     1.17, 1.12, 1.06, 1.06, 1.14, 1.08, 1.06, 1.05, 1.03, 0.95, 0.85, 0.77],
])
# fmt: on

# No metered business is at hand. Assumption: offices and shops, open 8-18 on weekdays, at half of that at weekends.
BUSINESS_WEEKDAY = np.array([0.6] * 6 + [0.8, 1.1] + [1.6] * 10 + [1.3, 1.1, 0.9, 0.8, 0.7, 0.6])
BUSINESS_WEEKEND = np.array([0.6] * 8 + [0.8] * 10 + [0.7] * 2 + [0.6] * 4)
BUSINESS_SEASON = np.array([0.95, 0.95, 1.15, 1.0])  # cooling in summer; assumption
BUSINESS_YEAR_MEAN = 1.011  # of the three lines above over a year


def _season(market_date: date) -> int:
    """0 winter (December to February), 1 spring, 2 summer, 3 autumn."""
    return market_date.month % 12 // 3


def clear_sky(market_date: date, latitude_deg: float = LATITUDE_DEG, longitude_deg: float = LONGITUDE_DEG) -> Floats:
    """Output under a clear sky, kW per kW installed, mean of each of the day's 23, 24 or 25 hours.

    Solar position: Spencer's series (1971) for declination and equation of time. Irradiance: Haurwitz's clear-sky model
    (1945), its beam turned onto the tilted panel, its diffuse part seen by the panel's share of the sky.
    """
    hours = market_hours(market_date).height
    minutes = (np.arange(hours * STEPS_PER_HOUR) + 0.5) * 60 / STEPS_PER_HOUR
    start = local_midnight_utc(market_date)
    utc_hour = start.hour + minutes / 60

    year_angle = 2 * np.pi * (market_date.timetuple().tm_yday - 1 + utc_hour / 24) / 365
    cos1, sin1, cos2, sin2 = np.cos(year_angle), np.sin(year_angle), np.cos(2 * year_angle), np.sin(2 * year_angle)
    declination = 0.006918 - 0.399912 * cos1 + 0.070257 * sin1 - 0.006758 * cos2 + 0.000907 * sin2
    equation_of_time_h = (
        229.18 * (0.000075 + 0.001868 * cos1 - 0.032077 * sin1 - 0.014615 * cos2 - 0.040849 * sin2) / 60
    )
    hour_angle = np.radians(15 * (utc_hour + longitude_deg / 15 + equation_of_time_h - 12))

    def cosine_of_incidence(at_deg: float) -> Floats:
        latitude = np.radians(at_deg)
        across: Floats = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(
            hour_angle
        )
        return across.clip(min=0.0)

    zenith = cosine_of_incidence(latitude_deg)
    panel = np.where(zenith > 0, cosine_of_incidence(latitude_deg - TILT_DEG), 0.0)  # a south tilt is a lower latitude
    safe = np.maximum(zenith, 0.02)
    horizontal = np.where(zenith > 0, 1.098 * zenith * np.exp(-0.057 / safe), 0.0)  # kW per m2
    sky_seen = (1 + np.cos(np.radians(TILT_DEG))) / 2
    tilted = horizontal * ((1 - DIFFUSE_FRACTION) * panel / safe + DIFFUSE_FRACTION * sky_seen)
    output: Floats = PERFORMANCE * tilted.reshape(hours, STEPS_PER_HOUR).mean(axis=1)
    return output


def clearness(market_date: date) -> float:
    """The day's output as a fraction of the clear sky's, drawn for the date; dull days come in runs."""
    shocks = np.array(
        [normals(SKY_SEED, market_date - timedelta(days=k), 1, SKY_STREAM)[0] for k in range(MEMORY_DAYS + 1)]
    )
    weights = CLEARNESS_CARRY ** np.arange(MEMORY_DAYS + 1)
    deviation = float(weights @ shocks / np.sqrt(weights @ weights))
    month = market_date.month - 1
    return float(np.clip(CLEARNESS[month] + CLEARNESS_DEVIATION[month] * deviation, *CLEARNESS_RANGE))


def solar_forecast(market_date: date) -> pl.DataFrame:
    """Rows of ``market.solar_forecast``: kW per kW installed for each hour of the day."""
    output = np.round(np.clip(clear_sky(market_date) * clearness(market_date), 0.0, 1.0), 5)
    return validate(SolarForecast, _named(market_hours(market_date).with_columns(solar_kw_per_kw=output), market_date))


def load_forecast(market_date: date) -> pl.DataFrame:
    """Rows of ``market.load_forecast``: load over the site's yearly mean, for homes and for businesses."""
    hours = market_hours(market_date)
    clock, season = hours["local_hour"].to_numpy(), _season(market_date)
    weekly = BUSINESS_WEEKDAY if market_date.weekday() < 5 else BUSINESS_WEEKEND
    shapes = {
        "home": HOME_LOAD[season],
        "business": weekly * BUSINESS_SEASON[season] / BUSINESS_YEAR_MEAN,
    }
    frames = [
        hours.with_columns(site_type=pl.lit(kind), load_per_mean=np.round(shape[clock], 5))
        for kind, shape in shapes.items()
    ]
    return validate(LoadForecast, _named(pl.concat(frames), market_date))


def charging_forecast(market_date: date) -> pl.DataFrame:
    """Rows of ``market.charging_forecast``: every EV needs what its row of the fleet states."""
    neutral = market_hours(market_date).with_columns(charging_per_mean=pl.lit(1.0))
    return validate(ChargingForecast, _named(neutral, market_date, "none"))


def _named(frame: pl.DataFrame, market_date: date, method: str = METHOD) -> pl.DataFrame:
    return frame.with_columns(method=pl.lit(method), made_for_date=pl.lit(market_date))
