"""The adapter to `google-generativeai` (extra `gemini-legacy`), which has had no support upstream since 2025-11-30.

Its request has no seed and its schemas know neither references nor bounds: the answer is held to them by our own
parsing alone.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

from vpp_pipeline.llm.gemini import (
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
from vpp_pipeline.llm.interface import LLMError, LLMReply, LLMRequest

_KNOWN = ("type", "required", "description", "nullable")


class LegacyGenerativeAIProvider:
    """Gemini through google-generativeai. Raises ImportError without the SDK."""

    name = "google-generativeai"

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that it is unsupported is told in docs/llm.md
            import google.generativeai as genai
            from google.generativeai import client

        keep_out_of_logs("google.ai", "google.auth", "google.api_core")
        self._key, self._genai = Secret(api_key), genai
        # the SDK configures a whole process; the client made here is kept, so that another configuration is another's
        endpoint = {"api_endpoint": base_url} if base_url else None
        genai.configure(api_key=api_key, transport="rest", client_options=endpoint)
        self._client: Any = client.get_default_generative_client()
        self._client.transport._session.max_redirects = 0  # a redirect would carry the key elsewhere

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
        told = response.usage_metadata
        # this SDK knows no tokens of thought; the total holds them
        output = max(told.candidates_token_count, told.total_token_count - told.prompt_token_count)
        return judged(
            block=response.prompt_feedback.block_reason,
            finish=_name(candidate.finish_reason) if candidate else None,
            text="".join(part.text for part in candidate.content.parts) if candidate else "",
            version=getattr(response, "model_version", None),
            usage=usage_of(told.prompt_token_count, output, 0, told.cached_content_token_count),
            key=self._key,
            latency_s=time.monotonic() - begun,
        )

    def _send(self, request: LLMRequest, timeout_s: float) -> Any:
        from google.api_core.retry import Retry
        from google.generativeai.types import RequestOptions

        model = self._genai.GenerativeModel(
            request.model,
            system_instruction=request.system,
            generation_config=self._genai.GenerationConfig(
                temperature=request.temperature,
                max_output_tokens=request.max_output_tokens,
                response_mime_type="application/json",
                response_schema=plain_schema(request.json_schema),
            ),
        )
        model._client = self._client
        # budget and deadline hold only if the gateway alone repeats
        options = RequestOptions(timeout=timeout_s, retry=Retry(predicate=lambda _: False))
        return model.generate_content(request.user, request_options=options)


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` without what the SDK refuses: references are written out; bounds, lengths and patterns left out."""
    return _plain(schema, schema.get("$defs", {}))


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _either([_plain(each, definitions) for each in choices])
    plain: dict[str, Any] = {name: schema[name] for name in _KNOWN if name in schema}
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if words and all(isinstance(word, str) for word in words):  # numbers cannot be listed
        plain["enum"] = words
    if "properties" in schema:
        plain["properties"] = {name: _plain(each, definitions) for name, each in schema["properties"].items()}
    if "items" in schema:
        plain["items"] = _plain(schema["items"], definitions)
    return plain


def _either(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema for all: of objects their fields together, required where all require them; else the first."""
    kinds = [each for each in choices if each.get("type") != "null"]
    plain = dict(kinds[0])
    if all("properties" in each for each in kinds):
        fields: dict[str, Any] = {}
        for name in dict.fromkeys(name for each in kinds for name in each["properties"]):
            found = [each["properties"][name] for each in kinds if name in each["properties"]]
            words = list(dict.fromkeys(word for each in found for word in each.get("enum", ())))
            fields[name] = found[0] | ({"enum": words} if words else {})
        required = [name for name in fields if all(name in each.get("required", ()) for each in kinds)]
        plain = {"type": "object", "properties": fields, "required": required}
    return plain | ({"nullable": True} if len(kinds) < len(choices) else {})


def _name(finish: Any) -> str:
    return str(getattr(finish, "name", finish))


def _failure(error: Exception) -> LLMError:
    from google.api_core import exceptions

    if not isinstance(error, exceptions.GoogleAPICallError):
        return transport_failure(error)
    headers = getattr(error.response, "headers", None)
    details = error.details  # over REST as the body holds them
    wait_s = retry_after_s(headers.get("retry-after") if headers is not None else None, details)
    return failure_of_status(int(error.code or 500), str(error.message or ""), wait_s)
