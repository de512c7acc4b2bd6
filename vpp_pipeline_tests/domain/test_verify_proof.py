"""A schedule that may be far from the best is warned of, with what is open in $."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.domain.verify_proof import the_schedule_is_proven_to_be_good
from vpp_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("gap", "objective", "passed"), [(0.001, 999.0, True), (0.05, 950.0, True), (0.0501, 949.9, False)]
)
def test_a_wide_gap_is_warned_of_in_dollars(gap: float, objective: float, passed: bool):
    proof = pl.DataFrame(
        {
            "gap_fraction": [gap],
            "bound_usd": [1000.0],
            "objective_usd": [objective],
            "risk_adjusted_usd": [objective],
            "aversion": [0.0],
            "method": ["exact; stopped at its time limit of 8 s"],
        }
    )
    verdict = the_schedule_is_proven_to_be_good({"dispatch.proof": proof}, Settings())
    assert verdict.passed == passed
    assert verdict.is_warning != passed
    assert f"{1000.0 - objective:.2f} $ open" in verdict.description
    assert verdict.measured == gap
    if not passed:
        assert "stopped at its time limit" in verdict.description
