"""A day's results as a person reads them in a terminal, and as a program reads them in JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.core.display import percent, terminal, usd
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.llm.store import calls_in_numbers
from vpp_pipeline.reporting.page import report_file
from vpp_pipeline.verification.schedule import the_schedule_is_proven_to_be_good
from vpp_pipeline.warehouse.day import LakeDay, published_day, unpublished_bids
from vpp_pipeline.warehouse.publish import complete

LOG = logging.getLogger(__name__)
NOT_SETTLED = "could not be settled"  # in `dispatch.proof.method`, where bids were given up for it


def shown_day(data: Path, market_date: date) -> LakeDay:
    """The published day, for a command that shows it; a warning says where another run has made bids of it since.

    Raises NoDataError where no bids of the day are published.
    """
    lake = Lake(data / "lake")
    complete(lake, data / "vpp.duckdb")
    day = published_day(lake, market_date)
    if words := unpublished_bids(day):
        LOG.warning("%s", words)
    return day


def bids_document(data: Path, day: LakeDay, seconds: dict[str, float]) -> dict[str, Any]:
    """The day's bids for programs: rows of the tables that :func:`show_bids` prints, by table."""
    return {
        "market_date": day.market_date,
        **day["market.price_forecast"].select("node", "source").row(0, named=True),
        "final_bids": day["bids.final_bids"].sort("product", "start_utc"),
        "checks": day["bids.checks"],
        "proof": day["dispatch.proof"].row(0, named=True),
        "reconciliation": day["dispatch.reconciliation"].row(0, named=True),
        "seconds": seconds,
        "warehouse": data / "vpp.duckdb",
        "report": report_file(data, day.market_date),
    }


def is_proven(day: LakeDay) -> bool:
    """Whether the day's MIP gap is within `optimiser.gap_warning_fraction`, and its bids could be settled."""
    proof_check = pl.col("check_name") == the_schedule_is_proven_to_be_good.__name__
    passed = day["bids.checks"].row(by_predicate=proof_check, named=True)["passed"]
    return bool(passed) and NOT_SETTLED not in day["dispatch.proof"]["method"][0]


