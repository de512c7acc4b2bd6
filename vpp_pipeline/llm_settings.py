"""How a language model is asked: a group of `settings.py`, which says what the answers may be used for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "VPP_LLM_API_KEY")

#: settings that say where a key goes and which files are written, and the environment variable of each. The owner of
#: the machine decides on them, there or on the command line; a run's configuration in Dagster cannot name them.
OWNERS_VARIABLES: Mapping[str, str] = {
    "base_url": "VPP_LLM_URL",
    "api_key_variable": "VPP_LLM_API_KEY_VARIABLE",
    "store": "VPP_LLM_STORE",
    "answers": "VPP_LLM_ANSWERS",
}


def llm_of_environment() -> dict[str, str]:
    """The owner's settings that environment variables name."""
    return {name: os.environ[variable] for name, variable in OWNERS_VARIABLES.items() if os.environ.get(variable)}


class LLMSettings(BaseModel):
    """How a language model is asked, and what that may cost. It proposes, never decides; by default it is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["off", "live", "replay", "refresh"] = Field(
        "off",
        description="`off`: never asked; `live`: stored answers first, then asked; `replay`: stored answers alone; "
        "`refresh`: asked anew.",
    )
    provider: Literal["google-genai", "google-generativeai"] = Field(
        "google-genai", description="SDK: extra `gemini`, or `gemini-legacy`, unsupported upstream since 2025-11-30."
    )
    model: str = Field(
        "gemini-3.5-flash-lite", pattern=r"^[A-Za-z0-9][\w.\-]{0,127}$", description="Model id; models get retired."
    )
    api_key_variable: str = Field(
        "GEMINI_API_KEY",
        description="Environment variable that holds the key: GEMINI_API_KEY, GOOGLE_API_KEY or VPP_LLM_API_KEY.",
    )
    base_url: str | None = Field(
        None, description="Another endpoint, https or this machine; empty: the provider's own."
    )
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature; some models ignore it.")
    max_output_tokens: int = Field(4096, ge=16, le=65_536, description="Most tokens of an answer, thoughts included.")
    attempts: int = Field(3, ge=1, le=10, description="Most attempts per question.")
    attempt_timeout_s: float = Field(10.0, gt=0, le=600, description="Seconds of wall time of one attempt.")
    deadline_s: float = Field(20.0, gt=0, le=3600, description="Seconds of wall time of one question, waits included.")
    run_deadline_s: float = Field(
        35.0, gt=0, le=86_400, description="Seconds after a gateway's first question when it stops asking."
    )
    first_pause_s: float = Field(0.5, ge=0, le=60, description="Pause before a second attempt; doubles thereafter.")
    longest_pause_s: float = Field(4.0, ge=0, le=600, description="Longest pause, unless the provider asks for more.")
    breaker_failures: int = Field(5, ge=1, description="Questions failed in a row that stop all for a while.")
    breaker_pause_s: float = Field(60.0, gt=0, description="Seconds of that while; then one question tries.")
    workers: int = Field(8, ge=1, le=64, description="Most calls at once in a process.")
    calls_per_day: int = Field(1000, ge=0, description="Most calls a Pacific day, of all processes on one store.")
    tokens_per_day: int = Field(3_000_000, ge=0, description="Most tokens a Pacific day, input and output.")
    usd_per_day: float = Field(2.0, ge=0, description="Most money a Pacific day, at the prices below.")
    input_usd_per_million_tokens: float = Field(
        1.5, ge=0, description="Price of input; the default is a dearer model's, so that costs are overstated [cfg]."
    )
    output_usd_per_million_tokens: float = Field(9.0, ge=0, description="Price of output, thoughts included [cfg].")
    prices_as_of: str = Field(
        "2026-06-18", pattern=r"^\d{4}-\d{2}-\d{2}$", description="Day the two prices were read; set all three."
    )
    prompt_limit_bytes: int = Field(60_000, ge=1, description="Longer questions are not sent.")
    reply_limit_bytes: int = Field(60_000, ge=1, description="Longer answers are refused and not stored.")
    store: Path | None = Field(
        None, description="SQLite file of answers, budget and audit; empty: llm.sqlite in the data folder."
    )
    answers: Path | None = Field(
        None, description="JSON lines of further stored answers, only read: what `export_answers` wrote."
    )

    @field_validator("api_key_variable")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if name not in KEY_VARIABLES:
            raise ValueError(
                f"write the name of an environment variable, one of {', '.join(KEY_VARIABLES)}; never the key itself"
            )
        return name

    @field_validator("base_url")
    @classmethod
    def _keeps_the_key_private(cls, url: str | None) -> str | None:
        safe = r"(https://[A-Za-z0-9.\-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?/?"
        if url is not None and not re.fullmatch(safe, url):
            raise ValueError(
                "write https://host or https://host:port; http:// is for this machine alone: it shows the key"
            )
        return url
