"""Days that rest on meters, as Dagster runs them: what goes by them, what is stale, what stands in and who says so."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.evaluation.backtest.plans import without_preferences
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.settings import Settings
from vpp_pipeline_tests.defs.desk import DAY, GRAPH, SMALL, TradingDesk, evaluations, failures, metadata_of, new_desk
from vpp_pipeline_tests.forecasting.meter_lines import lines, write

pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
TODAY, NEXT = date.fromisoformat(DAY), "2023-08-16"
FIRST = TODAY - timedelta(days=30)
FORECASTS = tuple(f"market.{name}_forecast" for name in ("solar", "load", "charging"))
METERS = ("market.metered_hours", "market.meter_quarantine")
HOMES_ONLY = {**SMALL, "fleet": {"prosumers": 20}}


@pytest.fixture(scope="module")
def made_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[TradingDesk, Path]:
    """A whole day by meters: a desk, and its file of meters, which holds hours long after the deadline as well."""
    file = write(tmp_path_factory.mktemp("meters"), lines(FIRST, TODAY + timedelta(days=2)))
    desk = new_desk(settings=HOMES_ONLY, prices={"meters": str(file)})
    result = desk.run()
    assert result.success, failures(result)
    found = evaluations(result)
    for check in ("meters_are_whole_and_up_to_date", "solar_is_forecast_as_asked", "the_load_is_forecast_as_asked"):
        assert found[check].passed, found[check].description
    return desk, file


@pytest.fixture
def desk(made_day: tuple[TradingDesk, Path], tmp_path: Path) -> tuple[TradingDesk, Path]:
    """The same with a folder, a file and a history of its own."""
    made, file = made_day
    own = tmp_path / "meters.csv"
    shutil.copyfile(file, own)
    return new_desk(shutil.copytree(made.data, tmp_path / "data"), HOMES_ONLY, {"meters": str(own)}), own


def test_a_day_by_meters_is_published_with_what_it_rests_on(made_day: tuple[TradingDesk, Path]):
    desk, _ = made_day
    by_method = desk.sql("select distinct method from market.solar_forecast")
    assert by_method == [("metered",)]
    ((hours, newest),) = desk.sql("select count(*), max(start_utc) from market.metered_hours")
    assert hours == 4 * (28 * 24 + 10)
    assert f"{newest:%Y-%m-%d %H:%M}" in {"2023-08-14 16:00", "2023-08-14 09:00"}  # by the session's clock
    assert {row["prosumer_id"] for row in desk.day()["fleet.availability"].iter_rows(named=True)}


def test_what_evs_drive_follows_the_forecast_of_charging(made_day: tuple[TradingDesk, Path]):
    desk, _ = made_day
    level = desk.day()["market.charging_forecast"]["charging_per_mean"].mean()
    assert level == pytest.approx(1.16, abs=0.02)  # a Tuesday, and rest days charge half
    driven = desk.day()["fleet.availability"].group_by("prosumer_id").agg(pl.col("drive_kwh").sum())
    stated = desk.day()["fleet.prosumers"].filter(store="ev").join(driven, on="prosumer_id")
    assert stated.height
    for row in stated.iter_rows(named=True):
        assert row["drive_kwh"] == pytest.approx(level * row["ev_drive_kwh"])


@pytest.mark.slow
def test_the_back_test_reads_meters_as_well(made_day: tuple[TradingDesk, Path]):
    desk, file = made_day
    settings, table = Settings.model_validate(HOMES_ONLY), "fleet.availability"
    tables = DayInputs(TODAY, settings, None, None, None, meters=file).tables()
    assert tables[table].equals(desk.day()[table])
    assert not DayInputs(TODAY, settings, None, None, None).tables()[table].equals(tables[table])
    assert without_preferences(tables)[table]["load_kw"].equals(tables[table]["load_kw"])


def stale(desk: TradingDesk) -> set[str]:
    resolver = CachingStaleStatusResolver(desk.instance, GRAPH, LoadingContextForTest(desk.instance))
    tables = (*METERS, *FORECASTS, "fleet.prosumers", "fleet.availability")
    return {table for table in tables if resolver.get_status(key_of(table), DAY) == StaleStatus.STALE}


def test_corrected_meters_make_the_forecasts_stale_and_the_same_ones_nothing(desk: tuple[TradingDesk, Path]):
    """Made again: unchanged hours keep their data version; corrected ones make all that rests on them stale."""
    made, file = desk
    assert made.materialise(*METERS, *FORECASTS, "fleet.prosumers", "fleet.notes", "fleet.quarantine").success
    assert made.materialise("fleet.availability").success
    assert stale(made) == set()
    assert made.materialise(*METERS).success
    assert stale(made) == set()
    late = pl.col("start_utc") >= "2023-08-14T17:00:00Z"
    rows = pl.read_csv(file, infer_schema=False)
    write(file.parent, rows.with_columns(load_kwh=pl.when(late).then(pl.lit("9")).otherwise("load_kwh")), file.name)
    assert made.materialise(*METERS).success
    assert stale(made) == set()  # hours after the deadline are nothing to this day
    early = pl.col("start_utc") == "2023-08-10T19:00:00Z"
    write(file.parent, rows.with_columns(load_kwh=pl.when(early).then(pl.lit("3")).otherwise("load_kwh")), file.name)
    assert made.materialise(*METERS).success
    assert set(FORECASTS) <= stale(made)
    assert made.materialise(*FORECASTS).success
    assert {"fleet.prosumers", "fleet.availability"} <= stale(made)


def test_where_meters_fail_the_last_good_forecast_stands_in_and_a_warning_says_which_why_and_how_old(
    desk: tuple[TradingDesk, Path],
):
    made, file = desk
    file.write_text("the feed is broken\n")
    result = made.make("fleet.availability", "market.price_forecast", *FORECASTS, *METERS, day=NEXT)
    assert result.success, failures(result)
    found = evaluations(result)
    for check, days in (("solar", 1.0), ("the_load", 1.0), ("charging", 1.0)):
        answer = found[f"{check}_is_forecast_as_asked"]
        assert (answer.passed, answer.severity, answer.metadata["forecast_age_days"].value) == (
            False,
            dg.AssetCheckSeverity.WARN,
            days,
        )
        words = answer.description or ""
        assert "the forecast of 2023-08-15 stands in for 2023-08-16" in words
        assert "unknown columns" in words
        assert "1 days old" in words
    meters = found["meters_are_whole_and_up_to_date"]
    assert (meters.passed, meters.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "every meter" in (meters.description or "")
    assert metadata_of(result, "market.solar_forecast")["age_days"] == 1
    before = made.day()["market.load_forecast"].sort("site_type", "hour_ending")["load_per_mean"]
    after = made.day(NEXT)["market.load_forecast"].sort("site_type", "hour_ending")["load_per_mean"]
    assert after.equals(before)
    assert after.min() > 0.0  # type: ignore[operator]


def test_with_no_last_good_one_the_run_fails_before_it_writes(tmp_path: Path):
    file = tmp_path / "meters.csv"
    file.write_text("the feed is broken\n")
    fresh = new_desk(settings=HOMES_ONLY, prices={"meters": str(file)})
    result = fresh.run()
    assert not result.success
    assert any(f"no forecast for {DAY} nor for the 7 days before" in words for words in failures(result).values())
    assert not list(fresh.data.rglob("*.parquet"))


def test_a_broken_meter_is_warned_of_and_the_others_go_on(desk: tuple[TradingDesk, Path]):
    made, file = desk
    here = (pl.col("meter_id") == "b") & (pl.col("start_utc") == "2023-08-10T19:00:00Z")
    write(file.parent, pl.read_csv(file, infer_schema=False).filter(~here), file.name)
    result = made.materialise(*METERS)
    answer = evaluations(result)["meters_are_whole_and_up_to_date"]
    assert not answer.passed
    assert "b, load_kwh: an hour is missing" in (answer.description or "") or "b, solar_kwh" in (
        answer.description or ""
    )
    assert "of meters.csv" in (answer.description or "")


def test_late_meters_are_warned_of(desk: tuple[TradingDesk, Path]):
    made, file = desk
    write(
        file.parent,
        pl.read_csv(file, infer_schema=False).filter(pl.col("start_utc") < "2023-08-11T07:00:00Z"),
        file.name,
    )
    answer = evaluations(made.materialise(*METERS))["meters_are_whole_and_up_to_date"]
    assert not answer.passed
    assert "is late: its newest hour ends 82 hours before bids close" in (answer.description or "")
