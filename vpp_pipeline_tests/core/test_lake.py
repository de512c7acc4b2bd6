from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake

FRAME = pl.DataFrame({"start_utc": ["a", "b"], "power_mw": [1.0, 2.0]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "a lake [1]")


def test_a_file_is_named_after_its_table_and_partition(lake: Lake):
    assert lake.path("market.prices", "2023-08-15") == lake.root / "market/prices/2023-08-15.parquet"
    slot = lake.path("negotiation.rounds", "2023-08-15|energy_he13")
    assert slot == lake.root / "negotiation/rounds/2023-08-15/energy_he13.parquet"


@pytest.mark.parametrize("partition", ["../2023-08-15", "", "2023-08-15|", "a/b", "2023-08-15|..", "a.b"])
def test_a_partition_cannot_leave_its_folder(lake: Lake, partition: str):
    with pytest.raises(InputError, match="not a partition key"):
        lake.path("market.prices", partition)


@pytest.mark.parametrize("table", ["prices", "../x.y", "Market.prices", "a.b.c"])
def test_a_table_has_a_schema_and_a_name(lake: Lake, table: str):
    with pytest.raises(InputError, match=r"not a table name .*schema\.table"):
        lake.path(table, "2023-08-15")


def test_what_is_written_can_be_read(lake: Lake):
    lake.write("market.prices", "2023-08-15", FRAME, metadata={"fingerprint": "abc", "arm": "1"})
    lake.write("negotiation.rounds", "2023-08-15|energy_he13", FRAME)
    assert_frame_equal(lake.read("market.prices", "2023-08-15"), FRAME)
    assert lake.metadata("market.prices", "2023-08-15") == {"fingerprint": "abc", "arm": "1"}
    assert lake.metadata("negotiation.rounds", "2023-08-15|energy_he13") == {}
    assert lake.exists("market.prices", "2023-08-15")
    assert not lake.exists("market.prices", "2023-08-16")
    assert lake.partitions("negotiation.rounds") == ["2023-08-15|energy_he13"]
    assert lake.partitions("bids.final_bids") == []


def test_several_partitions_come_in_the_order_asked_for(lake: Lake):
    lake.write("market.prices", "2023-08-15", FRAME)
    lake.write("market.prices", "2023-08-16", FRAME.with_columns(node=pl.lit("SP15")))
    both = lake.read_many("market.prices", ["2023-08-16", "2023-08-15"])
    assert both["node"].to_list() == ["SP15", "SP15", None, None]
    with pytest.raises(NoDataError):
        lake.read_many("market.prices", [])


def test_equal_frames_give_equal_bytes(lake: Lake):
    halves = pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)
    one = lake.write("market.prices", "2023-08-15", FRAME, metadata={"a": "1", "b": "2"}).read_bytes()
    two = lake.write("market.prices", "2023-08-15", halves, metadata={"b": "2", "a": "1"}).read_bytes()
    assert one == two


def test_a_missing_partition_says_what_to_run(lake: Lake):
    for ask in (lake.read, lake.metadata):
        with pytest.raises(NoDataError, match=r"market\.prices has no partition 2023-08-15 .*bids --date 2023-08-15"):
            ask("market.prices", "2023-08-15")


def test_a_damaged_file_is_named_with_its_remedy(lake: Lake):
    file = lake.write("market.prices", "2023-08-15", FRAME)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1", whole[:4] + bytes(len(whole) - 8) + whole[-4:]):
        file.write_bytes(damaged)
        for ask in (lake.read, lake.metadata):
            with pytest.raises(InputError, match=r"2023-08-15\.parquet.*materialise market/prices"):
                ask("market.prices", "2023-08-15")


def test_a_write_that_fails_leaves_the_old_file(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    file = lake.write("market.prices", "2023-08-15", FRAME)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        lake.write("market.prices", "2023-08-15", FRAME.clear())
    assert_frame_equal(lake.read("market.prices", "2023-08-15"), FRAME)
    assert list(file.parent.iterdir()) == [file]


def test_leftovers_of_killed_processes_are_ignored_and_swept(lake: Lake):
    file = lake.write("market.prices", "2023-08-15", FRAME)
    old, young = file.with_name(f".{file.name}.1-ab.tmp"), file.with_name(f".{file.name}.2-cd.tmp")
    other = file.with_name(".2023-08-16.parquet.1-ab.tmp")
    for leftover in (old, young, other):
        leftover.write_bytes(b"half")
    two_hours_ago = time.time() - timedelta(hours=2).total_seconds()
    for leftover in (old, other):
        os.utime(leftover, (two_hours_ago, two_hours_ago))
    assert lake.partitions("market.prices") == ["2023-08-15"]
    lake.write("market.prices", "2023-08-15", FRAME)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, young.name, other.name])
