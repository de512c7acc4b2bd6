"""A small question, its answer, settings that do not wait long, and a provider that says what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pydantic import Field

from vpp_pipeline.llm.interface import LLMReply, LLMRequest, LLMUsage, StrictModel, schema_of
from vpp_pipeline.settings import LLMSettings

CANARY = "AIzaCANARY0123456789-must-never-be-seen"


class Answer(StrictModel):
    """What is asked for."""

    number: float = Field(ge=0, le=1)
    words: str = Field("", max_length=1000)


def question(**changes: Any) -> LLMRequest:
    choices: dict[str, Any] = {
        "purpose": "test",
        "model": "gemini-test",
        "system": "Answer with a number.",
        "user": "How far?",
        "json_schema": schema_of(Answer),
        "max_output_tokens": 400,
        "subject": "energy_20230815_1200",
    }
    return LLMRequest(**(choices | changes))


def quick(**changes: Any) -> LLMSettings:
    choices: dict[str, Any] = {
        "mode": "live",
        "attempt_timeout_s": 0.8,
        "deadline_s": 3.0,
        "first_pause_s": 0.02,
        "longest_pause_s": 0.05,
    }
    return LLMSettings(**(choices | changes))


class Scripted:
    """A provider without network: ``say`` makes each reply's text, or raises."""

    name = "scripted"

    def __init__(self, say: Callable[[LLMRequest], str] | None = None, usage: LLMUsage | None = None) -> None:
        self._say = say or (lambda _: '{"number": 0.5}')
        self._usage = usage or LLMUsage(100, 50)
        self._lock = threading.Lock()
        self.calls = 0

    def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
        with self._lock:
            self.calls += 1
        return LLMReply(self._say(request), "scripted-1", self._usage)
