"""Commands that only read what a day has left: reports, exports, questions, transcripts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder


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
    from vpp_pipeline.reporting.terminal import terminal
    from vpp_pipeline.sql_table import show_sql

    question = sys.stdin.read() if options.question == "-" else options.question
    show_sql(options.data / "vpp.duckdb", question, max(options.rows, 0), terminal())
    return 0


def _screen(options: argparse.Namespace) -> int:
    from vpp_pipeline.screen import open_screen

    return open_screen(options.data / "vpp.duckdb")


def _runs(options: argparse.Namespace) -> int:
    from vpp_pipeline.reporting.terminal import terminal
    from vpp_pipeline.run_history import show_runs

    pair = tuple(options.compare) if options.compare else None
    show_runs(options.data / "vpp.duckdb", options.date, pair, terminal())
    return 0


def _report(options: argparse.Namespace) -> int:
    from vpp_pipeline.console import shown_day
    from vpp_pipeline.reporting.page import write_report

    with shown_day(options.data, options.date):
        print(f"report: {write_report(options.data, options.date, options.out)}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from vpp_pipeline.warehouse.export import DEFAULTS, export_table

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
    from vpp_pipeline.console import shown_day
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

    from vpp_pipeline.console import shown_day
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
