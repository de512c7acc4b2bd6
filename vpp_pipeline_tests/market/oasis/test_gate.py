"""The folder and files that pace requests to OASIS belong to one user, whatever others put in their place."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.client import Gate, OasisClient

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="users and links as on POSIX")
WORDS = "not ours to touch"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary folder, to which everyone may write."""
    folder = tmp_path / "everyones"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def take_turn() -> None:
    """One turn at the gate of a client that names no folder."""
    with OasisClient(OasisSettings(url="http://127.0.0.1:9", interval_s=0.0))._gate.turn():
        pass


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def test_folder_and_files_are_for_this_user_alone_whatever_the_umask(temporary: Path) -> None:
    before = os.umask(0)
    try:
        take_turn()
    finally:
        os.umask(before)
    (folder,) = temporary.iterdir()
    assert folder.name == f"vpp_pipeline_oasis_{os.getuid()}"
    assert modes(temporary) == {folder.name: 0o700}
    assert modes(folder) == {"oasis.lock": 0o600, "oasis.last": 0o600}


@pytest.mark.parametrize("name", ["oasis.last", "oasis.lock"])
def test_a_link_in_place_of_a_file_is_not_followed(name: str, temporary: Path, tmp_path: Path) -> None:
    take_turn()
    (folder,) = temporary.iterdir()
    victim = tmp_path / "victim"
    victim.write_text(WORDS)
    victim.chmod(0o640)
    (folder / name).unlink()
    (folder / name).symlink_to(victim)
    with pytest.raises(InputError, match=rf"{name}.*gate = "):
        take_turn()
    assert victim.read_text() == WORDS
    assert modes(tmp_path)["victim"] == 0o640


def folder_of_ours(temporary: Path) -> list[Path]:
    """Names that a version of this program may use in the temporary folder."""
    return [temporary / "vpp_pipeline_oasis", temporary / f"vpp_pipeline_oasis_{os.getuid()}"]


def test_a_link_in_place_of_the_folder_is_refused(temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    for folder in folder_of_ours(temporary):
        folder.symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"is a link.*gate = "):
        take_turn()
    assert not any(elsewhere.iterdir())
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_to_is_refused(temporary: Path) -> None:
    for folder in folder_of_ours(temporary):
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(InputError, match=r"open to other users \(mode 777\).*gate = "):
        take_turn()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_refused(temporary: Path) -> None:
    for folder in folder_of_ours(temporary):
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
    with pytest.raises(InputError, match=r"belongs to another user.*gate = "):
        take_turn()


def test_users_who_name_one_folder_take_turns_with_each_other(tmp_path: Path) -> None:
    """Its files are for whom the folder is for."""
    for mode, of_files in ((0o700, 0o600), (0o755, 0o600), (0o770, 0o660), (0o777, 0o666)):
        folder = tmp_path / f"{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        with Gate(folder, 0.0, 1.0).turn():
            pass
        assert modes(folder) == {"oasis.lock": of_files, "oasis.last": of_files}


@pytest.mark.parametrize("torn", ["", "12e"])
def test_a_file_that_was_torn_costs_the_whole_interval(torn: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path, 0.2, 1.0)
    with gate.turn():
        pass
    (tmp_path / "oasis.last").write_text(torn)
    begun = time.monotonic()
    with gate.turn():
        assert time.monotonic() - begun >= 0.2
