"""A small fleet on two nodes in network namespaces, of which one is lost; `two_nodes.py` does it with a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline_tests.cluster.two_nodes import SHORT, on_two_nodes, solve, why_not, write_day

pytest.importorskip("ray", reason="Ray is not installed: make cluster")
pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")
if reason := why_not():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_day(1_500, tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def local(day: Path) -> dict[str, Any]:
    return solve(day, SHORT)


@pytest.mark.parametrize("lost", [None, "sweep", "settlement"], ids=lambda lost: f"lost_in_{lost}" if lost else "whole")
def test_two_nodes_find_the_bits_of_one_process_also_where_the_second_is_lost(
    day: Path, local: dict[str, Any], lost: str | None
):
    found = on_two_nodes(day, SHORT, lost)
    assert found["hashes"] == local["hashes"]
    assert sum(found["restarts"].values()) == (1 if lost else 0)
    assert found["crossed_mb"] > 0.1
