"""How long each step of a day's run takes, and how much memory: the job `bid_day` itself, from fleet to warehouse.

    python benchmarks/bench_pipeline.py [sizes, default 200 20000 100000]

Each size runs in a fresh process, with an empty lake in a temporary folder and a history in memory: synthetic prices of
2023-08-15, the default settings, the project's file of requests. Seconds are those of Dagster's steps, reading and
writing of the lake included; memory is sampled while they run (Linux; elsewhere it is the most held so far). Steps
below half a second are added up. Ends with 1 if 100,000 prosumers hold 8 GB or more, or take longer than 10 minutes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from bench_fleet import peak_gb

SIZES = (200, 20_000, 100_000)
DAY = date(2023, 8, 15)
SAMPLE_S = 0.05
SHORT_S = 0.5
LARGE, LIMIT_SECONDS, LIMIT_GB = 100_000, 600.0, 8.0
STATM, PAGE_GB = Path("/proc/self/statm"), resource.getpagesize() / 1e9

Step = dict[str, Any]  # step, seconds, peak_gb


class Memory(threading.Thread):
    """Notes how much memory this process holds, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            held = int(STATM.read_text().split()[1]) * PAGE_GB if STATM.exists() else peak_gb()
            self.samples.append((time.time(), held))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def peak_gb(self, begun: float, ended: float) -> float:
        """The most held between two moments; 0 where they are too close to tell."""
        return max((held for moment, held in self.samples if begun <= moment <= ended), default=0.0)


def measure(prosumers: int) -> list[Step]:
    """The steps of one run in the order they began, and all of it as the last row."""
    import dagster as dg

    from vpp_pipeline.cli.run_job import execute
    from vpp_pipeline.definitions import definitions_of
    from vpp_pipeline.defs.owner import Owner

    memory, run_id = Memory(), str(uuid4())
    with TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        config = {
            "resources": {
                "desk": {"config": {"fleet": {"prosumers": prosumers}, "resources": {"participation": "hourly"}}},
            },
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        memory.start()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        job = definitions_of(Owner(Path(folder))).resolve_job_def("bid_day")
        execute(job, config, DAY.isoformat(), instance, run_id, {})
        whole = {"step": "all", "seconds": time.perf_counter() - begun, "peak_gb": peak_gb()}
        whole["cpu_s"] = time.process_time() - begun_cpu
        whole["warehouse_mb"] = Path(folder, "vpp.duckdb").stat().st_size / 1e6
        memory.stop()
        entries = instance.all_logs(run_id)
    return [*_steps(entries, memory), whole]


def _steps(entries: list[Any], memory: Memory) -> list[Step]:
    begun: dict[str, float] = {}
    steps: list[Step] = []
    for entry in entries:
        kind = entry.dagster_event.event_type_value if entry.dagster_event else ""
        if kind == "STEP_START":
            begun[entry.step_key] = entry.timestamp
        elif kind == "STEP_SUCCESS":
            start = begun[entry.step_key]
            peak = memory.peak_gb(start, entry.timestamp)
            steps.append({"step": entry.step_key, "seconds": entry.timestamp - start, "peak_gb": peak})
    return steps


def in_fresh_process(prosumers: int) -> list[Step]:
    command = [sys.executable, __file__, "--measure", str(prosumers)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    steps: list[Step] = json.loads(found.splitlines()[-1])
    return steps


def show(prosumers: int, steps: list[Step]) -> None:
    *parts, whole = steps
    print(f"\n{prosumers:,} prosumers\n{'step':60s} seconds  peak GB")
    for row in parts:
        if row["seconds"] >= SHORT_S:
            print(f"{row['step']:60s} {row['seconds']:7.1f} {row['peak_gb']:8.2f}")
    short = [row["seconds"] for row in parts if row["seconds"] < SHORT_S]
    print(f"{f'{len(short)} steps below {SHORT_S:g} s':60s} {sum(short):7.1f}")
    print(f"{'the whole run, Dagster included':60s} {whole['seconds']:7.1f} {whole['peak_gb']:8.2f}")
    print(f"processor {whole['cpu_s']:.1f} s, warehouse {whole['warehouse_mb']:.0f} MB", flush=True)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    found = {}
    for size in sizes:
        found[size] = in_fresh_process(size)
        show(size, found[size])
    whole = found.get(LARGE, [{}])[-1]
    if whole.get("seconds", 0.0) > LIMIT_SECONDS or whole.get("peak_gb", 0.0) >= LIMIT_GB:
        sys.exit(f"failed: {LARGE:,} prosumers may take {LIMIT_SECONDS:g} s and must stay below {LIMIT_GB:g} GB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main()
