"""Questions to Open-Meteo over HTTP: repeated while that may help, every answer held whole within one limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import httpx
import tenacity

from vpp_pipeline.core.errors import Again, WeatherDownError, WeatherError
from vpp_pipeline.settings import WeatherSettings

LONGEST_PAUSE = 12  # times `backoff_s`
LONGEST_WAIT_S = 90.0  # that an answer may ask for: Open-Meteo's shortest limit is by the minute
LARGEST_BYTES = 5_000_000  # a day's answer has some 3,000

T = TypeVar("T")


def ask(settings: WeatherSettings, question: Mapping[str, str], read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of the answer; where it raises ``Again`` the question is repeated.

    Raises ``WeatherDownError`` when the repetitions are used up and ``WeatherError`` for what no repetition heals.
    """
    pause = tenacity.wait_exponential(multiplier=settings.backoff_s, max=settings.backoff_s * LONGEST_PAUSE)
    repeated = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Again),
        stop=tenacity.stop_after_attempt(settings.attempts),
        wait=lambda state: max(pause(state), _asked_to_wait_s(state)),
        reraise=True,
    )
    try:
        return repeated(lambda: read(_get(settings, question)))
    except Again as last:
        raise WeatherDownError(
            f"the weather service gave no whole answer in {settings.attempts} attempts; the last one: {last}",
            file=settings.url,
            remedy="Try again later, or choose forecast.solar=clear_sky or metered meanwhile",
        ) from last


def _get(settings: WeatherSettings, question: Mapping[str, str]) -> bytes:
    """The body of one answer. httpx's limits are per read, so that a trickle is stopped here."""
    limit, began, body = settings.timeout_s, time.monotonic(), bytearray()
    try:
        with (
            httpx.Client(timeout=limit) as http,
            http.stream("GET", settings.url, params=dict(question)) as response,
        ):
            for part in response.iter_bytes():
                body += part
                if time.monotonic() - began > limit:
                    raise Again(f"no whole answer within {limit:g} s, {len(body)} bytes so far")
                if len(body) > LARGEST_BYTES:
                    raise WeatherError("an answer of more than 5 MB", file=settings.url, remedy=ADDRESS)
            _check_status(response, bytes(body))
    except httpx.TransportError as error:
        raise Again(f"{type(error).__name__}: {error or f'no answer within {limit:g} s'}") from error
    except httpx.InvalidURL as error:
        raise WeatherError(f"not an address: {error}", value=settings.url, remedy=ADDRESS) from None
    return bytes(body)


ADDRESS = "Check the address (VPP_WEATHER_URL, or url under [weather] in data/prices.toml)"


def _check_status(response: httpx.Response, body: bytes) -> None:
    status, said = response.status_code, body[:300].decode(errors="replace").strip()
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
        after = response.headers.get("retry-after", "")
        raise Again(
            f"HTTP {status} {response.reason_phrase}: {said}",
            after_s=min(float(after), LONGEST_WAIT_S) if after.isdigit() else 0.0,
        )
    if status != httpx.codes.OK:
        raise WeatherError(f"HTTP {status} {response.reason_phrase}: {said}", file=str(response.url), remedy=ADDRESS)


def _asked_to_wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.after_s if isinstance(error, Again) else 0.0
