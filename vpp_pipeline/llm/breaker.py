"""The circuit breaker: after failures in a row nothing is sent for a while, then one question tries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vpp_pipeline.llm.ports import FailKind, LLMError

UNWELL = frozenset(
    {
        FailKind.RATE_LIMIT,
        FailKind.SERVER,
        FailKind.TIMEOUT,
        FailKind.TRANSPORT,
        FailKind.DEADLINE,
        FailKind.AUTH,
        FailKind.BAD_REQUEST,
    }
)
UNASKED = frozenset({FailKind.BUDGET, FailKind.STORE})  # these say nothing about the provider


class Breaker:
    """Shared by all threads of a gateway. ``clock`` gives seconds that only rise."""

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures, self._pause_s, self._clock = failures, pause_s, clock
        self._in_a_row = 0
        self._open_until: float | None = None
        self._someone_tries = False
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Before a question; each must be followed by one of `well` or `failed`. Raises LLMError(CIRCUIT_OPEN)."""
        with self._lock:
            if self._open_until is None:
                return
            if self._someone_tries or self._clock() < self._open_until:
                raise LLMError(FailKind.CIRCUIT_OPEN, f"{self._in_a_row} questions failed in a row")
            self._someone_tries = True

    def well(self) -> None:
        """The provider answered, whatever it said."""
        with self._lock:
            self._in_a_row, self._open_until, self._someone_tries = 0, None, False

    def failed(self, error: LLMError) -> None:
        """The question failed: a refused key opens at once, and so does a provider that asks for a long wait."""
        if error.kind in UNASKED:
            with self._lock:
                self._someone_tries = False
            return
        if error.kind not in UNWELL:
            self.well()
            return
        with self._lock:
            self._someone_tries = False
            self._in_a_row += 1
            asked_s = error.retry_after_s or 0.0
            if self._in_a_row >= self._failures or error.kind is FailKind.AUTH or asked_s > self._pause_s:
                self._open_until = self._clock() + max(self._pause_s, asked_s)
