"""The commands of the language model, without a key: replay of the example answers, and the day's note."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.llm.session import example_answers
from vpp_pipeline_tests.cli.command_line import own_history
from vpp_pipeline_tests.defs.desk import DAY, TradingDesk, example_run, failures, metadata_of, new_desk


@pytest.fixture(scope="module", autouse=True)
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_history(tmp_path_factory.mktemp("dagster_home")):
        yield


@pytest.fixture(scope="module")
def desk() -> TradingDesk:
    return new_desk()


def run(desk: TradingDesk, command: str, *options: str) -> int:
    return main([command, "--date", DAY, "--data", str(desk.data), *options])


def test_the_example_answers_are_all_that_the_day_s_negotiations_need_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    desk = example_run()[0].copy()
    replay = {"mode": "replay", "answers": str(example_answers(desk.data))}
    desk = replace(desk, settings={"negotiation": {"engine": "llm"}, "llm": replay})
    result = desk.materialise("negotiation.summary", "negotiation.agreements", "negotiation.llm_calls")
    assert result.success, failures(result)
    told = metadata_of(result, "negotiation.llm_calls")
    assert (told["questions"], told["requests"]) == (76, 0)
    assert metadata_of(result, "negotiation.summary")["fallback_fraction"] == 0.0
    assert (
        desk.day()["negotiation.llm_calls"].select("outcome", "model_version").rows() == [("ok", "fake-gemini-1")] * 76
    )
    assert example_answers(desk.data) is not None  # the desk's store now holds an audit, but still no answer of its own


@pytest.mark.slow
def test_bids_and_the_day_s_note_are_made_from_the_example_answers_without_a_key(
    desk: TradingDesk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    assert run(desk, "bids", "--engine", "llm", "--llm-mode", "replay") == 0
    said = capsys.readouterr().out
    assert "negotiated by llm" in said
    assert "violations found: 0" in said
    assert "language model (fake-gemini-1): 76 questions, 76 answered from the store, 0 requests" in said
    assert "the rule stood in" not in said
    assert desk.sql("select count(*) from negotiation.llm_calls where outcome = 'ok'") == [(76,)]
    assert example_answers(desk.data) is not None  # the desk's store now holds an audit, but still no answer of its own

    # the note of that day, without a model: here, since tests side by side come in any order
    assert run(desk, "brief") == 0
    file = desk.data / "briefs" / f"{DAY}.md"
    assert "Made by rule from the day's tables." in file.read_text(encoding="utf-8")
    ((bids,),) = desk.sql("select count(*) from bids.final_bids where status = 'bid'")
    assert f"Of {8 * 72} opportunities {bids} are bid" in capsys.readouterr().out


def test_a_note_of_a_day_without_bids_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["brief", "--date", DAY, "--data", str(tmp_path)]) == 2
    assert "Make the day's bids" in capsys.readouterr().err


def test_live_without_a_key_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    assert main(["bids", "--date", DAY, "--data", str(tmp_path), "--engine", "llm", "--llm-mode", "live"]) == 2
    assert "GEMINI_API_KEY" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))  # nothing was written


def test_readings_of_notes_are_compared_and_nothing_is_sent_without_consent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare-notes", "--date", DAY, "--data", str(tmp_path), "--prosumers", "60", "--llm-mode", "replay"]
    assert main(command) == 2
    assert "model_use.paid_tier_confirmed=true" in capsys.readouterr().err
    consent = ["--set", "model_use.paid_tier_confirmed=true"]
    assert main([*command, *consent, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["notes"] == printed["asked"] > 0  # nothing is stored: every question ends without an answer
    assert sum(printed["failed"].values()) > 0
    by_rule = {row["preference"]: row["rule only"] for row in printed["agreement"]}
    assert sum(by_rule.values()) > 0
    assert main([*command, *consent]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    assert lines[0][:2] == [str(printed["notes"]), "notes,"]
    assert {line[0] for line in lines[3:]} == set(by_rule)


@pytest.mark.slow
def test_engines_are_compared_with_the_model_where_its_mode_is_not_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--prosumers", "30", "--set", "llm.mode=replay"]
    assert main(["compare-engines", "--date", DAY, "--data", str(tmp_path), *options]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["measure"][:3] == ["concession", "uniform_clearing", "llm"]
    assert lines["profit_usd"][0] == lines["profit_usd"][2]  # nothing is stored: the rule stood in
    assert lines["advised_fraction"][:3] == ["0.0%", "0.0%", "0.0%"]
