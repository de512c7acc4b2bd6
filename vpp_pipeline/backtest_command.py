"""The command `backtest`: its options, its progress, and its table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from vpp_pipeline.core.errors import InputError

if TYPE_CHECKING:
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.settings import Settings

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
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as processors)")
    parser.set_defaults(run=lambda options: _backtest(options, inputs_of, configured), engine=None)


def _backtest(options: argparse.Namespace, inputs_of: InputsOf, configured: Configured) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vpp_pipeline.backtest_table import show
    from vpp_pipeline.core.lake import Lake
    from vpp_pipeline.evaluation.backtest.run import TABLE, PastDays, replay_days
    from vpp_pipeline.evaluation.backtest.strategies import ARMS, DEFAULT_ARMS
    from vpp_pipeline.settings import Settings
    from vpp_pipeline.warehouse.publish import publish_days

    if options.last < options.first:
        raise InputError(
            "a range that ends before it begins", value=f"{options.first} to {options.last}", remedy="Exchange the two"
        )
    arms = options.arms.split(",") if options.arms else list(DEFAULT_ARMS)
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise InputError("no such arm", value=", ".join(unknown), remedy=f"Choose from {', '.join(ARMS)}")
    settings = Settings.model_validate(configured(options))
    days = [options.first + timedelta(days=k) for k in range((options.last - options.first).days + 1)]
    read = PastDays(inputs_of(argparse.Namespace(**{**vars(options), "date": days[0]}), settings))
    workers = min(options.workers or os.cpu_count() or 1, len(days))
    lake = Lake(options.data / "lake")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{len(arms)} arms", total=len(days))
        new = replay_days(days, read, settings, arms, lake, read.name, lambda day: bar.advance(task), workers)
    if new:
        publish_days(lake, options.data / "vpp.duckdb", sorted(new), [TABLE])
    show(lake.read_many(TABLE, [day.isoformat() for day in days]), len(new))
    return 0
