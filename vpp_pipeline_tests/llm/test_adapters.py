"""The contract that both adapters keep, over real HTTP against the local server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest

from vpp_pipeline.llm.adviser import Advice
from vpp_pipeline.llm.budget import worst_usage
from vpp_pipeline.llm.formulation import FormulationSpec
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMProvider, StrictModel, schema_of
from vpp_pipeline.llm.notes import Limits
from vpp_pipeline.llm.providers import PROVIDERS
from vpp_pipeline_tests.llm.fake_gemini import MODEL_VERSION, PROMPT_TOKENS, FakeGemini, Step
from vpp_pipeline_tests.llm.questions import CANARY, Answer, question

GatewayTo = Callable[..., Gateway]
GOOD = {"number": 0.25, "words": "a quarter"}
#: limits that no busy machine reaches, where the limit is not what is tested
PATIENT = {"attempt_timeout_s": 30.0, "deadline_s": 60.0}

FAILURES = {
    "429": (Step("429", retry_after="0.05"), FailKind.RATE_LIMIT),
    "500": (Step("500"), FailKind.SERVER),
    "503": (Step("503"), FailKind.SERVER),
    "dropped": (Step("drop"), FailKind.TRANSPORT),
    "cut short": (Step("cut"), FailKind.TRANSPORT),
    "redirected": (Step("redirect", location="http://127.0.0.1:9/"), FailKind.TRANSPORT),
    "slow": (Step(data=GOOD, delay_s=1.5), FailKind.TIMEOUT),
    "trickling": (Step("trickle"), FailKind.TIMEOUT),
    "HTML with 200": (Step("html"), FailKind.TRANSPORT),
    "bad key": (Step("bad_key"), FailKind.AUTH),
    "forbidden": (Step("forbidden"), FailKind.AUTH),
    "unknown model": (Step("unknown_model"), FailKind.BAD_REQUEST),
    "malformed JSON": (Step("malformed"), FailKind.INVALID_OUTPUT),
    "fenced": (Step("fenced", GOOD), FailKind.INVALID_OUTPUT),
    "no text": (Step(data=""), FailKind.INVALID_OUTPUT),
    "truncated": (Step("truncated"), FailKind.TRUNCATED),
    "truncated while thinking": (Step("truncated_empty"), FailKind.TRUNCATED),
    "prompt blocked": (Step("blocked_prompt"), FailKind.BLOCKED),
    "answer blocked": (Step("blocked_answer"), FailKind.BLOCKED),
    "unknown end": (Step("unknown_end"), FailKind.BLOCKED),
    "empty body": (Step("nothing"), FailKind.BLOCKED),
    "wrong schema": (Step(data={"figure": 0.5}), FailKind.INVALID_OUTPUT),
    "list instead of object": (Step(data=[GOOD]), FailKind.INVALID_OUTPUT),
    "extra field": (Step(data=GOOD | {"pay_to": "me"}), FailKind.INVALID_OUTPUT),
    "number as string": (Step(data={"number": "0.5"}), FailKind.INVALID_OUTPUT),
    "NaN": (Step(data='{"number": NaN}'), FailKind.INVALID_OUTPUT),
    "infinite": (Step(data='{"number": 1e999}'), FailKind.INVALID_OUTPUT),
    "null": (Step(data={"number": None}), FailKind.INVALID_OUTPUT),
    "out of range": (Step(data={"number": 1.01}), FailKind.INVALID_OUTPUT),
    "deeply nested": (Step(data="[" * 5000), FailKind.INVALID_OUTPUT),
}


def limits_of(name: str) -> dict[str, float]:
    """What the gateway waits for an answer that fails so: short where it is the wait that fails."""
    return {} if FAILURES[name][1] is FailKind.TIMEOUT else PATIENT


def test_answers_as_asked(server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo) -> None:
    server.default = Step(data=GOOD)
    assert gateway_to(provider, **PATIENT).ask(question(temperature=0.5), Answer) == Answer(
        number=0.25, words="a quarter"
    )
    sent = server.seen[0]
    assert sent.path.startswith("/v1beta/models/gemini-test:generateContent")
    assert sent.headers["x-goog-api-key"] == CANARY
    assert CANARY not in sent.path
    assert sent.prompt == "How far?"
    assert sent.body["systemInstruction"]["parts"][0]["text"] == "Answer with a number."
    config = sent.body["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"]) == (0.5, 400)
    assert config["responseMimeType"] == "application/json"
    assert "number" in json.dumps(config.get("responseJsonSchema") or config.get("responseSchema"))


def test_tells_who_answered_and_what_it_used(server: FakeGemini, provider: LLMProvider) -> None:
    text = json.dumps(GOOD)
    server.default = Step(data=text)
    reply = provider.generate(question(), timeout_s=5.0)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (PROMPT_TOKENS, len(text) // 4)
    assert reply.model_version == MODEL_VERSION
    assert reply.latency_s > 0.0


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_has_one_kind(name: str, server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo) -> None:
    step, kind = FAILURES[name]
    server.default = step
    gateway = gateway_to(provider, attempts=2, **limits_of(name))
    begun = time.monotonic()
    with pytest.raises(LLMError) as caught:
        gateway.ask(question(), Answer)
    assert caught.value.kind is kind
    assert time.monotonic() - begun < 3.0
    assert [call["outcome"] for call in gateway.store.calls()] == [str(kind)]
    assert gateway.store.replies() == []


def test_refuses_half_a_letter(server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo) -> None:
    server.default = Step(data='{"number": 0.5, "words": "\ud800"}')
    with pytest.raises(LLMError) as caught:
        gateway_to(provider, **PATIENT).ask(question(), Answer)
    # the legacy SDK's messages cannot even hold it
    assert caught.value.kind in {FailKind.INVALID_OUTPUT, FailKind.TRANSPORT}


@pytest.mark.parametrize("name", ["429", "500", "503", "dropped", "cut short", "HTML with 200", "slow", "trickling"])
def test_recovers_when_the_next_attempt_succeeds(
    name: str, server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo
) -> None:
    server.script.append(FAILURES[name][0])
    server.default = Step(data=GOOD)
    gateway = gateway_to(provider, **limits_of(name))
    assert gateway.ask(question(), Answer).number == 0.25
    assert gateway.store.calls()[0]["attempts"] == 2 == len(server.seen)


@pytest.mark.parametrize("name", ["bad key", "forbidden", "unknown model", "malformed JSON", "truncated", "NaN"])
def test_never_repeats_what_would_fail_again(
    name: str, server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo
) -> None:
    server.default = FAILURES[name][0]
    with pytest.raises(LLMError):
        gateway_to(provider, **limits_of(name)).ask(question(), Answer)
    assert len(server.seen) == 1


def test_tells_a_refused_connection(sdk: str, gateway_to: GatewayTo) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    gateway = gateway_to(PROVIDERS[sdk](CANARY, url), **PATIENT)
    with pytest.raises(LLMError, match="transport"):
        gateway.ask(question(), Answer)
    spent = gateway.budget.spent()
    assert (spent.calls, spent.tokens) == (3, 0)  # a machine without network does not use up its budget


def test_a_dropped_connection_counts_as_the_worst(
    server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo
) -> None:
    server.default = Step("drop")
    gateway = gateway_to(provider, attempts=1, **PATIENT)
    with pytest.raises(LLMError, match="transport"):
        gateway.ask(question(), Answer)
    assert gateway.budget.spent().tokens == worst_usage(question()).tokens


@pytest.mark.parametrize(
    "step",
    [Step("429", retry_after="0.4"), Step("429", retry_delay="0.4s"), Step("429", retry_after="0", retry_delay="0.4s")],
)
def test_waits_as_long_as_it_is_told(
    step: Step, server: FakeGemini, provider: LLMProvider, gateway_to: GatewayTo
) -> None:
    server.script.append(step)
    server.default = Step(data=GOOD)
    gateway_to(provider, **PATIENT).ask(question(), Answer)
    assert server.seen[1].at_s - server.seen[0].at_s >= 0.4


@pytest.mark.parametrize("out", [Advice, Limits, FormulationSpec])
def test_every_schema_that_we_use_can_be_sent(
    out: type[StrictModel], server: FakeGemini, provider: LLMProvider
) -> None:
    server.default = Step(data={})
    provider.generate(question(json_schema=schema_of(out)), timeout_s=5.0)
    config = server.seen[0].body["generationConfig"]
    assert set(schema_of(out)["properties"]) == set(
        (config.get("responseJsonSchema") or config["responseSchema"])["properties"]
    )


def test_two_endpoints_in_one_process_do_not_mix(sdk: str, gateway_to: GatewayTo) -> None:
    with FakeGemini() as first, FakeGemini() as second:
        first.default = second.default = Step(data=GOOD)
        one, other = PROVIDERS[sdk](CANARY, first.url), PROVIDERS[sdk]("another-key", second.url)
        one.generate(question(), timeout_s=5.0)
        other.generate(question(), timeout_s=5.0)
        one.generate(question(), timeout_s=5.0)
        assert [len(first.seen), len(second.seen)] == [2, 1]
        assert {request.headers["x-goog-api-key"] for request in first.seen} == {CANARY}
