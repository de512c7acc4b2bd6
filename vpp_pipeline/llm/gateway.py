"""Requests to a language model: stored answers, budget, deadlines, retries, breaker, strict parsing, audit.

Callers get a validated answer or an LLMError, and own a fallback without a model. A gateway serves one run and may be
asked from several threads.

A limited number of calls at once, each held to the wall clock.

The SDKs' own time limits are per read: a body that trickles passes them. A call that is late is left behind in its
thread, which keeps its place in the line until it has truly ended and never keeps the process alive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pydantic import ValidationError

from vpp_pipeline.core.http import repeat
from vpp_pipeline.llm.budget import Budget, pacific_day, worst_usage
from vpp_pipeline.llm.interface import RETRYABLE, FailKind, LLMError, LLMProvider, LLMReply, LLMRequest, LLMUsage, T
from vpp_pipeline.llm.store import Call, CallStore, StoredReply
from vpp_pipeline.settings import LLMSettings

LOG = logging.getLogger(__name__)
LEAST_SECONDS = 0.05  # with less time left an attempt is not begun
NO_ANSWERS: Mapping[str, StoredReply] = {}
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


@dataclass
class _Account:
    """What one question has used so far."""

    begun: float
    provider: str
    attempts: int = 0
    usage: LLMUsage = field(default_factory=LLMUsage)
    model_version: str = ""
    is_stored_answer: bool = False

    def add(self, usage: LLMUsage, model_version: str) -> None:
        self.usage = LLMUsage(
            self.usage.input_tokens + usage.input_tokens, self.usage.output_tokens + usage.output_tokens
        )
        self.model_version = model_version or self.model_version


class Gateway:
    """``provider`` may be absent in the modes `off` and `replay`. ``answers`` are read after the store's own."""

    def __init__(
        self,
        settings: LLMSettings,
        store: CallStore,
        provider: LLMProvider | None = None,
        *,
        answers: Mapping[str, StoredReply] = NO_ANSWERS,
        run_id: str = "",
        market_date: date | None = None,
    ) -> None:
        self.settings, self.store = settings, store
        self.budget = Budget(store.database, settings)
        self._provider, self._answers = provider, answers
        self._run_id, self._market_date = run_id, market_date
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_pause_s)
        self._line = Line(settings.workers)
        self._ends: float | None = None
        self._lock = threading.Lock()

    def ask(self, request: LLMRequest, out: type[T]) -> T:
        """The model's answer as ``out``. Raises only LLMError. Every question but those in mode `off` is audited."""
        if self.settings.mode == "off":
            raise LLMError(FailKind.OFF, "llm.mode is off")
        account = _Account(time.monotonic(), self._provider.name if self._provider else "")
        try:
            value = self._answer(request, out, account)
        except LLMError as error:
            self._log(request, account, error.kind)
            raise
        self._log(request, account, "ok")
        return value

    def _answer(self, request: LLMRequest, out: type[T], account: _Account) -> T:
        _within(request.system + request.user, self.settings.prompt_limit_bytes, FailKind.TOO_LARGE)
        key = request.key()
        if self.settings.mode == "refresh":
            self.store.forget(key)  # a failure now must be a failure in replay as well
        else:
            stored = self.store.get(key) or self._answers.get(key)
            if stored is not None:
                account.is_stored_answer, account.provider = True, stored.provider
                account.model_version = stored.reply.model_version
                return _parse(stored.reply.text, out)
        if self.settings.mode == "replay":
            raise LLMError(FailKind.REPLAY_MISS, "no answer to this question is stored")
        self._breaker.enter()
        try:
            reply = self._attempts(request, account)
        except LLMError as error:
            self._breaker.failed(error)
            raise
        self._breaker.well()
        _within(reply.text, self.settings.reply_limit_bytes, FailKind.INVALID_OUTPUT)
        _parse(reply.text, out)
        return _parse(self.store.keep(request, reply, account.provider).text, out)

    def _attempts(self, request: LLMRequest, account: _Account) -> LLMReply:
        """Attempts until one succeeds, fails for good, or the next would come too late."""
        settings = self.settings
        end = min(account.begun + settings.deadline_s, self._run_end())
        return repeat(
            lambda: self._attempt(request, account, end),
            f"language model, {request.purpose} {request.subject}",
            attempts=settings.attempts,
            first_pause_s=settings.first_pause_s,
            longest_pause_s=settings.longest_pause_s,
            asked_s=_asked_s,
            end_s=end - LEAST_SECONDS,
        )

    def _attempt(self, request: LLMRequest, account: _Account, end: float) -> LLMReply:
        provider = self._provider
        if provider is None:
            raise LLMError(FailKind.AUTH, "there is no provider to ask")
        self._line.enter(end - time.monotonic())
        try:
            timeout_s = min(self.settings.attempt_timeout_s, end - time.monotonic())
            if timeout_s < LEAST_SECONDS:
                raise LLMError(FailKind.DEADLINE, "no time left")
            reservation = self.budget.reserve(request)
        except BaseException:
            self._line.leave()
            raise
        account.attempts += 1
        try:
            reply = self._line.run(lambda: provider.generate(request, timeout_s=timeout_s), timeout_s)
        except LLMError as error:
            used = _billed(error, request)
            account.add(used, error.model_version)
            self.budget.settle(reservation, used)
            raise
        # an untold usage counts as the worst case
        usage = reply.usage if reply.usage.tokens > 0 else worst_usage(request)
        account.add(usage, reply.model_version)
        self.budget.settle(reservation, usage)
        return reply

    def _run_end(self) -> float:
        with self._lock:
            if self._ends is None:
                self._ends = time.monotonic() + self.settings.run_deadline_s
            return self._ends

    def _log(self, request: LLMRequest, account: _Account, outcome: str) -> None:
        now = datetime.now(UTC)
        self.store.log(
            Call(
                at_utc=now.isoformat(),
                market_date=self._market_date.isoformat() if self._market_date else pacific_day(now),
                run_id=self._run_id,
                purpose=request.purpose,
                subject=request.subject,
                prompt_hash=request.key(),
                mode=self.settings.mode,
                provider=account.provider,
                model=request.model,
                model_version=account.model_version,
                outcome=str(outcome),
                is_stored_answer=account.is_stored_answer,
                attempts=account.attempts,
                input_tokens=account.usage.input_tokens,
                output_tokens=account.usage.output_tokens,
                usd=self.budget.usd(account.usage),
                seconds=time.monotonic() - account.begun,
            )
        )


