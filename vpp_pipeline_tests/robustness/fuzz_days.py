"""Random days through the command line, twice: no day is lost, no limit broken, and the bids are the same both times.

    python -m vpp_pipeline_tests.robustness.fuzz_days --days 300 --seed 1

Each day of `drawn_days` is made by `vpp-pipeline bids` and settled by `vpp-pipeline settle`, and made again with
another hash seed and another number of threads, by the chain of `pipeline.py` that the assets call too. A day that
fails is kept as a folder, which `--again FOLDER` runs again. Exit status 1 if a day was lost, broke a limit, or
differed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from vpp_pipeline_tests.robustness.drawn_days import NODE, Case, draw_case

PUBLISHED = (0, 3)  # exit statuses of a day with bids; 3 says that they may be far from the best
REFUSED = 2
DAYS_OF_PROCESS = 60  # after which a new one begins, so that nothing grows
SECONDS_OF_DAY = 900.0  # of wall time: a process that takes longer is ended, and its day is lost
#: what another run of the same day may change
OF_RUN = ("bid_id", "fingerprint", "code_version", "run_id", "created_utc", "seed")
TOLERANCE = 2e-4  # kW or kWh: twice that of the checks
#: limits held against the published tables, by SQL that shares nothing with the package: what breaks each
LIMITS = {
    "stored energy below its floor or above its ceiling": """
        from dispatch.schedule join fleet.availability using (market_date, prosumer_id, start_utc)
        where stored_kwh < min_stored_kwh - $tolerance or stored_kwh > max_stored_kwh + $tolerance""",
    "more power than the device has": """
        from dispatch.schedule join fleet.availability using (market_date, prosumer_id, start_utc)
        where charge_kw > max_charge_kw + $tolerance
           or discharge_kw + spin_kw + nonspin_kw > max_discharge_kw + $tolerance""",
    "a number that is none": """
        from dispatch.schedule where not isfinite(charge_kw + discharge_kw + solar_sold_kw + spin_kw + stored_kwh)""",
    "reserve that is bid and not held, or held and not bid": """
        from (select product, start_utc, sum(kw) as kw from (
                unpivot (select start_utc, spin_kw as spin, nonspin_kw as nonspin from dispatch.schedule
                         where market_date = $day) on spin, nonspin into name product value kw) group by all) as held
        left join (select product, unnest(generate_series(start_utc, start_utc + to_hours(duration_hours - 1),
                          interval 1 hour)) as start_utc, total_capacity_mw
                   from bids.final_bids where market_date = $day and status = 'bid') as bid using (product, start_utc)
        where abs(kw / 1000 - coalesce(total_capacity_mw, 0)) > 2e-5""",
    "a bid outside the market's prices, below its minimum, or of too few members": """
        from bids.final_bids where market_date = $day and status = 'bid' and not (
            isfinite(bid_price_usd_per_mwh) and isfinite(expected_profit_usd) and coalition_size >= $members
            and total_capacity_mw >= case product when 'energy' then $energy_mw else $reserve_mw end - 1e-9
            and bid_price_usd_per_mwh between case product when 'energy' then $energy_floor else $reserve_floor end
                                      and case product when 'energy' then $energy_cap else $reserve_cap end)""",
}


@dataclass
class Outcome:
    """What became of one run of a day."""

    number: int
    status: int = -1  # of `bids`; -1: an exception, or the process ended
    settled: int | None = None  # status of `settle`
    problem: str = ""  # the paragraph of a refusal, or the end of a traceback
    broken: list[str] = field(default_factory=list)
    bids: str = ""  # hash of the bids and their curves
    count: int = 0  # of bids
    method: str = ""  # how the day was solved
    warned: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def is_lost(self) -> bool:
        """Neither published and settled, nor refused with a paragraph."""
        if self.status == REFUSED:
            return "\n" in self.problem or not self.problem.startswith("error: ")
        return self.status not in PUBLISHED or self.settled not in (0, None)


@dataclass(frozen=True)
class Arm:
    """How every day is run once."""

    by: str  # command: the command line, settled as well; chain: pipeline.py
    hash_seed: int
    threads: int

    def environment(self) -> dict[str, str]:
        """Environment variables of its processes."""
        counts = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        threads = dict.fromkeys(counts, str(self.threads))
        return {**os.environ, **threads, "PYTHONHASHSEED": str(self.hash_seed)}


ARMS = (Arm("command", 0, 1), Arm("chain", 20230815, 4))


def run_command(case: Case, folder: Path, outcome: Outcome) -> None:
    """The day by the command line, from within its folder, then settled."""
    options, day = case.options(folder), case.market_date
    if case.begins_before:
        _command(["bids", "--date", str(day - timedelta(days=1)), "--data", "data", *options])
    outcome.status, outcome.problem = _command(["bids", "--date", str(day), "--data", "data", *options])
    if outcome.status not in PUBLISHED:
        return
    with duckdb.connect("data/vpp.duckdb", read_only=True) as connection:
        rows = [
            connection.sql(f"from bids.{table} where market_date = ?", params=[day]).pl()
            for table in ("final_bids", "bid_segments")
        ]
        outcome.bids = _hash_of(*rows)
        outcome.count = int((rows[0]["status"] == "bid").sum())
        proof = connection.sql("from dispatch.proof where market_date = ?", params=[day]).pl()
        outcome.method = str(proof["method"][0])
        outcome.broken = list(_broken_limits(connection, case))
    outcome.settled, problem = _command(["settle", "--date", str(day), "--data", "data", *options[:4]])
    outcome.problem = outcome.problem or problem


def run_chain(case: Case, folder: Path, outcome: Outcome) -> None:
    """The day by `pipeline.py`, in memory; one that begins with another day's schedule by the command line."""
    if case.begins_before:
        run_command(case, folder, outcome)
        return
    from vpp_pipeline.bidding.bids import Stamp
    from vpp_pipeline.core.calendar import bid_deadline_utc
    from vpp_pipeline.core.errors import InputError
    from vpp_pipeline.core.paths import REQUESTS, example_file
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.pipeline import bid, verify

    try:
        settings = settings_of(case, folder)
        requests = example_file(REQUESTS)
        inputs = DayInputs(case.market_date, settings, Path("prices.csv"), NODE, requests, Path("data/lake").resolve())
        tables = bid(inputs.tables(), settings, Stamp("", "", None, "", bid_deadline_utc(case.market_date)))
    except InputError as error:
        outcome.status, outcome.problem = REFUSED, f"error: {error}"
        return
    verify(tables, settings)
    outcome.status, outcome.method = 0, str(tables["dispatch.proof"]["method"][0])
    outcome.count = int((tables["bids.final_bids"]["status"] == "bid").sum())
    outcome.bids = _hash_of(tables["bids.final_bids"], tables["bids.bid_segments"])


