"""A lock that others hold is waited for, and says why; files are private; ids become names of files."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import (
    LONGEST_NAME,
    acquire,
    history_folder,
    keep_files_private,
    safe_file_name,
)


def lock(folder: Path) -> FileLock:
    return FileLock(folder / "a.lock", is_singleton=False, thread_local=False)


def test_a_free_lock_is_taken_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    mine = lock(tmp_path)
    acquire(mine, 1.0, "another run is under way", quiet_s=0.0)
    assert mine.is_locked
    assert caplog.records == []
    mine.release()


def test_a_long_wait_is_a_warning_and_ends_when_the_other_lets_go(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with lock(tmp_path) as other:
        threading.Timer(0.3, other.release).start()
        mine = lock(tmp_path)
        acquire(mine, 20.0, "another run is under way", quiet_s=0.05)
    assert mine.is_locked
    said = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    words = "another run is under way: waiting for at most 20 s"
    assert said == [("vpp_pipeline.core.paths", logging.WARNING, words)]
    mine.release()


def test_patience_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with lock(tmp_path), pytest.raises(Timeout):
        acquire(lock(tmp_path), 0.1, "another run is under way")
    assert caplog.records == []


def test_a_history_lies_in_its_data_folder_or_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert history_folder(tmp_path) == tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "named"))
    assert history_folder(tmp_path) == tmp_path / "named"


@pytest.fixture
def mask() -> Iterator[None]:
    """The mask of this process as it was."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize(("named", "mode"), [("", 0o600), ("077", 0o600), ("027", 0o640), ("007", 0o660)])
def test_new_files_are_for_this_user_unless_the_owner_opens_them(
    named: str, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VPP_UMASK", named)
    keep_files_private()
    (tmp_path / "a").touch()
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("named", ["77 7", "u=rw", "8", "0o77", "1777"])
def test_a_mask_that_is_none_is_refused(named: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VPP_UMASK", named)
    with pytest.raises(InputError, match=r"VPP_UMASK.*Write 077"):
        keep_files_private()


@given(st.text(max_size=400), st.text(max_size=400))
def test_an_id_is_the_name_of_one_file_of_the_folder(one: str, other: str):
    name, second = safe_file_name(one), safe_file_name(other)
    assert Path("folder", f"{name}.md").name == f"{name}.md"
    assert name not in ("", ".", "..")
    assert name.isascii()
    assert len(name) <= LONGEST_NAME + 17
    assert (name == second) == (one == other)
