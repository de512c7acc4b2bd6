"""A question in SQL, answered as a table in the terminal; the warehouse is never written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.warehouse.publish import open_warehouse

NUMBERS = (int, float)
FOLDS_AT = 12  # letters: a narrower column of text is not read


def show_sql(warehouse: Path, question: str, most: int, console: Console) -> None:
    """Print the answer to ``question``, at most so many rows (0: all). Bad SQL raises InputError in its own words."""
    with open_warehouse(warehouse) as connection:
        connection.execute(
            "set enable_external_access = false"
        )  # it reads the warehouse and no other file, and writes none
        try:
            found = connection.execute(question)
            count = show_rows(found, most, console)
        except duckdb.Error as error:
            words = " ".join(str(error).split())
            raise InputError(
                f"the question cannot be answered: {words}",
                remedy='Tables and columns: vpp-pipeline sql "select table_name, column_name from explain.catalogue"',
            ) from None
    more = f", {most} of them shown (--rows 0 shows all)" if 0 < most < count else ""
    console.print(f"{count} row{'' if count == 1 else 's'}{more}")


def show_rows(found: duckdb.DuckDBPyConnection, most: int, console: Console) -> int:
    """Print an answer, at most so many rows (0: all), and tell how many there are.

    Where the columns do not fit beside each other, each row is written below the last, a line for each column.
    """
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
    return str(value).replace("[", "\\[")
