"""Sun, load and charging of a day: by which way, from nothing younger than the deadline, and what stands in."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.forecasting import profiles
from vpp_pipeline.forecasting.meters import meters_of_day
from vpp_pipeline.forecasting.solar import Panel, clear_sky
from vpp_pipeline.inputs.site_forecasts import CHARGING, LOAD, SOLAR, Expected
from vpp_pipeline.settings import ForecastSettings
from vpp_pipeline_tests.forecasting.meter_lines import DAY, FIRST, lines, write

pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
TABLES = {SOLAR: "solar", LOAD: "load", CHARGING: "charging"}


def expected(file: Path | None, day: date = DAY, lake: Lake | None = None, **settings: object) -> Expected:
    return Expected(day, ForecastSettings(**settings), meters_of_day(file, day), file is not None, lake=lake)


def kept(lake: Lake, made: Expected) -> None:
    """Keep a day's forecasts as runs do."""
    for table, name in TABLES.items():
        lake.write(table, made.market_date.isoformat(), getattr(made, name))


def methods(made: Expected) -> dict[str, set[str]]:
    return {name: set(getattr(made, name)["method"]) for name in TABLES.values()}


def test_without_meters_the_day_is_as_it_was():
    made = expected(None)
    assert made.solar.equals(profiles.solar_forecast(DAY))
    assert made.load.equals(profiles.load_forecast(DAY))
    assert set(made.charging["charging_per_mean"]) == {1.0}
    assert methods(made) == {"solar": {"profile"}, "load": {"profile"}, "charging": {"none"}}


def test_with_meters_auto_goes_by_them(tmp_path: Path):
    made = expected(write(tmp_path, lines()))
    assert methods(made) == {name: {"metered"} for name in TABLES.values()}
    home = made.load.filter(site_type="home").sort("start_utc")["load_per_mean"].to_numpy()
    np.testing.assert_allclose(home, 0.5 + np.arange(24) / 24, atol=1e-4)
    sun = made.solar["solar_kw_per_kw"].to_numpy()
    np.testing.assert_allclose(sun[9:17], 0.5 + 0.01 * np.arange(9, 17), atol=0.02)
    # by hand: a working day has 23 hours of 2 kWh and one of 0.9, of 20 such days and 8 of rest (23 of 1 and 0.9)
    mean = (20 * 46.9 + 8 * 23.9) / 28
    assert made.charging["charging_per_mean"].mean() == pytest.approx(46.9 / mean, rel=0.01)


def test_a_setting_goes_before_auto(tmp_path: Path):
    file = write(tmp_path, lines())
    made = expected(file, solar="profile", load="profile", charging="none")
    assert methods(made) == methods(expected(None))
    month = profiles.CLEARNESS[DAY.month - 1]
    sky = expected(file, solar="clear_sky")
    np.testing.assert_allclose(sky.solar["solar_kw_per_kw"], month * clear_sky(Panel(), DAY), atol=1e-5)
    bare = expected(None, solar="clear_sky", clearness=1.0, latitude_deg=38.0)
    np.testing.assert_allclose(bare.solar["solar_kw_per_kw"], clear_sky(Panel(latitude_deg=38.0), DAY), atol=1e-5)


def test_what_meters_do_not_measure_stays_as_it_was(tmp_path: Path):
    homes = (
        lines()
        .filter(pl.col("site_type") == "home")
        .select("start_utc", "meter_id", "site_type", "mean_load_kw", "load_kwh")
    )
    made = expected(write(tmp_path, homes))
    assert methods(made) == {
        "solar": {"profile"},
        "load": {"metered", "profile: no business is metered"},
        "charging": {"none"},
    }
    business = made.load.filter(site_type="business").drop("method")
    assert business.equals(profiles.load_forecast(DAY).filter(site_type="business").drop("method"))


@pytest.mark.parametrize("quantity", ["solar", "load", "charging"])
def test_metered_without_meters_is_refused(quantity: str):
    with pytest.raises(InputError, match="there is no source of meters"):
        getattr(expected(None, **{quantity: "metered"}), quantity)


