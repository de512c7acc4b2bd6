"""The check of a language model's advice: it warns of a rule that stood in too often, and of another model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, Day
from vpp_pipeline.llm.adviser import PURPOSE
from vpp_pipeline.schemas import LLMCalls
from vpp_pipeline.verification.negotiation import ADVICE, advice_comes_from_the_model_that_was_asked
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline_tests.conftest import DAY, SolvedDay
from vpp_pipeline_tests.verification.tampering import SUMMARY, Fault, assert_caught, edit

CHECK, CALLS = advice_comes_from_the_model_that_was_asked, "negotiation.llm_calls"
MODEL = "model-1-as-of-june"


def calls(*outcomes: str, day: date = DAY, run: str = "run", first: int = 1, **changes: Any) -> pl.DataFrame:
    """Rows of the audit, one question each, as `outcomes` say."""
    row: dict[str, Any] = {
        "market_date": day,
        "at_utc": datetime(2023, 8, 14, 15, tzinfo=UTC),
        "run_id": run,
        "purpose": ADVICE,
        "subject": "energy_20230815_1200",
        "prompt_hash": "hash",
        "mode": "live",
        "provider": "google-genai",
        "model": "model-1",
        "model_version": MODEL,
        "is_stored_answer": False,
        "attempts": 1,
        "input_tokens": 100,
        "output_tokens": 50,
        "cost_usd": 0.001,
        "seconds": 0.5,
    }
    rows = [row | {"call_id": first + k, "outcome": outcome} | changes for k, outcome in enumerate(outcomes)]
    return LLMCalls.validate(pl.DataFrame(rows), cast=True)


def advised(honest: SolvedDay, asked: pl.DataFrame, before: pl.DataFrame | None = None) -> Mapping[str, pl.DataFrame]:
    """The honest day as if the engine `llm` had negotiated it."""
    summary = honest.tables[SUMMARY].with_columns(engine=pl.lit("llm"))
    return {**honest.tables, SUMMARY: summary, CALLS: asked} | ({} if before is None else {LLM_CALLS_BEFORE: before})


def by_nobody(day: Day) -> pl.DataFrame:
    return edit(SUMMARY, engine="llm")(day)


WARNINGS = [
    Fault(CHECK, "the engine is llm and no model was asked", SUMMARY, by_nobody, "the rule replaced 100% of the"),
]


@pytest.mark.parametrize("fault", WARNINGS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_the_questions_it_looks_at_are_those_the_adviser_asks() -> None:
    assert ADVICE == PURPOSE


def test_a_day_without_a_model_has_nothing_to_warn_of(honest: SolvedDay) -> None:
    result = CHECK({**honest.tables, CALLS: calls("server", "server")}, honest.settings)
    assert result.passed
    assert result.description == "0 questions to a language model: negotiated by concession"


def test_a_day_of_answers_passes_and_says_whose_they_are(honest: SolvedDay) -> None:
    result = CHECK(advised(honest, calls(*["ok"] * 10), calls("ok", day=date(2023, 8, 14))), honest.settings)
    assert result.passed, result.description
    assert result.description == f"10 of 10 questions answered, by {MODEL}"


def test_failures_up_to_the_limit_pass_and_beyond_it_warn(honest: SolvedDay) -> None:
    assert CHECK(advised(honest, calls(*["ok"] * 9, "server")), honest.settings).passed
    result = CHECK(advised(honest, calls(*["ok"] * 8, "server", "budget")), honest.settings)
    assert (result.passed, result.is_warning, result.value) == (False, True, pytest.approx(0.2))
    assert "the rule replaced 20% of the advice, limit 10%" in result.description
    assert "server 1" in result.description


def test_another_model_than_on_the_last_day_is_told(honest: SolvedDay) -> None:
    other = calls("ok", day=date(2023, 8, 14), model_version="model-0")
    result = CHECK(advised(honest, calls("ok"), other), honest.settings)
    assert not result.passed
    assert f"answers came from {MODEL}, on the last day from model-0" in result.description


def test_the_last_day_is_the_last_on_which_a_model_was_asked(tmp_path: Path) -> None:
    lake, asked = Lake(tmp_path), calls("ok", day=date(2023, 8, 13))
    lake.write(CALLS, "2023-08-13", asked)
    lake.write(CALLS, "2023-08-14", asked.clear())
    lake.write(CALLS, "2023-08-15", calls("ok"))
    assert LakeDay(lake, date(2023, 8, 15))[LLM_CALLS_BEFORE].equals(asked)
    assert LLM_CALLS_BEFORE not in LakeDay(lake, date(2023, 8, 13))


def test_only_the_run_that_asked_last_and_only_advice_counts(honest: SolvedDay) -> None:
    earlier = calls("server", "server", run="earlier")
    notes = calls("server", "server", first=20, purpose="note")
    result = CHECK(advised(honest, pl.concat([earlier, calls("ok", first=10), notes])), honest.settings)
    assert result.passed, result.description
