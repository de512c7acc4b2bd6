"""What we rely on of Dagster beyond its stable API: an upgrade of its minor version begins with this list."""

from __future__ import annotations

import ast
import inspect
import tomllib
from importlib import import_module
from importlib.metadata import version

import dagster as dg
import pytest
from dagster._core.definitions import data_version
from dagster._core.storage import tags
from packaging.requirements import Requirement

from vpp_pipeline.core.provenance import PACKAGE
from vpp_pipeline.defs import alerts, checks, negotiation, sensors

#: private names of Dagster that the package imports, in cli/run_job.py, which says why; and for annotations alone
FOR_ANNOTATIONS = {"dagster._core.launcher.LaunchRunContext", "dagster._core.launcher.ResumeRunContext"}
PRIVATE = {
    "dagster._core.definitions.job_base.InMemoryJob",
    "dagster._core.execution.api.execute_run",
    "dagster._core.execution.execute_in_process.merge_run_tags",
    "dagster._core.execution.job_execution_result.JobExecutionResult",
    "dagster._core.remote_origin.RemoteRepositoryOrigin",
    "dagster._core.workspace.load.location_origin_from_module_name",
}
#: arguments in beta or preview, or of functions without a documented page
ARGUMENTS = {
    dg.asset_check: {"partitions_def", "blocking"},  # preview: each day has a result of its own
    dg.AssetCheckEvaluation: {"partition", "passed", "severity", "description", "metadata"},  # of a run over a range
    dg.Output: {"data_version", "metadata"},  # beta
    dg.MaterializeResult: {"data_version", "metadata"},
    dg.AssetOut: {"owners", "freshness_policy", "code_version", "kinds"},
    dg.FreshnessPolicy.cron: {"lower_bound_delta", "timezone"},
    dg.DagsterInstance.create_run_for_job: {"job_def", "run_config", "tags", "run_id", "remote_job_origin"},
    dg.DagsterInstance.add_event_listener: {"run_id", "cb"},  # progress of the command line
    dg.DagsterInstance.get_run_records: {"filters", "limit"},
    dg.DagsterInstance.get_runs: {"filters", "cursor", "limit"},
    dg.DagsterInstance.add_run_tags: {"run_id", "new_tags"},  # the queue of a cluster
    dg.QueuedRunCoordinator.submit_run: {"context"},
    dg.DagsterRun: {"asset_selection", "tags"},  # the portfolio of a run
    dg.RunsFilter: {"statuses", "tags", "updated_after", "created_before", "job_name"},
}


def imported() -> dict[str, set[str]]:
    """Every private name of Dagster, and the files that import it."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dagster._"):
                for alias in node.names:
                    found.setdefault(f"{node.module}.{alias.name}", set()).add(str(file.relative_to(PACKAGE)))
    return found


def test_the_minor_version_is_pinned_and_installed():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [Requirement(one) for one in (*project["dependencies"], *project["optional-dependencies"]["ui"])]
    pinned = {one.name: one.specifier for one in wanted if one.name.startswith("dagster")}
    assert set(pinned) == {"dagster", "dagster-webserver"}
    for name, specifier in pinned.items():
        assert specifier.contains(version(name))
        major, minor, *_ = map(int, version(name).split("."))
        assert not specifier.contains(f"{major}.{minor + 1}.0"), f"another minor of {name} may come unasked"


def test_dg_finds_the_project():
    """As `dg check toml` and `dg list defs` of dagster-dg-cli 1.13 read it; the package is not in the lock."""
    told = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["dg"]
    assert told["directory_type"] == "project"
    assert told["project"]["root_module"] == PACKAGE.name
    module = import_module(told["project"]["code_location_target_module"])
    assert [name for name, value in vars(module).items() if isinstance(value, dg.Definitions)] == ["defs"]


def test_private_names_are_those_of_the_list():
    told = {name: {"cli/run_job.py"} for name in PRIVATE} | {name: {"defs/cluster.py"} for name in FOR_ANNOTATIONS}
    assert imported() == told


@pytest.mark.parametrize("called", ARGUMENTS, ids=lambda called: called.__qualname__)
def test_an_argument_that_may_move_is_there(called: object):
    known = inspect.signature(
        called.__new__ if inspect.isclass(called) and called.__new__ is not object.__new__ else called
    )  # type: ignore[arg-type]
    assert ARGUMENTS[called] <= set(known.parameters)  # type: ignore[index]


def test_tags_are_named_as_dagster_names_them():
    """They are written out in the package, since Dagster's own names for them are private."""
    key = negotiation.ROUNDS_KEY
    own = (data_version.DATA_VERSION_TAG, data_version.CODE_VERSION_TAG)
    assert own == (negotiation.DATA_VERSION_TAG, negotiation.CODE_VERSION_TAG)
    assert f"{negotiation.DATA_VERSION_OF}/{key.to_user_string()}" == data_version.get_input_data_version_tag(key)
    assert f"{negotiation.EVENT_OF}/{key.to_user_string()}" == data_version.get_input_event_pointer_tag(key)
    span = (tags.ASSET_PARTITION_RANGE_START_TAG, tags.ASSET_PARTITION_RANGE_END_TAG)
    assert span == (checks.RANGE_START_TAG, checks.RANGE_END_TAG)
    assert tags.get_tag_type(sensors.LOCK_TAG) == tags.TagType.HIDDEN
    told_of = (tags.BACKFILL_ID_TAG, tags.WILL_RETRY_TAG, tags.PARTITION_NAME_TAG)
    source = inspect.getsource(alerts)
    assert all(f'"{tag}"' in source for tag in told_of)
