"""The command `backtest`: its options, its progress, and its table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from vpp_pipeline.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from vpp_pipeline.chain import Inputs
    from vpp_pipeline.settings import Settings
    from vpp_pipeline.sources.day_inputs import DayInputs

InputsOf = Callable[[argparse.Namespace, "Settings"], "DayInputs"]
Configured = Callable[[argparse.Namespace], dict[str, Any]]


def add_backtest(
    commands: Any,
    parents: Sequence[argparse.ArgumentParser],
    market_date: Callable[[str], date],
    inputs_of: InputsOf,
    configured: Configured,
) -> None:
    """Register `backtest`; the callables are the command line's own ways to read a date, a day and settings."""
    parser = commands.add_parser("backtest", parents=parents, help="past days by every arm, on the same settlement")
    parser.add_argument("--from", dest="first", type=market_date, required=True, metavar="DATE", help="first day")
    parser.add_argument("--to", dest="last", type=market_date, required=True, metavar="DATE", help="last day")
    parser.add_argument("--arms", help="by name, with commas (default: the eight of docs/backtest.md)")
    parser.set_defaults(run=lambda options: _backtest(options, inputs_of, configured), engine=None)


def _backtest(options: argparse.Namespace, inputs_of: InputsOf, configured: Configured) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vpp_pipeline.backtest.arms import ARMS, DEFAULT_ARMS
    from vpp_pipeline.backtest.run import TABLE, replay_days
    from vpp_pipeline.backtest.show import show
    from vpp_pipeline.settings import Settings
    from vpp_pipeline.sources.meters import content_of
    from vpp_pipeline.sources.opening import open_source
    from vpp_pipeline.warehouse.lake import Lake
    from vpp_pipeline.warehouse.publish import publish

    if options.last < options.first:
        raise InputError(
            "a range that ends before it begins", value=f"{options.first} to {options.last}", remedy="Exchange the two"
        )
    arms = options.arms.split(",") if options.arms else list(DEFAULT_ARMS)
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise InputError("no such arm", value=", ".join(unknown), remedy=f"Choose from {', '.join(ARMS)}")
    settings = Settings.model_validate(configured(options))
    days = [options.first + timedelta(days=k) for k in range((options.last - options.first).days + 1)]

    def day_inputs(day: date) -> DayInputs:
        found = inputs_of(argparse.Namespace(**{**vars(options), "date": day}), settings)
        return replace(found, requests_file=None)  # requests are of single days: the policy's hours alone

    first = day_inputs(days[0])
    source = open_source(first.prices, first.node)

    def read(day: date) -> tuple[Inputs, pl.DataFrame]:
        return day_inputs(day).for_chain(), source.day(day)

    lake = Lake(options.data / "lake")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{len(arms)} arms", total=len(days))
        name = f"{source.name} {source.node} {first.prices} {content_of(first.meters)}"
        new = replay_days(days, read, settings, arms, lake, name, lambda day: bar.advance(task))
    for day in new:
        publish(lake, options.data / "vpp.duckdb", day, [TABLE])
    show(lake.read_many(TABLE, [day.isoformat() for day in days]), len(new))
    return 0
