"""What both Gemini adapters read from the service: kinds of failures, waits asked for, and whether an answer counts."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from vpp_pipeline.llm.ports import FailKind, LLMError, LLMReply, LLMUsage

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s?")
_VERSION = re.compile(r"[\w.\-/:@]{1,128}")
_UNCONNECTED = {"ConnectError", "ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError"}
UNTOLD_VERSION = "untold"


def failure_of_status(status: int, body: str, retry_after_s: float | None) -> LLMError:
    """An error answer of the service. Its words stay out of the message: a proxy may echo the key in them."""
    if status == 429:
        kind = FailKind.RATE_LIMIT
    elif status in (401, 403) or (status == 400 and "api key" in body.lower()):
        kind = FailKind.AUTH
    elif 400 <= status < 500:
        kind = FailKind.BAD_REQUEST
    elif 300 <= status < 400:
        kind, body = FailKind.TRANSPORT, "redirect"
    else:
        kind = FailKind.SERVER
    return LLMError(kind, f"HTTP {status}", retry_after_s=retry_after_s)


def retry_after_s(header: str | None, details: Any = ()) -> float | None:
    """Seconds to wait: the longest of the header (seconds or a date) and `RetryInfo.retryDelay` among the details."""
    told = [_header_seconds(header)] if header else []
    for detail in details if isinstance(details, (list, tuple)) else ():
        if isinstance(detail, dict) and "retryDelay" in detail:
            told.append(_seconds(str(detail["retryDelay"])))
    waits = [wait for wait in told if wait is not None]
    return max(waits, default=None)


def _header_seconds(header: str) -> float | None:
    seconds = _seconds(header)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _seconds(text: str) -> float | None:
    found = _SECONDS.fullmatch(text.strip())
    return float(found[1]) if found else None


def usage_of(prompt: Any, output: Any, thoughts: Any = 0, cached: Any = 0) -> LLMUsage:
    """Tokens as told; untold where a number is not one or is negative, so that no reply can refund a budget."""
    numbers = [value if value is not None else 0 for value in (prompt, output, thoughts, cached)]
    if not all(isinstance(value, int) and 0 <= value < math.inf for value in numbers):
        return LLMUsage()
    return LLMUsage(numbers[0], numbers[1] + numbers[2], numbers[3])


class Secret:
    """A key that does not show."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret()"

    def is_in(self, text: str) -> bool:
        return self._value in text


def judged(
    *, block: Any, finish: str | None, text: str, version: Any, usage: LLMUsage, key: Secret, latency_s: float
) -> LLMReply | LLMError:
    """The reply, if it is whole, else why not: BLOCKED, TRUNCATED, INVALID_OUTPUT."""
    is_told = isinstance(version, str) and _VERSION.fullmatch(version) and not key.is_in(version)
    told = version if is_told else UNTOLD_VERSION
    if block:
        kind, why = FailKind.BLOCKED, "the prompt was blocked"
    elif finish == "MAX_TOKENS":
        kind, why = FailKind.TRUNCATED, "max_output_tokens was reached"
    elif finish != "STOP":
        kind, why = FailKind.BLOCKED, "the answer ended for another reason"
    elif key.is_in(text):
        kind, why = FailKind.INVALID_OUTPUT, "the answer holds the API key"
    else:
        return LLMReply(text, told, usage, latency_s)
    return LLMError(kind, why, usage=usage, model_version=told)


def received(outcome: LLMReply | LLMError) -> LLMReply:
    """The reply, or raises why there is none: from here, since frames that see a response may hold what it says."""
    if isinstance(outcome, LLMError):
        raise outcome
    return outcome


def keep_out_of_logs(*loggers: str) -> None:
    """At level DEBUG these libraries log headers, questions and answers: they stay at INFO."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.INFO)


def answered(call: Callable[[], Any], failure: Callable[[Exception], LLMError]) -> Any:
    """What an SDK's ``call`` gives, or its exception as LLMError, to be raised after its handler.

    As context the SDK's own would hold request, headers and key.
    """
    try:
        return call()
    except Exception as error:
        return failure(error)


def transport_failure(error: Exception) -> LLMError:
    """A failure below HTTP, told by the names of its classes: SDKs exchange their HTTP libraries."""
    if isinstance(error, RecursionError):
        return LLMError(FailKind.INVALID_OUTPUT, "nested too deeply")
    names = [kind.__name__ for kind in type(error).__mro__]
    kind = FailKind.TIMEOUT if any("Timeout" in name for name in names) else FailKind.TRANSPORT
    return LLMError(kind, names[0], is_sent=not _is_unconnected(error))


def _is_unconnected(error: Exception) -> bool:
    """Whether no connection came about; requests keeps the reason inside of what it raises."""
    inside = [error, *error.args, *(getattr(each, "reason", None) for each in error.args)]
    return any(type(each).__name__ in _UNCONNECTED for each in inside)
