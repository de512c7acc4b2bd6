"""The command `backtest`: its options, its progress, and its table."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.box import SIMPLE
from rich.table import Table

from vpp_pipeline.core.display import terminal
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.evaluation.backtest.bootstrap import Interval, by_arm, differences
from vpp_pipeline.evaluation.backtest.strategies import ARMS, BEST, DESCRIPTIONS, OURS

if TYPE_CHECKING:
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.settings import Settings

InputsOf = Callable[[argparse.Namespace, "Settings"], "DayInputs"]
Configured = Callable[[argparse.Namespace], dict[str, Any]]
#: measure -> how it is written, and what it says
MEASURES = {
    "net_usd_per_kw_year": ("{:.2f}", "what the aggregator nets, $ per kW of discharge power and year"),
    "surplus_usd_per_kw_year": ("{:.2f}", "paid to owners above their least prices, likewise"),
    "net_capture": ("{:.1%}", "net, of what perfect foresight nets"),
    "value_capture": ("{:.1%}", "net and owners' surplus together, of the same"),
    "payments_usd": ("{:.0f}", "paid to owners"),
    "imbalance_usd": ("{:.0f}", "what deviations cost; negative: charging that was not needed was sold back"),
    "satisfaction": ("{:.2f}", "of those dispatched, 0-10, by commitment; 5: least price, 0: a wish was broken"),
    "let_down": ("{}", "owners and days with a broken limit"),
    "gini": ("{:.3f}", "of a day's payments over all owners"),
    "dispatched": ("{:.1f}", "owners dispatched, mean of a day"),
    "success_80": ("{:.1%}", "met, of the opportunities where 80 % of R is feasible"),
    "success_100": ("{:.1%}", "met, of those where all of R is"),
    "fill_fraction": ("{:.1%}", "capacity under option, up to R, over R"),
    "awarded_mwh": ("{:.1f}", "energy awarded, MWh"),
    "violations": ("{}", "breaches of owners' limits and orders that cannot be carried out; by kind:"),
    "violations_discharge": ("{}", "quiet hours, days off, away: prosumer-hours"),
    "violations_export": ("{}", "export limit, hours without export"),
    "violations_charge": ("{}", "hours without charging"),
    "violations_stored": ("{}", "backup reserve, ready-by charge"),
    "violations_owed": ("{}", "stores short at the day's end"),
    "violations_cycles": ("{}", "cycles of the day"),
    "violations_underpaid": ("{}", "deliveries below the least price"),
    "violations_undeliverable": ("{}", "orders beyond what the store held"),
    "gap_fraction": ("{:.2%}", "proven gap of the plan at forecast prices, median day"),
    "seconds": ("{:.2f}", "to make the plan, mean of a day"),
}


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


def show(rows: pl.DataFrame, new_days: int) -> None:
    """A line per measure and a column per arm; then how far each arm is from ours, with its interval."""
    order = [arm for arm in ARMS if arm in rows["arm"]]
    rows = rows.sort("market_date", pl.col("arm").replace_strict({arm: k for k, arm in enumerate(order)}))
    found, console = by_arm(rows, BEST), terminal()
    days = rows["market_date"].unique().sort().to_list()
    node, source, prosumers = rows.select("node", "source", "prosumers").row(0)
    console.width = max(console.width, 60 + 23 * len(order))
    span = f"{len(days)} days, {days[0]} to {days[-1]} ({new_days} made now)"
    title = f"{span}, {node}, prices: {source}, {prosumers} prosumers"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("measure", no_wrap=True)
    for arm in order:
        table.add_column(arm, justify="right", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for measure, (form, words) in MEASURES.items():
        values = dict(found.select("arm", measure).iter_rows())
        table.add_row(measure, *(_written(form, values[arm]) for arm in order), words)
    console.print(table)
    for arm in order:
        console.print(f"{arm}: {DESCRIPTIONS[arm]}", soft_wrap=True)
    if OURS in order and len(order) > 1:
        _show_differences(rows)


def _show_differences(rows: pl.DataFrame) -> None:
    table = Table(
        title=f"{OURS} less each arm, mean of a day [95 % interval, weeks drawn]", title_justify="left", box=SIMPLE
    )
    measures = {"net_usd": "net $", "value_usd": "net and surplus $", "satisfaction": "satisfaction", "gini": "Gini"}
    table.add_column("arm", no_wrap=True)
    for words in measures.values():
        table.add_column(words, justify="right", no_wrap=True)
    found = {measure: differences(rows, measure, OURS) for measure in measures}
    for arm in found["net_usd"]:
        table.add_row(arm, *(_interval(found[measure].get(arm)) for measure in measures))
    terminal().print(table)


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"{found.mean:+.2f} \\[{found.low:+.2f}, {found.high:+.2f}]"


def _written(form: str, value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else form.format(value)
