"""Commands that only read what a day has left: reports, exports, questions, transcripts."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import suppress
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.warehouse.published import no_bids
from vpp_pipeline.warehouse.tables import open_warehouse, quoted

RUNS = """
    select run_number as run, published_pacific, started_by, engine, bids, round(energy_mwh, 2) as energy_mwh,
           round(spin_mw_h + nonspin_mw_h, 2) as reserve_mw_h, round(expected_profit_usd, 2) as profit_usd,
           round(seconds, 1) as seconds, translate(settings, '{}"', '') as settings
    from bids.runs_of_day where market_date = $day order by run_number
"""
COMPARED = """
    select bids_changed, moved_mw, change_profit_usd, why from bids.runs_compared
    where market_date = $day and number_before = $before and run_number = $after
"""
CHANGES = """
    select opportunity_id, mw_before, mw_now, price_before, price_now, round(change_profit_usd, 2) as profit_more_usd,
           what
    from bids.changes_between_runs
    where market_date = $day and number_before = $before and run_number = $after order by product, start_utc
"""
NUMBERS = (int, float)
FOLDS_AT = 12  # letters: a narrower column of text is not read
FORMATS = {"csv": "format csv, header", "json": "format json, array", "parquet": "format parquet, compression zstd"}
OASIS = "bids.oasis"
DEFAULTS = {"csv": OASIS, "parquet": "bids.final_bids"}  # what is exported where no table is named


def add_read_commands(commands: Any, folder: argparse.ArgumentParser, day: argparse.ArgumentParser) -> None:
    """Add them to the parser's ``commands``; ``folder`` has the option --data, ``day`` --date as well."""
    sql = commands.add_parser("sql", parents=[folder], help="ask the warehouse a question in SQL; nothing is written")
    sql.add_argument("question", help='e.g. "select why from explain.bid"; - reads it from the standard input')
    sql.add_argument("--rows", type=int, default=100, metavar="N", help="most rows shown (default: 100; 0: all)")
    sql.set_defaults(run=_sql)
    screen = commands.add_parser(
        "screen", parents=[folder], help="the warehouse in an SQL screen (Harlequin), read only"
    )
    screen.set_defaults(run=_screen)
    runs = commands.add_parser(
        "runs", parents=[day], help="the day's runs, and what the last one bids otherwise and why"
    )
    runs.add_argument(
        "--compare", type=int, nargs=2, metavar=("BEFORE", "AFTER"), help="two runs by number (default: the last two)"
    )
    runs.set_defaults(run=_runs)
    report = commands.add_parser("report", parents=[day], help="the day as one HTML file")
    report.add_argument("--out", type=Path, help="file (default: DATA/reports/DATE.html)")
    report.set_defaults(run=_report)
    export = commands.add_parser("export", parents=[day], help="the day's bids, or any table, as CSV, JSON or Parquet")
    export.add_argument("--format", choices=("csv", "json", "parquet"), required=True)
    export.add_argument(
        "--table", help="table or view (default: csv bids.oasis, json a document per bid, parquet bids.final_bids)"
    )
    export.add_argument("--out", type=Path, help="file, or folder of the documents (default: in DATA/exports)")
    export.set_defaults(run=_export)
    documents = commands.add_parser("documents", parents=[day], help="write the day's results as JSON documents")
    documents.add_argument("--out", type=Path, help="folder (default: data/documents/DATE)")
    documents.set_defaults(run=_documents)
    transcript = commands.add_parser("transcript", parents=[day], help="one negotiation word by word, as JSON lines")
    transcript.add_argument("--opportunity", required=True, help="e.g. energy_20230815_1200")
    transcript.add_argument("--prosumer", help="one prosumer only, e.g. prosumer_020")
    transcript.set_defaults(run=_transcript)
    dictionary = commands.add_parser("dictionary", help="write the data dictionary of the warehouse again")
    dictionary.add_argument("--out", type=Path, default=project_folder() / "docs" / "data_dictionary.md")
    dictionary.set_defaults(run=_dictionary)


def _sql(options: argparse.Namespace) -> int:
    from vpp_pipeline.core.display import terminal

    question = sys.stdin.read() if options.question == "-" else options.question
    show_sql(options.data / "vpp.duckdb", question, max(options.rows, 0), terminal())
    return 0


