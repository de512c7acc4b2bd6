"""The lake: every table of every market day, in files that never change, and manifests that say which of them count.

    market/prices/2023-08-15/20230814T150301-1f3a5b7c.parquet   a version of a day's table; never written again
    manifests/2023-08-15/000002.json                            table -> version, after the second commit of the day
    working/RUN/2023-08-15/market.prices.json                   the version that a run under way has written

A day is committed by creating its next manifest, which succeeds for one of those who try, or not at all: a reader
sees all of a commit or nothing of it. What a run writes is seen by that run alone until it commits. The lake is the
truth of the pipeline; what DuckDB serves is made from it (`warehouse/draft.py`). It lies in a folder, or in a bucket
of an object store that several machines share.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from pathlib import Path

import polars as pl

from vpp_pipeline.core.bucket import Bucket
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.manifest import (
    MANIFESTS,
    UNUSABLE,
    File,
    Manifest,
    as_json,
    day_name,
    entry_of,
    file_of,
    manifest_of,
)
from vpp_pipeline.core.object_store import LocalFolder, ObjectStore
from vpp_pipeline.core.parquet_files import (
    UNREADABLE,
    read_footer,
    read_parquet,
    read_together,
    scan_together,
    table_folder,
    write_parquet,
)
from vpp_pipeline.core.provenance import columns_hash, frame_hash

LOG = logging.getLogger(__name__)
WORKING = "working"
COPIES = "copies"  # folder below the lake's own, for what is read of a bucket
RESTORED = "restored from the warehouse"  # reason of a commit whose rows are those of all runs
_OWNER = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Lake:
    """The tables of all market days below ``root`` or, where there is a ``url``, in that bucket, of which some
    ``copies_gb`` are kept below ``root``; those of a day are reached by :meth:`day`.

    What a user has set is opened by `lake_of` in `data_settings.py`.
    """

    root: Path
    url: str = ""
    copies_gb: float = 20.0

    @cached_property
    def store(self) -> ObjectStore:
        """Where the files lie."""
        return _bucket(self.url, self.root / COPIES, self.copies_gb) if self.is_shared else LocalFolder(self.root)

    @property
    def is_shared(self) -> bool:
        """Whether other machines may commit to it."""
        return bool(self.url)

    @property
    def shared_id(self) -> str:
        """What tells a shared lake from any other; empty for one in a folder."""
        return self.store.lake_id if isinstance(self.store, Bucket) else ""

    @property
    def address(self) -> str:
        """How messages name the lake: its folder, or its URL."""
        return self.store.address()

    def day(self, day: date | str, owner: str | None = None) -> LakeFiles:
        """The day as committed; with an ``owner``, what that one has written since lies over it."""
        return LakeFiles(self, str(day), owner)

    def write(
        self, table: str, day: date | str, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None
    ) -> File:
        """Commit one table by itself, as prices and back-tests are."""
        file = self.put(table, day, frame, metadata)
        self.commit(day, table, lambda _: {table: file})
        return file

    def put_together(
        self, parts: Sequence[File], whole: pl.DataFrame | None = None, metadata: Mapping[str, str] | None = None
    ) -> File:
        """A version whose parts are written; with ``whole`` those rows are the day's, else all of the parts' are."""
        table, day = parts[0].table, parts[0].day
        own = File(table, day, _new_version(), 0) if whole is None else self.put(table, day, whole, metadata)
        return replace(own, parts=tuple(parts))

    def put(
        self,
        table: str,
        day: date | str,
        frame: pl.DataFrame | pl.LazyFrame,
        metadata: Mapping[str, str] | None = None,
    ) -> File:
        """Write a version that no manifest names yet. ``metadata`` is kept in the Parquet footer."""
        name = day_name(day)
        file = File(table, name, _new_version(), 0)
        size = self.store.create(file.key, lambda draft: write_parquet(draft, frame, metadata or {}))
        return File(table, name, file.version, size)

    def commit(
        self,
        day: date | str,
        reason: str,
        change: Callable[[Manifest], Mapping[str, File | None]],
        *,
        run_id: str | None = None,
        passes_damaged: bool = False,
    ) -> Manifest:
        """Make the day's next manifest: the last one with what ``change`` gives for it (None takes a table out).

        ``change`` sees the manifest that it replaces, and may raise to refuse. Files are on the disk before the
        manifest names them, and the manifest before this returns. ``run_id``: of the bids, if these are committed.
        ``passes_damaged``: for a commit that states all of the day that counts, a last manifest that cannot be read
        does not matter; a warning tells it.
        """
        while True:
            last = self.last_readable(day) if passes_damaged else self.manifest(day)
            changed = change(last)
            files = {table: file for table, file in {**last.files, **changed}.items() if file is not None}
            self.store.make_durable(sorted({key for file in changed.values() if file for key in file.keys}))
            of_run = last.run_id if run_id is None else run_id
            when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            manifest = Manifest(day_name(day), last.number + 1, when, reason, of_run, files)
            content = as_json(manifest)

            def fill(draft: Path, content: bytes = content) -> None:
                draft.write_bytes(content)

            try:
                self.store.create(manifest.key, fill)
            except FileExistsError:  # another commit of the day came first
                continue
            self.store.make_durable([manifest.key])
            return manifest

    def manifest(self, day: date | str) -> Manifest:
        """The day's last one; an empty one of number 0 before the first commit. Raises InputError for a damaged one."""
        keys = list(self.store.keys(f"{MANIFESTS}/{day_name(day)}"))
        return self._manifest(keys[-1]) if keys else Manifest(day_name(day))

    def numbered(self, day: date | str, number: int) -> Manifest:
        """The day's manifest of that number. Raises InputError where it is damaged or gone."""
        return self._manifest(Manifest(day_name(day), number).key)

    def last_numbers(self) -> dict[str, int]:
        """Day -> number of its last manifest, for all days, in order; no manifest is read."""
        return {day: int(Path(key).stem) for day, key in self._last_keys().items()}

    def _last_keys(self) -> dict[str, str]:
        return {key.split("/")[1]: key for key in self.store.keys(MANIFESTS)}

    def manifests(self, day: date | str) -> list[Manifest]:
        """All of the day, in order; a damaged one is left out with a warning."""
        found = []
        for key in self.store.keys(f"{MANIFESTS}/{day_name(day)}"):
            try:
                found.append(self._manifest(key))
            except InputError as error:
                LOG.warning("%s", error)
        return found

    def last_readable(self, day: date | str) -> Manifest:
        """The last manifest that can be read, under the number of the last one there is."""
        keys = list(self.store.keys(f"{MANIFESTS}/{day_name(day)}"))
        number = int(Path(keys[-1]).stem) if keys else 0
        for key in reversed(keys):
            try:
                return replace(self._manifest(key), number=number)
            except InputError as error:
                LOG.warning("%s", error)
        return Manifest(day_name(day), number)

    def days(self) -> list[str]:
        """Days of which anything was committed, in order."""
        return list(self._last_keys())

    def days_of(self, table: str) -> list[str]:
        """Days that have the table, in order. A day whose manifest is damaged is left out with a warning."""
        found = []
        for day, key in self._last_keys().items():
            try:
                found += [day] if table in self._manifest(key).files else []
            except InputError as error:
                LOG.warning("%s", error)
        return found

    def every(self, table: str, day: date | str) -> list[File]:
        """The versions of the table in all commits of the day, each once, in order; where the day was taken from the
        warehouse again, with all of its rows, from then on."""
        found: list[File] = []
        for manifest in self.manifests(day):
            found = [] if manifest.reason == RESTORED else found
            found += [manifest.files[table]] if table in manifest.files else []
        return list(dict.fromkeys(found))

    def path(self, file: File) -> Path:
        """What polars and DuckDB read the version by, where it is one file."""
        return self.store.path(file.key)

    def paths(self, file: File) -> list[Path]:
        """The same where it may be in parts."""
        return [self.path(one) for one in file.with_rows]

    def _manifest(self, key: str) -> Manifest:
        day = key.split("/")[1]
        try:
            try:
                return manifest_of(day, self.store.get(key, is_final=True))
            except UNUSABLE:  # it may be this machine's copy alone
                return manifest_of(day, self.store.get(key))
        except UNUSABLE as error:
            raise InputError(
                f"the manifest of {day} is damaged: {error}",
                file=self.store.address(key),
                remedy=f"Take the day from the warehouse again: vpp-pipeline rebuild --lake --date {day}",
            ) from error

    def owners(self, day: date | str) -> dict[str, dict[str, File]]:
        """Who has written tables of the day and not committed them -> what they have written, oldest first."""
        found: dict[str, dict[str, File]] = {}
        for key in self.store.keys(WORKING):
            _, owner, of_day, name = key.split("/")
            if of_day == day_name(day):
                written = _working(self.store, key, name.removesuffix(".json"), of_day)
                if written is not None:
                    found.setdefault(owner, {})[written.table] = written
        age = {owner: max(file.version for file in files.values()) for owner, files in found.items()}
        return dict(sorted(found.items(), key=lambda item: age[item[0]]))


