"""What the optimiser's benchmark measures, each in a process of its own: a name, its arguments, a row of numbers.

    python benchmarks/optimiser_measures.py <measure> [arguments]     prints JSON

Seconds are wall clock and processor time of all threads; the latter is steadier on a busy machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import wraps
from typing import Any

import numpy as np
from bench_pipeline import Memory
from export_day import compiled, numbers_of, relaxed

from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.settings import MarketRules, OptimiserSettings

Row = dict[str, Any]
BASE = 20_000  # prosumers of the negotiated day that larger ones repeat
WARM_UP = 200


class Stopwatch:
    """Seconds and peak memory by phase, of this process."""

    def __init__(self) -> None:
        self.row: Row = {}
        self._memory = Memory()
        self._memory.start()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun, wall, cpu = time.time(), time.perf_counter(), time.process_time()
        yield
        self.row |= {f"{name}_s": time.perf_counter() - wall, f"{name}_cpu_s": time.process_time() - cpu}
        self.row[f"{name}_gb"] = self._memory.peak_gb(begun, time.time())

    def count(self, name: str, of: type, method: str) -> None:
        """Add up the seconds of a method, over all its calls."""
        called = getattr(of, method)

        @wraps(called)
        def counted(*args: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            answer = called(*args, **named)
            self.row[f"{name}_s"] = self.row.get(f"{name}_s", 0.0) + time.perf_counter() - wall
            self.row[f"{name}_cpu_s"] = self.row.get(f"{name}_cpu_s", 0.0) + time.process_time() - cpu
            self.row[f"{name}_calls"] = self.row.get(f"{name}_calls", 0) + 1
            return answer

        setattr(of, method, counted)

    def stop(self) -> Row:
        self._memory.stop()
        return self.row


def day_of(kind: str, prosumers: int) -> DayProblem:
    """``reference`` or ``negotiated`` day; a negotiated one above BASE repeats that of BASE."""
    from optimiser_days import negotiated_day, reference_day, repeated_day

    if kind == "reference":
        return reference_day(prosumers)
    times = prosumers // BASE
    return negotiated_day(prosumers) if times <= 1 else repeated_day(negotiated_day(BASE), times)


def relaxation(kind: str, prosumers: str, gap: str, verified: str = "yes") -> Row:
    """The LP relaxation by column generation to ``gap``; every schedule recovered and judged by other code."""
    from rebuild_schedule import rebuild

    from vpp_pipeline.dispatch.column_generation.master import Master
    from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer
    from vpp_pipeline.dispatch.column_generation.recovery import recover
    from vpp_pipeline.dispatch.column_generation.warm_start import prepare

    small = day_of(kind, WARM_UP)  # compiles, or reads what was compiled
    prepared = prepare(small, 1e-2, decides=False)
    nothing, anything = np.zeros(len(small.price)), small.may_bid.astype(float)
    recover(prepared.pricer, prepared.generation, prepared.generation.converge(nothing, anything, 1e-2)[0])
    watch = Stopwatch()
    with watch.phase("day"):
        day = day_of(kind, int(prosumers))
    watch.count("sweep", FleetPricer, "price")
    watch.count("master", Master, "solve")
    watch.count("columns", Master, "add")
    with watch.phase("all"):
        with watch.phase("prepare"):
            prepared = prepare(day, float(gap), decides=False)
        with watch.phase("converge"):
            low, high = np.zeros(len(day.price)), day.may_bid.astype(float)
            answer, bound_usd = prepared.generation.converge(low, high, float(gap))
        if verified == "yes":
            with watch.phase("recover"):
                plan = recover(prepared.pricer, prepared.generation, answer)
                schedule = prepared.pricer.collect(plan, answer.duals, prepared.no_sale).schedule
    row = watch.stop() | {"prosumers": len(day.fleet), "agreements": len(day.agreement_prosumer)}
    row |= {"sweeps": prepared.pricer.sweeps, "columns": len(answer.weights), "bound_usd": bound_usd}
    row |= {"objective_usd": answer.objective_usd, "gap": _gap(answer.objective_usd, bound_usd)}
    if verified == "yes":
        rebuilt = rebuild(day, schedule)
        row |= {"rebuilt_usd": rebuilt.objective_usd, "rebuilt_gap": _gap(rebuilt.objective_usd, bound_usd)}
        row |= {"worst_excess": rebuilt.worst, "over_mw": rebuilt.over_required_mw, "excess": rebuilt.excess}
    return row


def _gap(objective_usd: float, bound_usd: float) -> float:
    return (bound_usd - objective_usd) / max(abs(bound_usd), 1e-9)


def cvxpy(kind: str, prosumers: str, solver: str) -> Row:
    """The same LP by a solver through CVXPY: formulated, compiled and solved."""
    day, linear = day_of(kind, int(prosumers)), relaxed(day_of("reference", 3))
    linear.solve(solver)  # imports what CVXPY needs
    wall, cpu = time.perf_counter(), time.process_time()
    linear = relaxed(day)
    objective_usd = linear.solve(solver)
    row = {"objective_usd": objective_usd, "all_s": time.perf_counter() - wall, "all_cpu_s": time.process_time() - cpu}
    return row | {"solver_s": linear.problem.solver_stats.solve_time, "status": linear.problem.status}


def exact(kind: str, prosumers: str) -> Row:
    """The same LP as the exact method solves it at each node: what cannot bind left out, then HiGHS."""
    day = day_of(kind, int(prosumers))
    relaxed(day_of("reference", 3)).go_on()  # imports what CVXPY needs
    wall, cpu = time.perf_counter(), time.process_time()
    linear = relaxed(day)
    objective_usd = linear.go_on()
    row = {"objective_usd": objective_usd, "all_s": time.perf_counter() - wall, "all_cpu_s": time.process_time() - cpu}
    return row | {"solver_s": linear.problem.solver_stats.solve_time, "status": linear.problem.status}


def export(kind: str, prosumers: str, file: str) -> Row:
    """The day as arrays, into ``file`` (.npz); seconds of stating and compiling it by CVXPY."""
    day = day_of(kind, int(prosumers))
    relaxed(day_of("reference", 3)).solve("HIGHS")
    wall, cpu = time.perf_counter(), time.process_time()
    matrix = compiled(relaxed(day))
    row = {"compile_s": time.perf_counter() - wall, "compile_cpu_s": time.process_time() - cpu}
    row |= {"rows": len(matrix["lp_row_upper"])}
    np.savez(file, **numbers_of(day), **matrix)
    return row | {"columns": len(matrix["lp_cost"]), "agreements": len(day.agreement_prosumer)}


def bids(prosumers: str, market_date: str, limit_seconds: str) -> Row:
    """Bid or no bid, with the 80% rule, on a negotiated day: the whole call of `solve_day`."""
    from optimiser_days import negotiated_day
    from rebuild_schedule import rebuild

    from vpp_pipeline.dispatch.solvers import solve_day

    rules = MarketRules()
    by_seconds = {"pivot_limit": 10**9, "time_limit_seconds": float(limit_seconds)}
    settings = OptimiserSettings(method="column_generation", **by_seconds)
    solve_day(negotiated_day(WARM_UP), rules, settings.model_copy(update={"time_limit_seconds": 1.0}))
    day, watch = negotiated_day(int(prosumers), date.fromisoformat(market_date)), Stopwatch()
    with watch.phase("all"):
        solution = solve_day(day, rules, settings)
    rebuilt = rebuild(day, solution.schedule)
    row = watch.stop() | {"gap": solution.gap_fraction, "bids": int(solution.is_bid.sum()), "method": solution.method}
    row |= {"objective_usd": solution.objective_usd, "bound_usd": solution.bound_usd}
    return row | {"worst_excess": rebuilt.worst, "excess": rebuilt.excess}


def first_call() -> Row:
    """The first and the second call of `solve_day` in this process: their difference is compiling, or reading."""
    wall = time.perf_counter()
    from optimiser_days import reference_day

    from vpp_pipeline.dispatch.solvers import solve_day

    row: Row = {"import_s": time.perf_counter() - wall}
    settings = OptimiserSettings(method="column_generation", gap_target_fraction=0.01)
    day = reference_day(30)
    for call in ("first", "second"):
        wall, cpu = time.perf_counter(), time.process_time()
        solve_day(day, MarketRules(), settings)
        row |= {f"{call}_s": time.perf_counter() - wall, f"{call}_cpu_s": time.process_time() - cpu}
    return row


MEASURES: dict[str, Callable[..., Row]] = {f.__name__: f for f in (relaxation, cvxpy, exact, export, bids, first_call)}


def main() -> None:
    name, *arguments = sys.argv[1:]
    answer_to = os.dup(1)  # what a solver prints goes to the errors, so that the answer stands alone
    os.dup2(2, 1)
    row = MEASURES[name](*arguments)
    os.write(answer_to, json.dumps(row, default=float).encode())


if __name__ == "__main__":
    main()
