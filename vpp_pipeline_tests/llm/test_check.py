"""The command `llm-check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.llm.providers import EXTRAS, PROVIDERS
from vpp_pipeline_tests.llm.fake_gemini import MODEL_VERSION, FakeGemini, Step
from vpp_pipeline_tests.llm.questions import CANARY

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_LLM_API_KEY", CANARY)


def run(folder: Path, *arguments: str) -> int:
    return main(["llm-check", "--data", str(folder), "--set", "llm.api_key_variable=VPP_LLM_API_KEY", *arguments])


def test_reports_who_answered_and_what_it_cost(sdk: str, server: FakeGemini, tmp_path: Path, capsys: Printed) -> None:
    server.default = Step(data={"sum": 5})
    asks = ["--set", f"llm.provider={sdk}", "--set", f"llm.base_url={server.url}"]
    assert run(tmp_path, "--llm-mode", "live", *asks) == 0
    live = capsys.readouterr().out
    # 111 tokens in, 2 out, by hand
    assert f"111 tokens in, 2 out, ${(111 * 1.5 + 2 * 9.0) / 1e6:.6f}" in live
    assert f"answered by {MODEL_VERSION}" in live
    assert "1 of 1000 calls" in live
    assert run(tmp_path, "--llm-mode", "live", *asks) == 0
    assert len(server.seen) == 2  # a stored answer would say nothing about the service
    assert run(tmp_path, "--llm-mode", "replay", *asks) == 0
    assert "from the store" in capsys.readouterr().out
    assert len(server.seen) == 2


def test_a_wrong_sum_is_no_answer(sdk: str, server: FakeGemini, tmp_path: Path, capsys: Printed) -> None:
    server.default = Step(data={"sum": 6})
    asks = ["--set", f"llm.provider={sdk}", "--set", f"llm.base_url={server.url}"]
    assert run(tmp_path, "--llm-mode", "live", *asks) == 2
    assert "invalid_output" in capsys.readouterr().err


def test_off_says_how_to_ask(tmp_path: Path, capsys: Printed) -> None:
    assert run(tmp_path) == 2
    assert "--llm-mode live" in capsys.readouterr().err


def test_a_missing_key_is_named_by_its_variable(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VPP_LLM_API_KEY")
    assert run(tmp_path, "--llm-mode", "live") == 2
    assert "environment variable VPP_LLM_API_KEY is empty" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("missing", PROVIDERS)
def test_a_missing_sdk_is_named_by_its_extra(
    missing: str, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        def __init__(self, *_: object) -> None:
            raise ModuleNotFoundError(name="google.genai")

    monkeypatch.setitem(PROVIDERS, missing, Absent)  # type: ignore[arg-type]
    assert run(tmp_path, "--llm-mode", "live", "--set", f"llm.provider={missing}") == 2
    assert f"vpp-pipeline[{EXTRAS[missing]}]" in capsys.readouterr().err


def test_a_key_in_place_of_its_variables_name_is_not_printed(tmp_path: Path, capsys: Printed) -> None:
    assert run(tmp_path, "--set", f"llm.api_key_variable={CANARY}") == 2
    printed = capsys.readouterr()
    assert "name of an environment variable" in printed.err
    assert CANARY not in printed.out + printed.err


def test_an_empty_store_is_told_in_replay(tmp_path: Path, capsys: Printed) -> None:
    assert run(tmp_path, "--llm-mode", "replay") == 2
    assert "ask once with --llm-mode live" in capsys.readouterr().err


def test_the_endpoint_of_the_environment_is_asked_unless_another_is_named(
    sdk: str, server: FakeGemini, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.default = Step(data={"sum": 5})
    asks = ["--llm-mode", "live", "--set", f"llm.provider={sdk}"]
    monkeypatch.setenv("VPP_LLM_URL", server.url)
    assert run(tmp_path, *asks) == 0
    assert len(server.seen) == 1
    assert run(tmp_path, *asks, "--set", "llm.base_url=http://127.0.0.1:9", "--set", "llm.attempts=1") == 2
    assert len(server.seen) == 1
    monkeypatch.setenv("VPP_LLM_URL", "http://elsewhere.example")
    capsys.readouterr()
    assert run(tmp_path, *asks) == 2
    assert "VPP_LLM_URL" in capsys.readouterr().err


def test_no_other_variable_than_those_listed_can_be_named(tmp_path: Path, capsys: Printed) -> None:
    assert run(tmp_path, "--set", "llm.api_key_variable=PATH") == 2
    assert "GEMINI_API_KEY, GOOGLE_API_KEY, VPP_LLM_API_KEY" in capsys.readouterr().err
