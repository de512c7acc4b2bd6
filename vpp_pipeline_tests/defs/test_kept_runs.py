"""Runs that publish are kept, whatever launched them; those that a check stops are not."""

from __future__ import annotations

import json

import pytest

from vpp_pipeline.bidding.run_history import changed_settings
from vpp_pipeline.cli.main import main
from vpp_pipeline.defs.bids import BIDS
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.settings import Settings
from vpp_pipeline_tests.defs.desk import DAY, SMALL, negotiated, settled_small_desk

KEPT = (
    "select run_id, started_by, settings, seconds > 0, prices_version is not null from bids.runs order by published_utc"
)


def test_two_runs_of_a_day_are_kept_and_a_blocked_one_is_not(capsys: pytest.CaptureFixture[str]):
    desk = settled_small_desk()  # which published the day again
    ((first,),) = desk.sql("select run_id from bids.runs")
    schedule = {"dagster/schedule_name": "bid_at_eight"}
    # the deadline of a past day has gone by, which stops a run of the schedule
    assert not desk.run(tags=schedule, only=[*map(key_of, BIDS.values()), key_of("warehouse.published")]).success
    assert [row[0] for row in desk.sql(KEPT)] == [first]

    second = desk.run(settings={"negotiation": {"inconvenience_usd_per_mwh": 80.0}})
    assert second.success
    assert negotiated(second) == (72, 0)  # another policy negotiates everything again
    assert desk.materialise("warehouse.published").success
    found = desk.sql(KEPT)
    assert [(row[0], row[1], *row[3:]) for row in found] == [
        (run_id, "Dagster", True, True) for run_id in (first, second.run_id)
    ]
    small = changed_settings(Settings.model_validate(SMALL))
    assert [json.loads(row[2]) for row in found] == [small, small | {"negotiation.inconvenience_usd_per_mwh": 80.0}]
    assert desk.sql("select distinct run_id from bids.final_bids") == [(second.run_id,)]
    assert desk.sql("select count(*), count(distinct run_id) from bids.run_bids") == [(144, 2)]
    ((why, changed),) = desk.sql("select why, bids_changed from bids.runs_compared")
    assert why == "settings: negotiation.inconvenience_usd_per_mwh (default) -> 80.0"
    assert desk.sql("select count(*) from bids.changes_of_last_run") == [(changed,)]
    assert changed > 0

    compared = ["runs", "--data", str(desk.data), "--date", DAY]
    assert main(compared) == 0
    told = capsys.readouterr().out
    assert f"run 2 against run 1: {changed} bids changed" in told
    assert f"causes: {why}" in told
    assert main([*compared, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [run["run_id"] for run in printed["runs_of_day"]] == [first, second.run_id]
    assert printed["runs_compared"][0]["why"] == why
    assert len(printed["changes_between_runs"]) == changed
    assert main([*compared, "--compare", "2", "1"]) == 2
    assert "Two of 1 to 2, the earlier one first" in capsys.readouterr().err
    assert set(desk.day(DAY)["bids.runs"]["run_id"]) == {first, second.run_id}
