"""A whole day by the command that users run, in a fresh folder: CPU seconds, memory, bids, gap, violations.

    python benchmarks/end_to_end.py <date> <prosumers> [embedded|real]     prints JSON

`vpp-pipeline bids` at its defaults runs as a process of its own with an empty data folder and an empty history of
Dagster; the kernels of large fleets are compiled before. Real prices are those of `days.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from days import NODE, PRICES

CHECKOUT = Path(__file__).resolve().parents[1]
KIB_PER_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # of ru_maxrss
MADE = (0, 3)  # exit status: published, and published with a gap above the warning's


def run_day(market_date: str, prosumers: str, prices: str) -> dict[str, Any]:
    """What one run of the command took and made. Raises RuntimeError where it made nothing, with its last line."""
    command = [sys.executable, "-m", "vpp_pipeline", "bids", "--date", market_date, "--prosumers", prosumers, "--json"]
    command += ["--set", "resources.participation=hourly"]
    if prices == "real" and not PRICES.exists():
        raise RuntimeError("left out: no real prices beside the checkout")
    if prices == "real":
        command += ["--prices", str(PRICES), "--node", NODE]
    with TemporaryDirectory() as folder:
        data, home = Path(folder, "data"), Path(folder, "dagster")
        data.mkdir()
        home.mkdir()
        environment = os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(CHECKOUT)}
        answer, errors, wall = Path(folder, "answer"), Path(folder, "errors"), time.perf_counter()
        with answer.open("w") as out, errors.open("w") as err:
            child = subprocess.Popen([*command, "--data", str(data)], stdout=out, stderr=err, env=environment)
            _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - wall
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in MADE:
            raise RuntimeError((errors.read_text().strip().splitlines() or [f"code {child.returncode}"])[-1])
        day = json.loads(answer.read_text())
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": wall_s,
        "peak_gb": used.ru_maxrss * KIB_PER_UNIT * 1024 / 1e9,
        "bids": sum(bid["status"] == "bid" for bid in day["final_bids"]),
        "gap": day["proof"]["gap_fraction"],
        "violations": sum(check["violations"] for check in day["checks"] if not check["is_warning"]),
        "warnings": [check["check_name"] for check in day["checks"] if check["is_warning"] and not check["passed"]],
    }


def main() -> None:
    market_date, prosumers, *prices = sys.argv[1:]
    print(json.dumps(run_day(market_date, prosumers, *(prices or ["embedded"]))))


if __name__ == "__main__":
    main()
