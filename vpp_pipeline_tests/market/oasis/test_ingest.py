"""The command that takes in a range: what it prints, what it skips, and that a killed one goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline_tests.cli.command_line import EXAMPLE_PRICES, own_history
from vpp_pipeline_tests.market.oasis.published import generated
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving

RANGE = ["--from", "2024-03-08", "--to", "2024-03-12"]
DAYS = [f"2024-03-{day:02d}" for day in range(8, 13)]


@pytest.fixture
def oasis(tmp_path: Path) -> Iterator[LocalOasis]:
    """The local OASIS, a data folder that names it, and a Dagster history of its own."""
    (tmp_path / "home").mkdir()
    with serving(LocalOasis(generated())) as server, own_history(tmp_path / "home"):
        pace = "interval_s = 0.002\nbackoff_s = 0.002\nattempts = 4\ntimeout_s = 20"
        settings = f'kind = "oasis"\n[oasis]\nurl = "{server.url}"\ngate = "{tmp_path}"\n{pace}\n'
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "prices.toml").write_text(settings)
        yield server


def ingest(folder: Path, *more: str) -> int:
    return main(["ingest", "--data", str(folder / "data"), *RANGE, *more])


def held(folder: Path) -> list[str]:
    return Lake(folder / "data" / "lake").days_of("market.prices")


def test_a_range_is_taken_in_recorded_and_then_skipped(
    oasis: LocalOasis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert ingest(tmp_path) == 0
    assert "5 of 5 days taken in from oasis, 0 were there" in capsys.readouterr().out
    assert held(tmp_path) == DAYS
    assert oasis.reports == ["PRC_LMP", *["PRC_AS"] * 5]
    for day in DAYS:
        rows = Lake(tmp_path / "data" / "lake").day(day).read("market.prices")
        assert rows.drop("source").equals(Synthetic().day(date.fromisoformat(day)).drop("source"))
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(key_of("market.prices")) == set(DAYS)

    assert ingest(tmp_path) == 0
    assert "0 of 5 days taken in from oasis, 5 were there" in capsys.readouterr().out
    assert len(oasis.asked) == 6
    assert ingest(tmp_path, "--again") == 0
    assert len(oasis.asked) == 6 + 10


def test_days_that_oasis_lacks_are_named_and_the_others_kept(
    oasis: LocalOasis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    everything = oasis.published
    oasis.published = lambda day: None if day == date(2024, 3, 10) else everything(day)
    assert ingest(tmp_path) == 2
    said = capsys.readouterr().err
    assert "1 days are missing: 2024-03-10" in said
    assert "OASIS has no data for PRC_LMP" in said
    assert held(tmp_path) == [day for day in DAYS if day != "2024-03-10"]
    oasis.published = everything
    assert ingest(tmp_path) == 0
    assert "1 of 5 days taken in" in capsys.readouterr().out


def test_an_oasis_that_is_down_ends_the_command_and_keeps_what_came(
    oasis: LocalOasis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    oasis.faults[:] = [""] * 3 + ["500"] * 4
    assert ingest(tmp_path) == 2
    assert "OASIS gave no answer to PRC_AS (ALL, ALL) of 2024-03-10 in 4 attempts" in capsys.readouterr().err
    assert held(tmp_path) == DAYS[:2]
    assert ingest(tmp_path) == 0
    assert held(tmp_path) == DAYS


def test_a_killed_command_goes_on_where_it_was(oasis: LocalOasis, tmp_path: Path):
    oasis.luck = lambda: "slow"
    oasis.slow_s = 0.25
    command = [sys.executable, "-m", "vpp_pipeline", "ingest", "--data", str(tmp_path / "data"), *RANGE]
    killed = subprocess.Popen(command, cwd=project_folder(), env={**os.environ})
    until = time.monotonic() + 60
    while len(held(tmp_path)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = held(tmp_path)
    assert 2 <= len(before) < 5
    asked, oasis.luck = len(oasis.asked), lambda: None
    assert ingest(tmp_path) == 0
    assert held(tmp_path) == DAYS
    assert len(oasis.asked) - asked <= 5 - len(before)  # nothing that was here is asked for again


def test_a_file_is_a_source_as_well(oasis: LocalOasis, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    days = ["--from", "2023-07-30", "--to", "2023-08-01"]  # two of them before our first market day
    command = ["ingest", "--data", str(tmp_path / "data"), "--source", "file", "--prices", str(EXAMPLE_PRICES), *days]
    assert main(command) == 0
    assert "3 of 3 days taken in from synthetic (file)" in capsys.readouterr().out
    assert oasis.asked == []
    assert main([*command[:-3], "2023-08-31", "--to", "2023-09-02"]) == 2
    assert "2 days are missing: 2023-09-01, 2023-09-02" in capsys.readouterr().err


@pytest.mark.parametrize("named", [[], ["--date", "2024-03-01", "--from", "2024-03-01"]])
def test_a_day_and_a_range_are_two_things(named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["ingest", "--data", str(tmp_path), *named]) == 2
    assert "Give --date, or --from and --to" in capsys.readouterr().err


def test_a_range_that_ends_before_it_begins_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["ingest", "--data", str(tmp_path), "--from", "2024-03-02", "--to", "2024-03-01"]) == 2
    assert "ends before it begins" in capsys.readouterr().err


def test_a_person_who_waits_sees_at_once_what_is_asked_and_every_wait(
    oasis: LocalOasis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    oasis.faults = ["503", "429"]
    assert main(["ingest", "--data", str(tmp_path / "data"), "--date", DAYS[0]]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(" …")]
    assert lines[0] == f"prices of OASIS, {oasis.url}: up to 4 attempts of a question, each of at most 20 s"
    assert lines[1] == f"asking for PRC_LMP (TH_SP15_GEN-APND) of {DAYS[0]}"
    assert [line for line in lines if line.startswith("warning: OASIS, PRC_LMP")][1].endswith(
        "attempt 3 of 4 follows in 0.0 s"
    )
    assert f"asking for PRC_AS (ALL, ALL) of {DAYS[0]}" in lines
    for other in (["--source", "synthetic"], ["--again"]):
        assert main(["ingest", "--data", str(tmp_path / "data"), "--date", DAYS[0], "--quiet", *other]) == 0
        assert capsys.readouterr().err == ""
