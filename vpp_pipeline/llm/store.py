"""Answers kept by the hash of their question, and the audit of every call."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from vpp_pipeline.llm.database import Database
from vpp_pipeline.llm.ports import LLMReply, LLMRequest, LLMUsage


@dataclass(frozen=True)
class Call:
    """What the audit keeps of one question: hashes, numbers and names, no word of prompt or answer."""

    at_utc: str
    market_date: str
    run_id: str
    purpose: str
    subject: str
    prompt_hash: str
    mode: str
    provider: str
    model: str
    model_version: str
    outcome: str  # "ok" or a FailKind
    is_stored_answer: bool
    attempts: int
    input_tokens: int
    output_tokens: int
    usd: float
    seconds: float


@dataclass(frozen=True)
class StoredReply:
    """An answer and where it came from."""

    reply: LLMReply
    provider: str


class CallStore:
    """Answers and audit in one SQLite file. Methods raise LLMError(STORE); opening raises InputError."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)

    @property
    def path(self) -> Path:
        return self.database.path

    def get(self, key: str) -> StoredReply | None:
        query = "select text, model_version, input_tokens, output_tokens, provider from reply where key = ?"
        with self.database.transaction() as connection:
            row = connection.execute(query, (key,)).fetchone()
        return StoredReply(LLMReply(row[0], row[1], LLMUsage(row[2], row[3])), row[4]) if row else None

    def keep(self, request: LLMRequest, reply: LLMReply, provider: str) -> LLMReply:
        """Store ``reply``, unless another process was first; what stands in the store is the answer for everybody."""
        usage, now = reply.usage, datetime.now(UTC).isoformat()
        row = (request.key(), request.purpose, request.model, reply.model_version, provider, reply.text)
        with self.database.transaction() as connection:
            connection.execute(
                "insert or ignore into reply values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, usage.input_tokens, usage.output_tokens, now),
            )
            query = "select text, model_version from reply where key = ?"
            text, model_version = connection.execute(query, (request.key(),)).fetchone()
        return LLMReply(text, model_version, usage, reply.latency_s)

    def forget(self, key: str) -> None:
        with self.database.transaction() as connection:
            connection.execute("delete from reply where key = ?", (key,))

    def log(self, call: Call) -> None:
        names = [each.name for each in fields(Call)]
        query = f"insert into call ({', '.join(names)}) values ({', '.join('?' * len(names))})"
        with self.database.transaction() as connection:
            connection.execute(query, astuple(call))

    def calls(self, market_date: date | None = None, run_id: str | None = None) -> list[dict[str, Any]]:
        """The audit in the order of calls; of one market day or run where named."""
        names = ["call_id", *(each.name for each in fields(Call))]
        wanted = {"market_date": market_date and market_date.isoformat(), "run_id": run_id}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        where = " and ".join(f"{name} = ?" for name in chosen)
        query = f"select {', '.join(names)} from call {'where ' + where if where else ''} order by call_id"
        with self.database.transaction() as connection:
            rows = connection.execute(query, tuple(chosen.values())).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def replies(self) -> list[dict[str, Any]]:
        """All answers, by key."""
        names = ["key", "purpose", "model", "model_version", "provider", "text", "input_tokens", "output_tokens"]
        with self.database.transaction() as connection:
            rows = connection.execute(f"select {', '.join(names)} from reply order by key").fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def close(self) -> None:
        self.database.close()
