"""The adapter to `google-genai` (extra `gemini`)."""

from __future__ import annotations

import time
import warnings
from typing import Any

from vpp_pipeline.llm.ports import LLMError, LLMReply, LLMRequest
from vpp_pipeline.llm.wire import (
    Secret,
    answered,
    failure_of_status,
    judged,
    keep_out_of_logs,
    received,
    retry_after_s,
    transport_failure,
    usage_of,
)


class GenAIProvider:
    """Gemini through google-genai. No ``base_url``: the provider's own endpoint. Raises ImportError without the SDK."""

    name = "google-genai"

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        from google import genai
        from google.genai import types

        keep_out_of_logs("httpcore", "httpcore2", "httpx", "httpx2", "google_genai")
        # the SDK warns of words it does not know by repeating them, whatever an endpoint puts there
        warnings.filterwarnings("ignore", message=".* is not a valid ", module=r"google\.genai")
        self._key, self._types = Secret(api_key), types
        self._client: Any = genai.Client(
            vertexai=False,
            api_key=api_key,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1beta",
                # budget and deadline hold only if the gateway alone repeats; a redirect would carry the key elsewhere
                retry_options=types.HttpRetryOptions(attempts=1),
                client_args={"follow_redirects": False},
            ),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
        """One attempt. See `LLMProvider`."""
        return received(self._outcome(request, timeout_s))

    def _outcome(self, request: LLMRequest, timeout_s: float) -> LLMReply | LLMError:
        begun = time.monotonic()
        response = answered(lambda: self._send(request, timeout_s), _failure)
        if isinstance(response, LLMError):
            return response
        candidate = response.candidates[0] if response.candidates else None
        parts = (candidate.content.parts if candidate and candidate.content else None) or []
        told, feedback = response.usage_metadata, response.prompt_feedback
        return judged(
            block=feedback and feedback.block_reason,
            finish=candidate.finish_reason.name if candidate and candidate.finish_reason else None,
            text="".join(part.text or "" for part in parts if not part.thought),
            version=response.model_version,
            usage=usage_of(
                told and told.prompt_token_count,
                told and told.candidates_token_count,
                told and told.thoughts_token_count,
                told and told.cached_content_token_count,
            ),
            key=self._key,
            latency_s=time.monotonic() - begun,
        )

    def _send(self, request: LLMRequest, timeout_s: float) -> Any:
        types = self._types
        config = types.GenerateContentConfig(
            system_instruction=request.system,
            temperature=request.temperature,
            seed=request.seed,
            max_output_tokens=request.max_output_tokens,
            response_mime_type="application/json",
            response_json_schema=request.json_schema,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(timeout=max(1, int(timeout_s * 1000))),
        )
        return self._client.models.generate_content(model=request.model, contents=request.user, config=config)


def _failure(error: Exception) -> LLMError:
    from google.genai import errors

    if not isinstance(error, errors.APIError):
        return transport_failure(error)
    headers = getattr(error.response, "headers", None)
    inner = error.details.get("error", {}) if isinstance(error.details, dict) else {}
    details = inner.get("details", ()) if isinstance(inner, dict) else ()
    wait_s = retry_after_s(headers.get("retry-after") if headers is not None else None, details)
    return failure_of_status(int(error.code or 500), str(error.message or ""), wait_s)
