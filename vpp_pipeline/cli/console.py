"""A day's results as a person reads them in a terminal, and as a program reads them in JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, note_on_source
from vpp_pipeline.core.display import percent, terminal, usd
from vpp_pipeline.core.errors import without_secrets
from vpp_pipeline.core.paths import REQUESTS, example_file
from vpp_pipeline.core.tables import Day
from vpp_pipeline.data_settings import OasisSettings, lake_of
from vpp_pipeline.llm.store import calls_in_numbers
from vpp_pipeline.reporting.page import report_file
from vpp_pipeline.reporting.settlement import account_lines
from vpp_pipeline.verification.schedule import the_schedule_is_proven_to_be_good
from vpp_pipeline.warehouse.day import LakeDay, published_day, unpublished_bids
from vpp_pipeline.warehouse.publish import complete

if TYPE_CHECKING:
    from vpp_pipeline.inputs.day_inputs import DayInputs

LOG = logging.getLogger(__name__)
NOT_SETTLED = "could not be settled"  # in `dispatch.proof.method`, where bids were given up for it


def shown_day(data: Path, market_date: date) -> LakeDay:
    """The published day, for a command that shows it; a warning says where another run has made bids of it since.

    Raises NoDataError where no bids of the day are published.
    """
    lake = lake_of(data)
    complete(lake, data / "vpp.duckdb")
    day = published_day(lake, market_date)
    if words := unpublished_bids(day):
        LOG.warning("%s", words)
    return day


def inputs_in_words(inputs: DayInputs, day: LakeDay) -> dict[str, str]:
    """Which prices, fleet, and requests the day's bids were made from: files, or what stands in for them."""
    prices, fleet = inputs.prices, inputs.settings.fleet
    requests = inputs.settings.opportunities.requests or inputs.requests_file
    asked = day["market.opportunities"].filter(pl.col("origin") == "request").height
    refused = day["market.request_quarantine"]["file_row"].n_unique()
    file = "embedded example" if requests == example_file(REQUESTS) else requests
    if isinstance(prices, OasisSettings):
        source = f"OASIS, {without_secrets(prices.url)}"
    else:
        source = str(prices.path) if prices else "synthetic, from the embedded generator"
    return {
        "prices": source,
        "fleet": str(fleet.path) if fleet.path else f"{fleet.prosumers} prosumers, generated from seed {fleet.seed}",
        "requests": f"{file}: {asked} of this day offered, {refused} set aside",
    }


def bids_document(data: Path, day: LakeDay, seconds: dict[str, float], inputs: Mapping[str, str]) -> dict[str, Any]:
    """The day's bids for programs: rows of the tables that :func:`show_bids` prints, by table."""
    return {
        "market_date": day.market_date,
        **day["market.price_forecast"].select("node", "source").row(0, named=True),
        "final_bids": day["bids.final_bids"].sort("product", "start_utc"),
        "checks": day["bids.checks"],
        "proof": day["dispatch.proof"].row(0, named=True),
        "reconciliation": day["dispatch.reconciliation"].row(0, named=True),
        "inputs": inputs,
        "seconds": seconds,
        "warehouse": data / "vpp.duckdb",
        "report": report_file(data, day.market_date),
    }


def is_proven(day: LakeDay) -> bool:
    """Whether the day's MIP gap is within `optimiser.gap_warning_fraction`, and its bids could be settled."""
    proof_check = pl.col("check_name") == the_schedule_is_proven_to_be_good.__name__
    passed = day["bids.checks"].row(by_predicate=proof_check, named=True)["passed"]
    return bool(passed) and NOT_SETTLED not in day["dispatch.proof"]["method"][0]


def show_bids(data: Path, day: LakeDay, seconds: dict[str, float], inputs: Mapping[str, str]) -> None:
    """The table of bids, a summary, what they were made from, seconds per stage, and where the warehouse lies.

    Of storage resources, which bid in every hour, what clears at the forecast: a row for each hour, and one for each
    resource. Beside them hourly opportunities without a bid are counted only.
    """
    market_date, console = day.market_date, terminal()
    bids, source = day["bids.final_bids"], day["market.price_forecast"].row(0, named=True)
    resources = day["dispatch.storage_resources"]
    hourly = bids.filter(~pl.col("resource_id").is_in(resources["resource_id"].implode()))
    title = f"Bids for {market_date:%A %d %B %Y}, {source['node']}, prices: {source['source']}"
    requested = day["market.opportunities"].filter(origin="request")["opportunity_id"]
    is_shown = (pl.col("status") == "bid") | pl.col("opportunity_id").is_in(requested.implode()) | resources.is_empty()
    shown = hourly.filter(is_shown).sort("product", "start_utc")
    if shown.height:
        console.print(_hourly_table(title, shown))
    if others := hourly.height - shown.height:
        console.print(f"and {others} hourly opportunities without a bid: select * from bids.final_bids", soft_wrap=True)
    if not resources.is_empty():
        console.print(_storage_hours(title, day))
        console.print(_storage_table(resources, day["dispatch.storage_limits"], bids))
    _show_summary(console, day, bids.filter(pl.col("status") == "bid"))
    for name, words in inputs.items():
        console.print(f"{name}: {words}", soft_wrap=True)
    stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    console.print(f"seconds: {stages}", soft_wrap=True)
    console.print(f"warehouse: {data / 'vpp.duckdb'}  (select * from bids.final_bids)", soft_wrap=True)
    if not resources.is_empty():
        console.print("storage resources by hour: select * from dispatch.storage_by_hour", soft_wrap=True)
    console.print(f"report: {report_file(data, market_date)}", soft_wrap=True)


