"""Days replayed into the lake: every arm on a small fleet, and a run that goes on where it was stopped."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import CLASSES_BEFORE, Day
from vpp_pipeline.evaluation.backtest.run import TABLE, PastDays, replay, replay_days
from vpp_pipeline.evaluation.backtest.strategies import ARMS, BEST, OURS
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.settings import FleetSettings, OptimiserSettings, Settings
from vpp_pipeline.warehouse.publish import publish_tables
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.cases import seeds

SETTINGS = Settings(
    fleet=FleetSettings(prosumers=20, business_sites=4), optimiser=OptimiserSettings(time_limit_seconds=1.0)
).hour_by_hour()
FIRST = date(2023, 8, 15)
DAYS = [FIRST + timedelta(days=k) for k in range(3)]
ARM = ["greedy"]


@cache
def read(day: date) -> tuple[Day, pl.DataFrame]:
    found = DayInputs(day, SETTINGS, None, None, None).tables()
    return found, Synthetic(found["market.price_forecast"]["node"][0]).day(day)


@cache
def all_arms() -> pl.DataFrame:
    return replay(*read(FIRST), SETTINGS, list(ARMS))


def test_every_arm_answers_on_the_same_day():
    rows = all_arms()
    assert set(rows["arm"]) == set(ARMS)
    for shared in ("no_sale_usd", "present", "fleet_kw", "feasible_80", "feasible_100"):
        assert rows[shared].n_unique() == 1


def test_arms_that_heed_wishes_break_none():
    heeding = [arm for arm in ARMS if arm not in ("centralised_no_wishes", BEST, "original")]
    assert all_arms().filter(pl.col("arm").is_in(heeding))["violations"].to_list() == [0] * len(heeding)


def test_nobody_is_worth_more_than_perfect_foresight():
    rows = all_arms()
    assert rows.filter(arm=BEST)["net_usd"][0] >= rows["net_usd"].max() - 1e-6
    assert rows.filter(arm=BEST)["net_usd"][0] >= rows["value_usd"].max() - 1e-6


@pytest.mark.parametrize("seed", seeds(range(6)))
def test_no_arm_exceeds_the_bound_at_prices_that_nobody_expected(seed: int):
    """Prices drawn anew: spikes, hours below zero, dear reserve; the plans are those of the forecast."""
    inputs, prices = read(FIRST)
    rng = np.random.default_rng(seed)
    hours = prices.height
    energy = rng.normal(40.0, 40.0, hours) + rng.choice([0.0, 800.0], hours, p=[0.9, 0.1])
    spin, nonspin = rng.exponential(20.0, hours), rng.exponential(10.0, hours)
    drawn = prices.with_columns(
        energy_usd_per_mwh=pl.Series(energy), spin_usd_per_mw_h=pl.Series(spin), nonspin_usd_per_mw_h=pl.Series(nonspin)
    )
    rows = replay(inputs, drawn, SETTINGS, ["indexed", "indexed_posted", "greedy", "centralised_recourse", BEST])
    best = rows.filter(arm=BEST)["net_usd"][0]
    assert rows["value_usd"].max() <= best + 1e-6
    assert rows.filter(pl.col("arm") != BEST)["violations"].sum() == 0


def test_the_money_of_each_row_adds_up():
    costs = ("charging_usd", "imbalance_usd", "payments_usd", "no_sale_usd")
    net = pl.sum_horizontal("energy_usd", "reserve_usd", "leftover_usd") - pl.sum_horizontal(costs)
    assert all_arms().select((net - pl.col("net_usd")).abs().max()).item() < 1e-9
    value = pl.col("net_usd") + pl.col("surplus_usd") - pl.col("value_usd")
    assert all_arms().select(value.abs().max()).item() < 1e-9


def test_least_prices_leave_owners_no_surplus_and_ours_some():
    surplus = dict(all_arms().select("arm", "surplus_usd").iter_rows())
    assert surplus["centralised"] == pytest.approx(0.0, abs=1e-9)
    assert all(surplus[arm] > 0.0 for arm in OURS)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path):
    lake, asked = Lake(tmp_path / "lake"), []

    def reads(day: date) -> tuple[Day, pl.DataFrame]:
        asked.append(day)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return read(day)

    with pytest.raises(KeyboardInterrupt):
        replay_days(DAYS, reads, SETTINGS, ARM, lake, "s", lambda day: None)
    assert lake.days_of(TABLE) == [FIRST.isoformat()]
    told: list[date] = []
    assert replay_days(DAYS, reads, SETTINGS, ARM, lake, "s", told.append) == DAYS[1:]
    assert asked == [DAYS[0], DAYS[1], DAYS[1], DAYS[2]]
    assert told == DAYS
    assert replay_days(DAYS, reads, SETTINGS, ARM, lake, "s", told.append) == []


def test_other_settings_are_another_back_test(tmp_path: Path):
    lake, stricter = (
        Lake(tmp_path / "lake"),
        SETTINGS.model_copy(update={"settlement": SETTINGS.settlement.model_copy(update={"imbalance_factor": 2.0})}),
    )
    for settings in (SETTINGS, stricter):
        assert replay_days(DAYS[:1], read, settings, ARM, lake, "s", lambda day: None) == DAYS[:1]


def test_other_classes_of_storage_resources_are_another_back_test(tmp_path: Path):
    """They are of a range's first day, so that another range may not take over the days of this one."""
    lake = Lake(tmp_path / "lake")
    for shape in (1.0, 2.0):
        classes = {CLASSES_BEFORE: pl.DataFrame({"shape_kwh": [shape]})}
        for new in (DAYS[:1], []):
            assert replay_days(DAYS[:1], read, SETTINGS, ARM, lake, "s", lambda day: None, classes=classes) == new


def test_a_day_is_published(tmp_path: Path):
    lake = Lake(tmp_path / "lake")
    replay_days(DAYS[:1], read, SETTINGS, ARM, lake, "s", lambda day: None)
    publish_tables(lake, tmp_path / "vpp.duckdb", [FIRST], [TABLE])
    with open_warehouse(tmp_path / "vpp.duckdb") as connection:
        assert connection.execute("select arm from evaluation.benchmark").fetchall() == [("greedy",)]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path):
    days = PastDays(DayInputs(FIRST, SETTINGS, None, None, None))
    alone, together = Lake(tmp_path / "alone"), Lake(tmp_path / "together")
    told: list[date] = []
    replay_days(DAYS[:2], days, SETTINGS, ARM, alone, "s", lambda day: None)
    replay_days(DAYS[:2], days, SETTINGS, ARM, together, "s", told.append, workers=2)
    assert sorted(told) == DAYS[:2]
    for day in DAYS[:2]:
        one, other = (lake.day(day.isoformat()).read(TABLE).drop("seconds") for lake in (alone, together))
        assert one.equals(other)
