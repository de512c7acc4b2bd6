"""A day that no schedule can keep: it stops before anything is bid, and the reasons can be queried."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.defs.bids import BIDS
from vpp_pipeline.defs.dispatch import SOLVED
from vpp_pipeline.warehouse.day import BY_HAND
from vpp_pipeline_tests.defs.desk import DAY, TradingDesk, failures, files, made, small_desk

SOLUTION = list(SOLVED.values())
REASONS = "select prosumer_id, limit_name, round(shortfall_kwh, 3) from dispatch.infeasibilities"


@pytest.fixture(scope="module")
def desk() -> TradingDesk:
    return small_desk()


def ask_too_much(desk: TradingDesk) -> tuple[str, float]:
    """By hand, in the lake: one battery owes 2.5 kWh more than its size in the last hour. Its id, and what it lacks."""
    hourly = desk.day()["fleet.availability"]
    victim = desk.day()["fleet.prosumers"].filter(store="battery").row(3, named=True)
    last = hourly["start_utc"].max()
    asked = pl.when((pl.col("prosumer_id") == victim["prosumer_id"]) & (pl.col("start_utc") == last))
    owed_kwh = victim["capacity_kwh"] + 2.5
    desk.by_hand().write(
        "fleet.availability",
        hourly.with_columns(min_stored_kwh=asked.then(owed_kwh).otherwise("min_stored_kwh")),
    )
    return victim["prosumer_id"], 2.5


def test_a_good_day_has_an_empty_table(desk: TradingDesk):
    assert desk.day()["dispatch.infeasibilities"].is_empty()
    assert desk.sql(REASONS) == []


def test_a_day_that_cannot_be_scheduled_stops_and_leaves_its_reasons_where_people_query(desk: TradingDesk):
    copy = desk.copy()
    victim, short_kwh = ask_too_much(copy)
    bids, before = copy.sql("from bids.final_bids order by all"), files(copy.data / "lake")

    stopped = copy.materialise(*SOLUTION, "dispatch.payments", "warehouse.published")

    assert set(failures(stopped)) == {"day_solution"}
    words = failures(stopped)["day_solution"]
    assert f"1 prosumer cannot keep its limits even if nothing is bid: {victim} min_stored_kwh at {DAY} 23:00" in words
    assert f"short by {short_kwh} kWh" in words
    assert made(stopped) == {"dispatch.infeasibilities"}
    assert copy.sql(REASONS) == [(victim, "min_stored_kwh", short_kwh)]
    assert copy.sql("from bids.final_bids order by all") == bids
    after = files(copy.data / "lake")
    assert {name: after[name] for name in before} == before
    assert {name.split(DAY)[0] for name in after.keys() - before} == {
        "dispatch/infeasibilities/",
        "manifests/",
        f"working/{BY_HAND}/",
    }


def test_the_reasons_go_with_the_next_run_that_succeeds(desk: TradingDesk):
    copy = desk.copy()
    ask_too_much(copy)
    assert not copy.materialise(*SOLUTION).success
    assert len(copy.sql(REASONS)) == 1
    assert copy.materialise("fleet.availability").success
    assert copy.materialise(*SOLUTION, "dispatch.payments", *BIDS.values(), "warehouse.published").success
    assert copy.sql(REASONS) == []


def test_without_a_warehouse_the_reasons_come_with_all_that_is_published(desk: TradingDesk):
    copy = desk.copy()
    copy.warehouse.unlink()
    victim, short_kwh = ask_too_much(copy)
    assert not copy.materialise(*SOLUTION).success
    assert copy.sql(REASONS) == [(victim, "min_stored_kwh", short_kwh)]
    assert copy.sql("select count(*) from bids.final_bids") == [(72,)]
