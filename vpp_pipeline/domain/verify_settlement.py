"""What must hold of a settled day, checked from the published tables alone."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict
from vpp_pipeline.domain.verify_schedule import limits_kept
from vpp_pipeline.settings import Settings

CENT = 0.005


def what_was_delivered_stays_within_limits(day: Day, settings: Settings) -> Verdict:
    """After awards, and whoever came: the limits of `no_prosumer_is_pushed_past_its_limits`, for what was done."""
    return limits_kept(day, settings, "evaluation.dispatched")


def the_settled_account_adds_up(day: Day, settings: Settings) -> Verdict:
    """Net is what its lines come to, they are what the bids come to, and nobody is paid for nothing."""
    account, bids = day["evaluation.settled_days"].row(0, named=True), day["evaluation.settlement"]
    lines = account["energy_usd"] + account["reserve_usd"] + account["leftover_usd"]
    lines -= account["charging_usd"] + account["imbalance_usd"] + account["payments_usd"]
    energy, reserve = (bids.filter((pl.col("product") == "energy") == is_energy) for is_energy in (True, False))
    apart = {
        "net": lines - account["net_usd"],
        "payments": float(bids["payments_usd"].sum()) - account["payments_usd"],
        "energy": float(energy["revenue_usd"].sum()) - account["energy_usd"],
        "reserve": float(reserve["revenue_usd"].sum()) - float(reserve["no_pay_usd"].sum()) - account["reserve_usd"],
    }
    allowed = CENT * (1 + 2 * bids.height)  # each bid is rounded to a cent
    broken = {name: value for name, value in apart.items() if abs(value) > allowed}
    unearned = bids.filter((pl.col("delivered_mw") <= 0.0) & (pl.col("payments_usd") > CENT)).height
    worst = max(abs(value) for value in apart.values())
    return Verdict(
        violations=len(broken) + unearned,
        measured=worst,
        description=f"net {account['net_usd']:.2f} $ of {bids.height} bids; lines and bids differ by at most "
        f"{worst:.3f} $ (rounding allows {allowed:.2f}){' in ' + ', '.join(broken) if broken else ''}; "
        f"{unearned} bids paid without delivery",
    )


#: claim -> table of the settlement that it guards
SETTLED = {
    what_was_delivered_stays_within_limits: "evaluation.dispatched",
    the_settled_account_adds_up: "evaluation.settled_days",
}
