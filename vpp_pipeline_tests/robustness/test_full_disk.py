"""A disk that is full or read-only: one paragraph, and what is published stays as it was."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import of_the_disk
from vpp_pipeline_tests.defs.desk import DAY, settled_small_desk
from vpp_pipeline_tests.robustness.damaged_days import Tried, run

BIDS, SETTLE = f"bids --date {DAY}", f"settle --date {DAY}"


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk can be mounted by root alone: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A settled day on a disk of its own, with 300 kB to spare; the history is elsewhere."""
    source, place = settled_small_desk().data, tmp_path / "data"
    size = sum(4096 * (file.stat().st_size // 4096 + 2) for file in source.rglob("*"))
    place.mkdir()
    (tmp_path / "home").mkdir()
    mount("-t", "tmpfs", "-o", f"size={size + 300_000}", "tmpfs", str(place))
    try:
        shutil.copytree(source, place, dirs_exist_ok=True)
        yield tmp_path
    finally:
        subprocess.run(["umount", str(place)], check=True)


def told(tried: Tried, words: str) -> None:
    assert (tried.status, tried.errors.count("error: ")) == (2, 1), tried.errors
    assert words in tried.errors
    assert "What is published stays as it was" in tried.errors


@pytest.mark.parametrize(
    ("on_full", "on_read_only"), [(BIDS, SETTLE), pytest.param(SETTLE, BIDS, marks=pytest.mark.slow)]
)
def test_a_full_disk_and_a_read_only_one_are_told_and_nothing_published_changes(
    on_full: str, on_read_only: str, small_disk: Path
):
    warehouse = small_disk / "data" / "vpp.duckdb"
    before = warehouse.read_bytes()
    told(run(on_full, small_disk), "the disk is full")
    assert warehouse.read_bytes() == before
    mount("-o", "remount,ro", str(small_disk / "data"))
    told(run(on_read_only, small_disk), "read-only")
    assert warehouse.read_bytes() == before
    assert run("sql 'select count(*) from bids.final_bids'", small_disk).status == 0


def test_the_disk_is_found_behind_other_errors_also_where_they_lead_back_to_themselves():
    full, wrapped = OSError(errno.ENOSPC, "No space left on device", "a.parquet"), RuntimeError("step failed")
    wrapped.__cause__, full.__context__ = full, wrapped
    said = of_the_disk(wrapped)
    assert said is not None
    assert "the disk is full" in str(said)
    assert "file a.parquet" in str(said)
    other, again = ValueError("no number"), ValueError("again")
    other.__context__, again.__context__ = again, other
    assert of_the_disk(other) is None
