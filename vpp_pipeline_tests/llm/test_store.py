"""The store: several processes, damage, other versions; and the table that leaves it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.llm.store import CallStore, calls_in_numbers, calls_table, read_answers
from vpp_pipeline.schemas.negotiation import OUTCOMES, LLMCalls
from vpp_pipeline.settings import LLMSettings
from vpp_pipeline_tests.llm.processes import ask_many
from vpp_pipeline_tests.llm.questions import Answer, Scripted, question, quick
from vpp_pipeline_tests.llm.test_gateway import failing, failure_of

DAY = date(2023, 8, 15)


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "llm.sqlite"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = [pool.submit(ask_many, file, process, 30, False, {}) for process in range(2)]
        assert [each.result(timeout=120)["ok"] for each in done] == [30, 30]
    store = CallStore(file)
    assert [len(store.replies()), len(store.calls())] == [60, 60]
    with sqlite3.connect(file) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_two_gateways_in_one_process_share_a_store(tmp_path: Path) -> None:
    first, second = (CallStore(tmp_path / "llm.sqlite") for _ in range(2))
    Gateway(quick(), first, Scripted()).ask(question(), Answer)
    assert Gateway(quick(mode="replay"), second).ask(question(), Answer).number == 0.5


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 40, None])
def test_a_file_that_is_no_store_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "llm.sqlite"
    if content is None:
        with sqlite3.connect(file) as connection:
            connection.execute("pragma user_version = 99")
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"llm\.sqlite.*llm\.store"):
        CallStore(file)


def test_a_store_that_fails_later_is_a_failed_question(tmp_path: Path) -> None:
    store = CallStore(tmp_path / "llm.sqlite")
    provider = Scripted()
    gateway = Gateway(quick(), store, provider)
    store.close()
    assert failure_of(lambda: gateway.ask(question(), Answer)).kind is FailKind.STORE
    assert provider.calls == 0


@pytest.mark.parametrize("text", ["", "{}", '{"label": "x"}\n{"key": 1}', '{"label": "x"}\n[1]', '{"label": "x"}\nno'])
def test_a_file_of_answers_is_checked(tmp_path: Path, text: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(text)
    if text:
        with pytest.raises(InputError, match=r"answers\.jsonl"):
            read_answers(file)
    else:
        assert read_answers(file) == {}
    with pytest.raises(InputError, match="nowhere"):
        read_answers(tmp_path / "nowhere.jsonl")


def test_the_table_holds_every_question_and_no_word_of_it(tmp_path: Path) -> None:
    store = CallStore(tmp_path / "llm.sqlite")
    provider = Scripted(failing(LLMError(FailKind.BLOCKED)))
    gateway = Gateway(quick(), store, provider, run_id="run-1", market_date=DAY)
    failure_of(lambda: gateway.ask(question(user="the first secret word"), Answer))
    for _ in range(2):
        gateway.ask(question(user="the second secret word"), Answer)
    Gateway(quick(), store, provider, run_id="run-2", market_date=DAY).ask(question(), Answer)
    Gateway(quick(), store, provider, market_date=date(2023, 8, 16)).ask(question(), Answer)

    table = calls_table(store, DAY)
    assert table["outcome"].to_list() == ["blocked", "ok", "ok", "ok"]
    assert table["is_stored_answer"].to_list() == [False, False, True, False]
    assert table["subject"].unique().to_list() == ["energy_20230815_1200"]
    assert calls_table(store, DAY, "run-1").height == 3
    assert "secret" not in table.write_json()
    assert table.columns == LLMCalls.column_names()


def test_a_day_without_questions_is_an_empty_table(tmp_path: Path) -> None:
    table = calls_table(CallStore(tmp_path / "llm.sqlite"), DAY)
    assert table.schema == pl.DataFrame(LLMCalls.create_empty()).schema
    assert calls_in_numbers(table)["failed_fraction"] == 0.0


def test_a_days_numbers_add_up(tmp_path: Path) -> None:
    store = CallStore(tmp_path / "llm.sqlite")
    gateway = Gateway(quick(), store, Scripted(failing(LLMError(FailKind.BLOCKED))), market_date=DAY)
    failure_of(lambda: gateway.ask(question(), Answer))
    for _ in range(3):
        gateway.ask(question(), Answer)
    numbers = calls_in_numbers(calls_table(store, DAY))
    assert (numbers["questions"], numbers["requests"], numbers["stored_answers"], numbers["failed"]) == (4, 2, 2, 1)
    assert numbers["failed_fraction"] == 0.25
    assert numbers["cost_usd"] == pytest.approx(gateway.budget.spent().usd)
    assert numbers["model_versions"] == "scripted-1"


def test_every_kind_of_failure_can_stand_in_the_table() -> None:
    assert {"ok", *(str(kind) for kind in FailKind)} - {"off"} == set(OUTCOMES)
    modes = set(get_args(LLMSettings.model_fields["mode"].annotation))
    assert modes == {"off", "live", "replay", "refresh"}
