"""A folder of the desk with its history, of which files are damaged and commands are tried, as an operator would."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.tables import open_warehouse, quoted
from vpp_pipeline_tests.cli.command_line import own_history
from vpp_pipeline_tests.defs.desk import DAY, SMALL

HISTORY = "2023-08-14"  # a day of which there are prices alone
SIZE = ["--prosumers", str(SMALL["fleet"]["prosumers"])]
SIZE += ["--set", f"optimiser.time_limit_seconds={SMALL['optimiser']['time_limit_seconds']}"]
#: what bids of two runs differ in, and what tells the run and not the day
OF_RUN = ("run_id", "created_utc", "seconds", "published_utc", "started_by")
COMMAND = re.compile(r"vpp-pipeline ([a-z][a-z-]*(?: --[a-z-]+(?: [0-9][0-9-]*)?)*)")
PRINTED = re.compile(r"vpp-pipeline (bids|settle|ingest|rebuild|backtest|sweep)\b")


@dataclass(frozen=True)
class Tried:
    """How a command ended."""

    line: str
    status: int
    output: str
    errors: str

    @property
    def crashed(self) -> bool:
        """Whether an operator would see a traceback, or an end that no document names."""
        return "Traceback" in self.errors or self.status not in (0, 1, 2, 3, 130)

    @property
    def remedies(self) -> list[str]:
        """The commands that the message asks for."""
        return [found for found in COMMAND.findall(self.errors) if PRINTED.match(f"vpp-pipeline {found}")]


def run(line: str, folder: Path) -> Tried:
    """``vpp-pipeline LINE`` in this process, on the data and the history of ``folder``."""
    out, err = io.StringIO(), io.StringIO()
    arguments = [*shlex.split(line), "--data", str(folder / "data")]
    if arguments[0] == "bids":
        arguments += SIZE
    with own_history(folder / "home"), redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(arguments)
        except Exception:
            status = -1
            traceback.print_exc()
    return Tried(line, status, out.getvalue(), err.getvalue())


def make_settled(folder: Path) -> None:
    """A day made and settled by the command line, below ``folder``."""
    for part in ("data", "home"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for line in (f"bids --date {DAY}", f"settle --date {DAY}"):
        tried = run(line, folder)
        assert tried.status == 0, tried.errors


def copy_of(made: Path, folder: Path) -> Path:
    """A fresh copy to damage; the last one goes."""
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(made, folder)


def files_of(folder: Path) -> list[str]:
    """Files that hold something, below the folder."""
    found = [path for part in ("data", "home") for path in (folder / part).rglob("*") if path.is_file()]
    kept = [path for path in found if path.stat().st_size and path.name != "dagster.yaml"]
    return sorted(path.relative_to(folder).as_posix() for path in kept)


def warehouse_rows(folder: Path) -> dict[str, pl.DataFrame]:
    """Every table of the warehouse, in key order, without what tells the run."""
    found = {}
    with open_warehouse(folder / "data" / "vpp.duckdb") as connection:
        connection.execute("set timezone = 'UTC'")
        for table, schema in TABLES.items():
            rows = connection.sql(f"from {quoted(table)}").pl()
            found[table] = rows.sort(schema.primary_key()).drop(OF_RUN, strict=False)
    return found


def run_ids(folder: Path) -> tuple[str, str]:
    """The run whose bids the warehouse has, and the run whose bids the lake says are published."""
    with open_warehouse(folder / "data" / "vpp.duckdb") as connection:
        found = connection.execute(
            "select distinct run_id from bids.final_bids where market_date = $1", [DAY]
        ).fetchall()
    assert len(found) == 1, found
    return str(found[0][0]), Lake(folder / "data" / "lake").manifest(DAY).run_id


def different(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame], *left_out: str) -> list[str]:
    """Tables whose rows differ."""
    return [table for table in one if table not in left_out and not one[table].equals(other[table])]
