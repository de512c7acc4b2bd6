"""What commits are compared by: small pieces of real work on embedded data, each as a ratio to a fixed piece of work.

    python benchmarks/commit_measures.py          reads names of measurements, a line each; answers with a line of JSON
    python benchmarks/commit_measures.py <name>   one of them alone

`compare_commits.py` runs it once per commit, with that commit's package on PYTHONPATH. Every measurement imports what
it needs by itself, so that one which an older package cannot do leaves the others alone.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

DAY = date(2023, 8, 15)
IMPORT = "import of the definitions"  # the one measurement that needs a fresh process
NODES = 20  # branchings of every search: a limit in seconds would depend on the machine
INTERVAL_S = 0.05  # CPU seconds between two units

Work = Callable[[], object]
Answer = dict[str, Any]  # ratio, or problem


class Units:
    """Does a fixed piece of numpy and Python again and again while other work is measured: how fast the machine is.

    On a busy machine the same work takes half as many CPU seconds again from one moment to the next, while others use
    its caches and the other half of the core. So a timer of CPU time interrupts the work, on its own core. A unit takes
    some 5 ms and a megabyte. Every stored ratio rests on it: it must never change.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __enter__(self) -> Units:
        signal.signal(signal.SIGPROF, self._do)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _do(self, *_: object) -> None:
        begun = time.thread_time()
        values = np.random.default_rng(20230815).random(20_000)
        sums = np.cumsum(values[np.argsort(values)])
        groups: dict[str, list[float]] = {}
        for value in sums[::5].tolist():
            groups.setdefault(f"{value:.3f}"[-2:], []).append(value)
        sum(sorted(value % 1.0 for group in groups.values() for value in group))
        self.seconds.append(time.thread_time() - begun)


def settings_of(prosumers: int, **optimiser: float) -> Any:
    from vpp_pipeline.settings import Settings

    groups = {
        "fleet": {"prosumers": prosumers},
        "resources": {"participation": "hourly"},
    }  # as before it was no default
    return Settings.model_validate({**groups, "optimiser": _search(**optimiser)})


def _search(**optimiser: float) -> dict[str, float]:
    return {"time_limit_seconds": 3600.0, "node_limit": NODES, **optimiser}


@cache
def inputs_of(prosumers: int) -> dict[str, Any]:
    """The day's tables up to its opportunities, at the generator's prices."""
    from vpp_pipeline.inputs.day_inputs import DayInputs

    return dict(DayInputs(DAY, settings_of(prosumers), None, None, None).tables())


@cache
def problem_of(prosumers: int) -> tuple[dict[str, Any], Any]:
    """The day negotiated: its tables, and its problem."""
    from vpp_pipeline.pipeline import prepare_problem

    return prepare_problem(inputs_of(prosumers), settings_of(prosumers))


def stamp() -> Any:
    from vpp_pipeline.bidding.bids import Stamp

    return Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))


def import_definitions() -> Work:
    return lambda: import_module("vpp_pipeline.definitions")


def make_fleet() -> Work:
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.pipeline import limit_fleet

    day, settings = inputs_of(2_000), settings_of(2_000)
    return lambda: limit_fleet({**day, "fleet.prosumers": generate_fleet(settings.fleet, DAY)})


def find_opportunities() -> Work:
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.pipeline import find_opportunities

    day, settings = inputs_of(30), settings_of(30)
    none = DayInputs(DAY, settings, None, None, None).requests  # whose type differs between commits
    return lambda: find_opportunities(day, settings, none)


def negotiate() -> Work:
    from vpp_pipeline.pipeline import negotiate_in_memory

    day, settings = inputs_of(200), settings_of(200)
    return lambda: negotiate_in_memory(day, settings)


def solve_exactly() -> Work:
    """To the limit of nodes: no gap is small enough."""
    from vpp_pipeline.dispatch.solvers import solve_day

    _, problem = problem_of(60)
    settings = settings_of(60, gap_target_fraction=0.0)
    return lambda: solve_day(problem, settings.rules, settings.optimiser)


