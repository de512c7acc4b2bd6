"""72 opportunities over HTTP: how long a day of questions takes, and what a failing service does to it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import LLMError
from vpp_pipeline.llm.providers import PROVIDERS
from vpp_pipeline.llm.store import CallStore
from vpp_pipeline.settings import LLMSettings
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini, Request, Step
from vpp_pipeline_tests.llm.questions import CANARY, Answer, question

OPPORTUNITIES = 72
GOOD = {"number": 0.5, "words": "half"}


def ask_all(gateway: Gateway) -> tuple[list[str], float]:
    """Outcome of each question, and the seconds of all."""

    def ask(number: int) -> str:
        try:
            return repr(gateway.ask(question(user=f"opportunity {number}", subject=f"energy_{number}"), Answer))
        except LLMError as error:
            return str(error.kind)

    begun = time.monotonic()
    with ThreadPoolExecutor(gateway.settings.workers) as pool:
        outcomes = list(pool.map(ask, range(OPPORTUNITIES)))
    return outcomes, time.monotonic() - begun


def test_replay_gives_the_same_answers_with_no_request(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.default = Step(data=GOOD)
    store = CallStore(tmp_path / "llm.sqlite")
    live, _ = ask_all(Gateway(LLMSettings(mode="live"), store, PROVIDERS[sdk](CANARY, server.url)))
    sent = len(server.seen)
    replayed, _ = ask_all(Gateway(LLMSettings(mode="replay"), store))
    assert sent == OPPORTUNITIES
    assert len(server.seen) == sent
    assert replayed == live


@pytest.mark.slow
def test_a_service_that_takes_a_second_each(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.default, server.latency_s = Step(data=GOOD), 1.0
    gateway = Gateway(LLMSettings(mode="live"), CallStore(tmp_path / "llm.sqlite"), PROVIDERS[sdk](CANARY, server.url))
    outcomes, seconds = ask_all(gateway)
    assert set(outcomes) == {repr(Answer(number=0.5, words="half"))}
    assert seconds <= 15.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "percent"),
    [(kind, percent) for kind in ("503", "429", "drop", "malformed") for percent in (10, 50, 100)]
    + [("hang", 50), ("hang", 100)],
)
def test_a_failing_service_ends_in_time(kind: str, percent: int, sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    """Each request fails by its number; the settings are the defaults."""

    def responder(_: Request) -> object:
        is_failing = len(server.seen) * 37 % 100 < percent
        if is_failing:
            return Step(data=GOOD, delay_s=60.0) if kind == "hang" else Step(kind, retry_after="1")
        return GOOD

    server.responder = responder
    gateway = Gateway(LLMSettings(mode="live"), CallStore(tmp_path / "llm.sqlite"), PROVIDERS[sdk](CANARY, server.url))
    outcomes, seconds = ask_all(gateway)
    answered = sum(outcome.startswith("Answer(") for outcome in outcomes)
    print(f"{kind} {percent} %: {answered} of {OPPORTUNITIES} answered, {seconds:.1f} s")
    assert seconds <= 40.0
    assert len(gateway.store.calls()) == OPPORTUNITIES
    assert (answered == 0) == (percent == 100)
