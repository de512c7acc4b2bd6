"""What a command says while it works, and how it ends when it is stopped or may not write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.cli.progress import Counted, stages
from vpp_pipeline.cli.run_job import instance_of
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.day import published
from vpp_pipeline_tests.defs.desk import DAY

SMALL = ["--date", DAY, "--prosumers", "12", "--set", "optimiser.node_limit=5"]
STAGES = ["prices and forecasts", "fleet", "negotiation", "optimization", "payments", "bids"]


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command of its own process, whose output is read by a program."""
    command = [sys.executable, "-W", "ignore", "-m", "vpp_pipeline", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stage_is_a_line_where_no_terminal_is_and_the_output_is_the_document_alone(tmp_path: Path):
    """Also in what native code prints, as HiGHS does by default."""
    with running("bids", "--json", "--no-history", *SMALL, "--data", str(tmp_path)) as process:
        out, err = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["market_date"] == DAY
    assert [line for line in err.splitlines() if line.endswith(" …")] == [
        f"{stage} …" for stage in (*STAGES, "publication")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "words"), [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_stopped_command_ends_with_a_sentence_and_publishes_nothing(
    number: signal.Signals, status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with running("bids", *SMALL, "--data", str(tmp_path)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("negotiation"):
                break
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == status
    assert err.strip().splitlines()[-1] == f"{words}; what was finished before is kept"
    assert "Traceback" not in err
    assert out == ""
    assert published(Lake(tmp_path / "lake"), date.fromisoformat(DAY)) is None
    with instance_of(tmp_path) as instance:
        (run,) = instance.get_runs()
        assert run.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
    capsys.readouterr()
    assert main(["bids", "--quiet", *SMALL, "--data", str(tmp_path)]) == 0  # the same command continues
    told = capsys.readouterr()
    assert "258 bids" in told.out
    assert " …" not in told.err


@pytest.mark.parametrize("command", ["bids", "settle", "ingest", "runs", "report", "sweep", "rebuild", "sql"])
@pytest.mark.parametrize("place", ["a file", "below a file", "a link to itself"])
def test_a_data_folder_that_cannot_be_is_one_paragraph(
    command: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.write_text("not a folder")
    loop.symlink_to(loop)
    data = {"a file": file, "below a file": file / "data", "a link to itself": loop}[place]
    arguments = {"sql": ["select 1"], "sweep": [], "rebuild": []}.get(command, ["--date", DAY])
    assert main([command, *arguments, "--data", str(data)]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith("error: ")
    assert not [line for line in err[:-1] if not line.endswith(" …")]
    assert file.read_text() == "not a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tmp_path.chmod(0o500)
    assert main(["bids", "--date", DAY, "--data", str(tmp_path / "data")]) == 2
    assert "may not be written to" in capsys.readouterr().err


def test_example_files_go_into_a_folder_that_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fleet, meters = tmp_path / "new" / "fleet.csv", tmp_path / "other" / "deep" / "meters.csv"
    assert main(["make-fleet", "--prosumers", "3", "--out", str(fleet)]) == 0
    assert main(["make-meters", "--sites", "1", "--from", DAY, "--out", str(meters)]) == 0
    assert fleet.is_file()
    assert meters.is_file()
    assert main(["make-fleet", "--out", str(fleet / "fleet.csv")]) == 2
    assert "a file stands where a folder must be" in capsys.readouterr().err


def test_counted_steps_are_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]):
    with Counted("days", 40) as done:
        for _ in range(40):
            done.advance()
    assert capsys.readouterr().err.splitlines() == [f"days: {count} of 40" for count in range(4, 41, 4)]


def test_a_stage_is_named_once(capsys: pytest.CaptureFixture[str]):
    with stages() as begin:
        for stage in ("fleet", "bids", "fleet"):
            begin(stage)
    assert capsys.readouterr().err == "fleet …\nbids …\n"
