"""A lake with one day in it, and where its warehouse is to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests.warehouse.rows import fill


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake it's [1]")
    fill(lake)
    return lake


@pytest.fixture
def warehouse(lake: Lake) -> Path:
    return lake.root.parent / "the warehouse's" / "vpp.duckdb"
