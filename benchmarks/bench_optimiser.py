"""The optimiser against other solvers and libraries, and against its own targets: one run, one page.

    python benchmarks/bench_optimiser.py [--only 1 9] [--quick] [--limit 300] [--sizes 200] [--write docs/benchmarks.md]

Needs real prices beside the checkout and, for the peers of rows 1, 2, and 7, the environment of `comparison.txt`, whose
Python is named by ``COMPARISON_PYTHON`` (default `.venv-comparison/bin/python`); what is absent is left out by name.
Each measure runs in a process of its own. ``--write`` keeps what was measured in `benchmarks/results.json`, part by
part, and makes the page from it, so that rows which a run leaves out keep their figures. ``--quick`` takes 200
prosumers for 2,000, 20,000 for a million, one day for three, and 60 CPU seconds as the limit of other programs: a trial
run that writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks_page import OURS, Record, Results, page, peer_targets

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
COMPARISON_PYTHON = os.environ.get("COMPARISON_PYTHON", str(HERE.parent / ".venv-comparison" / "bin" / "python"))
KINDS = ("negotiated", "reference")
CVXPY_SOLVERS = {"CVXPY + HiGHS": "HIGHS", "CVXPY + Clarabel": "CLARABEL"}
PEERS = {
    "linopy + HiGHS": "linopy",
    "PyPSA + HiGHS": "pypsa",
    "HiGHS simplex": "simplex",
    "HiGHS IPX": "ipx",
    "HiGHS HiPO": "hipo",
    "HiGHS PDLP": "pdlp",
}
GAPS = {2_000: "1e-6", 200: "1e-9"}
TIMES = {2_000: {"negotiated": 20.0, "reference": 100.0}, 200: {"negotiated": 1.0, "reference": 1.0}}
LARGE, MIDDLE = 1_000_000, 20_000
DAYS = ("2023-08-15", "2024-07-11", "2024-03-10")
WHOLE_DAYS = (("2023-08-15", "embedded"), ("2024-01-20", "real"), ("2024-07-11", "real"))
SIZES = (200, 2_000, 20_000)
PACKAGES = ("numpy", "numba", "highspy", "cvxpy", "clarabel")
LONGEST_S = 3_600.0
SHORT_CPU_S, REPETITIONS = 5.0, 3
KEPT = ("failed", "objective_usd", "status", "gap", "sweeps", "solver_s")  # of what a program answers

Answer = dict[str, Any]
Part = tuple[str, Record]  # its name, and its records with what they have in common


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

    def peers(self, row: int, prosumers: int) -> Iterator[Part]:
        """Rows 1 and 2: the same LP by our two methods and by other programs."""
        for kind in KINDS:
            with TemporaryDirectory() as folder:
                file = str(Path(folder, "day.npz"))
                size = measure("export", kind, str(prosumers), file)
                found = {name: least(run) for name, run in self._programs(kind, prosumers, file).items()}
            records = []
            for name, answer in found.items():
                records.append({"program": name, **{key: answer[key] for key in KEPT if key in answer}})
                self.versions |= answer.get("versions", {})
                if "failed" not in answer:
                    given = size if name.startswith("HiGHS") else {"compile_cpu_s": 0.0, "compile_s": 0.0}  # the matrix
                    records[-1]["cpu_s"] = answer["all_cpu_s"] + given["compile_cpu_s"]
                    records[-1]["wall_s"] = answer["all_s"] + given["compile_s"]
            about = {"kind": kind, "prosumers": prosumers, "gap": GAPS[prosumers], "times": TIMES[prosumers][kind]}
            yield f"{row} {kind}", about | size | {"records": records}

    def _programs(self, kind: str, prosumers: int, file: str) -> dict[str, Callable[[], Answer]]:
        n, columns, exact = str(prosumers), *OURS
        cvxpy = {
            name: lambda solver=solver: measure("cvxpy", kind, n, solver, cpu_limit_s=self.limit_s)
            for name, solver in CVXPY_SOLVERS.items()
        }
        others = {name: lambda peer=peer: self._peer(peer, file) for name, peer in PEERS.items()}
        return {
            columns: lambda: measure("relaxation", kind, n, GAPS[prosumers]),
            exact: lambda: measure("exact", kind, n),
            **cvxpy,
            **others,
        }

    def _peer(self, peer: str, file: str) -> Answer:
        if not Path(COMPARISON_PYTHON).exists():
            return {"failed": "left out: no environment of comparison.txt"}
        return _answer([COMPARISON_PYTHON, str(HERE / "peers.py"), peer, file], LONGEST_S, None, self.limit_s)

    def whole_days(self, row: int, sizes: tuple[int, ...]) -> Iterator[Part]:
        """Row 9: a day by the command, end to end."""
        subprocess.run([sys.executable, "-m", "vpp_pipeline", "warm-up"], check=True, stdout=subprocess.DEVNULL)
        for day, prices in WHOLE_DAYS:
            for prosumers in sizes:
                command = [sys.executable, str(HERE / "end_to_end.py"), day, str(prosumers), prices]
                record = {"day": day, "prices": prices, "prosumers": prosumers, **_answer(command, LONGEST_S, None)}
                yield f"{row} {day} {prosumers}", {"records": [record]}

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
        """Row 6: bid or no bid, R = 10% of what is offered."""
        for day in self.days:
            found = measure("bids", str(MIDDLE), day, "30")
            if "failed" in found:
                yield Line(row, f"Bid or no bid, {day}", "gap ≤ 0.1%, ≤ 30 s", found["failed"], False)
                continue
            text = (
                f"{100 * found['gap']:.3f}%, **{found['all_s']:.1f} s** ({found['all_cpu_s']:.1f} CPU-s), "
                f"{found['bids']} bids; worst breach {found['worst_excess']:.0e}"
            )
            reached = found["gap"] <= 1e-3 and found["all_s"] <= 30.0
            yield Line(row, f"Bid or no bid, N = {MIDDLE:,}, {day}", "gap ≤ 0.1%, ≤ 30 s", text, reached)

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


def measure(name: str, *arguments: str, cpu_limit_s: float = LONGEST_S, environment: Any = None) -> Answer:
    """The answer of a measure in a fresh process, or ``failed`` with the reason."""
    command = [sys.executable, str(HERE / "optimiser_measures.py"), name, *arguments]
    return _answer(command, LONGEST_S, environment, cpu_limit_s)


def battery(python: str, name: str, hours: int, times: int) -> Answer:
    if not Path(python).exists():
        return {"failed": f"no {python}"}
    return _answer([python, str(HERE / "one_battery.py"), name, str(hours), str(times)], LONGEST_S, None)


def _answer(command: list[str], limit_s: float, environment: Any, cpu_limit_s: float = LONGEST_S) -> Answer:
    """What a process prints. It is ended after seconds of wall clock or CPU."""

    def limit_cpu() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (round(cpu_limit_s), round(cpu_limit_s) + 5))

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env=environment, check=True, preexec_fn=limit_cpu
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"> {limit_s:g} s"}
    except subprocess.CalledProcessError as error:
        if -error.returncode == signal.SIGXCPU:
            return {"failed": f"> {cpu_limit_s:g} CPU-s"}
        return {"failed": error.stderr.strip().splitlines()[-1] if error.stderr.strip() else f"code {error.returncode}"}
    answer: Answer = json.loads(done.stdout)
    return answer


def least(run: Callable[[], Answer]) -> Answer:
    """The answer that took least CPU time: of several runs where one is short, else the only one."""
    answers = [run()]
    while len(answers) < REPETITIONS and answers[-1].get("all_cpu_s", SHORT_CPU_S) < SHORT_CPU_S:
        answers.append(run())
    return min(answers, key=lambda answer: answer.get("all_cpu_s", LONGEST_S))


def machine() -> str:
    """What it ran on, without names."""
    gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else 0.0
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {gb:.0f} GB, {system}"


def versions(also: dict[str, str]) -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return also | found


def lines(number: int, measured: Callable[[], Iterator[Line]]) -> Iterator[Part]:
    """A row of targets as one part."""
    found = []
    try:
        for line in measured():
            found.append(line)
    except KeyError as error:  # a measure that failed has no numbers
        found.append(Line(number, "failed", "", f"no {error}", False))
    yield str(number), {"records": [asdict(line) for line in found]}


def show(name: str, part: Record) -> None:
    """The part on the screen."""
    for record in part["records"]:
        print(f"{name}  {json.dumps(record, default=float)}", flush=True)
    if name.split()[0] in ("1", "2"):
        for line in peer_targets(part):
            print(f"{name}  {line['measure']}: {line['measured']}  [{line['target']}]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=int, nargs="*", help="rows to measure; without numbers none, to write the page again"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, default=300.0, help="CPU seconds that another program may take")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="prosumers of whole days")
    parser.add_argument("--write", type=Path, help="the page, made from all results that are kept")
    chosen = parser.parse_args()
    quick = Bench(MIDDLE, DAYS[:1], min(chosen.limit, 60.0))
    bench = quick if chosen.quick else Bench(LARGE, DAYS, chosen.limit)
    sizes = SIZES[:1] if chosen.quick else tuple(chosen.sizes)
    rows: dict[int, Callable[[], Iterator[Part]]] = {
        1: lambda: bench.peers(1, 200 if chosen.quick else 2_000),
        2: lambda: bench.peers(2, 200),
        3: lambda: lines(3, lambda: bench.large_fleet(3, "reference", 100.0)),
        4: lambda: lines(4, lambda: bench.large_fleet(4, "negotiated", 200.0)),
        5: lambda: lines(5, lambda: bench.growth(5)),
        6: lambda: lines(6, lambda: bench.bids(6)),
        7: lambda: lines(7, lambda: bench.libraries(7)),
        8: lambda: lines(8, lambda: bench.first_call(8)),
        9: lambda: bench.whole_days(9, sizes),
    }
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"versions": {}, "parts": {}}
    results["command"] = "python benchmarks/bench_optimiser.py --write docs/benchmarks.md"
    results["machine"] = machine()
    for number in rows if chosen.only is None else chosen.only:
        began = os.getloadavg()[0]
        for name, part in rows[number]():
            show(name, part)
            load = f"{began:.1f} to {os.getloadavg()[0]:.1f}"
            results["parts"][name] = {"on": f"{datetime.now(UTC):%Y-%m-%d}", "load": load, **part}
            results["versions"] = versions(results["versions"] | bench.versions)
            began = os.getloadavg()[0]
            if chosen.write and not chosen.quick:
                RESULTS.write_text(json.dumps(results, indent=1, default=float) + "\n")
    if chosen.write and not chosen.quick:
        chosen.write.write_text(page(results))


if __name__ == "__main__":
    main()
