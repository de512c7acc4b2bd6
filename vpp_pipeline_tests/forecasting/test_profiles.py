"""Solar and load profiles: the sun stands where it should, levels are those of the homes, the clock is Pacific."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.forecasting.profiles import clear_sky, load_forecast, solar_forecast
from vpp_pipeline.schemas import LoadForecast, SolarForecast
from vpp_pipeline_tests.cases import tries

EVERY = 5  # days; the fifth is another weekday each time
YEAR = [date(2025, 1, 1) + timedelta(days=k) for k in range(0, 365, EVERY)]
DAYS = st.dates(date(2015, 1, 1), date(2040, 12, 31))


@given(DAYS)
@tries(50)
def test_every_day_is_whole_and_valid(day: date) -> None:
    solar, load = solar_forecast(day), load_forecast(day)
    assert SolarForecast.is_valid(solar)
    assert LoadForecast.is_valid(load)
    assert solar["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    assert load.height == 2 * solar.height
    assert solar.equals(solar_forecast(day))


@pytest.mark.parametrize("day", [date(2023, 3, 12), date(2024, 11, 3), date(2025, 3, 9), date(2026, 11, 1)])
def test_clock_change_days_have_their_hours(day: date) -> None:
    assert solar_forecast(day).height == market_hours(day).height
    assert load_forecast(day).filter(pl.col("site_type") == "home").height == market_hours(day).height


@pytest.mark.parametrize(
    ("day", "noon_h"),
    [(date(2023, 12, 21), 11.84), (date(2023, 6, 21), 12.90), (date(2023, 2, 11), 12.11), (date(2023, 11, 3), 12.60)],
)
def test_the_sun_is_highest_at_solar_noon(day: date, noon_h: float) -> None:
    """Solar noon at 118 W from the almanac's equation of time (-1.9, +1.8, +14.2, -16.4 min): 12 h + 8 min·… ."""
    output = clear_sky(day)
    hours = market_hours(day)["local_hour"].to_numpy() + 0.5
    centre = (output * hours).sum() / output.sum()
    assert centre == pytest.approx(noon_h, abs=0.08)


@cache
def year_of(forecast: Callable[[date], pl.DataFrame]) -> pl.DataFrame:
    """Every fifth day of a year."""
    return pl.concat(forecast(day) for day in YEAR)


def test_dark_at_night_and_never_above_the_rating() -> None:
    solar = year_of(solar_forecast).with_columns(
        hour=pl.col("start_utc").dt.convert_time_zone("America/Los_Angeles").dt.hour()
    )
    assert solar.filter(pl.col("hour").is_in([22, 23, 0, 1, 2, 3, 4]))["solar_kw_per_kw"].max() == 0
    assert 0.7 < solar["solar_kw_per_kw"].to_numpy().max() < 0.9


def test_a_year_of_solar_is_that_of_the_homes_in_fontana() -> None:
    daily = year_of(solar_forecast).group_by("market_date").agg(pl.col("solar_kw_per_kw").sum())
    assert EVERY * daily["solar_kw_per_kw"].sum() == pytest.approx(1503, rel=0.05)  # kWh/kW, as measured there
    assert daily["solar_kw_per_kw"].to_numpy().std(ddof=1) > 0.5  # days differ


def test_load_is_about_one_over_a_year_and_homes_peak_on_summer_afternoons() -> None:
    load = year_of(load_forecast)
    means = dict(load.group_by("site_type").agg(pl.col("load_per_mean").mean()).iter_rows())
    assert means == {"home": pytest.approx(1, abs=0.01), "business": pytest.approx(1, abs=0.01)}
    july = load_forecast(date(2025, 7, 15)).filter(pl.col("site_type") == "home")["load_per_mean"].to_numpy()
    assert 12 <= int(np.argmax(july)) <= 18


def test_business_rests_at_the_weekend() -> None:
    def noon(day: date) -> float:
        rows = load_forecast(day).filter((pl.col("site_type") == "business") & (pl.col("hour_ending") == 13))
        return float(rows["load_per_mean"][0])

    assert noon(date(2025, 7, 15)) == pytest.approx(2 * noon(date(2025, 7, 19)), rel=1e-3)
