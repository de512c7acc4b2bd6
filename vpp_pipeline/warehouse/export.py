"""One day's rows of any table or view as a file: CSV, JSON or Parquet."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.warehouse.publish import open_warehouse
from vpp_pipeline.warehouse.published import no_bids
from vpp_pipeline.warehouse.tables import quoted

FORMATS = {"csv": "format csv, header", "json": "format json, array", "parquet": "format parquet, compression zstd"}
OASIS = "bids.oasis"
DEFAULTS = {"csv": OASIS, "parquet": "bids.final_bids"}  # what is exported where no table is named


def export_table(warehouse: Path, market_date: date, table: str, kind: str, file: Path) -> int:
    """Write the day's rows of ``table``, or all rows where it has no market day; returns how many.

    ``kind``: a key of FORMATS. The old file stays until the new one is whole.
    """
    with open_warehouse(warehouse) as connection:
        known = connection.execute(
            """
            select schema_name || '.' || table_name, count(*) filter (column_name = 'market_date') > 0
            from duckdb_columns() where database_name = 'vpp' and not internal group by all
            """
        ).fetchall()
        has_day = dict(known)
        if table not in has_day:
            raise InputError(
                "no such table or view in the warehouse", value=table, remedy=f"It has {', '.join(sorted(has_day))}"
            )
        if not connection.execute(
            "select 1 from bids.final_bids where market_date = $1 limit 1", [market_date]
        ).fetchall():
            raise no_bids(warehouse, market_date)
        rows = f"from {quoted(table)}" + (f" where market_date = date '{market_date}'" if has_day[table] else "")
        draft = file.with_name(f".{file.name}.draft")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            path = str(draft).replace("'", "''")
            columns = "* exclude (market_date)" if table == OASIS else "*"  # OASIS has no such column
            (count,) = connection.execute(f"copy (select {columns} {rows}) to '{path}' ({FORMATS[kind]})").fetchall()[0]
            os.replace(draft, file)
        except (OSError, duckdb.IOException) as error:
            with suppress(OSError):
                draft.unlink()
            raise InputError(
                f"the file cannot be written: {error}", file=file, remedy="Name another with --out"
            ) from None
    return int(count)
