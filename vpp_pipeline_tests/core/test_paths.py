"""A lock that others hold is waited for, and a wait that a user notices says why."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from vpp_pipeline.core.paths import acquire


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
