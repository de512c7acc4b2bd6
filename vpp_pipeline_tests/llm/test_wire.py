"""What is read from Gemini's answers, case by case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from vpp_pipeline.llm.gemini import failure_of_status, retry_after_s, transport_failure, usage_of
from vpp_pipeline.llm.gemini_legacy import plain_schema
from vpp_pipeline.llm.interface import FailKind, LLMUsage, schema_of


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        ("3", (), 3.0),
        (" 2.5 ", (), 2.5),
        (None, [{"retryDelay": "22s"}], 22.0),
        ("3", [{"@type": "x"}, {"retryDelay": "22s"}], 22.0),
        ("30", [{"retryDelay": "22s"}], 30.0),
        (None, (), None),
        ("-3", (), None),
        ("NaN", (), None),
        ("inf", (), None),
        ("9" * 400, (), None),
        ("soon", (), None),
        (None, [{"retryDelay": None}], None),
        (None, "22s", None),
    ],
)
def test_reads_how_long_to_wait(header: str | None, details: Any, seconds: float | None) -> None:
    assert retry_after_s(header, details) == seconds


def test_reads_a_date_to_wait_for() -> None:
    later, before = (format_datetime(datetime.now(UTC) + timedelta(seconds=s), usegmt=True) for s in (40, -40))
    assert retry_after_s(later) == pytest.approx(40.0, abs=2.0)
    assert retry_after_s(before) == 0.0


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ((10, 5, 0, 0), LLMUsage(10, 5)),
        ((10, 5, 7, 2), LLMUsage(10, 12, 2)),
        ((10, None, None, None), LLMUsage(10, 0)),
        ((-10, 5, 0, 0), LLMUsage()),
        ((10, -5, 9, 0), LLMUsage()),
        (("10", 5, 0, 0), LLMUsage()),
    ],
)
def test_counts_tokens_of_thought_and_never_below_nothing(counts: tuple[Any, ...], usage: LLMUsage) -> None:
    assert usage_of(*counts) == usage


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, "", FailKind.RATE_LIMIT),
        (400, "API key not valid", FailKind.AUTH),
        (400, "no such field", FailKind.BAD_REQUEST),
        (401, "", FailKind.AUTH),
        (403, "", FailKind.AUTH),
        (404, "", FailKind.BAD_REQUEST),
        (307, "", FailKind.TRANSPORT),
        (500, "", FailKind.SERVER),
        (504, "", FailKind.SERVER),
    ],
)
def test_a_status_has_one_kind(status: int, body: str, kind: FailKind) -> None:
    assert failure_of_status(status, body, None).kind is kind


def test_time_limits_are_known_by_name_whatever_library_they_are_of() -> None:
    class ReadTimeout(Exception):
        pass

    class SlowRead(ReadTimeout):
        pass

    assert transport_failure(SlowRead()).kind is FailKind.TIMEOUT
    assert transport_failure(TimeoutError()).kind is FailKind.TIMEOUT
    assert transport_failure(ConnectionRefusedError()).kind is FailKind.TRANSPORT


def test_the_legacy_schema_keeps_names_and_types_alone() -> None:
    class Inner(BaseModel):
        share: float = Field(ge=0, le=1, description="Share.")

    class Outer(BaseModel):
        inner: list[Inner] = Field(max_length=3)
        words: str | None = None

    assert plain_schema(schema_of(Outer)) == {
        "type": "object",
        "required": ["inner"],
        "properties": {
            "inner": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["share"],
                    "properties": {"share": {"type": "number", "description": "Share."}},
                },
            },
            "words": {"type": "string", "nullable": True},
        },
    }


def test_the_legacy_schema_asks_for_either_of_several_objects_in_one() -> None:
    class Hold(BaseModel):
        kind: Literal["hold"]
        share: float

    class Wait(BaseModel):
        kind: Literal["wait"]
        hours: Literal[1, 2]

    class Outer(BaseModel):
        limits: list[Hold | Wait]

    assert plain_schema(schema_of(Outer))["properties"]["limits"]["items"] == {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["hold", "wait"]},
            "share": {"type": "number"},
            "hours": {"type": "integer"},
        },
        "required": ["kind"],
    }
