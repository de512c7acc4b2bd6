"""A day's results as a person reads them in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.core.display import terminal
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.llm.store import calls_in_numbers
from vpp_pipeline.reporting.page import report_file
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline.warehouse.published import PublishedDay, published_day, unpublished_bids


@contextmanager
def shown_day(data: Path, market_date: date) -> Iterator[PublishedDay]:
    """The published day, for a command that shows it; standard error tells where the lake holds bids of another run.

    Raises NoDataError where no bids of the day are published.
    """
    with published_day(data / "vpp.duckdb", market_date) as day:
        if words := unpublished_bids(Lake(data / "lake"), day):
            print(f"note: {words}", file=sys.stderr)
        yield day


def show_bids(data: Path, market_date: date, seconds: dict[str, float], begun: float) -> None:
    """The table of bids, a summary, seconds per stage, and where the warehouse lies."""
    day, console = LakeDay(Lake(data / "lake"), market_date), terminal()
    bids, source = day["bids.final_bids"], day["market.price_forecast"].row(0, named=True)
    table = Table(
        title=f"Bids for {market_date:%A %d %B %Y}, {source['node']}, prices: {source['source']}",
        title_justify="left",
        box=SIMPLE,
    )
    table.add_column("opportunity", no_wrap=True)
    for name in ("MW", "bid $/MWh", "expected $", "profit $", "members"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why there is no bid", overflow="fold")
    for bid in bids.sort("product", "start_utc").iter_rows(named=True):
        expected = f"{bid['forecast_price']:.2f}"
        if bid["status"] == "bid":
            price, profit = f"{bid['bid_price_usd_per_mwh']:.2f}", f"{bid['expected_profit_usd']:.2f}"
            table.add_row(
                bid["opportunity_id"],
                f"{bid['total_capacity_mw']:.2f}",
                price,
                expected,
                profit,
                str(bid["coalition_size"]),
                "",
            )
        else:
            table.add_row(bid["opportunity_id"], "no bid", "", expected, "", "", bid["reason"], style="dim")
    console.print(table)
    _show_summary(console, day, bids.filter(pl.col("status") == "bid"))
    stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    console.print(f"seconds: {stages}; in all {time.perf_counter() - begun:.1f}", soft_wrap=True)
    console.print(f"warehouse: {data / 'vpp.duckdb'}  (select * from bids.final_bids)", soft_wrap=True)
    console.print(f"report: {report_file(data, market_date)}", soft_wrap=True)


def _show_summary(console: Console, day: LakeDay, trading: pl.DataFrame) -> None:
    proof, books = (day[table].row(0, named=True) for table in ("dispatch.proof", "dispatch.reconciliation"))
    checks, engines = day["bids.checks"], day["negotiation.summary"]["engine"].unique().sort()
    broken = int(checks.filter(~pl.col("passed") & ~pl.col("is_warning"))["violations"].sum())
    energy, reserve = (trading.filter((pl.col("product") == "energy") == is_energy) for is_energy in (True, False))
    console.print(
        f"{trading.height} bids: {energy['total_capacity_mw'].sum():.2f} MW of energy in {energy.height}, "
        f"{reserve['total_capacity_mw'].sum():.2f} MW of reserve in {reserve.height} (each MW for its own hours), "
        f"negotiated by {', '.join(engines)}",
        soft_wrap=True,
    )
    console.print(
        f"expected profit {trading['expected_profit_usd'].sum():.2f} $, "
        f"payments to prosumers {trading['payments_usd'].sum():.2f} $, "
        f"carried by no bid (charging, rounding) {books['unallocated_usd']:.2f} $",
        soft_wrap=True,
    )
    if books["top_ups_usd"]:
        console.print(
            f"top-ups to prosumers {books['top_ups_usd']:.2f} $, so that {books['kept_profit_usd']:.2f} $ of profit "
            "are kept",
            soft_wrap=True,
        )
    console.print(_proof_in_words(proof), soft_wrap=True)
    for words in _advice_in_words(day, proof):
        console.print(words, soft_wrap=True)
    console.print(f"violations found: {broken} ({checks.height} rules checked)")
    for warning in checks.filter(~pl.col("passed") & pl.col("is_warning"))["description"]:
        console.print(f"warning: {warning}", soft_wrap=True, markup=False)
    if "could not be settled" in proof["method"]:
        console.print(f"warning: no bid was made; the solver's words: {proof['method']}", soft_wrap=True, markup=False)


def _advice_in_words(day: LakeDay, proof: dict[str, Any]) -> Iterator[str]:
    """What a language model was asked by the run that asked last, and what became of its formulation, if any."""
    calls = day["negotiation.llm_calls"]
    if not calls.is_empty():
        asked = calls_in_numbers(calls.filter(pl.col("run_id") == pl.col("run_id").sort_by("call_id").last()))
        yield (
            f"language model ({asked['model_versions'] or 'no answer'}): {asked['questions']} questions, "
            f"{asked['stored_answers']} answered from the store, {asked['requests']} requests, "
            f"{asked['failed']} without an answer, {asked['cost_usd']:.4f} $"
        )
    if proof["formulation_verdict"]:
        yield f"formulation of the language model: {proof['formulation_verdict']}"


def _proof_in_words(proof: dict[str, Any]) -> str:
    gap = f"{proof['bound_usd']:.2f} $ (gap {100 * proof['gap_fraction']:.3f} %)"
    words = f"objective {proof['objective_usd']:.2f} $"
    if proof["aversion"] == 0.0:
        words += f", no schedule can earn more than {gap}"
    if proof["scenarios"] > 1:
        words += (
            f"\nover {proof['scenarios']} scenarios: mean {proof['mean_usd']:.2f} $, CVaR {proof['cvar_usd']:.2f} $, "
            f"worst {proof['worst_usd']:.2f} $"
        )
    if proof["aversion"] > 0.0:
        words += f"; risk-adjusted {proof['risk_adjusted_usd']:.2f} $ of at most {gap}"
    return words


def show_settlement(data: Path, market_date: date) -> None:
    """Totals of the day's settlement by product."""
    table = Table(title=f"Settlement of {market_date}, at the prices that cleared", title_justify="left")
    for name in ("product", "bids", "MW bid", "MW awarded", "revenue $", "payments $", "profit $"):
        table.add_column(name, justify="left" if name == "product" else "right")
    with shown_day(data, market_date) as day:
        rows, account = day["evaluation.settlement"], day["evaluation.settled_days"].row(0, named=True)
    totals = [pl.col(name).sum() for name in ("bid_mw", "awarded_mw", "revenue_usd", "payments_usd", "profit_usd")]
    for product, count, *sums in rows.group_by("product").agg(pl.len(), *totals).sort("product").iter_rows():
        table.add_row(product, str(count), *(f"{value:.2f}" for value in sums))
    Console().print(table)
    print(
        f"{account['present']} prosumers there, {account['absent']} away; {account['limits_broken']} limits broken\n"
        f"energy {account['energy_usd']:.2f} $ + reserve held {account['reserve_usd']:.2f} $ - charging "
        f"{account['charging_usd']:.2f} $ - imbalance {account['imbalance_usd']:.2f} $ + left in the stores "
        f"{account['leftover_usd']:.2f} $ - payments {account['payments_usd']:.2f} $ = {account['net_usd']:.2f} $"
    )
