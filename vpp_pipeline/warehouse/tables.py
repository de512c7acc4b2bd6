"""Tables and views of the warehouse in DuckDB, and the data dictionary, from the declarations in `schemas`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import dataframely as dy
import duckdb

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.provenance import PACKAGE
from vpp_pipeline.schemas import TABLES, sentence
from vpp_pipeline.schemas.bids import RENAMED_CHECKS

_TYPES: dict[type[dy.Column], str] = {
    dy.String: "VARCHAR",
    dy.Bool: "BOOLEAN",
    dy.Int32: "INTEGER",
    dy.Int64: "BIGINT",
    dy.Float64: "DOUBLE",
    dy.Date: "DATE",
    dy.Datetime: "TIMESTAMP WITH TIME ZONE",
}


CHECKS, RUN_BIDS = "bids.checks", "bids.run_bids"
LAYOUT = "explain.layout"  # a macro that tells which layout the warehouse has
COMMITS = "explain.commits"  # another that tells up to which commit of a shared lake it has each day
OPENING = """# Data dictionary

Every table and view of the warehouse, `data/vpp.duckdb`. Made by `python -m vpp_pipeline dictionary` from
`vpp_pipeline/schemas` and `vpp_pipeline/warehouse/sql`; do not edit it. In SQL: the view `explain.catalogue`.

The unit ends a column's name. Positive power is export to the grid; moments are UTC. In the negotiation and bid tables,
columns named `…_usd_per_mwh` hold $/MW per hour for reserves.
"""
HEADS = "| column | type | unit | meaning |\n|---|---|---|---|\n"
QUESTION = """
    select split_part(table_name, '.', 1), table_name, kind, table_comment, column_name, data_type, unit, description
    from explain.catalogue order by split_part(table_name, '.', 1), kind, table_name, position
"""


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the current database to ``TABLES``: schemas, tables, columns, comments; what is there already stays.

    A column that is new in `schemas.py` is added without a value for past days. One that is no longer declared keeps
    its history and may be empty from now on.
    """
    columns = _columns(connection)
    _update_history(connection, columns)
    comments = _table_comments(connection)
    for table, schema in TABLES.items():
        if table not in columns:
            _create(connection, table, schema)
        else:
            _extend(connection, table, schema, columns[table])
        words = " ".join(sentence(schema).split())
        if comments.get(table) != words:
            connection.execute(f"comment on table {quoted(table)} is {_literal(words)}")
        for name, column in schema.columns().items():
            known = columns.get(table, {}).get(name)
            if known is None or known[1] != column.description:
                connection.execute(
                    f"comment on column {quoted(table)}.{quoted(name)} is {_literal(column.description)}"
                )


def _update_history(connection: duckdb.DuckDBPyConnection, tables: Collection[str]) -> None:
    """Bring texts of past days to the wording of today, so that checks and bid curves compare across versions."""
    if CHECKS in tables:
        for former, name in RENAMED_CHECKS.items():
            connection.execute(f"update {quoted(CHECKS)} set check_name = $1 where check_name = $2", [name, former])
    if RUN_BIDS in tables:
        connection.execute(
            f"update {quoted(RUN_BIDS)} set curve = regexp_replace(curve, '(-?)([0-9.]+) \\$', '\\1$\\2', 'g') "
            "where curve like '% $'"
        )


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the current database's views to the files of `vpp_pipeline/warehouse/sql`, in the order of their names.

    A view's column that a table declares too has that table's comment, unless the file gives it one of its own.
    Where views and tables are those of the code already, nothing is done: it would take longer than a day's rows.
    """
    files = sorted((PACKAGE / "warehouse" / "sql").glob("*.sql"))
    layout = _layout(files)
    if _layout_of(connection) == layout and _views(connection) >= {_view_of(file) for file in files}:
        return
    for file in files:
        connection.execute(file.read_text(encoding="utf-8"))
    words = {name: column.description for schema in TABLES.values() for name, column in schema.columns().items()}
    mute = """
        select schema_name || '.' || table_name, column_name from duckdb_columns()
        where database_name = current_database() and not internal and comment is null
    """
    for view, name in connection.execute(mute).fetchall():
        if name in words:
            connection.execute(f"comment on column {quoted(view)}.{quoted(name)} is {_literal(words[name])}")
    connection.execute(f"create or replace macro {LAYOUT}() as {_literal(layout)}")


def _layout(files: list[Path]) -> str:
    """Hash of what views are made from: their files, and the declared tables with their words."""
    declared = [
        f"{table}.{name} {duckdb_type(column)} {column.description}"
        for table, schema in TABLES.items()
        for name, column in schema.columns().items()
    ]
    return hashlib.sha256("\n".join([*(file.read_text("utf-8") for file in files), *declared]).encode()).hexdigest()


def _layout_of(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The hash that the views of the current database were made with; None where there are none."""
    return _told_by(connection, LAYOUT)


def commits_of(connection: duckdb.DuckDBPyConnection, lake_id: str) -> dict[str, int]:
    """Day -> number of the manifest of that shared lake up to which the current database has the day."""
    told = json.loads(_told_by(connection, COMMITS) or "{}")
    return dict(told["days"]) if told.get("lake") == lake_id else {}


def note_commits(connection: duckdb.DuckDBPyConnection, lake_id: str, numbers: Mapping[str, int]) -> None:
    """Keep with the current database up to which manifest it has the days."""
    told = json.dumps({"lake": lake_id, "days": {**commits_of(connection, lake_id), **numbers}}, sort_keys=True)
    connection.execute(f"create or replace macro {COMMITS}() as {_literal(told)}")


