"""Commands that serve the desk and Dagster's pages, and keep lake, warehouse, and run history in order."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path

import click

from vpp_pipeline.cli.options import DATA, FILE, MARKET_DATE, NO_HISTORY, Options, with_options
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import DESK_NOTE

DESK_PORT, DAGSTER_PORT = 3001, 3000
PORT = click.IntRange(1, 65535)


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

        options.warehouse  # noqa: B018 - completes a publication that was stopped
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
    home, data = prepare_home(options.data), str(options.data.resolve())
    here = {**os.environ, "DAGSTER_HOME": str(home), "VPP_DATA_FOLDER": data}
    (home / DESK_NOTE).write_text(address, encoding="utf-8")  # runs link to it, also those of the command line
    child = [sys.executable, "-m", "vpp_pipeline", "desk", "--port", str(desk_port), "--beside", str(os.getpid())]
    subprocess.Popen(child, env=here)
    click.echo(f"desk: {address}   Dagster: http://localhost:{port}")
    served = [sys.executable, "-m", "dagster", "dev", "-m", "vpp_pipeline.definitions", "--host", "127.0.0.1"]
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
    from vpp_pipeline.core.lake import Lake
    from vpp_pipeline.warehouse.rebuild import damaged_days, rebuild_warehouse, restore_days

    lake, warehouse = Lake(options.data / "lake"), options.data / "vpp.duckdb"
    if is_lake:
        days = [market_date] if market_date else damaged_days(lake, warehouse)
        for day, count in restore_days(lake, warehouse, days).items():
            click.echo(f"{day}: {count} rows in {lake.root}")
        if not days:
            click.echo(f"every day that {warehouse} has is whole in {lake.root}")
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
def sweep(options: Options, keeps_history: bool) -> None:
    """Remove what is past its time.

    Detail of old days, tables of runs that never published, and Dagster's run history; how long each is kept is said
    under [retention] in data/prices.toml. Bids, prices, and settlements stay for good. The job sweep_storage does the
    same every night.
    """
    from vpp_pipeline.cli.run_job import instance_of
    from vpp_pipeline.core.calendar import PACIFIC
    from vpp_pipeline.core.lake import Lake
    from vpp_pipeline.defs.resources import Prices, prices_beside
    from vpp_pipeline.defs.upkeep import forget_runs
    from vpp_pipeline.warehouse.retention import sweep as sweep_data

    kept = Prices(**prices_beside(options.data)).retention()
    click.echo(str(sweep_data(Lake(options.data / "lake"), options.warehouse, kept, datetime.now(PACIFIC).date())))
    with instance_of(options.data, keeps_history=keeps_history) as instance:
        click.echo(f"{forget_runs(instance, kept.history_days)} runs removed from Dagster's history")
