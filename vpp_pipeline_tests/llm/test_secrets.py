"""A canary key goes in; after success and after every kind of failure it is nowhere to be found."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from datetime import date
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMReply, LLMRequest
from vpp_pipeline.llm.providers import PROVIDERS, check, open_gateway, open_provider
from vpp_pipeline.llm.store import CallStore, calls_table
from vpp_pipeline.settings import LLMSettings
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini, Step
from vpp_pipeline_tests.llm.questions import CANARY, Answer, question, quick
from vpp_pipeline_tests.llm.test_adapters import FAILURES, GOOD

DAY = date(2023, 8, 15)
HOSTILE = {
    "headers echoed in an error": Step("echo"),
    "key in the answer": Step("key_in_answer"),
    "key as model version": Step("key_as_version"),
    "key as reason of the end": Step("key_as_end"),
    "key as reason of a block": Step("key_as_block"),
    "key as wait": Step("429", retry_after=CANARY, retry_delay=CANARY),
}
STEPS = {"success": Step(data=GOOD)} | {name: step for name, (step, _) in FAILURES.items()} | HOSTILE


def words_of(error: BaseException) -> str:
    """All that a logger could print of an exception, locals of its frames included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format()) + repr(error) + str(error) + repr(error.args) + repr(vars(error))


def files_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", STEPS)
def test_the_key_is_nowhere(
    name: str,
    sdk: str,
    server: FakeGemini,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.default = STEPS[name]
    settings = quick(attempts=2, base_url=server.url, provider=sdk, api_key_variable="VPP_LLM_API_KEY")
    traces: list[str] = []
    beneath: list[BaseException | None] = []
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with open_gateway(settings, tmp_path, environment={"VPP_LLM_API_KEY": CANARY}) as gateway:
            try:
                traces.append(repr(gateway.ask(question(), Answer)))
            except LLMError as error:
                traces.append(words_of(error))
                beneath = [error.__cause__, error.__context__]
            assert server.seen[0].headers["x-goog-api-key"] == CANARY
            traces += [repr(gateway), repr(gateway._provider), repr(gateway.store.calls()), repr(settings)]
    printed = capfd.readouterr()
    traces += [caplog.text, repr([record.__dict__ for record in caplog.records]), printed.out, printed.err]
    traces += [str(each.message) for each in warned]
    assert not any(CANARY in trace for trace in traces)
    assert not any(beneath)
    assert CANARY.encode() not in files_of(tmp_path)


def test_the_search_finds_a_key_that_leaks(tmp_path: Path) -> None:
    class Leaky:
        name = "leaky"

        def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
            if request.user == "fail":
                raise LLMError(FailKind.SERVER, CANARY)
            return LLMReply(f'{{"number": 0.5, "words": "{CANARY}"}}', "v")

    gateway = Gateway(quick(attempts=1), CallStore(tmp_path / "llm.sqlite"), Leaky())
    with pytest.raises(LLMError) as caught:
        gateway.ask(question(user="fail"), Answer)
    assert CANARY in words_of(caught.value)
    gateway.ask(question(), Answer)
    assert CANARY.encode() in files_of(tmp_path)


def test_a_redirect_does_not_carry_the_key_away(sdk: str, server: FakeGemini) -> None:
    with FakeGemini() as elsewhere:
        server.default = Step("redirect", location=f"{elsewhere.url}/v1beta/models/gemini-test:generateContent")
        with pytest.raises(LLMError):
            PROVIDERS[sdk](CANARY, server.url).generate(question(), timeout_s=5.0)
        assert elsewhere.seen == []


@pytest.mark.parametrize("key", [f"{CANARY} {CANARY}", f"{CANARY}\nx", f"{CANARY}é"])
def test_what_is_no_key_is_not_repeated(key: str) -> None:
    with pytest.raises(InputError, match="VPP_LLM_API_KEY") as caught:
        open_provider(quick(api_key_variable="VPP_LLM_API_KEY"), {"VPP_LLM_API_KEY": key})
    assert CANARY not in words_of(caught.value).replace(repr(key), "")
    assert CANARY not in str(caught.value)


def test_a_key_in_place_of_its_variables_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name of an environment variable"):
        LLMSettings(api_key_variable=CANARY)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://localhost.example.org",
        "https://user:password@example.org",
        "https://example.org/path",
        "https://example.org\n",
        "file:///tmp/x",
    ],
)
def test_the_key_travels_encrypted_or_stays_here(url: str) -> None:
    with pytest.raises(ValueError, match="write https"):
        LLMSettings(base_url=url)


@pytest.mark.parametrize("url", ["https://example.org", "https://example.org:8443/", "http://127.0.0.1:8000"])
def test_another_endpoint_can_be_named(url: str) -> None:
    assert LLMSettings(base_url=url).base_url == url


def test_a_question_and_an_answer_do_not_show_their_words(tmp_path: Path) -> None:
    assert "How far" not in repr(question())
    assert "a quarter" not in repr(LLMReply('{"words": "a quarter"}', "v"))


def test_an_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(LLMError(FailKind.RATE_LIMIT, "HTTP 429", retry_after_s=3.0)))
    assert (error.kind, error.retry_after_s, str(error)) == (FailKind.RATE_LIMIT, 3.0, "rate_limit: HTTP 429")


@pytest.mark.parametrize("name", ["bad key", "429", "HTML with 200", "headers echoed in an error"])
def test_the_check_says_what_to_do_and_not_the_key(
    name: str, sdk: str, server: FakeGemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.default = STEPS[name]
    monkeypatch.setenv("VPP_LLM_API_KEY", CANARY)
    with pytest.raises(InputError, match="gave no usable answer") as caught:
        check(quick(base_url=server.url, provider=sdk, api_key_variable="VPP_LLM_API_KEY"), tmp_path)
    assert CANARY not in words_of(caught.value)


def test_the_table_that_is_published_holds_no_key(sdk: str, server: FakeGemini, tmp_path: Path) -> None:
    server.default = Step("key_as_version")
    settings = quick(base_url=server.url, provider=sdk, api_key_variable="VPP_LLM_API_KEY")
    with open_gateway(settings, tmp_path, market_date=DAY, environment={"VPP_LLM_API_KEY": CANARY}) as gateway:
        gateway.ask(question(), Answer)
        table = calls_table(gateway.store, DAY)
    assert table["model_version"].to_list() == ["untold"]
    assert CANARY not in table.write_json()
