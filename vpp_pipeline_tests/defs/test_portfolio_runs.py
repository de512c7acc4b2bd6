"""What one history of Dagster holds of several portfolios, and what the owner's `settings.toml` means for runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.portfolios import working_for
from vpp_pipeline.definitions import definitions_of
from vpp_pipeline.defs import upkeep
from vpp_pipeline.defs.keys import PORTFOLIO_TAG, is_own, portfolio_of
from vpp_pipeline.defs.owner import Owner

KEYS = {"": dg.AssetKey(["bids", "final_bids"]), "north": dg.AssetKey(["north", "bids", "final_bids"])}


@dg.job
def nothing() -> None:
    pass


def _runs(instance: dg.DagsterInstance, *names: str) -> list[dg.DagsterRun]:
    """A run that has ended for each name of a portfolio."""
    return [
        instance.create_run_for_job(
            nothing, tags={PORTFOLIO_TAG: name} if name else {}, status=dg.DagsterRunStatus.SUCCESS
        )
        for name in names
    ]


def test_a_run_is_for_the_portfolio_of_its_assets_else_of_its_job():
    def run(tag: str, *keys: dg.AssetKey) -> dg.DagsterRun:
        tags = {PORTFOLIO_TAG: tag} if tag else {}
        return dg.DagsterRun("bid_day", tags=tags, asset_selection=frozenset(keys) if keys else None)

    assert (portfolio_of(run("")), portfolio_of(run("north"))) == ("", "north")
    assert portfolio_of(run("", KEYS["north"])) == "north"
    assert portfolio_of(run("north", KEYS[""])) == ""
    assert [is_own(run(name)) for name in ("", "north")] == [True, False]


def test_a_sweep_forgets_runs_of_its_own_portfolio_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upkeep, "AT_ONCE", 3)  # so that there are several pages
    with dg.DagsterInstance.ephemeral() as instance:
        mine = _runs(instance, "", "")
        others = _runs(instance, "north", "south", "north", "north")
        mine += _runs(instance, "", "", "", "")
        others += _runs(instance, "south")
        assert upkeep.forget_runs(instance, 0, is_dry=True) == len(mine) == 6
        assert instance.get_runs_count() == 11
        assert upkeep.forget_runs(instance, 0) == 6
        assert {run.run_id for run in instance.get_runs()} == {run.run_id for run in others}
        assert upkeep.forget_runs(instance, 0) == 0


def test_a_process_works_for_one_portfolio():
    with working_for("north"), pytest.raises(RuntimeError, match="works for one portfolio"):
        definitions_of(Owner())


def _desk(folder: Path, chosen: dict[str, Any]) -> Any:
    """Settings of a run with the configuration ``chosen``."""
    resources = definitions_of(Owner(folder)).resources
    assert resources is not None
    with dg.build_init_resource_context(config=chosen) as context:
        return resources["desk"](context).settings()


def test_a_run_that_says_nothing_has_the_settings_of_the_folder(tmp_path: Path):
    (tmp_path / "settings.toml").write_text(
        '[fleet]\npath = "fleets/mine.csv"\nprosumers = 40\n'
        '[negotiation]\nengine = "uniform_clearing"\n[risk]\nseed = 5\n'
    )
    settings = _desk(tmp_path, {})
    assert settings.fleet.path == tmp_path / "fleets" / "mine.csv"
    assert (settings.fleet.prosumers, settings.negotiation.engine, settings.risk.seed) == (40, "uniform_clearing", 5)
    settings = _desk(tmp_path, {"fleet": {"prosumers": 50, "path": None}, "negotiation": {"engine": "concession"}})
    assert (settings.fleet.prosumers, settings.fleet.path) == (50, None)
    assert (settings.negotiation.engine, settings.risk.seed) == ("concession", 5)


def test_a_file_of_settings_that_cannot_be_used_fails_runs_and_leaves_the_pages(tmp_path: Path):
    (tmp_path / "settings.toml").write_text("[fleet]\nprosumer = 40\n")
    assert definitions_of(Owner(tmp_path)).resolve_job_def("bid_day").name == "bid_day"
    with pytest.raises(InputError, match=r"did you mean fleet\.prosumers\?.*settings\.toml"):
        _desk(tmp_path, {})


@pytest.mark.parametrize(
    "name", ["portfolios/north/fleet.csv", "x/../portfolios/north/lake/a.parquet", "Portfolios/a.csv"]
)
def test_a_run_of_the_desk_without_a_name_reads_no_portfolio(name: str, tmp_path: Path):
    with pytest.raises(InputError, match="may name files of the data folder alone"):
        _desk(tmp_path, {"fleet": {"path": str(tmp_path / name)}})
    with pytest.raises(InputError, match="may name files of the data folder alone"):
        Owner(tmp_path).prices_of({"path": str(tmp_path / name)})


def test_a_run_of_a_portfolio_reads_no_other_desk(tmp_path: Path):
    north = tmp_path / "portfolios" / "north"
    north.mkdir(parents=True)
    assert _desk(north, {"fleet": {"path": str(north / "fleet.csv")}}).fleet.path == north / "fleet.csv"
    for other in (
        tmp_path / "fleet.csv",
        north / ".." / "south" / "fleet.csv",
        tmp_path / "portfolios" / "northwest" / "f",
    ):
        with pytest.raises(InputError, match="may name files of the data folder alone"):
            _desk(north, {"fleet": {"path": str(other)}})