def settings_of(case: Case, folder: Path) -> Any:
    """The case's settings, as the command line reads them."""
    from vpp_pipeline.settings import Settings, read_settings

    groups: dict[str, dict[str, Any]] = {"fleet": {"path": str((folder / "fleet.csv").resolve())}}
    if (folder / "requests.csv").is_file():
        groups["opportunities"] = {"requests": str((folder / "requests.csv").resolve())}
    for name, value in case.settings.items():
        group, _, setting = name.partition(".")
        groups.setdefault(group, {})[setting] = value
    settings: Settings = read_settings(groups)
    return settings


def _command(arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard error of one command."""
    from vpp_pipeline.cli.main import main as vpp_pipeline

    told = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(told):
        status = vpp_pipeline([*arguments, "--quiet"])
    return status, told.getvalue().strip()


def _hash_of(*tables: pl.DataFrame) -> str:
    """Hash of bids and curves, without what another run may change."""
    names = [name for name in tables[0].columns if name not in OF_RUN]
    bids = tables[0].sort("opportunity_id")
    opportunity = bids.select("bid_id", "opportunity_id")
    curves = tables[1].join(opportunity, on="bid_id").drop("bid_id").sort("opportunity_id", "segment")
    text = bids.select(sorted(names)).write_csv() + curves.select(sorted(curves.columns)).write_csv()
    return sha256(text.encode()).hexdigest()[:16]


def _broken_limits(connection: duckdb.DuckDBPyConnection, case: Case) -> Iterator[str]:
    """The limits that the published day breaks, each with how often."""
    rules = settings_of(case, Path()).rules
    given = {
        "day": case.market_date,
        "tolerance": TOLERANCE,
        "members": rules.minimum_members,
        "energy_mw": rules.minimum_mw("energy"),
        "reserve_mw": rules.minimum_mw("spin"),
        "energy_floor": rules.energy_price_floor_usd_per_mwh,
        "energy_cap": rules.energy_price_cap_usd_per_mwh,
        "reserve_floor": rules.reserve_price_floor_usd_per_mw_h,
        "reserve_cap": rules.reserve_price_cap_usd_per_mw_h,
    }
    for limit, query in LIMITS.items():
        named = {name: value for name, value in given.items() if f"${name}" in query}
        (count,) = connection.execute(f"select count(*) {query}", named).fetchone() or (0,)
        if count:
            yield f"{limit} ({count})"


def run_day(number: int, by: str, folder: Path) -> Outcome:
    """One run of the day in ``folder``; what it writes is removed again."""
    outcome, begun, run = Outcome(number), time.process_time(), {"command": run_command, "chain": run_chain}[by]
    with chdir(folder), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            run(Case.read(Path()), Path(), outcome)
        except Exception as error:  # whatever it is, it lost the day
            outcome.status = -1
            outcome.problem = "".join(traceback.format_exception(error))[-1500:]
        shutil.rmtree("data", ignore_errors=True)
    outcome.warned = sorted({str(one.message) for one in warned if issubclass(one.category, RuntimeWarning)})
    outcome.cpu_s = time.process_time() - begun
    return outcome


def serve(by: str) -> None:
    """A process that runs the days whose folders it is told, one line each, and answers with one line each."""
    answers, home = os.fdopen(os.dup(1), "w"), Path(tempfile.mkdtemp(prefix="vpp_fuzz_"))
    os.dup2(2, 1)  # what a library prints is no answer
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        for line in sys.stdin:
            number, folder = line.split(" ", 1)
            print(json.dumps(asdict(run_day(int(number), by, Path(folder.strip())))), file=answers, flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def run_days(arm: Arm, folders: dict[int, Path]) -> Iterator[Outcome]:
    """The outcome of each day; one whose process ends is lost, and the next one gets a new process."""
    process, count = None, 0
    for number, folder in folders.items():
        if process is None or count >= DAYS_OF_PROCESS:
            _end(process)
            module = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--serve", arm.by]
            process, count = (
                subprocess.Popen(
                    module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=arm.environment()
                ),
                0,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        count += 1
        print(number, folder, file=process.stdin, flush=True)
        is_told = bool(select.select([process.stdout], [], [], SECONDS_OF_DAY)[0])
        line = process.stdout.readline() if is_told else ""
        if line:
            yield Outcome(**json.loads(line))
            continue
        if not is_told:
            process.kill()
        words = f"its process ended with status {process.wait()}" if is_told else f"no end in {SECONDS_OF_DAY:.0f} s"
        yield Outcome(number, problem=words)
        process = None
    _end(process)


def _end(process: subprocess.Popen[str] | None) -> None:
    if process is not None and process.stdin is not None:
        process.stdin.close()
        process.wait()


@dataclass(frozen=True)
class Figures:
    """What became of all days: the gate is that `failures` is empty."""

    days: int
    usable: int
    bidding: int  # of the usable ones: with at least one bid
    warned: int  # of the usable ones: with exit status 3
    refused: dict[str, int]  # by reason
    lost: dict[int, str]
    broken: dict[int, str]
    differing: dict[int, str]
    cpu_s: float

    @property
    def failures(self) -> dict[int, str]:
        """Days by number, and why each fails the gate."""
        return {**self.differing, **self.broken, **self.lost}

    def lines(self) -> Iterator[str]:
        """The figures in words."""
        yield f"{self.days} days tried"
        yield f"{self.usable} usable: {self.bidding} with bids, {self.warned} with exit status 3"
        yield f"{sum(self.refused.values())} refused"
        for reason, count in sorted(self.refused.items(), key=lambda one: -one[1]):
            yield f"  {count} x {reason}"
        for name in ("lost", "broken", "differing"):
            found = getattr(self, name)
            yield f"{len(found)} {name}"
            for number, why in found.items():
                yield f"  day {number}: {why}"
        yield f"{self.cpu_s:.0f} CPU seconds"


def figures_of(arms: list[dict[int, Outcome]]) -> Figures:
    """The figures of all days, each with its outcome in each arm."""
    first, every = arms[0], [outcome for outcomes in arms for outcome in outcomes.values()]
    lost = {one.number: one.problem[-600:] or f"status {one.status}" for one in every if one.is_lost}
    refused = [one.problem for one in first.values() if one.status == REFUSED and not one.is_lost]
    differing = {}
    for number, one in first.items():
        for other in (outcomes[number] for outcomes in arms[1:]):
            is_same = one.bids == other.bids and (one.status == REFUSED) == (other.status == REFUSED)
            if not is_same and number not in lost:
                told = [f"{each.count} bids by {each.method or each.problem}" for each in (one, other)]
                differing[number] = " and ".join(told)
    return Figures(
        days=len(first),
        usable=sum(one.status in PUBLISHED for one in first.values()),
        bidding=sum(one.count > 0 for one in first.values()),
        warned=sum(one.status == 3 for one in first.values()),
        refused=dict(Counter(map(_reason, refused))),
        lost=lost,
        broken={one.number: "; ".join(one.broken) for one in every if one.broken},
        differing=differing,
        cpu_s=sum(one.cpu_s for one in every),
    )


def _reason(problem: str) -> str:
    """The kind of a refusal: its first words, without names and numbers."""
    return re.sub(r"[-+]?\d[\w.:,%+-]*", "N", problem.removeprefix("error: ").split(" (")[0].split(". ")[0])[:90]


def fuzz(seed: int, numbers: Iterable[int], out: Path, arms: tuple[Arm, ...] = ARMS) -> Figures:
    """Draw and run the days; the folders of those that fail stay in ``out``, with `problem.txt`, the others go."""
    folders = {number: out / f"day_{seed}_{number}" for number in numbers}
    for number, folder in folders.items():
        draw_case(seed, number, folder)
    outcomes: list[dict[int, Outcome]] = []
    for arm in arms:
        outcomes.append({})
        for outcome in run_days(arm, {number: folder.resolve() for number, folder in folders.items()}):
            outcomes[-1][outcome.number] = outcome
            with (out / "outcomes.jsonl").open("a", encoding="utf-8") as log:
                print(json.dumps({"by": arm.by, **asdict(outcome)}), file=log)
    figures = figures_of(outcomes)
    for number, folder in folders.items():
        if number in figures.failures:
            (folder / "problem.txt").write_text(figures.failures[number] + "\n", encoding="utf-8")
        else:
            shutil.rmtree(folder)
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run the days and print the figures; 1 if the gate fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--days", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first day, to continue")
    parser.add_argument("--out", type=Path, default=Path("fuzzed_days"), help="folder of the days that fail")
    parser.add_argument("--by", choices=["command", "chain"], help="one of the two runs of each day alone")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="run the day of this folder again")
    parser.add_argument("--serve", choices=["command", "chain"], help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve(chosen.serve)
        return 0
    arms = tuple(arm for arm in ARMS if chosen.by in (None, arm.by))
    if chosen.again:
        folder = chosen.again.resolve()
        outcomes = [{one.number: one for one in run_days(arm, {0: folder})} for arm in arms]
        figures = figures_of(outcomes)
    else:
        chosen.out.mkdir(parents=True, exist_ok=True)
        figures = fuzz(chosen.seed, range(chosen.first, chosen.first + chosen.days), chosen.out, arms)
    print(*figures.lines(), sep="\n")
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
