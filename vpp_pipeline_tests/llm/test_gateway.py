"""The gateway with a provider that says what it is told to: modes, deadlines, retries, limits, audit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vpp_pipeline.llm.budget import worst_usage
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMReply, LLMRequest, LLMUsage
from vpp_pipeline.llm.store import export_answers, read_answers
from vpp_pipeline_tests.llm.questions import Answer, Scripted, question, quick

GatewayTo = Callable[..., Gateway]


def failing(*errors: LLMError) -> Callable[[LLMRequest], str]:
    """Raises one after another, then answers."""
    left = list(errors)

    def say(_: LLMRequest) -> str:
        if left:
            raise left.pop(0)
        return '{"number": 0.5}'

    return say


def failure_of(ask: Callable[[], Any]) -> LLMError:
    with pytest.raises(LLMError) as caught:
        ask()
    return caught.value


def test_off_asks_nobody_and_leaves_no_trace(gateway_to: GatewayTo) -> None:
    provider = Scripted()
    gateway = gateway_to(provider, mode="off")
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.OFF
    assert provider.calls == 0
    assert gateway.store.calls() == []


def test_live_pays_for_a_question_once(gateway_to: GatewayTo) -> None:
    provider = Scripted()
    gateway = gateway_to(provider)
    answers = [gateway.ask(question(), Answer) for _ in range(3)]
    assert provider.calls == 1
    assert answers == [Answer(number=0.5)] * 3
    calls = gateway.store.calls()
    assert [call["is_stored_answer"] for call in calls] == [0, 1, 1]
    assert [call["usd"] > 0.0 for call in calls] == [True, False, False]


def test_replay_asks_nobody_and_repeats_what_was_said(gateway_to: GatewayTo) -> None:
    said = gateway_to(Scripted(lambda request: f'{{"number": 0.{len(request.user)}}}'))
    live = [said.ask(question(user="a" * size), Answer) for size in (1, 2, 3)]
    replay = gateway_to(None, mode="replay")
    assert [replay.ask(question(user="a" * size), Answer) for size in (1, 2, 3)] == live
    assert failure_of(lambda: replay.ask(question(user="new"), Answer)).kind is FailKind.REPLAY_MISS


@pytest.mark.parametrize(
    "change",
    [
        {"user": "How far?!"},
        {"system": "Answer."},
        {"model": "gemini-other"},
        {"temperature": 0.1},
        {"seed": 8},
        {"max_output_tokens": 401},
        {"prompt_version": "2"},
        {"purpose": "other"},
        {"json_schema": {}},
    ],
)
def test_whatever_shapes_the_answer_is_another_question(change: dict[str, Any]) -> None:
    assert question(**change).key() != question().key()


def test_what_it_is_about_is_the_same_question() -> None:
    assert question(subject="spin_20230815_1900").key() == question().key()


def test_a_failure_stays_a_failure_in_replay(gateway_to: GatewayTo) -> None:
    gateway_to(Scripted()).ask(question(), Answer)
    refused = gateway_to(Scripted(failing(LLMError(FailKind.BLOCKED))), mode="refresh")
    assert failure_of(lambda: refused.ask(question(), Answer)).kind is FailKind.BLOCKED
    replay = gateway_to(None, mode="replay")
    assert failure_of(lambda: replay.ask(question(), Answer)).kind is FailKind.REPLAY_MISS


def test_refresh_asks_anew_and_replaces_the_answer(gateway_to: GatewayTo) -> None:
    gateway_to(Scripted()).ask(question(), Answer)
    fresh = gateway_to(Scripted(lambda _: '{"number": 0.75}'), mode="refresh")
    assert fresh.ask(question(), Answer).number == 0.75
    assert gateway_to(None, mode="replay").ask(question(), Answer).number == 0.75


def test_who_asks_at_the_same_time_gets_the_same_answer(gateway_to: GatewayTo) -> None:
    both_asked = threading.Barrier(2)
    numbers = iter(["0.1", "0.9"])

    def say(_: LLMRequest) -> str:
        both_asked.wait(5)
        return f'{{"number": {next(numbers)}}}'

    gateway = gateway_to(Scripted(say))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: gateway.ask(question(), Answer).number, range(2)))
    assert answers[0] == answers[1]


def test_answers_travel_as_a_file_that_names_its_origin(gateway_to: GatewayTo, tmp_path: Any) -> None:
    gateway = gateway_to(Scripted())
    gateway.ask(question(), Answer)
    file = tmp_path / "answers.jsonl"
    assert export_answers(gateway.store, file, "made by a script, no model took part") == 1
    assert "no model took part" in file.read_text().splitlines()[0]
    gateway.store.forget(question().key())
    replay = Gateway(quick(mode="replay"), gateway.store, answers=read_answers(file))
    assert replay.ask(question(), Answer).number == 0.5


def test_repeats_until_it_succeeds_and_no_longer(gateway_to: GatewayTo) -> None:
    provider = Scripted(failing(LLMError(FailKind.SERVER), LLMError(FailKind.TRANSPORT)))
    assert gateway_to(provider).ask(question(), Answer).number == 0.5
    assert provider.calls == 3
    tired = Scripted(failing(*[LLMError(FailKind.SERVER)] * 9))
    gateway = gateway_to(tired, mode="refresh")
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.SERVER
    assert tired.calls == 3
    assert gateway.store.calls()[-1]["attempts"] == 3


def test_does_not_wait_past_the_deadline(gateway_to: GatewayTo) -> None:
    provider = Scripted(failing(LLMError(FailKind.RATE_LIMIT, retry_after_s=60.0)))
    begun = time.monotonic()
    gateway = gateway_to(provider)
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.RATE_LIMIT
    assert time.monotonic() - begun < 0.5
    assert provider.calls == 1


def test_holds_an_attempt_to_the_wall_clock(gateway_to: GatewayTo) -> None:
    asleep = threading.Event()
    gateway = gateway_to(Scripted(lambda _: str(asleep.wait(30))), attempt_timeout_s=0.2, attempts=2)
    begun = time.monotonic()
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.TIMEOUT
    assert 0.4 <= time.monotonic() - begun < 1.0
    asleep.set()


def test_a_run_of_late_answers_ends_at_its_own_deadline(gateway_to: GatewayTo) -> None:
    asleep = threading.Event()
    gateway = gateway_to(
        Scripted(lambda _: str(asleep.wait(30))), attempt_timeout_s=0.2, run_deadline_s=0.5, breaker_failures=1000
    )
    begun = time.monotonic()
    kinds = [failure_of(lambda n=n: gateway.ask(question(user=str(n)), Answer)).kind for n in range(20)]
    assert time.monotonic() - begun < 1.0
    assert set(kinds) == {FailKind.TIMEOUT, FailKind.DEADLINE}
    assert kinds[-1] is FailKind.DEADLINE
    asleep.set()


def test_late_calls_keep_their_places(gateway_to: GatewayTo) -> None:
    asleep = threading.Event()
    provider = Scripted(lambda _: str(asleep.wait(30)))
    gateway = gateway_to(provider, workers=2, attempts=1, deadline_s=0.3, breaker_failures=1000)
    for n in range(6):
        failure_of(lambda n=n: gateway.ask(question(user=str(n)), Answer))
    assert provider.calls == 2
    assert gateway.budget.spent().calls == 2  # who found no place was neither sent nor charged
    asleep.set()


def test_an_adapters_own_fault_is_a_failed_call(gateway_to: GatewayTo) -> None:
    def broken(_: LLMRequest) -> str:
        raise KeyError("some-secret")

    gateway = gateway_to(Scripted(broken))
    error = failure_of(lambda: gateway.ask(question(), Answer))
    assert error.kind is FailKind.TRANSPORT
    assert "some-secret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_too_long_a_question_is_not_sent(gateway_to: GatewayTo) -> None:
    provider = Scripted()
    gateway = gateway_to(provider, prompt_limit_bytes=100)
    assert failure_of(lambda: gateway.ask(question(user="é" * 50), Answer)).kind is FailKind.TOO_LARGE
    assert gateway.ask(question(user="é" * 30), Answer)
    assert provider.calls == 1


def test_half_a_letter_is_not_sent(gateway_to: GatewayTo) -> None:
    assert failure_of(lambda: gateway_to(Scripted()).ask(question(user="\ud800"), Answer)).kind is FailKind.TOO_LARGE


def test_too_long_an_answer_is_refused_and_not_stored(gateway_to: GatewayTo) -> None:
    gateway = gateway_to(Scripted(lambda _: '{"number": 0.5}' + " " * 100), reply_limit_bytes=100)
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.INVALID_OUTPUT
    assert gateway.store.replies() == []


def test_a_refused_answer_is_told_by_fields_and_rules(gateway_to: GatewayTo) -> None:
    said = '{"number": 7, "words": 3, "pay_to_mallory": "her words"}'
    error = failure_of(lambda: gateway_to(Scripted(lambda _: said)).ask(question(), Answer))
    assert "number: less_than_equal" in str(error)
    assert "extra_forbidden" in str(error)
    assert "mallory" not in str(error)
    assert "her words" not in str(error)


def test_the_audit_adds_up_what_all_attempts_used(gateway_to: GatewayTo) -> None:
    truncated = LLMError(FailKind.TRUNCATED, usage=LLMUsage(100, 400), model_version="v2")
    gateway = gateway_to(Scripted(failing(LLMError(FailKind.SERVER), truncated)))
    failure_of(lambda: gateway.ask(question(), Answer))
    call = gateway.store.calls()[0]
    assert (call["attempts"], call["input_tokens"], call["output_tokens"]) == (2, 100, 400)
    assert call["model_version"] == "v2"
    assert call["usd"] == pytest.approx(100 * 1.5e-6 + 400 * 9e-6)  # by hand
    assert (call["run_id"], call["subject"]) == ("run", "energy_20230815_1200")


def test_an_untold_usage_counts_as_the_worst(gateway_to: GatewayTo) -> None:
    class Silent:
        name = "silent"

        def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
            return LLMReply('{"number": 0.5}', "v")

    gateway = gateway_to(Silent())
    gateway.ask(question(), Answer)
    assert gateway.budget.spent().tokens == worst_usage(question()).tokens
