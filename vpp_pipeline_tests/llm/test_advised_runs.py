"""Runs of Dagster with the engine `llm`: the same bids in replay, what the tables tell, and a key that is nowhere."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from vpp_pipeline.defs.bids import BIDS
from vpp_pipeline.defs.dispatch import SOLVED
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline_tests.defs.desk import SMALL, TradingDesk, differences, evaluations, failures, metadata_of, new_desk
from vpp_pipeline_tests.llm import pretended_advice
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini, Request, Step
from vpp_pipeline_tests.llm.questions import CANARY

pytest.importorskip("google.genai", reason="extra gemini is not installed")

KEY = "VPP_LLM_API_KEY"
CHECK = "advice_comes_from_the_model_that_was_asked"
ADVISED = {"negotiation": {"engine": "llm"}}


def asking(mode: str, server: FakeGemini, **more: Any) -> dict[str, Any]:
    llm = {"mode": mode, "base_url": server.url, "api_key_variable": KEY, "first_pause_s": 0.01, "attempts": 2}
    return {**SMALL, **ADVISED, "llm": llm | {"attempt_timeout_s": 1.0, "deadline_s": 2.0, "workers": 8} | more}


def advice(request: Request) -> Any:
    return pretended_advice.anything(json.loads(request.prompt))


@pytest.fixture(scope="module")
def key() -> Iterator[None]:
    before = os.environ.get(KEY)
    os.environ[KEY] = CANARY
    yield
    os.environ.pop(KEY) if before is None else os.environ.update({KEY: before})


@pytest.fixture(scope="module")
def live(key: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TradingDesk, Any, FakeGemini, Path]]:
    """A small desk's bids with advice, on a history that lies in files."""
    history = tmp_path_factory.mktemp("history")
    with FakeGemini(advice) as server, dg.DagsterInstance.local_temp(str(history)) as instance:
        desk = replace(new_desk(settings=asking("live", server)), instance=instance)
        yield desk, desk.run(), server, history


def test_a_run_with_advice_makes_bids_that_pass_every_check(live: tuple[TradingDesk, Any, FakeGemini, Path]) -> None:
    _, result, server, _ = live
    assert not failures(result)
    found = evaluations(result)
    assert all(check.passed for check in found.values() if check.blocking)
    assert found[CHECK].passed, found[CHECK].description
    assert not found[CHECK].blocking
    said = metadata_of(result, "negotiation.summary")
    assert said["asked_about"] == said["advised_on"] == len({seen.prompt for seen in server.seen}) > 0
    assert (said["fallback_fraction"], said["failures"]) == (0.0, "")
    told = metadata_of(result, "negotiation.llm_calls")
    assert (told["questions"], told["failed_fraction"], told["model_versions"]) == (
        len(server.seen),
        0.0,
        "fake-gemini-1",
    )
    assert told["cost_usd"] > 0.0


def test_the_warehouse_tells_each_question_and_no_word_of_it(live: tuple[TradingDesk, Any, FakeGemini, Path]) -> None:
    desk, result, server, _ = live
    rows = desk.sql("select subject, outcome, model_version, run_id, attempts from negotiation.llm_calls")
    assert len(rows) == len(server.seen)
    names = {name for (name,) in desk.sql("select opportunity_id from market.opportunities")}
    assert {row[0] for row in rows} <= names
    assert {row[1:] for row in rows} == {("ok", "fake-gemini-1", result.run_id, 1)}
    assert desk.sql("select distinct engine from negotiation.summary") == [("llm",)]


def test_replay_makes_the_same_bids_with_no_request(live: tuple[TradingDesk, Any, FakeGemini, Path]) -> None:
    desk, _, server, _ = live
    before, sent = desk.tables(), len(server.seen)
    copy = replace(desk.copy(), settings=asking("replay", server), instance=dg.DagsterInstance.ephemeral())
    result = copy.materialise(*NEGOTIATED, *SOLVED.values(), "dispatch.payments", *BIDS.values())
    assert not failures(result)
    assert len(server.seen) == sent
    calls = "negotiation.llm_calls"
    assert [name for name in differences(before, copy.tables()) if not name.startswith(calls)] == []
    assert metadata_of(result, "negotiation.summary")["fallback_fraction"] == 0.0


