"""The commands that write example files of our own making: prices, a fleet, meters."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder

EXAMPLE_DAY = date(2023, 8, 15)


def add_make_commands(commands: Any, market_date: Callable[[str], date]) -> None:
    """Register `make-data`, `make-fleet` and `make-meters`; ``market_date`` reads a date."""
    example = commands.add_parser("make-data", help="write the embedded example prices again")
    example.add_argument("--out", type=Path, default=project_folder() / "data")
    example.set_defaults(run=_make_data)
    fleet = commands.add_parser("make-fleet", help="write a generated fleet as CSV, to edit into your own")
    fleet.add_argument("--out", type=Path, default=Path("my_fleet.csv"))
    fleet.add_argument("--prosumers", type=int, choices=range(3, 1_000_001), default=200, metavar="N", help="3 or more")
    fleet.set_defaults(run=_make_fleet)
    meters = commands.add_parser("make-meters", help="write synthetic metered hours as CSV, to try the layout with")
    meters.add_argument("--out", type=Path, default=Path("my_meters.csv"))
    meters.add_argument("--sites", type=int, choices=range(1, 1001), default=20, metavar="N", help="1 to 1000")
    meters.add_argument("--from", dest="first", type=market_date, metavar="DATE", default=date(2023, 7, 10))
    meters.add_argument("--to", dest="last", type=market_date, metavar="DATE", default=EXAMPLE_DAY)
    meters.set_defaults(run=_make_meters)


def _make_data(options: argparse.Namespace) -> int:
    from vpp_pipeline.market.synthetic_prices import EXAMPLE_NAME, write_example

    write_example(options.out / EXAMPLE_NAME)
    print(f"wrote {options.out / EXAMPLE_NAME}")
    return 0


def _make_fleet(options: argparse.Namespace) -> int:
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.settings import FleetSettings

    _must_be_new(options.out)
    fleet = generate_fleet(FleetSettings(prosumers=options.prosumers), EXAMPLE_DAY).drop("market_date")
    fleet.write_csv(options.out)
    print(f"wrote {fleet.height} prosumers to {options.out}")
    return 0


def _make_meters(options: argparse.Namespace) -> int:
    from vpp_pipeline.forecasting.meters import write_meters

    _must_be_new(options.out)
    if options.last < options.first:
        raise InputError(
            "a range that ends before it begins", value=f"{options.first} to {options.last}", remedy="Exchange the two"
        )
    rows = write_meters(options.out, options.first, options.last, options.sites)
    print(f"wrote {rows} synthetic hours of {options.sites} sites to {options.out}")
    return 0


def _must_be_new(file: Path) -> None:
    if file.exists():
        raise InputError("the file is there already", file=file, remedy="Name another one with --out, or remove it")
