"""Attacks from outside, and what of them got through: `make hostile`.

Full, it takes some minutes, most of them waiting for `dagster dev`; `--quick` tries fewer zips and leaves Dagster out.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vpp_pipeline_tests.robustness import hostile_day, hostile_feeds, hostile_pages
from vpp_pipeline_tests.robustness.attack import Attack

ZIPS, FEW_ZIPS = 4_000, 200
SHOWN = 20  # of what got through, of each attack


def main(arguments: list[str] | None = None) -> int:
    """Print what each attack came to; 1 where anything got through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few zips, and no `dagster dev`")
    parser.add_argument("--zips", type=int, help=f"damaged answers of each feed [{ZIPS}, quick {FEW_ZIPS}]")
    parser.add_argument("--seed", type=int, default=1, help="of the damage [1]")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="vpp_hostile_"))
    try:
        attacks = _all(folder, chosen.zips or (FEW_ZIPS if chosen.quick else ZIPS), chosen.seed, not chosen.quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    through = sum(len(attack.through) for attack in attacks)
    print(f"in all: {sum(attack.cases for attack in attacks)} cases, {through} got through")
    return 1 if through else 0


def _all(folder: Path, zips: int, seed: int, with_dagster: bool) -> list[Attack]:
    attacks = [
        _timed(lambda: hostile_feeds.zips(zips, seed)),
        _timed(lambda: hostile_feeds.weather(zips, seed)),
        _timed(lambda: hostile_feeds.drips(folder)),
        _timed(lambda: hostile_pages.links(_new(folder / "shared"))),
    ]
    with hostile_day.hostile_day(_new(folder / "day")) as day:
        attacks += [_timed(lambda attack=attack: attack(day)) for attack in hostile_day.ATTACKS]
    logging.getLogger("vpp_pipeline").handlers.clear()  # those of the commands that have run
    if with_dagster:
        attacks.append(_timed(hostile_pages.pages))
    return attacks


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _timed(attack: Callable[[], Attack]) -> Attack:
    """The attack, printed with what got through and its seconds."""
    began, cpu = time.monotonic(), time.process_time()
    found = attack()
    print(f"{found}, {time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU", flush=True)
    for what in found.through[:SHOWN]:
        print(f"    {ascii(what)[1:401]}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
