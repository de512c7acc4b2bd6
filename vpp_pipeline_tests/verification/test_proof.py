"""A schedule that may be far from the best is warned of, with what is open in $; one that is farther fails."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.schedule import the_schedule_is_proven_to_be_good
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.verification.tampering import Fault, assert_caught, edit


def stopped_early(open_usd: float) -> Fault:
    """A day that bidding could have made $100 better, of which a search left ``open_usd``."""
    tampered = edit(
        "dispatch.proof",
        method="exact; stopped at its 8 s of CPU time",
        bound_usd=pl.col("risk_adjusted_usd") + open_usd,
        no_bid_usd=pl.col("risk_adjusted_usd") + open_usd - 100.0,
    )
    words = rf"gap {open_usd:.2f}%: \${open_usd:.2f} open of the \$100\.00.*stopped at its 8 s.*time_limit_seconds=600"
    return Fault(the_schedule_is_proven_to_be_good, "a search stopped early", "dispatch.proof", tampered, words)


WARNINGS = [stopped_early(5.01)]
FAILURES = [stopped_early(50.01)]


@pytest.mark.parametrize("fault", WARNINGS + FAILURES, ids=str)
def test_a_wide_gap_is_warned_of_in_dollars_and_a_wider_one_fails(honest: SolvedDay, fault: Fault):
    assert_caught(honest, fault)
    result = fault.check(honest.with_table(fault.table, fault.tamper(honest.tables)), honest.settings)
    assert result.is_warning == (fault in WARNINGS)
    assert result.value == pytest.approx(0.0501 if fault in WARNINGS else 0.5001)


def test_a_desk_may_let_every_day_pass(honest: SolvedDay):
    tables = honest.with_table("dispatch.proof", FAILURES[0].tamper(honest.tables))
    anything = Settings.model_validate({"optimiser": {"gap_failure_fraction": 1.0}})
    assert the_schedule_is_proven_to_be_good(tables, anything).is_warning


def test_a_quiet_day_is_measured_by_what_bidding_could_add_and_not_by_what_its_owners_charge(honest: SolvedDay):
    """Solved to 2 $ of 60 that bids could add to a day whose best objective is 3 cents: 3.3%, not 6,667%."""
    quiet = edit("dispatch.proof", risk_adjusted_usd=-1.97, bound_usd=0.03, no_bid_usd=-59.97)
    result = the_schedule_is_proven_to_be_good(
        honest.with_table("dispatch.proof", quiet(honest.tables)), honest.settings
    )
    assert result.passed
    assert result.value == pytest.approx(2.0 / 60.0)


def test_a_day_to_which_bidding_could_add_no_cent_has_no_gap(honest: SolvedDay):
    """A search ends within its tolerance; where that is all that bidding could add, the share of it tells nothing."""
    for open_usd, passes in ((0.0004, True), (0.006, False)):
        empty = edit("dispatch.proof", risk_adjusted_usd=-27.0, bound_usd=-27.0 + open_usd, no_bid_usd=-27.0)
        tables = honest.with_table("dispatch.proof", empty(honest.tables))
        assert the_schedule_is_proven_to_be_good(tables, honest.settings).passed == passes


def test_a_day_that_bidding_could_make_less_than_a_dollar_better_is_not_lost_for_it(honest: SolvedDay):
    for open_usd, fails in ((0.55, False), (1.05, True)):
        poor = edit("dispatch.proof", risk_adjusted_usd=-27.0, bound_usd=-27.0 + open_usd, no_bid_usd=-27.0)
        result = the_schedule_is_proven_to_be_good(
            honest.with_table("dispatch.proof", poor(honest.tables)), honest.settings
        )
        assert not result.passed
        assert result.is_warning != fails
        assert "pivot_limit=400000" in result.description


def test_a_day_of_an_older_version_is_warned_of_and_never_fails(honest: SolvedDay):
    """Its proof does not tell what the day is worth without bids."""
    proof = honest.tables["dispatch.proof"].drop("no_bid_usd")
    far = proof.with_columns(bound_usd=pl.col("risk_adjusted_usd") * 4.0)
    result = the_schedule_is_proven_to_be_good(honest.with_table("dispatch.proof", far), honest.settings)
    assert result.is_warning
