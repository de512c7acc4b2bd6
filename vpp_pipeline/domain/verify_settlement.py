"""What must hold of a settled day, checked from the published tables alone."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.verdict import Day, Verdict
from vpp_pipeline.settings import Settings

TOLERANCE = 1e-3  # kW, kWh: a watt
CENT = 0.005


def what_was_delivered_stays_within_limits(day: Day, settings: Settings) -> Verdict:
    """No store gives, takes or keeps more or less than its device and its owner allow, whatever was awarded."""
    rows = (
        day["evaluation.dispatched"]
        .join(day["fleet.availability"], on=["prosumer_id", "start_utc"], how="left")
        .join(
            day["fleet.prosumers"].select("prosumer_id", "charge_efficiency", "discharge_efficiency"), on="prosumer_id"
        )
        .join(day["dispatch.starts"].select("prosumer_id", "initial_stored_kwh"), on="prosumer_id")
        .sort("prosumer_id", "start_utc")
        .with_columns(before_kwh=pl.col("stored_kwh").shift(1).over("prosumer_id"))
        .with_columns(pl.col("before_kwh").fill_null(pl.col("initial_stored_kwh")))
    )
    balance = (
        pl.col("before_kwh")
        + pl.col("charge_efficiency") * pl.col("charge_kw")
        - pl.col("discharge_kw") / pl.col("discharge_efficiency")
        - pl.col("drive_kwh")
    )
    breach = rows.select(
        pl.max_horizontal(
            pl.col("charge_kw") - pl.col("max_charge_kw"),
            pl.sum_horizontal("discharge_kw", "spin_kw", "nonspin_kw") - pl.col("max_discharge_kw"),
            pl.col("min_stored_kwh") - pl.col("stored_kwh"),
            pl.col("stored_kwh") - pl.col("max_stored_kwh"),
            (balance - pl.col("stored_kwh")).abs(),
        )
    ).to_series()
    worst, broken = float(breach.to_numpy().max(initial=0.0)), int((breach > TOLERANCE).sum())
    return Verdict(
        violations=broken,
        measured=worst,
        description=f"{broken} of {rows.height} prosumer-hours past a limit or out of balance; the worst by "
        f"{max(worst, 0.0):.4f} kW or kWh",
    )


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
