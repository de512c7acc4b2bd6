"""A day of planned sizes through the project's own job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from vpp_pipeline_tests.defs.desk import DAY, SMALL, TradingDesk, differences, failures, new_desk, small_desk

NEXT = "2023-08-16"
PLANNED: dict[str, Any] = SMALL | {"opportunities": {"sizing": "planned", "deal_days": 7}}


@pytest.fixture(scope="module")
def planned() -> TradingDesk:
    """A published day, and the opportunities of the next, which its deals size."""
    desk = small_desk()
    result = replace(desk, settings=PLANNED).make("market.opportunities", day=NEXT)
    assert result.success, failures(result)
    return desk


def test_sizes_differ_from_hour_to_hour(planned: TradingDesk):
    for day in (DAY, NEXT):
        rows = planned.day(day)["market.opportunities"].filter(origin="policy", product="energy")
        share = rows["required_capacity_mw"] / rows["offerable_capacity_mw"]
        assert share.min() < 0.2 < share.max()
    assert planned.day()["bids.final_bids"].filter(pl.col("status") == "bid").height > 0


@pytest.mark.slow  # three runs; inputs/test_recent_deals.py has what a day keeps of the days before
def test_a_day_made_again_is_the_same_whatever_was_made_since():
    desk = new_desk(settings=PLANNED)
    assert desk.run().success
    before = desk.tables()
    assert desk.run(day="2023-08-14").success
    assert desk.run().success
    assert differences(before, desk.tables()) == []


def test_a_day_is_sized_by_what_was_agreed_on_the_day_before(planned: TradingDesk):
    kept = planned.day(NEXT).kept.read("market.recent_deals")
    agreed = planned.day()["negotiation.agreements"].filter("holds_option")
    assert kept["committed_capacity_kw"].sum() == pytest.approx(agreed["committed_capacity_kw"].sum())
