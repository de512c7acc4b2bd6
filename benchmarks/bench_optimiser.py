"""The optimiser against other solvers and libraries, and against its own targets: one run, one table.

    python benchmarks/bench_optimiser.py [--only 2 6] [--quick] [--limit 300] [--write docs/benchmarks.md]

Needs the extra ``bench`` (ECOS), real prices beside the checkout and, for row 7, an environment with energy-py-linear
and PyPSA, whose Python is named by ``COMPARISON_PYTHON`` (default `.venv-comparison/bin/python`); what is absent is
left out by name. Each measure runs in a process of its own. ``--quick`` takes 20,000 prosumers for a million, one day
for three and 60 s as the limit of other solvers: a trial run, not the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
COMPARISON_PYTHON = os.environ.get("COMPARISON_PYTHON", str(HERE.parent / ".venv-comparison" / "bin" / "python"))
SOLVERS = ("HIGHS", "CLARABEL", "ECOS")
KINDS = ("reference", "negotiated")
LARGE, MIDDLE = 1_000_000, 20_000
DAYS = ("2023-08-15", "2024-07-11", "2024-03-10")
PACKAGES = ("numpy", "numba", "highspy", "cvxpy", "clarabel", "ecos")
LONGEST_S = 1_800.0
ABOUT = (
    "Two days. *reference*: the prototype's model, in which every prosumer may sell all products in every hour.",
    "*negotiated*: the project's own generator and negotiation at real SP15 prices, R = 10 % of what is offered;",
    f"above {MIDDLE:,} prosumers it is the day of {MIDDLE:,} many times over, each copy with its own size and prices.",
    "LP is the relaxation (z between 0 and 1). Seconds are wall clock of the whole call (formulate, compile, solve),",
    "CPU-s processor time of all threads, kernels compiled before. Rebuilt: stored energy, limits and money computed",
    "anew from the powers by numpy that shares nothing with the optimiser (`benchmarks/rebuild_schedule.py`).",
)

Answer = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, what it should reach, what it did; whether it did."""

    row: int
    measure: str
    target: str
    measured: str
    reached: bool | None  # None: nothing to reach, or nothing measured


