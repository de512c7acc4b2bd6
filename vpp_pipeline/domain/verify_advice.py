"""A check of a language model's advice: who gave it, and how often a rule stood in. It warns; bids may go out.

What the advice led to is checked like any other negotiation.
"""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, Day
from vpp_pipeline.domain.verdict import Verdict, judge
from vpp_pipeline.settings import Settings

ADVICE = "counter_offer"  # purpose of the questions about negotiations


def advice_comes_from_the_model_that_was_asked(day: Day, settings: Settings) -> Verdict:
    """Where the engine is `llm`, a model gave the advice, the same one as on the last day that asked, and the rule
    stood in no more often than `model_use.fallback_limit_fraction`; warns otherwise."""
    engines = set(day["negotiation.summary"]["engine"])
    if "llm" not in engines:
        return Verdict(0, f"0 questions to a language model: negotiated by {', '.join(sorted(engines))}", 0.0)
    asked = _latest(day["negotiation.llm_calls"])
    answered = asked.filter(pl.col("outcome") == "ok")
    missing = 1.0 - answered.height / asked.height if asked.height else 1.0
    limit = settings.model_use.fallback_limit_fraction
    found, before = _versions(answered), _versions(_latest(day[LLM_CALLS_BEFORE])) if LLM_CALLS_BEFORE in day else []
    faults = []
    if missing > limit:
        why = asked.filter(pl.col("outcome") != "ok")["outcome"].value_counts(sort=True)
        kinds = ", ".join(f"{kind} {count}" for kind, count in why.rows()) or f"llm.mode is {settings.llm.mode}"
        faults.append(f"the rule stood in for {missing:.0%} of the advice, limit {limit:.0%} ({kinds})")
    if before and found and found != before:
        faults.append(f"answers are by {', '.join(found)}, on the last day by {', '.join(before)}")
    held = f"{answered.height} of {asked.height} questions answered, by {', '.join(found) or 'nobody'}"
    return judge(pl.DataFrame({"fault": faults}), "things to know of the advice", held, missing, is_warning=True)


def _latest(calls: pl.DataFrame) -> pl.DataFrame:
    """Questions about negotiations of the run that asked last."""
    advice = calls.filter(pl.col("purpose") == ADVICE).sort("call_id")
    return advice.filter(pl.col("run_id") == pl.col("run_id").last())


def _versions(calls: pl.DataFrame) -> list[str]:
    answered = calls.filter((pl.col("outcome") == "ok") & (pl.col("model_version") != ""))
    return sorted(answered["model_version"].unique().to_list())