class LakeFiles:
    """The tables of one day: as committed last when this was made, and over them what ``owner`` has written since.

    Each table is the one that there was when it was first asked for here, or that was written here since: a step of a
    run reads a table often, and a question to an object store takes some 20 ms. Rows come as they were written. Raises
    NoDataError for a table that is not there, and InputError for a damaged one.
    """

    def __init__(self, lake: Lake, day: str, owner: str | None = None) -> None:
        self.lake, self.name, self.owner = lake, day_name(day), owner
        self._pointers: dict[str, File | None] = {}
        if owner is not None and not _OWNER.fullmatch(owner):
            raise InputError("not a name of a run", value=repr(owner), remedy="Use letters, digits, - and _.")

    @cached_property
    def committed(self) -> Manifest:
        """The day's manifest when this was first asked."""
        return self.lake.manifest(self.name)

    def file(self, table: str) -> File | None:
        """The version that counts here; None where there is none."""
        return self._own(table) or self.committed.files.get(table)

    def files(self) -> dict[str, File]:
        """The version of every table that the day has here."""
        return {**self.committed.files, **self.own()}

    def own(self) -> dict[str, File]:
        """What the owner has written and not committed."""
        if self.owner is None:
            return {}
        found = {}
        for key in self.lake.store.keys(self._folder):
            table = key.rsplit("/", 1)[1].removesuffix(".json")
            if file := _working(self.lake.store, key, table, self.name):
                found[table] = file
        self._pointers = dict[str, File | None](found)
        return found

    def write(self, table: str, frame: pl.DataFrame | pl.LazyFrame, metadata: Mapping[str, str] | None = None) -> File:
        """Write a version for the owner; without one it is committed by itself."""
        file = self.lake.put(table, self.name, frame, metadata)
        self.point(table, file)
        return file

    def point(self, table: str, file: File) -> None:
        """Let ``table`` be the version that ``file`` is, also one of another table."""
        if self.owner is None:
            self.committed = self.lake.commit(self.name, table, lambda _: {table: file})
        else:
            self.lake.store.put(f"{self._folder}/{table}.json", json.dumps(entry_of(file)).encode())
            self._pointers[table] = file

    def forget(self) -> None:
        """Let go of what the owner has written; files that no manifest names go with the next sweep."""
        if self.owner is not None:
            self.lake.store.remove(self._folder)
            self._pointers.clear()

    def exists(self, table: str) -> bool:
        """Whether the day has the table."""
        return self.file(table) is not None

    def read(self, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows; all columns, or those named."""
        return read_file(self.lake, self.present(table), columns)

    def scan(self, table: str) -> pl.LazyFrame:
        """The same, read when it is collected."""
        return scan_together(self.lake.paths(self.present(table)))

    def schema(self, table: str) -> Mapping[str, pl.DataType]:
        """The columns as written; reads only the file's footer."""
        file = self.present(table)
        try:
            return pl.read_parquet_schema(self.lake.path(file.with_rows[0]))
        except UNREADABLE as error:
            raise unreadable(self.lake, file, error) from error

    def metadata(self, table: str) -> dict[str, str]:
        """What was written beside the rows; reads only the file's footer."""
        return footer(self.lake, self.present(table))

    def metadata_of_parts(self, table: str) -> list[dict[str, str]]:
        """The same of each file that the rows are in."""
        return [footer(self.lake, one) for one in self.present(table).with_rows]

    def heights(self, table: str) -> list[int]:
        """The number of rows of each part, or of the whole, from the files' footers."""
        paths = self.lake.paths(self.present(table))
        return [int(scan_together([path]).select(pl.len()).collect().item()) for path in paths]

    def hash(self, table: str) -> str:
        """The `frame_hash` of the rows, with one column in memory at a time; where they are in parts, of the parts'."""
        file = self.present(table)
        if file.content or len(file.with_rows) > 1:
            return file.content or content_of(file.parts)
        schema = self.schema(table)
        return columns_hash(schema, (self.read(table, [name]).to_series() for name in schema))

    def present(self, table: str) -> File:
        """The version that counts here, which is whole."""
        table_folder(table)
        file = self.file(table)
        if file is None:
            raise NoDataError(f"{table} has no {self.name}", file=self.lake.address, remedy=_remedy(table, self.name))
        whole(self.lake, file)
        return file

    def _own(self, table: str) -> File | None:
        if self.owner is None:
            return None
        if table not in self._pointers:
            key = f"{self._folder}/{table}.json"
            self._pointers[table] = _working(self.lake.store, key, table, self.name)
        return self._pointers[table]

    @property
    def _folder(self) -> str:
        return f"{WORKING}/{self.owner}/{self.name}"


def content_of(parts: Iterable[File]) -> str:
    """The hash of what the rows of all parts are."""
    return hashlib.sha256(" ".join(part.content for part in parts).encode()).hexdigest()


class PartFiles(LakeFiles):
    """One part of a day that is bid in parts: of each table in ``files`` the rows of that part, where it has parts, and
    all of them where it has not.

    What is written is named by nothing but ``written``, until whoever has asked for all parts puts them together.
    """

    def __init__(self, lake: Lake, day: str, files: Mapping[str, File], part: int, parts: int) -> None:
        super().__init__(lake, day)
        self.part, self.parts, self.written = part, parts, dict[str, File]()
        own = {table: file.parts[part] if file.parts else file for table, file in files.items()}
        self.committed = Manifest(self.name, files=own)

    def own(self) -> dict[str, File]:
        """What was written here."""
        return dict(self.written)

    def _own(self, table: str) -> File | None:
        return self.written.get(table)

    def write(self, table: str, frame: pl.DataFrame | pl.LazyFrame, metadata: Mapping[str, str] | None = None) -> File:
        """Write a version of the part, with the hash of its rows."""
        file = self.lake.put(table, self.name, frame, metadata)
        if isinstance(frame, pl.DataFrame):
            file = replace(file, content=frame_hash(frame))
        self.point(table, file)
        return self.written[table]

    def point(self, table: str, file: File) -> None:
        """Let ``table`` be the version that ``file`` is; rows that were not in memory are read for their hash."""
        self.written[table] = file
        self.written[table] = replace(file, content=self.hash(table))


def read_days(lake: Lake, table: str, days: Iterable[str], columns: list[str] | None = None) -> pl.DataFrame:
    """The table's committed rows of several days, in the order asked for; each must have it, and one must be named."""
    wanted = [lake.day(day) for day in days]
    if not wanted:
        raise NoDataError(f"no day of {table} was asked for", remedy="Name at least one.")
    files = [path for day in wanted for path in lake.paths(day.present(table))]
    try:
        return read_together(files, columns)
    except UNREADABLE:  # which of them it is, its own reading says
        return pl.concat([day.read(table, columns) for day in wanted], how="diagonal")


def read_file(lake: Lake, file: File, columns: list[str] | None = None) -> pl.DataFrame:
    """The rows of the version; all columns, or those named. Raises InputError for a damaged one."""
    whole(lake, file)
    try:
        if len(file.with_rows) > 1:
            return read_together(lake.paths(file), columns)
        return read_parquet(lake.path(file.with_rows[0]), columns)
    except UNREADABLE as error:
        raise unreadable(lake, file, error) from error


def footer(lake: Lake, file: File) -> dict[str, str]:
    """What was written beside the rows of the version."""
    whole(lake, file)
    try:
        return read_footer(lake.path(file.with_rows[0]))
    except UNREADABLE as error:
        raise unreadable(lake, file, error) from error


def whole(lake: Lake, file: File) -> None:
    """Raise InputError where the version is gone, or has other bytes than were written."""
    for one in file.with_rows:
        size = lake.store.fetch(one.key, one.bytes)
        if size is None:
            raise unreadable(lake, one, "it is gone")
        if size != one.bytes:
            raise unreadable(lake, one, f"it has {size:,} of {one.bytes:,} bytes")


def unreadable(lake: Lake, file: File, error: object) -> InputError:
    """What to say of a version that cannot be read."""
    return InputError(
        f"{file.table} of {file.day} cannot be read: {error}",
        file=lake.store.address(file.key),
        remedy=_remedy(file.table, file.day, is_damaged=True),
    )


#: table that is committed by itself -> what makes it again
ALONE = {
    "market.prices": "Take the day in again: vpp-pipeline ingest --from {day} --to {day}",
    "evaluation.benchmark": "Replay the day again: vpp-pipeline backtest --from {day} --to {day}",
}


def _remedy(table: str, day: str, *, is_damaged: bool = False) -> str:
    """What to run so that the table is there."""
    if table in ALONE:
        return ALONE[table].format(day=day)
    again = f"ake the day's bids again: vpp-pipeline bids --date {day}"
    if is_damaged:
        return f"Take the day from the warehouse: vpp-pipeline rebuild --lake --date {day}; or m{again}"
    if table.startswith("evaluation."):
        return f"Settle the day: vpp-pipeline settle --date {day}"
    return f"M{again}"


def _working(store: ObjectStore, key: str, table: str, day: str) -> File | None:
    """The version that a working pointer names; None where there is none, or power was lost while it was written."""
    try:
        told = json.loads(store.get(key) or b"null")
        return None if told is None else file_of(told | {"table": told.get("table", table)}, day)
    except UNUSABLE:
        return None


@lru_cache
def _bucket(url: str, copies: Path, copies_gb: float) -> Bucket:
    """One for all lakes of a process, so that they share its connections."""
    return Bucket(url, copies, copies_gb)


def _new_version() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
