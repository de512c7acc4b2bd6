"""How good the day's schedule is proven to be."""

from __future__ import annotations

from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict
from vpp_pipeline.settings import Settings


def the_schedule_is_proven_to_be_good(day: Day, settings: Settings) -> Verdict:
    """What any other schedule could earn more is at most `optimiser.gap_warning_fraction` of what bidding could add.

    Above that the day is warned of; above `optimiser.gap_failure_fraction` it fails, and nothing is published. The gap
    is measured by what bidding could add to the day without bids, (bound - objective) / (bound - value of no bid): the
    objective itself contains the charging of owners who sell nothing.
    """
    proof = day["dispatch.proof"].row(0, named=True)
    bound_usd, found_usd, no_bid_usd = proof["bound_usd"], proof["risk_adjusted_usd"], proof.get("no_bid_usd")
    if no_bid_usd is None:  # a day made before this was kept
        no_bid_usd = bound_usd - abs(bound_usd)
    open_usd, added_usd = max(bound_usd - found_usd, 0.0), bound_usd - no_bid_usd
    gap = open_usd / added_usd if added_usd > 0.0 else 0.0
    warned, failed = settings.optimiser.gap_warning_fraction, settings.optimiser.gap_failure_fraction
    words = f"gap {gap:.2%}: ${open_usd:,.2f} open of ${added_usd:,.2f} that bidding could add"
    if gap <= min(warned, failed):
        return Verdict(0, f"{words}; warned of above {warned:.2%}", gap)
    remedy = (
        "let the search go on with --set optimiser.time_limit_seconds=60 (it counts CPU seconds), or choose "
        "optimiser.method=exact for up to about 1,000 prosumers"
    )
    if gap <= failed:
        return Verdict(1, f"{words}; warned of above {warned:.2%}; {proof['method']}; {remedy}", gap, is_warning=True)
    allow = "to publish such a day all the same, set optimiser.gap_failure_fraction=1"
    return Verdict(1, f"{words}, more than the {failed:.2%} allowed; {proof['method']}; {remedy}; {allow}", gap)
