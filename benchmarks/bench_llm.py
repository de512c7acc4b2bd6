"""What advice can do to a day's negotiations, and how long asking takes: Markdown tables for docs/llm.md.

    python benchmarks/bench_llm.py [days, default 5]    advisers of all kinds, 72 opportunities a day
    python benchmarks/bench_llm.py seconds              a local server that takes a second, replay, failures

Advice is made by rules of ours (`vpp_pipeline_tests/llm/pretended_advice.py`); no language model is behind any arm, and
none of this says what one would do. Real SP15 prices (``../shared/data`` beside the checkout), days of 2023 and 2024,
the default 200 prosumers, no requests. Every arm asks through the gateway, so that budget, retries and breaker count.
Ends with 1 where an arm breaks a rule of any check, or where a time is beyond its limit.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from days import prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.tables import Day, Tables
from vpp_pipeline.evaluation.compare import measures_of
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMProvider, LLMReply, LLMRequest, LLMUsage
from vpp_pipeline.llm.providers import PROVIDERS
from vpp_pipeline.llm.store import CallStore
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.pipeline import bid_solution, prepare_problem, solve
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.negotiation import check_negotiation
from vpp_pipeline_tests.llm import pretended_advice
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini, Request, Step

DAYS, FAILURE_PERCENTS = 5, (10, 50, 100)
LIMIT_LIVE_S, LIMIT_REPLAY_S, LIMIT_FAILING_S = 15.0, 1.0, 45.0
STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
Say = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """Who advises; nobody where ``say`` is None. ``fails_percent`` of all attempts end in an error of the server."""

    words: str
    say: Say | None
    trust: float = 0.15
    fails_percent: int = 0


ARMS = (
    Arm("rule alone", None),
    Arm("random advice", pretended_advice.random),
    Arm("hostile: concede nothing", pretended_advice.hostile),
    Arm("the same, no trust region", pretended_advice.hostile, trust=1.0),
    Arm("hostile: concede everything", pretended_advice.spendthrift),
    Arm("the same, no trust region", pretended_advice.spendthrift, trust=1.0),
    Arm("scripted: give way late", pretended_advice.good),
    *(
        Arm(f"scripted, {percent} % of attempts fail", pretended_advice.good, 0.15, percent)
        for percent in FAILURE_PERCENTS
    ),
)


class Local:
    """A provider in this process: answers by an arm's rules, or fails by a number drawn from question and attempt."""

    name = "local"

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._attempts: dict[str, int] = {}

    def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
        key = request.key()
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        drawn = hashlib.sha256(f"{key} {attempt}".encode()).digest()[0] * 100 // 256
        if drawn < self._arm.fails_percent or self._arm.say is None:
            raise LLMError(FailKind.SERVER)
        return LLMReply(json.dumps(self._arm.say(json.loads(request.user))), "local", LLMUsage(700, 100))


def settings_of(arm: Arm) -> Settings:
    """The defaults, but for pauses between attempts; their length is measured by `seconds`."""
    llm = {"mode": "live", "first_pause_s": 0.01, "longest_pause_s": 0.02, "usd_per_day": 1000.0}
    negotiation = {"engine": "llm" if arm.say else "concession", "trust_region_fraction": arm.trust}
    return Settings.model_validate({"negotiation": negotiation, "llm": llm})


@contextmanager
def adviser_of(settings: Settings, provider: LLMProvider | None) -> Iterator[ModelAdviser]:
    with TemporaryDirectory() as folder:
        store = CallStore(Path(folder) / "llm.sqlite")
        yield ModelAdviser(Gateway(settings.llm, store, provider), settings.negotiation, settings.llm)
        store.close()


def measure(arm: Arm, day: Day) -> dict[str, float]:
    """One day under one arm: the figures of `compare-engines`, and how much the rule decided."""
    settings = settings_of(arm)
    if arm.say is None:
        (negotiated, problem), fallback = prepare_problem(day, settings), 1.0
    else:
        with adviser_of(settings, Local(arm)) as adviser:
            negotiated, problem = prepare_problem(day, settings, adviser)
            fallback = adviser.tally.fallback_fraction
    tables = bid_solution(negotiated, problem, solve(problem, settings), settings, STAMP)
    return {**measures_of(tables, settings), "fallback": fallback}


