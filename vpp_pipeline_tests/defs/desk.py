"""Real runs for tests: the project's own jobs on a data folder and a Dagster history of their own."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster import ExecuteInProcessResult

from vpp_pipeline.core.lake import Lake, LakeFiles
from vpp_pipeline.definitions import definitions_of, defs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.owner import OF_RUN, Owner, owners_part, run_part
from vpp_pipeline.warehouse.day import BY_HAND, LakeDay
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.shared import shared, temporary

DAY = "2023-08-15"
#: the embedded request, 2 MW at noon for 85 $/MWh, by the owners who leave storage for it
EXAMPLE = "energy_20230815_1200_vpp-requests"
EXAMPLE_SLOT = "energy_he13"
# a search that is stopped by the clock depends on the machine: here none is
UNHURRIED = 60.0
SMALL: dict[str, Any] = {"fleet": {"prosumers": 30}, "optimiser": {"time_limit_seconds": UNHURRIED}}
WHEN_AND_WHO = ("seconds", "run_id", "created_utc")  # what a repetition may change


@dataclass(frozen=True)
class TradingDesk:
    """A data folder, the runs made on it, and what they are configured with."""

    data: Path
    instance: dg.DagsterInstance
    settings: Mapping[str, Any]
    prices: Mapping[str, Any]

    @property
    def lake(self) -> Lake:
        return Lake(self.data / "lake")

    @property
    def warehouse(self) -> Path:
        return self.data / "vpp.duckdb"

    def config(self, **overrides: Any) -> dict[str, Any]:
        """Run configuration; ``prices`` and ``settings`` (by group) replace the desk's own."""
        prices, settings = overrides.get("prices", self.prices), {**self.settings, **overrides.get("settings", {})}
        of_run = {name: value for name, value in prices.items() if name in OF_RUN}
        resources = {"storage": {"data_folder": str(self.data)}, "prices_source": of_run, "desk": run_part(settings)}
        return {
            "resources": {name: {"config": dict(config)} for name, config in resources.items()},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }

    def definitions(self, **overrides: Any) -> dg.Definitions:
        """The project's, for the owner of this desk: what runs cannot choose is the desk's, as on the command line."""
        prices, settings = overrides.get("prices", self.prices), {**self.settings, **overrides.get("settings", {})}
        of_owner = {name: value for name, value in prices.items() if name not in OF_RUN}
        return definitions_of(Owner(self.data, of_owner, owners_part(settings), names_any_file=True))

    def run(
        self,
        job: str = "bid_day",
        day: str = DAY,
        *,
        tags: dict[str, str] | None = None,
        only: Collection[dg.AssetKey] = (),
        **overrides: Any,
    ) -> ExecuteInProcessResult:
        """One run of a job, or of some of its assets; a failed step does not raise, as in Dagster's own runs."""
        return (
            self.definitions(**overrides)
            .resolve_job_def(job)
            .execute_in_process(
                run_config=self.config(**overrides),
                partition_key=day,
                instance=self.instance,
                raise_on_error=False,
                tags=tags,
                asset_selection=list(only) or None,
            )
        )

    def make(self, *tables: str, day: str = DAY, **overrides: Any) -> ExecuteInProcessResult:
        """A run of the day's bids that ends with these tables, made with all that they rest on."""
        wanted = dg.AssetSelection.assets(*map(key_of, tables)).upstream().required_multi_asset_neighbors()
        everything = defs.resolve_job_def("bid_day").asset_layer.selected_asset_keys
        return self.run(day=day, only=wanted.resolve(GRAPH) & everything, **overrides)

    def materialise(self, *tables: str, partition: str = DAY, checks: bool = True) -> ExecuteInProcessResult:
        """Only these assets (with their checks), as from the asset's page."""
        keys = frozenset(key_of(table) for table in tables)
        return self._subset(keys, frozenset(check for check in CHECKS if checks and check.asset_key in keys), partition)

    def check(self, table: str, day: str = DAY) -> dict[str, dg.AssetCheckEvaluation]:
        """Only the checks of one asset, by name."""
        wanted = frozenset(check for check in CHECKS if check.asset_key == key_of(table))
        return evaluations(self._subset(frozenset(), wanted, day))

    def _subset(
        self, assets: frozenset[dg.AssetKey], checks: frozenset[dg.AssetCheckKey], partition: str
    ) -> ExecuteInProcessResult:
        everything = self.definitions().resolve_implicit_global_asset_job_def()
        chosen = everything.get_subset(asset_selection=assets, asset_check_selection=checks)
        # a run of checks alone names its partition by tag, as the page of an asset's checks does
        tags = {"dagster/partition": partition}
        where: dict[str, Any] = {"partition_key": partition} if assets else {"tags": tags}
        return chosen.execute_in_process(
            run_config=self.config(), instance=self.instance, raise_on_error=False, **where
        )

    def day(self, day: str = DAY) -> LakeDay:
        """The day as whoever wrote to it last sees it: published, or what a run has made of it since."""
        last = list(self.lake.owners(day))[-1:]
        return LakeDay(self.lake, date.fromisoformat(day), *last)

    def by_hand(self, day: str = DAY) -> LakeFiles:
        """What single assets have left of the day, over what is published."""
        return self.lake.day(day, BY_HAND)

    def tables(self, day: str = DAY) -> dict[str, pl.DataFrame]:
        """Every table that the lake holds of the day, without what a repetition may change."""
        kept = self.day(day)
        return {name: kept[name].drop(WHEN_AND_WHO, strict=False) for name in kept if kept.version(name)}

    def copy(self) -> TradingDesk:
        """The same data in a folder of its own, with the same history."""
        return replace(self, data=shutil.copytree(self.data, temporary(), dirs_exist_ok=True))

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.warehouse) as connection:
            return connection.execute(query).fetchall()


