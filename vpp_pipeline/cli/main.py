"""The command line: its commands in groups, exit statuses, and the commands that compute a day or compare days.

Each runs the same jobs as Dagster's UI, in this process and recorded in the same history. What is heavy is imported
where a command runs, so that help and completion stay fast.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from vpp_pipeline.cli.backtest import backtest
from vpp_pipeline.cli.input_data import ingest, make_data, make_fleet, make_meters
from vpp_pipeline.cli.options import (
    BACKEND,
    DATA,
    DATE,
    DESK,
    ENGINE,
    FILE,
    JSON,
    LLM_MODES,
    MARKET_DATE,
    NO_HISTORY,
    SOURCE,
    Options,
    llm_mode,
    print_json,
    setting,
    settings_command,
    with_options,
)
from vpp_pipeline.cli.progress import quiet, stages, verbose
from vpp_pipeline.cli.query import (
    LATEST,
    dictionary,
    documents,
    export,
    latest_day,
    report,
    runs,
    statement,
    transcript,
)
from vpp_pipeline.cli.sql import screen, sql
from vpp_pipeline.cli.upkeep import alerts, desk, dev, portfolios_command, rebuild, sweep
from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import InputError, SolveError, StoreError, ViolationError, of_the_disk
from vpp_pipeline.core.paths import keep_files_private
from vpp_pipeline.core.provenance import __version__

WARM_UP_DAY = date(2023, 8, 15)  # any day: kernels are compiled for types of numbers
NOT_PROVEN = 3  # of bids that are published with a wide MIP gap, or without any bid because none could be settled
INTERRUPTED, TERMINATED = 130, 143  # what a shell reports of a process that Ctrl-C, or SIGTERM, ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a rule was broken or nothing could be solved, 2 the input is wrong, 3 the
    bids are published and may be far from the best."""
    with _stopped_by_signals() as was_sigterm:
        try:
            return int(commands.main(arguments, prog_name="vpp-pipeline", standalone_mode=False) or 0)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort:
            by, status = ("stopped by SIGTERM", TERMINATED) if was_sigterm() else ("interrupted", INTERRUPTED)
            click.echo(f"{by}; what was finished before is kept", err=True)
            return status


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM ends a command as Ctrl-C does; a function that says whether it was SIGTERM."""
    if threading.current_thread() is not threading.main_thread():  # where no signal can be taken
        yield lambda: False
        return
    # signals are read from here as well: while a job runs, both have a handler of Dagster's
    numbers, written = os.pipe()
    for end in (numbers, written):
        os.set_blocking(end, False)
    other, before = signal.set_wakeup_fd(written), signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))

    def was_sigterm() -> bool:
        with suppress(BlockingIOError):
            return signal.SIGTERM in os.read(numbers, 4096)
        return False

    try:
        yield was_sigterm
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(other)
        os.close(numbers)
        os.close(written)


class CommandGroups(click.Group):
    """All commands, under the headings that the help shows."""

    def __init__(self, headings: Mapping[str, Sequence[click.Command]], **attributes: Any) -> None:
        self.headings = headings
        found = [command for group in headings.values() for command in group]
        for command in found:
            command.params += [verbose(), quiet()]
        super().__init__(commands={str(command.name): command for command in found}, **attributes)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each heading with its commands and what they do, all in one column."""
        width = max(map(len, self.commands))
        for heading, group in self.headings.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{one.name:{width}}", one.get_short_help_str(limit=200)) for one in group])

    def invoke(self, ctx: click.Context) -> Any:
        """The command; errors of the input, of rules and of solvers end with one paragraph and a status."""
        try:
            keep_files_private()
            super().invoke(ctx)
        except BrokenPipeError:  # who reads our output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (InputError, StoreError) as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)
        except (ViolationError, SolveError) as error:
            click.echo(f"error: {printable(str(error))}", err=True)
            ctx.exit(1)
        except Exception as error:
            if (said := of_the_disk(error)) is None:
                raise
            click.echo(f"error: {said}", err=True)
            ctx.exit(2)


