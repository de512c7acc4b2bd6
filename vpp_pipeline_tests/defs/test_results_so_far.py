"""What a check has found counts for the very same files and settings, and for nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import SCHEDULE_BEFORE
from vpp_pipeline.defs.run_inputs import keep_result, results_so_far
from vpp_pipeline.settings import OptimiserSettings, Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.warehouse.day import LakeDay

DAY, SETTINGS = date(2023, 8, 15), Settings()
RESULT = CheckResult(0, "all is well", 1.0)
TABLE, OTHER = "dispatch.starts", "dispatch.charging"
ROWS = pl.DataFrame({"prosumer_id": ["a", "b"]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with one table of the day, which a check has read; it has asked for another that is not there."""
    lake = Lake(tmp_path)
    lake.write(TABLE, DAY.isoformat(), ROWS)
    read_by_check(lake, TABLE, OTHER)
    return lake


def read_by_check(lake: Lake, *tables: str) -> None:
    day = LakeDay(lake, DAY)
    for table in tables:
        try:
            day[table]
        except (NoDataError, KeyError):
            continue
    keep_result("a_check", day, SETTINGS, RESULT)


def known(lake: Lake, settings: Settings = SETTINGS, *made: str) -> dict[str, CheckResult]:
    found = results_so_far(LakeDay(lake, DAY), settings, dict.fromkeys(made, ROWS))
    return {name: result for name, result in found.items() if name == "a_check"}


def test_the_result_of_the_same_files_is_known(lake: Lake):
    assert known(lake) == {"a_check": RESULT}


def test_another_file_of_the_same_rows_is_checked_again(lake: Lake):
    lake.write(TABLE, DAY.isoformat(), ROWS)
    assert known(lake) == {}


def test_a_file_that_was_not_there_is_checked(lake: Lake):
    lake.write(OTHER, DAY.isoformat(), ROWS)
    assert known(lake) == {}


def test_other_settings_and_tables_not_written_yet_are_checked(lake: Lake):
    assert known(lake, Settings(optimiser=OptimiserSettings(node_limit=7))) == {}
    assert known(lake, SETTINGS, TABLE) == {}
    assert known(lake, SETTINGS, "bids.final_bids") == {"a_check": RESULT}


def test_what_rests_on_another_day_is_checked_again(lake: Lake):
    read_by_check(lake, TABLE, SCHEDULE_BEFORE)
    assert known(lake) == {}
