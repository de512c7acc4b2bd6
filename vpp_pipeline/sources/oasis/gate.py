"""One request to OASIS at a time, and a pause between them, for all processes of a machine together.

CAISO's acceptable use policy answers a second request within 5 s with HTTP 429, whichever process sent it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vpp_pipeline.sources.oasis.errors import OasisDownError

SHARED = 0o666  # processes of other users take turns with ours


@dataclass(frozen=True)
class Gate:
    """A file lock and the time of the last request, in ``folder``.

    The operating system frees the lock of a killed process; the time stands in a file, so that the next one waits too.
    """

    folder: Path
    interval_s: float
    patience_s: float  # for how long to wait for other processes

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to send one request, ``interval_s`` after the last one of any process has ended.

        Raises ``OasisDownError`` if others have not let go within ``patience_s``.
        """
        self._open_folder()
        lock = FileLock(self.folder / "oasis.lock", mode=SHARED)
        try:
            lock.acquire(timeout=self.patience_s)
        except Timeout:
            raise OasisDownError(
                f"other processes have been asking OASIS for {self.patience_s:g} s",
                file=lock.lock_file,
                remedy="Wait for them, or stop them, then start again",
            ) from None
        try:
            time.sleep(self._wait_s())
            self._stamp()
            yield
        finally:
            self._stamp()  # the request may have taken its time: OASIS counts from when it got it
            lock.release()

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user's, who has opened it to us
            self.folder.chmod(0o777)

    @property
    def _last(self) -> Path:
        return self.folder / "oasis.last"

    def _wait_s(self) -> float:
        """Seconds until a request may be sent; the whole interval where the clock was set back or the file is torn."""
        if not self._last.exists():
            return 0.0
        try:
            last = float(self._last.read_text())
        except ValueError:  # its writer was killed while it wrote: a request may just have been sent
            return self.interval_s
        return min(max(last + self.interval_s - time.time(), 0.0), self.interval_s)

    def _stamp(self) -> None:
        descriptor = os.open(self._last, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SHARED)
        with os.fdopen(descriptor, "w") as file:
            file.write(repr(time.time()))
        with suppress(PermissionError):
            self._last.chmod(SHARED)
