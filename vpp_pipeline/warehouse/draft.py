"""The draft that becomes the warehouse: a copy of its DuckDB file, brought up to what the lake has, with a day put in.

It is whole before it takes the warehouse's place. Where the warehouse is missing or damaged, it is made anew from the
lake. The cost of a day is copying the file plus that day's rows, whatever the history. Runs are only ever added.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Thread

import duckdb

from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake, footer, read_file, whole
from vpp_pipeline.core.manifest import File, Manifest
from vpp_pipeline.core.parquet_files import sync
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import BY_RUN
from vpp_pipeline.warehouse.tables import (
    DamagedWarehouseError,
    commits_of,
    create_tables,
    create_views,
    literal,
    note_commits,
    open_warehouse,
    quoted,
)

LOG = logging.getLogger(__name__)
STORAGE_VERSION = "v1.2.0"  # released DuckDB 1.x tools open it; what DuckDB 2 writes by default they cannot
MEMORY = "4GB"  # that a publication takes at most; what it needs beyond goes to the disk
PRICES = "market.prices"
Made = Mapping[str, File]


@contextmanager
def draft_of(lake: Lake, warehouse: Path) -> Iterator[Path]:
    """A copy of the warehouse to write to; it takes the warehouse's place if all goes well.

    Where there is none, or a damaged one, which is then kept beside, it has what the lake has published.
    """
    problem = None
    with draft_of_new(warehouse) as draft:
        if warehouse.exists():
            _settle_log(warehouse)
            problem = damage(warehouse)
        if warehouse.exists() and problem is None:
            shutil.copyfile(warehouse, draft)
            if lake.is_shared:
                _catch_up(draft, lake)
        else:
            fill_all(draft, lake)
        with _written_beside(draft):
            yield draft
        if problem is not None:
            LOG.warning("%s; it was made again from the lake, and is kept as %s", problem, set_aside(warehouse).name)


@contextmanager
def draft_of_new(warehouse: Path) -> Iterator[Path]:
    """The place of a new file beside the warehouse, which takes the warehouse's place if all goes well."""
    warehouse = warehouse.absolute()
    draft = warehouse.with_name(f"{warehouse.name}.draft")
    remove_draft(draft)  # what a killed publication left
    try:
        yield draft
        os.replace(draft, warehouse)
        sync(warehouse.parent)
    finally:
        remove_draft(draft)


def fill_all(draft: Path, lake: Lake) -> tuple[dict[str, int], list[str]]:
    """Every day that the lake has published, without files that cannot be read; and the words on these."""
    days: dict[date, Manifest] = {}
    prices: dict[date, Manifest] = {}
    faults: list[str] = []
    for name in lake.days():
        try:
            manifest = lake.manifest(name)
        except InputError as error:
            faults.append(str(error))
            continue
        files = dict(manifest.files)
        for table, file in manifest.files.items():
            try:
                footer(lake, file)
            except InputError as error:
                faults.append(str(error))
                del files[table]
        # prices alone are only taken in, and come with the days that rest on them
        found = days if files.keys() - {PRICES} else prices
        found[date.fromisoformat(name)] = replace(manifest, files=files)
    rows = fill(draft, lake, days, tuple(TABLES))
    if lake.is_shared and prices:
        fill(draft, lake, prices, ())
    return rows, faults


def is_behind(lake: Lake, warehouse: Path) -> bool:
    """Whether the shared lake has commits that the warehouse of this machine lacks. Of one that cannot be opened
    whoever reads it says so."""
    if not warehouse.exists():
        return bool(lake.last_numbers())
    try:
        with open_warehouse(warehouse) as connection:
            return bool(_behind(connection, lake))
    except InputError:
        return False


def _behind(connection: duckdb.DuckDBPyConnection, lake: Lake) -> dict[str, int | None]:
    """Days of the shared lake that the current database has up to an earlier commit -> its number; None: of none."""
    known = commits_of(connection, lake.shared_id)
    return {day: known.get(day) for day, number in lake.last_numbers().items() if known.get(day) != number}


def _catch_up(draft: Path, lake: Lake) -> None:
    """Put into the draft what the shared lake has committed since. A day that cannot be read stays as it was, and is
    told by whoever reads it."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach {literal(draft)} as draft (read_only)")
        connection.execute("use draft")
        behind = _behind(connection, lake)
    wanted: dict[tuple[str, ...], dict[date, Manifest]] = {}  # by the tables that are other ones now
    for name, number in behind.items():
        last, tables = _since(lake, name, number)
        wanted.setdefault(tuple(tables), {})[date.fromisoformat(name)] = last
    for changed, days in wanted.items():
        fill(draft, lake, days, changed)


def _since(lake: Lake, day: str, number: int | None) -> tuple[Manifest, list[str]]:
    """The day's last manifest, and the tables that have changed since that of ``number`` and can be read."""
    try:
        last = lake.manifest(day)
    except InputError as error:
        LOG.warning("%s", error)
        return lake.last_readable(day), []
    if not last.files.keys() - {PRICES}:  # as in `fill_all`
        return last, []
    former = None
    with suppress(InputError):
        former = None if number is None else lake.numbered(day, number)
    tables = list(TABLES) if former is None else differing(former, last)
    return last, [table for table in tables if table not in last.files or is_sound(lake, last.files[table])]


def differing(one: Manifest, other: Manifest) -> list[str]:
    """Tables whose rows differ between two manifests of a day."""
    return [table for table in TABLES if one.files.get(table) != other.files.get(table)]


def damage(warehouse: Path) -> str | None:
    """What is wrong with the file where DuckDB cannot use it; None where nothing is, or others have it open."""
    with suppress(InputError):
        try:
            with open_warehouse(warehouse):
                return None
        except DamagedWarehouseError as error:
            return str(error)
    return None


