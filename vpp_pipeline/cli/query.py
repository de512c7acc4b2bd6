"""Commands that only read what a day has left: reports, exports, runs, transcripts, statements."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpp_pipeline.cli.options import DATA, FILE, JSON, MARKET_DATE, Options, print_json, with_options
from vpp_pipeline.cli.sql import rows_of, show_rows
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder, safe_file_name

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

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
OASIS = "bids.oasis"
LATEST = click.option(
    "--date", "market_date", type=MARKET_DATE, metavar="DATE", help="Trade date. [default: the latest that there is]"
)
DEFAULTS = {"csv": OASIS, "parquet": "bids.final_bids"}  # what is exported where no table is named


@click.command()
@with_options(LATEST, DATA, JSON)
@click.option(
    "--compare", type=int, nargs=2, metavar="BEFORE AFTER", help="Two runs by number. [default: the last two]"
)
def runs(options: Options, market_date: date | None, compare: tuple[int, int] | None, as_json: bool) -> None:
    """List the day's runs, and what changed between two of them.

    \b
    vpp-pipeline runs --date 2023-08-15
    vpp-pipeline runs --date 2023-08-15 --compare 1 3
    """
    day = market_date or latest_day(options.warehouse)
    if as_json:
        print_json(runs_document(options.warehouse, day, compare))
        return
    from vpp_pipeline.core.display import terminal

    show_runs(options.warehouse, day, compare, terminal())


@click.command()
@with_options(LATEST, DATA)
@click.option("--out", type=FILE, help="File. [default: DATA/reports/DATE.html]")
def report(options: Options, market_date: date | None, out: Path | None) -> None:
    """Write the day's report, one HTML file."""
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.page import write_report

    day = market_date or latest_day(options.warehouse)
    shown_day(options.data, day)
    click.echo(f"report: {write_report(options.data, day, out)}")


@click.command()
@with_options(LATEST, DATA)
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
@click.option("--raw", is_flag=True, help="Of CSV: text as it is, also what a spreadsheet would calculate.")
def export(
    options: Options, market_date: date | None, kind: str, table: str | None, out: Path | None, raw: bool
) -> None:
    """Export the day's bids or any table: CSV, JSON, Parquet.

    \b
    vpp-pipeline export --date 2023-08-15 --format csv
    vpp-pipeline export --date 2023-08-15 --format parquet --table explain.earnings --out earnings.parquet

    In CSV a text that begins with =, +, -, @, a tab or a line break gets a ' before it, since a spreadsheet would
    calculate it; numbers stay as they are. For a program: --raw, or another format.
    """
    from vpp_pipeline.reporting.documents import export_table

    table, exports, day = table or DEFAULTS.get(kind), options.data / "exports", market_date
    day = day or latest_day(options.warehouse)
    if table is None:
        _write_documents(options, day, out or exports / day.isoformat())
        return
    file = out or exports / f"{table.replace('.', '_')}_{day}.{kind}"
    count = export_table(options.warehouse, day, table, kind, file, is_raw=raw)
    click.echo(f"{count} rows of {table} in {file}")


@click.command()
@with_options(LATEST, DATA)
@click.option("--out", type=FILE, help="Folder. [default: DATA/documents/DATE]")
def documents(options: Options, market_date: date | None, out: Path | None) -> None:
    """Write the day's results, a JSON document per opportunity."""
    day = market_date or latest_day(options.warehouse)
    _write_documents(options, day, out or options.data / "documents" / day.isoformat())


def latest_day(warehouse: Path, opportunity: str | None = None) -> date:
    """The latest day whose bids are published, with the opportunity where one is named.

    Raises NoDataError where there is none.
    """
    from vpp_pipeline.warehouse.tables import open_warehouse

    asked = "select max(market_date) from bids.final_bids where coalesce(opportunity_id = $1, true)"
    with open_warehouse(warehouse) as connection:
        day: date | None = connection.execute(asked, [opportunity]).fetchall()[0][0]
    if day is None:
        what = f"no published day has an opportunity {opportunity}" if opportunity else "no bids are published"
        raise NoDataError(
            what, file=warehouse, remedy="vpp-pipeline sql lists what there is: select * from bids.final_bids"
        )
    return day


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
@with_options(LATEST, DATA)
@click.option("--opportunity", metavar="ID", required=True, help="E.g. energy_20230815_1200.")
@click.option("--prosumer", metavar="ID", help="One prosumer only, e.g. prosumer_020.")
def transcript(options: Options, market_date: date | None, opportunity: str, prosumer: str | None) -> None:
    """Print one negotiation message by message, as JSON lines.

    \b
    vpp-pipeline transcript --opportunity energy_20230815_1200 --prosumer prosumer_020
    """
    import polars as pl

    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.reporting.documents import transcript_of

    day = market_date or latest_day(options.warehouse, opportunity)
    messages = shown_day(options.data, day)["negotiation.messages"]
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
        click.echo(json.dumps(message.model_dump(mode="json"), separators=(",", ":")))


@click.command()
@with_options(LATEST, DATA)
@click.option("--prosumer", metavar="ID", help="One owner only, e.g. prosumer_020. [default: all who were paid]")
@click.option("--days", type=click.IntRange(min=1), default=1, metavar="N", help="Days up to the date. [default: 1]")
@click.option("--out", type=FILE, help="Folder for a file per owner. [default: printed]")
def statement(options: Options, market_date: date | None, prosumer: str | None, days: int, out: Path | None) -> None:
    """Write what owners were paid on settled days, and why.

    \b
    vpp-pipeline statement --date 2023-08-15 --prosumer prosumer_020
    vpp-pipeline statement --date 2023-08-31 --days 31 --out statements
    """
    import polars as pl

    from vpp_pipeline.reporting.documents import statement_of
    from vpp_pipeline.warehouse.tables import open_warehouse

    with open_warehouse(options.warehouse) as connection:
        settled = connection.execute("select max(market_date) from explain.statement").fetchall()[0][0]
        last = market_date or settled or latest_day(options.warehouse)
        first = last - timedelta(days=days - 1)
        wanted = "select * from explain.statement where market_date between $first and $last"
        rows = pl.DataFrame(rows_of(connection.execute(wanted, {"first": first, "last": last})))
    if rows.is_empty():
        rows = pl.DataFrame(schema={"prosumer_id": pl.String})
    owners = rows["prosumer_id"].unique().sort().to_list()
    if prosumer is not None and prosumer in owners:
        owners = [prosumer]
    elif prosumer is not None or not owners:
        raise InputError(
            "nothing was paid",
            value=f"{prosumer or 'any prosumer'}, {first} to {last}",
            remedy=f"Settle the day first: vpp-pipeline settle --date {last}",
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for owner in owners:
        text = statement_of(rows, owner)
        if out is None:
            click.echo(text)
        else:
            (out / f"{safe_file_name(owner)}.md").write_text(text, encoding="utf-8")
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

    out.parent.mkdir(parents=True, exist_ok=True)  # without a checkout there is no docs
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
        found: dict[str, Any] = {"runs_of_day": rows_of(connection.execute(listed, {"day": market_date}))}
        for view in ("runs_compared", "changes_between_runs"):
            query = f"select * from bids.{view} {two}"
            found[view] = rows_of(connection.execute(query, compared)) if compared else []
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
    console.print(f"causes: {why}", soft_wrap=True)
