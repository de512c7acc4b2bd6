"""A schedule that may be far from the best is warned of, with what is open in $."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.domain.verify_proof import the_schedule_is_proven_to_be_good
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.domain.tampering import Fault, assert_caught, edit

FAR = {"gap_fraction": 0.0501, "bound_usd": pl.col("risk_adjusted_usd") + 12.5}
WARNINGS = [
    Fault(
        the_schedule_is_proven_to_be_good,
        "a search stopped early",
        "dispatch.proof",
        edit("dispatch.proof", method="exact; stopped at its time limit of 8 s", **FAR),
        r"gap 5\.01%, 12\.50 \$ open.*stopped at its time limit",
    )
]


@pytest.mark.parametrize("fault", WARNINGS, ids=str)
def test_a_wide_gap_is_warned_of_in_dollars(honest: SolvedDay, fault: Fault):
    assert_caught(honest, fault)
    verdict = fault.claim(honest.with_table(fault.table, fault.tamper(honest.tables)), honest.settings)
    assert verdict.is_warning
    assert verdict.measured == 0.0501
