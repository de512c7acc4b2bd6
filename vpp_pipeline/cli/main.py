"""The command line: the same jobs as in Dagster's UI, run in this process and recorded in the same history."""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpp_pipeline.cli.backtest import add_backtest
from vpp_pipeline.cli.examples import add_make_commands
from vpp_pipeline.cli.query import add_read_commands
from vpp_pipeline.core.errors import InputError, SolveError, ViolationError
from vpp_pipeline.core.paths import data_folder

if TYPE_CHECKING:
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.settings import Settings


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
        default=data_folder(),
        help="folder of lake and warehouse (default: %(default)s)",
    )
    day = argparse.ArgumentParser(add_help=False, parents=[folder])
    day.add_argument("--date", type=_market_date, required=True, help="trade date, e.g. 2023-08-15")
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "--prices", type=Path, help="file or folder of market prices (default: the embedded generator, synthetic)"
    )
    source.add_argument("--source", choices=("oasis", "file", "synthetic"), help="default: as data/prices.toml says")
    source.add_argument("--node", help="pricing node, e.g. TH_SP15_GEN-APND")

    meters = argparse.ArgumentParser(add_help=False)
    meters.add_argument("--meters", type=Path, help="file or folder of metered hours (docs/meters.md)")

    desk = argparse.ArgumentParser(add_help=False, parents=[meters])
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
    bids.add_argument("--engine", help="negotiation engine: concession (default), uniform_clearing or llm")
    bids.add_argument("--llm-mode", choices=("off", "live", "replay", "refresh"), help="of engine llm; default: off")
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

    ingest = commands.add_parser("ingest", parents=[folder, source], help="take in published prices, a day or a range")
    ingest.add_argument("--date", type=_market_date, help="one day, as a run of the job ingest_market")
    ingest.add_argument("--from", dest="first", type=_market_date, metavar="DATE", help="first day of a range")
    ingest.add_argument(
        "--to", dest="last", type=_market_date, metavar="DATE", help="its last day (default: the newest)"
    )
    ingest.add_argument("--again", action="store_true", help="ask for days of a range that are there already as well")
    ingest.set_defaults(run=_ingest)
    settle = commands.add_parser(
        "settle", parents=[day, source], help="what the day's bids earned at the prices that cleared"
    )
    settle.set_defaults(run=_settle)
    add_read_commands(commands, folder, day)
    add_backtest(commands, [folder, source, desk], _market_date, _inputs, _settings_config)
    add_make_commands(commands, _market_date)
    brief = commands.add_parser("brief", parents=[day], help="a short note on why the day's bids are what they are")
    brief.add_argument("--out", type=Path, help="file (default: DATA/briefs/DATE.md)")
    brief.add_argument("--llm-mode", choices=("off", "live", "replay", "refresh"), help="default: off, a note by rule")
    brief.add_argument("--set", action="append", default=[], metavar="llm.NAME=VALUE", help="e.g. llm.model=…")
    brief.set_defaults(run=_brief, fleet=None, prosumers=None, seed=None, engine=None, requests=None)
    notes = commands.add_parser(
        "compare-notes", parents=[day, desk], help="what rules and model read in the same owners' notes; writes nothing"
    )
    notes.add_argument("--llm-mode", choices=("live", "replay", "refresh"), required=True)
    notes.set_defaults(run=_compare_notes, engine=None)
    model = commands.add_parser("llm-check", parents=[folder], help="ask the language model one tiny question")
    model.add_argument("--llm-mode", choices=("live", "replay", "refresh"), help="default: that of the settings, off")
    model.add_argument("--set", action="append", default=[], metavar="llm.NAME=VALUE", help="e.g. llm.model=…")
    model.set_defaults(run=_llm_check, fleet=None, prosumers=None, seed=None, engine=None, requests=None)
    return parser


def _market_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write it as 2023-08-15") from None


def _bids(options: argparse.Namespace) -> int:
    begun = time.perf_counter()
    from vpp_pipeline.cli.console import show_bids
    from vpp_pipeline.cli.run_job import run_job
    from vpp_pipeline.core.calendar import PACIFIC

    day = options.date or datetime.now(PACIFIC).date() + timedelta(days=1)
    seconds = run_job("bid_day", day, options.data, _price_config(options), _settings_config(options))
    show_bids(options.data, day, seconds, begun)
    return 0


def _compare_engines(options: argparse.Namespace) -> int:
    from vpp_pipeline.evaluation.compare import compare_engines, show_comparison
    from vpp_pipeline.settings import Settings

    show_comparison(options.date, compare_engines(_inputs(options, Settings.model_validate(_settings_config(options)))))
    return 0


