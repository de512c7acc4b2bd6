"""Commands that only read what a day has left: reports, exports, questions, runs, transcripts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpp_pipeline.cli.options import DATA, DATE, FILE, JSON, Options, print_json, with_options
from vpp_pipeline.core.errors import InputError, NoDataError, did_you_mean
from vpp_pipeline.core.paths import project_folder

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

LOG = logging.getLogger(__name__)
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


@click.command()
@with_options(DATE, DATA, JSON)
@click.option(
    "--compare", type=int, nargs=2, metavar="BEFORE AFTER", help="Two runs by number. [default: the last two]"
)
def runs(options: Options, market_date: date, compare: tuple[int, int] | None, as_json: bool) -> None:
    """List the day's runs, and what changed between two of them.

    \b
    vpp-pipeline runs --date 2023-08-15
    vpp-pipeline runs --date 2023-08-15 --compare 1 3
    """
    if as_json:
        print_json(runs_document(options.warehouse, market_date, compare))
        return
    from vpp_pipeline.core.display import terminal

    show_runs(options.warehouse, market_date, compare, terminal())


@click.command()
@with_options(DATE, DATA)
@click.option("--out", type=FILE, help="File. [default: DATA/reports/DATE.html]")
def report(options: Options, market_date: date, out: Path | None) -> None:
    """Write the day's report, one HTML file."""
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.page import write_report

    shown_day(options.data, market_date)
    click.echo(f"report: {write_report(options.data, market_date, out)}")


@click.command()
@with_options(DATE, DATA)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "json", "parquet"]),
    required=True,
    metavar="KIND",
    help="csv, json or parquet.",
)
@click.option(
    "--table",
    metavar="NAME",
    help="Table or view. [default: csv bids.oasis, json a document per bid, parquet bids.final_bids]",
)
@click.option("--out", type=FILE, help="File, or folder of the documents. [default: in DATA/exports]")
def export(options: Options, market_date: date, kind: str, table: str | None, out: Path | None) -> None:
    """Export the day's bids or any table: CSV, JSON, Parquet.

    \b
    vpp-pipeline export --date 2023-08-15 --format csv
    vpp-pipeline export --date 2023-08-15 --format parquet --table explain.earnings --out earnings.parquet
    """
    table, exports = table or DEFAULTS.get(kind), options.data / "exports"
    if table is None:
        _write_documents(options, market_date, out or exports / market_date.isoformat())
        return
    file = out or exports / f"{table.replace('.', '_')}_{market_date}.{kind}"
    count = export_table(options.warehouse, market_date, table, kind, file)
    click.echo(f"{count} rows of {table} in {file}")


@click.command()
@with_options(DATE, DATA)
@click.option("--out", type=FILE, help="Folder. [default: DATA/documents/DATE]")
def documents(options: Options, market_date: date, out: Path | None) -> None:
    """Write the day's results, a JSON document per opportunity."""
    _write_documents(options, market_date, out or options.data / "documents" / market_date.isoformat())


def _write_documents(options: Options, market_date: date, folder: Path) -> None:
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.documents import write_documents

    try:
        count = write_documents(shown_day(options.data, market_date), folder)
    except OSError as error:
        raise InputError(
            f"the documents cannot be written: {error.strerror}", file=folder, remedy="Name another with --out"
        ) from None
    click.echo(f"{count} documents in {folder}")


@click.command()
@with_options(DATE, DATA)
@click.option("--opportunity", metavar="ID", required=True, help="E.g. energy_20230815_1200.")
@click.option("--prosumer", metavar="ID", help="One prosumer only, e.g. prosumer_020.")
def transcript(options: Options, market_date: date, opportunity: str, prosumer: str | None) -> None:
    """Print one negotiation message by message, as JSON lines.

    \b
    vpp-pipeline transcript --date 2023-08-15 --opportunity energy_20230815_1200 --prosumer prosumer_020
    """
    import polars as pl

    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.documents import transcript_of

    messages = shown_day(options.data, market_date)["negotiation.messages"]
    wanted = messages.filter(pl.col("opportunity_id") == opportunity)
    if prosumer is not None:
        wanted = wanted.filter(pl.col("prosumer_id") == prosumer)
    if wanted.is_empty():
        raise InputError(
            "no messages",
            value=f"{opportunity}, {prosumer or 'any prosumer'}",
            remedy="Take names from negotiation.agreements, which gives the reason; a prosumer without capacity sends "
            "none, and a fleet above negotiation.transcript_prosumers keeps those of a sample",
        )
    for message in transcript_of(wanted):
        click.echo(message.model_dump_json())