@click.command()
@with_options(
    click.option("--date", "market_date", type=MARKET_DATE, help="Trade date. [default: tomorrow's]"),
    DATA,
    *SOURCE,
    *DESK,
    ENGINE,
    BACKEND,
    llm_mode("off", *LLM_MODES, words="Whether engine llm asks a model:"),
    NO_HISTORY,
    JSON,
)
def bids(options: Options, market_date: date | None, keeps_history: bool, as_json: bool) -> None:
    """Make, check and publish the bids of one day.

    \b
    vpp-pipeline bids --date 2023-08-15
    vpp-pipeline bids --date 2024-07-11 --prices PATH --node TH_SP15_GEN-APND
    vpp-pipeline bids --date 2023-08-15 --fleet my_fleet.csv --set negotiation.rounds=5
    vpp-pipeline bids --date 2023-08-15 --prosumers 100000 --backend ray
    vpp-pipeline bids --date 2023-08-15 --json | jq '.final_bids[] | select(.status == "bid")'
    """
    begun = time.perf_counter()
    from vpp_pipeline.cli.console import bids_document, inputs_in_words, is_proven, show_bids
    from vpp_pipeline.cli.run_job import run_job
    from vpp_pipeline.core.calendar import PACIFIC
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.warehouse.day import published_day

    day = market_date or datetime.now(PACIFIC).date() + timedelta(days=1)
    prices, settings = options.price_config(), options.settings_config()
    inputs = options.inputs(day, options.settings())
    run_id, seconds = run_job("bid_day", day, options.data, prices, settings, keeps_history=keeps_history)
    seconds["in all"] = time.perf_counter() - begun
    made = published_day(lake_of(options.data), day, run_id)
    read = inputs_in_words(inputs, made)
    if as_json:
        print_json(bids_document(options.data, made, seconds, read))
    else:
        show_bids(options.data, made, seconds, read)
    if not is_proven(made):
        click.get_current_context().exit(NOT_PROVEN)


@click.command("warm-up")
def warm_up() -> None:
    """Compile what large fleets need, once per machine.

    A first day of more than 500 prosumers would otherwise begin with it: some half a minute. `make setup` does it.
    """
    from vpp_pipeline.dispatch.column_generation.pricing import load_kernels
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.pipeline import prepare_problem
    from vpp_pipeline.settings import FleetSettings, Settings

    settings = Settings(fleet=FleetSettings(prosumers=3))
    inputs = DayInputs(WARM_UP_DAY, settings, None, None, None)
    seconds = load_kernels(prepare_problem(inputs.tables(), settings)[1])
    click.echo(f"kernels ready, in {seconds:.1f} s of CPU time")


@click.command()
@with_options(DATE, DATA, *SOURCE, NO_HISTORY, JSON)
def settle(options: Options, market_date: date, keeps_history: bool, as_json: bool) -> None:
    """Settle the day's bids at the clearing prices.

    \b
    vpp-pipeline settle --date 2023-08-15
    """
    from vpp_pipeline.cli.console import settlement_document, show_settlement
    from vpp_pipeline.cli.run_job import run_job

    run_job("settle_day", market_date, options.data, options.price_config(), {}, keeps_history=keeps_history)
    if as_json:
        print_json(settlement_document(options.data, market_date))
    else:
        show_settlement(options.data, market_date)


@click.command("compare-engines")
@with_options(DATE, DATA, *SOURCE, *DESK, JSON)
def compare_engines(options: Options, market_date: date, as_json: bool) -> None:
    """Compare the negotiation engines on one day; writes nothing.

    \b
    vpp-pipeline compare-engines --date 2023-08-15
    """
    from vpp_pipeline.evaluation import compare

    with stages() as begin:
        begin("a day by each engine")
        rows = compare.compare_engines(options.inputs(market_date, options.settings()))
    if as_json:
        print_json({"market_date": market_date, "engines": rows})
    else:
        compare.show_comparison(market_date, rows)


