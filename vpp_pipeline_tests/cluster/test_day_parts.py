"""A day in parts on a real Ray cluster: the bids of one process, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests import golden
from vpp_pipeline_tests.cluster.cable import SLOW
from vpp_pipeline_tests.cluster.object_server import BUCKET, running
from vpp_pipeline_tests.cluster.ray_nodes import NAME, Node, start_cluster
from vpp_pipeline_tests.cluster.two_nodes import two_nodes, why_not

pytest.importorskip("ray", reason="Ray is not installed: make cluster")

LONGEST_S = 600.0
PATIENCE_S = 8.0
WORKER = b"ray::_worked_on_a_node"  # how Ray names the process of a part while it works
DATE = "2023-08-15"
LOST = "of the cluster was lost; each part on it is made again"
SIZE = ("--prosumers", "60", "--set", "fleet.part_prosumers=20")


def command(
    data: Path, *line: str, environment: dict[str, str] | None = None, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """``vpp-pipeline LINE`` on that data folder; ``before``: words that lead into another network."""
    data.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "DAGSTER_HOME")}
    return subprocess.run(
        [*before, sys.executable, "-m", "vpp_pipeline", *line, "--date", DATE, "--data", data],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        env=inherited | {"PYTHONPATH": str(golden.PROJECT)} | (environment or {}),
    )


def on(nodes: list[Node]) -> tuple[str, ...]:
    """Options that let ``nodes`` work on the parts."""
    return (
        *("--backend", "ray", "--set", f"optimiser.ray_address={nodes[0].address}"),
        *("--set", "optimiser.shard_cpus=0.5", "--set", f"optimiser.shard_patience_s={PATIENCE_S}"),
    )


def tables(data: Path) -> golden.Hashes:
    """Of each table but that of runs, which tells how they were set."""
    found = golden.tables_of(data / "vpp.duckdb")
    return golden.hashes_of({name: rows for name, rows in found.items() if name != "bids.runs"})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> golden.Hashes:
    """What one process makes of the day, settled."""
    data = tmp_path_factory.mktemp("alone")
    for line in (("bids", *SIZE), ("settle",)):
        done = command(data, *line)
        assert done.returncode == 0, done.stderr
    return tables(data)


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Node]]:
    yield from start_cluster([4])


@contextmanager
def killing(chosen: Callable[[int, bytes], bool], most: int) -> Iterator[list[int]]:
    """Kill the first ``most`` processes at work on a part that are ``chosen``, by number and environment, each as soon
    as it is seen; those that were."""
    killed: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        seen: set[int] = set()
        while not is_over.wait(0.02) and len(killed) < most:
            for entry in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if (entry / "cmdline").read_bytes().startswith(WORKER) and int(entry.name) not in seen:
                        seen.add(int(entry.name))
                        if chosen(len(seen), (entry / "environ").read_bytes()):
                            os.kill(int(entry.name), signal.SIGKILL)
                            killed.append(int(entry.name))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield killed
    finally:
        is_over.set()
        watching.join()


@contextmanager
def losing(node: Node, killed: list[int]) -> Iterator[None]:
    """Kill every process of the node once one has been killed at work."""
    is_over = threading.Event()

    def look() -> None:
        while not killed and not is_over.wait(0.02):
            pass
        node.kill()

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


def test_parts_on_a_cluster_are_bid_and_settled_as_in_one_process(
    cluster: list[Node], alone: golden.Hashes, tmp_path: Path
):
    for line in (("bids", *SIZE, *on(cluster)), ("settle",)):
        done = command(tmp_path, *line)
        assert done.returncode == 0, done.stderr
    assert tables(tmp_path) == alone


def test_processes_that_are_killed_at_work_change_nothing(cluster: list[Node], alone: golden.Hashes, tmp_path: Path):
    """Each process that Ray starts for a part, the first five times it does."""
    with killing(lambda number, _: True, most=5) as killed:
        done = command(tmp_path, "bids", *SIZE, *on(cluster))
    assert done.returncode == 0, done.stderr
    assert len(killed) == 5
    assert command(tmp_path, "settle").returncode == 0
    assert tables(tmp_path) == alone


@contextmanager
def losing_at_work(node: Node) -> Iterator[None]:
    """Kill every process of the node as soon as one of them works on a part."""

    def is_of_it(number: int, environment: bytes) -> bool:
        return f"{NAME}={node.name}".encode() in environment.split(b"\0")

    with killing(is_of_it, most=1) as killed, losing(node, killed):
        yield
    assert killed


def test_a_node_that_is_lost_is_told_and_changes_nothing(alone: golden.Hashes, tmp_path: Path):
    for nodes in start_cluster([1, 1]):
        with losing_at_work(nodes[1]):
            done = command(tmp_path, "bids", "-v", *SIZE, *on(nodes))
        assert done.returncode == 0, done.stderr
        assert LOST in done.stderr
        assert command(tmp_path, "settle").returncode == 0
        assert tables(tmp_path) == alone


@pytest.mark.parametrize("is_lost", [False, True], ids=["slow_cable", "slow_cable_and_a_lost_node"])
def test_two_nodes_in_networks_of_their_own_bid_and_settle_as_one_process(
    is_lost: bool, alone: golden.Hashes, tmp_path: Path
):
    """A cable of 5 ms and 1% loss; the lake is an object store beside the head, with which nodes have nothing else in
    common."""
    pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")
    if reason := why_not(SLOW):
        pytest.skip(reason)
    with patch.dict(os.environ, VPP_LAKE_URL=f"s3://{BUCKET}/lake"), two_nodes(SLOW) as nodes:
        before, both = nodes.head.before, [nodes.head, nodes.other]
        with losing_at_work(nodes.other) if is_lost else nullcontext():
            done = command(tmp_path / "driver", "bids", "-v", *SIZE, *on(both), before=before)
        assert done.returncode == 0, done.stderr
        assert (LOST in done.stderr) == is_lost
        done = command(tmp_path / "driver", "settle", before=before)
        assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "driver") == alone


def test_without_any_node_for_a_part_the_day_ends_with_a_sentence(tmp_path: Path):
    """The head has no CPU: with the only other node the parts are lost for good. Nothing is published."""
    for nodes in start_cluster([0, 2]):
        with killing(lambda number, _: True, most=1) as killed, losing(nodes[1], killed):
            done = command(tmp_path, "bids", *SIZE, *on(nodes))
        assert done.returncode == 2, done.stderr
        assert "no node of the cluster has 0.5 CPUs for a part" in done.stderr
        assert "ray start --address" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "vpp.duckdb").exists()


def test_a_command_that_is_killed_leaves_nothing_and_the_next_one_makes_the_same(
    cluster: list[Node], alone: golden.Hashes, tmp_path: Path
):
    """SIGKILL of the process of the day while parts are worked on: no manifest names what they wrote."""
    begun = subprocess.Popen(
        [sys.executable, "-m", "vpp_pipeline", "bids", *SIZE, *on(cluster), "--date", DATE, "--data", tmp_path],
        env={**os.environ, "PYTHONPATH": str(golden.PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert begun.stderr is not None
    said = [line for line in iter(begun.stderr.readline, "") if "optimization" not in line or begun.kill()]
    assert begun.wait() == -signal.SIGKILL, said
    assert not (tmp_path / "vpp.duckdb").exists()
    lake = Lake(tmp_path / "lake")
    assert "bids.final_bids" not in lake.manifest(DATE).files
    for line in (("bids", *SIZE, *on(cluster)), ("settle",)):
        done = command(tmp_path, *line)
        assert done.returncode == 0, done.stderr
    assert tables(tmp_path) == alone


def test_parts_read_and_write_a_lake_in_an_object_store(alone: golden.Hashes, tmp_path: Path):
    """Nodes have nothing in common with the driver but the bucket."""
    pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")
    with running() as server:
        environment = {**server.environment, "VPP_LAKE_URL": f"s3://{BUCKET}/lake"}
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)  # those of the nodes
        try:
            for nodes in start_cluster([2]):
                for line in (("bids", *SIZE, *on(nodes)), ("settle",)):
                    done = command(tmp_path / "driver", *line, environment=environment)
                    assert done.returncode == 0, done.stderr
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    assert tables(tmp_path / "driver") == alone
    assert not (tmp_path / "driver" / "lake" / "fleet").exists()