def price_sweep() -> Work:
    """Every prosumer's best response to the market's prices; a first sweep has compiled or read the kernels."""
    from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, stores_of
    from vpp_pipeline.dispatch.problem import Duals

    _, problem = problem_of(2_000)
    one = np.zeros(len(problem.fleet), dtype=np.int64)
    pricer = FleetPricer(stores_of(problem), one, 1, problem.call_hours)
    reserve = np.full(len(problem.market_price), 5.0)
    duals = Duals(problem.market_price, problem.market_price, reserve, reserve / 2.0)
    pricer.price(duals)
    return lambda: pricer.price(duals)


def publish() -> Work:
    """The day replaced in a warehouse that holds it."""
    from vpp_pipeline.core.lake import Lake
    from vpp_pipeline.warehouse.publish import publish

    folder = made_by_dagster()
    return lambda: publish(Lake(folder / "lake"), folder / "vpp.duckdb", DAY)


def whole_day() -> Work:
    """From the inputs to bids that hold every rule."""
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.pipeline import bid, verify

    settings = settings_of(30)

    def make() -> None:
        day = bid(DayInputs(DAY, settings, None, None, None).tables(), settings, stamp())
        verify(day, settings)

    return make


def dagster_day() -> Work:
    """The same by the job `bid_day`, published into a new warehouse."""
    made_by_dagster()  # the first run imports what the others find imported

    def make() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run_dagster(Path(folder))

    return make


@cache
def made_by_dagster() -> Path:
    """A folder with the lake and the warehouse of the day; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="vpp_compare_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run_dagster(folder)
    return folder


def run_dagster(folder: Path) -> None:
    import dagster as dg

    from vpp_pipeline.definitions import definitions_of
    from vpp_pipeline.defs.owner import Owner

    config = {
        "resources": {
            "desk": {"config": {"fleet": {"prosumers": 30}, "optimiser": _search()}},
            "prices_source": {"config": {"kind": "synthetic"}},
        },
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    job = definitions_of(Owner(folder)).resolve_job_def("bid_day")
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(run_config=config, partition_key=DAY.isoformat(), instance=instance)


class Measure(NamedTuple):
    """Some work, and how much of it."""

    prepare: Callable[[], Work]
    times: int = 1  # for one ratio: 0.3 CPU seconds or more
    repetitions: int = 4  # ratios, of which the lower median counts


MEASURES = {
    IMPORT: Measure(import_definitions, repetitions=3),
    "fleet of 2,000 and its hourly limits": Measure(make_fleet, times=4),
    "opportunities and sizes, 30 prosumers": Measure(find_opportunities, times=3),
    "negotiation, 200 prosumers": Measure(negotiate, times=2),
    f"exact solve of {NODES} nodes, 60 prosumers": Measure(solve_exactly),
    "pricing sweep, 2,000 prosumers": Measure(price_sweep, times=6),
    "publication into DuckDB, 30 prosumers": Measure(publish),
    "whole day in memory, 30 prosumers": Measure(whole_day),
    "whole day by Dagster, 30 prosumers": Measure(dagster_day, repetitions=2),
}


@cache
def prepared(name: str) -> Work:
    return MEASURES[name].prepare()


def measure(name: str) -> Answer:
    """CPU seconds of the work, of all threads, as a ratio to those of a unit meanwhile; or why there is none."""
    try:
        work, times = prepared(name), MEASURES[name].times
        gc.freeze()  # what other measurements hold is not this one's to look through
        with Units() as units:
            begun = time.process_time()
            for _ in range(times):
                work()
            seconds = time.process_time() - begun - sum(units.seconds)
        return {"ratio": seconds / times / fmean(units.seconds)}
    except Exception as error:  # whatever a commit's package raises is told, and the others are measured
        return {"problem": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        gc.unfreeze()


def measure_in_fresh_process(name: str) -> Answer:
    done = subprocess.run([sys.executable, __file__, name], check=True, stdout=subprocess.PIPE, text=True)
    answer: Answer = json.loads(done.stdout)
    return answer


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no answer
    for line in sys.argv[1:] or sys.stdin:
        name = line.strip()
        answer = measure_in_fresh_process(name) if name == IMPORT and not sys.argv[1:] else measure(name)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
