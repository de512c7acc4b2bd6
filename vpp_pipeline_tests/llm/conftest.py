"""A local Gemini, and gateways that ask it through the real SDKs: whichever of the two is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.interface import LLMProvider
from vpp_pipeline.llm.providers import EXTRAS, PROVIDERS
from vpp_pipeline.llm.store import CallStore
from vpp_pipeline.settings import LLMSettings
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini
from vpp_pipeline_tests.llm.questions import CANARY, quick

MODULES = {"google-genai": "google.genai", "google-generativeai": "google.generativeai"}


def _is_installed(sdk: str) -> bool:
    return importlib.util.find_spec("google") is not None and importlib.util.find_spec(MODULES[sdk]) is not None


@pytest.fixture
def server() -> Iterator[FakeGemini]:
    with FakeGemini() as fake:
        yield fake


@pytest.fixture(
    params=[
        pytest.param(
            sdk,
            marks=pytest.mark.skipif(
                not _is_installed(sdk), reason=f"extra {EXTRAS[sdk]} is not installed; `make test-legacy` has the other"
            ),
        )
        for sdk in PROVIDERS
        if _is_installed(sdk) or not any(map(_is_installed, PROVIDERS))
    ]
)
def sdk(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(sdk: str, server: FakeGemini) -> LLMProvider:
    return PROVIDERS[sdk](CANARY, server.url)


@pytest.fixture
def gateway_to(tmp_path: Path) -> Callable[..., Gateway]:
    """`gateway_to(provider, **settings)`: on one store per test."""

    def opened(provider: LLMProvider | None, **settings: Any) -> Gateway:
        chosen: LLMSettings = quick(**settings)
        return Gateway(chosen, CallStore(tmp_path / "llm.sqlite"), provider, run_id="run")

    return opened