def _told_by(connection: duckdb.DuckDBPyConnection, macro: str) -> str | None:
    """What the macro of the current database says; None where there is none."""
    known = """
        select 1 from duckdb_functions()
        where database_name = current_database() and schema_name || '.' || function_name = $1
    """
    if not connection.execute(known, [macro]).fetchall():
        return None
    return str(connection.execute(f"select {macro}()").fetchall()[0][0])


def _views(connection: duckdb.DuckDBPyConnection) -> set[str]:
    query = """
        select schema_name || '.' || view_name from duckdb_views()
        where database_name = current_database() and not internal
    """
    return {name for (name,) in connection.execute(query).fetchall()}


def _view_of(file: Path) -> str:
    """``04_bids_bids_of_day.sql`` makes ``bids.bids_of_day``."""
    _, schema, name = file.stem.split("_", 2)
    return f"{schema}.{name}"


def quoted(name: str) -> str:
    """``schema.table``, or a column's name, as SQL identifiers."""
    return ".".join(f'"{part}"' for part in name.split("."))


def duckdb_type(column: dy.Column) -> str:
    """The DuckDB type of a declared column."""
    return _TYPES[type(column)]


def _table_comments(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    query = """
        select schema_name || '.' || table_name, comment
        from duckdb_tables() where database_name = current_database() and not internal
    """
    return dict(connection.execute(query).fetchall())


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, tuple[bool, str | None]]]:
    """Table -> column -> whether it may be empty, and its comment."""
    known: dict[str, dict[str, tuple[bool, str | None]]] = {}
    query = """
        select schema_name || '.' || table_name, column_name, is_nullable, comment
        from duckdb_columns() where database_name = current_database() and not internal
    """
    for table, name, is_nullable, comment in connection.execute(query).fetchall():
        known.setdefault(table, {})[name] = (is_nullable, comment)
    return known


def _create(connection: duckdb.DuckDBPyConnection, table: str, schema: type[dy.Schema]) -> None:
    # no primary keys: DuckDB's indexes slow bulk loads, and every asset validates its keys
    columns = ", ".join(
        f"{quoted(name)} {duckdb_type(column)}{'' if column.nullable else ' not null'}"
        for name, column in schema.columns().items()
    )
    connection.execute(f"create schema if not exists {quoted(table.split('.')[0])}")
    connection.execute(f"create table {quoted(table)} ({columns})")


def _extend(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    schema: type[dy.Schema],
    known: dict[str, tuple[bool, str | None]],
) -> None:
    declared = schema.columns()
    for name, column in declared.items():
        if name not in known:
            connection.execute(f"alter table {quoted(table)} add column {quoted(name)} {duckdb_type(column)}")
    for name, (is_nullable, _) in known.items():
        if not is_nullable and (name not in declared or declared[name].nullable):
            connection.execute(f"alter table {quoted(table)} alter column {quoted(name)} drop not null")


def _literal(words: str | None) -> str:
    return "null" if words is None else "'" + words.replace("'", "''") + "'"


def data_dictionary() -> str:
    """The page, from a warehouse without rows."""
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        create_views(connection)
        rows = connection.execute(QUESTION).fetchall()
    parts = [OPENING]
    for schema, tables in groupby(rows, key=lambda row: row[0]):
        parts.append(f"\n## {schema}\n")
        for (table, kind, words), columns in groupby(tables, key=lambda row: row[1:4]):
            parts.append(f"\n### `{table}`{' (view)' if kind == 'view' else ''}\n\n{words}\n\n{HEADS}")
            parts += [
                f"| `{name}` | {_type(data_type)} | {unit} | {_cell(description)} |\n"
                for *_, name, data_type, unit, description in columns
            ]
    return "".join(parts)


def _type(data_type: str) -> str:
    return {"TIMESTAMP WITH TIME ZONE": "timestamptz"}.get(data_type, data_type.lower())


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


class DamagedWarehouseError(InputError):
    """DuckDB cannot use the file, or it is shorter than it says."""


@contextmanager
def open_warehouse(warehouse: Path, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse as it is now, closed on leaving.

    Attached rather than connected to: within one process ``duckdb.connect`` hands out the file that is already open,
    even after it has been replaced.
    """
    if not warehouse.is_file():
        raise NoDataError(
            "there is no warehouse yet", file=warehouse, remedy="Make a day's bids first: vpp-pipeline bids --date …"
        )
    if warehouse.stat().st_size == 0:  # DuckDB takes it for a new database
        raise _damaged(warehouse, "it is empty")
    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute(f"attach {literal(warehouse)} as vpp{' (read_only)' if read_only else ''}")
            connection.execute("use vpp")
            claimed = connection.execute("select block_size * used_blocks from pragma_database_size()").fetchone()
        except (
            duckdb.IOException,
            duckdb.SerializationException,
            duckdb.InternalException,
            duckdb.FatalException,
        ) as error:
            if any(word in str(error).lower() for word in ("lock", "permission")):
                raise InputError(
                    f"the warehouse cannot be opened: {error}",
                    file=warehouse,
                    remedy="If a session has it open for writing, close that session or open it read-only there.",
                ) from error
            raise _damaged(warehouse, " ".join(str(error).split())) from error
        if claimed and warehouse.stat().st_size < claimed[0]:
            raise _damaged(warehouse, f"it has {warehouse.stat().st_size:,} of {claimed[0]:,} bytes")
        yield connection


def _damaged(warehouse: Path, problem: str) -> DamagedWarehouseError:
    return DamagedWarehouseError(
        f"the warehouse is damaged: {problem}",
        file=warehouse,
        remedy="Make it again from the lake, which has every published day: vpp-pipeline rebuild",
    )


def literal(path: Path) -> str:
    """The path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"
