"""The command line: the same jobs as in Dagster's UI, run in this process and recorded in the same history."""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpp_pipeline.errors import InputError, SolveError, ViolationError
from vpp_pipeline.paths import project_folder

if TYPE_CHECKING:
    from vpp_pipeline.settings import Settings
    from vpp_pipeline.sources.day_inputs import DayInputs


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a rule was broken or nothing could be solved, 2 the input is wrong."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # who reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ViolationError, SolveError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vpp-pipeline", description="Day-ahead CAISO bids of a virtual power plant.")
    commands = parser.add_subparsers(required=True, metavar="command")

    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--data",
        type=Path,
        default=project_folder() / "data",
        help="folder of lake and warehouse (default: %(default)s)",
    )
    day = argparse.ArgumentParser(add_help=False, parents=[folder])
    day.add_argument("--date", type=_market_date, required=True, help="trade date, e.g. 2023-08-15")
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "--prices", type=Path, help="file or folder of market prices (default: the embedded generator, synthetic)"
    )
    source.add_argument("--node", help="pricing node in that file, e.g. TH_SP15_GEN-APND")

    desk = argparse.ArgumentParser(add_help=False)
    desk.add_argument("--fleet", type=Path, help="CSV or Parquet file of your fleet (default: a generated one)")
    desk.add_argument("--prosumers", type=int, help="size of the generated fleet (default: 200)")
    desk.add_argument("--seed", type=int, help="seed of the generated fleet")
    desk.add_argument("--requests", type=Path, help="CSV of requests (default: data/opportunities.csv)")
    desk.add_argument(
        "--set", action="append", default=[], metavar="GROUP.NAME=VALUE", help="any setting, e.g. negotiation.rounds=5"
    )

    bids = commands.add_parser(
        "bids", parents=[folder, source, desk], help="make, check and publish the bids of one day"
    )
    bids.add_argument("--date", type=_market_date, help="trade date, e.g. 2023-08-15 (default: tomorrow's)")
    bids.add_argument("--engine", help="negotiation engine: concession (default) or uniform_clearing")
    bids.set_defaults(run=_bids)
    engines = commands.add_parser(
        "compare-engines",
        parents=[day, source, desk],
        help="the same day by every engine, side by side; writes nothing",
    )
    engines.set_defaults(run=_compare_engines, engine=None)

    frontier = commands.add_parser(
        "frontier", parents=[day, source, desk], help="the day's profit against its risk, and against satisfaction"
    )
    frontier.add_argument("--points", type=int, choices=range(2, 101), default=5, metavar="N", help="of each curve: 5")
    frontier.add_argument("--output", type=Path, help="SVG file of the picture (default: DATA/frontier_DATE.svg)")
    frontier.set_defaults(run=_frontier, engine=None)

    ingest = commands.add_parser("ingest", parents=[day, source], help="take in one day of published prices")
    ingest.set_defaults(run=_ingest)
    settle = commands.add_parser(
        "settle", parents=[day, source], help="what the day's bids earned at the prices that cleared"
    )
    settle.set_defaults(run=_settle)
    documents = commands.add_parser("documents", parents=[day], help="write the day's results as JSON documents")
    documents.add_argument("--out", type=Path, help="folder (default: data/documents/DATE)")
    documents.set_defaults(run=_documents)
    transcript = commands.add_parser("transcript", parents=[day], help="one negotiation word by word, as JSON lines")
    transcript.add_argument("--opportunity", required=True, help="e.g. energy_20230815_1200")
    transcript.add_argument("--prosumer", help="one prosumer only, e.g. prosumer_020")
    transcript.set_defaults(run=_transcript)
    example = commands.add_parser("make-data", help="write the embedded example prices again")
    example.add_argument("--out", type=Path, default=project_folder() / "data")
    example.set_defaults(run=_make_data)
    fleet = commands.add_parser("make-fleet", help="write a generated fleet as CSV, to edit into your own")
    fleet.add_argument("--out", type=Path, default=Path("my_fleet.csv"))
    fleet.add_argument("--prosumers", type=int, choices=range(3, 1_000_001), default=200, metavar="N", help="3 or more")
    fleet.set_defaults(run=_make_fleet)
    return parser


def _market_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write it as 2023-08-15") from None


def _bids(options: argparse.Namespace) -> int:
    begun = time.perf_counter()
    from vpp_pipeline.console import show_bids
    from vpp_pipeline.domain.calendar import PACIFIC
    from vpp_pipeline.launch import run_job

    day = options.date or datetime.now(PACIFIC).date() + timedelta(days=1)
    seconds = run_job("bid_day", day, options.data, _price_config(options), _settings_config(options))
    show_bids(options.data, day, seconds, begun)
    return 0


