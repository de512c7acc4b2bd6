"""The system's outlook: load, sun and wind as OASIS forecast them before bids close, as inputs of LEAR."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours, outlook_published_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.forecasting.price_boosted import LAG_DAYS
from vpp_pipeline.forecasting.price_lear import LEARNS_DAYS, METHOD, WITH_OUTLOOK, learn_lear, outlook_features
from vpp_pipeline.forecasting.price_models import learn_average, past_forecasts
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.settings import ForecastSettings, Settings
from vpp_pipeline_tests.forecasting.price_history import before, day_of_prices
from vpp_pipeline_tests.market.oasis.desk import prices_of, quick
from vpp_pipeline_tests.market.oasis.published import generated, outlook
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving

DAY, SPRING, AUTUMN = date(2024, 7, 11), date(2024, 3, 10), date(2024, 11, 3)
SUNDAY = date(2024, 7, 14)


@pytest.fixture
def oasis() -> Iterator[LocalOasis]:
    with serving(LocalOasis(generated(), outlook=outlook)) as found:
        yield found


@pytest.mark.parametrize("day", [DAY, SPRING, AUTUMN])
def test_it_is_what_was_published_hour_by_hour(oasis: LocalOasis, tmp_path: Path, day: date):
    source = prices_of(oasis, tmp_path)
    found = source.outlook(day, may_ask=True)
    assert found is not None
    labels = market_hours(day)["hour_ending"]
    assert found["hour_ending"].to_list() == labels.to_list()
    by_label = {row["hour_ending"]: row for row in found.iter_rows(named=True)}
    assert by_label[12]["load_mw"] == 32_000.0
    assert by_label[12]["solar_mw"] == pytest.approx(400.0 * 12 + 50.0)
    assert by_label[1]["solar_mw"] == pytest.approx(-4.5)  # plants draw power at night
    assert by_label[1]["wind_mw"] == 800.0
    assert oasis.reports == ["SLD_FCST", "SLD_REN_FCST"]
    assert source.outlook(day).equals(found)  # from the copy
    assert source.outlooks([day - timedelta(days=1), day]).equals(found)
    assert len(oasis.asked) == 2
    assert ParquetFolder(tmp_path / "archive").read("oasis.sld_fcst", f"2DA|{day}").height == 2 * labels.len()


def test_both_are_out_before_bids_close_and_not_asked_for_before(oasis: LocalOasis, tmp_path: Path):
    assert outlook_published_utc(DAY) < bid_deadline_utc(DAY)
    early = prices_of(oasis, tmp_path, now=lambda: outlook_published_utc(DAY) - timedelta(minutes=1))
    assert early.outlook(DAY, may_ask=True) is None
    assert prices_of(oasis, tmp_path, now=lambda: outlook_published_utc(DAY)).outlook(DAY) is None  # may not ask
    assert not oasis.asked
    assert prices_of(oasis, tmp_path, now=lambda: outlook_published_utc(DAY)).outlook(DAY, may_ask=True) is not None


def test_the_load_of_seven_days_ahead_stands_in_for_that_of_two(oasis: LocalOasis, tmp_path: Path):
    oasis.outlook = lambda day, run: None if run == "2DA" else outlook(day, run)
    found = prices_of(oasis, tmp_path).outlook(DAY, may_ask=True)
    assert found is not None
    assert found["load_mw"][0] == 21_500.0
    assert prices_of(oasis, tmp_path).outlooks([DAY]).equals(found)


@pytest.mark.parametrize("missing", ["DAM", "both loads"])
def test_without_a_part_there_is_no_outlook(oasis: LocalOasis, tmp_path: Path, missing: str):
    oasis.outlook = lambda day, run: outlook(day, run) if (run == "DAM") == (missing == "both loads") else None
    assert prices_of(oasis, tmp_path).outlook(DAY, may_ask=True) is None


def test_an_hour_that_is_missing_is_asked_for_again(oasis: LocalOasis, tmp_path: Path):
    oasis.faults = ["missing hour"]
    assert prices_of(oasis, tmp_path).outlook(DAY, may_ask=True) is not None
    assert oasis.reports == ["SLD_FCST"] * 2 + ["SLD_REN_FCST"]


def test_a_day_does_not_wait_long_for_it(oasis: LocalOasis, tmp_path: Path):
    oasis.luck = lambda: "503"
    assert prices_of(oasis, tmp_path).outlook(DAY, may_ask=True) is None
    assert oasis.reports == ["SLD_FCST"] * 4  # two attempts of each run, of six that the settings allow


def test_a_hub_that_is_missing_is_no_zero(oasis: LocalOasis, tmp_path: Path):
    oasis.outlook = lambda day, run: [row for row in outlook(day, run) if "ZP26" not in row]
    assert prices_of(oasis, tmp_path, attempts=2).outlook(DAY, may_ask=True) is None


def test_a_damaged_copy_is_named(oasis: LocalOasis, tmp_path: Path):
    source = prices_of(oasis, tmp_path)
    source.outlook(DAY, may_ask=True)
    archive = ParquetFolder(tmp_path / "archive")
    rows = archive.read("oasis.sld_fcst", f"2DA|{DAY}")
    archive.write("oasis.sld_fcst", f"2DA|{DAY}", rows.with_columns(MW=pl.lit("")))
    with pytest.raises(InputError, match=r"our copy of 2024-07-11 is not whole: 24 of 24 forecasts are missing"):
        source.outlook(DAY)
    assert source.outlooks([DAY]).is_empty()  # an empty number is no zero


def test_a_range_is_kept_in_as_few_questions_as_there_may_be(oasis: LocalOasis, tmp_path: Path):
    days = [DAY + timedelta(days=k) for k in range(40)]
    source = prices_of(oasis, tmp_path, outlook=True)
    source.prefetch(days)
    assert oasis.reports.count("SLD_FCST") == oasis.reports.count("SLD_REN_FCST") == 2  # 31 days and 9
    assert source.outlooks(days)["market_date"].n_unique() == 40
    assert prices_of(oasis, tmp_path / "other").prefetch(days[:5]) == 5  # off: prices alone
    assert oasis.reports[-1] == "PRC_LMP"


@pytest.mark.parametrize("is_on", [True, False])
def test_a_day_asks_for_its_own_outlook_where_the_setting_is_on(oasis: LocalOasis, tmp_path: Path, is_on: bool):
    day = DayInputs(
        DAY, Settings(forecast=ForecastSettings(price="lear")), quick(oasis, tmp_path, outlook=is_on), None, None
    )
    asked = day._outlook(30)
    assert oasis.reports == (["SLD_FCST", "SLD_REN_FCST"] if is_on else [])
    assert (asked is not None) == is_on


def _system(seed: int = 5) -> tuple[dict[date, pl.DataFrame], pl.DataFrame]:
    """240 days whose energy price is $1 per GW of net load above 20 GW, which nothing in past prices tells."""
    rng = np.random.default_rng(seed)
    days, rows = {}, []
    for back in range(240, -1, -1):
        day = SUNDAY - timedelta(days=back)
        hours = market_hours(day)
        net = rng.uniform(20_000.0, 60_000.0) + np.zeros(hours.height)
        days[day] = day_of_prices(day, (net - 20_000.0) / 1_000.0)
        rows.append(
            hours.select("market_date", "hour_ending").with_columns(
                load_mw=pl.Series(net + 9_000.0), solar_mw=pl.lit(6_000.0), wind_mw=pl.lit(3_000.0)
            )
        )
    return days, pl.concat(rows)


def test_features_are_what_sun_and_wind_leave_and_the_two():
    rows = pl.DataFrame({"market_date": [SUNDAY] * 24, "hour_ending": range(1, 25)}).with_columns(
        load_mw=pl.lit(30_000.0), solar_mw=pl.lit(8_000.0), wind_mw=pl.lit(2_000.0)
    )
    found = outlook_features([SUNDAY, SUNDAY + timedelta(days=1)], rows)
    assert found[0].tolist() == [20.0] * 24 + [10.0] * 24
    assert np.isnan(found[1]).all()
    assert np.isnan(outlook_features([SUNDAY], None)).all()


def test_what_the_system_tells_and_past_prices_do_not_is_learnt():
    days, system = _system()
    history, lags = before(days, SUNDAY, LEARNS_DAYS), before(days, SUNDAY, LAG_DAYS)
    actual = days[SUNDAY]["energy_usd_per_mwh"].to_numpy()
    blind, seeing = learn_lear(SUNDAY, history), learn_lear(SUNDAY, history, system)
    plain, informed = blind.forecast(SUNDAY, lags), seeing.forecast(SUNDAY, lags)
    missed = [np.abs(found["energy_usd_per_mwh"].to_numpy() - actual).mean() for found in (plain, informed)]
    assert missed[1] < 2.5 < missed[0]
    assert informed["method"][0] == f"{METHOD}{WITH_OUTLOOK}"
    assert learn_average(SUNDAY, history, system).forecast(SUNDAY, lags)["method"][0].endswith(WITH_OUTLOOK)


def test_a_day_without_an_outlook_is_forecast_as_if_there_were_none():
    days, system = _system()
    history, lags = before(days, SUNDAY, LEARNS_DAYS), before(days, SUNDAY, LAG_DAYS)
    plain = learn_lear(SUNDAY, history).forecast(SUNDAY, lags)
    no_day = system.filter(pl.col("market_date") < SUNDAY)
    few = system.filter(pl.col("market_date") > SUNDAY - timedelta(days=100))
    for known in (no_day, few):
        assert learn_lear(SUNDAY, history, known).forecast(SUNDAY, lags).equals(plain)


def test_the_outlook_of_later_days_changes_nothing():
    days, system = _system()
    day = SUNDAY - timedelta(days=5)
    history, lags = before(days, day, LEARNS_DAYS), before(days, day, LAG_DAYS)
    later = pl.col("market_date") > day
    changed = system.with_columns(load_mw=pl.when(later).then(99_000.0).otherwise("load_mw"))
    first, second = (learn_lear(day, history, rows).forecast(day, lags) for rows in (system, changed))
    assert first.equals(second)
    full = before(days, SUNDAY, LEARNS_DAYS)
    by_day = {date_: days[date_] for date_ in days if date_ < SUNDAY}
    expect = past_forecasts(SUNDAY, learn_lear(SUNDAY, full, system), by_day, 10)
    assert expect(day) is not None
