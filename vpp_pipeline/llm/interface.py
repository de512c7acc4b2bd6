"""What the pipeline knows of a language model: a question, an answer, and how asking can fail.

No type of an SDK crosses this line, so that an SDK can be exchanged, and tests can take either a scripted provider or a
real SDK against a local server.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

MESSAGE_LIMIT = 200  # characters of an error's message


class StrictModel(BaseModel):
    """Base of every model that a language model may fill: no extra fields, nothing converted, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


T = TypeVar("T", bound=BaseModel)


class FailKind(StrEnum):
    """How asking failed."""

    OFF = "off"  # the mode is `off`: nothing was tried
    RATE_LIMIT = "rate_limit"  # 429: may be tried again, not before `retry_after_s`
    SERVER = "server"  # 5xx
    TIMEOUT = "timeout"  # one attempt took longer than it may
    TRANSPORT = "transport"  # refused, dropped, cut short, or no JSON around the answer
    AUTH = "auth"  # the key was refused or is absent
    BAD_REQUEST = "bad_request"  # another 4xx, e.g. an unknown model
    BLOCKED = "blocked"  # the provider's safety rules, or an end that we do not know
    TRUNCATED = "truncated"  # the answer reached `max_output_tokens`
    INVALID_OUTPUT = "invalid_output"  # not JSON, not the schema, or too long
    TOO_LARGE = "too_large"  # the question exceeds our own limit: never sent
    BUDGET = "budget"  # the day's budget says no: never sent
    CIRCUIT_OPEN = "circuit_open"  # too many failures just now: never sent
    DEADLINE = "deadline"  # no time left for an attempt
    REPLAY_MISS = "replay_miss"  # mode `replay` and no stored answer
    STORE = "store"  # our own store cannot be read or written


RETRYABLE = frozenset({FailKind.RATE_LIMIT, FailKind.SERVER, FailKind.TIMEOUT, FailKind.TRANSPORT})


@dataclass(frozen=True)
class LLMUsage:
    """Tokens of one attempt, as the provider bills them: output holds what the model thought. All 0: not told."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class LLMError(Exception):
    """No usable answer. The message holds no secret, no prompt and no reply; callers own a fallback without a model.

    ``retry_after_s``: seconds the provider asks to wait. ``usage``: tokens that were billed all the same. ``is_sent``:
    whether the question may have reached the provider.
    """

    def __init__(
        self,
        kind: FailKind,
        message: str = "",
        *,
        retry_after_s: float | None = None,
        usage: LLMUsage | None = None,
        model_version: str = "",
        is_sent: bool = True,
    ) -> None:
        super().__init__(kind, message[:MESSAGE_LIMIT])
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.usage = usage
        self.model_version = model_version
        self.is_sent = is_sent

    def __str__(self) -> str:
        return ": ".join(str(part) for part in self.args if part)


@dataclass(frozen=True)
class LLMRequest:
    """One question. ``subject`` names what it is about (an opportunity, a day) in the audit; the key leaves it out."""

    purpose: str  # e.g. "counter_offer"
    model: str
    system: str
    user: str  # pseudonymised by the caller
    json_schema: dict[str, Any]
    temperature: float = 0.0
    seed: int | None = 7
    max_output_tokens: int = 4096
    prompt_version: str = "1"
    subject: str = ""

    def key(self) -> str:
        """Hash of all that shapes the answer: another prompt, schema, model or sampling is another key."""
        shaping = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "subject"}
        return hashlib.sha256(
            json.dumps(shaping, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        ).hexdigest()

    def input_bytes(self) -> int:
        """Bytes of system, user and schema."""
        return len(f"{self.system}{self.user}{json.dumps(self.json_schema)}".encode())

    def __repr__(self) -> str:
        return f"LLMRequest(purpose={self.purpose!r}, model={self.model!r}, key={self.key()[:12]})"


@dataclass(frozen=True)
class LLMReply:
    """What came back. ``model_version`` is who answered, by its own word: models are re-routed silently."""

    text: str
    model_version: str
    usage: LLMUsage = LLMUsage()
    latency_s: float = 0.0

    def __repr__(self) -> str:
        return f"LLMReply({len(self.text)} characters, model_version={self.model_version!r}, usage={self.usage!r})"


class LLMProvider(Protocol):
    """One way to reach a model."""

    @property
    def name(self) -> str: ...

    def generate(self, request: LLMRequest, *, timeout_s: float) -> LLMReply:
        """One attempt, no retry of its own. Raises only `LLMError`; ``timeout_s`` may be taken per read, not in all."""
        ...


def schema_of(out: type[BaseModel]) -> dict[str, Any]:
    """JSON schema that the model's answer is asked to follow; the answer is validated by ``out`` in any case."""
    return out.model_json_schema()
