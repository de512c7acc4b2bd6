"""Publishing: one day is committed to the lake, and put into the DuckDB warehouse by swapping in a draft that has it.

The lake's manifest is the truth: the draft is whole before it is written, and takes the warehouse's place right after.
A process that is killed between the two leaves a note, and whoever opens the warehouse next completes it
(:func:`complete`). A lake that several machines share is followed: whoever opens or writes to the warehouse of one
machine first puts in what others have committed since. Readers never wait and never see a part: an open session keeps
the file it opened. The cost of a day is copying the file plus that day's rows, whatever the history. Runs are only ever
added.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Thread

import duckdb
import polars as pl
from filelock import FileLock, Timeout

from vpp_pipeline.core.bucket import UnknownOutcomeError
from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.core.lake import File, Lake, Manifest, footer, read_file, whole
from vpp_pipeline.core.parquet_files import replacing, sync
from vpp_pipeline.core.paths import acquire
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import APART, BIDS, BY_HAND, BY_RUN, SETTLED, no_bids
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
LOCK_TIMEOUT_S = 900.0
PRICES, SEGMENTS = "market.prices", "bids.bid_segments"
STAMP = ("run_id", "created_utc")  # of bids: what equal bids of two runs differ in
SETTLES = "settles"  # in the footer of a settlement: the version of the bids that it is of
Made = Mapping[str, File]


def publish(
    lake: Lake,
    warehouse: Path,
    market_date: date,
    made: Made | None = None,
    run: Mapping[str, pl.DataFrame] | None = None,
) -> dict[str, int]:
    """Commit what was ``made`` of the day and make the warehouse hold the day; returns rows written per table.

    Nothing made: the warehouse takes the day as it is committed. ``run``: what is kept of the run that made the bids,
    by the names in BY_RUN, once for each run. A settlement of other bids is left out from then on. Prices of the seven
    days before are published too.
    """
    new = dict(made or {})

    def change(last: Manifest) -> dict[str, File | None]:
        changed: dict[str, File | None] = dict(new)
        if BIDS in new and not _same_bids(lake, last.files, {**last.files, **new}):
            changed |= dict.fromkeys(SETTLED)
        return changed

    with only_publisher(warehouse):
        run_id = None
        if run is not None:
            run_id = str(next(iter(run.values()))["run_id"][0])
            if run_id not in {manifest.run_id for manifest in lake.manifests(market_date)}:  # the first time counts
                new |= {table: lake.put(table, market_date, rows) for table, rows in run.items()}
        rows = _commit_and_fill(
            lake, warehouse, market_date, "bids", change if new else None, run_id=run_id, states_all=BIDS in new
        )
    if BIDS in new:  # what was made by hand before rests on what is no longer published
        lake.day(market_date, BY_HAND).forget()
    return rows


def publish_settlement(lake: Lake, warehouse: Path, market_date: date, made: Made) -> dict[str, int]:
    """Commit the settlement that was ``made`` and put it into the warehouse, with the prices it rests on; returns rows
    written per table. Nothing else of the day is touched.

    Raises InputError where the published bids are not those that were settled.
    """
    settled = {table: file for table, file in made.items() if table in SETTLED}
    of_bids = {json.loads(footer(lake, file).get(SETTLES, "null")) for file in settled.values()}

    def change(last: Manifest) -> dict[str, File | None]:
        if BIDS not in last.files:
            raise no_bids(lake.address, market_date)
        if of_bids != {last.files[BIDS].version}:
            raise InputError(
                f"bids of {market_date} were published while others were settled, so this settlement is not published",
                file=lake.address,
                remedy=f"Settle the new ones: vpp-pipeline settle --date {market_date}",
            )
        return dict(settled)

    with only_publisher(warehouse):
        return _commit_and_fill(lake, warehouse, market_date, "settlement", change, tables=(PRICES, *SETTLED))


def publish_tables(lake: Lake, warehouse: Path, days: Collection[date], tables: Sequence[str]) -> None:
    """Put ``tables`` of many days, as committed, into the warehouse in one publication, as a back-test needs it."""
    with only_publisher(warehouse), _draft_of(lake, warehouse) as draft:
        _fill(draft, lake, {day: lake.manifest(day) for day in days}, tables)


def complete(lake: Lake, warehouse: Path) -> None:
    """Finish what a publication was at whose process ended between commit and swap, and let the warehouse have what
    other machines have committed; at once if there was neither.

    Where the store does not answer, or nothing may be written, the warehouse stays as it is, with a warning.
    """
    try:
        if note_of(warehouse).is_file():
            _finish(lake, warehouse)
        if lake.is_shared and _is_behind(lake, warehouse):
            with only_publisher(warehouse), _draft_of(lake, warehouse):
                pass
    except OSError as error:  # whoever may only read, reads the day before it
        LOG.warning("the warehouse cannot take what was committed since: %s", error)
    except StoreError as error:
        if not warehouse.exists():
            raise
        LOG.warning("%s. What follows is of the warehouse as this machine has it", error)


def _finish(lake: Lake, warehouse: Path) -> None:
    with only_publisher(warehouse):
        if (note := _read_note(warehouse)) is not None:  # no other process has done it meanwhile
            LOG.warning("a publication of %s was stopped after its commit; the warehouse takes the day now", note)
            _commit_and_fill(lake, warehouse, note, "", None)
        note_of(warehouse).unlink(missing_ok=True)


def _commit_and_fill(
    lake: Lake,
    warehouse: Path,
    market_date: date,
    reason: str,
    change: Callable[[Manifest], Mapping[str, File | None]] | None,
    *,
    tables: Sequence[str] = tuple(TABLES),
    run_id: str | None = None,
    states_all: bool = False,
) -> dict[str, int]:
    """Build the draft of the day as it will be, commit, swap: an error before the commit leaves all as it was."""
    last = lake.last_readable(market_date) if states_all else lake.manifest(market_date)
    changed = change(last) if change else {}
    files = {table: file for table, file in {**last.files, **changed}.items() if file is not None}
    expected = replace(last, number=last.number + bool(change), files=files)
    # what is not of the bids, is kept, and is damaged stays in the warehouse as it is there: it must not cost the day
    kept = [table for table in APART if table in files and table not in changed]
    lost = {table for table in kept if not _is_sound(lake, files[table])}
    with _draft_of(lake, warehouse) as draft:
        rows = _fill(draft, lake, {market_date: expected}, [table for table in tables if table not in lost])
        if change:
            _write_note(warehouse, market_date)
            try:
                made = lake.commit(market_date, reason, change, run_id=run_id, passes_damaged=states_all)
            except UnknownOutcomeError:  # the day may be committed: the note lets the warehouse take it then
                raise
            except BaseException:
                note_of(warehouse).unlink(missing_ok=True)
                raise
            if others := _differing(expected, made):  # what another commit changed since the draft was begun
                _fill(draft, lake, {market_date: made}, others)
    note_of(warehouse).unlink(missing_ok=True)
    return rows


def _same_bids(lake: Lake, one: Made, other: Made) -> bool:
    """Whether both have the same bids and curves, by whichever run."""

    def bids(files: Made) -> list[pl.DataFrame]:
        found = [read_file(lake, files[table]) for table in (BIDS, SEGMENTS)]
        return [rows.drop(STAMP, strict=False) for rows in found]

    if not all(table in files for files in (one, other) for table in (BIDS, SEGMENTS)):
        return False
    try:
        return all(first.equals(second) for first, second in zip(bids(one), bids(other), strict=True))
    except InputError:  # damaged: whatever it was, it is replaced
        return False


@contextmanager
def _draft_of(lake: Lake, warehouse: Path) -> Iterator[Path]:
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
    rows = _fill(draft, lake, days, tuple(TABLES))
    if lake.is_shared and prices:
        _fill(draft, lake, prices, ())
    return rows, faults


def _is_behind(lake: Lake, warehouse: Path) -> bool:
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
        _fill(draft, lake, days, changed)


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
    tables = list(TABLES) if former is None else _differing(former, last)
    return last, [table for table in tables if table not in last.files or _is_sound(lake, last.files[table])]


def _differing(one: Manifest, other: Manifest) -> list[str]:
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


def _fill(draft: Path, lake: Lake, days: Mapping[date, Manifest], tables: Sequence[str]) -> dict[str, int]:
    """Bring the draft's tables up to date and put the days in, of which it has all other tables; closes the draft with
    everything in the one file."""
    rows: dict[str, int] = {}
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach {literal(draft)} as draft (storage_version '{STORAGE_VERSION}')")
        connection.execute("use draft")
        # tables have no order; keeping the files' would write every row twice: twice the seconds and twice the file
        connection.execute("set preserve_insertion_order = false")
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
    return [file for file in files if file == made.get(table) or _is_sound(lake, file)]


def _is_sound(lake: Lake, file: File) -> bool:
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
            if file and _is_sound(lake, file):
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
    paths, declared = [str(lake.path(file)) for file in files], TABLES[table].column_names()
    try:
        for file in files:
            whole(lake, file)
        (written,) = connection.execute(insert, {"files": paths, "declared": declared}).fetchall()[0]
    except duckdb.Error as error:
        for file in files:
            read_file(lake, file)  # a damaged one is named, with its remedy
        raise InputError(
            f"{table} of {files[0].day} in the lake does not fit the warehouse: {error}",
            file=lake.path(files[0]),
            remedy=f"Make it again with the current code: vpp-pipeline bids --date {files[0].day}",
        ) from error
    return int(written)


@contextmanager
def only_publisher(warehouse: Path) -> Iterator[None]:
    """One publication at a time, across processes; the lock of a killed process is free."""
    lock = warehouse.absolute().with_name(f"{warehouse.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        acquire(held, LOCK_TIMEOUT_S, f"another publication holds {warehouse}")
    except Timeout as error:
        raise InputError(
            f"another publication has held the warehouse for {LOCK_TIMEOUT_S:.0f} s",
            file=lock,
            remedy="Wait for that run or stop it, then publish again.",
        ) from error
    try:
        yield
    finally:
        held.release()


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


def note_of(warehouse: Path) -> Path:
    """Where a publication says which day it commits, from just before the commit until the warehouse has it."""
    return warehouse.absolute().with_name(f"{warehouse.name}.pending")


def _write_note(warehouse: Path, market_date: date) -> None:
    note = note_of(warehouse)
    with replacing(note) as beside:
        beside.write_text(market_date.isoformat(), encoding="utf-8")
    sync(note.parent)


def _read_note(warehouse: Path) -> date | None:
    """The day of the note; None where there is none, or none that can be read: then nothing was committed."""
    try:
        return date.fromisoformat(note_of(warehouse).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
