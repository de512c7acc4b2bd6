"""What the concurrency tests run in processes of their own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vpp_pipeline.llm.budget import Budget, Reservation, pacific_day, worst_usage
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMRequest, LLMUsage
from vpp_pipeline.llm.store import CallStore
from vpp_pipeline_tests.llm.questions import Answer, Scripted, question, quick

USAGE = LLMUsage(100, 50)


class CarelessBudget(Budget):
    """A seeded fault: it looks first and reserves later, as a budget in each process's memory would."""

    def reserve(self, request: LLMRequest) -> Reservation:
        worst, spent = worst_usage(request), self.spent()
        if (
            spent.calls + 1 > self._settings.calls_per_day
            or spent.tokens + worst.tokens > self._settings.tokens_per_day
        ):
            raise LLMError(FailKind.BUDGET)
        time.sleep(0.005)
        row = (pacific_day(datetime.now(UTC)), "", worst.tokens, self.usd(worst))
        with self._database.transaction() as connection:
            done = connection.execute("insert into attempt (day, at_utc, tokens, usd) values (?, ?, ?, ?)", row)
        return Reservation(done.lastrowid or 0, worst.tokens, self.usd(worst))


def ask_many(path: Path, process: int, questions: int, is_careless: bool, settings: dict[str, Any]) -> dict[str, int]:
    """Ask ``questions`` of our own in four threads; how many were sent, answered, and refused for want of budget."""
    provider = Scripted(lambda _: (time.sleep(0.002), '{"number": 0.5}')[1], USAGE)
    gateway = Gateway(quick(workers=4, **settings), CallStore(path), provider)
    if is_careless:
        gateway.budget = CarelessBudget(gateway.store.database, gateway.settings)

    def ask(number: int) -> str:
        try:
            gateway.ask(question(user=f"process {process}, question {number}"), Answer)
        except LLMError as error:
            return str(error.kind)
        return "ok"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(ask, range(questions)))
    return {"sent": provider.calls, "ok": outcomes.count("ok"), "budget": outcomes.count("budget")}


def ask_and_never_return(path: Path, sent: Any) -> None:
    """Hang in a call, to be killed there."""

    def hang(_: LLMRequest) -> str:
        sent.set()
        time.sleep(60)
        return ""

    Gateway(quick(attempt_timeout_s=60, deadline_s=60), CallStore(path), Scripted(hang)).ask(question(), Answer)
