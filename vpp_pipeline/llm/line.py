"""A limited number of calls at once, each held to the wall clock.

The SDKs' own time limits are per read: a body that trickles passes them. A call that is late is left behind in its
thread, which keeps its place in the line until it has truly ended and never keeps the process alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from vpp_pipeline.llm.ports import FailKind, LLMError, LLMReply


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
