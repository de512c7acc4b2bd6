"""Machine code that is kept in the temporary folder is run later: nobody else may have put it there."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.dispatch.column_generation.compiled import code_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="users as on POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, where no other can be written to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.devnull)
    return tmp_path


def test_it_is_kept_for_this_user_alone(temporary: Path) -> None:
    folder = code_folder()
    assert folder.is_dir()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert folder.parent.parent == temporary


def test_a_folder_that_others_may_write_to_is_refused(temporary: Path) -> None:
    for name in ("vpp_pipeline", "vpp_pipeline_code"):
        (temporary / f"{name}_{os.getuid()}").mkdir()
        (temporary / f"{name}_{os.getuid()}").chmod(0o777)
    with pytest.raises(InputError, match="NUMBA_CACHE_DIR"):
        code_folder()


@pytest.mark.parametrize("place", ["folder of the code", "folder above it"])
def test_a_named_folder_that_others_may_write_to_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = code_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder == code_folder()
    (folder if place == "folder of the code" else folder.parent).chmod(0o777)
    with pytest.raises(InputError, match=r"is open to other users \(mode 777\).*NUMBA_CACHE_DIR"):
        code_folder()