@dataclass
class Bench:
    """A run of the benchmark: its scale, and the relaxations that it has solved."""

    large: int
    days: tuple[str, ...]
    limit_s: float
    versions: dict[str, str] = field(default_factory=dict)
    _relaxed: dict[tuple[str, int, str], Answer] = field(default_factory=dict)

    def relaxation(self, kind: str, prosumers: int, gap: str) -> Answer:
        key = kind, prosumers, gap
        if key not in self._relaxed:
            self._relaxed[key] = measure("relaxation", kind, str(prosumers), gap)
        return self._relaxed[key]

    def against_solvers(self, row: int, prosumers: int, gap: str, times: float) -> Iterator[Line]:
        """Rows 1 and 2: the same LP by column generation and through CVXPY."""
        for kind in KINDS:
            ours = self.relaxation(kind, prosumers, gap)
            yield self._gap_line(row, kind, prosumers, gap, ours)
            seconds, difference, words = [], [], []
            for solver in SOLVERS:
                theirs = measure("cvxpy", kind, str(prosumers), solver, limit_s=self.limit_s)
                if "failed" in theirs:
                    words.append(f"{solver} {theirs['failed']}")
                    continue
                seconds.append(theirs["all_s"])
                difference.append(abs(theirs["objective_usd"] / ours["objective_usd"] - 1.0))
                status = "" if theirs["status"] == "optimal" else ", " + theirs["status"]
                inside = f"{theirs['all_cpu_s']:.2f} CPU-s; solver {theirs['solve_s']:.2f} s{status}"
                words.append(f"{solver} {theirs['all_s']:.2f} s ({inside})")
            ratio = min(seconds, default=self.limit_s) / ours["all_s"]
            agreed = f"; objectives agree to {max(difference):.0e}" if difference else ""
            faster = f"**{ratio:.1f}x**{'' if seconds else ' at least'}"
            text = f"{faster}: ours {ours['all_s']:.2f} s; {'; '.join(words)}{agreed}"
            name = f"N = {prosumers:,}, LP, {kind} day: seconds against the best of {', '.join(SOLVERS)}"
            yield Line(row, name, f"≥ {times:g}x", text, ratio >= times)

    def _gap_line(self, row: int, kind: str, prosumers: int, gap: str, ours: Answer) -> Line:
        text = f"{ours['gap']:.1e} after {ours['sweeps']:.1f} sweeps, {ours['all_cpu_s']:.2f} CPU-s"
        return Line(row, f"N = {prosumers:,}, LP, {kind} day: gap", f"≤ {gap}", text, ours["gap"] <= float(gap))

    def large_fleet(self, row: int, kind: str, cpu_s: float, most_gb: float = 4.0) -> Iterator[Line]:
        """Rows 3 and 4: a large fleet, every schedule recovered and judged."""
        ours = self.relaxation(kind, self.large, "1e-4")
        name, sweeps = f"N = {self.large:,}, {kind} day", f"{ours['sweeps']:.1f} of the whole fleet"
        yield Line(
            row,
            f"{name}: processor time",
            f"≤ {cpu_s:g} CPU-s",
            f"**{ours['all_cpu_s']:.0f} CPU-s**, {ours['all_s']:.0f} s; of it sweeps {ours['sweep_cpu_s']:.0f} "
            f"({sweeps}), master {ours['master_cpu_s']:.1f}, recovery {ours['recover_cpu_s']:.0f}",
            ours["all_cpu_s"] <= cpu_s,
        )
        held = f"**{ours['all_gb']:.2f} GB**, {ours['day_gb']:.2f} while the day was made"
        yield Line(row, f"{name}: most memory", f"≤ {most_gb:g} GB", held, ours["all_gb"] <= most_gb)
        fine = ours["worst_excess"] <= 1e-4 and ours["over_mw"] <= 1e-3
        rebuilt = f"{ours['rebuilt_gap']:.1e}; worst breach {ours['worst_excess']:.0e} kW or kWh"
        yield Line(
            row, f"{name}: gap of the rebuilt schedules", "≤ 1e-4", rebuilt, fine and ours["rebuilt_gap"] <= 1e-4
        )

    def growth(self, row: int) -> Iterator[Line]:
        """Row 5: processor time per prosumer."""
        for kind in KINDS:
            small, large = (self.relaxation(kind, n, "1e-4") for n in (MIDDLE, self.large))
            each = [1e6 * found["all_cpu_s"] / found["prosumers"] for found in (small, large)]
            text = f"**{each[1] / each[0]:.2f}x**: {each[1]:.0f} against {each[0]:.0f} µs"
            name = f"CPU per prosumer at {self.large:,} against {MIDDLE:,}, {kind} day"
            yield Line(row, name, "≤ 1.2x", text, each[1] <= 1.2 * each[0])

    def bids(self, row: int) -> Iterator[Line]:
        """Row 6: bid or no bid, R = 10 % of what is offered."""
        for day in self.days:
            found = measure("bids", str(MIDDLE), day, "30")
            if "failed" in found:
                yield Line(row, f"Bid or no bid, {day}", "gap ≤ 0.1 %, ≤ 30 s", found["failed"], False)
                continue
            text = (
                f"{100 * found['gap']:.3f} %, **{found['all_s']:.1f} s** ({found['all_cpu_s']:.1f} CPU-s), "
                f"{found['bids']} bids; worst breach {found['worst_excess']:.0e}"
            )
            reached = found["gap"] <= 1e-3 and found["all_s"] <= 30.0
            yield Line(row, f"Bid or no bid, N = {MIDDLE:,}, {day}", "gap ≤ 0.1 %, ≤ 30 s", text, reached)

    def libraries(self, row: int) -> Iterator[Line]:
        """Row 7: one battery by other libraries."""
        for hours in (24, 720):
            ours = battery(sys.executable, "ours", hours, 5)
            yield Line(row, f"One battery, {hours} h: ours (kernel, whole call)", "", _battery_words(ours), None)
            for name in ("energypylinear", "pypsa"):
                theirs = battery(COMPARISON_PYTHON, name, hours, 2)
                label = f"One battery, {hours} h: {name} (solver, whole call)"
                if "failed" in theirs:
                    yield Line(row, label, "6 digits", f"left out: {theirs['failed']}", None)
                    continue
                self.versions[name] = theirs["version"]
                off = abs(theirs["objective_usd"] / ours["objective_usd"] - 1.0)
                ratio = (
                    f"ours {theirs['solve_s'] / ours['solve_s']:.0f}x, {theirs['all_s'] / ours['all_s']:.0f}x as fast"
                )
                text = f"{_battery_words(theirs)}; {ratio}; objectives differ by {off:.0e}"
                yield Line(row, label, "6 digits", text, off <= 1e-6)

    def first_call(self, row: int) -> Iterator[Line]:
        """Row 8: what compiling costs, and reading what was compiled."""
        with TemporaryDirectory() as folder:
            places = os.environ | {"NUMBA_CACHE_DIR": folder}
            for name in ("nothing compiled yet", "compiled before"):
                found = measure("first_call", environment=places)
                extra, cpu = found["first_s"] - found["second_s"], found["first_cpu_s"] - found["second_cpu_s"]
                text = f"**{extra:.1f} s** more ({cpu:.1f} CPU-s) than the second call of {found['second_s']:.2f} s"
                yield Line(row, f"First call in a fresh process, {name}", "", text, None)


