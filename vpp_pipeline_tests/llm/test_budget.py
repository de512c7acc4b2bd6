"""The day's budget, also against several processes at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.llm.budget import Budget, worst_usage
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMUsage
from vpp_pipeline.llm.store import CallStore, Database
from vpp_pipeline_tests.llm.processes import USAGE, ask_and_never_return, ask_many
from vpp_pipeline_tests.llm.questions import Answer, Scripted, question, quick
from vpp_pipeline_tests.llm.test_gateway import GatewayTo, failing, failure_of

PROCESSES, QUESTIONS = 2, 40
SPAWN = multiprocessing.get_context("spawn")
WORST = worst_usage(question()).tokens


def budget_of(path: Path, **settings: Any) -> Budget:
    return Budget(Database(path), quick(**settings))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that have imported what they need, for all tests."""
    with ProcessPoolExecutor(PROCESSES, mp_context=SPAWN) as processes:
        yield processes


def run_processes(pool: ProcessPoolExecutor, path: Path, is_careless: bool = False, **settings: Any) -> dict[str, int]:
    done = [pool.submit(ask_many, path, p, QUESTIONS, is_careless, settings) for p in range(PROCESSES)]
    parts = [each.result(timeout=120) for each in done]
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def test_parallel_processes_send_exactly_the_calls_of_the_budget(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    total = run_processes(pool, tmp_path / "llm.sqlite", calls_per_day=50)
    assert total == {"sent": 50, "ok": 50, "budget": PROCESSES * QUESTIONS - 50}
    store = CallStore(tmp_path / "llm.sqlite")
    assert len(store.replies()) == 50
    assert len(store.calls()) == PROCESSES * QUESTIONS


@pytest.mark.parametrize("limit", ["tokens_per_day", "usd_per_day"])
def test_parallel_processes_never_overshoot(pool: ProcessPoolExecutor, tmp_path: Path, limit: str) -> None:
    most = {"tokens_per_day": 30 * USAGE.tokens, "usd_per_day": 0.02}[limit]
    total = run_processes(pool, tmp_path / "llm.sqlite", **{limit: most})
    spent = budget_of(tmp_path / "llm.sqlite").spent()
    assert (spent.tokens if limit == "tokens_per_day" else spent.usd) <= most
    assert spent.tokens == total["sent"] * USAGE.tokens
    assert total["budget"] > 0
    assert total["sent"] > 10


def test_a_budget_that_looks_before_it_reserves_would_overshoot(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    """At one of ten tries at the latest, where the machine is busy with other work."""
    tries = (tmp_path / f"{number}.sqlite" for number in range(10))
    assert any(run_processes(pool, file, is_careless=True, calls_per_day=50)["sent"] > 50 for file in tries)


def test_a_killed_process_has_spent_its_worst_case(tmp_path: Path) -> None:
    sent = SPAWN.Event()
    process = SPAWN.Process(target=ask_and_never_return, args=(tmp_path / "llm.sqlite", sent))
    process.start()
    assert sent.wait(60)
    process.kill()
    process.join()
    spent = budget_of(tmp_path / "llm.sqlite").spent()
    assert (spent.calls, spent.tokens) == (1, WORST)


def test_what_an_attempt_may_use_is_reserved_before_and_settled_after(tmp_path: Path) -> None:
    budget = budget_of(tmp_path / "llm.sqlite")
    reservation = budget.reserve(question())
    assert budget.spent().tokens == WORST
    budget.settle(reservation, LLMUsage(10, 5))
    spent = budget.spent()
    assert (spent.calls, spent.tokens) == (1, 15)
    assert spent.usd == pytest.approx(10 * 1.5e-6 + 5 * 9e-6)  # by hand


def test_the_worst_case_is_a_token_per_byte_and_all_the_output() -> None:
    asked = question(system="ab", user="é", json_schema={}, max_output_tokens=400)
    assert worst_usage(asked) == LLMUsage(2 + 2 + 2 + 64, 400)


@pytest.mark.parametrize(
    ("limit", "fits", "fails"),
    [("calls_per_day", 1, 0), ("tokens_per_day", WORST, WORST - 1), ("usd_per_day", 0.0042, 0.0040)],
)
def test_each_limit_holds_to_the_last_unit(tmp_path: Path, limit: str, fits: float, fails: float) -> None:
    assert budget_of(tmp_path / "a.sqlite", **{limit: fits}).reserve(question())
    with pytest.raises(LLMError, match=f"llm.{limit}"):
        budget_of(tmp_path / "b.sqlite", **{limit: fails}).reserve(question())


def test_a_new_day_begins_at_nothing(tmp_path: Path) -> None:
    budget = budget_of(tmp_path / "llm.sqlite", calls_per_day=1)
    budget.reserve(question())
    with budget._database.transaction() as connection:
        connection.execute("update attempt set day = '2023-08-14'")
    assert budget.spent().calls == 0
    assert budget.reserve(question())


def test_without_budget_nothing_is_sent_but_stored_answers_serve(gateway_to: GatewayTo) -> None:
    gateway_to(Scripted()).ask(question(), Answer)
    provider = Scripted()
    poor = gateway_to(provider, calls_per_day=1)
    assert poor.ask(question(), Answer).number == 0.5
    assert failure_of(lambda: poor.ask(question(user="new"), Answer)).kind is FailKind.BUDGET
    assert provider.calls == 0


@pytest.mark.parametrize(
    ("kind", "is_free"),
    [
        (FailKind.RATE_LIMIT, True),
        (FailKind.SERVER, True),
        (FailKind.AUTH, True),
        (FailKind.BAD_REQUEST, True),
        (FailKind.TIMEOUT, False),
        (FailKind.TRANSPORT, False),
        (FailKind.BLOCKED, False),
    ],
)
def test_a_failure_is_free_only_where_the_service_said_no(gateway_to: GatewayTo, kind: FailKind, is_free: bool) -> None:
    gateway = gateway_to(Scripted(failing(LLMError(kind))), attempts=1)
    failure_of(lambda: gateway.ask(question(), Answer))
    assert gateway.budget.spent().tokens == (0 if is_free else WORST)
    assert gateway.budget.spent().calls == 1
