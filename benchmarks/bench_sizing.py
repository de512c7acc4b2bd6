"""What each way to size R earns on real SP15 prices: a share of the fleet, or planned by typical prosumers.

    python benchmarks/bench_sizing.py [days, default 30] [arm ...; default: all]

Reads CAISO day-ahead prices (2023 and 2024) from ``../shared/data`` beside the checkout. The default 200 prosumers, all
hourly opportunities, no requests. `planned, deals` knows what was agreed on the seven days before, each negotiated with
planned sizes. `above no sale` is the objective less that of selling nothing; `settled` is what the awarded bids earn at
the prices of the day, which no arm knows; seconds are those of the solve. Ends with 1 where a rule is broken.
"""

from __future__ import annotations

import sys
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from days import prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import history_dates
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.evaluation.settlement import settle
from vpp_pipeline.fleet.archetypes import combine_deals, mean_deals
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import bid_solution, prepare_problem, solve
from vpp_pipeline.settings import OpportunityPolicy, Settings
from vpp_pipeline.verification.registry import verify

STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
PLANNED = OpportunityPolicy(sizing="planned")
ARMS = {
    "fraction 0.1": OpportunityPolicy(sizing="fraction", fraction=0.1),
    "fraction 0.3": OpportunityPolicy(sizing="fraction", fraction=0.3),
    "fraction 0.5": OpportunityPolicy(sizing="fraction", fraction=0.5),
    "planned": PLANNED,
    "planned, deals": PLANNED,
}
HEAD = (
    "means of a day       profit  above no sale  settled   bids  no_bids  MW sold      gap  largest  sec  max  broken"
)


@dataclass(frozen=True)
class Measured:
    """One day of one arm."""

    profit_usd: float
    above_no_sale_usd: float
    settled_usd: float
    bids: int
    no_bids: int
    sold_mw: float
    gap_percent: float
    seconds: float
    violations: int


def measure(market_date: date, arm: str, source: PriceSource) -> Measured:
    settings = Settings(opportunities=ARMS[arm])
    deals = recent_deals(market_date, source, settings) if arm.endswith("deals") else None
    prepared = prepare_day(market_date, source, settings, deals)
    day, problem = prepare_problem(prepared, settings)
    solution = solve(problem, settings)
    tables = bid_solution(day, problem, solution, settings, STAMP)
    broken = [v for v in verify(tables, settings).values() if not (v.passed or v.is_warning)]
    bids, totals = tables["bids.final_bids"], tables["dispatch.reconciliation"].row(0, named=True)
    trading = bids.filter(status="bid")
    settled = settle(tables["market.opportunities"], bids, tables["bids.bid_segments"], source.day(market_date))
    return Measured(
        profit_usd=totals["sum_bid_profit_usd"],
        above_no_sale_usd=totals["objective_usd"] - totals["no_sale_value_usd"],
        settled_usd=float(settled["profit_usd"].sum()),
        bids=trading.height,
        no_bids=bids.height - trading.height,
        sold_mw=float(trading["total_capacity_mw"].sum()),
        gap_percent=100.0 * solution.gap_fraction,
        seconds=solution.seconds,
        violations=sum(result.violations for result in broken),
    )


def recent_deals(market_date: date, source: PriceSource, settings: Settings) -> pl.DataFrame | None:
    """What was agreed on those of the seven days before that have a week of prices themselves."""
    found = []
    for before in history_dates(market_date):
        try:
            inputs = prepare_day(before, source, settings)
        except InputError:
            continue
        agreements = prepare_problem(inputs, settings)[0]["negotiation.agreements"]
        found.append(mean_deals(inputs["market.opportunities"], inputs["fleet.prosumers"], agreements))
    return combine_deals(pl.concat(found)) if found else None


def show(arm: str, days: list[Measured], base: list[Measured]) -> None:
    """Means over the days, with the largest gap and seconds, and on how many days it beats the first arm."""
    table = np.array([astuple(day) for day in days], dtype=float)
    mean, largest = table.mean(axis=0), table.max(axis=0)
    better = sum(day.above_no_sale_usd > other.above_no_sale_usd for day, other in zip(days, base, strict=True))
    print(
        f"{arm:15s} {mean[0]:9.2f} {mean[1]:11.2f} {mean[2]:9.2f} {mean[3]:6.1f} {mean[4]:8.1f} {mean[5]:8.1f} "
        f"{mean[6]:7.3f}% {largest[6]:7.3f}% {np.median(table[:, 7]):7.2f} {largest[7]:7.2f} "
        f"{int(table[:, 8].sum()):6d} {better:4d}/{len(days)}"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    arms, source = sys.argv[2:] or list(ARMS), real_prices()
    measured: dict[str, list[Measured]] = {arm: [] for arm in arms}
    for market_date in random_days(count):
        try:
            today = [measure(market_date, arm, source) for arm in arms]
        except InputError as error:
            print(f"{market_date}   left out: {error}", flush=True)
            continue
        for arm, result in zip(arms, today, strict=True):
            measured[arm].append(result)
        told = ", ".join(
            f"{arm} {result.above_no_sale_usd:.2f} (gap {result.gap_percent:.2f} %)"
            for arm, result in zip(arms, today, strict=True)
        )
        print(f"{market_date}   $ above no sale: {told}", flush=True)
    print(f"\n{HEAD}")
    for arm in arms:
        show(arm, measured[arm], measured[arms[0]])
    sys.exit(int(any(result.violations for days in measured.values() for result in days)))


if __name__ == "__main__":
    main()
