"""The command line as tests use it: on a folder and a history of its own, and where it must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.defs.desk import TradingDesk, files, small_desk

NEXT = "2023-08-16"  # the lake has nothing of this day: not even a first file of it may appear
EXAMPLE_PRICES = project_folder() / "data" / "example_prices_2023-08.csv"


def made_desk() -> TradingDesk:
    """A folder with one day made and published."""
    return small_desk()


@contextmanager
def own_history(home: Path) -> Iterator[None]:
    """Runs are recorded in ``home`` and not in the project's history."""
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        yield


def refused(arguments: list[str], desk: TradingDesk, capsys: pytest.CaptureFixture[str], command: str = "bids") -> str:
    """The message of a command that must be refused and must change no file."""
    before = files(desk.data)
    status = main([command, "--data", str(desk.data), *arguments])
    shown = capsys.readouterr()
    assert status == 2
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.endswith("\n")
    message = shown.err.strip()
    assert "\n" not in message
    assert "Traceback" not in message
    assert files(desk.data) == before
    return message.removeprefix("error: ")


def assert_no_run() -> None:
    """Nothing in the history has failed: what cannot be used is refused before there is a run."""
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])) == []
