"""Polite HTTP: a question is repeated with growing pauses while that may help; an answer comes whole and in time."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import Again, without_secrets

if TYPE_CHECKING:
    import httpx

LONGEST_PAUSE = 12  # times the first pause
LONGEST_WAIT_S = 300.0  # a service that asks for more is asked again after this
NOTICED_S = 10.0  # a longer pause is a warning: who waits must see why

T = TypeVar("T")
LOG = logging.getLogger(__name__)


class Refused(Exception):
    """An answer that no repetition heals: another status, too many bytes, an address that is none."""

    def __init__(self, problem: str) -> None:
        super().__init__(printable(without_secrets(problem)))


def repeat(
    work: Callable[[], T],
    about: str,
    *,
    attempts: int,
    first_pause_s: float,
    longest_pause_s: float,
    asked_s: Callable[[BaseException], float | None],
    end_s: float = math.inf,
    noticed_s: float = NOTICED_S,
) -> T:
    """What ``work`` returns, called up to ``attempts`` times; its last error where none succeeds.

    ``asked_s`` gives the seconds for which an error asks us to wait, 0 where it names none, and ``None`` for an error
    that no repetition heals. Pauses double from the first to the longest, and are never shorter than asked for. No
    attempt begins at or after ``end_s`` of the monotonic clock. A pause of ``noticed_s`` or more is a warning.
    """
    pause = tenacity.wait_exponential(multiplier=first_pause_s, max=longest_pause_s)

    def is_last(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= attempts or time.monotonic() + state.upcoming_sleep >= end_s

    def note(state: tenacity.RetryCallState) -> None:
        level = logging.WARNING if state.upcoming_sleep >= noticed_s else logging.INFO
        words = "%s: %s; attempt %d of %d follows in %.1f s"
        LOG.log(level, words, about, _error(state), state.attempt_number + 1, attempts, state.upcoming_sleep)

    repeated = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: asked_s(error) is not None),
        stop=is_last,
        wait=lambda state: max(pause(state), asked_s(_error(state)) or 0.0),
        before_sleep=note,
        reraise=True,
    )
    return repeated(work)


def _error(state: tenacity.RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or RuntimeError("no attempt was made")


def ask(
    work: Callable[[], T], about: str, attempts: int, backoff_s: float, longest_wait_s: float = LONGEST_WAIT_S
) -> T:
    """What ``work`` returns, repeated where it raises ``Again``, which is raised where the attempts are used up."""
    return repeat(
        work,
        about,
        attempts=attempts,
        first_pause_s=backoff_s,
        longest_pause_s=LONGEST_PAUSE * backoff_s,
        asked_s=lambda error: min(error.after_s, longest_wait_s) if isinstance(error, Again) else None,
        noticed_s=0.0,  # who asks a feed waits for its answer
    )


def get(url: str, parameters: Mapping[str, str], *, timeout_s: float, largest_bytes: int) -> bytes:
    """The body of an answer of status 200, with everything before it within ``timeout_s`` of the wall clock.

    Raises ``Again`` for status 429 and 5xx, a broken connection and a late answer, ``Refused`` for any other answer.
    """
    return _whole(_Exchange(url, parameters, timeout_s, largest_bytes))


def post(url: str, document: Mapping[str, Any], *, timeout_s: float, largest_bytes: int = 100_000) -> bytes:
    """The body of the answer to ``document``, sent as JSON, under the same limits; any status of success will do."""
    return _whole(_Exchange(url, {}, timeout_s, largest_bytes, document))


def _whole(exchange: _Exchange) -> bytes:
    """The body, once it has come; within the exchange's own limit of time."""
    timeout_s = exchange.timeout_s
    threading.Thread(target=exchange.run, name="http", daemon=True).start()
    try:
        if not exchange.done.wait(timeout_s):
            raise Again(f"no whole answer within {timeout_s:g} s, {len(exchange.body)} bytes so far")
    finally:
        exchange.end()
    if exchange.error is not None:
        raise exchange.error
    return bytes(exchange.body)