def _hourly_table(title: str, bids: pl.DataFrame) -> Table:
    """A row for each opportunity that is bid by itself, with its bid or the reason why there is none."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("opportunity", no_wrap=True)
    for name in ("MW", "bid/MWh", "forecast/MWh", "profit", "members"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why there is no bid", overflow="fold")
    for bid in bids.iter_rows(named=True):
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
    return table


def _storage_hours(title: str, day: Day) -> Table:
    """What all storage resources together offer in each hour, and what of it clears at the forecast."""
    hour, held = ["resource_id", "start_utc"], [f"{reserve.name}_mw" for reserve in CAISO.reserves]
    sums, dearest = ("low_mw", "high_mw", "net_mw", *held, "stored_mwh"), CAISO.reserves[0]
    sun, forecast = pl.col("self_schedule_mw"), day["market.price_forecast"]
    limits = day["dispatch.storage_limits"].select(
        *hour, "self_schedule_mw", low_mw=sun - pl.col("max_charge_mw"), high_mw=sun + pl.col("max_discharge_mw")
    )
    plan = day["dispatch.storage_plan"].join(limits, on=hour)
    plan = plan.with_columns(net_mw=sun + pl.col("discharge_mw") - pl.col("charge_mw"))
    rows = plan.group_by("start_utc").agg(pl.col(*sums).sum()).join(forecast, on="start_utc").sort("start_utc")
    words = f"{title}\nStorage resources by hour: offered from charging to discharge, and what clears at the forecast"
    table = Table(title=words, title_justify="left", box=SIMPLE)
    reserves = [f"{reserve.name} MW" for reserve in CAISO.reserves]
    for name in ("hour", "energy/MWh", "offered MW", "clears MW", f"{dearest.name}/MW", *reserves, "stored MWh"):
        table.add_column(name, justify="left" if name == "hour" else "right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        low, high, net, *others = (f"{row[name] + 0.0:.2f}".replace("-0.00", "0.00") for name in sums)
        begins = f"{row['start_utc'].astimezone(PACIFIC):%H:%M}"
        prices = usd(row["energy_usd_per_mwh"]), usd(row[dearest.price_column])
        table.add_row(begins, prices[0], f"{low} to {high}", net, prices[1], *others)
    return table


def _storage_table(resources: pl.DataFrame, limits: pl.DataFrame, bids: pl.DataFrame) -> Table:
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
    table = Table(title="Storage resources: offered over the day", title_justify="left", box=SIMPLE)
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
    if note := note_on_source(day["market.price_forecast"]["source"][0]):
        console.print(f"warning: {note}", soft_wrap=True)
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
    """What the day's bids were awarded and paid, by product, and the day's account, expected and settled."""
    day, console = shown_day(data, market_date), terminal()
    account = day["evaluation.settled_days"].row(0, named=True)
    console.print(*settlement_tables(day, market_date))
    console.print(
        f"{account['present']} prosumers available, {account['absent']} unavailable; "
        f"{account['limits_broken']} limits violated. Expected: at forecast prices, with all prosumers available.",
        soft_wrap=True,
    )


def settlement_tables(day: Day, market_date: date) -> tuple[Table, Table]:
    """Awards by product, and the account whose lines of energy, reserve, and payments they make."""
    return _awards_by_product(day, market_date), _account(day["evaluation.settled_days"].row(0, named=True))


def _awards_by_product(day: Day, market_date: date) -> Table:
    title = f"Settlement of {market_date}, at the clearing prices"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("product", "bids", "MWh offered", "MWh awarded", "MWh delivered", "market pays", "prosumers are paid"):
        table.add_column(name, justify="left" if name == "product" else "right")
    hours = day["market.opportunities"].select("opportunity_id", "duration_hours")
    rows = day["evaluation.settlement"].join(hours, on="opportunity_id")
    powers, amounts = ("bid_mw", "awarded_mw", "delivered_mw"), ("paid_usd", "payments_usd")
    totals = rows.with_columns(paid_usd=pl.col("revenue_usd") - pl.col("no_pay_usd")).group_by("product")
    energy = (pl.col(name) * pl.col("duration_hours") for name in powers)
    sums = totals.agg(pl.len().alias("bids"), *(mwh.sum() for mwh in energy), pl.col(*amounts).sum())
    for total in sums.sort("product").iter_rows(named=True):
        cells = [*(f"{total[name]:.2f}" for name in powers), *(usd(total[name]) for name in amounts)]
        table.add_row(total["product"], str(total["bids"]), *cells)
    return table


def _account(account: dict[str, Any]) -> Table:
    """The day's account, whose lines add up to its net: at forecast prices as planned, and as settled."""
    table = Table(
        title="Account of the day",
        title_justify="left",
        box=SIMPLE,
        show_footer=True,
    )
    *lines, net = (
        (words, *("" if amount is None else usd(amount) for amount in (expected, settled, change)))
        for words, expected, settled, change in account_lines(account)
    )
    for name, footer in zip(("", "expected", "settled", "difference"), net, strict=True):
        table.add_column(name, footer, justify="right" if name else "left")
    for line in lines:
        table.add_row(*line)
    return table
