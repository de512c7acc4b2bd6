"""A few of `make powerloss`: one file of each kind, cut to nothing or to half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.defs.desk import DAY, settled_small_desk
from vpp_pipeline_tests.robustness.damaged_days import files_of, run
from vpp_pipeline_tests.robustness.powerloss import READING, SIZES, Figures, damage, try_case

BIDS = f"bids --date {DAY}"
#: kind of file -> size, and what is tried
CASES = {
    "data/lake/market/prices/2023-08-15/": ("empty", READING[:1]),
    "data/vpp.duckdb": ("half", (READING[3], BIDS)),
    "data/reports/": ("empty", READING[1:2]),
    "data/lake/bids/final_bids/": ("half", (*READING[:2], BIDS)),
    "data/lake/manifests/2023-08-15/": ("half", (READING[0], BIDS)),
    "data/lake/bids/runs/": ("empty", (BIDS,)),
    "data/lake/dispatch/schedule/": ("empty", READING[:1]),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settled day with an empty history."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(settled_small_desk().data, folder / "data")
    (folder / "home").mkdir()
    return folder


@pytest.mark.parametrize("kind", seeds(CASES, often=1))
def test_what_is_cut_short_heals_or_is_told_with_a_remedy_that_works(kind: str, made: Path, tmp_path: Path):
    name = [name for name in files_of(made) if name.startswith(kind)][-1]
    size, commands = CASES[kind]
    figures = Figures()
    try_case(made, tmp_path, name, size, commands, figures)
    assert figures.faults == []
    assert sum(figures.outcomes.values()) == len(commands)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["half", "empty"])
def test_a_damaged_history_does_not_keep_the_desk_from_bidding(size: str, tmp_path: Path):
    """One that a run has left, cut short; then bids without it."""
    folder = tmp_path
    shutil.copytree(settled_small_desk().data, folder / "data")
    (folder / "home").mkdir()
    assert run(f"ingest --date {DAY}", folder).status == 0
    for database in (folder / "home" / "history").rglob("*.db"):
        damage(folder, str(database.relative_to(folder)), SIZES[size])
    tried = run(BIDS, folder)
    if tried.status != 0:  # SQLite makes an empty file a new database
        assert (tried.status, tried.errors.count("\n")) == (2, 1), tried.errors
        assert "Dagster's run history cannot be used" in tried.errors
        assert run(f"{BIDS} --no-history", folder).status == 0
    assert run(f"settle --date {DAY} --no-history", folder).status == 0
