"""Shards of the fleet on a real Ray cluster: the same bits as in one process, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline_tests.cluster.cable import SLOW, WIRE, Link
from vpp_pipeline_tests.cluster.object_server import BUCKET, running
from vpp_pipeline_tests.cluster.ray_nodes import Node, free_port, start_cluster
from vpp_pipeline_tests.cluster.two_nodes import SHORT, on_two_nodes, why_not, write_day

pytest.importorskip("ray", reason="Ray is not installed: make cluster")

PROSUMERS = 1_500
LONGEST_S = 300.0
PATIENCE_S = 8.0

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def day_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The problem of a day with a sample that is solved first."""
    return write_day(PROSUMERS, tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def solved(day_file: Path) -> Callable[..., Answer]:
    """What a process of its own makes of the day, by settings."""

    def solve(kill: dict[str, Any] | None = None, **settings: Any) -> Answer:
        answer = day_file.with_name("answer.json")
        answer.unlink(missing_ok=True)
        command = [sys.executable, "-m", "vpp_pipeline_tests.cluster.one_day", day_file, answer]
        command += [json.dumps(SHORT | settings), *([json.dumps(kill)] if kill else [])]
        said = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        assert answer.exists(), said.stdout + said.stderr
        return json.loads(answer.read_text()) | {"log": said.stderr}

    return solve


@pytest.fixture(scope="module")
def local(solved: Callable[..., Answer]) -> Answer:
    return solved()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Node]]:
    yield from start_cluster([4])


def on(cluster: list[Node], **settings: Any) -> dict[str, Any]:
    """Settings that hold the fleet on ``cluster``."""
    return {"backend": "ray", "ray_address": cluster[0].address, "shard_cpus": 0.5} | settings


@pytest.mark.parametrize("shards", [1, 2, 8], ids="shards_{}".format)
def test_the_day_is_the_same_to_the_bit_in_any_number_of_shards(
    shards: int, cluster: list[Node], solved: Callable[..., Answer], local: Answer
):
    answer = solved(**on(cluster, shards=shards))
    assert local["bids"] > 0
    assert answer["hashes"] == local["hashes"]
    for name in ("objective_usd", "bound_usd", "method"):
        assert answer[name] == local[name]
    assert answer["restarts"] == {}
    assert answer["seconds"].keys() >= {"price", "powers_of", "collect"}


@pytest.mark.parametrize(("question", "call"), [("price", 3), ("powers_of", 1), ("powers_of", 3), ("collect", 1)])
def test_a_shard_killed_in_the_middle_answers_the_same_and_is_reported(
    question: str, call: int, cluster: list[Node], solved: Callable[..., Answer], local: Answer
):
    """In a sweep, in the mixture, once quantities are settled, and while schedules are written."""
    answer = solved({"question": question, "call": call}, **on(cluster, shards=2))
    assert answer["hashes"] == local["hashes"]
    assert answer["restarts"] == {"1": 1}
    assert answer["method"].replace("shard 1 was restarted; ", "") == local["method"] != answer["method"]
    assert "shard 1 of the fleet was lost on" in answer["log"]


def test_shards_in_an_object_store_are_read_again_where_a_process_is_killed_and_leave_nothing(
    solved: Callable[..., Answer], local: Answer, monkeypatch: pytest.MonkeyPatch
):
    """Neither there nor among the copies of this machine."""
    pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")
    from vpp_pipeline.core.bucket import LAKE_ID, Bucket

    with running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/shards"
        for nodes in start_cluster([4]):
            absent = solved(**on(nodes, shards=2, shard_folder="s3://nowhere/shards"))
            assert "there is no bucket nowhere" in absent["error"]
            answer = solved({"question": "collect", "call": 1}, **on(nodes, shards=2, shard_folder=url))
        assert answer["hashes"] == local["hashes"]
        assert answer["restarts"] == {"1": 1}
        assert server.counts()["put"] >= 2 * 2  # two shards, and what they found
        assert list(Bucket(url, Path("unused")).keys("")) == [LAKE_ID]
        copies = Path(tempfile.gettempdir(), "vpp_shard_copies")
        assert [file for file in copies.rglob("*") if file.is_file()] == []


def test_the_node_that_is_left_takes_over_the_shards_of_one_that_is_lost(solved: Callable[..., Answer], local: Answer):
    for nodes in start_cluster([1, 1]):
        answer = solved({"question": "price", "call": 4, "node": nodes[1].name}, **on(nodes, shards=2))
        assert answer["hashes"] == local["hashes"]
        assert sum(answer["restarts"].values()) == 1


