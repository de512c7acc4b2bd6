"""How long a fleet takes, and how much memory: generation, and the hourly envelope in slices.

    python benchmarks/bench_fleet.py [sizes, default 200 20000 200000 1000000]

Each size runs in a fresh process, twice; the quicker run counts, the larger memory. The envelope of the whole fleet is
computed 50,000 prosumers at a time and not kept, as a fleet of a million would be used. Ends with 1 if a million
prosumers take more than 60 s or 4 GB in all, or if the processor time per prosumer (all threads, steadier than the
clock on a busy machine) grows by more than a fifth from 200,000 to a million.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from datetime import date

SIZES = (200, 20_000, 200_000, 1_000_000)
DAY = date(2023, 8, 15)
SLICE = 50_000
RUNS = 2
LIMIT_SECONDS, LIMIT_GB = 60.0, 4.0
LARGEST_GROWTH = 1.2  # of processor seconds per prosumer, GROWTH_SIZES[1] over GROWTH_SIZES[0]
GROWTH_SIZES = (200_000, 1_000_000)
COLUMNS = ("generate_s", "generate_gb", "envelope_s", "all_s", "all_gb", "cpu_s")


def peak_gb() -> float:
    """Most memory that this process has held so far (resident, GB)."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(prosumers: int) -> dict[str, float]:
    """Seconds and peak memory in this process; imports do not count as time."""
    from vpp_pipeline.core.calendar import market_hours
    from vpp_pipeline.fleet.envelope import hourly_envelope
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
    from vpp_pipeline.settings import FleetSettings

    hours, solar, load = market_hours(DAY), solar_forecast(DAY), load_forecast(DAY)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    fleet = generate_fleet(FleetSettings(prosumers=prosumers), DAY)
    generated, generate_gb = time.perf_counter() - begun, peak_gb()
    rows = sum(hourly_envelope(part, hours, solar, load).height for part in fleet.iter_slices(SLICE))
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    if fleet.height != prosumers or rows != prosumers * hours.height:
        raise ValueError(f"{fleet.height} prosumers and {rows} hours instead of {prosumers} and {hours.height} each")
    values = (generated, generate_gb, seconds - generated, seconds, peak_gb(), cpu_s)
    return dict(zip(COLUMNS, values, strict=True))


def in_fresh_process(prosumers: int) -> dict[str, float]:
    """The quickest of some runs, and the most memory any of them held."""
    command = [sys.executable, __file__, "--measure", str(prosumers)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(RUNS)]
    return {name: (max if name.endswith("_gb") else min)(run[name] for run in runs) for name in COLUMNS}


def failures(found: dict[int, dict[str, float]]) -> list[str]:
    """What is beyond its limit, in words."""
    words = []
    small, large = GROWTH_SIZES
    if large in found and found[large]["all_s"] > LIMIT_SECONDS:
        words.append(f"{large:,} prosumers took {found[large]['all_s']:.1f} s, limit {LIMIT_SECONDS:g} s")
    if large in found and found[large]["all_gb"] > LIMIT_GB:
        words.append(f"{large:,} prosumers took {found[large]['all_gb']:.2f} GB, limit {LIMIT_GB:g} GB")
    if small in found and large in found:
        growth = (found[large]["cpu_s"] / large) / (found[small]["cpu_s"] / small)
        print(f"processor time per prosumer, {large:,} over {small:,}: {growth:.2f} (limit {LARGEST_GROWTH:g})")
        if growth > LARGEST_GROWTH:
            words.append(f"processor time per prosumer grew by a factor of {growth:.2f}, limit {LARGEST_GROWTH:g}")
    return words


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print("prosumers  generate s    peak GB  envelope s       all s    peak GB     cpu s")
    found = {}
    for size in sizes:
        found[size] = in_fresh_process(size)
        row = found[size]
        print(
            f"{size:9,d} {row['generate_s']:11.2f} {row['generate_gb']:10.2f} {row['envelope_s']:11.2f} "
            f"{row['all_s']:11.2f} {row['all_gb']:10.2f} {row['cpu_s']:9.2f}",
            flush=True,
        )
    problems = failures(found)
    if problems:
        sys.exit("failed: " + "; ".join(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main()
