"""Checks read the rows of a large table that they need, and no others stay in memory."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import rows_where
from vpp_pipeline.verification.money import money_adds_up
from vpp_pipeline.verification.negotiation import negotiations_follow_the_protocol
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline_tests.conftest import SolvedDay

DAY, DEALS = date(2023, 8, 15), "negotiation.agreements"
ROWS = pl.DataFrame({"opportunity_id": ["a", "a", "b"], "rank": [1, 2, 1], "reason": ["In: x.", "In: y.", "Out: z."]})
IS_A = pl.col("opportunity_id") == "a"


def test_rows_of_a_file_are_those_of_the_table_with_its_sentences(tmp_path: Path):
    lake = Lake(tmp_path)
    lake.write(DEALS, DAY, ROWS)
    day = LakeDay(lake, DAY, figures_only=True)
    for wanted, columns in ((IS_A, None), (~IS_A, ["rank"]), (IS_A, ["reason"])):
        expected = rows_where({DEALS: ROWS}, DEALS, wanted, columns)
        assert_frame_equal(rows_where(day, DEALS, wanted, columns), expected)
        assert "reason" not in day[DEALS].columns  # read before: the sentences come from the file all the same
    assert day.rests_on == {DEALS: day.version(DEALS)}


def test_a_damaged_file_is_told_with_a_remedy(tmp_path: Path):
    lake = Lake(tmp_path)
    path = lake.path(lake.write(DEALS, DAY, ROWS))
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(InputError, match=r"negotiation.agreements of 2023-08-15 cannot be read"):
        LakeDay(lake, DAY).rows_where(DEALS, IS_A)


@pytest.mark.parametrize("check", [negotiations_follow_the_protocol, money_adds_up, no_kilowatt_hour_is_sold_twice])
def test_a_check_of_a_day_in_files_finds_the_same_and_keeps_no_agreements(check, solved_day: SolvedDay, tmp_path: Path):
    lake = Lake(tmp_path)
    made = solved_day()
    for table, rows in made.tables.items():
        lake.write(table, DAY, rows)
    day = LakeDay(lake, DAY, figures_only=True)
    assert check(day, made.settings) == check(made.tables, made.settings)
    assert DEALS in day.rests_on
    assert DEALS not in day._read
