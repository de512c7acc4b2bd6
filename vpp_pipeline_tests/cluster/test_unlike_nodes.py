"""Nodes that cannot answer for a shard say why, and the day ends with their sentence: no shared folder, other code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.core.provenance import PACKAGE
from vpp_pipeline_tests.cluster.ray_nodes import Node, free_port
from vpp_pipeline_tests.cluster.two_nodes import SHORT, write_day

pytest.importorskip("ray", reason="Ray is not installed: make cluster")

LONGEST_S = 300.0


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_day(600, tmp_path_factory.mktemp("day"))


@contextmanager
def worker(before: tuple[str, ...]) -> Iterator[str]:
    """Address of a head without a CPU, and of a node that has two and is started behind ``before``."""
    address = f"127.0.0.1:{free_port()}"
    nodes = [Node(address, "127.0.0.1"), Node(address, "127.0.0.1", before)]
    try:
        nodes[0].start(0, is_head=True)
        nodes[1].start(2, is_head=False)
        yield address
    finally:
        for node in reversed(nodes):
            node.remove()


def error_of(day: Path, **settings: Any) -> str:
    """What the day ends with."""
    answer = day.with_suffix(".json")
    answer.unlink(missing_ok=True)
    chosen = json.dumps(SHORT | {"method": "column_generation", "backend": "ray", "shards": 1} | settings)
    command = [sys.executable, "-m", "vpp_pipeline_tests.cluster.one_day", str(day), str(answer), chosen]
    said = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert answer.exists(), said.stdout + said.stderr
    return str(json.loads(answer.read_text(encoding="utf-8"))["error"])


def with_mount(how: str) -> tuple[str, ...]:
    """What runs a command for which ``how`` is mounted, and for no other. Skips where that is not allowed."""
    before = ("unshare", "--mount", "sh", "-c", f'mount {how} && exec "$0" "$@"')
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts of a process' own are not allowed here")
    return before


def test_a_node_that_does_not_share_the_folder_of_shards_is_named(day: Path, tmp_path: Path):
    with worker(with_mount(f"-t tmpfs none '{tmp_path}'")) as address:
        error = error_of(day, ray_address=address, shard_folder=str(tmp_path))
    assert re.match(r"node [\d.]+ of the cluster cannot read its shard of the fleet: No such file", error)
    assert "optimiser.shard_folder" in error


def test_a_node_with_another_version_of_the_code_is_named(day: Path, tmp_path: Path):
    other = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, other, ignore=shutil.ignore_patterns("__pycache__"))
    shard = other / "dispatch" / "column_generation" / "shard.py"
    shard.write_text(shard.read_text(encoding="utf-8").replace("NO_SALE = -1e6", "NO_SALE = -1e7"), encoding="utf-8")
    with worker(with_mount(f"--bind '{other}' '{PACKAGE}'")) as address:
        error = error_of(day, ray_address=address)
    assert re.match(r"node [\d.]+ of the cluster runs vpp_pipeline", error)
    assert "Install the same versions on every node" in error
