"""Every command of the README and the documents runs as it is written, on one published day, or says why not here.

Days are computed with few prosumers: SMALLER is added at the end. What a page leaves open (PATH, …) is filled in.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.market.synthetic_prices import NODE, Synthetic
from vpp_pipeline_tests.cli.test_help import COMMAND, PAGES
from vpp_pipeline_tests.defs.desk import DAY, EXAMPLE, settled_small_desk

BARE = re.compile(r"`(?:\.venv/bin/)?(?:python -m vpp_pipeline|vpp-pipeline) ([a-z][a-z-]*)`")
SMALLER = {
    "bids": "--prosumers 12 --set optimiser.node_limit=5",
    "compare-engines": "--prosumers 12 --set optimiser.node_limit=5",
    "frontier": "--prosumers 12 --set optimiser.node_limit=5 --points 2 --set risk.scenarios=3",
}
#: pattern of the command -> why it is not run, and what tests it instead
NOT_RUN = {
    r"--prosumers 100000": "takes three minutes of CPU time: docs/benchmarks.md",
    r"^backtest --from 2024": "61 days of real prices: evaluation/backtest/test_command.py runs two days",
    r"--source oasis|^ingest --from 2025": "asks CAISO: market/oasis/test_ingest.py asks a local server",
    r"^bids .*--portfolio": "a process works for one portfolio: cli/test_portfolios.py starts one for each",
    r"\blive\b": "asks a language model: llm/test_command_line.py asks a local server",
    r"^ingest$": "stands for ingest of any days: test_main.py takes in one",
    r"^alerts\b": "needs a way to tell: defs/test_alerts.py asks local servers",
    r"^dev\b": "serves until Ctrl-C: test_end_to_end.py starts and asks it",
    r"^desk(?! --write)": "serves until Ctrl-C: reporting/test_server.py starts and asks it",
    r'^sql "…"$': "stands for any question: warehouse/test_queries.py asks those of the pages",
    r"^warm-up$": "compiles for half a minute of CPU time: dispatch/column_generation/test_code_folder.py",
}
OPEN = {"PATH": "prices.csv", "--node N": f"--node {NODE}", "--node …": f"--node {NODE}", "--prosumers N": "", "…": DAY}


def documented() -> list[str]:
    """Each command of the pages once, as it is written."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found |= dict.fromkeys([*COMMAND.findall(text), *BARE.findall(text)])
    return [line for line in found if "--help" not in line]


def is_run(line: str) -> bool:
    return not any(re.search(pattern, line) for pattern in NOT_RUN)


RUN = list(filter(is_run, documented()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it who has made and settled a day, with files of the names that the pages use."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(settled_small_desk().data, folder / "data")
    for example in (project_folder() / "data").glob("example_*"):
        shutil.copy(example, folder / "data")
    spans = (("2023-07-25", 24), ("2024-01-20", 56), ("2024-05-20", 53))  # up to the days that the pages name
    days = [date.fromisoformat(first) + timedelta(days=k) for first, count in spans for k in range(count)]
    prices = pl.concat(Synthetic().days(days).values())
    prices.select("start_utc", "node", pl.selectors.contains("_usd_per_mw")).write_csv(folder / "prices.csv")
    columns = "product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh\n"
    (folder / "no_requests.csv").write_text(columns, encoding="utf-8")  # as from-bid-to-payment.md writes it
    for line in ("make-fleet --out my_fleet.csv --prosumers 12", "make-meters --out my_meters.csv --sites 3"):
        command, option, file, *others = line.split()
        assert main([command, option, str(folder / file), *others]) == 0
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, in which the user stands."""
    folder = Path(shutil.copytree(made, tmp_path / "desk"))
    monkeypatch.setenv("VPP_DATA_FOLDER", str(folder / "data"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=[pytest.mark.slow] if line.split()[0] in SMALLER else []) for line in RUN],
)
def test_the_command_runs_as_it_is_written(line: str, desk: Path, capsys: pytest.CaptureFixture[str]):
    name = line.split()[0]
    for file in desk.glob("my_*.csv") if name.startswith("make-") else ():
        file.unlink()  # a file that is there already is never replaced
    filled = f"{line} {SMALLER.get(name, '')}".replace("[", "").replace("]", "")
    for placeholder, value in OPEN.items():
        filled = filled.replace(placeholder, value)
    status, shown = main(shlex.split(filled)), capsys.readouterr()
    assert status == 0, shown.err
    assert shown.out.strip()


def test_every_reason_not_to_run_a_command_is_needed():
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in documented())] == []
    assert len(RUN) > len(documented()) / 2


@pytest.mark.parametrize("command", ["runs", "report", "documents", "statement", "brief", "export --format csv"])
def test_without_a_date_the_latest_day_is_read(command: str, desk: Path, capsys: pytest.CaptureFixture[str]):
    assert main(command.split()) == 0
    without = capsys.readouterr().out
    assert main([*command.split(), "--date", DAY]) == 0
    assert capsys.readouterr().out == without


def test_a_transcript_is_of_the_latest_day_that_has_the_opportunity(desk: Path, capsys: pytest.CaptureFixture[str]):
    one = ["transcript", "--opportunity", EXAMPLE, "--prosumer", "prosumer_005"]
    assert main(one) == 0
    without = capsys.readouterr().out
    assert without.count("\n") > 1
    assert main([*one, "--date", DAY]) == 0
    assert capsys.readouterr().out == without
    assert main(["transcript", "--opportunity", "energy_20230817_1200"]) == 2
    assert "no published day has an opportunity energy_20230817_1200" in capsys.readouterr().err
    assert main(["runs", "--data", str(desk / "elsewhere")]) == 2
    assert "Make a day's bids first" in capsys.readouterr().err