@pytest.mark.slow  # of the next day; verification/test_advice.py has the check
def test_another_model_than_the_day_before_is_warned_of_and_stops_nothing(
    live: tuple[TradingDesk, Any, FakeGemini, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = live[0].copy()
    with FakeGemini(advice) as other:
        monkeypatch.setattr("vpp_pipeline_tests.llm.fake_gemini.MODEL_VERSION", "fake-gemini-2")
        later = replace(desk, settings=asking("refresh", other), instance=dg.DagsterInstance.ephemeral())
        result = later.materialise(*UP_TO_NEGOTIATION, partition="2023-08-16")
    assert not failures(result)
    found = evaluations(result)[CHECK]
    assert not found.passed
    assert "answers came from fake-gemini-2, on the last day from fake-gemini-1" in (found.description or "")


NEGOTIATED = ("negotiation.summary", "negotiation.agreements", "negotiation.llm_calls")
UP_TO_NEGOTIATION = (
    *("market.price_forecast", "market.price_scenarios", "market.metered_hours", "market.meter_quarantine"),
    *("market.solar_forecast", "market.load_forecast", "market.charging_forecast", "market.opportunities"),
    *("fleet.prosumers", "fleet.notes", "fleet.quarantine", "fleet.availability"),
    *NEGOTIATED,
)
FAILING = {
    "503": Step("503"),
    "429": Step("429", retry_after="1"),
    "drop": Step("drop"),
    "html": Step("html"),
    "malformed": Step("malformed"),
    "truncated": Step("truncated"),
    "blocked": Step("blocked_prompt"),
    "bad key": Step("bad_key"),
    "unknown model": Step("unknown_model"),
    "headers echoed": Step("echo"),
    "key in the answer": Step("key_in_answer"),
    "key as version": Step("key_as_version"),
    "too slow": Step(delay_s=5.0),
}


@pytest.mark.parametrize("kinds", [("headers echoed",), pytest.param(tuple(FAILING), marks=pytest.mark.slow)], ids=len)
def test_the_key_is_nowhere_after_success_and_after_failures(
    kinds: tuple[str, ...],
    live: tuple[TradingDesk, Any, FakeGemini, Path],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In run storage, events, logs, lake, warehouse, store of answers; the same history has every run."""
    desk, first, _, history = live
    results, told = {"success": first}, []
    with caplog.at_level(logging.DEBUG), FakeGemini() as failing:
        for name in kinds:
            failing.default = FAILING[name]
            chosen = asking("refresh", failing, deadline_s=1.0, attempt_timeout_s=0.5, breaker_failures=1)
            copy = replace(desk.copy(), settings=chosen)
            results[name] = copy.materialise("negotiation.summary", "negotiation.llm_calls", "warehouse.published")
            assert failing.seen[-1].headers["x-goog-api-key"] == CANARY, name
            assert metadata_of(results[name], "negotiation.summary")["fallback_fraction"] == 1.0, name
            told.append(_bytes_of(copy.data))
    no_key = replace(desk.copy(), settings=asking("live", failing, api_key_variable="GOOGLE_API_KEY"))
    results["no key"] = no_key.materialise("negotiation.summary")
    assert "GOOGLE_API_KEY is empty" in str(failures(results["no key"]))
    printed = capfd.readouterr()
    told += [_bytes_of(desk.data), _bytes_of(history), caplog.text.encode(), printed.out.encode(), printed.err.encode()]
    told += [repr([record.__dict__ for record in caplog.records]).encode()]
    told += [repr(result.all_events).encode() + repr(failures(result)).encode() for result in results.values()]
    told += [repr(list(desk.instance.all_logs(result.run_id))).encode() for result in results.values()]
    assert len(_bytes_of(history)) > 100_000
    assert not [place for place, found in enumerate(told) if CANARY.encode() in found]


def _bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_the_rule_stands_in_where_the_mode_is_off_and_the_day_says_so(
    live: tuple[TradingDesk, Any, FakeGemini, Path],
) -> None:
    desk, _, server, _ = live
    sent = len(server.seen)
    off = replace(desk.copy(), settings=asking("off", server), instance=dg.DagsterInstance.ephemeral())
    result = off.materialise("negotiation.summary")
    assert not failures(result)
    assert len(server.seen) == sent
    assert metadata_of(result, "negotiation.summary")["fallback_fraction"] == 1.0


NOTE = "if the grid fails I want 60 % left, says Maria"


@pytest.fixture
def noted_fleet(tmp_path: Path) -> Path:
    """A fleet in which the first battery's owner left a note that the rules do not understand."""
    rows = generate_fleet(FleetSettings(prosumers=30, note_share=0.0), date(2023, 8, 15)).drop("market_date")
    first = rows.filter(store="battery", site_type="home")["prosumer_id"][0]
    file = tmp_path / "fleet.csv"
    rows.with_columns(note=pl.when(prosumer_id=first).then(pl.lit(NOTE))).write_csv(file)
    return file


@pytest.mark.slow
def test_notes_and_the_formulation_are_asked_about_where_the_settings_say_so(key: None, noted_fleet: Path) -> None:
    use = {"formulation": True, "reads_notes": True, "paid_tier_confirmed": True}
    with FakeGemini(advice) as server:
        chosen = asking("live", server) | {"fleet": {"path": str(noted_fleet)}, "model_use": use}
        desk = new_desk(settings=chosen)
        result = desk.run()
    assert not failures(result)
    assert all(check.passed for check in evaluations(result).values() if check.blocking)
    purposes = dict(desk.sql("select purpose, count(*) from negotiation.llm_calls group by purpose"))
    assert set(purposes) == {"counter_offer", "note", "formulation"}
    assert (purposes["note"], purposes["formulation"]) == (1, 1)
    read = desk.sql("select preference, wanted, status, quote from fleet.notes where read_by = 'model'")
    assert read == [("backup_reserve_fraction", "0.6", "applied", NOTE)]
    told = [seen.prompt for seen in server.seen if "note" in json.loads(seen.prompt)]
    assert [json.loads(prompt) for prompt in told] == [{"note": "if the grid fails I want 60 % left, says [name]"}]
    ((verdict, plain, formulated),) = desk.sql(
        "select formulation_verdict, plain_profit_usd, formulated_profit_usd from dispatch.proof"
    )
    assert verdict.startswith(("accepted", "refused"))
    assert plain > 0
    assert formulated is not None


def test_owners_words_stay_without_the_confirmation(key: None, noted_fleet: Path) -> None:
    with FakeGemini(advice) as server:
        chosen = asking("live", server) | {"fleet": {"path": str(noted_fleet)}, "model_use": {"reads_notes": True}}
        result = new_desk(settings=chosen).materialise("fleet.prosumers", "fleet.notes", "fleet.quarantine")
        assert "paid_tier_confirmed" in str(failures(result))
        chosen["model_use"] = {}
        silent = new_desk(settings=chosen).materialise("fleet.prosumers", "fleet.notes", "fleet.quarantine")
        assert not failures(silent)
        assert server.seen == []
