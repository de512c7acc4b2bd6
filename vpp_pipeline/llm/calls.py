"""The audit of the language model as the table `negotiation.llm_calls`, and what a run's metadata say of it."""

from __future__ import annotations

from datetime import date

import polars as pl

from vpp_pipeline.llm.store import CallStore
from vpp_pipeline.schemas import door
from vpp_pipeline.schemas.negotiation import LLMCalls


def calls_table(store: CallStore, market_date: date, run_id: str | None = None) -> pl.DataFrame:
    """The questions of a market day, or of one of its runs. Raises LLMError(STORE)."""
    rows = store.calls(market_date, run_id)
    if not rows:
        return LLMCalls.create_empty()
    frame = pl.DataFrame(rows, infer_schema_length=None).rename({"usd": "cost_usd"})
    return door(
        LLMCalls,
        frame.with_columns(
            pl.col("market_date").str.to_date(),
            pl.col("at_utc").str.to_datetime(time_unit="us", time_zone="UTC"),
            pl.col("is_stored_answer").cast(pl.Boolean),
        ),
    )


def calls_in_numbers(calls: pl.DataFrame) -> dict[str, float | int | str]:
    """Sums for a run's metadata: questions, requests, failures, $, and every model version that answered."""
    failed = calls.filter(pl.col("outcome") != "ok")
    versions = calls.filter(pl.col("model_version") != "")["model_version"].unique().sort()
    return {
        "questions": calls.height,
        "stored_answers": int(calls["is_stored_answer"].sum()),
        "requests": int(calls["attempts"].sum()),
        "failed": failed.height,
        "failed_fraction": failed.height / calls.height if calls.height else 0.0,
        "tokens": int(calls["input_tokens"].sum()) + int(calls["output_tokens"].sum()),
        "cost_usd": float(calls["cost_usd"].sum()),
        "model_versions": ", ".join(versions),
    }
