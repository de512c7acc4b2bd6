"""Attacks through `dagster dev`: what a page in the owner's browser may POST, and files that a run or a tag names."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.defs.sensors import LOCK_TAG
from vpp_pipeline.dispatch.column_generation import compiled
from vpp_pipeline.market.oasis.client import OasisClient
from vpp_pipeline_tests.browser.project import dagster_dev, project_copy
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini
from vpp_pipeline_tests.robustness.attack import Attack
from vpp_pipeline_tests.robustness.hostile_day import texts_of

DAY = "2023-08-15"
SECRETS = {"VPP_TEST_SECRET": "C4N4RY-variable", "GEMINI_API_KEY": "C4N4RY-key"}
FILE_SECRET = "C4N4RY-file"
RUN_S, TICKS_S = 900.0, 70.0  # of all runs, and of two ticks of the sensor that looks for lost runs
REPOSITORIES = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on PythonError { message }
} }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
LOGS = """
query Logs($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on MessageEvent { message }
  ... on ExecutionStepFailureEvent { error { message causes { message } } }
  ... on RunFailureEvent { error { message causes { message } } }
} } } }
"""
DONE = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Page:
    """A page of another site in the browser of the machine's owner."""

    address: str

    def send(self, query: str, variables: Mapping[str, Any], way: str = "POST") -> dict[str, Any]:
        """What Dagster answers, which a browser would keep from the page."""
        asked = {"query": query, "variables": variables}
        headers = {"Origin": "http://elsewhere.example", "Host": "rebound.example:3000"}
        if way == "GET":
            values = urllib.parse.urlencode({"query": query, "variables": json.dumps(variables)})
            request = urllib.request.Request(f"{self.address}/graphql?{values}", headers=headers)
        else:  # a browser sends this type without asking the server first
            headers["Content-Type"] = "text/plain; application/json"
            request = urllib.request.Request(f"{self.address}/graphql", json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                told: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return {"refused": error.code, "said": error.read().decode(errors="replace")}
        return told

    def launch(
        self, resources: Mapping[str, Any], tags: Mapping[str, str], way: str = "POST", root: str | None = None
    ) -> dict[str, Any]:
        """The answer to a run of `bid_day` with this configuration; ``root``: the run that it says it repeats."""
        (repository,) = self.send(REPOSITORIES, {})["data"]["repositoriesOrError"]["nodes"]
        params: dict[str, Any] = {
            "selector": {
                "repositoryLocationName": repository["location"]["name"],
                "repositoryName": repository["name"],
                "jobName": "bid_day",
            },
            "runConfigData": {"resources": {name: {"config": config} for name, config in resources.items()}},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        if root is not None:
            params["executionMetadata"] |= {"rootRunId": root, "parentRunId": root}
        answer = self.send(LAUNCH, {"params": params}, way)
        return dict(answer["data"]["launchRun"]) if answer.get("data") else answer

    def wait(self) -> list[dict[str, Any]]:
        """All runs, when each has ended."""
        end = time.monotonic() + RUN_S
        while True:
            runs: list[dict[str, Any]] = self.send(RUNS, {})["data"]["runsOrError"]["results"]
            if all(run["status"] in DONE for run in runs):
                return runs
            if time.monotonic() > end:
                raise TimeoutError(f"runs go on after {RUN_S:g} s: {runs}")
            time.sleep(2.0)


def configurations(listener: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What no run may name: hosts, variables that hold keys, files to write, any variable in a value's place."""
    llm = {"mode": "live", "attempts": 1}
    for name, value in {
        "base_url": listener,
        "api_key_variable": "VPP_TEST_SECRET",
        "store": str(folder / "stolen.sqlite"),
        "answers": str(folder / "secret.txt"),
    }.items():
        yield f"llm.{name}", {"desk": {"llm": {**llm, name: value}, "negotiation": {"engine": "llm"}}}
    for name in ("url", "archive", "gate", "defaults"):
        yield f"prices_source.{name}", {"prices_source": {name: str(folder / "taken")}}
    yield "oasis", {"desk": {"oasis": {"url": listener}}}
    yield "weather", {"desk": {"weather": {"url": listener}}}
    for group, name in (("fleet", "path"), ("fleet", "prosumers"), ("llm", "model"), ("negotiation", "engine")):
        yield f"{{env}} in {group}.{name}", {"desk": {group: {name: {"env": "VPP_TEST_SECRET"}}}}
    for name in ("node", "path", "kind", "meters"):
        yield f"{{env}} in prices_source.{name}", {"prices_source": {name: {"env": "VPP_TEST_SECRET"}}}
    yield "{env} in storage", {"storage": {"data_folder": {"env": "VPP_TEST_SECRET"}}}
    yield "io_manager", {"io_manager": {"base_dir": str(folder / "taken")}}


def pages() -> Attack:
    """What a page of another site may start: never with a host, a key, a place to write or a file of the machine."""
    attack = Attack("posts of other sites to Dagster")
    with project_copy() as folder, FakeGemini() as listener, pytest.MonkeyPatch.context() as patch:
        outside = folder.parent / f"{folder.name}_outside"
        outside.mkdir()
        secret, victim = outside / "secret.txt", outside / "victim.csv"
        secret.write_text(FILE_SECRET)
        victim.write_text("ours")
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        for name in ("VPP_DATA_FOLDER", "VPP_LLM_URL", "DAGSTER_HOME"):
            patch.delenv(name, raising=False)
        try:
            with dagster_dev(folder) as address:
                _try_all(attack, Page(address), listener, folder, outside)
            attack.expect(listener.seen == [], f"arrived at the listener: {len(listener.seen)}")
            attack.expect(victim.is_file() and victim.read_text() == "ours", "a file that a tag names is gone")
            attack.expect(
                {file.name for file in outside.iterdir()} == {secret.name, victim.name},
                f"written outside: {sorted(outside.iterdir())}",
            )
            _check_modes(attack, folder / "data")
            for place, text in texts_of(folder):
                found = [value for value in (*SECRETS.values(), FILE_SECRET) if value in text]
                attack.expect(not found, f"{place}: {found}")
        finally:
            for file in outside.iterdir():
                file.unlink()
            outside.rmdir()
    return attack


def _try_all(attack: Attack, page: Page, listener: FakeGemini, folder: Path, outside: Path) -> None:
    attack.expect(_is_loopback(page.address), "Dagster listens beyond this machine")
    partition = {"dagster/partition": DAY}
    for way in ("POST", "GET"):
        for name, resources in configurations(listener.url, outside):
            told = page.launch(resources, partition, way)
            attack.expect(
                told.get("__typename") == "RunConfigValidationInvalid" and not _leaks(told), f"{way} {name}: {told}"
            )
    attack.expect(page.send(RUNS, {})["data"]["runsOrError"]["results"] == [], "a run was made")
    readable: dict[str, dict[str, Any]] = {
        "fleet.path": {"desk": {"fleet": {"path": str(outside / "secret.txt")}}},
        "fleet.path by ..": {"desk": {"fleet": {"path": str(folder / "data/../.." / outside.name / "secret.txt")}}},
        "opportunities.requests": {"desk": {"opportunities": {"requests": str(outside / "secret.txt")}}},
        "prices_source.path": {"prices_source": {"path": str(outside / "secret.txt")}},
        "prices_source.meters": {"prices_source": {"meters": str(outside / "secret.txt")}},
        "storage.data_folder": {"storage": {"data_folder": str(outside)}},
    }
    for name, resources in readable.items():
        told = page.launch(resources, partition)
        attack.expect("run" in told, f"{name}: {told}")
    told = page.launch({}, partition, root=f"../../../../{outside.name}/repeated")  # tables lie under a run's root
    attack.expect("run" in told, f"a root that is a path: {told}")
    tags = {**partition, LOCK_TAG: str(outside / "victim.csv")}
    told = page.launch({"desk": {"fleet": {"prosumers": 5}}}, tags)
    attack.expect("run" in told, "the run with the tag")
    runs = page.wait()
    time.sleep(TICKS_S)
    for run in runs:
        is_tagged = run["runId"] == told.get("run", {}).get("runId")  # the tag itself is hidden
        attack.expect(is_tagged or run["status"] == "FAILURE", f"read a file outside: {run}")
        said = page.send(LOGS, {"id": run["runId"]})
        attack.expect("data" in said and not _leaks(said), f"the log of {run['runId']}")


def _check_modes(attack: Attack, data: Path) -> None:
    """What runs have made is for their user alone; the history is Dagster's own."""
    made = [path for path in data.rglob("*") if "dagster" not in path.relative_to(data).parts[:1]]
    attack.expect(any(path.suffix == ".duckdb" for path in made), "the run with the tag published nothing")
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        attack.expect(not mode & 0o077, f"{path.relative_to(data)}: {mode:o}")


def _leaks(told: object) -> bool:
    text = json.dumps(told)
    return any(value in text for value in (*SECRETS.values(), FILE_SECRET))


def _is_loopback(address: str) -> bool:
    """Whether all sockets that listen on the port are of 127.0.0.0/8 or ::1; Linux tells."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).is_file()
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(port)
    ]
    loopback = ("7F:", "00000000000000000000000001000000:")
    return bool(listening) and all(
        local[6:8] + ":" == loopback[0] or local.startswith(loopback[1]) for local in listening
    )


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A folder to which everyone may write, in place of the machine's temporary one."""
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def links(folder: Path) -> Attack:
    """What others may have put into a shared folder before us: links, and folders that they may write to.

    The lock that paces OASIS and compiled code are not kept there; the file behind a link stays as it is.
    """
    attack = Attack("links in shared folders")
    victim = folder / "victim"
    victim.mkdir(mode=0o700)
    (victim / "file").write_text("ours")
    for place, (name, plant) in enumerate(_planted(victim).items()):
        with temporary_folder(folder / f"everyones_{place}") as shared:
            for kind, use in {"gate": _take_turn, "code": lambda: _compile_into(shared)}.items():
                plant(shared)
                try:
                    use()
                except InputError:
                    attack.repelled("refused")
                else:
                    attack.expect(name == "link in the gate" and kind == "code", f"{kind}: {name} was used")
    attack.expect([file.name for file in victim.iterdir()] == ["file"], f"written: {list(victim.iterdir())}")
    attack.expect((victim / "file").read_text() == "ours", "the file behind a link was changed")
    return attack


def _planted(victim: Path) -> dict[str, Callable[[Path], None]]:
    """What others have put in the place of each folder of ours."""

    def each(make: Callable[[Path], None]) -> Callable[[Path], None]:
        def plant(shared: Path) -> None:
            for folder in (shared / f"vpp_pipeline_oasis_{os.getuid()}", _code_of(shared)):
                folder.parent.mkdir(exist_ok=True)
                if not os.path.lexists(folder):
                    make(folder)

        return plant

    def open_folder(folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)

    def of_another_user(folder: Path) -> None:
        folder.mkdir(mode=0o700)
        os.chown(folder, 12_345, 12_345)

    def link_in_the_gate(shared: Path) -> None:
        gate = shared / f"vpp_pipeline_oasis_{os.getuid()}"
        gate.mkdir(mode=0o700, exist_ok=True)
        for name in ("oasis.last", "oasis.lock"):
            if not os.path.lexists(gate / name):
                (gate / name).symlink_to(victim / "file")

    planted = {
        "a link to a folder": each(lambda folder: folder.symlink_to(victim)),
        "a link to nothing": each(lambda folder: folder.symlink_to(victim / "none")),
        "a file": each(lambda folder: folder.write_text("")),
        "a folder for everyone": each(open_folder),
        "link in the gate": link_in_the_gate,
    }
    if os.getuid() == 0:  # others may not give folders away
        planted["a folder of another user"] = each(of_another_user)
    return planted


def _take_turn() -> None:
    with OasisClient(OasisSettings(url="http://127.0.0.1:9", interval_s=0.0))._gate.turn():
        pass


def _code_of(shared: Path) -> Path:
    """The folder of compiled code where `NUMBA_CACHE_DIR` names a shared one."""
    return shared / "vpp_pipeline" / compiled.fingerprint()


def _compile_into(shared: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(shared))
        compiled.code_folder()
