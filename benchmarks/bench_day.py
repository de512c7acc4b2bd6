"""How long a day takes, and how well it is proved: negotiation, solve, verification on real SP15 prices.

    python benchmarks/bench_day.py [random days, default 20] [time limit of the search in seconds, default 8]

Reads CAISO day-ahead prices (January 2023 to December 2024) from ``../shared/data`` beside the checkout. Runs the pure
functions alone: no Dagster, no DuckDB, no files written. The default fleet of 200 prosumers; no requests. Negotiation
includes the forecast, the fleet and its hourly limits; verification includes forming the bids.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime

import numpy as np
from days import prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.pipeline import bid_solution, prepare_problem, solve
from vpp_pipeline.settings import OptimiserSettings, Settings
from vpp_pipeline.verification.registry import verify

ALWAYS = (date(2023, 8, 15), date(2024, 7, 11), date(2024, 3, 10), date(2024, 11, 3))
LONG_SECONDS, WIDE_GAP = 10.0, 0.01
STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    limit_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
    source = real_prices()
    settings = Settings(optimiser=OptimiserSettings(pivot_limit=10**9, time_limit_seconds=limit_seconds))
    measured = []
    print("day          negotiate   solve  verify   total     objective     gap    bids  method")
    for market_date in [*ALWAYS, *random_days(count)]:
        begun = time.perf_counter()
        try:
            prepared = prepare_day(market_date, source, settings)
        except InputError as error:
            print(f"{market_date}   left out: {error}")
            continue
        day, problem = prepare_problem(prepared, settings)
        negotiated = time.perf_counter()
        solution = solve(problem, settings)
        solved = time.perf_counter()
        results = verify(bid_solution(day, problem, solution, settings, STAMP), settings)
        broken = [name for name, result in results.items() if not (result.passed or result.is_warning)]
        seconds = [negotiated - begun, solution.seconds, time.perf_counter() - solved]
        measured.append((*seconds, sum(seconds), solution.gap_fraction))
        print(
            f"{market_date}   {seconds[0]:9.2f} {seconds[1]:7.2f} {seconds[2]:7.2f} {sum(seconds):7.2f} "
            f"{solution.objective_usd:11.2f} $ {100 * solution.gap_fraction:6.3f}% {solution.is_bid.sum():5d}  "
            f"{solution.method}{'  BROKEN: ' + ', '.join(broken) if broken else ''}",
            flush=True,
        )
    table = np.array(measured)
    for name, row in (
        ("median", np.median(table, axis=0)),
        ("p95", np.quantile(table, 0.95, axis=0)),
        ("max", table.max(axis=0)),
    ):
        print(f"{name:10s}   {row[0]:9.2f} {row[1]:7.2f} {row[2]:7.2f} {row[3]:7.2f} {'':13s} {100 * row[4]:6.3f}%")
    long_days, wide_days = int((table[:, 3] > LONG_SECONDS).sum()), int((table[:, 4] > WIDE_GAP).sum())
    print(
        f"{len(table)} days; above {LONG_SECONDS:g} s: {long_days}; gap above {WIDE_GAP:.0%}: {wide_days}; "
        f"gap above the target of {settings.optimiser.gap_target_fraction:.1%}: "
        f"{int((table[:, 4] > settings.optimiser.gap_target_fraction).sum())}"
    )


if __name__ == "__main__":
    main()
