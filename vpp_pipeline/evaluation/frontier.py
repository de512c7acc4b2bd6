"""A day's profit against its risk, and against its owners' satisfaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.box import SIMPLE
from rich.table import Table

from vpp_pipeline.core.display import percent, terminal, usd
from vpp_pipeline.core.tables import Day
from vpp_pipeline.dispatch.scenarios import outcome_of
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.negotiation.agreements import options, satisfaction_worth, weighted_satisfaction
from vpp_pipeline.pipeline import negotiate_in_memory, pay, prepare_problem, solve, state_problem, tabulate
from vpp_pipeline.reporting.pictures import Panel, draw
from vpp_pipeline.schemas import PriceScenarios
from vpp_pipeline.settings import Settings

ENOUGH_SCENARIOS = 50  # where the settings ask for one only
MOST_WEIGHT = 10.0  # $/MWh, the largest that the settings allow
DEAL = ["opportunity_id", "prosumer_id"]


def for_frontier(settings: Settings) -> Settings:
    """The settings bid hour by hour, which scenarios are solved for alone, with scenarios where they have none."""
    settings = settings.hour_by_hour()
    if settings.risk.scenarios > 1:
        return settings
    return settings.model_copy(update={"risk": settings.risk.model_copy(update={"scenarios": ENOUGH_SCENARIOS})})


def risk_frontier(inputs: Day, settings: Settings, points: int) -> pl.DataFrame:
    """One row per aversion λ from 0 to 1: the day's expected profit, CVaR, worst and mean scenario, bids, open gap.

    What is found for one λ is a candidate for every other, and each λ takes the best of all. So as λ grows, expected
    profit never rises and CVaR never falls, whatever gap a search has left. ``open_usd`` is how far the λ's bound lies
    above its value, in $, since a value near 0 has no useful relative gap.
    """
    _, day = prepare_problem(inputs, settings)
    if day.scenarios is None:
        raise ValueError("a frontier of risk needs rows of market.price_scenarios")
    aversions, found, bounds = np.linspace(0.0, 1.0, points), [], []
    for aversion in aversions:
        averse = replace(day, scenarios=replace(day.scenarios, aversion=float(aversion)))
        solution = solve(averse, settings)
        outcome = outcome_of(averse, solution)
        bounds.append(solution.bound_usd)
        found.append(
            {
                "expected_usd": outcome.expected_usd,
                "cvar_usd": outcome.cvar_usd,
                "worst_usd": float(outcome.scenario_usd.min()),
                "mean_usd": float(outcome.scenario_usd.mean()),
                "bids": int(solution.is_bid.sum()),
            }
        )
    candidates = pl.DataFrame(found)
    expected, cvar = candidates["expected_usd"].to_numpy(), candidates["cvar_usd"].to_numpy()
    value = (1.0 - aversions)[:, None] * expected + aversions[:, None] * cvar
    open_usd = np.maximum(np.array(bounds) - value.max(axis=1), 0.0)
    best = pl.Series(value.argmax(axis=1))
    return candidates.select(pl.all().gather(best)).with_columns(
        aversion=pl.Series(aversions), open_usd=pl.Series(open_usd)
    )


def satisfaction_frontier(inputs: Day, settings: Settings, points: int) -> pl.DataFrame:
    """One row per weight of satisfaction from $0 to $10/MWh: the day's profit, owners' gain, satisfaction, bids.

    ``gain_usd``: paid to owners above their reservation prices. ``satisfaction``: mean of those dispatched, weighted by
    commitment, as bids report it; it can fall where more owners deliver a little. At forecast prices; here too each
    weight takes the best of all that was found.
    """
    weights, found, sold = np.linspace(0.0, MOST_WEIGHT, points), [], []
    certain = {**inputs, "market.price_scenarios": PriceScenarios.create_empty()}
    certain |= negotiate_in_memory(certain, settings)
    for weight in weights:
        optimiser = settings.optimiser.model_copy(update={"satisfaction_weight_usd_per_mwh": float(weight)})
        weighted = settings.model_copy(update={"optimiser": optimiser})
        problem, _ = state_problem(certain, weighted)
        solution = solve(problem, weighted)
        paid = _paid(certain | tabulate(problem, solution, weighted))
        gain = pl.col("payment_usd") - pl.col("reservation_price_usd_per_mwh") * pl.col("dispatched_kwh") / 1000.0
        sold.append(paid)
        found.append(
            {
                "profit_usd": solution.objective_usd - _credit_usd(paid, weight),
                "gain_usd": float(paid.select(gain.sum()).item()),
                "satisfaction": weighted_satisfaction(
                    paid["satisfaction_score"].to_numpy(), paid["committed_capacity_kw"].to_numpy()
                ),
                "bids": int(solution.is_bid.sum()),
            }
        )
    candidates = pl.DataFrame(found)
    value = np.array([candidates["profit_usd"].to_numpy() + [_credit_usd(s, w) for s in sold] for w in weights])
    best = pl.Series(value.argmax(axis=1))
    return candidates.select(pl.all().gather(best)).with_columns(weight_usd_per_mwh=pl.Series(weights))


def _paid(day: Day) -> pl.DataFrame:
    """Rows of `dispatch.payments`, with each deal's reservation price and commitment."""
    held = options(day["negotiation.agreements"])
    terms = held.select(*DEAL, "committed_capacity_kw", "reservation_price_usd_per_mwh")
    return pay(day)["dispatch.payments"].join(terms, on=DEAL)


