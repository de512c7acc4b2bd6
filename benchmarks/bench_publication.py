"""How long one more day takes to publish, after 10, 100 and 365 days of history, and how large the file is.

    python benchmarks/bench_publication.py [--prosumers 200] [--days 10 100 365] [--repeat 7] [--data FOLDER]

Makes one day's bids in a temporary folder (or takes the day 2023-08-15 that FOLDER holds), and re-dates its tables into
the days before, one at a time as publications would, with the lake's files of every opportunity. Then publishes the day
onto 10, 100 and 365 days of it, each time onto a fresh copy of that warehouse. Seconds are those of
`warehouse.publish.publish`: wall clock and processor time of this process, and how long the file alone takes to copy.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish

DAY = date(2023, 8, 15)
BY_OPPORTUNITY = ("rounds", "segments", "deals")  # folders of a file each

Seconds = tuple[float, float]  # wall clock, processor time


def timed(work: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def make_day(data: Path, prosumers: int) -> None:
    """The day's bids, made and published below ``data`` as a user would."""
    command = [sys.executable, "-m", "vpp_pipeline", "bids", "--date", DAY.isoformat(), "--data", str(data)]
    command += ["--set", "resources.participation=hourly"]
    done = subprocess.run([*command, "--prosumers", str(prosumers)], check=True, capture_output=True, text=True)
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith(("seconds", "objective"))), flush=True)


def add_history(data: Path, warehouse: Path, first: int, last: int) -> None:
    """Re-date the made day into the days ``first`` … ``last`` before it, each with a checkpoint of its own."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach '{data / 'vpp.duckdb'}' as made (read_only)")
        connection.execute(f"attach '{warehouse}' as history")
        columns = connection.execute(
            """
            select schema_name || '.' || table_name, list(column_name), list(data_type)
            from duckdb_columns() join duckdb_tables() using (database_name, schema_name, table_name)
            where database_name = 'made' group by all
            """
        ).fetchall()
        for back in range(first, last + 1):
            connection.execute("begin")
            for table, names, kinds in columns:
                earlier = ", ".join(_earlier(f'"{name}"', kind, back) for name, kind in zip(names, kinds, strict=True))
                of_day = f"where market_date = date '{DAY}'"  # prices of the week before are there already
                connection.execute(f"insert into history.{table} by name select {earlier} from made.{table} {of_day}")
            connection.execute("commit")
            connection.execute("checkpoint history")


def _earlier(name: str, kind: str, back: int) -> str:
    """The column, ``back`` days earlier where it is a day or a moment."""
    if kind.startswith("TIMESTAMP"):
        return f"{name} - interval {back} day as {name}"
    return f"({name} - {back})::date as {name}" if kind == "DATE" else name


def add_files(lake: Lake, first: int, last: int) -> None:
    """Manifests of the same days, as many as publications leave."""
    made = lake.manifest(DAY)
    for back in range(first, last + 1):
        lake.commit(DAY - timedelta(days=back), "bids", lambda _: dict(made.files))


def measure(lake: Lake, history: Path, repeat: int) -> tuple[list[Seconds], list[Seconds]]:
    """Publish the day onto a copy of ``history``, several times; also the seconds of such a copy."""
    published, copied = [], []
    target = history.with_name("measured.duckdb")
    for _ in range(repeat):
        copied.append(timed(lambda: shutil.copyfile(history, target)))
        os.sync()  # what this benchmark wrote is not the publication's to wait for
        published.append(timed(lambda: publish(lake, target, DAY)))
    target.unlink()
    return published, copied


def in_words(seconds: list[Seconds]) -> str:
    """Least, median and most of wall clock and of processor time."""
    parts = []
    for part in (0, 1):
        values = sorted(pair[part] for pair in seconds)
        parts.append(f"{values[0]:5.2f} {values[len(values) // 2]:5.2f} {values[-1]:5.2f}")
    return "   ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prosumers", type=int, default=200)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 100, 365])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--data", type=Path, help=f"folder in which {DAY} was made")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        if options.data:
            for part in ("lake", "vpp.duckdb"):
                source = options.data / part
                (shutil.copytree if source.is_dir() else shutil.copy)(source, data / part)
        else:
            make_day(data, options.prosumers)
        # a warehouse with the layout and no days
        history = Path(temporary) / "history.duckdb"
        publish(Lake(Path(temporary) / "empty"), history, DAY)
        print("days     MB   publication: wall min, median, max   CPU min, median, max   copying alone: wall, CPU")
        done, medians = 0, []
        for days in sorted(options.days):
            add_history(data, history, done + 1, days)
            add_files(Lake(data / "lake"), done + 1, days)
            published, copied = measure(Lake(data / "lake"), history, options.repeat)
            done = days
            medians.append(sorted(wall for wall, _ in published)[len(published) // 2])
            size = history.stat().st_size / 1e6
            print(f"{days:4d} {size:6.0f}   {in_words(published)}   {in_words(copied)}", flush=True)
        print(f"{options.days[-1]} days against {options.days[0]}: {medians[-1] / medians[0]:.2f}x")


if __name__ == "__main__":
    main()
