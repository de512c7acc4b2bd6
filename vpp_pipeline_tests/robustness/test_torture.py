"""A few kills of `make torture`, and that it finds what it looks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests.defs.desk import DAY, SMALL, settled_small_desk
from vpp_pipeline_tests.robustness.damaged_days import warehouse_rows
from vpp_pipeline_tests.robustness.torture import faults_of, torture

MARGIN = SMALL.get("negotiation", {}).get("inconvenience_usd_per_mwh", 20.0)


def settled(folder: Path) -> Path:
    shutil.copytree(settled_small_desk().data, folder / "data")
    (folder / "home").mkdir()
    return folder


def test_after_a_kill_the_published_day_is_settled_whole(tmp_path: Path):
    folder = settled(tmp_path)
    figures = torture(folder, {MARGIN: warehouse_rows(folder)}, kills=2, seed=1, kinds=("bids", "settle"))
    assert figures.faults == []
    assert figures.kills == 2


@pytest.mark.slow
def test_a_day_of_two_runs_and_bids_that_were_swapped_are_found(tmp_path: Path):
    folder = settled(tmp_path)
    known = {MARGIN: warehouse_rows(folder)}
    assert faults_of(folder, known, "undisturbed") == []
    lake = Lake(folder / "data" / "lake")
    day = lake.day(DAY)
    # as a lake with one slot a table would be left: the schedule of another run beside the bids
    lake.write("dispatch.schedule", DAY, day.read("dispatch.schedule").with_columns(pl.col("discharge_kw") * 0.5))
    (mixed,) = faults_of(folder, known, "seeded")
    assert "mixed" in mixed or "crashed" in mixed
    lake.commit(DAY, "seeded", lambda _: {}, run_id="another")
    (swapped,) = faults_of(folder, known, "seeded")
    assert "swapped" in swapped
