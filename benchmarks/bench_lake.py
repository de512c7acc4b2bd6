"""What a lake on an object store costs beside one in a folder: requests of a day, and CPU seconds of its commands.

    python benchmarks/bench_lake.py [--prosumers 200] [--repeat 3]

The store is moto's S3 on this machine, in a process of its own whose CPU time does not count; it needs the extra
`cluster` and requirements-cluster-test.lock. Each command runs on both lakes in turn, in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.cluster.object_server import BUCKET, Running, running

DATE = "2023-08-15"
HOURLY = ("--set", "resources.participation=hourly")  # as the figures of docs/scaling.md


def cpu_s(data: Path, environment: dict[str, str], *line: str) -> float:
    """CPU seconds of ``vpp-pipeline LINE``."""
    command = [sys.executable, "-m", "vpp_pipeline", *line, "--data", str(data)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"vpp-pipeline {' '.join(line)} ended with status {process.returncode}")
    return used.ru_utime + used.ru_stime


def measure(server: Running, prosumers: int, repeat: int) -> None:
    """Print a table of commands."""
    lines = {
        "bids": ("bids", "--date", DATE, "--source", "synthetic", "--prosumers", str(prosumers), *HOURLY),
        "settle": ("settle", "--date", DATE, "--source", "synthetic"),
        "rebuild on another machine": ("rebuild",),
    }
    spent: dict[tuple[str, bool], list[float]] = {}
    requests: dict[str, Counter[str]] = {}
    plain = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "VPP_LAKE_URL")}
    plain["PYTHONPATH"] = str(project_folder())
    with tempfile.TemporaryDirectory() as temporary:
        for k in range(repeat):
            for name, line in lines.items():
                for is_shared in (False, True):
                    data = Path(temporary) / f"{k}-{'shared' if is_shared else 'folder'}"
                    if name.startswith("rebuild") and is_shared:
                        data = data.with_name(f"{data.name}-other")
                    url = f"s3://{BUCKET}/{k}"
                    environment = {**plain, **server.environment, "VPP_LAKE_URL": url} if is_shared else plain
                    before = Counter(server.counts())
                    spent.setdefault((name, is_shared), []).append(cpu_s(data, environment, *line))
                    if is_shared:
                        requests[name] = Counter(server.counts()) - before
    print(f"{prosumers} prosumers, median of {repeat}; load {os.getloadavg()[0]:.1f} at the end")
    print("| command | CPU s, folder | CPU s, object store | PUT | GET | LIST | other |")
    print("|---|---|---|---|---|---|---|")
    for name in lines:
        folder, shared = (statistics.median(spent[name, is_shared]) for is_shared in (False, True))
        asked = requests[name]
        kinds = [asked.pop(kind, 0) for kind in ("put", "get", "list")]
        counts = " | ".join(map(str, [*kinds, asked.total()]))
        print(f"| `{name}` | {folder:.1f} | {shared:.1f} | {counts} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prosumers", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with running() as server:
        measure(server, options.prosumers, options.repeat)


if __name__ == "__main__":
    main()
