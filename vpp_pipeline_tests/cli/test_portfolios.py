"""Two portfolios on one day, in one data folder and one history: each as if it were alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.defs.desk import WHEN_AND_WHO, files
from vpp_pipeline_tests.shared import shared

DAY = "2023-08-15"
OF_FILE = ("bid_id", "fingerprint", "settings")  # name the file of the fleet, with its folder
SETTINGS = {
    "north": '[fleet]\nprosumers = 12\nseed = 1\n\n[resources]\nparticipation = "hourly"\n',
    "south": '[fleet]\npath = "fleet.csv"\n\n[negotiation]\nengine = "uniform_clearing"\n',
}


def _command(*arguments: str, home: Path | None = None) -> str:
    chosen = {"DAGSTER_HOME": str(home)} if home else {}
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("VPP_", "DAGSTER_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "vpp_pipeline", *arguments],
        env={**environment, **chosen, "PYTHONPATH": str(project_folder())},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _write(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.toml").write_text(SETTINGS[name])
    if name == "south":
        main(["make-fleet", "--prosumers", "15", "--out", str(folder / "fleet.csv")])


def _make(root: Path) -> None:
    """Two desks as portfolios of one folder with one history, and the second as a data folder of its own."""
    home = root / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    for name in SETTINGS:
        assert main(["portfolios", "--add", name, "--data", str(root / "shared")]) == 0
        _write(root / "shared" / "portfolios" / name, name)
        _command("bids", "--date", DAY, "--data", str(root / "shared"), "--portfolio", name, home=home)
    _write(root / "south", "south")
    assert main(["bids", "--date", DAY, "--data", str(root / "south"), "--no-history", "--quiet"]) == 0


@pytest.fixture(scope="module")
def desks() -> Path:
    return shared("two_portfolios", _make)


def _tables(data: Path) -> dict[str, pl.DataFrame]:
    day, of_run = Lake(data / "lake").day(DAY), (*WHEN_AND_WHO, *OF_FILE, "published_utc")
    return {name: day.read(name).drop(of_run, strict=False) for name in day.committed.files}


def test_one_bids_beside_another_as_a_data_folder_of_its_own_does(desks: Path):
    made, alone = {name: _tables(desks / "shared" / "portfolios" / name) for name in SETTINGS}, _tables(desks / "south")
    assert made["south"].keys() == alone.keys()
    assert len(alone) > 30
    assert [table for table, frame in made["south"].items() if not frame.equals(alone[table])] == []
    assert not made["north"]["bids.final_bids"].equals(made["south"]["bids.final_bids"])
    assert made["north"]["fleet.prosumers"].height == 12
    assert made["south"]["fleet.prosumers"].height == 15


def test_nothing_of_either_lies_outside_its_folder(desks: Path):
    assert {path.name for path in (desks / "shared").iterdir()} == {"portfolios"}
    for name in SETTINGS:
        folder = desks / "shared" / "portfolios" / name
        assert {"lake", "vpp.duckdb", "reports"} <= {path.name for path in folder.iterdir()}


def test_one_history_holds_both_and_takes_neither_for_the_other(desks: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", str(desks / "home"))
    with dg.DagsterInstance.get() as instance:
        keys = {tuple(key.path) for key in instance.get_asset_keys()}
        assert {key[0] for key in keys if len(key) == 3} == set(SETTINGS)
        assert {key for key in keys if len(key) != 3} == set()
        assert {run.tags["vpp/portfolio"] for run in instance.get_runs()} == set(SETTINGS)


def test_a_command_without_the_name_sees_nothing_of_them(desks: Path, capsys: pytest.CaptureFixture[str]):
    before = files(desks / "shared")
    data = ["--data", str(desks / "shared")]
    assert main(["runs", "--date", DAY, *data]) == 2
    assert main(["runs", "--date", DAY, *data, "--portfolio", "nort"]) == 2
    assert "did you mean north?" in capsys.readouterr().err
    assert main(["runs", "--date", DAY, *data, "--portfolio", "../../north"]) == 2
    assert "not the name of a portfolio" in capsys.readouterr().err
    assert main(["portfolios", *data, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["portfolio"], one["days"], one["last_day"]) for one in listed] == [
        ("north", 1, DAY),
        ("south", 1, DAY),
    ]
    assert files(desks / "shared") == before


def test_the_variable_names_the_portfolio_too(
    desks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    query = "select count(*) as n from fleet.prosumers"
    for name, count in (("north", 12), ("south", 15)):
        monkeypatch.setenv("VPP_PORTFOLIO", name)
        assert main(["sql", query, "--data", str(desks / "shared"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["n"] == count


def test_settings_of_the_folder_are_read_and_refused_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def message(text: str) -> str:
        (tmp_path / "settings.toml").write_text(text)
        assert main(["bids", "--date", DAY, "--data", str(tmp_path)]) == 2
        return capsys.readouterr().err

    for text, words in {
        "[fleet]\nprosumer = 3\n": "did you mean fleet.prosumers?",
        "[fleet]\nprosumers = 'many'\n": "it must be a whole number",
        "[flet]\nprosumers = 3\n": "there is no setting flet.prosumers",
        "prosumers = 3\n": "outside its group",
        "[fleet\n": "not a file of settings",
    }.items():
        said = message(text)
        assert words in said
        assert "settings.toml" in said
        assert "Traceback" not in said
        assert said.count("\n") == 1