@click.command()
@with_options(DATE, DATA, *SOURCE, *DESK, JSON)
@click.option("--points", type=click.IntRange(2, 100), default=5, metavar="N", help="Points of a curve. [default: 5]")
@click.option("--output", type=FILE, help="SVG file of the picture. [default: DATA/frontier_DATE.svg]")
def frontier(options: Options, market_date: date, points: int, output: Path | None, as_json: bool) -> None:
    """Weigh the day's profit against risk and satisfaction.

    Of bids hour by hour, which alone can be solved for scenarios.

    \b
    vpp-pipeline frontier --date 2023-08-15 --output frontier.svg
    """
    from vpp_pipeline.evaluation import frontier as frontiers

    day = options.inputs(market_date, frontiers.for_frontier(options.settings()))
    with stages() as begin:
        begin("prices and fleet")
        inputs = day.tables()
        begin(f"{points} points of risk")
        risk = frontiers.risk_frontier(inputs, day.settings, points)
        begin(f"{points} points of satisfaction")
        satisfaction = frontiers.satisfaction_frontier(inputs, day.settings, points)
    file = output or options.data / f"frontier_{market_date}.svg"
    frontiers.write_picture(file, day, risk, satisfaction)
    if as_json:
        print_json({"market_date": market_date, "risk": risk, "satisfaction": satisfaction, "picture": file})
    else:
        frontiers.show_frontier(day, risk, satisfaction)
        click.echo(f"picture: {file}")


@click.command()
@with_options(
    LATEST,
    DATA,
    llm_mode("off", *LLM_MODES, words="Whether a model writes it:"),
    setting("llm.NAME=VALUE", "llm.model=…"),
)
@click.option("--out", type=FILE, help="File. [default: DATA/briefs/DATE.md]")
def brief(options: Options, market_date: date | None, out: Path | None) -> None:
    """Write a short note on why the day's bids are what they are.

    By rule from the day's tables; with --llm-mode live by a language model, whose numbers are checked.
    """
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.llm.brief import write_brief

    llm = options.settings().llm
    day = market_date or latest_day(options.warehouse)
    click.echo(write_brief(llm, options.data, shown_day(options.data, day), out))


@click.command("compare-notes")
@with_options(DATE, DATA, *DESK, llm_mode(*LLM_MODES, words="How the model is asked:", required=True), JSON)
def compare_notes(options: Options, market_date: date, as_json: bool) -> None:
    """Compare what rules and model read in notes; writes nothing.

    It needs --set model_use.paid_tier_confirmed=true, since it sends the notes to the provider (docs/llm.md).
    """
    from vpp_pipeline.evaluation import compare

    with stages() as begin:
        begin("notes by rules and by the model")
        comparison = compare.compare_notes(options.settings(), options.data, market_date)
    if as_json:
        print_json({"market_date": market_date, **comparison._asdict()})
    else:
        compare.show_notes(comparison)


@click.command("llm-check")
@with_options(
    DATA,
    llm_mode(*LLM_MODES, words="How it is asked:"),
    setting("llm.NAME=VALUE", "llm.model=…"),
)
def llm_check(options: Options) -> None:
    """Ask the language model one question, as a test.

    \b
    GEMINI_API_KEY=… vpp-pipeline llm-check --llm-mode live

    It prints which model answered, how long that took, and what it cost.
    """
    from vpp_pipeline.llm.providers import check

    click.echo(check(options.settings().llm, options.data))


HELP = """Day-ahead CAISO bids of a virtual power plant: from market prices and home batteries to checked bids.

\b
vpp-pipeline bids --date 2023-08-15         a first day, on embedded synthetic prices
vpp-pipeline COMMAND --help                 options and examples of a command
"""
EPILOG = (
    "Exit status: 0 done, 1 a rule was broken or nothing could be solved, 2 the input is wrong, 3 the bids are "
    "published and may be far from the best (a warning says why)."
)

commands = CommandGroups(
    {
        "Bids and settings": (bids, runs, settings_command, warm_up),
        "Market data and examples": (ingest, make_data, make_fleet, make_meters),
        "Results and reports": (settle, report, export, documents, transcript, statement),
        "Back-test and comparison": (backtest, compare_engines, frontier),
        "Warehouse (SQL)": (sql, screen, dictionary),
        "Desk, Dagster, and upkeep": (desk, dev, portfolios_command, alerts, rebuild, sweep),
        "Language model": (llm_check, brief, compare_notes),
    },
    name="vpp-pipeline",
    help=HELP,
    epilog=EPILOG,
    subcommand_metavar="COMMAND [OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=[verbose(), quiet()],
)
click.version_option(__version__, prog_name="vpp-pipeline")(commands)
