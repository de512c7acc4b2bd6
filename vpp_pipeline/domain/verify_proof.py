"""How good the day's schedule is proven to be."""

from __future__ import annotations

from vpp_pipeline.domain.verdict import Day, Verdict
from vpp_pipeline.settings import Settings


def the_schedule_is_proven_to_be_good(day: Day, settings: Settings) -> Verdict:
    """What any other schedule could earn more is at most `optimiser.gap_warning_fraction` of what it could earn.

    A search that its time limit stopped may leave more open: on a busy machine, or with very many prosumers.
    """
    proof = day["dispatch.proof"].row(0, named=True)
    gap, most = proof["gap_fraction"], settings.optimiser.gap_warning_fraction
    open_usd = proof["bound_usd"] - proof["risk_adjusted_usd"]
    words = f"gap {gap:.2%}, {open_usd:.2f} $ open; warned of above {most:.2%}"
    if gap <= most:
        return Verdict(0, words, gap)
    remedy = "make the day again with a larger optimiser.time_limit_seconds, or on an idle machine"
    return Verdict(1, f"{words}; {proof['method']}; {remedy}", gap, is_warning=True)
