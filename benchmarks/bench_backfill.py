"""How long a year's backfill from OASIS takes at CAISO's pace, killed once midway and gone on with.

    python benchmarks/bench_backfill.py [DAYS]        366 days: some 35 minutes, nearly all of them waiting

The server is the tests' own, on this machine: it answers as OASIS does (layout, limits, HTTP 429 for who asks within
5 s), from the public file of prices in ``../shared/data``. What CAISO's own servers take to answer comes on top. Every
day that was taken in is held against the file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline_tests.market.oasis.published import PRICES, SP15, real
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving

PROJECT = Path(__file__).resolve().parents[1]
FIRST, YEAR = date(2024, 1, 1), 366
INTERVAL_S = 5.0


def settings(folder: Path, url: str) -> None:
    """As a user has them, but for the address, and a lock of our own that paces."""
    (folder / "data").mkdir()
    (folder / "home").mkdir()
    text = (
        f'kind = "oasis"\nnode = "{SP15}"\n[oasis]\nurl = "{url}"\ninterval_s = {INTERVAL_S}\ngate = "{folder}/gate"\n'
    )
    (folder / "data" / "prices.toml").write_text(text)


def command(folder: Path, last: date) -> subprocess.Popen[bytes]:
    words = ["ingest", "--from", str(FIRST), "--to", str(last), "--source", "oasis", "--data", str(folder / "data")]
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "home")}
    return subprocess.Popen([sys.executable, "-m", "vpp_pipeline", *words], cwd=PROJECT, env=environment)


def main(days: int) -> None:
    if not PRICES.exists():
        sys.exit(f"skipped: no data in {PRICES.resolve()}")
    last = FIRST + timedelta(days=days - 1)
    with tempfile.TemporaryDirectory() as name, serving(LocalOasis(real(), least_pause_s=INTERVAL_S)) as oasis:
        folder = Path(name)
        settings(folder, oasis.url)
        began = time.monotonic()
        first = command(folder, last)
        while len(oasis.asked) < days // 2 and first.poll() is None:
            time.sleep(0.5)
        first.send_signal(signal.SIGKILL)
        first.wait()
        killed_s, asked = time.monotonic() - began, len(oasis.asked)
        lake = Lake(folder / "data" / "lake")
        held = len(lake.days_of("market.prices"))
        print(
            f"killed after {killed_s / 60:.1f} minutes and {asked} requests, with {held} days in the lake", flush=True
        )
        status = command(folder, last).wait()
        took_s = time.monotonic() - began
        source = open_source(PRICES, SP15)
        wanted = [FIRST + timedelta(days=k) for k in range(days)]
        same = sum(
            lake.day(str(day)).exists("market.prices")
            and lake.day(str(day)).read("market.prices").drop("source").equals(source.day(day).drop("source"))
            for day in wanted
        )
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(oasis.reports).items()))
        refused = sum(one.fault is not None for one in oasis.asked)
    asked = f"{len(oasis.asked)} requests: {kinds}; {refused} refused"
    print(f"{took_s / 60:.1f} minutes in all, exit status {status}; {asked}")
    print(f"{same} of {days} days identical to the file")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else YEAR)
