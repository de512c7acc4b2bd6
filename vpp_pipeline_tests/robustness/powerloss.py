"""Every file of a settled day at 0 bytes and at half: each command heals, or prints a remedy that works.

    python -m vpp_pipeline_tests.robustness.powerloss              all files (make powerloss)
    python -m vpp_pipeline_tests.robustness.powerloss --every 9    every ninth; with --only TEXT, of some files

For each damaged file the commands of a desk are tried on a copy. One that ends with status 2 must name a command, and
after each of those that it names, on a copy of its own, it must succeed. A day that was settled before must read the
same afterwards, unless its bids were made again. Prints what healed, what was told, and what failed; exits 1 for a
traceback, a remedy that is missing or does not work, or bids that changed without a word.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from vpp_pipeline_tests.defs.desk import DAY, EXAMPLE
from vpp_pipeline_tests.robustness.damaged_days import (
    HISTORY,
    Tried,
    copy_of,
    different,
    files_of,
    make_settled,
    run,
    warehouse_rows,
)

READING = (
    f"settle --date {DAY}",
    f"report --date {DAY}",
    f"transcript --date {DAY} --opportunity {EXAMPLE}",
    "sql 'select count(*) from bids.final_bids'",
)
WRITING = (f"bids --date {DAY}", f"ingest --from {HISTORY} --to {HISTORY}")
SIZES = {"empty": 0.0, "half": 0.5}


@dataclass
class Figures:
    """What came of all cases."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.cases} damaged files, {sum(self.outcomes.values())} commands: {counted}; {len(self.faults)} faults"
        )


def damage(folder: Path, name: str, share: float) -> None:
    """Leave the first ``share`` of the file, as a disk may that lost power."""
    file = folder / name
    os.truncate(file, int(file.stat().st_size * share))


def try_case(made: Path, scratch: Path, name: str, size: str, commands: tuple[str, ...], figures: Figures) -> None:
    """Damage one file, and hold each command against what is promised."""
    figures.cases += 1
    before = warehouse_rows(made)
    for line in commands:
        where = f"{name} {size}, {line}"
        folder = copy_of(made, scratch / "tried")
        damage(folder, name, SIZES[size])
        tried = run(line, folder)
        if tried.crashed:
            figures.faults.append(f"{where}: {tried.errors.strip().splitlines()[-1]}")
        elif tried.status in (0, 3):
            figures.outcomes["succeeded" if not tried.errors else "succeeded with a warning"] += 1
            figures.faults += _changed(before, folder, line, where)
        else:
            figures.outcomes["told what to do"] += 1
            figures.faults += _remedies_fail(made, scratch, name, size, tried, where)


def _changed(before: dict, folder: Path, line: str, where: str) -> list[str]:
    """Bids or settlement that read otherwise than they were published."""
    if line.startswith(("ingest", "transcript")):  # which do not touch the warehouse
        return []
    try:
        changed = different(before, warehouse_rows(folder), "bids.runs", "bids.run_bids", "bids.checks")
    except Exception as error:  # whatever a reader of the warehouse would meet
        return [f"{where}: the warehouse cannot be read afterwards: {error}"] if "sql" not in where else []
    settled = [table for table in changed if table.startswith("evaluation.")]
    if line.startswith("bids") and set(settled) == set(changed):  # the same bids made again
        return []
    return [f"{where}: other rows in {', '.join(changed)}"] if changed else []


def _remedies_fail(made: Path, scratch: Path, name: str, size: str, tried: Tried, where: str) -> list[str]:
    if not tried.remedies and "--no-history" not in tried.errors:
        return [f"{where}: no remedy in: {tried.errors.strip()}"]
    faults = []
    remedies = tried.remedies or [f"{tried.line} --no-history"]
    for remedy in remedies:
        folder = copy_of(made, scratch / "tried")
        damage(folder, name, SIZES[size])
        done = run(remedy, folder)
        again = done if remedy.startswith(tried.line) else run(tried.line, folder)
        if done.crashed or done.status not in (0, 3):
            faults.append(f"{where}: the remedy {remedy} fails: {done.errors.strip()}")
        elif again.crashed or again.status not in (0, 3):
            faults.append(f"{where}: after the remedy {remedy}: {again.errors.strip()}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th file")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files with TEXT in their path")
    options = parser.parse_args()
    figures = Figures()
    with TemporaryDirectory() as temporary:
        made, scratch = Path(temporary) / "made", Path(temporary)
        make_settled(made)
        for name in [file for file in files_of(made) if options.only in file][:: options.every]:
            known = len(figures.faults)
            for size in SIZES:
                try_case(made, scratch, name, size, (*READING, *WRITING), figures)
            print(f"{name}: {figures}", *(f"FAULT {fault}" for fault in figures.faults[known:]), sep="\n", flush=True)
    print(figures)
    return int(bool(figures.faults))


if __name__ == "__main__":
    sys.exit(main())
