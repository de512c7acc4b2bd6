"""Regulation up as a further product: what is added to a copy of the package, and a day that bids and settles it.

Added are its declaration, its settings, its columns in wide tables, and the fields that mirror those columns.
Nothing that sizes, negotiates, schedules, bids, checks, or settles is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import vpp_pipeline
from vpp_pipeline.market.synthetic_prices import Synthetic

PACKAGE = Path(vpp_pipeline.__file__).parent
DAY = date(2023, 8, 15)
NODE = "TH_SP15_GEN-APND"
REGULATION_UP = """\
        Product(
            name="regup",
            price_column="regup_usd_per_mw_h",
            file_column="RegUp",
            oasis_type="RU",
            holding="regup_holding_usd_per_mw_h",
            call_probability="regup_call_probability",
        ),
"""
END_OF_PRODUCTS = "    ),\n    regimes=("
WIDE = (
    *("schemas/market.py", "schemas/dispatch.py", "schemas/bids.py"),
    *("dispatch/schedule.py", "dispatch/problem.py", "settings.py"),
)
#: views that the report reads
HOURS, RESOURCES = "warehouse/sql/06_dispatch_fleet_hours.sql", "warehouse/sql/24_bids_by_resource.sql"


def replaced(file: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, file.read_text("utf-8"), flags=re.MULTILINE)
    assert count, f"{file} holds nothing like {pattern}"
    file.write_text(text, encoding="utf-8")


def with_regulation_up(folder: Path) -> Path:
    """A copy of the package in ``folder`` whose market has one product more."""
    copy = folder / "vpp_pipeline"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    replaced(copy / "core" / "caiso.py", re.escape(END_OF_PRODUCTS), REGULATION_UP + END_OF_PRODUCTS)
    for name in WIDE:  # beside each column, field, or setting of nonspin, the same of regup
        replaced(copy / name, r"^    (certified_)?nonspin(_.*|:.*)$", r"\g<0>\n    \1regup\2")
    replaced(copy / HOURS, r"sum\(nonspin_kw\) / 1000 as nonspin_mw,", r"\g<0> sum(regup_kw) / 1000 as regup_mw,")
    replaced(copy / HOURS, r" nonspin_mw, grid_charge_mw", " nonspin_mw, regup_mw, grid_charge_mw")
    added = " coalesce(c.certified_regup_mw, r.certified_regup_mw) as certified_regup_mw,"
    replaced(copy / RESOURCES, r" as certified_nonspin_mw,$", rf"\g<0>{added}")
    return folder


def prices_with_regulation_up(file: Path) -> Path:
    """Ten days of generated prices as the public file of CAISO's has them; regulation up is dearer than spin."""
    source = Synthetic(NODE)
    days = pl.concat(source.day(DAY - timedelta(days=back)) for back in range(10))
    spin = pl.col("spin_usd_per_mw_h")
    days.sort("start_utc").select(
        pl.col("start_utc").dt.strftime("%Y-%m-%d %H:%M:%S").alias("datetime"),
        "node",
        SP15="energy_usd_per_mwh",
        NonSpin="nonspin_usd_per_mw_h",
        RegUp=1.5 * spin + 2.0,
        Spin=spin,
    ).write_csv(file)
    return file


def run(copy: Path, data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    home = data.parent / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "DAGSTER_HOME": str(home)}
    words = [sys.executable, "-m", "vpp_pipeline", *command, "--data", str(data)]
    return subprocess.run(words, env=environment, cwd=copy, capture_output=True, text=True, check=False)


@pytest.mark.slow  # a day by the command line, bid and settled by a package that is compiled anew
def test_a_further_reserve_is_its_declaration_and_its_columns(tmp_path: Path):
    copy, data = with_regulation_up(tmp_path / "copy"), tmp_path / "data"
    prices = ["--prices", str(prices_with_regulation_up(tmp_path / "prices.csv")), "--node", NODE]
    asked = ["--set", "forecast.price=seven_day_mean", "--set", "optimiser.method=column_generation"]
    for command in (["bids", "--prosumers", "30", *asked], ["settle"]):
        done = run(copy, data, *command, "--date", str(DAY), *prices)
        assert done.returncode == 0, done.stderr

    with duckdb.connect(str(data / "vpp.duckdb"), read_only=True) as warehouse:

        def rows(question: str) -> list[tuple[Any, ...]]:
            return warehouse.execute(question).fetchall()

        regup = "from bids.final_bids where product = 'regup' and status = 'bid'"
        assert rows(f"select count(*) > 0, sum(expected_profit_usd) > 0 {regup}") == [(True, True)]
        unequal = f"""
            select start_utc, b.total_capacity_mw, h.regup_mw
            from (select * {regup}) b join dispatch.fleet_hours h using (market_date, start_utc)
            where abs(b.total_capacity_mw - h.regup_mw) > 1e-6"""
        assert rows(unequal) == []
        assert rows("select check_name from bids.checks where not passed") == []
        ((method,),) = rows("select method from dispatch.proof")  # its kernels are of two reserves
        assert re.search(
            "^exact.*in place of column generation: .* the market has energy, spin, nonspin, regup$", method
        )
        assert rows("select sum(revenue_usd) > 0 from evaluation.settlement where product = 'regup'") == [(True,)]