def _frontier(options: argparse.Namespace) -> int:
    from vpp_pipeline.evaluation.frontier import show_frontier, with_enough_scenarios
    from vpp_pipeline.settings import Settings

    settings = with_enough_scenarios(Settings.model_validate(_settings_config(options)))
    output = options.output or options.data / f"frontier_{options.date}.svg"
    show_frontier(_inputs(options, settings), options.points, output)
    return 0


def _inputs(options: argparse.Namespace, settings: Settings) -> DayInputs:
    """What the day's bids would be made from, read without a run."""
    from vpp_pipeline.defs.resources import Prices, Storage, prices_beside
    from vpp_pipeline.inputs.day_inputs import DayInputs

    source = Prices(**prices_beside(options.data), **_price_config(options))
    file, node = source.chosen()
    storage = Storage(data_folder=str(options.data))
    return DayInputs(
        options.date,
        settings,
        file,
        node,
        storage.requests,
        storage.lake.root,
        meters=source.meters_path(),
        weather=source.weather(),
    )


def _ingest(options: argparse.Namespace) -> int:
    if (options.date is None) == (options.first is None):
        raise InputError("one day or a range?", remedy="Give --date, or --from and --to")
    if options.first is not None:
        from vpp_pipeline.cli.ingest import ingest_range

        prices = _price_config(options)
        print(ingest_range(options.first, options.last, options.data, prices, anew=options.again))
        return 0
    from vpp_pipeline.cli.run_job import run_job

    run_job("ingest_market", options.date, options.data, _price_config(options), {})
    print(f"prices of {options.date} are in {options.data / 'lake'}")
    return 0


def _settle(options: argparse.Namespace) -> int:
    from vpp_pipeline.cli.console import show_settlement
    from vpp_pipeline.cli.run_job import run_job

    run_job("settle_day", options.date, options.data, _price_config(options), {})
    show_settlement(options.data, options.date)
    return 0


def _brief(options: argparse.Namespace) -> int:
    from vpp_pipeline.cli.console import shown_day
    from vpp_pipeline.llm.brief import write_brief
    from vpp_pipeline.settings import Settings

    llm = Settings.model_validate(_settings_config(options)).llm
    with shown_day(options.data, options.date) as day:
        print(write_brief(llm, options.data, day, options.out))
    return 0


def _compare_notes(options: argparse.Namespace) -> int:
    from vpp_pipeline.evaluation.compare import compare_notes
    from vpp_pipeline.settings import Settings

    print(compare_notes(Settings.model_validate(_settings_config(options)), options.data, options.date))
    return 0


def _llm_check(options: argparse.Namespace) -> int:
    from vpp_pipeline.llm.providers import check
    from vpp_pipeline.settings import Settings

    print(check(Settings.model_validate(_settings_config(options)).llm, options.data))
    return 0


def _price_config(options: argparse.Namespace) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if options.prices is not None:
        config["path"] = str(options.prices.resolve())
    if getattr(options, "meters", None) is not None:
        config["meters"] = str(options.meters.resolve())
    if options.node is not None:
        config["node"] = options.node
    if options.source is not None:
        config["kind"] = options.source
    return config


def _settings_config(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of this run, by group, checked as a whole; only what differs from the defaults is passed on."""
    from vpp_pipeline.settings import llm_of_environment, read_settings

    of_environment = llm_of_environment()
    chosen: dict[str, dict[str, Any]] = {"llm": dict(of_environment)} if of_environment else {}
    named = {
        "fleet.path": options.fleet and str(options.fleet.resolve()),
        "fleet.prosumers": options.prosumers,
        "fleet.seed": options.seed,
        "negotiation.engine": options.engine,
        "llm.mode": getattr(options, "llm_mode", None),
        "opportunities.requests": options.requests and str(options.requests.resolve()),
    }
    pairs = [f"{name}={value}" for name, value in named.items() if value is not None] + options.set
    has_answers = {"llm.answers", "llm.store"} & {pair.partition("=")[0] for pair in pairs}
    if named["llm.mode"] == "replay" and not (has_answers or {"answers", "store"} & set(of_environment)):
        from vpp_pipeline.llm.session import example_answers

        example = example_answers(options.data)
        pairs += [f"llm.answers={example}"] if example else []
    for pair in pairs:
        name, _, value = pair.partition("=")
        group, _, setting = name.partition(".")
        chosen.setdefault(group, {})[setting] = value
    return read_settings(chosen).model_dump(mode="json", exclude_unset=True)
