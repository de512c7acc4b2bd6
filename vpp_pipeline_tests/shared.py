"""Folders that one process of a test session makes, and all read: whole days cost seconds each."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import FileLock

#: environment variable: the session's folder, for the processes of pytest-xdist as well (conftest.py)
SHARED = "VPP_TESTS_SHARED"


def shared(name: str, make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` fills, once for all processes of a session; nobody writes in it again."""
    folder = _session() / name
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            draft = Path(tempfile.mkdtemp(dir=folder.parent))
            make(draft)
            draft.rename(folder)
    return folder


def temporary() -> Path:
    """An empty folder that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="vpp_desk_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _session() -> Path:
    return Path(os.environ[SHARED]) if SHARED in os.environ else temporary()