GRAPH = defs.resolve_asset_graph()
CHECKS: frozenset[dg.AssetCheckKey] = frozenset(GRAPH.asset_check_keys)


def new_desk(
    data: Path | None = None, settings: Mapping[str, Any] = SMALL, prices: Mapping[str, Any] | None = None
) -> TradingDesk:
    """An empty desk with a history of its own; ``data`` may hold earlier days. Its folder goes with the process."""
    return TradingDesk(data or temporary(), dg.DagsterInstance.ephemeral(), settings, prices or {})


def _copy_of(folder: Path, settings: Mapping[str, Any]) -> TradingDesk:
    """A desk on a copy of what a shared folder holds; its history begins empty."""
    return new_desk(shutil.copytree(folder, temporary(), dirs_exist_ok=True), settings)


EXAMPLE_SETTINGS: dict[str, Any] = {"optimiser": {"time_limit_seconds": UNHURRIED}}


@cache
def example_run() -> tuple[TradingDesk, ExecuteInProcessResult]:
    """The default fleet's bids for 2023-08-15, made once for all tests that only read them, and its run.

    The desk's history is empty: it may have been another process's run.
    """

    def make(folder: Path) -> None:
        result = new_desk(folder / "data", EXAMPLE_SETTINGS).run()
        (folder / "run.pickle").write_bytes(pickle.dumps((result.all_events, result.dagster_run)))

    folder = shared("example", make)
    desk = new_desk(folder / "data", EXAMPLE_SETTINGS)
    events, run = pickle.loads((folder / "run.pickle").read_bytes())
    return desk, ExecuteInProcessResult(events, run, None, desk.definitions().resolve_job_def("bid_day"))


def settled_example() -> TradingDesk:
    """A desk of its own with the same day, settled."""

    def make(folder: Path) -> None:
        shutil.copytree(example_run()[0].data, folder, dirs_exist_ok=True)
        result = new_desk(folder, EXAMPLE_SETTINGS).run("settle_day")
        assert result.success, failures(result)

    return _copy_of(shared("settled_example", make), EXAMPLE_SETTINGS)


def _made_small(folder: Path) -> None:
    result = new_desk(folder).run()
    assert result.success, failures(result)


def small_desk() -> TradingDesk:
    """A desk of its own with the bids of 30 prosumers for 2023-08-15, which one run made for all tests, published.

    Its history begins empty.
    """
    return _copy_of(shared("small", _made_small), SMALL)


def settled_small_desk() -> TradingDesk:
    """The same, settled."""

    def make(folder: Path) -> None:
        shutil.copytree(shared("small", _made_small), folder, dirs_exist_ok=True)
        result = new_desk(folder).run("settle_day")
        assert result.success, failures(result)

    return _copy_of(shared("settled_small", make), SMALL)


def evaluations(result: ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def made(result: ExecuteInProcessResult) -> set[str]:
    """Tables of the assets that the run materialised."""
    return {".".join(event.asset_key.path) for event in result.get_asset_materialization_events() if event.asset_key}


def metadata_of(result: ExecuteInProcessResult, table: str) -> dict[str, Any]:
    """What the run's materialisation of ``table`` says about itself."""
    for event in result.get_asset_materialization_events():
        if event.asset_key == key_of(table):
            return {name: value.value for name, value in event.materialization.metadata.items()}
    raise AssertionError(f"{table} was not made")


def negotiated(result: ExecuteInProcessResult) -> tuple[int, int]:
    """How many opportunities the run negotiated, and how many negotiations it reused."""
    metadata = metadata_of(result, "negotiation.summary")
    return metadata["negotiated"], metadata["reused"]


def failures(result: ExecuteInProcessResult) -> dict[str, str]:
    """Failed steps and the messages of their errors, innermost last."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            error, words = event.step_failure_data.error, []
            while error is not None:
                words.append(error.message)
                error = error.cause
            found[str(event.step_key)] = "\n".join(words)
    return found


def files(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` and a hash of its content; lock files are no data."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


def differences(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> list[str]:
    """Names of the tables, and of their columns, that are not the same."""
    found = sorted(set(one) ^ set(other))
    for name in sorted(set(one) & set(other)):
        mine, theirs = one[name], other[name]
        if mine.shape != theirs.shape:
            found.append(f"{name}: {mine.shape} and {theirs.shape}")
        else:
            found += [f"{name}.{column}" for column in mine.columns if not mine[column].equals(theirs[column])]
    return found
