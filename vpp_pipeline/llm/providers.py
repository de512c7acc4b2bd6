"""Opens what a run asks through (store, provider, gateway), and asks it one tiny question: `llm-check`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Literal

from vpp_pipeline.core.display import usd
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.gemini import GenAIProvider
from vpp_pipeline.llm.gemini_legacy import LegacyGenerativeAIProvider
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMProvider, LLMRequest, StrictModel, schema_of
from vpp_pipeline.llm.store import CallStore, read_answers
from vpp_pipeline.settings import LLMSettings

PROVIDERS: Mapping[str, type[GenAIProvider] | type[LegacyGenerativeAIProvider]] = {
    each.name: each for each in (GenAIProvider, LegacyGenerativeAIProvider)
}
EXTRAS = {"google-genai": "gemini", "google-generativeai": "gemini-legacy"}
OFFLINE = "Or stay without a key: llm.mode=off, or replay where answers are stored"
REMEDIES = {
    FailKind.AUTH: "The key was refused: see that the variable {variable} holds a valid one",
    FailKind.BAD_REQUEST: "The model may be unknown or retired: set llm.model",
    FailKind.RATE_LIMIT: "The provider's quota is used up for now: wait, or use a paid tier",
    FailKind.BUDGET: "Our own budget of the day is used up: raise llm.{budget}",
    FailKind.TIMEOUT: "Raise llm.attempt_timeout_s and llm.deadline_s, or try later",
    FailKind.DEADLINE: "Raise llm.deadline_s",
    FailKind.TRANSPORT: "See that this machine reaches the endpoint, and whether a proxy answers in its place",
    FailKind.TRUNCATED: "Raise llm.max_output_tokens: thoughts count",
    FailKind.INVALID_OUTPUT: "The model does not keep to a schema: set another as llm.model",
    FailKind.REPLAY_MISS: "Nothing is stored for this question: ask once with --llm-mode live",
    FailKind.STORE: "See that llm.store can be written",
}


@contextmanager
def open_gateway(
    settings: LLMSettings,
    data_folder: Path,
    *,
    run_id: str = "",
    market_date: date | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Gateway]:
    """The gateway of one run, closed at its end. Raises InputError where key, SDK or files are missing.

    Key and SDK are looked for in the modes `live` and `refresh` alone.
    """
    provider = open_provider(settings, environment) if settings.mode in ("live", "refresh") else None
    answers = read_answers(settings.answers) if settings.answers else {}
    store = CallStore(settings.store or data_folder / "llm.sqlite")
    try:
        yield Gateway(settings, store, provider, answers=answers, run_id=run_id, market_date=market_date)
    finally:
        store.close()


def open_provider(settings: LLMSettings, environment: Mapping[str, str] = os.environ) -> LLMProvider:
    """The adapter that ``settings`` name. Raises InputError, which never holds the key."""
    variable = settings.api_key_variable
    key = environment.get(variable, "").strip()
    if not key:
        raise InputError(
            "the language model needs an API key",
            value=f"the environment variable {variable} is empty",
            remedy=f"Set it, or name another variable as llm.api_key_variable. {OFFLINE}",
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            "what should be an API key is none",
            value=f"the environment variable {variable} holds spaces or unprintable letters",
            remedy="Set it to the key alone",
        )
    try:
        return PROVIDERS[settings.provider](key, settings.base_url)
    except ImportError as error:
        missing = error.name
    raise InputError(
        f"the SDK {settings.provider} is not installed",
        value=f"no module {missing}",
        remedy=f"pip install 'vpp-pipeline[{EXTRAS[settings.provider]}]'. {OFFLINE}",
    )


class _Sum(StrictModel):
    sum: Literal[5]


def check(settings: LLMSettings, data_folder: Path) -> str:
    """What one question cost and who answered, in lines to print. Raises InputError with what to do.

    In mode `live` the question is asked anew, whatever is stored.
    """
    if settings.mode == "off":
        raise InputError(
            "the language model is off, nothing was asked",
            value="llm.mode=off",
            remedy="Add --llm-mode live to ask, or --llm-mode replay to take the answer of an earlier check",
        )
    asked = settings.model_copy(update={"mode": "refresh"}) if settings.mode == "live" else settings
    request = LLMRequest(
        purpose="check",
        model=settings.model,
        system="Answer with JSON only, in the given schema.",
        user='How much is two plus three? Answer as {"sum": number}.',
        json_schema=schema_of(_Sum),
        temperature=settings.temperature,
        max_output_tokens=min(settings.max_output_tokens, 1024),
        subject="check",
    )
    with open_gateway(asked, data_folder, run_id="llm-check") as gateway:
        try:
            gateway.ask(request, _Sum)
        except LLMError as error:
            failure: LLMError | None = error
        else:
            failure = None
        call, spent = gateway.store.calls(run_id="llm-check")[-1], gateway.budget.spent()
    if failure is not None:
        remedy = REMEDIES.get(failure.kind, "Try again later").format(
            variable=settings.api_key_variable, budget="calls_per_day, tokens_per_day or usd_per_day"
        )
        raise InputError(
            f"the language model gave no usable answer: {failure}",
            value=f"{settings.provider}, {settings.model}, {call['attempts']} attempts, {call['seconds']:.1f} s",
            remedy=remedy,
        )
    source = "from the store" if call["is_stored_answer"] else f"{call['attempts']} request(s)"
    return "\n".join(
        [
            f"{settings.provider}, {settings.model}: answered by {call['model_version']}, {source}",
            f"latency {call['seconds']:.2f} s, {call['input_tokens']} tokens in, {call['output_tokens']} out, "
            f"{usd(call['usd'], 6)} at prices of {settings.prices_as_of}",
            f"today in {gateway.store.path}: {spent.calls} of {settings.calls_per_day} calls, "
            f"{spent.tokens} of {settings.tokens_per_day} tokens, {usd(spent.usd, 4)} of {usd(settings.usd_per_day)}",
        ]
    )
