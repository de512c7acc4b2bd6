"""The SQLite file behind a language model: answers by the hash of their question, and the audit of every call."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.interface import FailKind, LLMError, LLMReply, LLMRequest, LLMUsage
from vpp_pipeline.schemas import validate
from vpp_pipeline.schemas.negotiation import LLMCalls

VERSION = 1
BUSY_SECONDS = 30.0  # how long a writer waits for the writers of other processes
MODE_ATTEMPTS = 600  # within BUSY_SECONDS

_TABLES = """
create table if not exists reply (
    key text primary key, purpose text not null, model text not null, model_version text not null,
    provider text not null, text text not null, input_tokens integer not null, output_tokens integer not null,
    at_utc text not null
) without rowid;
create table if not exists attempt (
    attempt_id integer primary key, day text not null, at_utc text not null, tokens integer not null,
    usd real not null, is_settled integer not null default 0
);
create index if not exists attempt_of_day on attempt (day);
create table if not exists call (
    call_id integer primary key, at_utc text not null, market_date text not null, run_id text not null,
    purpose text not null, subject text not null, prompt_hash text not null, mode text not null,
    provider text not null, model text not null, model_version text not null, outcome text not null,
    is_stored_answer integer not null, attempts integer not null, input_tokens integer not null,
    output_tokens integer not null, usd real not null, seconds real not null
);
create index if not exists call_of_market_date on call (market_date);
"""


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


class Database:
    """One connection of this process. Raises InputError where the file is no store of ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"the store of the language model cannot be used: {type(error).__name__}",
                file=path,
                remedy="Name another file as llm.store, or remove this one; answers, audit and budget go with it",
            ) from None

    def _prepare(self) -> None:
        execute = self._connection.execute
        self._begin_in_wal_mode()
        execute("pragma synchronous = normal")
        execute("begin immediate")
        found = execute("pragma user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise sqlite3.DatabaseError(f"version {found}")
        for statement in filter(str.strip, _TABLES.split(";")):
            execute(statement)
        execute(f"pragma user_version = {VERSION}")
        execute("commit")

    def _begin_in_wal_mode(self) -> None:
        """In WAL mode a killed process loses nothing, and readers do not wait for the writer.

        SQLite's own timeout does not hold for this change: of two processes that open a new file at once, one is
        refused, and tries again.
        """
        for is_last in (*[False] * MODE_ATTEMPTS, True):
            try:
                self._connection.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError:
                if is_last:
                    raise
                time.sleep(BUSY_SECONDS / MODE_ATTEMPTS)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, alone among all threads and processes. Raises LLMError(STORE)."""
        with self._lock:
            try:
                self._connection.execute("begin immediate")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("rollback")
                    raise
                self._connection.execute("commit")
            except sqlite3.Error as error:
                raise LLMError(FailKind.STORE, type(error).__name__) from None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def export_answers(store: CallStore, file: Path, label: str) -> int:
    """Write all answers of ``store`` to ``file``, under a ``label`` that says who gave them; returns their number."""
    replies = store.replies()
    lines = [json.dumps({"label": label}), *(json.dumps(reply, sort_keys=True) for reply in replies)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(replies)


def read_answers(file: Path) -> dict[str, StoredReply]:
    """Answers by key. Raises InputError where the file is not one of `export_answers`."""
    remedy = "llm.answers takes a file that export_answers wrote; leave it empty to go without"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"stored answers cannot be read: {type(error).__name__}", file=file, remedy=remedy) from None
    found: dict[str, StoredReply] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if number == 1:
                row["label"]
                continue
            usage = LLMUsage(row["input_tokens"], row["output_tokens"])
            found[row["key"]] = StoredReply(LLMReply(row["text"], row["model_version"], usage), row["provider"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"not a stored answer: {type(error).__name__}", file=file, row=number, remedy=remedy
            ) from None
    return found


def calls_table(store: CallStore, market_date: date, run_id: str | None = None) -> pl.DataFrame:
    """The questions of a market day, or of one of its runs. Raises LLMError(STORE)."""
    rows = store.calls(market_date, run_id)
    if not rows:
        return LLMCalls.create_empty()
    frame = pl.DataFrame(rows, infer_schema_length=None).rename({"usd": "cost_usd"})
    return validate(
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