def _credit_usd(sold: pl.DataFrame, weight: float) -> float:
    """What these sales are worth to the objective on top of money, by that weight of satisfaction."""
    agreed, least = sold["agreed_price_usd_per_mwh"].to_numpy(), sold["reservation_price_usd_per_mwh"].to_numpy()
    return float(satisfaction_worth(agreed, least, weight) @ sold["dispatched_kwh"].to_numpy()) / 1000.0


def show_frontier(day: DayInputs, risk: pl.DataFrame, satisfaction: pl.DataFrame) -> None:
    """Both frontiers of the day as tables in the terminal."""
    risks, console = day.settings.risk, terminal()
    console.print(
        _table(
            f"{day.market_date:%A %d %B %Y}: profit against risk, {risks.scenarios} scenarios",
            risk,
            {
                "aversion": ("lambda", "{:.2f}".format),
                "expected_usd": ("expected profit", usd),
                "cvar_usd": (f"CVaR, worst {percent(risks.tail_fraction, 0)}", usd),
                "worst_usd": ("worst scenario", usd),
                "mean_usd": ("mean scenario", usd),
                "bids": ("bids", str),
                "open_usd": ("gap", usd),
            },
        )
    )
    console.print(
        _table(
            "profit against satisfaction",
            satisfaction,
            {
                "weight_usd_per_mwh": ("weight per MWh", usd),
                "profit_usd": ("expected profit", usd),
                "gain_usd": ("owners' gain", usd),
                "satisfaction": ("mean satisfaction, 0-10", "{:.3f}".format),
                "bids": ("bids", str),
            },
        )
    )
    console.print(
        "Profit is the day's, less the charging that owners need anyway, of bids hour by hour "
        "(resources.participation=hourly): scenarios are solved for them alone. Expected: at forecast prices, with "
        "every prosumer available; in scenarios some are unavailable, and their part is bought back.",
        soft_wrap=True,
    )


def _table(title: str, rows: pl.DataFrame, columns: dict[str, tuple[str, Callable[[Any], str]]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for heading, _ in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        table.add_row(*("" if row[name] is None else form(row[name]) for name, (_, form) in columns.items()))
    return table


def write_picture(file: Path, day: DayInputs, risk: pl.DataFrame, satisfaction: pl.DataFrame) -> None:
    """Write both frontiers side by side as SVG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(frontier_picture(day, risk, satisfaction), encoding="utf-8")


def _efficient(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that no other beats in profit without less gain, in order of gain."""
    dearest_first = rows.sort("gain_usd", "profit_usd", descending=True)
    best_so_far = pl.col("profit_usd").cum_max().shift(1)
    return dearest_first.filter((pl.col("profit_usd") > best_so_far).fill_null(True)).reverse()


def frontier_picture(day: DayInputs, risk: pl.DataFrame, satisfaction: pl.DataFrame) -> str:
    """Both frontiers side by side, as SVG; without weights by which both profit and gain are less than by another."""
    efficient = _efficient(satisfaction)
    risks, (node, source) = day.settings.risk, day.forecast.select("node", "source").row(0)
    panels = [
        Panel(
            "Expected profit against risk",
            f"CVaR: mean of the worst {percent(risks.tail_fraction, 0)} of {risks.scenarios} scenarios, $",
            "expected profit, $",
            risk.select("cvar_usd", "expected_usd").rows(),
            [f"λ {aversion:g}" for aversion in risk["aversion"].round(3)],
        ),
        Panel(
            "Expected profit against satisfaction",
            "owners' gain: paid above their reservation prices, $",
            "expected profit, $",
            efficient.select("gain_usd", "profit_usd").rows(),
            [f"${weight:g}/MWh" for weight in efficient["weight_usd_per_mwh"].round(2)],
        ),
    ]
    return draw(f"Profit, risk, and satisfaction on {day.market_date:%A %d %B %Y}", f"{node}, prices: {source}", panels)