@pytest.mark.parametrize(
    ("lost", "link"),
    [(None, WIRE), ("sweep", WIRE), ("settlement", WIRE), (None, SLOW), ("sweep", SLOW)],
    ids=["whole", "lost_in_sweep", "lost_in_settlement", "slow_cable", "slow_cable_lost_in_sweep"],
)
def test_two_nodes_in_networks_of_their_own_find_the_bits_of_one_process(
    day_file: Path, local: Answer, lost: str | None, link: Link
):
    """Without a folder in common, over a cable with 5 ms and 1% loss, and where every process of the second is killed;
    `two_nodes.py` does it with a large fleet."""
    pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")
    if reason := why_not(link):
        pytest.skip(reason)
    found = on_two_nodes(day_file, SHORT, lost, link)
    assert found["hashes"] == local["hashes"]
    assert sum(found["restarts"].values()) == (1 if lost else 0)
    assert found["crossed_mb"] > 0.1


def test_without_any_node_that_takes_a_shard_the_day_ends_with_a_sentence(solved: Callable[..., Answer]):
    """The head has no CPU: with the only other node the shards are lost for good."""
    for nodes in start_cluster([0, 2]):
        settings = on(nodes, shards=2, shard_patience_s=PATIENCE_S)
        answer = solved({"question": "price", "call": 4, "node": nodes[1].name}, **settings)
        assert "of the fleet is lost: no node has answered for it in 8 s" in answer["error"]
        assert "ray start --address" in answer["error"]
        assert answer["wall_s"] < 60.0 + 2.0 * PATIENCE_S


def test_a_shard_that_ends_every_process_it_is_given_to_ends_the_day(solved: Callable[..., Answer]):
    """As one that needs more memory than any node has."""
    for nodes in start_cluster([2]):
        kill = {"question": "price", "call": 4, "node": nodes[0].name, "again": True}
        answer = solved(kill, **on(nodes, shards=1, shard_patience_s=60.0))
        assert "shard 1 of the fleet is lost: it was restarted 5 times and gave no answer" in answer["error"]


def test_without_the_head_ray_ends_the_command_and_does_not_hang(day_file: Path):
    """Ray itself ends the process, as SIGKILL would: no sentence of ours, nothing that was begun is finished."""
    for nodes in start_cluster([0, 2]):
        kill = {"question": "price", "call": 4, "node": nodes[0].name}
        answer = day_file.with_name("without_head.json")
        command = [sys.executable, "-m", "vpp_pipeline_tests.cluster.one_day", day_file, answer]
        command += [json.dumps(SHORT | on(nodes, shards=2)), json.dumps(kill)]
        done = subprocess.run(command, capture_output=True, timeout=LONGEST_S, check=False)
        assert done.returncode != 0
        assert not answer.exists()


def test_a_folder_that_a_node_cannot_read_is_named(cluster: list[Node], solved: Callable[..., Answer], tmp_path: Path):
    answer = solved(**on(cluster, shards=1, shard_folder=str(tmp_path / "absent")))
    assert "shards of the fleet cannot be written" in answer["error"]
    assert "optimiser.shard_folder" in answer["error"]


def command(*arguments: str, data: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`vpp-pipeline bids` of a small fleet by column generation."""
    chosen = ["--date", "2023-08-15", "--prosumers", "60", "--set", "optimiser.method=column_generation"]
    chosen += ["--set", "resources.participation=hourly"]  # a day of storage needs no shards
    chosen += ["--set", "optimiser.pivot_limit=0", "--set", "optimiser.gap_warning_fraction=1"]  # one method, soon done
    return subprocess.run(
        [sys.executable, "-m", "vpp_pipeline", "bids", *chosen, "--data", data, *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        | {"DAGSTER_HOME": str(data)}
        | (environment or {}),
    )


def test_the_command_makes_the_same_bids_on_a_cluster_with_the_same_fingerprint(cluster: list[Node], tmp_path: Path):
    documents = []
    for name, options in (("local", ()), ("ray", ("--backend", "ray", "--set", "optimiser.shards=3"))):
        (tmp_path / name).mkdir()
        address = {"RAY_ADDRESS": cluster[0].address} if options else {}
        done = command("--json", *options, data=tmp_path / name, environment=address)
        assert done.returncode in (0, 3), done.stderr
        documents.append(json.loads(done.stdout))
    first, second = (document["final_bids"] for document in documents)
    changes = {"run_id", "created_utc"}
    assert [{k: v for k, v in bid.items() if k not in changes} for bid in first] == [
        {k: v for k, v in bid.items() if k not in changes} for bid in second
    ]
    assert {bid["fingerprint"] for bid in first} == {bid["fingerprint"] for bid in second}


def test_without_a_cluster_the_command_ends_with_a_sentence_and_status_2(tmp_path: Path):
    done = command("--backend", "ray", data=tmp_path, environment={"RAY_ADDRESS": f"127.0.0.1:{free_port()}"})
    assert done.returncode == 2
    assert "there is no Ray cluster to hold the fleet" in done.stderr
    assert "ray start --head" in done.stderr
    assert "Traceback" not in done.stderr
