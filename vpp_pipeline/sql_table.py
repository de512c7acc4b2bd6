"""A question in SQL, answered as a table in the terminal; the warehouse is never written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.errors import InputError
from vpp_pipeline.warehouse.publish import open_warehouse

NUMBERS = (int, float)


def show_sql(warehouse: Path, question: str, most: int, console: Console) -> None:
    """Print the answer to ``question``, at most so many rows (0: all). Bad SQL raises InputError in its own words."""
    with open_warehouse(warehouse) as connection:
        connection.execute(
            "set enable_external_access = false"
        )  # it reads the warehouse and no other file, and writes none
        try:
            found = connection.execute(question)
            names = [column[0] for column in found.description or ()]
            rows = found.fetchall()
        except duckdb.Error as error:
            words = " ".join(str(error).split())
            raise InputError(
                f"the question cannot be answered: {words}",
                remedy='Tables and columns: vpp-pipeline sql "select table_name, column_name from explain.catalogue"',
            ) from None
    shown = rows if most == 0 else rows[:most]
    table = Table(box=SIMPLE, title_justify="left")
    for place, name in enumerate(names):
        values = [row[place] for row in shown if row[place] is not None]
        is_number = bool(values) and all(isinstance(value, NUMBERS) and not isinstance(value, bool) for value in values)
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in shown:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)
    more = "" if len(shown) == len(rows) else f", {len(shown)} of them shown (--rows 0 shows all)"
    console.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}{more}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f"{value:%Y-%m-%d %H:%M%z}"
    return str(value).replace("[", "\\[")
