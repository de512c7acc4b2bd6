"""The adapter to `google-genai` (extra `gemini`), and what both Gemini adapters read from the service."""

from __future__ import annotations

import logging
import math
import re
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from vpp_pipeline.llm.interface import FailKind, LLMError, LLMReply, LLMRequest, LLMUsage

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s?")
_VERSION = re.compile(r"[\w.\-/:@]{1,128}")
_UNCONNECTED = {"ConnectError", "ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError"}
UNTOLD_VERSION = "untold"


class GenAIProvider:
    """Gemini through google-genai. No ``base_url``: the provider's own endpoint. Raises ImportError without the SDK."""

    name = "google-genai"

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        from google import genai
        from google.genai import types

        keep_out_of_logs("httpcore", "httpcore2", "httpx", "httpx2", "google_genai")
        # the SDK warns of words it does not know by repeating them, whatever an endpoint puts there
        warnings.filterwarnings("ignore", message=".* is not a valid ", module=r"google\.genai")
        self._key, self._types = Secret(api_key), types
        self._client: Any = genai.Client(
            vertexai=False,
            api_key=api_key,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1beta",
                # budget and deadline hold only if the gateway alone repeats; a redirect would carry the key elsewhere
                retry_options=types.HttpRetryOptions(attempts=1),
                client_args={"follow_redirects": False},
            ),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
        """One attempt. See `LLMProvider`."""
        return received(self._outcome(request, timeout_s))

    def _outcome(self, request: LLMRequest, timeout_s: float) -> LLMReply | LLMError:
        begun = time.monotonic()
        response = answered(lambda: self._send(request, timeout_s), _failure)
        if isinstance(response, LLMError):
            return response
        candidate = response.candidates[0] if response.candidates else None
        parts = (candidate.content.parts if candidate and candidate.content else None) or []
        told, feedback = response.usage_metadata, response.prompt_feedback
        return judged(
            block=feedback and feedback.block_reason,
            finish=candidate.finish_reason.name if candidate and candidate.finish_reason else None,
            text="".join(part.text or "" for part in parts if not part.thought),
            version=response.model_version,
            usage=usage_of(
                told and told.prompt_token_count,
                told and told.candidates_token_count,
                told and told.thoughts_token_count,
                told and told.cached_content_token_count,
            ),
            key=self._key,
            latency_s=time.monotonic() - begun,
        )

    def _send(self, request: LLMRequest, timeout_s: float) -> Any:
        types = self._types
        config = types.GenerateContentConfig(
            system_instruction=request.system,
            temperature=request.temperature,
            seed=request.seed,
            max_output_tokens=request.max_output_tokens,
            response_mime_type="application/json",
            response_json_schema=request.json_schema,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(timeout=max(1, int(timeout_s * 1000))),
        )
        return self._client.models.generate_content(model=request.model, contents=request.user, config=config)


def _failure(error: Exception) -> LLMError:
    from google.genai import errors

    if not isinstance(error, errors.APIError):
        return transport_failure(error)
    headers = getattr(error.response, "headers", None)
    inner = error.details.get("error", {}) if isinstance(error.details, dict) else {}
    details = inner.get("details", ()) if isinstance(inner, dict) else ()
    wait_s = retry_after_s(headers.get("retry-after") if headers is not None else None, details)
    return failure_of_status(int(error.code or 500), str(error.message or ""), wait_s)


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
