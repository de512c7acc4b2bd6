"""The circuit breaker, by a clock of our own."""

from __future__ import annotations

import pytest

from vpp_pipeline.llm.gateway import Breaker
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline_tests.llm.questions import Answer, Scripted, question
from vpp_pipeline_tests.llm.test_gateway import GatewayTo, failing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 60.0, clock)


def lets_in(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except LLMError:
        return False
    return True


def fail(
    breaker: Breaker, kind: FailKind = FailKind.SERVER, times: int = 1, retry_after_s: float | None = None
) -> None:
    for _ in range(times):
        breaker.failed(LLMError(kind, retry_after_s=retry_after_s))


def test_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, times=2)
    assert lets_in(breaker)
    fail(breaker)
    assert not lets_in(breaker)


def test_an_answer_between_failures_begins_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, times=2)
    breaker.well()
    fail(breaker, times=2)
    assert lets_in(breaker)


@pytest.mark.parametrize("kind", [FailKind.BLOCKED, FailKind.TRUNCATED, FailKind.INVALID_OUTPUT])
def test_an_answer_that_is_no_use_is_still_an_answer(breaker: Breaker, kind: FailKind) -> None:
    fail(breaker, times=2)
    fail(breaker, kind)
    fail(breaker, times=2)
    assert lets_in(breaker)


def test_a_spent_budget_says_nothing_about_the_provider(breaker: Breaker) -> None:
    fail(breaker, FailKind.BUDGET, times=9)
    assert lets_in(breaker)
    fail(breaker, times=2)
    fail(breaker, FailKind.BUDGET)
    fail(breaker)
    assert not lets_in(breaker)


def test_a_refused_key_opens_at_once(breaker: Breaker) -> None:
    fail(breaker, FailKind.AUTH)
    assert not lets_in(breaker)


def test_a_provider_that_asks_for_a_long_wait_gets_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FailKind.RATE_LIMIT, retry_after_s=300.0)
    clock.now = 299.0
    assert not lets_in(breaker)
    clock.now = 300.0
    assert lets_in(breaker)


def test_one_question_tries_after_the_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now = 60.0
    assert lets_in(breaker)
    assert not lets_in(breaker)
    fail(breaker)
    assert not lets_in(breaker)
    clock.now = 120.0
    assert lets_in(breaker)
    breaker.well()
    assert lets_in(breaker)
    assert lets_in(breaker)


def test_who_tries_without_being_sent_lets_the_next_try(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now = 60.0
    assert lets_in(breaker)
    fail(breaker, FailKind.BUDGET)
    assert lets_in(breaker)


def test_a_dead_provider_is_left_alone(gateway_to: GatewayTo) -> None:
    provider = Scripted(failing(*[LLMError(FailKind.SERVER)] * 99))
    gateway = gateway_to(provider, attempts=1, breaker_failures=3)
    for n in range(20):
        with pytest.raises(LLMError):
            gateway.ask(question(user=str(n)), Answer)
    assert provider.calls == 3
    assert [call["outcome"] for call in gateway.store.calls()] == ["server"] * 3 + ["circuit_open"] * 17
