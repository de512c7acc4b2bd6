"""What scenarios are worth on real SP15 prices: curves that rest on them, and caution, against what then cleared.

    python benchmarks/bench_risk.py [random days, default 30] [scenarios, default 30]

Reads CAISO day-ahead prices (January 2023 to December 2024) from ``../shared/data`` beside the checkout. The default
fleet of 200 prosumers, no requests, no Dagster. Two questions:

- *Curves*: the energy bids of the same solution, priced by merit order and by scenarios, settled at the prices that
  cleared (`evaluation/settlement.py`: awarded where the price is reached; payments and charging in proportion).
- *Caution*: for each aversion, what the schedule earns at the prices that cleared if all of it is awarded and
  delivered; beside it, how often that was less than in the worst tenth of the scenarios (10 % if they are as wide as
  the world).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from days import prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.scenarios import Outcome, outcome_of
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import wanted_quantities
from vpp_pipeline.evaluation.settlement import settle
from vpp_pipeline.forecasting.price_scenarios import PRICES, Scenarios, price_scenarios, scenario_dates
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import bid_solution, prepare_problem
from vpp_pipeline.settings import RiskSettings, Settings

AVERSIONS = (0.0, 0.25, 0.5)
STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    settings = Settings(risk=RiskSettings(scenarios=int(sys.argv[2]) if len(sys.argv) > 2 else 30))
    source, curves, caution, seconds = real_prices(), [], [], []
    print("day          energy settled, $: merit  scenarios     earned at cleared prices, $, by aversion")
    for market_date in random_days(count):
        try:
            day, cleared = negotiated(market_date, source, settings)
        except InputError as error:
            print(f"{market_date}   left out: {error}")
            continue
        rows = []
        for aversion in AVERSIONS:
            averse = replace(day.problem, scenarios=replace(scenarios_of(day), aversion=aversion))
            begun = time.perf_counter()
            solution = solve_day(averse, settings.rules, settings.optimiser)
            solved = time.perf_counter()
            if aversion == 0.0:
                curves.append(settled_both_ways(day, solution, cleared))
                begun_again = time.perf_counter()
                wanted_quantities(day.problem, solution)
                seconds.append(time.perf_counter() - begun_again)
            outcome = outcome_of(averse, solution)
            rows.append(
                (*earned(day, solution, outcome, cleared), outcome.expected_usd, outcome.cvar_usd, solved - begun)
            )
        caution.append(rows)
        print(
            f"{market_date}   {curves[-1][0]:24.2f} {curves[-1][1]:10.2f}     "
            + " ".join(f"{row[0]:9.2f}" for row in rows),
            flush=True,
        )
    report(np.array(curves), np.array(caution), np.array(seconds))


@dataclass(frozen=True)
class Negotiated:
    """A day whose deals are known: its tables so far, and its problem."""

    tables: Tables
    problem: DayProblem
    settings: Settings


def negotiated(market_date: date, source: PriceSource, settings: Settings) -> tuple[Negotiated, pl.DataFrame]:
    """The day up to its negotiation, and the prices that cleared."""
    inputs = prepare_day(market_date, source, settings)
    history = []
    for day in scenario_dates(market_date, settings.risk.history_days):
        try:
            history.append(source.day(day))
        except InputError:
            continue
    rows = price_scenarios(inputs["market.price_forecast"], pl.concat(history), settings.risk)
    tables, problem = prepare_problem(inputs | {"market.price_scenarios": rows}, settings)
    return Negotiated(tables, problem, settings), source.day(market_date)


def scenarios_of(day: Negotiated) -> Scenarios:
    assert day.problem.scenarios is not None
    return day.problem.scenarios


def settled_both_ways(
    day: Negotiated, solution: DaySolution, cleared: pl.DataFrame
) -> tuple[float, float, float, float]:
    """Profit and MW of the energy bids with curves by merit order and by scenarios."""
    found = []
    for problem in (replace(day.problem, scenarios=None), day.problem):
        tables = bid_solution(day.tables, problem, solution, day.settings, STAMP)
        rows = settle(
            day.tables["market.opportunities"], tables["bids.final_bids"], tables["bids.bid_segments"], cleared
        )
        energy = rows.filter(pl.col("product") == "energy")
        found.append((float(energy["profit_usd"].sum()), float(energy["awarded_mw"].sum())))
    return found[0][0], found[1][0], found[0][1], found[1][1]


def earned(day: Negotiated, solution: DaySolution, outcome: Outcome, cleared: pl.DataFrame) -> tuple[float, float]:
    """What everything decided earns at the prices that cleared, and whether that is below the worst tenth."""
    price = cleared.sort("start_utc").select(PRICES).to_numpy().T
    problem = day.problem
    mean_price = np.einsum("ot,ot->o", price[problem.product], problem.covers / problem.hours[:, None])
    actual = Scenarios(
        probability=np.ones(1),
        price=mean_price[None, :],
        market_price=price[:1],
        delivered_fraction=np.ones((1, len(mean_price))),
        unpaid=np.zeros((1, len(mean_price))),
        shortfall_penalty_fraction=0.0,
        aversion=0.0,
        tail_fraction=1.0,
    )
    found = outcome_of(replace(problem, scenarios=actual), solution)
    return float(found.scenario_usd[0]), float(found.scenario_usd[0] < np.quantile(outcome.scenario_usd, 0.1))


def report(curves: np.ndarray, caution: np.ndarray, seconds: np.ndarray) -> None:
    merit, scenario, merit_mw, scenario_mw = curves.T
    better, worse = (scenario > merit + 0.01).sum(), (scenario < merit - 0.01).sum()
    print(
        f"\n{len(curves)} days. Energy bids settled: merit order {merit.sum():.2f} $ on {merit_mw.sum():.2f} MW, "
        f"scenarios {scenario.sum():.2f} $ on {scenario_mw.sum():.2f} MW; better on {better} days, worse on {worse}. "
        f"What is wanted in all scenarios takes {np.median(seconds):.2f} s (median)."
    )
    print(
        "aversion  expected    CVaR  earned: mean  worst fifth  worst day  below the worst tenth  solve s, median, max"
    )
    for k, aversion in enumerate(AVERSIONS):
        actual, below, expected, tail, spent = caution[:, k].T
        worst_fifth = np.sort(actual)[: max(1, len(actual) // 5)].mean()
        print(
            f"{aversion:8.2f} {expected.mean():9.2f} {tail.mean():7.2f} {actual.mean():13.2f} {worst_fifth:12.2f} "
            f"{actual.min():10.2f} {below.mean():22.0%} {np.median(spent):14.2f} {spent.max():6.2f}"
        )


if __name__ == "__main__":
    main()
