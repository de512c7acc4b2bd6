from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.parquet_files import ParquetFolder, write_parquet

FRAME = pl.DataFrame({"start_utc": ["a", "b"], "power_mw": [1.0, 2.0]})


@pytest.fixture
def folder(tmp_path: Path) -> ParquetFolder:
    return ParquetFolder(tmp_path / "a folder [1]")


def test_a_file_is_named_after_its_table_and_key(folder: ParquetFolder):
    assert folder.path("market.prices", "2023-08-15") == folder.root / "market/prices/2023-08-15.parquet"
    assert folder.path("lmp.raw", "NODE|2023-08-15") == folder.root / "lmp/raw/NODE/2023-08-15.parquet"


@pytest.mark.parametrize("key", ["../2023-08-15", "", "2023-08-15|", "a/b", "2023-08-15|..", "a.b"])
def test_a_key_cannot_leave_its_folder(folder: ParquetFolder, key: str):
    with pytest.raises(InputError, match="not a key"):
        folder.path("market.prices", key)


@pytest.mark.parametrize("table", ["prices", "../x.y", "Market.prices", "a.b.c"])
def test_a_table_has_a_schema_and_a_name(folder: ParquetFolder, table: str):
    with pytest.raises(InputError, match=r"not a table name .*schema\.table"):
        folder.path(table, "2023-08-15")


def test_what_is_written_can_be_read(folder: ParquetFolder):
    folder.write("market.prices", "2023-08-15", FRAME, metadata={"fingerprint": "abc", "arm": "1"})
    folder.write("market.prices", "2023-08-16", FRAME.with_columns(node=pl.lit("SP15")))
    assert_frame_equal(folder.read("market.prices", "2023-08-15"), FRAME)
    assert folder.metadata("market.prices", "2023-08-15") == {"fingerprint": "abc", "arm": "1"}
    assert folder.exists("market.prices", "2023-08-15")
    assert not folder.exists("market.prices", "2023-08-17")
    both = folder.read_many("market.prices", ["2023-08-16", "2023-08-15"])
    assert both["node"].to_list() == ["SP15", "SP15", None, None]


def test_equal_frames_give_equal_bytes_also_where_they_are_written_some_rows_at_a_time(tmp_path: Path):
    halves = pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)
    files = [tmp_path / name for name in ("one", "two", "three")]
    for file, frame in zip(files, (FRAME, halves, halves.lazy()), strict=True):
        write_parquet(file, frame, {"b": "2", "a": "1"})
    assert files[0].read_bytes() == files[1].read_bytes()
    assert_frame_equal(pl.read_parquet(files[2]), FRAME)


def test_a_missing_file_and_a_damaged_one_are_named_with_a_remedy(folder: ParquetFolder):
    for ask in (folder.read, folder.metadata):
        with pytest.raises(NoDataError, match=r"market\.prices has no 2023-08-15 "):
            ask("market.prices", "2023-08-15")
    file = folder.write("market.prices", "2023-08-15", FRAME)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1", whole[:4] + bytes(len(whole) - 8) + whole[-4:]):
        file.write_bytes(damaged)
        for ask in (folder.read, folder.metadata):
            with pytest.raises(InputError, match=r"2023-08-15\.parquet.*Remove the file"):
                ask("market.prices", "2023-08-15")


def test_a_write_that_fails_leaves_the_old_file(folder: ParquetFolder, monkeypatch: pytest.MonkeyPatch):
    file = folder.write("market.prices", "2023-08-15", FRAME)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        folder.write("market.prices", "2023-08-15", FRAME.clear())
    assert_frame_equal(folder.read("market.prices", "2023-08-15"), FRAME)
    assert list(file.parent.iterdir()) == [file]


def test_leftovers_of_killed_processes_are_swept(folder: ParquetFolder):
    file = folder.write("market.prices", "2023-08-15", FRAME)
    old, young = file.with_name(f".{file.name}.1-ab.tmp"), file.with_name(f".{file.name}.2-cd.tmp")
    other = file.with_name(".2023-08-16.parquet.1-ab.tmp")
    for leftover in (old, young, other):
        leftover.write_bytes(b"half")
    two_hours_ago = time.time() - timedelta(hours=2).total_seconds()
    for leftover in (old, other):
        os.utime(leftover, (two_hours_ago, two_hours_ago))
    folder.write("market.prices", "2023-08-15", FRAME)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, young.name, other.name])