def _battery_words(found: Answer) -> str:
    return f"{1000 * found['solve_s']:.2f} ms, {1000 * found['all_s']:.1f} ms; ${found['objective_usd']:.4f}"


def measure(name: str, *arguments: str, limit_s: float = LONGEST_S, environment: Any = None) -> Answer:
    """The answer of a measure in a fresh process, or ``failed`` with the reason."""
    return _answer([sys.executable, str(HERE / "optimiser_measures.py"), name, *arguments], limit_s, environment)


def battery(python: str, name: str, hours: int, times: int) -> Answer:
    if not Path(python).exists():
        return {"failed": f"no {python}"}
    return _answer([python, str(HERE / "one_battery.py"), name, str(hours), str(times)], LONGEST_S, None)


def _answer(command: list[str], limit_s: float, environment: Any) -> Answer:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=environment, check=True)
    except subprocess.TimeoutExpired:
        return {"failed": f"> {limit_s:g} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": error.stderr.strip().splitlines()[-1] if error.stderr.strip() else f"code {error.returncode}"}
    answer: Answer = json.loads(done.stdout)
    return answer


def machine() -> str:
    """What it ran on, without names."""
    gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else 0.0
    load = f", load {os.getloadavg()[0]:.1f} when it began" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {gb:.0f} GB, {system}{load}"


def versions(also: dict[str, str]) -> str:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return ", ".join(f"{name} {number}" for name, number in (found | also).items())


def page(lines: list[Line], command: str, ran_on: str, packages: str) -> str:
    """The table as Markdown."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [f"| {x.row} | {x.measure} | {x.target} | {x.measured} | {marks[x.reached]} |" for x in lines]
    return "\n".join(
        [
            "# Benchmarks of the optimiser",
            "",
            f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; targets are those of the plan. ",
            f"Machine: {ran_on}. Versions: {packages}.",
            "",
            *ABOUT,
            "",
            "| row | measure | target | measured | reached |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", help="rows to measure")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that another solver may take")
    parser.add_argument("--write", type=Path, help="where the table goes besides the screen")
    chosen = parser.parse_args()
    ran_on = machine()
    quick = Bench(MIDDLE, DAYS[:1], min(chosen.limit, 60.0))
    bench = quick if chosen.quick else Bench(LARGE, DAYS, chosen.limit)
    rows: dict[int, Callable[[], Iterator[Line]]] = {
        1: lambda: bench.against_solvers(1, 2_000, "1e-6", 100.0),
        2: lambda: bench.against_solvers(2, 200, "1e-9", 5.0),
        3: lambda: bench.large_fleet(3, "reference", 100.0),
        4: lambda: bench.large_fleet(4, "negotiated", 200.0),
        5: lambda: bench.growth(5),
        6: lambda: bench.bids(6),
        7: lambda: bench.libraries(7),
        8: lambda: bench.first_call(8),
    }
    lines = []
    for number in chosen.only or rows:
        try:
            for line in rows[number]():
                lines.append(line)
                print(f"{line.row}  {line.measure}: {line.measured}  [{line.target}]", flush=True)
        except KeyError as error:  # a measure that failed has no numbers
            lines.append(Line(number, "failed", "", f"no {error}", False))
            print(f"{number}  failed: no {error}", flush=True)
    command = " ".join(["python benchmarks/bench_optimiser.py", *sys.argv[1:]])
    if chosen.write:
        chosen.write.write_text(page(lines, command, ran_on, versions(bench.versions)))


if __name__ == "__main__":
    main()
