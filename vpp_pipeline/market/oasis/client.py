"""Questions to OASIS over HTTP: paced, repeated while that may help, and every answer read before it is believed.

Refusals come with HTTP 200 as XML inside the zip. What their codes mean (OASIS interface specification): 1000 no data
for the question, 1004 the window is too long, 1015 the report is still being made.

One request to OASIS at a time, and a pause between them, for all processes of a user together.

CAISO's acceptable use policy answers a second request within 5 s with HTTP 429, whichever process sent it. Users of one
machine share the pause where they name the same folder.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TextIO, TypeVar

import polars as pl
from filelock import FileLock, Timeout

from vpp_pipeline.core.calendar import local_midnight_utc
from vpp_pipeline.core.errors import Again, InputError, NoDataError
from vpp_pipeline.core.http import LONGEST_WAIT_S, Refused, ask, get
from vpp_pipeline.core.paths import acquire, private_folder
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.report import (
    AS_COLUMNS,
    LARGEST_BYTES,
    LMP_COLUMNS,
    LOAD_COLUMNS,
    RENEWABLE_COLUMNS,
    Incomplete,
    OasisDownError,
    OasisError,
    OasisIncompleteError,
    Refusal,
    rows_of,
)

MOST_HOURS = 31 * 24  # of one question; more is error 1004
MOST_NODES = 10
HURRIED_WAIT_S = 15.0  # of a sensor's tick, which has a minute
NO_DATA, TOO_LONG, BUSY = "1000", "1004", "1015"

ADDRESS = "Check the address (VPP_OASIS_URL, or url under [oasis] in data/prices.toml)"
T = TypeVar("T")
LOG = logging.getLogger(__name__)
REMEDY = 'Remove it, or write gate = "…", a folder of your own, under [oasis] in data/prices.toml'
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


@dataclass(frozen=True)
class Question:
    """One report over a window of whole market days."""

    report: str
    first: date
    last: date
    particulars: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    version: str = "12"
    market_run_id: str = "DAM"

    def parameters(self) -> dict[str, str]:
        """The query: CSV (resultformat 6), from local midnight to local midnight, written in UTC."""
        return {
            "queryname": self.report,
            "version": self.version,
            "resultformat": "6",
            "market_run_id": self.market_run_id,
            "startdatetime": _moment(local_midnight_utc(self.first)),
            "enddatetime": _moment(local_midnight_utc(self.last + timedelta(days=1))),
            **dict(self.particulars),
        }

    def __str__(self) -> str:
        about = ", ".join(value for _, value in self.particulars) or self.market_run_id
        return f"{self.report} ({about}) of {self.first}" + (f" to {self.last}" if self.last != self.first else "")


def lmp_question(first: date, last: date, *nodes: str) -> Question:
    """Day-ahead prices of energy. Raises ``InputError`` for more than 10 nodes or 31 days of 24 hours."""
    if not 1 <= len(nodes) <= MOST_NODES:
        raise InputError(f"{len(nodes)} nodes in one question", remedy=f"Ask for 1 to {MOST_NODES} at a time")
    if not 0 < hours_between(first, last) <= MOST_HOURS:
        raise InputError(
            f"a question for {hours_between(first, last)} hours",
            value=f"{first} to {last}",
            remedy=f"Ask for at most {MOST_HOURS} hours at a time",
        )
    return Question("PRC_LMP", first, last, (("node", ",".join(nodes)),), LMP_COLUMNS)


def reserves_question(market_date: date) -> Question:
    """Day-ahead prices of all ancillary services in all regions; OASIS gives one day at a time."""
    return Question("PRC_AS", market_date, market_date, (("anc_type", "ALL"), ("anc_region", "ALL")), AS_COLUMNS)


def outlook_question(first: date, last: date, run: str) -> Question:
    """The system as CAISO forecast it: its load by ``run`` 2DA or 7DA, two and seven days ahead; by DAM, its solar and
    wind output, day ahead."""
    if run == "DAM":
        return Question("SLD_REN_FCST", first, last, (), RENEWABLE_COLUMNS, version="1")
    return Question("SLD_FCST", first, last, (), LOAD_COLUMNS, version="1", market_run_id=run)


def hours_between(first: date, last: date) -> int:
    """Hours of the market days from ``first`` to ``last``, both included."""
    begin, end = local_midnight_utc(first), local_midnight_utc(last + timedelta(days=1))
    return round((end - begin).total_seconds() / 3600)


class OasisClient:
    """OASIS, or a server that answers as it does, at ``settings.url``."""

    def __init__(self, settings: OasisSettings, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self.settings = settings
        self._longest_wait_s = longest_wait_s  # that an answer may ask for
        self._gate = Gate(settings.gate, settings.interval_s, settings.patience_s)

    def ask(self, question: Question, read: Callable[[pl.DataFrame], T]) -> T:
        """What ``read`` makes of the answer's rows; where it raises ``Incomplete`` the question is repeated.

        Raises ``NoDataError`` where OASIS has nothing yet, ``OasisDownError`` and ``OasisIncompleteError`` when the
        repetitions are used up, ``OasisError`` for everything that no repetition heals.
        """
        asked = self.settings
        try:
            return ask(
                lambda: read(self._once(question)),
                f"OASIS, {question}",
                asked.attempts,
                asked.backoff_s,
                self._longest_wait_s,
            )
        except Refused as refusal:
            raise OasisError(str(refusal), file=asked.url, remedy=ADDRESS) from None
        except Incomplete as last:
            raise OasisIncompleteError(
                f"OASIS gave no whole answer to {question} in {self._times}: {last}",
                remedy="Nothing was kept of it. Try again later; if it stays so, see CAISO's market notices",
            ) from last
        except Again as last:
            raise OasisDownError(
                f"OASIS gave no answer to {question} in {self._times}; the last one: {last}",
                file=asked.url,
                remedy="Try again later, or name a file of prices meanwhile",
            ) from last
        except Refusal as refusal:
            raise _meaning(question, refusal) from None

    def hurried(self) -> OasisClient:
        """The same with one repetition and little patience, for who has less than a minute, such as a sensor's tick."""
        asked = self.settings
        limits = {"attempts": min(asked.attempts, 2), "patience_s": 5.0, "timeout_s": min(asked.timeout_s, 15.0)}
        return OasisClient(asked.model_copy(update=limits), HURRIED_WAIT_S)

    @property
    def _times(self) -> str:
        return f"{self.settings.attempts} attempt{'s' if self.settings.attempts > 1 else ''}"

    def _once(self, question: Question) -> pl.DataFrame:
        asked = self.settings
        address = f"{asked.url.rstrip('/')}/SingleZip"
        LOG.info("asking for %s", question)
        with self._gate.turn():
            answer = get(address, question.parameters(), timeout_s=asked.timeout_s, largest_bytes=LARGEST_BYTES)
        try:
            return rows_of(answer, question.columns)
        except Refusal as refusal:
            if refusal.code == BUSY:
                raise Again(str(refusal)) from None
            raise


def _meaning(question: Question, refusal: Refusal) -> InputError:
    """OASIS's refusal as what it means to us."""
    if refusal.code == NO_DATA:
        return NoDataError(
            f"OASIS has no data for {question}",
            remedy="It publishes a day at 13:00 Pacific of the day before, forgets after about 39 months, and knows "
            "its own nodes alone (see the Atlas reports on OASIS): check the date and the node, or try again later",
        )
    if refusal.code == TOO_LONG:
        return OasisError(f"OASIS refuses {question}: {refusal}", remedy="Ask for fewer days at a time")
    return OasisError(f"OASIS refuses {question}: {refusal}", remedy="The code is explained in CAISO's specification")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H:%M}-0000"


def windows(days: list[date]) -> list[tuple[date, date]]:
    """First and last day of each question that together ask for ``days`` (in order), as few as OASIS allows."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day - found[-1][1] == timedelta(days=1) and hours_between(found[-1][0], day) <= MOST_HOURS:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


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
            acquire(lock, self.patience_s, "other processes are asking OASIS")
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
