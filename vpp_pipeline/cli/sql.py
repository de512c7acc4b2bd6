"""Questions to the warehouse in SQL: which statements are questions, and how answers are shown."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpp_pipeline.cli.options import DATA, JSON, Options, print_json, with_options
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

LOG = logging.getLogger(__name__)
NUMBERS = (int, float)
FOLDS_AT = 12  # letters: a narrower column of text is not read
#: a question reads the warehouse and no other file, loads nothing, sees no variable of this program, and changes none
#: of this
CLOSED = (
    "set enable_external_access = false",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set python_enable_replacements = false",
    "set lock_configuration = true",
)
#: table functions that a question may use, beside `duckdb_…`. Others write (`enable_logging`), read files, run SQL that
#: stands in a text, or take a place in memory (`arrow_scan`), which ends the process where it is wrong
TABLE_FUNCTIONS = frozenset(
    {
        "range",
        "generate_series",
        "unnest",
        "json_each",
        "json_tree",
        "repeat",
        "repeat_row",
        "histogram",
        "histogram_values",
        "pragma_table_info",
        "pragma_storage_info",
        "pragma_database_size",
        "pragma_version",
        "pg_timezone_names",
    }
)
REFUSED_FUNCTIONS = frozenset({"write_log", "sleep_ms"})
_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?\b(\s*\([^()]*\))?", re.IGNORECASE)
QUESTION = "Ask one question that begins with select, with, from, values, show, describe, summarize, or explain"


@click.command()
@with_options(DATA, JSON)
@click.argument("question")
@click.option("--rows", type=int, metavar="N", help="Most rows shown; 0: all. [default: 100, and with --json all]")
def sql(options: Options, question: str, rows: int | None, as_json: bool) -> None:
    """Ask the warehouse a QUESTION in SQL; nothing is written.

    \b
    vpp-pipeline sql "select why from explain.bid where status = 'bid'"
    vpp-pipeline sql - < question.sql
    vpp-pipeline sql "select table_name, column_name, description from explain.catalogue"

    A - in place of QUESTION reads it from the standard input; docs/queries.sql holds questions to begin with.
    """
    asked = sys.stdin.read() if question == "-" else question
    if as_json:
        print_json(answer(options.warehouse, asked, max(rows or 0, 0)))
        return
    from vpp_pipeline.core.display import terminal

    show_sql(options.warehouse, asked, 100 if rows is None else max(rows, 0), terminal())


@click.command()
@with_options(DATA)
def screen(options: Options) -> None:
    """Open the warehouse in an SQL screen (Harlequin), read-only."""
    if status := open_screen(options.warehouse):
        click.get_current_context().exit(status)


@contextmanager
def _asked(warehouse: Path, question: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The answer to ``question``. Raises InputError with DuckDB's own text for a question that fails."""
    import duckdb

    from vpp_pipeline.warehouse.tables import open_warehouse

    with open_warehouse(warehouse) as connection:
        for setting in CLOSED:
            connection.execute(setting)
        try:
            _check_question(connection, question)
            yield connection.execute(question)
        except duckdb.Error as error:
            raise InputError(
                f"the question cannot be answered: {' '.join(str(error).split())}",
                remedy='Tables and columns: vpp-pipeline sql "select table_name, column_name from explain.catalogue"',
            ) from None


