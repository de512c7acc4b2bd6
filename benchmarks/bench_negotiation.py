"""How long the negotiations of a day take, and how much memory: every engine, with and without writing the lake.

    python benchmarks/bench_negotiation.py [sizes, default 200 2000 20000 100000]

All 72 hourly opportunities of one synthetic day, no requests, the default policy. Each size and engine runs in a fresh
process. Forecast, fleet, hourly limits and opportunities are made first and counted apart. Then some runs that end with
the transcripts in memory, some opportunities at a time, and as many that write three files per opportunity into a
temporary lake; both prepare the terms too. The first run of each kind warms up; quickest and median of the others
count. Up to `negotiation.transcript_prosumers` every word is kept, above it each round at a glance and a sample.

The quickest runs, writing included, and the whole process's memory are held against limits: 200 prosumers 0.5 s,
100,000 60 s and 4 GB, and seconds per prosumer that grow by no more than 15 % from 2,000 or 20,000 to 100,000. Ends
with 1 where one is broken.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_fleet import peak_gb
from days import prepare_day

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.negotiation.negotiate import ENGINES, in_blocks
from vpp_pipeline.negotiation.store import negotiate_missing
from vpp_pipeline.pipeline import fleet_of, terms_of
from vpp_pipeline.settings import Settings
from vpp_pipeline.warehouse.day import LakeNegotiations

SIZES = (200, 2_000, 20_000, 100_000)
DAY = date(2023, 8, 15)
RUNS, RUNS_OF_LARGE, LARGE = 5, 3, 20_000  # the first of them warms up
LIMIT_SECONDS = {200: 0.5, 100_000: 60.0}
LIMIT_GB = {100_000: 4.0}
LARGEST_GROWTH, GROWS_TO, GROWS_FROM = 1.15, 100_000, (2_000, 20_000)

Found = dict[str, float]


def measure(prosumers: int, engine: str) -> Found:
    """Seconds and memory in this process; imports do not count as time."""
    settings = Settings.model_validate({"fleet": {"prosumers": prosumers}, "negotiation": {"engine": engine}})
    policy, rules = settings.negotiation, settings.rules
    begun = time.perf_counter()
    inputs = prepare_day(DAY, open_source(), settings)
    fleet = fleet_of(inputs)
    prepared = time.perf_counter() - begun

    def in_memory() -> int:
        terms = terms_of(inputs, settings)
        return sum(block.agreements.height for block in in_blocks(terms, policy))

    def written(root: str) -> int:
        terms = terms_of(inputs, settings)
        store = LakeNegotiations(Lake(Path(root)).day(DAY, "bench"))
        return negotiate_missing(store, inputs["market.opportunities"], terms, policy, rules).height

    runs = RUNS if prosumers < LARGE else RUNS_OF_LARGE
    found = {"pairs": float(inputs["market.opportunities"].height * len(fleet)), "prepared_s": prepared}
    found |= _seconds("memory", in_memory, runs)
    found["memory_gb"] = peak_gb()
    with TemporaryDirectory() as folder:
        number = iter(range(runs))
        found |= _seconds("written", lambda: written(f"{folder}/{next(number)}"), runs)
        found["lake_mb"] = sum(file.stat().st_size for file in Path(folder, "0").rglob("*.parquet")) / 1e6
    return found | {"written_gb": peak_gb()}


def _seconds(name: str, work: Callable[[], int], runs: int) -> Found:
    """Quickest and median of ``runs`` but for the first."""
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        if not work():
            raise ValueError("nothing was negotiated")
        seconds.append(time.perf_counter() - begun)
    return {f"{name}_s": min(seconds[1:]), f"{name}_median_s": statistics.median(seconds[1:])}


def in_fresh_process(prosumers: int, engine: str) -> Found:
    command = [sys.executable, __file__, "--measure", str(prosumers), engine]
    found: Found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def failures(engine: str, found: dict[int, Found]) -> list[str]:
    """What is beyond its limit, in words."""
    words = [
        f"{engine}: {size:,} prosumers took {found[size]['written_s']:.2f} s, limit {most:g} s"
        for size, most in LIMIT_SECONDS.items()
        if size in found and found[size]["written_s"] > most
    ]
    words += [
        f"{engine}: {size:,} prosumers took {found[size]['written_gb']:.2f} GB, limit {most:g} GB"
        for size, most in LIMIT_GB.items()
        if size in found and found[size]["written_gb"] > most
    ]
    for small in GROWS_FROM:
        if small not in found or GROWS_TO not in found:
            continue
        growth = (found[GROWS_TO]["written_s"] / GROWS_TO) / (found[small]["written_s"] / small)
        print(f"{engine}: seconds per prosumer, {GROWS_TO:,} over {small:,}: {growth:.2f} (limit {LARGEST_GROWTH:g})")
        if growth > LARGEST_GROWTH:
            words.append(f"{engine}: seconds per prosumer grew by a factor of {growth:.2f} from {small:,}")
    return words


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print("                             before  --- in memory ----------  --- with three files each ----------------")
    print("engine            prosumers       s  min s  median s  peak GB  min s  median s  peak GB  s/M pairs  lake MB")
    found: dict[str, dict[int, Found]] = {engine: {} for engine in ENGINES}
    for size in sizes:
        for engine in ENGINES:
            row = found[engine][size] = in_fresh_process(size, engine)
            print(
                f"{engine:16s} {size:10,d} {row['prepared_s']:7.2f} {row['memory_s']:6.2f} "
                f"{row['memory_median_s']:9.2f} {row['memory_gb']:8.2f} {row['written_s']:6.2f} "
                f"{row['written_median_s']:9.2f} {row['written_gb']:8.2f} "
                f"{1e6 * row['written_s'] / row['pairs']:10.2f} {row['lake_mb']:8.1f}",
                flush=True,
            )
    problems = [problem for engine, rows in found.items() for problem in failures(engine, rows)]
    if problems:
        sys.exit("failed: " + "; ".join(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]), sys.argv[3])))
    else:
        main()