def _screen(options: argparse.Namespace) -> int:

    return open_screen(options.data / "vpp.duckdb")


def _runs(options: argparse.Namespace) -> int:
    from vpp_pipeline.core.display import terminal

    pair = tuple(options.compare) if options.compare else None
    show_runs(options.data / "vpp.duckdb", options.date, pair, terminal())
    return 0


def _report(options: argparse.Namespace) -> int:
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.page import write_report

    with shown_day(options.data, options.date):
        print(f"report: {write_report(options.data, options.date, options.out)}")
    return 0


def _export(options: argparse.Namespace) -> int:

    table, exports = options.table or DEFAULTS.get(options.format), options.data / "exports"
    if table is None:
        return _write_documents(options, options.out or exports / options.date.isoformat())
    file = options.out or exports / f"{table.replace('.', '_')}_{options.date}.{options.format}"
    count = export_table(options.data / "vpp.duckdb", options.date, table, options.format, file)
    print(f"{count} rows of {table} in {file}")
    return 0


def _documents(options: argparse.Namespace) -> int:
    return _write_documents(options, options.out or options.data / "documents" / options.date.isoformat())


def _write_documents(options: argparse.Namespace, folder: Path) -> int:
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.documents import write_documents

    try:
        with shown_day(options.data, options.date) as day:
            count = write_documents(day, folder)
    except OSError as error:
        raise InputError(
            f"the documents cannot be written: {error.strerror}", file=folder, remedy="Name another with --out"
        ) from None
    print(f"{count} documents in {folder}")
    return 0


def _transcript(options: argparse.Namespace) -> int:
    import polars as pl

    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.documents import transcript_of

    with shown_day(options.data, options.date) as day:
        spoken = day["negotiation.messages"]
    wanted = spoken.filter(pl.col("opportunity_id") == options.opportunity)
    if options.prosumer is not None:
        wanted = wanted.filter(pl.col("prosumer_id") == options.prosumer)
    if wanted.is_empty():
        raise InputError(
            "nobody spoke",
            value=f"{options.opportunity}, {options.prosumer or 'any prosumer'}",
            remedy="Take names from negotiation.agreements, which tells why; who has no capacity stays silent, and a "
            "fleet above negotiation.transcript_prosumers keeps the words of a sample",
        )
    for message in transcript_of(wanted):
        print(message.model_dump_json())
    return 0


def _dictionary(options: argparse.Namespace) -> int:
    from vpp_pipeline.warehouse.tables import data_dictionary

    options.out.write_text(data_dictionary(), encoding="utf-8")
    print(f"wrote {options.out}")
    return 0


def show_runs(warehouse: Path, market_date: date, pair: tuple[int, int] | None, console: Console) -> None:
    """Print the day's runs that published, and what the last (or the second of ``pair``) bids otherwise."""
    with open_warehouse(warehouse) as connection:
        (count,) = connection.execute(
            "select count(*) from bids.runs where market_date = $1", [market_date]
        ).fetchall()[0]
        if count == 0:
            raise NoDataError(
                f"no run of {market_date} is kept",
                file=warehouse,
                remedy=f"Make the day's bids: vpp-pipeline bids --date {market_date}",
            )
        show_rows(connection.execute(RUNS, {"day": market_date}), 0, console)
        before, after = pair or (count - 1, count)
        if pair is not None and not 1 <= before < after <= count:
            raise InputError(
                "no two runs to compare",
                value=f"{before} {after}",
                remedy=f"Two of 1 to {count}, the earlier one first",
            )
        if before == 0:
            console.print("one run: nothing to compare")
            return
        _show_changes(connection, {"day": market_date, "before": before, "after": after}, console)


def _show_changes(connection: duckdb.DuckDBPyConnection, pair: dict[str, object], console: Console) -> None:
    changed, moved_mw, profit_usd, why = connection.execute(COMPARED, pair).fetchall()[0]
    if changed:
        show_rows(connection.execute(CHANGES, pair), 0, console)
    words = f"run {pair['after']} against run {pair['before']}: {changed} bids changed, {moved_mw:.2f} MW moved, "
    console.print(f"{words}expected profit {profit_usd:+.2f} $", soft_wrap=True)
    console.print(f"what was not the same: {why}", soft_wrap=True, markup=False)


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