class _Exchange:
    """One request and its answer, in a thread of its own that :meth:`end` stops wherever it is.

    httpx's limits are per read, and a name is looked up without any: a header that comes byte by byte passes them.
    """

    def __init__(
        self,
        url: str,
        parameters: Mapping[str, str],
        timeout_s: float,
        largest_bytes: int,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self._url, self._parameters, self._document = url, parameters, document
        self.timeout_s, self._largest_bytes = timeout_s, largest_bytes
        self.body, self.done = bytearray(), threading.Event()
        self.error: BaseException | None = None
        self._socket: socket.socket | None = None
        self._has_ended = False
        self._lock = threading.Lock()

    def run(self) -> None:
        """Fill ``body``, or ``error``, and set ``done``."""
        try:
            self._exchange()
        except BaseException as error:  # raised again by who waits
            self.error = error
        finally:
            self.done.set()

    def end(self) -> None:
        """Break the connection: the thread ends, and nothing more is sent."""
        with self._lock:
            self._has_ended = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self) -> None:
        import httpx  # loaded by who asks, not by every run

        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes the whole address, with its password
        try:  # what httpx says of a wrong address may hold a part of its password
            address = httpx.URL(self._url)
            user = httpx.BasicAuth(address.username, address.password) if address.userinfo else None
            address = address.copy_with(userinfo=b"").copy_merge_params(dict(self._parameters))
        except (httpx.InvalidURL, UnicodeError):
            raise Refused("not an address") from None
        try:
            client = httpx.Client(timeout=self.timeout_s)
        except (httpx.InvalidURL, ImportError, OSError, ValueError):
            raise Refused("the proxy or the certificates that the environment names cannot be used") from None
        try:
            method, sent = ("GET", None) if self._document is None else ("POST", self._document)
            asked = client.stream(method, address, json=sent, auth=user, extensions={"trace": self._note})
            with client, asked as response:
                for part in response.iter_bytes():
                    if self._has_ended:
                        return
                    self.body += part
                    if len(self.body) > self._largest_bytes:
                        raise Refused(f"an answer of more than {self._largest_bytes / 1e6:g} MB")
                if self._document is None or not response.is_success:
                    _check_status(response, bytes(self.body[:300]))
        except (httpx.UnsupportedProtocol, UnicodeError):
            raise Refused("not an address") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            problem = f"{type(error).__name__}: {error or f'no answer within {self.timeout_s:g} s'}"
            raise Again(problem) from error

    def _note(self, event: str, about: Mapping[str, Any]) -> None:
        """httpx's extension `trace`: every step of the connection, the first of which opens a socket."""
        with self._lock:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                self._socket = about["return_value"].get_extra_info("socket")
            if self._has_ended and not event.endswith((".failed", "close.started", "close.complete")):
                self._shut_down()  # of a connection that was made too late
                raise Again("given up")


def _check_status(response: httpx.Response, beginning: bytes) -> None:
    """Raises ``Again`` or ``Refused`` for another status than 200, with what the service says of it in plain text."""
    status, headers = response.status_code, response.headers
    if status == 200:
        return
    says = "" if "html" in headers.get("content-type", "") else beginning.decode(errors="replace").strip()
    leads = f"sent on to {headers['location']}" if "location" in headers else ""
    problem = ": ".join(words for words in (f"HTTP {status} {response.reason_phrase}", leads, says) if words)
    if status == 429 or status >= 500:
        raise Again(problem, after_s=asked_wait_s(headers.get("retry-after", ""), datetime.now(UTC)))
    raise Refused(problem)


def asked_wait_s(retry_after: str, now: datetime) -> float:
    """Seconds that a header Retry-After asks for, as a number or as a date (RFC 9110); 0 for anything else."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - now).total_seconds(), 0.0)
