"""Commands that serve the desk and Dagster's pages, and keep lake, warehouse, and run history in order."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from vpp_pipeline.cli.options import (
    DATA,
    DATA_FOLDER,
    FILE,
    JSON,
    MARKET_DATE,
    NO_HISTORY,
    Options,
    print_json,
    with_options,
)
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import DESK_NOTE
from vpp_pipeline.core.portfolios import LONGEST_NAME, add_portfolio, portfolio_folder, portfolios

DESK_PORT, DAGSTER_PORT = 3001, 3000
PORT = click.IntRange(1, 65535)


@click.command("portfolios")
@with_options(DATA_FOLDER, JSON)
@click.option("--add", "name", metavar="NAME", help="Make an empty portfolio of this name.")
def portfolios_command(options: Options, name: str | None, as_json: bool) -> None:
    """List the portfolios of a data folder, or add one.

    \b
    vpp-pipeline portfolios
    vpp-pipeline portfolios --add north
    vpp-pipeline bids --date 2023-08-15 --portfolio north

    Each has prices.toml, settings.toml, lake, and warehouse of its own in DATA/portfolios/NAME.
    """
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.settings import SETTINGS_FILE

    if name is not None:
        folder = add_portfolio(options.data, name)
        click.echo(
            f"{folder}: write prices.toml (docs/operations.md) and settings.toml (docs/how-to.md) there, and give "
            f"--portfolio {name} to commands"
        )
        return
    rows: list[dict[str, Any]] = []
    for one in portfolios(options.data):
        folder = portfolio_folder(options.data, one)
        days = lake_of(folder, one).days_of("bids.final_bids")
        files = [file for file in ("prices.toml", SETTINGS_FILE) if (folder / file).is_file()]
        rows.append({"portfolio": one, "days": len(days), "last_day": days[-1] if days else None, "files": files})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        told = f"{row['days']} days with bids, the last {row['last_day']}" if row["days"] else "no bids"
        click.echo(f"{row['portfolio']:{LONGEST_NAME}} {told}; {' and '.join(row['files']) or 'no files of its own'}")
    if not rows:
        click.echo("no portfolios; vpp-pipeline portfolios --add NAME makes one")


@click.command()
@with_options(DATA)
@click.option("--port", type=PORT, default=DESK_PORT, metavar="N", help=f"Port. [default: {DESK_PORT}]")
@click.option("--write", "folder", type=FILE, metavar="FOLDER", help="Write the pages as files instead.")
@click.option("--beside", type=int, hidden=True, help="Id of the parent process, with which it ends.")
def desk(options: Options, port: int, folder: Path | None, beside: int | None) -> None:
    """Serve days, periods, and owners as pages.

    \b
    vpp-pipeline desk                   http://127.0.0.1:3001, until Ctrl-C
    vpp-pipeline desk --write pages     files that need no server

    Pages are made from the warehouse as it is at that moment. Only this machine can reach them; they change nothing.
    """
    if folder is not None:
        from vpp_pipeline.reporting.site import Site

        _ = options.warehouse  # completes a publication that was stopped
        click.echo(f"{Site(options.data).write(folder)} files: {folder / 'index.html'}")
        return
    from vpp_pipeline.reporting.server import DeskServer, serve

    server = DeskServer(options.data, port, beside)
    if beside is None:
        click.echo(f"desk: {server.address}, until Ctrl-C")
    serve(server)


@click.command()
@with_options(DATA)
@click.option("--port", type=PORT, default=DAGSTER_PORT, metavar="N", help=f"Port. [default: {DAGSTER_PORT}]")
@click.option(
    "--desk-port",
    type=PORT,
    default=None,
    metavar="N",
    help="Port of the desk. [default: that after --port, or a free one]",
)
def dev(options: Options, port: int, desk_port: int | None) -> None:
    """Serve Dagster's pages and the desk here, and run schedules.

    \b
    vpp-pipeline dev          http://localhost:3000 and http://127.0.0.1:3001, until Ctrl-C

    It shows the runs of the command line on the same data folder. Only this machine can reach it: it has no login.
    """
    from vpp_pipeline.cli.run_job import prepare_home
    from vpp_pipeline.reporting.server import free_server

    if find_spec("dagster_webserver") is None:
        raise InputError("Dagster's pages are not installed", remedy="Install them: pip install dagster-webserver")
    with free_server(options.data, desk_port, port + 1) as tried:  # a port that is taken is told before Dagster starts
        address, desk_port = tried.address, tried.server_port
    home = prepare_home(options.data)
    # the folder above that of a portfolio, which VPP_PORTFOLIO names to the processes that are started here
    data = str((options.data.parent.parent if options.portfolio else options.data).resolve())
    here = {**os.environ, "DAGSTER_HOME": str(home), "VPP_DATA_FOLDER": data}
    here["VPP_DAGSTER_URL"] = os.environ.get("VPP_DAGSTER_URL") or f"http://127.0.0.1:{port}"  # for links in alerts
    (home / DESK_NOTE).write_text(address, encoding="utf-8")  # runs link to it, also those of the command line
    child = [sys.executable, "-m", "vpp_pipeline", "desk", "--port", str(desk_port), "--beside", str(os.getpid())]
    subprocess.Popen(child, env=here)
    click.echo(f"desk: {address}   Dagster: http://localhost:{port}")
    # `dg dev`, which Dagster would rather see, is another package that starts the same
    quiet = ["-W", "ignore:Function `dev_command` is superseded"]
    served = [sys.executable, *quiet, "-m", "dagster", "dev", "-m", "vpp_pipeline.definitions", "--host", "127.0.0.1"]
    sys.stdout.flush()
    # in this process's place, so that Ctrl-C reaches Dagster alone, which stops its own processes; the desk sees it end
    os.execve(sys.executable, [*served, "--port", str(port)], here)


@click.command()
@with_options(DATA)
@click.option(
    "--lake", "is_lake", is_flag=True, help="The other way round: damaged days of the lake, from the warehouse."
)
@click.option(
    "--date", "market_date", type=MARKET_DATE, metavar="DATE", help="With --lake: this day. [default: all damaged ones]"
)
def rebuild(options: Options, is_lake: bool, market_date: date | None) -> None:
    """Make the warehouse from the lake, or the other way round.

    \b
    vpp-pipeline rebuild
    vpp-pipeline rebuild --lake --date 2023-08-15

    Both hold every published day. With --lake, days that are damaged there are taken from the warehouse; so are days
    that an older version has published, which are in the warehouse alone.
    """
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.warehouse.rebuild import damaged_days, rebuild_warehouse, restore_days

    lake, warehouse = lake_of(options.data), options.data / "vpp.duckdb"
    if is_lake:
        days = [market_date] if market_date else damaged_days(lake, warehouse)
        for day, count in restore_days(lake, warehouse, days).items():
            click.echo(f"{day}: {count} rows in {lake.address}")
        if not days:
            click.echo(f"every day that {warehouse} has is whole in {lake.address}")
        return
    if market_date is not None:
        raise InputError("--date goes with --lake", value=market_date, remedy="The warehouse is made as a whole")
    rows, faults = rebuild_warehouse(lake, warehouse)
    click.echo(
        f"{sum(rows.values())} rows in {len([table for table, count in rows.items() if count])} tables: {warehouse}"
    )
    if faults:
        raise InputError(
            f"{len(faults)} files of the lake could not be read and are left out: {' '.join(faults)}",
            remedy="Do what each says, then rebuild again",
        )


@click.command()
@with_options(DATA, NO_HISTORY)
@click.option("--dry-run", "is_dry", is_flag=True, help="Remove nothing, and say what would be.")
def sweep(options: Options, keeps_history: bool, is_dry: bool) -> None:
    """Remove what is past its time.

    \b
    vpp-pipeline sweep --dry-run     what it would remove
    vpp-pipeline sweep

    Detail of old days, tables of runs that never published, and Dagster's run history; how long each is kept is said
    under [retention] in data/prices.toml. Bids, prices, and settlements stay for good. The job sweep_storage does the
    same every night.
    """
    from vpp_pipeline.cli.run_job import instance_of
    from vpp_pipeline.core.calendar import PACIFIC
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.defs.resources import Prices, prices_beside
    from vpp_pipeline.defs.upkeep import forget_runs
    from vpp_pipeline.warehouse.retention import sweep as sweep_data

    kept = Prices(**prices_beside(options.data)).retention()
    today, said = datetime.now(PACIFIC).date(), "a dry run, which removes nothing: " if is_dry else ""
    swept = sweep_data(lake_of(options.data), options.warehouse, kept, today, is_dry=is_dry)
    click.echo(f"{said}{swept}")
    with instance_of(options.data, keeps_history=keeps_history) as instance:
        count = forget_runs(instance, kept.history_days, is_dry=is_dry)
    click.echo(f"{count} runs removed from Dagster's history")


@click.command()
@click.option("--test", "is_test", is_flag=True, help="Send a message by each way that is set up.")
def alerts(is_test: bool) -> None:
    """Show how failed runs and late bids are told.

    \b
    vpp-pipeline alerts            which ways the environment sets up
    vpp-pipeline alerts --test     and a message by each of them

    Environment variables set them up (docs/operations.md); `vpp-pipeline dev` tells.
    """
    from vpp_pipeline.defs.alerts import VARIABLES, Alert, channels_of

    channels = channels_of()
    if not channels.names:
        raise InputError(
            "no alerts are set up, so failed runs and late bids are shown on Dagster's pages alone",
            remedy=f"Set VPP_ALERT_WEBHOOK ({VARIABLES['VPP_ALERT_WEBHOOK']}), or VPP_ALERT_MAIL_TO and VPP_SMTP_HOST; "
            "docs/operations.md lists all of them",
        )
    for words in channels.in_words():
        click.echo(words)
    if not is_test:
        return
    message = Alert("test", "a test message", "Alerts of failed runs and late bids come here.")
    answers = channels.deliver(message, channels.names)
    for way, problem in answers.items():
        click.echo(f"{way}: {'delivered' if problem is None else 'not delivered'}")
    if problems := [problem for problem in answers.values() if problem]:
        raise InputError("a test message was not delivered", remedy=" ".join(problems))
