"""The command `backtest`: its options, its progress, and its table."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from vpp_pipeline.cli.options import (
    DATA,
    DESK,
    JSON,
    MARKET_DATE,
    SOURCE,
    Options,
    print_json,
    with_options,
)
from vpp_pipeline.cli.progress import Counted
from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from vpp_pipeline.evaluation.backtest.bootstrap import Interval

LOG = logging.getLogger(__name__)
#: measure -> how it is written, and what it says
MEASURES = {
    "net_usd_per_kw_year": (usd, "net of the aggregator per kW of discharge power and year"),
    "surplus_usd_per_kw_year": (usd, "paid to owners above their reservation prices, likewise"),
    "net_capture": (percent, "net, of what perfect foresight nets"),
    "value_capture": (percent, "net and owners' surplus together, of the same"),
    "median_day_usd": (usd, "net of the median day"),
    "gross_usd": (lambda value: usd(value, 0), "net and payments to owners"),
    "owners_fraction": (percent, "paid to owners, of the gross"),
    "reserve_fraction": (percent, "of reserve, in what the market paid for awards"),
    "payments_usd": (lambda value: usd(value, 0), "paid to owners"),
    "usd_per_home_year": (usd, "paid to a home in a year"),
    "usd_per_business_year": (usd, "paid to a business site in a year"),
    "imbalance_usd": (lambda value: usd(value, 0), "cost of imbalance; negative: unneeded charging was sold back"),
    "satisfaction": (
        "{:.2f}".format,
        "of those dispatched, 0-10, by commitment; 5: reservation price, 0: a preference violated",
    ),
    "let_down": ("{}".format, "owners and days with a preference violated"),
    "gini": ("{:.3f}".format, "of a day's payments over all owners"),
    "dispatched": ("{:.1f}".format, "owners dispatched, mean of a day"),
    "success_80": (percent, "met, of the opportunities where 80% of R is feasible"),
    "success_100": (percent, "met, of those where all of R is"),
    "fill_fraction": (percent, "capacity under option, up to R, over R"),
    "awarded_mwh": ("{:.1f}".format, "energy awarded, MWh"),
    "violations": ("{}".format, "breaches of owners' limits, and orders that cannot be carried out; by kind:"),
    "violations_discharge": ("{}".format, "quiet hours, days off, away: prosumer-hours"),
    "violations_export": ("{}".format, "export limit, hours without export"),
    "violations_charge": ("{}".format, "hours without charging"),
    "violations_stored": ("{}".format, "backup reserve, ready-by charge"),
    "violations_owed": ("{}".format, "terminal state of charge too low"),
    "violations_cycles": ("{}".format, "cycles of the day"),
    "violations_underpaid": ("{}".format, "deliveries below the reservation price"),
    "violations_undeliverable": ("{}".format, "orders beyond the state of charge"),
    "gap_fraction": (lambda value: percent(value, 2), "MIP gap of the plan at forecast prices, median day"),
    "gap_usd": (usd, "the same in money, sum"),
    "seconds": ("{:.2f}".format, "to make the plan, mean of a day"),
}
#: measure -> heading and form of its difference between two arms
COMPARED = {
    "net_usd": ("net", usd),
    "value_usd": ("net and surplus", usd),
    "satisfaction": ("satisfaction", "{:+.2f}".format),
    "gini": ("Gini", "{:+.2f}".format),
}


@click.command()
@with_options(
    click.option("--from", "first", type=MARKET_DATE, required=True, help="First day."),
    click.option("--to", "last", type=MARKET_DATE, required=True, help="Last day."),
    DATA,
    *SOURCE,
    *DESK,
    JSON,
)
@click.option("--arms", metavar="NAMES", help="Strategies, with commas. [default: those of docs/backtest.md]")
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="N", help="Every Nth day only. [default: 1]")
@click.option("--workers", type=int, metavar="N", help="Processes. [default: as many as processors]")
def backtest(
    options: Options,
    first: date,
    last: date,
    arms: str | None,
    every: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Replay past days by several strategies on one settlement.

    \b
    vpp-pipeline backtest --from 2023-08-14 --to 2023-08-18 --arms indexed,greedy,perfect_foresight
    vpp-pipeline backtest --from 2024-07-01 --to 2024-12-30 --every 3

    Days and arms that were replayed before, with the same code, prices and settings, are not computed again.
    """
    from vpp_pipeline.core.lake import read_days
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.evaluation.backtest.run import TABLE, PastDays, replay_days
    from vpp_pipeline.evaluation.backtest.strategies import ARMS, AS_STORAGE, DEFAULT_ARMS
    from vpp_pipeline.warehouse.publish import publish_tables

    if last < first:
        raise InputError("a range that ends before it begins", value=f"{first} to {last}", remedy="Exchange the two")
    chosen = arms.split(",") if arms else list(DEFAULT_ARMS)
    if unknown := [arm for arm in chosen if arm not in ARMS]:
        close = did_you_mean(unknown[0], ARMS)
        raise InputError(f"no such arm: {', '.join(unknown)}{close}", remedy=f"Choose from {', '.join(ARMS)}")
    settings = options.settings()
    days = [first + timedelta(days=k) for k in range(0, (last - first).days + 1, every)]
    read = PastDays(options.inputs(first, settings))
    processes = min(workers or os.cpu_count() or 1, len(days))
    lake = lake_of(options.data)

    with Counted(f"days by {len(chosen)} arms", len(days)) as done:

        def advance(day: date) -> None:
            LOG.info("%s: done", day)
            done.advance()

        classes = read.classes(settings) if set(chosen) & set(AS_STORAGE) else {}
        new = replay_days(days, read, settings, chosen, lake, read.name, advance, processes, classes)
    if new:
        publish_tables(lake, options.warehouse, sorted(new), [TABLE])
    rows = in_order(read_days(lake, TABLE, map(str, days)))
    if as_json:
        print_json(document(rows))
    else:
        show(rows, len(new))


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `evaluation.benchmark` by day, and within a day in the order of the arms."""
    import polars as pl

    from vpp_pipeline.evaluation.backtest.strategies import ARMS

    order = {arm: k for k, arm in enumerate(arm for arm in ARMS if arm in rows["arm"])}
    return rows.sort("market_date", pl.col("arm").replace_strict(order))


def document(rows: pl.DataFrame) -> dict[str, Any]:
    """The back-test for programs: measures by arm, differences with their intervals, and the days they rest on."""
    from dataclasses import asdict

    from vpp_pipeline.evaluation.backtest.bootstrap import by_arm, differences
    from vpp_pipeline.evaluation.backtest.strategies import BEST, ours_of

    ours = ours_of(rows["arm"])
    found = {measure: differences(rows, measure, ours) for measure in COMPARED} if ours else {}
    return {
        "arms": by_arm(rows, BEST),
        "differences": [
            {"arm": arm, "measure": measure, **asdict(interval)}
            for measure, intervals in found.items()
            for arm, interval in intervals.items()
        ],
        "benchmark": rows,
    }


def show(rows: pl.DataFrame, new_days: int) -> None:
    """A line per measure and a column per arm; then how far each arm is from ours, with its interval."""
    from rich.box import SIMPLE
    from rich.table import Table

    from vpp_pipeline.core.display import terminal
    from vpp_pipeline.evaluation.backtest.bootstrap import by_arm
    from vpp_pipeline.evaluation.backtest.strategies import BEST, DESCRIPTIONS, ours_of

    found, console = by_arm(rows, BEST), terminal()
    order, days = found["arm"].to_list(), rows["market_date"].unique().sort().to_list()
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
    if (ours := ours_of(order)) and len(order) > 1:
        _show_differences(rows, ours)


def _show_differences(rows: pl.DataFrame, ours: str) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from vpp_pipeline.core.display import terminal
    from vpp_pipeline.evaluation.backtest.bootstrap import differences

    title = f"{ours} less each arm, mean of a day [95% interval, weeks drawn]"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("arm", no_wrap=True)
    for heading, _ in COMPARED.values():
        table.add_column(heading, justify="right", no_wrap=True)
    found = {measure: differences(rows, measure, ours) for measure in COMPARED}
    for arm in found["net_usd"]:
        table.add_row(arm, *(_interval(found[measure].get(arm), form) for measure, (_, form) in COMPARED.items()))
    terminal().print(table)


def _interval(found: Interval | None, form: Callable[[float], str]) -> str:
    if found is None:
        return ""
    bounds = "too few weeks" if math.isnan(found.low) else f"{form(found.low)}, {form(found.high)}"
    return f"{form(found.mean)} [{bounds}]"


def _written(form: Callable[[Any], str], value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else form(value)