def compare_arms(days: list[Day]) -> None:
    """One line per arm: shares are means over days, money is a day's mean; success is over all feasible ones."""
    opportunities = sum(day["market.opportunities"].height for day in days)
    print(f"{len(days)} days, {opportunities} opportunities\n")
    print("| Advice | Decided by rule | Fill | Success | Margin | Profit, $ | Surplus, $ | Satisfaction | Violations |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    broken = 0
    for arm in ARMS:
        rows = [measure(arm, day) for day in days]
        mean = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
        feasible = sum(row["feasible"] for row in rows)
        met = sum(row["success_fraction"] * row["feasible"] for row in rows) / feasible
        violations = sum(int(row["violations"]) for row in rows)
        broken += violations
        print(
            f"| {arm.words} | {mean['fallback']:.0%} | {mean['fill_fraction']:.1%} | {met:.1%} of {feasible:.0f} | "
            f"{mean['margin_fraction']:.1%} | {mean['profit_usd']:.2f} | {mean['surplus_usd']:.2f} | "
            f"{mean['satisfaction']:.2f} | {violations} |",
            flush=True,
        )
    if broken:
        sys.exit(f"failed: {broken} violations")


def timed(inputs: Day, settings: Settings, gateway: Gateway) -> tuple[Tables, ModelAdviser, float]:
    adviser = ModelAdviser(gateway, settings.negotiation, settings.llm)
    begun = time.monotonic()
    negotiated, _ = prepare_problem(inputs, settings, adviser)
    return negotiated, adviser, time.monotonic() - begun


def compare_seconds(day: Day) -> None:
    """The day's negotiation over HTTP, terms and words included, by the default settings."""
    live = Settings.model_validate({"negotiation": {"engine": "llm"}, "llm": {"mode": "live"}})
    replay = Settings.model_validate({"negotiation": {"engine": "llm"}, "llm": {"mode": "replay"}})
    problems: list[str] = []
    print("| Service | Answered | Requests | Seconds | Limit | Violations |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")

    def line(words: str, settings: Settings, gateway: Gateway, server: FakeGemini, limit_s: float) -> None:
        sent = len(server.seen)
        negotiated, adviser, seconds = timed(day, settings, gateway)
        faults = check_negotiation(negotiated, settings).height
        answered = f"{adviser.tally.answered} of {adviser.tally.asked}"
        requests = len(server.seen) - sent
        print(f"| {words} | {answered} | {requests} | {seconds:.1f} | {limit_s:g} | {faults} |", flush=True)
        if seconds > limit_s or faults:
            problems.append(f"{words}: {seconds:.1f} s, {faults} violations")

    def advice(request: Request) -> Any:
        return pretended_advice.good(json.loads(request.prompt))

    def failing(server: FakeGemini, kind: str, percent: int) -> Callable[[Request], Any]:
        def responder(request: Request) -> Any:
            is_failing = len(server.seen) * 37 % 100 < percent
            step = Step(delay_s=60.0) if kind == "hangs" else Step(kind)
            return step if is_failing else advice(request)

        return responder

    with TemporaryDirectory() as folder:
        for latency_s, words in ((1.0, "a second an answer, 8 workers"), (0.0, "at once")):
            store = CallStore(Path(folder) / f"{latency_s}.sqlite")
            with FakeGemini(advice, latency_s) as server:
                provider = PROVIDERS["google-genai"]("no key", server.url)
                line(words, live, Gateway(live.llm, store, provider), server, LIMIT_LIVE_S)
                line(f"{words}: replayed", replay, Gateway(replay.llm, store), server, LIMIT_REPLAY_S)
        for kind in ("503", "hangs"):
            for percent in FAILURE_PERCENTS:
                with FakeGemini() as server:
                    server.responder = failing(server, kind, percent)
                    provider = PROVIDERS["google-genai"]("no key", server.url)
                    gateway = Gateway(live.llm, CallStore(Path(folder) / f"{kind}_{percent}.sqlite"), provider)
                    line(f"{percent} % of requests: {kind}", live, gateway, server, LIMIT_FAILING_S)
    if problems:
        sys.exit("failed: " + "; ".join(problems))


def main() -> None:
    if sys.argv[1:2] == ["seconds"]:
        compare_seconds(prepare_day(date(2023, 8, 15), open_source(), Settings()))
        return
    source = real_prices()
    chosen = random_days(int(sys.argv[1]) if sys.argv[1:] else DAYS)
    print(f"{', '.join(map(str, chosen))}; ", end="")
    compare_arms([prepare_day(market_date, source, Settings()) for market_date in chosen])


if __name__ == "__main__":
    main()
