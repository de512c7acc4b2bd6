"""The SQLite file behind answers, budget and audit: several threads and processes may write at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.ports import FailKind, LLMError

VERSION = 1
BUSY_SECONDS = 30.0  # how long a writer waits for the writers of other processes

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
        # in WAL mode a killed process loses nothing, and readers do not wait for the writer
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = normal")
        execute("begin immediate")
        found = execute("pragma user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise sqlite3.DatabaseError(f"version {found}")
        for statement in filter(str.strip, _TABLES.split(";")):
            execute(statement)
        execute(f"pragma user_version = {VERSION}")
        execute("commit")

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
