"""Publishing: one day is committed to the lake, and put into the DuckDB warehouse by swapping in a draft that has it.

The lake's manifest is the truth: the draft is whole before it is written, and takes the warehouse's place right after.
A process that is killed between the two leaves a note, and whoever opens the warehouse next completes it
(:func:`complete`). A lake that several machines share is followed: whoever opens or writes to the warehouse of one
machine first puts in what others have committed since. Readers never wait and never see a part: an open session keeps
the file it opened.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from vpp_pipeline.core.bucket import UnknownOutcomeError
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.core.lake import Lake, footer, read_file
from vpp_pipeline.core.manifest import File, Manifest
from vpp_pipeline.core.parquet_files import replacing, sync
from vpp_pipeline.core.paths import acquire
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import APART, BIDS, BY_HAND, SETTLED, no_bids
from vpp_pipeline.warehouse.draft import PRICES, Made, differing, draft_of, fill, is_behind, is_sound

LOG = logging.getLogger(__name__)
LOCK_TIMEOUT_S = 900.0
SEGMENTS = "bids.bid_segments"
STAMP = ("run_id", "created_utc")  # of bids: what equal bids of two runs differ in
SETTLES = "settles"  # in the footer of a settlement: the version of the bids that it is of


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
    told = [file for file in settled.values() if len(file.with_rows) == 1]  # those in parts are made with them
    of_bids = {json.loads(footer(lake, file).get(SETTLES, "null")) for file in told}

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
    with only_publisher(warehouse), draft_of(lake, warehouse) as draft:
        fill(draft, lake, {day: lake.manifest(day) for day in days}, tables)


def complete(lake: Lake, warehouse: Path) -> None:
    """Finish what a publication was at whose process ended between commit and swap, and let the warehouse have what
    other machines have committed; at once if there was neither.

    Where the store does not answer, or nothing may be written, the warehouse stays as it is, with a warning.
    """
    try:
        if note_of(warehouse).is_file():
            _finish(lake, warehouse)
        if lake.is_shared and is_behind(lake, warehouse):
            with only_publisher(warehouse), draft_of(lake, warehouse):
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
    lost = {table for table in kept if not is_sound(lake, files[table])}
    with draft_of(lake, warehouse) as draft:
        rows = fill(draft, lake, {market_date: expected}, [table for table in tables if table not in lost])
        if change:
            _write_note(warehouse, market_date)
            try:
                made = lake.commit(market_date, reason, change, run_id=run_id, passes_damaged=states_all)
            except UnknownOutcomeError:  # the day may be committed: the note lets the warehouse take it then
                raise
            except BaseException:
                note_of(warehouse).unlink(missing_ok=True)
                raise
            if others := differing(expected, made):  # what another commit changed since the draft was begun
                fill(draft, lake, {market_date: made}, others)
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
