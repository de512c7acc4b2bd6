"""Two and three runs of one day beside each other, on rows written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline_tests.warehouse.made import Made

NOON, ONE, TWO = (datetime(2023, 8, 15, hour, tzinfo=UTC) for hour in (19, 20, 21))
MORNING = [datetime(2023, 8, 14, hour, tzinfo=UTC) for hour in (15, 16, 17)]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """The first run bids at noon and one; the second less at noon, nothing at one, some at two; the third as well."""
    made = Made(tmp_path)
    opportunities = ["noon", "one", "two"]
    made.table(
        "bids.run_bids",
        run_id=["a"] * 3 + ["b"] * 3 + ["c"] * 3,
        opportunity_id=opportunities * 3,
        product=["energy"] * 9,
        start_utc=[NOON, ONE, TWO] * 3,
        status=["bid", "bid", "no_bid"] + ["bid", "no_bid", "bid"] * 2,
        total_capacity_mw=[2.0, 1.0, 0.0] + [1.5, 0.0, 0.5] * 2,
        bid_price_usd_per_mwh=[60.0, 50.0, None] + [60.0, None, 70.0] * 2,
        expected_profit_usd=[40.0, 10.0, 0.0] + [35.0, 0.0, 5.0] * 2,
        curve=["x", "y", None] + ["x", None, "z"] * 2,
        reason=["", "", ""] + ["", "too few deals", "enough deals"] * 2,
    )
    return made


def runs(made: Made, **columns: list[Any]) -> None:
    made.table(
        "bids.runs",
        **{
            "run_id": ["a", "b", "c"],
            "published_utc": MORNING,
            "settings": ["{}"] * 3,
            "price_source": ["file"] * 3,
            "node": ["N"] * 3,
            "code_version": ["1"] * 3,
            "expected_profit_usd": [50.0, 40.0, 40.0],
            **{name: ["v"] * 3 for name in ("prices_version", "fleet_version", "requests_version", "deals_version")},
            **columns,
        },
    )


def test_what_changed_is_told_bid_by_bid(made: Made):
    runs(made)
    changed = """select opportunity_id, what, change_mw, change_profit_usd from bids.changes_between_runs
                 where number_before = 1 and run_number = 2 order by start_utc"""
    assert made.ask(changed) == [
        ("noon", "less", -0.5, -5.0),
        ("one", "gone: too few deals", -1.0, -10.0),
        ("two", "new: enough deals", 0.5, 5.0),
    ]
    assert made.ask("select count(*) from bids.changes_between_runs where number_before = 1") == [(6,)]
    assert made.ask("select count(*) from bids.changes_of_last_run") == [(0,)]


def test_the_last_two_runs_are_those_published_last(made: Made):
    runs(made, published_utc=[MORNING[2], MORNING[0], MORNING[1]], deals_version=["u", "v", "v"])
    last = "select distinct number_before, run_number, run_before, run_id, left(why, 15) from bids.changes_of_last_run"
    assert made.ask(last) == [(2, 3, "c", "a", "agreements only")]
    assert made.ask("select run_number, run_id from bids.runs_of_day where is_last") == [(3, "a")]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({}, "no known cause"),
        ({"settings": ["{}", '{"fleet.seed": 7, "negotiation.rounds": 5}', "{}"]},
         "settings: fleet.seed (default) -> 7, negotiation.rounds (default) -> 5"),
        ({"settings": ['{"fleet.seed": 6}', '{"fleet.seed": 7}', "{}"]}, "settings: fleet.seed 6 -> 7"),
        ({"prices_version": ["v", "w", "w"]}, "forecast prices"),
        ({"price_source": ["file", "oasis", "oasis"]}, "prices: file at N -> oasis at N"),
        ({"fleet_version": ["v", "w", "w"], "code_version": ["1", "2", "2"]},
         "fleet, its limits, or its initial states of charge (1 -> 2 prosumers); code 1 -> 2"),
        ({"requests_version": ["v", "w", "w"], "deals_version": ["v", "w", "w"]}, "requests"),
        ({"deals_version": ["v", "w", "w"]}, "agreements only"),
    ],
)  # fmt: skip
def test_why_is_what_was_not_the_same(made: Made, other: dict[str, list[Any]], why: str):
    runs(made, **other)
    answer = made.ask(
        "select why, bids_changed, moved_mw from bids.runs_compared where number_before = 1 and run_number = 2"
    )
    assert [(words.startswith(why), *rest) for words, *rest in answer] == [(True, 3, 2.0)]


def test_runs_that_bid_the_same_differ_in_nothing(made: Made):
    runs(made)
    same = "select why, bids_changed from bids.runs_compared where number_before = 2 and run_number = 3"
    assert made.ask(same) == [("nothing", 0)]