def _check_question(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    """Raises InputError unless ``question`` is one statement that reads, by functions that read."""
    import duckdb

    try:
        kinds = [statement.type for statement in connection.extract_statements(question)]
    except ValueError:  # a kind of statement that DuckDB's own package has no name for
        kinds = []
    is_explained = kinds == [duckdb.StatementType.EXPLAIN]
    if not (is_explained or kinds == [duckdb.StatementType.SELECT]):
        named = ", ".join(kind.name.lower() for kind in kinds) or "nothing that can be asked"
        raise InputError("only a question is answered, and nothing is written", value=named, remedy=QUESTION)
    body = _EXPLAIN.sub("", question, count=1) if is_explained else question
    tree = json.loads(connection.execute("select json_serialize_sql($1)", [body]).fetchall()[0][0])
    if tree["error"]:
        problem = f"only a question is answered, and nothing is written: {tree.get('error_message', '')}"
        raise InputError(problem, remedy=QUESTION)
    for is_table, name in _functions(tree):
        reads = name in TABLE_FUNCTIONS or name.startswith("duckdb_") if is_table else name not in REFUSED_FUNCTIONS
        if not reads:
            raise InputError(
                "a question may read the warehouse alone",
                value=f"{name}()",
                remedy='Its tables: vpp-pipeline sql "select table_name from explain.catalogue"',
            )


def _functions(tree: Any) -> Iterator[tuple[bool, str]]:
    """Whether it gives a table, and the name, of each function in a statement as `json_serialize_sql` writes it."""
    if isinstance(tree, dict):
        if tree.get("type") == "TABLE_FUNCTION":
            yield True, tree["function"]["function_name"].lower()
        elif "function_name" in tree:
            yield False, tree["function_name"].lower()
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _functions(part)


def answer(warehouse: Path, question: str, most: int) -> list[dict[str, Any]]:
    """Rows of the answer to ``question``, at most so many (0: all)."""
    with _asked(warehouse, question) as found:
        rows = rows_of(found)
    if 0 < most < len(rows):
        LOG.warning("%d rows, %d of them printed (--rows 0 prints all)", len(rows), most)
    return rows[:most] if most else rows


def rows_of(found: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in found.description or ()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError("two columns of one name", value=", ".join(sorted(twice)), remedy="Name each by `as`")
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def show_sql(warehouse: Path, question: str, most: int, console: Console) -> None:
    """Print the answer to ``question``, at most so many rows (0: all)."""
    with _asked(warehouse, question) as found:
        count = show_rows(found, most, console)
    more = f", {most} of them shown (--rows 0 shows all)" if 0 < most < count else ""
    console.print(f"{count} row{'' if count == 1 else 's'}{more}")


def show_rows(found: duckdb.DuckDBPyConnection, most: int, console: Console) -> int:
    """Print an answer, at most so many rows (0: all), and return how many there are.

    Where the columns do not fit beside each other, each row is written below the last, a line for each column.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    names = [column[0] for column in found.description or ()]
    rows = found.fetchall()
    shown = rows if most == 0 else rows[:most]
    are_numbers = [_are_numbers([row[place] for row in shown]) for place in range(len(names))]
    cells = [[_cell(value) for value in row] for row in shown]
    widths = [max(map(len, [name, *(row[place] for row in cells)])) for place, name in enumerate(names)]
    least = [width if number else min(width, FOLDS_AT) for width, number in zip(widths, are_numbers, strict=True)]
    if sum(least) + 2 * len(names) + 2 > console.width:
        for row in cells:
            _show_row(names, row, console)
        return len(rows)
    table = Table(box=SIMPLE, title_justify="left")
    for name, is_number in zip(names, are_numbers, strict=True):
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)
    return len(rows)


def _show_row(names: list[str], row: list[str], console: Console) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        table.add_row(name, cell)
    console.print(table)


def _are_numbers(values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, NUMBERS) and not isinstance(value, bool) for value in known)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f"{value:%Y-%m-%d %H:%M%z}"
    return str(value)


def open_screen(warehouse: Path) -> int:
    """Open it read-only until the user leaves, as it is now; Harlequin's exit status."""
    if not warehouse.is_file():
        raise NoDataError(
            "there is no warehouse yet", file=warehouse, remedy="Make a day's bids first: vpp-pipeline bids --date …"
        )
    return subprocess.run([*_harlequin(), "--read-only", str(warehouse)], check=False).returncode


def _harlequin() -> list[str]:
    """How it is started: from this environment, or from the one that `make screen` makes."""
    if find_spec("harlequin"):
        return [sys.executable, "-m", "harlequin"]
    for name in ("bin/harlequin", "Scripts/harlequin.exe"):
        if (own := project_folder() / ".venv-screen" / name).is_file():
            return [str(own)]
    raise InputError(
        "the SQL screen, Harlequin, is not installed",
        remedy="`make screen` installs it beside and opens it; or pip install harlequin; or ask by vpp-pipeline sql",
    )
