"""Our branch and bound against HiGHS' own mixed-integer search: same problem, gap target and time limit, in one run.

    python benchmarks/bench_search.py [time limit in seconds, default 6] [day ...]

Both begin from CVXPY's formulation of the same day (real SP15 prices, default fleet); each one's CPU seconds include
its compilation and, of ours, the first answers, which no limit cuts short. Gaps are shares of what bidding could add by
each search's own bound; `best bound` is the lower of the two, `short of it` how far each answer can be from the optimum
by it. The days are the ten that took our search most nodes, of every eighth day of 2024.
"""

from __future__ import annotations

import sys
import time
from datetime import date

import numpy as np
from days import prepare_day, real_prices

from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.branch_and_bound import Limits, search
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import OptimiserSettings, Settings

DAYS = tuple(
    f"2024-{day}" for day in ("01-20", "03-10", "03-24", "04-01", "04-25", "05-19", "05-27", "10-02", "11-03", "12-21")
)

Answer = tuple[float, float, float]  # what bidding adds $, bound on it $, CPU seconds


def by_branch_and_bound(day: DayProblem, settings: OptimiserSettings) -> tuple[Answer, int, float]:
    """From no bid, as `solve_day` does; the number of nodes, and what the day is worth without bids."""
    begun, nothing = time.process_time(), np.zeros(len(day.price))
    limits = Limits(settings.node_limit, pivots=np.inf, seconds=settings.time_limit_seconds)
    linear = formulate(day, binary=False)
    linear.set_bids(nothing, nothing)
    linear.set_quantities(nothing, unlimited_mw(day))
    start = (linear.solve("HIGHS"), nothing)
    found = search(day, linear, start, settings.gap_target_fraction, limits)
    no_bid_usd = start[0]
    answer = (found.objective_usd - no_bid_usd, found.bound_usd - no_bid_usd, time.process_time() - begun)
    return answer, found.nodes, no_bid_usd


def by_highs(day: DayProblem, settings: OptimiserSettings, no_bid_usd: float) -> Answer:
    """CVXPY's mixed-integer problem; objective minus infinity where HiGHS has found nothing in time."""
    begun, nothing = time.process_time(), np.zeros(len(day.price))
    binary = formulate(day, binary=True)
    binary.set_bids(nothing, day.may_bid.astype(float))
    binary.set_quantities(nothing, unlimited_mw(day))
    try:
        found_usd = binary.solve(
            "HIGHS", time_limit=settings.time_limit_seconds, mip_rel_gap=settings.gap_target_fraction
        )
    except SolveError:
        return -np.inf, np.inf, time.process_time() - begun
    information = binary.problem.solver_stats.extra_stats
    return found_usd - no_bid_usd, -float(information.mip_dual_bound) - no_bid_usd, time.process_time() - begun


def gap(answer_usd: float, bound_usd: float) -> float:
    return max(0.0, bound_usd - answer_usd) / max(abs(bound_usd), 1e-9)


def main() -> None:
    limit_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    settings = Settings(optimiser=OptimiserSettings(time_limit_seconds=limit_seconds))
    source = real_prices()
    print(
        "                  ---- branch and bound ----------   ---- HiGHS mixed-integer --------   short of best bound"
    )
    print(
        "day                 CPU-s       adds      gap nodes     CPU-s       adds      gap  ratio      ours     HiGHS"
    )
    ratios = []
    for text in sys.argv[2:] or DAYS:
        inputs = prepare_day(date.fromisoformat(text), source, settings)
        _, day = prepare_problem(inputs, settings)
        ours, nodes, no_bid_usd = by_branch_and_bound(day, settings.optimiser)
        theirs = by_highs(day, settings.optimiser, no_bid_usd)
        best_bound_usd = min(ours[1], theirs[1])
        ratios.append(theirs[2] / ours[2])
        print(
            f"{text}        {ours[2]:7.2f} {ours[0]:10.2f} {100 * gap(*ours[:2]):7.3f}% {nodes:5d}   "
            f"{theirs[2]:7.2f} {theirs[0]:10.2f} {100 * gap(*theirs[:2]):7.3f}% {ratios[-1]:6.1f} "
            f"{100 * gap(ours[0], best_bound_usd):9.3f}% {100 * gap(theirs[0], best_bound_usd):8.3f}%",
            flush=True,
        )
    print(f"median ratio of CPU seconds, HiGHS over ours: {np.median(ratios):.1f}")


if __name__ == "__main__":
    main()
