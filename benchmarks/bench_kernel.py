"""The pricing kernel: µs of CPU per prosumer of a sweep, with and without reserve; of another commit in the same run.

    python benchmarks/bench_kernel.py [--prosumers 4000] [--rounds 3] [--against <git commit>]

One thread answers the same prosumers at the same prices with each package; each round runs every package in a process
of its own, in turn, and the fastest sweep of all rounds counts. The day of the negotiated rows needs real prices
beside the checkout and is left out without them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
REPEATS = 3  # sweeps of a process
CASES = ("reference, reserve in all hours", "reference, no reserve", "negotiated", "negotiated, no reserve")


def cases(prosumers: int) -> dict[str, tuple[Any, np.ndarray, float]]:
    """Prosumers, prices (4, T) in $ per kWh, and hours of a call of each case."""
    from days import PRICES
    from optimiser_days import negotiated_day, reference_day, reference_prices

    from vpp_pipeline.dispatch.column_generation.pricing import stores_of

    energy, spin, nonspin = reference_prices() / 1000.0
    nothing = 0.0 * energy
    day = reference_day(prosumers)
    stores = stores_of(day)
    found = {
        CASES[0]: (stores, np.stack([energy, energy, spin, nonspin]), day.call_hours),
        CASES[1]: (stores, np.stack([energy, energy, nothing, nothing]), day.call_hours),
    }
    if PRICES.exists():
        day = negotiated_day(prosumers)
        energy, stores = day.market_price / 1000.0, stores_of(day)
        found[CASES[2]] = stores, np.stack([energy, energy, spin, nonspin]), day.call_hours
        found[CASES[3]] = stores, np.stack([energy, energy, nothing, nothing]), day.call_hours
    return found


def measure(given: Path, answer: Path) -> None:
    """Sweep the prosumers in ``given`` with the package on the path; CPU seconds and values into ``answer``."""
    from vpp_pipeline.dispatch.column_generation.best_response import Stores, add_responses, fill_values

    drawn = np.load(given)
    stores = Stores(*(drawn[name] for name in Stores._fields))
    prices, call_hours, count = drawn["prices"], float(drawn["call_hours"]), len(stores.initial)
    everyone, group = np.arange(count), np.zeros(count, dtype=np.int64)
    value, power, money = np.empty(count), np.zeros((1, prices.shape[1], 4)), np.zeros((1, 2))
    fill_values(stores, 0, count, prices, call_hours, value)
    add_responses(stores, everyone[:1], group, prices, call_hours, power.copy(), money.copy())
    seconds = []
    for _ in range(REPEATS):
        power[:], money[:] = 0.0, 0.0
        begun = time.thread_time()
        add_responses(stores, everyone, group, prices, call_hours, power, money)
        seconds.append(time.thread_time() - begun)
    kw = power[0]
    earned = kw[:, 0] @ prices[0] - kw[:, 1] @ prices[1] + kw[:, 2] @ prices[2] + kw[:, 3] @ prices[3] - money[0, 0]
    np.savez(answer, seconds=min(seconds), value=value, earned=earned)


def package_of(commit: str, folder: Path) -> Path:
    """The package as of ``commit``, unpacked in ``folder``."""
    packed = subprocess.run(
        ["git", "-C", HERE.parent, "archive", commit, "vpp_pipeline"], check=True, capture_output=True
    )
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prosumers", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(*asked.measure)
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        packages = {"this": HERE.parent}
        if asked.against:
            packages = {asked.against: package_of(asked.against, folder)} | packages
        print(f"| case ({asked.prosumers:,} prosumers) | {' | '.join(f'{key}, µs' for key in packages)} |", end="")
        print(" ratio | largest relative difference of a value | same of the sum earned |" if asked.against else "")
        print("|---" * (1 + len(packages) + 3 * bool(asked.against)) + "|")
        for case, (stores, prices, call_hours) in cases(asked.prosumers).items():
            np.savez(folder / "given.npz", prices=prices, call_hours=call_hours, **stores._asdict())
            best: dict[str, dict[str, Any]] = {}
            for _ in range(asked.rounds):
                for key, path in packages.items():
                    command = [sys.executable, __file__, "--measure", folder / "given.npz", folder / "answer.npz"]
                    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(path)})
                    answer = dict(np.load(folder / "answer.npz"))
                    if key not in best or answer["seconds"] < best[key]["seconds"]:
                        best[key] = answer
            row = [f"{1e6 * float(each['seconds']) / asked.prosumers:.1f}" for each in best.values()]
            if asked.against:
                old, new = best.values()
                difference = np.abs(new["value"] - old["value"]) / (1.0 + np.abs(old["value"]))
                earned = abs(float(new["earned"] - old["earned"])) / (1.0 + abs(float(old["earned"])))
                row += [f"{float(old['seconds'] / new['seconds']):.2f}x", f"{difference.max():.1e}", f"{earned:.1e}"]
            print(f"| {case} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