def _compare_engines(options: argparse.Namespace) -> int:
    from vpp_pipeline.compare import compare_engines, show_comparison
    from vpp_pipeline.settings import Settings

    show_comparison(options.date, compare_engines(_inputs(options, Settings.model_validate(_settings_config(options)))))
    return 0


def _frontier(options: argparse.Namespace) -> int:
    from vpp_pipeline.frontier import show_frontier, with_enough_scenarios
    from vpp_pipeline.settings import Settings

    settings = with_enough_scenarios(Settings.model_validate(_settings_config(options)))
    output = options.output or options.data / f"frontier_{options.date}.svg"
    show_frontier(_inputs(options, settings), options.points, output)
    return 0


def _inputs(options: argparse.Namespace, settings: Settings) -> DayInputs:
    """What the day's bids would be made from, read without a run."""
    from vpp_pipeline.assets.resources import Prices, Storage
    from vpp_pipeline.sources.day_inputs import DayInputs

    file, node = Prices(**_price_config(options)).chosen()
    storage = Storage(data_folder=str(options.data))
    return DayInputs(options.date, settings, file, node, storage.requests, storage.lake.root)


def _ingest(options: argparse.Namespace) -> int:
    from vpp_pipeline.launch import run_job

    run_job("ingest_market", options.date, options.data, _price_config(options), {})
    print(f"prices of {options.date} are in {options.data / 'lake'}")
    return 0


def _settle(options: argparse.Namespace) -> int:
    from vpp_pipeline.console import show_settlement
    from vpp_pipeline.launch import run_job

    run_job("settle_day", options.date, options.data, _price_config(options), {})
    show_settlement(options.data, options.date)
    return 0


def _documents(options: argparse.Namespace) -> int:
    from vpp_pipeline.documents import write_documents
    from vpp_pipeline.warehouse.day import LakeDay
    from vpp_pipeline.warehouse.lake import Lake

    folder = options.out or options.data / "documents" / options.date.isoformat()
    count = write_documents(LakeDay(Lake(options.data / "lake"), options.date), folder)
    print(f"{count} documents in {folder}")
    return 0


def _transcript(options: argparse.Namespace) -> int:
    import polars as pl

    from vpp_pipeline.documents import transcript_of
    from vpp_pipeline.warehouse.day import LakeDay
    from vpp_pipeline.warehouse.lake import Lake

    spoken = LakeDay(Lake(options.data / "lake"), options.date)["negotiation.messages"]
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


def _make_data(options: argparse.Namespace) -> int:
    from vpp_pipeline.sources.synthetic import EXAMPLE_NAME, write_example

    write_example(options.out / EXAMPLE_NAME)
    print(f"wrote {options.out / EXAMPLE_NAME}")
    return 0


def _make_fleet(options: argparse.Namespace) -> int:
    from vpp_pipeline.domain.fleet_generator import generate_fleet
    from vpp_pipeline.settings import FleetSettings

    if options.out.exists():
        raise InputError(
            "the file is there already", file=options.out, remedy="Name another one with --out, or remove it"
        )
    fleet = generate_fleet(FleetSettings(prosumers=options.prosumers), date(2023, 8, 15)).drop("market_date")
    fleet.write_csv(options.out)
    print(f"wrote {fleet.height} prosumers to {options.out}")
    return 0


def _price_config(options: argparse.Namespace) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if options.prices is not None:
        config["path"] = str(options.prices.resolve())
    if options.node is not None:
        config["node"] = options.node
    return config


def _settings_config(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of this run, by group, checked as a whole; only what differs from the defaults is passed on."""
    from pydantic import ValidationError

    from vpp_pipeline.settings import Settings

    chosen: dict[str, dict[str, Any]] = {}
    named = {
        "fleet.path": options.fleet and str(options.fleet.resolve()),
        "fleet.prosumers": options.prosumers,
        "fleet.seed": options.seed,
        "negotiation.engine": options.engine,
        "opportunities.requests": options.requests and str(options.requests.resolve()),
    }
    pairs = [f"{name}={value}" for name, value in named.items() if value is not None] + options.set
    for pair in pairs:
        name, _, value = pair.partition("=")
        group, _, setting = name.partition(".")
        chosen.setdefault(group, {})[setting] = value
    try:
        settings = Settings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the setting {name} cannot be used: {first['msg'].removeprefix('Value error, ')}",
            value=first.get("input"),
            remedy="vpp_pipeline/settings.py lists them all",
        ) from None
    return settings.model_dump(mode="json", exclude_unset=True)