def show_bids(data: Path, day: LakeDay, seconds: dict[str, float]) -> None:
    """The table of bids, a summary, seconds per stage, and where the warehouse lies.

    Of storage resources, which bid in every hour, a row for each resource.
    """
    market_date, console = day.market_date, terminal()
    bids, source = day["bids.final_bids"], day["market.price_forecast"].row(0, named=True)
    resources = day["dispatch.storage_resources"]
    hourly = bids.filter(~pl.col("resource_id").is_in(resources["resource_id"].implode()))
    title = f"Bids for {market_date:%A %d %B %Y}, {source['node']}, prices: {source['source']}"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("opportunity", no_wrap=True)
    for name in ("MW", "bid/MWh", "forecast/MWh", "profit", "members"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why there is no bid", overflow="fold")
    for bid in hourly.sort("product", "start_utc").iter_rows(named=True):
        expected = usd(bid["forecast_price"])
        if bid["status"] == "bid":
            table.add_row(
                bid["opportunity_id"],
                f"{bid['total_capacity_mw']:.2f}",
                usd(bid["bid_price_usd_per_mwh"]),
                expected,
                usd(bid["expected_profit_usd"]),
                str(bid["coalition_size"]),
                "",
            )
        else:
            table.add_row(bid["opportunity_id"], "no bid", "", expected, "", "", bid["reason"], style="dim")
    if hourly.height:
        console.print(table)
    if not resources.is_empty():
        console.print(_storage_table(title, resources, day["dispatch.storage_limits"], bids))
    _show_summary(console, day, bids.filter(pl.col("status") == "bid"))
    stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    console.print(f"seconds: {stages}", soft_wrap=True)
    console.print(f"warehouse: {data / 'vpp.duckdb'}  (select * from bids.final_bids)", soft_wrap=True)
    if not resources.is_empty():
        console.print("storage resources by hour: select * from dispatch.storage_by_hour", soft_wrap=True)
    console.print(f"report: {report_file(data, market_date)}", soft_wrap=True)


def _storage_table(title: str, resources: pl.DataFrame, limits: pl.DataFrame, bids: pl.DataFrame) -> Table:
    """What each storage resource offers over the day, its plan, and its money; the last row is their sum.

    Of reserve the larger bid of each hour: both are offered over the same MW.
    """
    amounts = ("expected_revenue_usd", "payments_usd", "expected_profit_usd")
    reserve = bids.filter(pl.col("product") != "energy").group_by("resource_id", "start_utc")
    offered = reserve.agg(pl.col("total_capacity_mw").max()).group_by("resource_id")
    cleared = pl.col("expected_mw").filter(pl.col("product") != "energy").sum()
    rows = (
        resources.select("resource_id", "members", "bound_members")
        .join(limits.group_by("resource_id").agg(pl.col("max_charge_mw", "max_discharge_mw").sum()), on="resource_id")
        .join(offered.agg(reserve_mw_h=pl.col("total_capacity_mw").sum()), on="resource_id", how="left")
        .join(bids.group_by("resource_id").agg(cleared.alias("held_mw_h"), pl.col(*amounts).sum()), on="resource_id")
        .sort("resource_id")
    )
    table = Table(title=f"{title}\nStorage resources: offered over the day", title_justify="left", box=SIMPLE)
    heads = ("resource", "members", "bound", "charge MWh", "discharge MWh", "reserve MW·h", "of it planned")
    for name in (*heads, "revenue", "payments", "profit"):
        table.add_column(name, justify="left" if name == "resource" else "right", no_wrap=name != "of it planned")
    whole = rows.select(pl.lit("all").alias("resource_id"), pl.exclude("resource_id").sum())
    for row in pl.concat([rows, whole], how="vertical_relaxed").iter_rows(named=True):
        counts = (str(row["members"]), str(row["bound_members"]))
        energy = ("max_charge_mw", "max_discharge_mw", "reserve_mw_h", "held_mw_h")
        money = (usd(row[name]) for name in amounts)
        table.add_row(row["resource_id"], *counts, *(f"{row[name] or 0.0:.2f}" for name in energy), *money)
    return table


def _show_summary(console: Console, day: LakeDay, trading: pl.DataFrame) -> None:
    proof, account = (day[table].row(0, named=True) for table in ("dispatch.proof", "dispatch.reconciliation"))
    checks, engines = day["bids.checks"], day["negotiation.summary"]["engine"].unique().sort()
    broken = int(checks.filter(~pl.col("passed") & ~pl.col("is_warning"))["violations"].sum())
    cleared = trading.with_columns(expected_mwh=pl.col("expected_mw") * pl.col("duration_hours"))
    energy, reserve = (cleared.filter((pl.col("product") == "energy") == is_energy) for is_energy in (True, False))
    charged_mwh = -energy["expected_mwh"].clip(upper_bound=0.0).sum()
    charges = f" and {charged_mwh:.2f} MWh of charging" if charged_mwh >= 0.005 else ""
    console.print(
        f"{trading.height} bids, which clear at the forecast: {energy['expected_mwh'].clip(0.0).sum():.2f} MWh "
        f"of energy{charges} in {energy.height}, {reserve['expected_mwh'].sum():.2f} MW·h of reserve in "
        f"{reserve.height}, negotiated by {', '.join(engines)}",
        soft_wrap=True,
    )
    console.print(
        f"expected profit {usd(float(trading['expected_profit_usd'].sum()))} "
        f"({usd(float(energy['expected_profit_usd'].sum()))} without reserve), "
        f"payments to prosumers {usd(float(trading['payments_usd'].sum()))}, "
        f"carried by no bid (charging, rounding) {usd(account['unallocated_usd'])}",
        soft_wrap=True,
    )
    if account["top_ups_usd"]:
        console.print(
            f"top-ups to prosumers {usd(account['top_ups_usd'])}, which leave a profit of "
            f"{usd(account['kept_profit_usd'])}",
            soft_wrap=True,
        )
    console.print(_proof_in_words(proof), soft_wrap=True)
    for words in _advice_in_words(day, proof):
        console.print(words, soft_wrap=True)
    console.print(f"violations found: {broken} ({checks.height} rules checked)")
    for warning in checks.filter(~pl.col("passed") & pl.col("is_warning"))["description"]:
        console.print(f"warning: {warning}", soft_wrap=True)
    if NOT_SETTLED in proof["method"]:
        console.print(f"warning: no bid was made; the solver reports: {proof['method']}", soft_wrap=True)


def _advice_in_words(day: LakeDay, proof: dict[str, Any]) -> Iterator[str]:
    """What a language model was asked by the run that asked last, and what became of its formulation, if any."""
    calls = day["negotiation.llm_calls"]
    if not calls.is_empty():
        asked = calls_in_numbers(calls.filter(pl.col("run_id") == pl.col("run_id").sort_by("call_id").last()))
        yield (
            f"language model ({asked['model_versions'] or 'no answer'}): {asked['questions']} questions, "
            f"{asked['stored_answers']} answered from the store, {asked['requests']} requests, "
            f"{asked['failed']} without an answer, {usd(float(asked['cost_usd']), 4)}"
        )
    if proof["formulation_verdict"]:
        yield f"formulation of the language model: {proof['formulation_verdict']}"


def _proof_in_words(proof: dict[str, Any]) -> str:
    bound = f"{usd(proof['bound_usd'])} (MIP gap {percent(proof['gap_fraction'], 3)})"
    words = f"objective {usd(proof['objective_usd'])}"
    if proof["aversion"] == 0.0:
        words += f", dual bound {bound}"
    if proof["scenarios"] > 1:
        words += (
            f"\nover {proof['scenarios']} scenarios: mean {usd(proof['mean_usd'])}, CVaR {usd(proof['cvar_usd'])}, "
            f"worst {usd(proof['worst_usd'])}"
        )
    if proof["aversion"] > 0.0:
        words += f"; risk-adjusted {usd(proof['risk_adjusted_usd'])}, dual bound {bound}"
    return words


def settlement_document(data: Path, market_date: date) -> dict[str, Any]:
    """The day's settlement for programs: rows of `evaluation.settlement`, and the day's account."""
    day = shown_day(data, market_date)
    account = day["evaluation.settled_days"].row(0, named=True)
    return {"market_date": market_date, "settlement": day["evaluation.settlement"], "settled_days": account}


def show_settlement(data: Path, market_date: date) -> None:
    """Totals of the day's settlement by product, and its account."""
    table = Table(title=f"Settlement of {market_date}, at the clearing prices", title_justify="left", box=SIMPLE)
    for name in ("product", "bids", "MW bid", "MW awarded", "revenue", "payments", "profit"):
        table.add_column(name, justify="left" if name == "product" else "right")
    day = shown_day(data, market_date)
    rows, account = day["evaluation.settlement"], day["evaluation.settled_days"].row(0, named=True)
    powers, amounts = ("bid_mw", "awarded_mw"), ("revenue_usd", "payments_usd", "profit_usd")
    totals = rows.group_by("product").agg(pl.len().alias("bids"), pl.col(*powers, *amounts).sum()).sort("product")
    for total in totals.iter_rows(named=True):
        cells = [*(f"{total[name]:.2f}" for name in powers), *(usd(total[name]) for name in amounts)]
        table.add_row(total["product"], str(total["bids"]), *cells)
    console = terminal()
    console.print(table)
    console.print(
        f"{account['present']} prosumers available, {account['absent']} unavailable; "
        f"{account['limits_broken']} limits violated\n"
        f"energy {usd(account['energy_usd'])} + reserve held {usd(account['reserve_usd'])} - charging "
        f"{usd(account['charging_usd'])} - imbalance {usd(account['imbalance_usd'])} + terminal state of charge "
        f"{usd(account['leftover_usd'])} - payments {usd(account['payments_usd'])} = {usd(account['net_usd'])}",
        soft_wrap=True,
    )
