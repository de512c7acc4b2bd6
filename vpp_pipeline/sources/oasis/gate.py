"""One request to OASIS at a time, and a pause between them, for all processes of a user together.

CAISO's acceptable use policy answers a second request within 5 s with HTTP 429, whichever process sent it. Users of one
machine take turns with each other where they name the same folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import private_folder
from vpp_pipeline.sources.oasis.errors import OasisDownError

REMEDY = 'Remove it, or write gate = "…", a folder of your own, under [oasis] in data/prices.toml'
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


@dataclass(frozen=True)
class Gate:
    """A file lock and the time of the last request, in ``folder``; without one, in a temporary folder of this user.

    The operating system frees the lock of a killed process; the time stands in a file, so that the next one waits too.
    """

    folder: Path | None
    interval_s: float
    patience_s: float  # for how long to wait for other processes

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to send one request, ``interval_s`` after the last one of any process has ended.

        Raises ``OasisDownError`` if others have not let go within ``patience_s``.
        """
        folder = self._open_folder()
        mode = _mode_of_files(folder)
        lock, last = FileLock(folder / "oasis.lock", mode=mode), folder / "oasis.last"
        try:
            lock.acquire(timeout=self.patience_s)
        except Timeout:
            raise OasisDownError(
                f"other processes have been asking OASIS for {self.patience_s:g} s",
                file=lock.lock_file,
                remedy="Wait for them, or stop them, then start again",
            ) from None
        except OSError as error:
            raise _unusable(Path(lock.lock_file), error) from None
        try:
            time.sleep(self._wait_s(last, mode))
            _stamp(last, mode)
            yield
        finally:
            _stamp(last, mode)  # the request may have taken its time: OASIS counts from when it got it
            lock.release()

    def _open_folder(self) -> Path:
        if self.folder is None:
            return private_folder("oasis", REMEDY)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder

    def _wait_s(self, file: Path, mode: int) -> float:
        """Seconds until a request may be sent; the whole interval where the clock was set back or the file is torn."""
        if not os.path.lexists(file):
            return 0.0
        with _opened(file, mode) as opened:
            text = opened.read()
        try:
            last = float(text)
        except ValueError:  # its writer was killed while it wrote: a request may just have been sent
            return self.interval_s
        return min(max(last + self.interval_s - time.time(), 0.0), self.interval_s)


def _mode_of_files(folder: Path) -> int:
    """For us alone; for group or all as well where they may write to the folder, as in one that users share."""
    shared = folder.stat().st_mode
    return 0o600 | (0o060 if shared & 0o020 else 0) | (0o006 if shared & 0o002 else 0)


def _stamp(file: Path, mode: int) -> None:
    with _opened(file, mode) as opened:
        opened.truncate()
        opened.write(repr(time.time()))


@contextmanager
def _opened(file: Path, mode: int) -> Iterator[TextIO]:
    """The file itself, never one that a link leads to. Raises InputError where it cannot be opened."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | NO_LINK, mode)
    except OSError as error:
        raise _unusable(file, error) from None
    with os.fdopen(descriptor, "r+") as opened:
        if hasattr(os, "fchmod"):
            with suppress(PermissionError):  # another user's, who has opened it to us
                os.fchmod(descriptor, mode)
        yield opened


def _unusable(file: Path, error: OSError) -> InputError:
    """A link in the file's place is refused with ELOOP."""
    return InputError(f"the lock that paces OASIS cannot be used: {error.strerror}", file=file, remedy=REMEDY)
