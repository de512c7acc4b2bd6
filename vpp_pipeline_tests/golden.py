"""Golden days: hashes of every table that the warehouse serves of a few days, so that a rebuilt house bids the same.

`python -m vpp_pipeline_tests.golden --record` writes `golden.json` again and prints what changed; with names of days
(`--record embedded_concession`) only those. A day is made by the commands that users type and read with DuckDB: nothing
here depends on how the code is laid out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_name("golden.json")
REAL_PRICES = PROJECT / "../shared/data/caiso_prices"
EMBEDDED = ("--source", "synthetic")
REAL = ("--prices", str(REAL_PRICES), "--node", "TH_SP15_GEN-APND")

#: what another run, another machine or another version of the code may change
IGNORED = frozenset(
    [
        *("run_id", "created_utc", "published_utc", "at_utc", "started_by", "seconds", "code_version", "fingerprint"),
        *("prices_version", "fleet_version", "requests_version", "deals_version"),
    ]
)
#: Floats are compared on a grid of 0.0001 (kW, kWh, $, $/MWh), whose borders no short decimal number lies on: machines
#: differ by some 1e-12, and the smallest bid that can change is 0.01 MW.
GRID = 1e-4
SHIFT = 0.141592653589793

Hashes = dict[str, Any]  # table -> its rows, its hash, and the hash of each column


@dataclass(frozen=True)
class GoldenDay:
    """A market day by command line: options of `bids`, of `settle`, and of `backtest` where one is asked for."""

    date: str
    bids: tuple[str, ...]
    prices: tuple[str, ...] = EMBEDDED
    backtest: tuple[str, ...] | None = None

    @property
    def is_real(self) -> bool:
        """Whether it needs the real prices, which are no part of the project."""
        return self.prices == REAL


_HOURLY = ("--set", "resources.participation=hourly")
_SMALL = ("--prosumers", "30", "--set", "optimiser.time_limit_seconds=60", *_HOURLY)
_EVERY_TABLE = (  # the defaults leave scenarios, scenario quantities and top-ups empty
    *("--set", "risk.scenarios=4", "--set", "risk.aversion=0.3", "--set", "risk.history_days=8"),
    *("--set", "payments.rule=owen"),
)

DAYS = {
    "embedded_concession": GoldenDay("2023-08-15", ("--set", "optimiser.time_limit_seconds=60")),
    "embedded_uniform_clearing": GoldenDay(
        "2023-08-15",
        ("--engine", "uniform_clearing", *_SMALL, *_EVERY_TABLE),
        EMBEDDED,
        (
            *("--arms", "indexed,concession,centralised,perfect_foresight,posted_price,original", "--prosumers", "30"),
            *("--set", "optimiser.time_limit_seconds=1000"),  # its gaps are a column: none may end by the clock
        ),
    ),
    "embedded_hourly": GoldenDay("2023-08-16", ("--prosumers", "60", *_HOURLY)),
    "embedded_storage": GoldenDay("2023-08-16", ("--prosumers", "60")),
    "real_concession": GoldenDay("2024-07-11", _SMALL, REAL),
    "real_uniform_clearing": GoldenDay("2024-07-11", ("--engine", "uniform_clearing", *_SMALL), REAL),
}


def make_day(day: GoldenDay, data: Path) -> None:
    """Bid, settle and where asked back-test the day below ``data``, by the command line, with a history of its own."""
    data.mkdir(parents=True, exist_ok=True)
    home = data / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    commands = [
        ["bids", "--date", day.date, *day.bids, *day.prices],
        ["settle", "--date", day.date, *day.prices],
    ]
    if day.backtest is not None:
        commands.append(
            ["backtest", "--from", day.date, "--to", day.date, "--workers", "1", *day.backtest, *day.prices]
        )
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "vpp_pipeline", *command, "--data", str(data)],
            env=environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"vpp-pipeline {' '.join(command)} failed: {done.stderr or done.stdout}")


def tables_of(warehouse: Path) -> dict[str, pl.DataFrame]:
    """Every table (no view) of a warehouse, by name."""
    named = "select table_schema || '.' || table_name from information_schema.tables where table_type = 'BASE TABLE'"
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        names = sorted(name for (name,) in connection.execute(named).fetchall())
        found = {name: connection.sql(f"select * from {name}").to_arrow_table() for name in names}
    return {name: pl.DataFrame(pl.from_arrow(rows)) for name, rows in found.items()}


def hashes_of(tables: Mapping[str, pl.DataFrame]) -> Hashes:
    """Of each table how many rows it has, its hash and that of each column; the order of rows does not count.

    ``bid_id`` ends in a hash of the code; in its place stands the opportunity that the bid is for.
    """
    return {name: _hashes_of_table(frame) for name, frame in sorted(tables.items())}


def _hashes_of_table(frame: pl.DataFrame) -> dict[str, Any]:
    kept = sorted(name for name in frame.columns if name not in IGNORED)
    columns = frame.select(_comparable(name, frame.schema[name]) for name in kept)
    # rows are told apart by keys and words first, so that one changed number does not move its neighbours
    numbers = [name for name in kept if frame.schema[name].is_float()]
    columns = columns.sort([name for name in kept if name not in numbers] + numbers, nulls_last=True)
    hashes = {name: _hash(columns[name]) for name in kept}
    return {"rows": frame.height, "hash": _digest(json.dumps(hashes)), "columns": hashes}


def _comparable(name: str, kind: pl.DataType) -> pl.Expr:
    """The column as text; numbers by their place on the grid."""
    column = pl.col(name)
    if name == "bid_id":
        return column.str.replace("^vpp_bid_(.+)_[0-9a-f]{8}$", "$1")
    if kind.is_float():
        place = (column / GRID + SHIFT).floor()
        exact = place.is_nan() | place.is_infinite() | (place.abs() > 2**62)
        return pl.when(exact).then(place.cast(pl.String)).otherwise(place.cast(pl.Int64, strict=False).cast(pl.String))
    if isinstance(kind, pl.Datetime):
        return column.dt.epoch("us").cast(pl.String).alias(name)
    return column.cast(pl.String)


def _hash(column: pl.Series) -> str:
    return _digest("\x1e".join("\x00" if value is None else value for value in column.to_list()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(expected: Hashes, found: Hashes) -> list[str]:
    """One line per table that is not as expected: what of it differs."""
    told = []
    for table in sorted(set(expected) | set(found)):
        if table not in found:
            told.append(f"{table} is gone")
        elif table not in expected:
            told.append(f"{table} is new, with {found[table]['rows']} rows")
        elif expected[table]["hash"] != found[table]["hash"]:
            told.append(f"{table}: {_difference(expected[table], found[table])}")
    return told


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    if expected["rows"] != found["rows"]:
        return f"{expected['rows']} rows, now {found['rows']}"
    before, now = expected["columns"], found["columns"]
    changed = [name for name in sorted(set(before) | set(now)) if before.get(name) != now.get(name)]
    return "columns " + ", ".join(changed)


def recorded() -> dict[str, Hashes]:
    """The golden days as they were recorded."""
    return dict(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.is_file() else {}


def record(names: Sequence[str]) -> int:
    """Make the days of these ``names``, write their hashes down and print what changed."""
    golden, changed = recorded(), 0
    for name in names:
        if DAYS[name].is_real and not REAL_PRICES.exists():
            print(f"{name}: left as it was, the real prices are not part of the project (../shared/data)")
            continue
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            make_day(DAYS[name], data)
            found = hashes_of(tables_of(data / "vpp.duckdb"))
        lines = differences(golden.get(name, {}), found)
        print(f"{name}: {len(lines)} of {len(found)} tables changed", *lines, sep="\n  ")
        golden[name], changed = found, changed + len(lines)
    FILE.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n", encoding="utf-8")
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description="hashes of every table of a few days")
    parser.add_argument("--record", action="store_true", required=True, help="write golden.json again")
    parser.add_argument("days", nargs="*", metavar="DAY", help=f"of {', '.join(DAYS)}; default: all")
    chosen = parser.parse_args().days or list(DAYS)
    if unknown := [name for name in chosen if name not in DAYS]:
        parser.error(f"no such day: {', '.join(unknown)}; choose from {', '.join(DAYS)}")
    record(chosen)


if __name__ == "__main__":
    main()
