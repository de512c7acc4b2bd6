"""A lake with one day in it, and where its warehouse is to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline_tests.shared import shared
from vpp_pipeline_tests.warehouse.rows import DAY, fill


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake it's [1]")
    fill(lake)
    return lake


@pytest.fixture
def warehouse(lake: Lake) -> Path:
    return lake.root.parent / "the warehouse's" / "vpp.duckdb"


@pytest.fixture
def published(warehouse: Path) -> Path:
    """The warehouse, in which the day of the lake is published."""

    def make(folder: Path) -> None:
        lake = Lake(folder / "lake")
        fill(lake)
        publish(lake, folder / "warehouse" / warehouse.name, DAY)

    shutil.copytree(shared("rows", make) / "warehouse", warehouse.parent)
    return warehouse
