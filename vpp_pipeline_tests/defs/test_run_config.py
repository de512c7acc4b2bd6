"""What whoever reaches Dagster's web server may tell a run: no host, no key, no secret, no file of the machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from filelock import FileLock

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.definitions import LAUNCHPAD, definitions_of, defs
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.owner import Owner, resources_of
from vpp_pipeline.defs.resources import Storage
from vpp_pipeline.defs.sensors import LOCK_TAG, lock_of, lost_runs
from vpp_pipeline_tests.defs.desk import DAY, SMALL, TradingDesk, made, new_desk
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini
from vpp_pipeline_tests.llm.questions import CANARY

FLEET = ("fleet.prosumers", "fleet.notes", "fleet.quarantine")
SECRET = "VPP_TEST_CANARY"
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""


class Site:
    """The web server of a Dagster instance of its own, as another page in the owner's browser would use it."""

    def __init__(self, app: Any, instance: dg.DagsterInstance, data: Path) -> None:
        from starlette.testclient import TestClient

        self.instance, self.data, self._client = instance, data, TestClient(app)

    def launch(self, resources: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
        """What a cross-site POST is answered; a run that it starts has ended."""
        params = {
            "selector": {
                "repositoryLocationName": "vpp_pipeline.definitions",
                "repositoryName": "__repository__",
                "jobName": "bid_day",
            },
            "runConfigData": {"resources": {name: {"config": config} for name, config in resources.items()}},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._client.post(
            "/graphql",
            content=json.dumps({"query": LAUNCH, "variables": {"params": params}}),
            # a browser sends this type to other sites without asking them first, and Dagster reads it as JSON
            headers={"content-type": "text/plain; application/json", "origin": "http://elsewhere.example"},
        )
        told: dict[str, Any] = answer.json()["data"]["launchRun"]
        if "run" in told:
            self.instance.run_launcher.join(timeout=180)
        return told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    app = pytest.importorskip("dagster_webserver.app", reason="extra ui is not installed")
    folder = tmp_path_factory.mktemp("site")
    (folder / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\n"
        "run_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    target = ModuleTarget("vpp_pipeline.definitions", None, str(project_folder()), "vpp_pipeline.definitions")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {SECRET: CANARY, "VPP_DATA_FOLDER": str(folder / "data")}.items():
            patch.setenv(name, value)
        with (
            dg.DagsterInstance.from_config(str(folder)) as instance,
            WorkspaceProcessContext(instance, target) as context,
        ):
            yield Site(app.create_app_from_workspace_process_context(context), instance, folder / "data")


def test_a_page_of_another_site_gets_no_secret_of_the_server(site: Site) -> None:
    """Address and variable together once sent any variable of the server to any machine."""
    with FakeGemini() as listener:
        llm = {"mode": "live", "base_url": listener.url, "api_key_variable": SECRET, "attempts": 1}
        desk = {**SMALL, "negotiation": {"engine": "llm"}, "llm": llm}
        storage = {"data_folder": str(site.data)}
        told = site.launch({"desk": desk, "storage": storage}, {"dagster/partition": DAY})
        assert listener.seen == []
    assert told["__typename"] == "RunConfigValidationInvalid"
    said = " ".join(error["message"] for error in told["errors"])
    assert "base_url" in said
    assert "api_key_variable" in said
    assert CANARY not in said
    assert site.instance.get_runs() == []


def test_a_variable_in_a_values_place_is_not_read(site: Site) -> None:
    """Dagster offers it for every word, number and switch of a class of pydantic's."""
    for desk in (
        {"fleet": {"path": {"env": SECRET}}},
        {"fleet": {"prosumers": {"env": SECRET}}},
        {"fleet": {"carry_over": {"env": SECRET}}},
        {"llm": {"model": {"env": SECRET}}},
    ):
        told = site.launch({"desk": desk}, {"dagster/partition": DAY})
        assert told["__typename"] == "RunConfigValidationInvalid", (desk, told)
    for name in ("node", "path", "kind", "meters"):
        told = site.launch({"prices_source": {name: {"env": SECRET}}}, {"dagster/partition": DAY})
        assert told["__typename"] == "RunConfigValidationInvalid", (name, told)


def test_no_job_takes_a_variable_a_host_or_a_place_to_write() -> None:
    """Every name and type of the configuration of all resources, whatever is added to them later."""
    names, types = set[str](), set[str]()
    for job in defs.resolve_all_job_defs():
        for kind in _types_below(job.run_config_schema.run_config_schema_type.fields["resources"].config_type):
            names |= set(getattr(kind, "fields", None) or {})
            types.add(kind.key)
    assert {"prosumers", "node", "data_folder"} <= names
    assert not {name for name in names if name == "env" or name.endswith(("url", "variable", "key"))}
    assert not names & {"defaults", "archive", "gate", "store", "answers"}
    assert not {key for key in types if "Source" in key}


def test_the_launchpad_begins_with_a_few_settings_and_explains_all() -> None:
    """Of each other setting it knows meaning and default."""
    job = defs.resolve_job_def("bid_day")
    schema = job.run_config_schema.run_config_schema_type
    desk = schema.fields["resources"].config_type.fields["desk"].config_type.fields["config"]
    assert desk.default_value == {
        "fleet": {"prosumers": 200},
        "forecast": {"price": "auto"},
        "negotiation": {"engine": "concession", "rounds": 3},
        "risk": {"scenarios": 1},
    }
    for group in desk.config_type.fields.values():
        for name, field in group.config_type.fields.items():
            assert field.description, name
            assert field.is_required is False
    assert dg.validate_run_config(job, yaml.safe_load(LAUNCHPAD))
    assert LAUNCHPAD in str(job.description)


def _types_below(kind: Any) -> Iterator[Any]:
    inner = [field.config_type for field in (getattr(kind, "fields", None) or {}).values()]
    for name in ("inner_type", "scalar_type", "non_scalar_type"):
        inner += [getattr(kind, name)] if getattr(kind, name, None) is not None else []
    yield kind
    for each in inner:
        yield from _types_below(each)


def run(desk: TradingDesk, resources: Mapping[str, Any]) -> dg.ExecuteInProcessResult:
    """A run as the server makes it, of the fleet and what comes before it."""
    job = definitions_of(Owner(desk.data)).resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection=frozenset(map(key_of, FLEET))).execute_in_process(
        run_config={"resources": {name: {"config": config} for name, config in resources.items()}},
        instance=desk.instance,
        partition_key=DAY,
        raise_on_error=False,
    )


def all_told(result: dg.ExecuteInProcessResult) -> str:
    return repr([event.event_specific_data for event in result.all_events])


@pytest.mark.parametrize("way", ["absolute", "through the data folder"])
def test_a_file_elsewhere_is_not_read(way: str, tmp_path: Path) -> None:
    """The words of a file that is no fleet are part of the error, as far as its first line."""
    desk = new_desk(tmp_path / "data")
    (tmp_path / "token").write_text(CANARY)
    file = tmp_path / "token" if way == "absolute" else desk.data / ".." / "token"
    for resources in ({"desk": {"fleet": {"path": str(file)}}}, {"prices_source": {"path": str(file)}}):
        result = run(desk, resources)
        assert not result.success
        assert CANARY not in all_told(result)
        assert "may name files of the data folder alone" in all_told(result)


def test_a_file_of_the_data_folder_is_read_and_so_is_a_link_there(tmp_path: Path) -> None:
    desk = new_desk(tmp_path / "data")
    desk.data.mkdir()
    fleet = (project_folder() / "data" / "example_fleet.csv").read_bytes()
    (desk.data / "fleet.csv").write_bytes(fleet)
    (tmp_path / "elsewhere.csv").write_bytes(fleet)
    (desk.data / "linked.csv").symlink_to(tmp_path / "elsewhere.csv")
    for name in ("fleet.csv", "linked.csv"):
        result = run(desk, {"desk": {"fleet": {"path": str(desk.data / name)}}})
        assert result.success, all_told(result)
        assert "fleet.prosumers" in made(result)


def test_a_run_for_another_data_folder_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    desk = new_desk(tmp_path / "data")
    result = run(desk, {"storage": {"data_folder": str(tmp_path / "other")}})
    assert not result.success
    assert "VPP_DATA_FOLDER" in all_told(result)
    assert not (tmp_path / "other").exists()
    assert run(desk, {"storage": {"data_folder": str(tmp_path / "data")}}).success


def test_the_owner_chooses_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VPP_LLM_URL": "http://127.0.0.1:9",
        "VPP_LLM_API_KEY_VARIABLE": "GOOGLE_API_KEY",
        "VPP_LLM_STORE": str(tmp_path / "answers.sqlite"),
    }.items():
        monkeypatch.setenv(name, value)
    config = {"desk": {"config": {"llm": {"mode": "live"}}}}
    with dg.build_resources(resources_of(Owner(tmp_path)), resource_config=config) as resources:
        llm = resources.desk.settings().llm
    assert (llm.mode, llm.base_url, llm.api_key_variable) == ("live", "http://127.0.0.1:9", "GOOGLE_API_KEY")
    assert llm.store == tmp_path / "answers.sqlite"
    monkeypatch.setenv("VPP_LLM_API_KEY_VARIABLE", CANARY)
    with (
        dg.build_resources(resources_of(Owner(tmp_path)), resource_config=config) as resources,
        pytest.raises(InputError, match="VPP_LLM_API_KEY_VARIABLE") as caught,
    ):
        resources.desk.settings()
    assert CANARY not in str(caught.value)


# locks of runs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME, with the folder of locks."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "running").mkdir()
    return tmp_path


def tick(instance: dg.DagsterInstance, home: Path) -> None:
    storage = Storage(data_folder=str(home / "data"))
    with dg.build_sensor_context(instance=instance, resources={"storage": storage}) as context:
        lost_runs(context)


def started(instance: dg.DagsterInstance, tag: str) -> str:
    tags = {LOCK_TAG: tag}
    return create_run_for_test(instance, "bid_day", status=dg.DagsterRunStatus.STARTED, tags=tags).run_id


def test_a_file_named_by_a_tag_survives(home: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.csv"
    victim.write_text("ours")
    with dg.DagsterInstance.ephemeral() as instance:
        started(instance, str(victim))
        started(instance, str(tmp_path / "new.lock"))
        tick(instance, home)
    assert victim.read_text() == "ours"
    assert not (tmp_path / "new.lock").exists()
    assert not any((home / "running").iterdir())
    with pytest.raises(ValueError, match="UUID"):
        lock_of("../victim.csv", tmp_path)


def test_a_lost_run_is_closed_by_its_id_whatever_its_tag_says(home: Path) -> None:
    """Version 0.1 wrote the lock's path into the tag."""
    with dg.DagsterInstance.ephemeral() as instance:
        lost, alive = started(instance, str(home / "elsewhere.lock")), started(instance, "held")
        for run_id in (lost, alive):
            (home / "running" / f"{run_id}.lock").touch()
        with FileLock(home / "running" / f"{alive}.lock", is_singleton=False):
            tick(instance, home)
        found = {each.run_id: each.status for each in instance.get_runs()}
        assert found == {lost: dg.DagsterRunStatus.FAILURE, alive: dg.DagsterRunStatus.STARTED}
    assert not (home / "running" / f"{lost}.lock").exists()


def test_a_run_begun_again_in_dagster_keeps_its_tag_and_is_not_closed(home: Path) -> None:
    """It has no process of the command line, and no lock."""
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = started(instance, str(home / "running" / f"{uuid.uuid4()}.lock"))
        tick(instance, home)
        again = instance.get_run_by_id(run_id)
        assert again is not None
        assert again.status == dg.DagsterRunStatus.STARTED
