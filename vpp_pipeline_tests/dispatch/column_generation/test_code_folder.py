"""Machine code that is kept in the temporary folder is run later: nobody else may have put it there."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.dispatch.column_generation.compiled import _code_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="users as on POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, where no other can be written to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.devnull)
    return tmp_path


def test_it_is_kept_for_this_user_alone(temporary: Path) -> None:
    folder = _code_folder()
    assert folder.is_dir()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert folder.parent.parent == temporary


def test_a_folder_that_others_may_write_to_is_refused(temporary: Path) -> None:
    for name in ("vpp_pipeline", "vpp_pipeline_code"):
        (temporary / f"{name}_{os.getuid()}").mkdir()
        (temporary / f"{name}_{os.getuid()}").chmod(0o777)
    with pytest.raises(InputError, match="NUMBA_CACHE_DIR"):
        _code_folder()