@click.command()
@with_options(DATE, DATA)
@click.option("--prosumer", metavar="ID", help="One owner only, e.g. prosumer_020. [default: all who were paid]")
@click.option("--days", type=click.IntRange(min=1), default=1, metavar="N", help="Days up to the date. [default: 1]")
@click.option("--out", type=FILE, help="Folder for a file per owner. [default: printed]")
def statement(options: Options, market_date: date, prosumer: str | None, days: int, out: Path | None) -> None:
    """Write what owners were paid on settled days, and why.

    \b
    vpp-pipeline statement --date 2023-08-15 --prosumer prosumer_020
    vpp-pipeline statement --date 2023-08-31 --days 31 --out statements
    """
    import polars as pl

    from vpp_pipeline.reporting.documents import statement_of
    from vpp_pipeline.warehouse.tables import open_warehouse

    first = market_date - timedelta(days=days - 1)
    with open_warehouse(options.warehouse) as connection:
        wanted = "select * from explain.statement where market_date between $first and $last"
        rows = pl.DataFrame(_rows(connection.execute(wanted, {"first": first, "last": market_date})))
    if rows.is_empty():
        rows = pl.DataFrame(schema={"prosumer_id": pl.String})
    owners = rows["prosumer_id"].unique().sort().to_list()
    if prosumer is not None and prosumer in owners:
        owners = [prosumer]
    elif prosumer is not None or not owners:
        raise InputError(
            "nothing was paid",
            value=f"{prosumer or 'any prosumer'}, {first} to {market_date}",
            remedy=f"Settle the day first: vpp-pipeline settle --date {market_date}",
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for owner in owners:
        text = statement_of(rows, owner)
        if out is None:
            click.echo(text)
        else:
            (out / f"{owner}.md").write_text(text, encoding="utf-8")
    if out is not None:
        click.echo(f"{len(owners)} statements in {out}")


@click.command()
@click.option(
    "--out",
    type=FILE,
    default=lambda: project_folder() / "docs" / "data_dictionary.md",
    help="File. [default: docs/data_dictionary.md]",
)
def dictionary(out: Path) -> None:
    """Write the data dictionary of the warehouse."""
    from vpp_pipeline.warehouse.tables import data_dictionary

    out.write_text(data_dictionary(), encoding="utf-8")
    click.echo(f"wrote {out}")


def _compared(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, market_date: date, pair: tuple[int, int] | None
) -> dict[str, object] | None:
    """Day and numbers of the two runs to compare; None where the day has one run alone."""
    counted = connection.execute("select count(*) from bids.runs where market_date = $1", [market_date])
    ((count,),) = counted.fetchall()
    if count == 0:
        raise NoDataError(
            f"no run of {market_date} is kept",
            file=warehouse,
            remedy=f"Make the day's bids: vpp-pipeline bids --date {market_date}",
        )
    before, after = pair or (count - 1, count)
    if pair is not None and not 1 <= before < after <= count:
        raise InputError(
            "no two runs to compare",
            value=f"{before} {after}",
            remedy=f"Two of 1 to {count}, the earlier one first",
        )
    return {"day": market_date, "before": before, "after": after} if before else None


def runs_document(warehouse: Path, market_date: date, pair: tuple[int, int] | None) -> dict[str, Any]:
    """Rows of the views that :func:`show_runs` prints, by view."""
    from vpp_pipeline.warehouse.tables import open_warehouse

    two = "where market_date = $day and number_before = $before and run_number = $after"
    with open_warehouse(warehouse) as connection:
        compared = _compared(connection, warehouse, market_date, pair)
        listed = "select * from bids.runs_of_day where market_date = $day order by run_number"
        found: dict[str, Any] = {"runs_of_day": _rows(connection.execute(listed, {"day": market_date}))}
        for view in ("runs_compared", "changes_between_runs"):
            query = f"select * from bids.{view} {two}"
            found[view] = _rows(connection.execute(query, compared)) if compared else []
    return found


def show_runs(warehouse: Path, market_date: date, pair: tuple[int, int] | None, console: Console) -> None:
    """Print the day's runs that published, and what changed between the last two (or ``pair``)."""
    from vpp_pipeline.core.display import usd
    from vpp_pipeline.warehouse.tables import open_warehouse

    with open_warehouse(warehouse) as connection:
        compared = _compared(connection, warehouse, market_date, pair)
        show_rows(connection.execute(RUNS, {"day": market_date}), 0, console)
        if compared is None:
            console.print("one run: nothing to compare")
            return
        changed, moved_mw, profit_usd, why = connection.execute(COMPARED, compared).fetchall()[0]
        if changed:
            show_rows(connection.execute(CHANGES, compared), 0, console)
    words = f"run {compared['after']} against run {compared['before']}: {changed} bids changed, {moved_mw:.2f} MW moved"
    sign = "+" if profit_usd > 0 else ""
    console.print(f"{words}, expected profit {sign}{usd(profit_usd)}", soft_wrap=True)
    console.print(f"causes: {why}", soft_wrap=True, markup=False)


@contextmanager
def _asked(warehouse: Path, question: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The answer to ``question``. Raises InputError with DuckDB's own text for a question that fails."""
    import duckdb

    from vpp_pipeline.warehouse.tables import open_warehouse

    with open_warehouse(warehouse) as connection:
        # a question reads the warehouse and no other file, and writes none
        connection.execute("set enable_external_access = false")
        try:
            yield connection.execute(question)
        except duckdb.Error as error:
            raise InputError(
                f"the question cannot be answered: {' '.join(str(error).split())}",
                remedy='Tables and columns: vpp-pipeline sql "select table_name, column_name from explain.catalogue"',
            ) from None


def answer(warehouse: Path, question: str, most: int) -> list[dict[str, Any]]:
    """Rows of the answer to ``question``, at most so many (0: all)."""
    with _asked(warehouse, question) as found:
        rows = _rows(found)
    if 0 < most < len(rows):
        LOG.warning("%d rows, %d of them printed (--rows 0 prints all)", len(rows), most)
    return rows[:most] if most else rows


def _rows(found: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
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
    import duckdb

    from vpp_pipeline.warehouse.day import no_bids
    from vpp_pipeline.warehouse.tables import open_warehouse, quoted

    with open_warehouse(warehouse) as connection:
        known = connection.execute(
            """
            select schema_name || '.' || table_name, count(*) filter (column_name = 'market_date') > 0
            from duckdb_columns() where database_name = 'vpp' and not internal group by all
            """
        ).fetchall()
        has_day = dict(known)
        if table not in has_day:
            close = did_you_mean(table, has_day)
            raise InputError(
                f"no such table or view in the warehouse{close}",
                value=None if close else table,
                remedy=f"It has {', '.join(sorted(has_day))}",
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
