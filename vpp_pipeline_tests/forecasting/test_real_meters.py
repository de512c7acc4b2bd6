"""Real homes and charging sessions through the same door as anybody's meters."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.forecasting.metered import series_of
from vpp_pipeline.forecasting.meters import meters_of_day
from vpp_pipeline.inputs.site_forecasts import Expected
from vpp_pipeline.settings import ForecastSettings
from vpp_pipeline_tests.forecasting.real_meters import BROKEN_PV, HOMES, SESSIONS, SETTINGS, charging, homes

needs_homes = pytest.mark.skipif(not HOMES.exists(), reason="the real homes are not at hand")
needs_sessions = pytest.mark.skipif(not SESSIONS.exists(), reason="the real charging sessions are not at hand")


@pytest.fixture(scope="module")
def real_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return homes(tmp_path_factory.mktemp("homes"))


@needs_homes
@pytest.mark.parametrize("day", [date(2016, 11, 9), date(2017, 3, 15), date(2017, 7, 10)])
def test_the_two_broken_solar_meters_are_set_aside_and_no_other(real_homes: Path, day: date):
    made = meters_of_day(real_homes, day, settings=SETTINGS)
    dim = made.quarantine.filter(pl.col("problem").str.contains("less than half"))
    assert set(dim["meter_id"]) == set(BROKEN_PV)
    assert set(made.quarantine.filter(column_name="solar_kwh")["meter_id"]) == set(BROKEN_PV)
    assert made.hours.filter(quantity="solar")["meters"].max() == 15


@needs_homes
def test_the_files_winter_clock_is_moved_to_the_right_hours(real_homes: Path):
    """In July the sun is highest near 13:00 daylight time: a file left in PST would say 12:00."""
    sun = series_of(meters_of_day(real_homes, date(2017, 7, 15)).hours, "solar")
    by_hour = sun.group_by("hour_ending").agg(pl.col("value").mean()).sort("hour_ending")
    middle = np.average(by_hour["hour_ending"] - 0.5, weights=by_hour["value"])
    assert middle == pytest.approx(13.1, abs=0.3)


@pytest.mark.slow
@needs_homes
def test_a_year_of_days_is_forecast_without_a_gap(real_homes: Path):
    """Some days; the sun to a quarter, the load to less than a quarter of its mean: as docs/forecasts.md says."""
    pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
    missed: dict[str, list[float]] = {"solar": [], "load": []}
    level: dict[str, list[float]] = {"solar": [], "load": []}
    for back in range(0, 300, 37):
        day = date(2016, 9, 15) + timedelta(days=back)
        actual = meters_of_day(real_homes, day + timedelta(days=3), settings=SETTINGS).hours
        made = Expected(day, SETTINGS, meters_of_day(real_homes, day, settings=SETTINGS), True)
        load = made.load.filter(site_type="home").sort("start_utc")["load_per_mean"]
        for name, site, values in (("solar", "all", made.solar["solar_kw_per_kw"]), ("load", "home", load)):
            seen = series_of(actual, name, site).filter(market_date=day)["value"]
            missed[name].append(float(np.abs(values.to_numpy() - seen.to_numpy()).mean()))
            level[name].append(float(seen.to_numpy().mean()))
    assert np.mean(missed["solar"]) / np.mean(level["solar"]) < 0.30
    assert np.mean(missed["load"]) / np.mean(level["load"]) < 0.26


@needs_sessions
def test_workplaces_charge_more_on_working_days(tmp_path: Path):
    file = charging(tmp_path)
    wednesday, sunday = (
        Expected(day, ForecastSettings(), meters_of_day(file, day), True).charging["charging_per_mean"].mean()
        for day in (date(2019, 6, 19), date(2019, 6, 23))
    )
    assert wednesday > 1.1
    assert sunday < 0.6
