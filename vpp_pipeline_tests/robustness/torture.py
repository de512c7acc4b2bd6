"""Processes of the desk killed at a random second of their own CPU time, and the day settled after every kill.

    python -m vpp_pipeline_tests.robustness.torture                 200 kills (make torture)
    python -m vpp_pipeline_tests.robustness.torture --kills 12 --seed 3

Bids with two settings in turn, settlements, price intake, and runs launched by Dagster's own executor are started and
sent SIGKILL. Then `settle` must succeed, and what lake and warehouse hold must be the whole day of one run that
committed it: every table as that setting makes it, undisturbed. Prints its figures; exits 1 for a day that was
swapped (other bids than were published), mixed (tables of two runs), or crashed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import yaml

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.defs.desk import DAY, SMALL
from vpp_pipeline_tests.robustness.damaged_days import SIZE, different, make_settled, run, run_ids, warehouse_rows

MARGINS = (20.0, 80.0)  # $/MWh of `negotiation.inconvenience_usd_per_mwh`: two days that are told apart
SETTLED = ("evaluation.dispatched", "evaluation.deliveries", "evaluation.settlement", "evaluation.settled_days")
#: what is killed -> about how many seconds of CPU time it takes, its imports among them
KINDS = {"bids": 12.0, "publication": 12.0, "settle": 7.0, "ingest": 5.0, "executor": 13.0}
TICK_S = 0.002


@dataclass
class Figures:
    """What came of all kills."""

    kills: int = 0
    ended_before: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    committed: int = 0  # kills after which another run than before was published
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} in {kind}" for kind, count in sorted(self.killed.items()))
        return (
            f"{self.kills} kills ({kinds}; {self.ended_before} processes ended before theirs), {self.committed} after "
            f"the commit; {len(self.faults)} days swapped, mixed or crashed"
        )


def start(kind: str, folder: Path, margin: float) -> subprocess.Popen[bytes]:
    """The process that is to be killed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "PYTHONPATH")}
    environment |= {"DAGSTER_HOME": str(folder / "home"), "PYTHONPATH": str(project_folder())}
    environment |= {"VPP_DATA_FOLDER": str(folder / "data")}
    if kind == "executor":  # as a run launched from Dagster's pages is executed, by its own process
        config = folder / "run.yaml"
        desk = {**SMALL, "negotiation": {"inconvenience_usd_per_mwh": margin}}
        config.write_text(yaml.safe_dump({"resources": {"desk": {"config": desk}}}))
        line = ["-m", "dagster", "job", "execute", "-m", "vpp_pipeline.definitions", "-j", "bid_day"]
        line += ["--config", str(config), "--tags", f'{{"dagster/partition": "{DAY}"}}']
    else:
        command = "bids" if kind == "publication" else kind
        line = ["-m", "vpp_pipeline", command, "--date", DAY, "--data", str(folder / "data")]
        line += options(margin) if command == "bids" else []
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *line], env=environment, cwd=folder, stdout=quiet, stderr=quiet)


def options(margin: float) -> list[str]:
    """Of `bids`, so that a margin always gives the same day."""
    return [*SIZE, "--set", f"negotiation.inconvenience_usd_per_mwh={margin}"]


def kill_at(process: subprocess.Popen[bytes], cpu_s: float, moment: Path | None, delay_s: float) -> bool:
    """SIGKILL at ``cpu_s`` of the process's CPU time, or ``delay_s`` of it after ``moment`` is there; whether it came
    to that."""
    at: float | None = None if moment else cpu_s
    while process.poll() is None:
        spent = _cpu_s(process.pid)
        if at is None and moment is not None and moment.exists():
            at = spent + delay_s
        if at is not None and spent >= at:
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(TICK_S)
    return False


def _cpu_s(pid: int) -> float:
    """CPU seconds of the process so far (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def torture(
    folder: Path,
    known: Mapping[float, Mapping[str, pl.DataFrame]],
    kills: int,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
) -> Figures:
    """Kill and settle, ``kills`` times, on one folder that is never made anew."""
    dice, figures = random.Random(seed), Figures()
    while figures.kills < kills:
        kind = kinds[(figures.kills + figures.ended_before) % len(kinds)]
        margin = list(known)[dice.randrange(len(known))]
        before = run_ids(folder)[1]
        process = start(kind, folder, margin)
        draft = folder / "data" / "vpp.duckdb.draft" if kind == "publication" else None
        if not kill_at(process, dice.uniform(0.2, KINDS[kind]), draft, dice.uniform(0.0, 0.6)):
            figures.ended_before += 1
            if kind == "ingest":
                continue
        else:
            figures.kills += 1
            figures.killed[kind] += 1
        figures.faults += faults_of(folder, known, f"kill {figures.kills} ({kind})")
        figures.committed += run_ids(folder)[1] != before
    return figures


def faults_of(folder: Path, known: Mapping[float, Mapping[str, pl.DataFrame]], where: str) -> list[str]:
    """What is wrong after a kill: settled at once, and compared with the days that runs make undisturbed."""
    settled = run(f"settle --date {DAY}", folder)
    if settled.status != 0 or settled.crashed:
        return [f"{where}: crashed: settle ends with {settled.status}: {settled.errors.strip()[-400:]}"]
    served, committed = run_ids(folder)
    if served != committed:
        return [f"{where}: swapped: the warehouse has bids of run {served}, the lake published {committed}"]
    rows = warehouse_rows(folder)
    runs = ("bids.runs", "bids.run_bids", "bids.checks", "market.prices")
    found = {margin: different(tables, rows, *runs) for margin, tables in known.items()}
    if all(found.values()):
        closest = min(found.values(), key=len)
        return [f"{where}: mixed: {', '.join(closest)} are not those of any whole run"]
    day = Lake(folder / "data" / "lake").day(DAY)
    lost = [table for table in rows if not rows[table].is_empty() and table not in runs and not day.exists(table)]
    return [f"{where}: mixed: the lake lacks {', '.join(lost)}"] if lost else []


def undisturbed(folder: Path) -> dict[float, dict[str, pl.DataFrame]]:
    """The settled day of each margin; ``folder`` is left with the first."""
    known = {}
    for margin in reversed(MARGINS):
        for line in (f"bids --date {DAY} --set negotiation.inconvenience_usd_per_mwh={margin}", f"settle --date {DAY}"):
            tried = run(line, folder)
            assert tried.status == 0, tried.errors
        known[margin] = warehouse_rows(folder)
    assert different(known[MARGINS[0]], known[MARGINS[1]])
    return known


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20230815)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_settled(folder)
        figures = torture(folder, undisturbed(folder), options.kills, options.seed)
    for fault in figures.faults:
        print(f"FAULT {fault}")
    print(figures)
    return int(bool(figures.faults))


if __name__ == "__main__":
    sys.exit(main())
