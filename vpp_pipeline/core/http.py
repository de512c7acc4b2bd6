"""Polite HTTP: a question is repeated with growing pauses while that may help; an answer comes whole and in time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

import tenacity

from vpp_pipeline.core.errors import Again

if TYPE_CHECKING:
    import httpx

LONGEST_PAUSE = 12  # times the first pause
LONGEST_WAIT_S = 300.0  # a service that asks for more is asked again after this
NOTICED_S = 10.0  # a longer pause is a warning: who waits must see why

T = TypeVar("T")
LOG = logging.getLogger(__name__)


class Refused(Exception):
    """An answer that no repetition heals: another status, too many bytes, an address that is none."""


def repeat(
    work: Callable[[], T],
    about: str,
    *,
    attempts: int,
    first_pause_s: float,
    longest_pause_s: float,
    asked_s: Callable[[BaseException], float | None],
    end_s: float = math.inf,
) -> T:
    """What ``work`` returns, called up to ``attempts`` times; its last error where none succeeds.

    ``asked_s`` gives the seconds for which an error asks us to wait, 0 where it names none, and ``None`` for an error
    that no repetition heals. Pauses double from the first to the longest, and are never shorter than asked for. No
    attempt begins at or after ``end_s`` of the monotonic clock.
    """
    pause = tenacity.wait_exponential(multiplier=first_pause_s, max=longest_pause_s)

    def is_last(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= attempts or time.monotonic() + state.upcoming_sleep >= end_s

    def note(state: tenacity.RetryCallState) -> None:
        level = logging.WARNING if state.upcoming_sleep >= NOTICED_S else logging.INFO
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
    )


def get(url: str, parameters: Mapping[str, str], *, timeout_s: float, largest_bytes: int) -> bytes:
    """The body of an answer of status 200. httpx's limits are per read, so that a trickle is stopped here.

    Raises ``Again`` for status 429 and 5xx, a broken connection and a late answer, ``Refused`` for any other answer.
    """
    import httpx  # loaded by who asks, not by every run

    began, body = time.monotonic(), bytearray()
    try:
        with (
            httpx.Client(timeout=timeout_s) as client,
            client.stream("GET", url, params=dict(parameters)) as response,
        ):
            for part in response.iter_bytes():
                body += part
                if time.monotonic() - began > timeout_s:
                    raise Again(f"no whole answer within {timeout_s:g} s, {len(body)} bytes so far")
                if len(body) > largest_bytes:
                    raise Refused(f"an answer of more than {largest_bytes / 1e6:g} MB")
            _check_status(response, bytes(body[:300]))
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise Again(f"{type(error).__name__}: {error or f'no answer within {timeout_s:g} s'}") from error
    except httpx.InvalidURL as error:
        raise Refused(f"not an address: {error}") from None
    return bytes(body)


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
