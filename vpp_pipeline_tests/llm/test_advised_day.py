"""The default day negotiated with advice over HTTP: what replay gives, what failures cost, how long it takes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.paths import example_file
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.providers import PROVIDERS
from vpp_pipeline.llm.session import EXAMPLE_ANSWERS
from vpp_pipeline.llm.store import CallStore, read_answers
from vpp_pipeline.pipeline import negotiate_in_memory
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.negotiation import check_negotiation
from vpp_pipeline_tests.llm import pretended_advice
from vpp_pipeline_tests.llm.example_answers import LABEL
from vpp_pipeline_tests.llm.fake_gemini import MODEL_VERSION, FakeGemini, Request, Step
from vpp_pipeline_tests.llm.questions import CANARY
from vpp_pipeline_tests.llm.spoken import example_inputs

DEALS = "negotiation.agreements"


def settings_of(mode: str, **llm: Any) -> Settings:
    return Settings.model_validate({"negotiation": {"engine": "llm"}, "llm": {"mode": mode, **llm}})


@dataclass(frozen=True)
class Advised:
    """A negotiated day, who advised it, and how long the negotiation took."""

    tables: Tables
    adviser: ModelAdviser
    seconds: float


def negotiate(gateway: Gateway, settings: Settings) -> Advised:
    adviser = ModelAdviser(gateway, settings.negotiation, settings.llm)
    begun = time.monotonic()
    given = example_inputs()
    day = given | negotiate_in_memory(given, settings, adviser)
    return Advised(day, adviser, time.monotonic() - begun)


def live(store: CallStore, server: FakeGemini, sdk: str = "google-genai", **llm: Any) -> Advised:
    settings = settings_of("live", **llm)
    return negotiate(Gateway(settings.llm, store, PROVIDERS[sdk](CANARY, server.url)), settings)


def replayed(store: CallStore, **more: Any) -> Advised:
    settings = settings_of("replay")
    return negotiate(Gateway(settings.llm, store, **more), settings)


def advice(request: Request) -> Any:
    return pretended_advice.good(json.loads(request.prompt))


def test_replay_gives_the_same_deals_and_sends_no_request(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.responder = advice
    store = CallStore(tmp_path / "llm.sqlite")
    first = live(store, server, sdk)
    sent = len(server.seen)
    assert sent == len({request.prompt for request in server.seen}) > 60
    assert (
        first.adviser.tally.answered == first.adviser.tally.asked > sent
    )  # a storage resource's hours share a question
    again = replayed(store)
    assert len(server.seen) == sent
    for table in (DEALS, "negotiation.messages", "negotiation.segments"):
        assert again.tables[table].equals(first.tables[table])
    plain = negotiate_in_memory(example_inputs(), settings_of("off"))
    assert not plain[DEALS].equals(first.tables[DEALS])


@pytest.mark.slow
def test_replay_repeats_failures_as_well(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.responder = lambda request: advice(request) if len(server.seen) % 3 else Step("bad_request")
    server.script.extend([Step("malformed"), Step("blocked_prompt")])
    store = CallStore(tmp_path / "llm.sqlite")
    first = live(store, server, sdk, breaker_failures=1000, attempts=1)
    assert 0.0 < first.adviser.tally.fallback_fraction < 1.0
    again = replayed(store)
    assert again.adviser.tally.fallback_fraction == first.adviser.tally.fallback_fraction
    assert again.tables[DEALS].equals(first.tables[DEALS])


def test_the_example_answers_fit_the_example_day_and_say_what_they_are(tmp_path: Path) -> None:
    """Prompts, prices and fleet decide the questions; where one changed, make the answers again:
    python -m vpp_pipeline_tests.llm.example_answers"""
    file = example_file(EXAMPLE_ANSWERS)
    label = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["label"]
    assert label == LABEL
    assert "No language model wrote" in label
    answers = read_answers(file)
    assert {each.reply.model_version for each in answers.values()} == {MODEL_VERSION}
    assert file.stat().st_size < 100_000
    found = replayed(CallStore(tmp_path / "llm.sqlite"), answers=answers)
    assert found.adviser.tally.failures == {}
    assert found.adviser.tally.fallback_fraction == 0.0


@pytest.mark.slow
def test_a_day_at_a_second_an_answer_takes_at_most_fifteen(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.responder, server.latency_s = advice, 1.0
    found = live(CallStore(tmp_path / "llm.sqlite"), server, sdk)
    print(f"{found.adviser.tally.asked} opportunities, {found.seconds:.1f} s")
    assert found.adviser.tally.fallback_fraction == 0.0
    assert found.seconds <= 15.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "percent"),
    [(kind, percent) for kind in ("503", "429", "malformed", "hang") for percent in (10, 50, 100)] + [("503", 0)],
)
def test_whatever_fails_every_rule_holds_and_the_day_is_bounded(
    kind: str, percent: int, sdk: str, server: FakeGemini, tmp_path: Path
) -> None:
    def responder(request: Request) -> Any:
        if len(server.seen) * 37 % 100 < percent:
            return Step(delay_s=60.0) if kind == "hang" else Step(kind, retry_after="1")
        return advice(request)

    server.responder = responder
    found = live(CallStore(tmp_path / "llm.sqlite"), server, sdk)
    tally = found.adviser.tally
    print(f"{kind} {percent} %: {tally.answered} of {tally.asked} answered, {found.seconds:.1f} s")
    assert found.seconds <= 45.0
    assert percent or tally.fallback_fraction == 0.0
    assert (tally.answered == 0) == (percent == 100)
    tables = found.tables
    assert check_negotiation(tables, settings_of("live")).is_empty()
    assert tables[DEALS].filter(pl.col("holds_option")).height > 0
