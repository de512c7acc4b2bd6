"""Opens what a run asks through: store, provider and gateway, as the settings say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.answers import read_answers
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.gemini import GenAIProvider
from vpp_pipeline.llm.gemini_legacy import LegacyGenerativeAIProvider
from vpp_pipeline.llm.ports import LLMProvider
from vpp_pipeline.llm.store import CallStore
from vpp_pipeline.settings import LLMSettings

PROVIDERS: Mapping[str, type[GenAIProvider] | type[LegacyGenerativeAIProvider]] = {
    each.name: each for each in (GenAIProvider, LegacyGenerativeAIProvider)
}
EXTRAS = {"google-genai": "gemini", "google-generativeai": "gemini-legacy"}
OFFLINE = "Or stay without a key: llm.mode=off, or replay where answers are stored"


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
