"""What became slower or faster: some real work, against a stored baseline or against another commit in the same run.

    python benchmarks/compare_commits.py                     against benchmarks/baseline.json
    python benchmarks/compare_commits.py --against main~5    against the package of that commit, measured in turn
    python benchmarks/compare_commits.py --record            into benchmarks/baseline.json
    python benchmarks/compare_commits.py --json              one document on the standard output

Every figure is a ratio of CPU seconds: of the work (`commit_measures.py`), to a fixed piece of work that interrupts it
every 0.05 s. It is the lower median of two to four, between which everything else is measured: such a ratio errs both
ways, but by a half only upwards (threads that wait for each other on a busy machine). What moved by more than 15% is
named. Machines differ in more than speed, so a baseline of another machine is a hint; two commits in one run see the
same machine. The status is 0 whatever moved, and 1 where this checkout could not be measured.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASELINE = Path(__file__).with_name("baseline.json")
PACKAGE = "vpp_pipeline"
TOLD = 0.15  # a larger change is told; runs of one commit on a busy machine differed by up to 11%
#: threads that wait burn CPU seconds, and the order of a set depends on the seed
STEADY = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Measured:
    """The ratios of a commit, by measurement, and where they come from."""

    commit: str
    date: str
    python: str
    ratios: Mapping[str, float]
    problems: Mapping[str, str] = field(default_factory=dict)  # measurement -> why there is no ratio


@dataclass(frozen=True)
class Row:
    """One measurement, now and before; None where it was not measured."""

    name: str
    now: float | None
    before: float | None

    @property
    def change(self) -> float | None:
        """0.23 is 23% slower."""
        return self.now / self.before - 1.0 if self.now and self.before else None

    @property
    def moved(self) -> str:
        """What is told about it; empty where it stayed."""
        if self.change is None:
            return "new" if self.now else "no longer measured"
        if abs(self.change) <= TOLD:
            return ""
        return f"{'slower' if self.change > 0.0 else 'faster'} by {abs(self.change):.0%}"


def compare(now: Mapping[str, float], before: Mapping[str, float]) -> list[Row]:
    """A row for each measurement of either."""
    return [Row(name, now.get(name), before.get(name)) for name in {**now, **before}]


def conclude(rows: Sequence[Row], now: Measured, before: Measured) -> str:
    """How much moved, in one sentence."""
    compared = [row for row in rows if row.change is not None]
    told = [f"{row.name} ({row.moved})" for row in compared if row.moved]
    moved = f"{len(told)} of {len(compared)} measurements moved by more than {TOLD:.0%}"
    since = f"since {before.commit} ({before.date}, Python {before.python})"
    is_other = now.python.split(".")[:2] != before.python.split(".")[:2]
    doubt = f"; this is Python {now.python}, which may be the reason" if is_other else ""
    return f"{moved} {since}{': ' if told else ''}{', '.join(told)}{doubt}."


def table(rows: Sequence[Row], before: str) -> str:
    """The rows as lines of text."""
    lines = [f"{'measurement':40s} {'now':>8s} {before:>12s} {'change':>7s}"]
    for row in rows:
        ratios = ["-" if ratio is None else f"{ratio:.1f}" for ratio in (row.now, row.before)]
        change = "" if row.change is None else f"{row.change:+.0%}"
        lines.append(f"{row.name:40s} {ratios[0]:>8s} {ratios[1]:>12s} {change:>7s}  {row.moved}".rstrip())
    return "\n".join(lines)


class Worker:
    """A process that measures the package in ``folder``."""

    def __init__(self, folder: Path, stack: ExitStack, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("commit_measures.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=folder,
                env={**clean, **STEADY, "PYTHONPATH": str(folder), **environment},
            )
        )
        self._ratios: dict[str, list[float]] = {}
        self.problems: dict[str, str] = {}

    def measure(self, name: str) -> None:
        if name in self.problems:
            return
        print(name, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the process that measured {name} has ended")
        answer = json.loads(line)
        if "problem" in answer:
            self.problems[name] = answer["problem"]
        else:
            self._ratios.setdefault(name, []).append(answer["ratio"])

    @property
    def ratios(self) -> dict[str, float]:
        return {name: round(median_low(found), 2) for name, found in self._ratios.items()}


def measure_in_turn(workers: Sequence[Worker]) -> None:
    """Every measurement once by each worker in turn, then all of them again, as often as they ask for."""
    from commit_measures import MEASURES

    rounds = max(measure.repetitions for measure in MEASURES.values())
    for k in range(rounds):
        print(f"round {k + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, measure in MEASURES.items():
            if k < measure.repetitions:
                for worker in workers:
                    worker.measure(name)


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def is_commit(name: str) -> bool:
    command = ["git", "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def commit_of(name: str) -> tuple[str, str]:
    """The last commit up to ``name`` that changed the package, and its day."""
    commit, day = git("log", "-1", "--format=%h %cs", name, "--", PACKAGE).decode().split()
    return commit, day


def measure(against: str | None) -> tuple[Measured, Measured | None]:
    """This checkout, and the commit ``against``, if any."""
    python, today = platform.python_version(), date.today().isoformat()
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        here, there = Worker(ROOT, stack), None
        if against:
            zipfile.ZipFile(io.BytesIO(git("archive", "--format=zip", against))).extractall(temporary)
            # kernels are compiled for the folder that they lie in: half a minute, and kept no longer than it
            there = Worker(Path(temporary), stack, NUMBA_CACHE_DIR=temporary)
        measure_in_turn([here, there] if there else [here])
    changed = "+changes" if git("status", "--porcelain", PACKAGE) else ""
    found = Measured(f"{commit_of('HEAD')[0]}{changed}", today, python, here.ratios, here.problems)
    if there is None:
        return found, None
    return found, Measured(*commit_of(str(against)), python, there.ratios, there.problems)


def read_baseline() -> Measured:
    return Measured(**json.loads(BASELINE.read_text(encoding="utf-8")))


def record(now: Measured) -> None:
    """Raises SystemExit where the baseline would have a gap."""
    if now.problems:
        sys.exit(f"not recorded; could not be measured: {dict(now.problems)}")
    BASELINE.write_text(json.dumps(_without("problems", now), indent=2) + "\n", encoding="utf-8")
    print(f"{len(now.ratios)} ratios of {now.commit} recorded in {BASELINE.name}.")


def _without(name: str, measured: Measured) -> dict[str, Any]:
    return {key: value for key, value in asdict(measured).items() if key != name}


def document(rows: Sequence[Row], now: Measured, before: Measured) -> dict[str, Any]:
    """The comparison for other programs."""
    return {
        "now": _without("ratios", now),
        "before": _without("ratios", before),
        "measurements": [{**asdict(row), "change": row.change, "moved": row.moved} for row in rows],
        "conclusion": conclude(rows, now, before),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--against", metavar="COMMIT", help="measure that commit too, instead of the stored baseline")
    choice.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    parser.add_argument("--json", action="store_true", help="print one document instead of a table")
    options = parser.parse_args()
    if options.against and not is_commit(options.against):
        parser.error(f"there is no commit {options.against}")
    now, before = measure(options.against)
    if options.record:
        record(now)
        return
    before = before or read_baseline()
    rows = compare(now.ratios, before.ratios)
    if options.json:
        print(json.dumps(document(rows, now, before), indent=2))
    else:
        print(table(rows, before.commit))
        for measured in (now, before):
            for name, problem in measured.problems.items():
                print(f"not measured in {measured.commit}: {name}: {problem}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{used.ru_utime + used.ru_stime:.0f} CPU seconds in all")
        print(conclude(rows, now, before))
    sys.exit(int(bool(now.problems)))


if __name__ == "__main__":
    main()
