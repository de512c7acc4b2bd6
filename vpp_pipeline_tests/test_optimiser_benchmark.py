"""The optimiser's benchmark: other programs get the LP that the project solves, and the page is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline_tests.dispatch.small_days import deal, fleet, small_day

ROOT = Path(__file__).resolve().parents[1]
export_day: Any = pytest.importorskip("benchmarks.export_day", reason="the benchmarks are not packaged")
benchmarks_page: Any = pytest.importorskip("benchmarks.benchmarks_page")
peers: Any = pytest.importorskip("benchmarks.peers")

DAY = small_day(
    fleet(3, 2, initial_stored_kwh=50, terminal_stored_kwh=50, max_charge_kw=70, max_discharge_kw=50),
    [20.0, 100.0],
    [
        deal("energy", [1], 100.0, 0.12, kw=45.0, agreed=30.0),
        deal("spin", [0], 9.0, 0.1, kw=40.0, agreed=1.0),
    ],
)


@pytest.mark.parametrize("method", ["simplex", "ipx"])
def test_the_exported_lp_has_the_optimum_of_the_project(method: str):
    linear = export_day.relaxed(DAY)
    answer = peers.highs(export_day.compiled(linear), method)
    assert answer["objective_usd"] == pytest.approx(linear.go_on(), rel=1e-6)


def test_exported_numbers_name_each_product_by_hour():
    numbers = export_day.numbers_of(DAY)
    assert numbers["bid_price"].tolist() == [[0.0, 100.0], [9.0, 0.0], [0.0, 0.0]]
    assert numbers["committed_kw"][:, :, 0].tolist() == [[0.0] * 3, [40.0] * 3, [0.0] * 3]


def test_a_bid_of_two_hours_is_not_exported():
    day = small_day(fleet(1, 2), [20.0, 100.0], [deal("energy", [0, 1], 100.0, 0.12, kw=45.0, agreed=30.0)])
    with pytest.raises(ValueError, match="single hours"):
        export_day.numbers_of(day)


def test_the_page_is_made_from_the_results():
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert (ROOT / "docs" / "benchmarks.md").read_text() == benchmarks_page.page(results), (
        "run: python benchmarks/bench_optimiser.py --only --write docs/benchmarks.md"
    )
