"""A lake in a bucket keeps what a lake in a folder does, between machines that share nothing else.

The object store is moto's S3 in a process of its own; machines are data folders, commands are processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is in the extra `cluster`: make cluster-test")
pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")

from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests import golden
from vpp_pipeline_tests.cluster.object_server import BUCKET, Running, running
from vpp_pipeline_tests.core.test_lake import *  # noqa: F403 (the same tests, of another `lake`)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def url(server: Running, tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", url)


def test_day(server, url, tmp_path, monkeypatch):
    day = golden.GoldenDay("2023-08-15", ("--prosumers", "20"))
    golden.make_day(day, tmp_path / "local")
    before = server.counts()
    monkeypatch.setenv("VPP_LAKE_URL", url)
    golden.make_day(day, tmp_path / "one")
    after = server.counts()
    print({k: v - before.get(k, 0) for k, v in after.items()})
    local, one = (golden.hashes_of(golden.tables_of(tmp_path / name / "vpp.duckdb")) for name in ("local", "one"))
    assert local == one
