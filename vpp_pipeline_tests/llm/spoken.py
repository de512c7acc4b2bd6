"""A gateway without network, and the example day that is asked about."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from vpp_pipeline.core.paths import REQUESTS, example_file
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.llm.interface import LLMError, LLMRequest, T
from vpp_pipeline.settings import Settings
from vpp_pipeline_tests.llm.example_answers import EXAMPLE_DAY

Say = Callable[[dict[str, Any]], Any]


class Spoken:
    """A gateway that answers by ``say``: an answer, its text, or an LLMError to be raised."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[LLMRequest] = []

    def ask(self, request: LLMRequest, out: type[T]) -> T:
        self.asked.append(request)
        answer = self.say(json.loads(request.user))
        if isinstance(answer, LLMError):
            raise answer
        return out.model_validate_json(answer if isinstance(answer, str) else json.dumps(answer))


@cache
def example_inputs() -> Tables:
    """What the bids of the example day are made from; frames are shared, never change one in place."""
    return DayInputs(EXAMPLE_DAY, Settings(), None, None, example_file(REQUESTS)).tables()
