"""Stored energy from one day to the next: a setting, without harm to repetitions or to a single day made again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.defs.dispatch import SOLVED
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.defs.desk import DAY, TradingDesk, differences, evaluations, failures, new_desk, small_desk

NEXT, LATER = "2023-08-16", "2023-08-17"
CARRY: dict[str, Any] = {"fleet": {"prosumers": 30, "carry_over": True}}


def starts(desk: TradingDesk, day: str) -> pl.DataFrame:
    return desk.day(day)["dispatch.starts"]


def ends(desk: TradingDesk, day: str) -> list[float]:
    """Stored energy of each prosumer when the day ends."""
    rows = desk.day(day)["dispatch.schedule"].sort("prosumer_id", "start_utc")
    return rows.group_by("prosumer_id", maintain_order=True).agg(pl.col("stored_kwh").last())["stored_kwh"].to_list()


@pytest.fixture(scope="module")
def carried() -> TradingDesk:
    """Two days in a row, the second from what the first leaves."""
    desk = small_desk()  # nothing is carried into the first day
    result = desk.run(day=NEXT, settings=CARRY)
    assert result.success, failures(result)
    return desk


def test_the_first_day_begins_as_stated_and_the_next_where_it_ended(carried: TradingDesk):
    first, second = starts(carried, DAY), starts(carried, NEXT)
    assert first["carried_from"].null_count() == first.height
    assert second["carried_from"].cast(pl.String).unique().to_list() == [DAY]
    assert second["initial_stored_kwh"].to_list() == pytest.approx(ends(carried, DAY), abs=1e-9)
    # every store is owed its start at the day's end, so nobody begins with less than was negotiated from
    stated = carried.day(NEXT)["fleet.prosumers"]["initial_stored_kwh"]
    assert (second["initial_stored_kwh"] >= stated - 1e-6).all()


def test_every_rule_holds_from_the_carried_start(carried: TradingDesk):
    settings = Settings.model_validate(CARRY)
    for day in (DAY, NEXT):
        results = verify(carried.day(day), settings)
        assert [v.description for v in results.values() if not v.passed and not v.is_warning] == []


def test_the_chain_without_dagster_begins_where_the_published_day_before_ended(carried: TradingDesk):
    settings = Settings.model_validate(CARRY)
    inputs = DayInputs(date.fromisoformat(NEXT), settings, None, None, None, lake=carried.lake)
    day, problem = prepare_problem(inputs.tables(), settings)
    assert day["dispatch.starts"].equals(starts(carried, NEXT))
    assert problem.fleet.initial_stored_kwh.tolist() == pytest.approx(ends(carried, DAY), abs=1e-9)


def test_the_day_before_made_again_alone_leaves_the_next_as_it_is_and_warns_there(carried: TradingDesk):
    desk = carried.copy()
    before = desk.tables(NEXT)
    assert desk.run(day=DAY, settings={"fleet": {**CARRY["fleet"], "initial_stored_fraction": 0.6}}).success
    assert differences(before, desk.tables(NEXT)) == []
    result = desk.check("dispatch.starts", NEXT)["initial_state_of_charge_is_as_stated_or_carried_over"]
    assert not result.passed
    assert result.severity.value == "WARN"
    assert "a replaced schedule of the day before" in result.description


def test_a_day_made_again_is_the_same_whatever_a_run_of_the_day_before_left_unpublished(carried: TradingDesk):
    desk, before = carried.copy(), ends(carried, DAY)
    schedule = desk.lake.day(DAY).read("dispatch.schedule")
    desk.lake.day(DAY, "stopped").write("dispatch.schedule", schedule.with_columns(pl.col("stored_kwh") * 1.01))
    assert replace(desk, settings=CARRY).materialise(*SOLVED.values(), partition=NEXT).success
    assert starts(desk, NEXT)["initial_stored_kwh"].to_list() == pytest.approx(before, abs=1e-9)
    assert differences(carried.tables(NEXT), desk.tables(NEXT)) == []


@pytest.mark.slow
def test_without_the_setting_every_day_stands_alone(carried: TradingDesk):
    desk = carried.copy()
    result = desk.make(*SOLVED.values(), day=NEXT, settings={"fleet": {"prosumers": 30}})
    assert result.success, failures(result)
    assert starts(desk, NEXT)["carried_from"].null_count() == 30


@pytest.mark.slow
def test_a_store_that_owes_less_than_it_starts_with_is_set_aside_and_a_gap_begins_as_stated(carried: TradingDesk):
    desk = new_desk()
    desk.data.mkdir(exist_ok=True)
    fleet = carried.day(DAY)["fleet.prosumers"].drop("market_date", "resource_id")
    # the first one owes as little as its backup reserve
    low = pl.col("backup_reserve_fraction") * pl.col("capacity_kwh")
    first = pl.col("prosumer_id") == "prosumer_001"
    file = desk.data / "fleet.csv"
    fleet.with_columns(terminal_stored_kwh=pl.when(first).then(low).otherwise("terminal_stored_kwh")).write_csv(file)
    settings = {"fleet": {"path": str(file), "carry_over": True}}
    result = desk.make("dispatch.starts", day=LATER, settings=settings)
    assert result.success, failures(result)
    assert starts(desk, LATER)["carried_from"].null_count() == starts(desk, LATER).height == 29
    (row,) = desk.day(LATER)["fleet.quarantine"].rows(named=True)
    assert (row["prosumer_id"], row["column_name"], row["file_row"]) == ("prosumer_001", "terminal_stored_kwh", 2)
    assert "carry_over" in row["problem"]
    found = evaluations(result)["every_prosumer_of_the_file_takes_part"]
    assert not found.passed
    assert key_of("fleet.quarantine") == found.asset_key
