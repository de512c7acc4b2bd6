"""Publishing: one day of the lake into the DuckDB warehouse, by building a draft beside it and swapping it in.

Readers never wait and never see a part: an open session keeps the file it opened, the next one opens the new file.
The cost of a day is copying the file plus that day's rows, whatever the history. Runs are only ever added.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from threading import Thread

import duckdb
import polars as pl
from filelock import FileLock, Timeout

from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import acquire
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import BY_RUN, BY_SLOT, SETTLED
from vpp_pipeline.warehouse.tables import create_tables, create_views, literal, quoted

STORAGE_VERSION = "v1.2.0"  # released DuckDB 1.x tools open it; what DuckDB 2 writes by default they cannot
LOCK_TIMEOUT_S = 900.0
ACCOUNT = "evaluation.settled_days"  # one row for each day that is settled


def publish(
    lake: Lake,
    warehouse: Path,
    market_date: date,
    tables: Collection[str] = tuple(TABLES),
    run: Mapping[str, pl.DataFrame] | None = None,
) -> dict[str, int]:
    """Make the warehouse hold the lake's ``market_date``, replacing that day's rows; returns rows written per table.

    ``tables``: only these, where a day stopped half-way. A table whose file is not in the lake has no rows for the day.
    Prices of the seven days before are published too. ``run``: what is kept of the run that made the bids, by the names
    in BY_RUN; it goes to warehouse and lake only with this publication, and only once. With it, a settlement of other
    bids is left out.
    """
    with _only_publisher(warehouse):
        new = _not_kept_yet(lake, market_date, run or {})
        with _draft_of(warehouse) as draft:
            rows = _fill(draft, lake, [market_date], tables, new, of_bids=run is not None)
        for table, (partition, frame) in new.items():  # now that it is published; the warehouse has it already
            lake.write(table, partition, frame)
    return rows


def publish_settlement(lake: Lake, warehouse: Path, market_date: date) -> dict[str, int]:
    """Add the lake's settlement of ``market_date``, and the prices it rests on; returns rows written per table.

    Nothing else of the day is touched: what runs have left in the lake since its bids were published is not published.
    Raises InputError where the published bids are not those that were settled.
    """
    with _only_publisher(warehouse), _draft_of(warehouse) as draft:
        rows = _fill(draft, lake, [market_date], ["market.prices", *SETTLED], {}, of_bids=True)
        if not rows[ACCOUNT]:
            raise InputError(
                f"bids of {market_date} were published while others were settled, so this settlement is not published",
                file=warehouse,
                remedy=f"Settle the new ones: vpp-pipeline settle --date {market_date}",
            )
    return rows


def publish_days(lake: Lake, warehouse: Path, days: Collection[date], tables: Collection[str]) -> None:
    """The same for ``tables`` of many days in one publication, as a back-test needs it."""
    with _only_publisher(warehouse), _draft_of(warehouse) as draft:
        _fill(draft, lake, days, tables, {})


@contextmanager
def _draft_of(warehouse: Path) -> Iterator[Path]:
    """A copy of the warehouse (or its place) to write to; it takes the warehouse's place if all goes well."""
    warehouse = warehouse.absolute()
    draft = warehouse.with_name(f"{warehouse.name}.draft")
    _remove(draft)  # what a killed publication left
    try:
        if warehouse.exists():
            _settle_log(warehouse)
            shutil.copyfile(warehouse, draft)
        with _written_beside(draft):
            yield draft
        os.replace(draft, warehouse)
    finally:
        _remove(draft)


def _not_kept_yet(
    lake: Lake, market_date: date, run: Mapping[str, pl.DataFrame]
) -> dict[str, tuple[str, pl.DataFrame]]:
    """Table -> partition and rows of a run that the lake does not know: its first publication is what counts."""
    keys = {table: f"{market_date}|{frame['run_id'][0]}" for table, frame in run.items()}
    return {table: (key, run[table]) for table, key in keys.items() if not lake.exists(table, key)}


