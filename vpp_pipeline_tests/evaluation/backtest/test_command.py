"""The command `backtest`, from its options to its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpp_pipeline.cli.main import main

RANGE = ["backtest", "--source", "synthetic", "--from", "2023-08-15", "--to", "2023-08-16"]
ONE_DAY = [*RANGE[:-1], "2023-08-15"]
SMALL = ["--prosumers", "12", "--set", "fleet.business_sites=2", "--set", "optimiser.time_limit_seconds=0.5"]


def test_a_back_test_prints_a_line_per_measure_and_is_not_done_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [*RANGE, *SMALL, "--arms", "indexed,greedy", "--data", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "2 days, 2023-08-15 to 2023-08-16 (2 made now)" in first
    assert "net_usd_per_kw_year" in first
    assert "indexed less each arm" in first
    assert first.count("[too few weeks]") == 4  # net, net and surplus, satisfaction, Gini of the other arm
    assert "nan" not in first
    assert (tmp_path / "vpp.duckdb").is_file()
    assert main(arguments) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[1:] == first.splitlines()[1:]
    assert "(0 made now)" in again
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {arm["arm"] for arm in printed["arms"]} == {"indexed", "greedy"}
    assert {(row["arm"], row["measure"]) for row in printed["differences"]} >= {("greedy", "net_usd")}
    assert len(printed["benchmark"]) == 4


@pytest.mark.slow
def test_differences_are_from_storage_where_it_is_replayed_whatever_the_desk_bids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [*ONE_DAY, *SMALL, "--arms", "indexed,storage", "--data", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "storage less each arm" in printed
    hourly = [*arguments, "--set", "resources.participation=hourly", "--json"]
    assert main([*arguments, "--json"]) == 0
    by_default = json.loads(capsys.readouterr().out)["arms"]
    assert main(hourly) == 0
    assert _without_seconds(json.loads(capsys.readouterr().out)["arms"]) == _without_seconds(by_default)


def _without_seconds(arms: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in arm.items() if name != "seconds"} for arm in arms]


def test_storage_of_a_file_is_replayed_hour_by_hour_and_as_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "resources.csv"
    file.write_text("resource_id,participation,maximum_mw\nnorth,storage,5\n", encoding="utf-8")
    found = [*ONE_DAY, *SMALL, "--resources", str(file), "--workers", "1", "--json", "--data", str(tmp_path)]
    assert main([*found, "--arms", "storage,indexed"]) == 0
    rows = json.loads(capsys.readouterr().out)["benchmark"]
    assert [row["arm"] for row in rows] == ["indexed", "storage"]
    assert all(row["bids"] > 0 and row["violations"] == 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "clairvoyant"], "no such arm"),
        (["--to", "2023-08-01"], "ends before it begins"),
    ],
)
def test_a_wrong_request_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str):
    assert main([*RANGE, *arguments, "--data", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