def test_nothing_after_the_deadline_changes_a_forecast(tmp_path: Path):
    """Hours of D, and of D-1 from 10:00 Pacific on, may hold anything: numbers, text, faults, or nothing."""
    rows, file = lines(), write(tmp_path, lines())
    late = pl.col("start_utc") >= "2024-07-16T17:00:00Z"
    columns = ("solar_kwh", "load_kwh", "charging_kwh")
    honest = expected(file)
    before = [getattr(honest, name) for name in TABLES.values()]
    for value in ("3.3", "0", "n/a", "-5"):
        changed = rows.with_columns(
            pl.when(late).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name in columns
        )
        made = expected(write(tmp_path, changed, "changed.csv"))
        assert [getattr(made, name).equals(table) for name, table in zip(TABLES.values(), before, strict=True)] == [
            True
        ] * 3
        assert made.metered.quarantine.is_empty()
    made = expected(write(tmp_path, pl.concat([rows.filter(~late), rows.filter(late).head(5)]), "cut.csv"))
    assert made.metered.hours.equals(honest.metered.hours)
    early = pl.col("start_utc") == "2024-07-16T16:00:00Z"  # the last hour that is over: it does count
    changed = rows.with_columns(load_kwh=pl.when(early).then(pl.lit("9")).otherwise("load_kwh"))
    assert not expected(write(tmp_path, changed, "early.csv")).load.equals(before[1])


def test_the_last_good_forecast_stands_in_for_seven_days_and_no_longer(tmp_path: Path):
    file, lake = write(tmp_path, lines()), Lake(tmp_path / "lake")
    kept(lake, expected(file, lake=lake))
    file.write_text("start_utc;meter_id\n")  # the feed breaks
    for back in range(1, 8):
        made = expected(file, DAY + timedelta(days=back), lake)
        kept(lake, made)  # a stand-in is kept as well, and never stands in itself
        for table, name in TABLES.items():
            stand_in = getattr(made, name)
            assert set(stand_in["made_for_date"]) == {DAY}
            assert set(stand_in["market_date"]) == {DAY + timedelta(days=back)}
            assert stand_in["method"][0].startswith(f"last good, in place of metered: the forecast of {DAY} stands in")
            assert "columns are missing" in stand_in["method"][0]
            kind = ["hour_ending", *(["site_type"] if table == LOAD else [])]
            value = stand_in.columns[4 if table == LOAD else 3]
            original = lake.day(DAY.isoformat()).read(table)
            assert stand_in.sort(kind)[value].equals(original.sort(kind)[value])
    with pytest.raises(NoDataError, match="nor for the 7 days before"):
        _ = expected(file, DAY + timedelta(days=8), lake).solar


@pytest.mark.parametrize("name", TABLES.values())
def test_with_no_last_good_one_it_fails_and_says_why(tmp_path: Path, name: str):
    lake = Lake(tmp_path / "lake")
    kept(lake, expected(None, DAY - timedelta(days=1), lake))  # the embedded profile is no good forecast by meters
    with pytest.raises(NoDataError, match="no such file") as failed:
        getattr(expected(tmp_path / "nowhere.csv", lake=lake), name)
    assert f"no forecast for {DAY}" in str(failed.value)


def test_a_broken_feed_brings_no_failure_to_what_it_never_measured(tmp_path: Path):
    homes = (
        lines()
        .filter(pl.col("site_type") == "home")
        .select("start_utc", "meter_id", "site_type", "mean_load_kw", "load_kwh")
    )
    file, lake = write(tmp_path, homes), Lake(tmp_path / "lake")
    kept(lake, expected(file, lake=lake))
    file.unlink()
    made = expected(file, DAY + timedelta(days=1), lake)
    assert methods(made)["solar"] == {"profile"}
    assert methods(made)["charging"] == {"none"}
    by_site = dict(made.load.select("site_type", "method").unique().iter_rows())
    assert by_site["home"].startswith("last good, in place of metered")
    assert by_site["business"] == "profile: no business is metered"


def test_late_meters_still_tell_more_than_a_forecast_of_yesterday(tmp_path: Path):
    made = expected(write(tmp_path, lines(FIRST, DAY - timedelta(days=6))))
    assert methods(made) == {name: {"metered"} for name in TABLES.values()}


def test_less_than_a_week_of_charging_has_no_mean(tmp_path: Path):
    made = expected(write(tmp_path, lines(DAY - timedelta(days=4), DAY)))
    with pytest.raises(NoDataError, match="a mean day needs a week"):
        _ = made.charging


def test_without_the_extra_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for made in (
        expected(write(tmp_path, lines())),
        expected(None, solar="clear_sky"),
        expected(None, solar="weather"),
    ):
        with pytest.raises(InputError, match=r"vpp-pipeline\[solar\]"):
            _ = made.solar
    assert expected(None).solar.height == 24