def set_aside(warehouse: Path) -> Path:
    """Give the file another name, under which it can be looked at; the last one so named is replaced."""
    aside = warehouse.with_name(f"{warehouse.name}.damaged")
    os.replace(warehouse, aside)
    warehouse.with_name(f"{warehouse.name}.wal").unlink(missing_ok=True)
    return aside


def fill(draft: Path, lake: Lake, days: Mapping[date, Manifest], tables: Sequence[str]) -> dict[str, int]:
    """Bring the draft's tables up to date and put the days in, of which it has all other tables; closes the draft with
    everything in the one file."""
    rows: dict[str, int] = {}
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach {literal(draft)} as draft (storage_version '{STORAGE_VERSION}')")
        connection.execute("use draft")
        # tables have no order; keeping the files' would write every row twice: twice the seconds and twice the file
        connection.execute("set preserve_insertion_order = false")
        connection.execute(f"set memory_limit = '{MEMORY}'")  # by itself DuckDB takes four fifths of the machine
        connection.execute("begin")  # one transaction: each would wait for the disk
        create_tables(connection)
        create_views(connection)
        for table in tables:
            if table in BY_RUN:
                files = [file for day, made in days.items() for file in _of_runs(lake, table, day, made.files)]
            else:
                found = {day: made.files[table] for day, made in days.items() if table in made.files}
                found |= _prices_before(lake, days, found) if table == PRICES else {}
                wanted = [*found, *days]
                connection.execute(
                    f"delete from {quoted(table)} where market_date in (select unnest($days))", {"days": wanted}
                )
                files = list(found.values())
            rows[table] = _insert(connection, lake, table, files)
        if lake.is_shared:
            note_commits(connection, lake.shared_id, {str(day): made.number for day, made in days.items()})
        connection.execute("commit")
        connection.execute("checkpoint draft")
        connection.execute("use memory")
        connection.execute("detach draft")
    return rows


def _of_runs(lake: Lake, table: str, day: date, made: Made) -> list[File]:
    """The files of all runs that published the day. One that is damaged is left out, and told: the warehouse has its
    rows, unless it is made anew."""
    files = dict.fromkeys(lake.every(table, day)) | ({made[table]: None} if table in made else {})
    return [file for file in files if file == made.get(table) or is_sound(lake, file)]


def is_sound(lake: Lake, file: File) -> bool:
    """Whether the file can be read; a warning tells why not."""
    try:
        footer(lake, file)
    except InputError as error:
        LOG.warning("%s", error)
        return False
    return True


def _prices_before(lake: Lake, days: Collection[date], found: Mapping[date, File]) -> dict[date, File]:
    """Prices of the days before, as far as they are there: so that bids can be explained from the warehouse alone."""
    before = {day for market_date in days for day in history_dates(market_date)} - set(found)
    files = {}
    for day in sorted(before):
        with suppress(InputError):  # a damaged manifest is told where its own day is read
            file = lake.manifest(day).files.get(PRICES)
            if file and is_sound(lake, file):
                files[day] = file
    return files


def _insert(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, files: Sequence[File]) -> int:
    """Add the rows of ``files`` (of runs: those of new runs); returns the rows written."""
    if not files:
        return 0
    key = ", ".join(map(quoted, TABLES[table].primary_key()))
    # a run's rows come once, whichever files have them
    is_new = f"({key}) not in (select ({key}) from {quoted(table)})" if table in BY_RUN else "true"
    once = f"distinct on ({key})" if table in BY_RUN else ""
    # a file older than a column has no value for it; a column that is not declared stays in the lake
    insert = f"""
        insert into {quoted(table)} by name
        select {once} columns(lambda name: list_contains($declared, name))
        from read_parquet($files, union_by_name = true) where {is_new}
    """
    paths, declared = [str(path) for file in files for path in lake.paths(file)], TABLES[table].column_names()
    try:
        for file in files:
            whole(lake, file)
        (written,) = connection.execute(insert, {"files": paths, "declared": declared}).fetchall()[0]
    except duckdb.Error as error:
        for file in files:
            read_file(lake, file)  # a damaged one is named, with its remedy
        raise InputError(
            f"{table} of {files[0].day} in the lake does not fit the warehouse: {error}",
            file=lake.paths(files[0])[0],
            remedy=f"Make it again with the current code: vpp-pipeline bids --date {files[0].day}",
        ) from error
    return int(written)


def _settle_log(warehouse: Path) -> None:
    """Take over what a writing session left in the write-ahead log, which the copy would miss and the swap orphan."""
    if not warehouse.with_name(f"{warehouse.name}.wal").exists():
        return
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"attach {literal(warehouse)} as vpp")
            connection.execute("checkpoint vpp")
    except duckdb.Error as error:
        raise InputError(
            f"the warehouse has unsaved changes of another session: {error}",
            file=warehouse,
            remedy="Close that session (or open the warehouse read-only there), then publish again.",
        ) from error


@contextmanager
def _written_beside(draft: Path) -> Iterator[None]:
    """Let the copied history go to the disk while the day is put in: the checkpoint at its end waits for both.

    It only saves time, as the checkpoint syncs too. No other process opens the draft, so that DuckDB's lock on it,
    which goes when this thread closes the file (on POSIX), is not missed.
    """

    def write() -> None:
        with suppress(OSError), draft.open("rb+") as file:
            os.fsync(file.fileno())

    writing = Thread(target=write)
    writing.start()
    try:
        yield
    finally:
        writing.join()


def remove_draft(draft: Path) -> None:
    """Remove the file with its write-ahead log, if there is one."""
    draft.unlink(missing_ok=True)
    draft.with_name(f"{draft.name}.wal").unlink(missing_ok=True)
