"""Prices of another clock or unit, and stores below their floors: told by checks, and nothing else is let through."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.calendar import PACIFIC, history_dates
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.market.open_source import PriceFiles, open_source
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.settings import ForecastSettings, Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.verification.inputs import (
    every_prosumer_is_physical,
    prices_are_forecast_as_asked,
    violated_preferences,
)
from vpp_pipeline_tests.examples import BATTERY, DAY, EV, SPRING, envelope, fleet_table
from vpp_pipeline_tests.examples import forecast_of as flat_forecast
from vpp_pipeline_tests.market.oasis.published import PRICES

NODE = "TH_SP15_GEN-APND"


def check_prices(history: list[pl.DataFrame], day: date, accepted: str = "") -> CheckResult:
    settings = Settings(forecast=ForecastSettings(accepted_suspicions=accepted))
    return prices_are_forecast_as_asked({"market.price_forecast": forecast_prices(day, pl.concat(history))}, settings)


def written(path: Path, day: date, change: pl.Expr) -> Path:
    """Synthetic prices of the week before, as a file, with ``change``."""
    days = [day - timedelta(days=back) for back in range(9, -1, -1)]
    rows = pl.concat(Synthetic().day(one) for one in days)
    columns = ["start_utc", "node", "energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h"]
    rows.select(columns).with_columns(change).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return path


LOCAL_AS_UTC = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC)).dt.replace_time_zone("UTC")


@pytest.mark.parametrize("day", [date(2023, 8, 15), date(2024, 1, 17), date(2024, 4, 10)])
def test_local_time_read_as_utc_is_warned_of_with_the_remedy(tmp_path: Path, day: date):
    source = open_source(written(tmp_path / "p.csv", day, LOCAL_AS_UTC))
    week = list(source.days(history_dates(day)).values())
    result = check_prices(week, day)
    assert result.is_warning
    assert "local time is probably read as UTC. Name its zone with --timezone" in result.description
    assert check_prices(week, day, "price_shape").passed
    naive = pl.read_csv(tmp_path / "p.csv").with_columns(pl.col("start_utc").str.strip_suffix("Z"))
    naive.write_csv(tmp_path / "naive.csv")
    right = open_source(PriceFiles(tmp_path / "naive.csv", str(PACIFIC)))
    assert check_prices(list(right.days(history_dates(day)).values()), day).passed


@pytest.mark.parametrize(
    ("factor", "words"), [(1e-3, "prices are probably in $/kWh"), (100.0, "prices are probably not in $/MWh")]
)
def test_prices_in_another_unit_are_warned_of(tmp_path: Path, factor: float, words: str):
    change = pl.col("energy_usd_per_mwh") * factor
    source = open_source(
        written(tmp_path / "p.csv", DAY, pl.min_horizontal(change, 4999.0).alias("energy_usd_per_mwh"))
    )
    week = list(source.days(history_dates(DAY)).values())
    result = check_prices(week, DAY)
    assert words in result.description
    assert result.is_warning
    assert check_prices(week, DAY, "price_level").passed


def test_no_week_of_generated_prices_is_suspected():
    for back in range(0, 730, 29):
        day = date(2024, 12, 20) - timedelta(days=back)
        assert check_prices([Synthetic().day(one) for one in history_dates(day)], day).passed


@pytest.mark.skipif(not PRICES.exists(), reason="the real prices are not at hand")
def test_no_week_of_real_prices_is_suspected_and_nearly_every_shifted_one():
    """The case from outside: SP15 in naive local time, whose peak of 2024-07-11 lies at 12:00 instead of 19:00."""
    source = open_source(PRICES, NODE)
    days = [date(2024, 12, 20) - timedelta(days=back) for back in range(0, 690, 23)]
    weeks = [list(source.days(history_dates(day)).values()) for day in days]
    assert all(check_prices(week, day).passed for week, day in zip(weeks, days, strict=True))
    moved = pl.col("energy_usd_per_mwh").shift(-7).forward_fill()
    early = [[pl.concat(week).with_columns(moved)] for week in weeks]
    told = [not check_prices(week, day).passed for week, day in zip(early, days, strict=True)]
    assert sum(told) >= 0.9 * len(told)


def preferences(row: dict[str, Any], change: pl.Expr | None = None, day: date = DAY) -> list[str]:
    """Faults of an owner whose envelope is as made, or changed."""
    made = envelope(row, day=day).drop("local_hour")
    tables = {"fleet.prosumers": fleet_table(row, day=day), "fleet.availability": made}
    if change is not None:
        tables["fleet.availability"] = made.with_columns(change)
    return violated_preferences(tables)["fault"].to_list()


LOW = {**EV, "capacity_kwh": 60.0, "max_charge_kw": 7.0, "initial_stored_kwh": 5.0}  # keeps 12, owes 48 at 8:00
FIRST = pl.col("start_utc") == pl.col("start_utc").min()


def test_a_floor_that_full_power_does_not_reach_is_no_fault_and_a_lower_one_is():
    assert preferences(LOW) == []
    lower = pl.when(FIRST).then(pl.col("min_stored_kwh") - 0.1).otherwise("min_stored_kwh").alias("min_stored_kwh")
    assert len(preferences(LOW, lower)) == 1
    assert preferences(LOW, lower)[0].startswith("floor below the backup reserve at ")


def test_a_ready_charge_that_full_power_reaches_may_not_be_lowered():
    early = {**LOW, "ev_ready_fraction": 0.8, "initial_stored_kwh": 11.0}
    clock = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC)).dt.hour()
    lower = pl.when(clock == 7).then(pl.col("min_stored_kwh") - 0.1).otherwise("min_stored_kwh").alias("min_stored_kwh")
    assert preferences(early) == []
    assert [fault.split(" at ")[0] for fault in preferences(early, lower)] == ["EV leaves below its ready-by charge"]


def test_a_trip_in_the_missing_hour_is_driven_or_caught():
    trip = {**EV, "ev_departure_hour": 2, "ev_arrival_hour": 3, "ev_ready_fraction": 0.5}
    assert preferences(trip, day=SPRING) == []
    assert preferences(trip, pl.lit(0.0).alias("drive_kwh"), SPRING) == ["drives 0.0 kWh instead of 9.0"]
    power = pl.lit(7.0).alias("max_charge_kw")
    assert any(fault.startswith("power limit above 0 while") for fault in preferences(trip, power, SPRING))


def test_who_is_below_a_floor_is_told_and_does_not_hold_the_bids_back():
    made = envelope(LOW, BATTERY).drop("local_hour")
    prices = flat_forecast(50.0)
    day = {
        "fleet.prosumers": fleet_table(LOW, BATTERY | {"site_id": "site_2"}),
        "fleet.availability": made,
        "market.price_forecast": prices,
    }
    result = every_prosumer_is_physical(day, Settings())
    assert (result.is_warning, result.violations, result.passed) == (True, 1, False)
    assert result.description == (
        "1 prosumer(s) below a floor that charging at full power does not reach in time; first: prosumer_1 has 11.3 "
        "kWh at the end of the hour from 2023-08-15 00:00 Pacific"
    )
    lower = day | {"fleet.availability": made.with_columns(min_stored_kwh=pl.lit(0.0))}
    assert not every_prosumer_is_physical(lower, Settings()).is_warning  # a fault that holds them back
    none = day | {"fleet.availability": envelope(BATTERY).drop("local_hour"), "fleet.prosumers": fleet_table(BATTERY)}
    assert every_prosumer_is_physical(none, Settings()).passed