def _fill(
    draft: Path,
    lake: Lake,
    days: Collection[date],
    tables: Collection[str],
    run: Mapping[str, tuple[str, pl.DataFrame]],
    *,
    of_bids: bool = False,
) -> dict[str, int]:
    """Bring the draft's tables up to date and put the days in; closes the draft with everything in the one file.

    ``of_bids``: a settlement of other bids than the draft then has is left out.
    """
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
            wanted = {day: None for market_date in days for day in _days(lake, table, market_date)}
            rows[table] = sum(_replace_day(connection, lake, table, day) for day in wanted)
        if of_bids:
            for day in days:
                _drop_settlement_of_other_bids(connection, day, rows)
        for table, (_, frame) in run.items():
            rows[table] += _add(connection, table, frame)
        connection.execute("commit")
        connection.execute("checkpoint draft")
        connection.execute("use memory")
        connection.execute("detach draft")
    return rows


def _days(lake: Lake, table: str, market_date: date) -> list[date]:
    """The days to replace in ``table``: the market day and, for prices, the days before it that the lake holds."""
    if table != "market.prices":
        return [market_date]
    history = history_dates(market_date)  # so that the bids can be explained from the warehouse alone
    return [day for day in history if lake.exists(table, day.isoformat())] + [market_date]


def _replace_day(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, market_date: date) -> int:
    """Replace one day of one table by what the lake holds (of runs: add what is new); returns the rows written."""
    is_new = "true"
    if table in BY_RUN:
        is_new = f"run_id not in (select run_id from {quoted(table)} where market_date = date '{market_date}')"
    else:
        connection.execute(f"delete from {quoted(table)} where market_date = $day", {"day": market_date})
    source, partitions = _source(lake, table, market_date)
    if not partitions:
        return 0
    # a file older than a column has no value for it; a column that is not declared stays in the lake
    insert = f"""
        insert into {quoted(table)} by name
        select columns(lambda name: list_contains($declared, name)) from read_parquet($files, union_by_name = true)
        where {is_new}
    """
    files = [str(lake.path(source, partition)) for partition in partitions]
    declared = TABLES[table].column_names()
    try:
        (written,) = connection.execute(insert, {"files": files, "declared": declared}).fetchall()[0]
    except duckdb.Error as error:
        for partition in partitions:
            lake.read(source, partition)  # a damaged file is named, with its remedy
        raise InputError(
            f"the lake's {source} of {market_date} does not fit {table}: {error}",
            file=lake.path(source, partitions[0]),
            remedy=f"Materialise {source.replace('.', '/')} again with the current code.",
        ) from error
    return int(written)


def _drop_settlement_of_other_bids(
    connection: duckdb.DuckDBPyConnection, market_date: date, rows: dict[str, int]
) -> None:
    """Leave the day without a settlement, in the draft and in ``rows``, where it is not that of the day's bids."""
    others = """
        with settled as (select bid_id, bid_mw from evaluation.settlement where market_date = $day),
        bids as (select bid_id, total_capacity_mw from bids.final_bids where market_date = $day and status = 'bid')
        select 1 from settled full join bids using (bid_id) where bid_mw is distinct from total_capacity_mw limit 1
    """
    if connection.execute(others, {"day": market_date}).fetchall():
        for table in SETTLED:
            connection.execute(f"delete from {quoted(table)} where market_date = $day", {"day": market_date})
            rows[table] = 0


def _add(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> int:
    """Add the run's rows, unless the warehouse knows the run; returns the rows written."""
    connection.register("new_rows", frame.to_arrow())
    known = f"select run_id from {quoted(table)} where market_date in (select market_date from new_rows)"
    added = connection.execute(
        f"insert into {quoted(table)} by name select * from new_rows where run_id not in ({known})"
    ).fetchall()
    connection.unregister("new_rows")
    return int(added[0][0])


def _source(lake: Lake, table: str, market_date: date) -> tuple[str, list[str]]:
    """The lake table and the partitions that hold ``table``'s day; negotiations are kept per opportunity."""
    day = market_date.isoformat()
    if table in BY_RUN:
        return table, lake.partitions(table, day)
    if table not in BY_SLOT:
        return table, [day] if lake.exists(table, day) else []
    source = BY_SLOT[table]
    slots = lake.partitions(source, day)
    if lake.exists("market.opportunities", day):  # a slot that is no longer traded keeps its file, not its words
        traded = set(lake.read("market.opportunities", day)["slot"])
        slots = [partition for partition in slots if partition.split("|")[1] in traded]
    return source, slots


@contextmanager
def _only_publisher(warehouse: Path) -> Iterator[None]:
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


def _remove(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    draft.with_name(f"{draft.name}.wal").unlink(missing_ok=True)
