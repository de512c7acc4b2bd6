"""Lake and warehouse hold every published day twice: each is made again from the other where one is damaged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import RESTORED, Lake, footer
from vpp_pipeline.core.manifest import File, Manifest
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import APART, BIDS, BY_RUN, no_bids
from vpp_pipeline.warehouse.draft import damage, draft_of_new, fill_all, set_aside
from vpp_pipeline.warehouse.publish import note_of, only_publisher
from vpp_pipeline.warehouse.tables import open_warehouse, quoted

LOG = logging.getLogger(__name__)
MAY_LACK = {*APART, *BY_RUN}


def rebuild_warehouse(lake: Lake, warehouse: Path) -> tuple[dict[str, int], list[str]]:
    """Make the warehouse from the lake alone: rows by table, and a paragraph on each file that could not be read.

    Raises InputError where the present warehouse can be read and has bids of days that the lake lacks.
    """
    is_damaged = warehouse.exists() and damage(warehouse) is not None
    with only_publisher(warehouse):
        if warehouse.exists() and not is_damaged:
            _nothing_is_lost(lake, warehouse)
        with draft_of_new(warehouse) as draft:
            found = fill_all(draft, lake)
            if is_damaged:
                LOG.warning("the damaged file is kept as %s", set_aside(warehouse).name)
        note_of(warehouse).unlink(missing_ok=True)
    return found


def _nothing_is_lost(lake: Lake, warehouse: Path) -> None:
    known = set(lake.days_of(BIDS))
    lacking = [day for day in published_days(warehouse) if day.isoformat() not in known]
    if lacking:
        raise InputError(
            f"the lake lacks {len(lacking)} days whose bids the warehouse has, the first of {lacking[0]}",
            file=warehouse,
            remedy="Take them over into the lake first: vpp-pipeline rebuild --lake",
        )


def published_days(warehouse: Path) -> list[date]:
    """Days of which the warehouse has bids, a refusal to bid among them."""
    with open_warehouse(warehouse) as connection:
        return _days_with_bids(connection)


def _days_with_bids(connection: duckdb.DuckDBPyConnection) -> list[date]:
    found = connection.execute(f"select distinct market_date from {quoted(BIDS)} order by 1").fetchall()
    return [day for (day,) in found]


def damaged_days(lake: Lake, warehouse: Path) -> list[date]:
    """Published days that the lake lacks, or of which it has a file that cannot be read."""
    return [day for day in published_days(warehouse) if _is_damaged(lake, day)]


def _is_damaged(lake: Lake, day: date) -> bool:
    try:
        files = lake.manifest(day).files
        runs = [file for table in BY_RUN for file in lake.every(table, day)]
        for file in [*files.values(), *runs]:
            if not _is_there(lake, file):  # of a shared lake this machine may have a copy
                return True
            footer(lake, file)
    except InputError:
        return True
    return BIDS not in files


def _is_damaged_manifest(lake: Lake, day: date) -> bool:
    try:
        lake.manifest(day)
    except InputError:
        return True
    return False


def _is_there(lake: Lake, file: File) -> bool:
    return all(lake.store.size(one.key) == one.bytes for one in file.with_rows)


def _must_be_the_same_run(lake: Lake, connection: duckdb.DuckDBPyConnection, warehouse: Path, day: date) -> None:
    """Raises InputError where another machine has published other bids of the day than this one's warehouse has."""
    question = f"select any_value(run_id) from {quoted(BIDS)} where market_date = $day"
    (ours,) = connection.execute(question, {"day": day}).fetchall()[0]
    theirs = lake.last_readable(day).run_id
    if theirs and ours != theirs:
        raise InputError(
            f"the bids of {day} that the lake names are of run {theirs}, and the warehouse of this machine has those "
            f"of run {ours}",
            file=warehouse,
            remedy="Give the command on the machine that has published them, or make the day's bids again: "
            f"vpp-pipeline bids --date {day}",
        )


def restore_days(lake: Lake, warehouse: Path, days: Sequence[date]) -> dict[date, int]:
    """Commit the ``days`` to the lake as the warehouse has them; rows written by day.

    Raises NoDataError for a day of which it has no bids, unless the day's manifest is damaged: then prices are all that
    can be expected.
    """
    rows: dict[date, int] = {}
    with only_publisher(warehouse), open_warehouse(warehouse) as connection:
        connection.execute("set timezone = 'UTC'")  # in which moments are handed out
        published = set(_days_with_bids(connection))
        for day in days:
            files: dict[str, File | None] = {}
            run_id, rows[day], has_bids = "", 0, day in published
            if lake.is_shared and has_bids:
                _must_be_the_same_run(lake, connection, warehouse, day)
            if not has_bids and not _is_damaged_manifest(lake, day):
                raise no_bids(warehouse, day)
            for table, schema in TABLES.items():
                question = f"select * from {quoted(table)} where market_date = $day"
                found = connection.sql(question, params={"day": day}).pl()
                if found.is_empty() and (table in MAY_LACK or not has_bids):
                    continue
                if table == BIDS:
                    run_id = str(found["run_id"][0])
                rows[day] += found.height
                columns = [name for name in schema.column_names() if name in found.columns]
                files[table] = lake.put(table, day, found.select(columns).sort(schema.primary_key()))

            def change(last: Manifest, found: dict[str, File | None] = files) -> dict[str, File | None]:
                # of a shared lake this machine need not have every table
                kept = {table for table, file in last.files.items() if lake.is_shared and _is_there(lake, file)}
                return {**dict.fromkeys(last.files.keys() - kept), **found}

            lake.commit(day, RESTORED, change, run_id=run_id, passes_damaged=True)
    return rows
