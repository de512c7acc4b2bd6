"""What the lake asks of the place where its files lie: objects that never change, created once, and listed by prefix.

A folder of this machine is one such place. A bucket of an object store is another (`core/bucket.py`): `create` is then
a conditional write (``If-None-Match: *``), and `make_durable` has nothing to do, since a bucket keeps what it has
acknowledged.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vpp_pipeline.core.parquet_files import replacing, sync

TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Entry:
    """One object of a list."""

    key: str
    bytes: int
    age_s: float  # seconds since it was made


class ObjectStore(Protocol):
    """Objects by key; a key is a relative path such as ``market/prices/2023-08-15/a1.parquet``."""

    def create(self, key: str, fill: Callable[[Path], None]) -> int:
        """Make the object from the file that ``fill`` writes, whole or not at all; its bytes.

        Raises FileExistsError where the key is taken: of two who create one key, exactly one succeeds.
        """
        ...

    def put(self, key: str, content: bytes) -> None:
        """Create or replace a small object that no one else writes to."""
        ...

    def make_durable(self, keys: Iterable[str]) -> None:
        """Return when the objects would survive a loss of power."""
        ...

    def get(self, key: str, *, is_final: bool = False) -> bytes | None:
        """The content; None where there is no such object. ``is_final``: of one that was created, which never changes,
        so that a copy does as well."""
        ...

    def size(self, key: str) -> int | None:
        """Its bytes in the store; None where there is no such object."""
        ...

    def fetch(self, key: str, expected: int) -> int | None:
        """Bytes of the file that `path` gives, which is made to have the ``expected`` ones if the store can give them;
        None where there is no such object."""
        ...

    def path(self, key: str) -> Path:
        """What polars and DuckDB read the object by. It is there once `fetch` or `create` has returned."""
        ...

    def address(self, key: str = "") -> str:
        """How a message names the object, or the whole store."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with the folder ``prefix``, in order."""
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The same with size and age."""
        ...

    def remove(self, key: str) -> None:
        """Remove the object, or all objects of a folder, if there are any. The name of a folder has no ending."""
        ...

    def tidy(self, age_s: float) -> None:
        """Remove what writes have left on this machine that died more than ``age_s`` ago."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    """Objects as files below ``root``."""

    root: Path

    def create(self, key: str, fill: Callable[[Path], None]) -> int:
        """Written beside and then linked under its name, which fails where there is one."""
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(target) as draft:
            fill(draft)
            size = draft.stat().st_size
            os.link(draft, target)
        return size

    def put(self, key: str, content: bytes) -> None:
        """Create or replace the file, whole or not at all."""
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as draft:
            draft.write_bytes(content)

    def make_durable(self, keys: Iterable[str]) -> None:
        """Write the files, and the lists of names of their folders up to ``root``, to the disk."""
        folders: set[Path] = set()
        for key in keys:
            file = self.path(key)
            sync(file)
            folders.update(folder for folder in file.parents if folder.is_relative_to(self.root))
        for folder in folders:
            sync(folder)

    def get(self, key: str, *, is_final: bool = False) -> bytes | None:
        """The file's content."""
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        """The file's bytes."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def fetch(self, key: str, expected: int) -> int | None:
        """The file's bytes, whatever is expected."""
        return self.size(key)

    def path(self, key: str) -> Path:
        """Where the file is, or will be."""
        return self.root / key

    def address(self, key: str = "") -> str:
        """Its path."""
        return str(self.root / key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Files below the folder ``prefix``; drafts of writes that are under way, or died, are none."""
        found = (self.root / prefix).rglob("*")
        files = [file for file in found if file.is_file() and not file.name.endswith(TEMPORARY)]
        yield from sorted(file.relative_to(self.root).as_posix() for file in files)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The same files; one that is removed meanwhile is none."""
        now = time.time()
        for key in self.keys(prefix):
            with suppress(FileNotFoundError):
                found = self.path(key).stat()
                yield Entry(key, found.st_size, now - found.st_mtime)

    def tidy(self, age_s: float) -> None:
        """Without drafts of writes that died."""
        remove_drafts(self.root, age_s)

    def remove(self, key: str) -> None:
        """Remove the file, or the folder with all below it."""
        target = self.path(key)
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)
        with suppress(OSError):  # folders that others still use stay
            for folder in target.parents:
                if folder == self.root:
                    break
                folder.rmdir()


def remove_drafts(root: Path, age_s: float) -> None:
    """Remove what writes below ``root`` have left that died more than ``age_s`` ago."""
    for draft in list(root.rglob(f".*{TEMPORARY}")):
        with suppress(FileNotFoundError):  # another process was first
            if time.time() - draft.stat().st_mtime >= age_s:
                draft.unlink()


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to, which is removed on leaving if it is still there."""
    draft = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
