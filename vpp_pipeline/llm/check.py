"""`llm-check`: one tiny question, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.ports import FailKind, LLMError, LLMRequest, StrictModel, schema_of
from vpp_pipeline.llm.providers import open_gateway
from vpp_pipeline.settings import LLMSettings

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
            f"{call['usd']:.6f} $ at prices of {settings.prices_as_of}",
            f"today in {gateway.store.path}: {spent.calls} of {settings.calls_per_day} calls, "
            f"{spent.tokens} of {settings.tokens_per_day} tokens, {spent.usd:.4f} of {settings.usd_per_day:g} $",
        ]
    )