#: answers of the provider's server by which it bills nothing: Gemini's billing FAQ, "Am I charged for failed requests?"
_FREE = frozenset({FailKind.RATE_LIMIT, FailKind.SERVER, FailKind.AUTH, FailKind.BAD_REQUEST})


def _asked_s(error: BaseException) -> float | None:
    """Seconds that the provider asks us to wait; ``None`` where another attempt would not help."""
    return error.retry_after_s or 0.0 if isinstance(error, LLMError) and error.kind in RETRYABLE else None


def _billed(error: LLMError, request: LLMRequest) -> LLMUsage:
    """Tokens of a failed attempt: as told, none where nothing is billed, else the worst case."""
    if error.usage is not None and error.usage.tokens > 0:
        return error.usage
    return LLMUsage() if error.kind in _FREE or not error.is_sent else worst_usage(request)


def _within(text: str, limit_bytes: int, kind: FailKind) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size != len(text.encode(errors="ignore")):
        raise LLMError(kind, "not text: half of a surrogate pair")
    if size > limit_bytes:
        raise LLMError(kind, f"{size} bytes, the limit is {limit_bytes}")


def _parse(text: str, out: type[T]) -> T:
    """``text`` as ``out``. The error names fields and rules alone: values may hold what a person wrote."""
    try:
        return out.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
    faults = "; ".join(f"{_place(each['loc'], each['type'])}: {each['type']}" for each in found[:3])
    raise LLMError(FailKind.INVALID_OUTPUT, faults)


def _place(location: tuple[int | str, ...], fault: str) -> str:
    """Where in the answer, without a name that the answer itself made up."""
    known = location[:-1] if fault == "extra_forbidden" else location
    return "/".join(str(part) for part in known) or "answer"


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
                pause_s = max(self._pause_s, asked_s)
                self._open_until = self._clock() + pause_s
                LOG.warning(
                    "language model: %d questions failed in a row, the last by %s; none is asked for %g s",
                    self._in_a_row,
                    error.kind,
                    pause_s,
                )


@dataclass
class _Result:
    """What a call came to, for who waits."""

    done: threading.Event = field(default_factory=threading.Event)
    reply: LLMReply | None = None
    error: LLMError | None = None


class Line:
    """Places for ``workers`` calls."""

    def __init__(self, workers: int) -> None:
        self._places = threading.BoundedSemaphore(workers)

    def enter(self, within_s: float) -> None:
        """Take a place, to be given back by `leave` or by the end of `run`. Raises LLMError(DEADLINE)."""
        if not self._places.acquire(timeout=max(0.0, within_s)):
            raise LLMError(FailKind.DEADLINE, "all workers were busy")

    def leave(self) -> None:
        self._places.release()

    def run(self, work: Callable[[], LLMReply], timeout_s: float) -> LLMReply:
        """The result of ``work`` within ``timeout_s``. Raises only LLMError: TIMEOUT, or what ``work`` raised."""
        result = _Result()
        threading.Thread(target=self._work, args=(work, result), name="llm", daemon=True).start()
        if not result.done.wait(timeout_s):
            raise LLMError(FailKind.TIMEOUT, f"no answer within {timeout_s:.1f} s")
        if result.reply is None:
            raise result.error or LLMError(FailKind.TRANSPORT, "the provider gave nothing")
        return result.reply

    def _work(self, work: Callable[[], LLMReply], result: _Result) -> None:
        try:
            result.reply = work()
        except LLMError as error:
            result.error = error
        except Exception as error:  # an adapter's own fault counts as a failed call; its words may hold a secret
            result.error = LLMError(FailKind.TRANSPORT, f"the adapter raised {type(error).__name__}")
        finally:
            self.leave()
            result.done.set()
