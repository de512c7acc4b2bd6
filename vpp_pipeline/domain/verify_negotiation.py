"""Checks of the negotiation: the protocol from its messages alone, and that nobody loses by a deal."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.verdict import Day, Verdict, judge
from vpp_pipeline.settings import Settings

TOLERANCE = 1e-9
DEAL = ["opportunity_id", "prosumer_id"]


def negotiations_follow_the_protocol(day: Day, settings: Settings) -> Verdict:
    """Terminates in the set rounds; asks never rise, offers never fall; nobody speaks after closing or withdrawing;
    agreed prices lie between ask and offer and match the agreement; no commitment above its share of R; members add up.
    """
    messages, agreements = day["negotiation.messages"], day["negotiation.agreements"]
    ordered = messages.sort(*DEAL, "round")
    step = pl.col("price_usd_per_mwh").diff().over([*DEAL, "kind"])
    rises = ordered.filter(pl.col("kind") == "ask").filter(step > TOLERANCE).select(*DEAL, fault=pl.lit("ask rose"))
    falls = (
        ordered.filter(pl.col("kind") == "offer").filter(step < -TOLERANCE).select(*DEAL, fault=pl.lit("offer fell"))
    )
    late = messages.filter(pl.col("round") > settings.negotiation.rounds).select(
        *DEAL, fault=pl.lit("round beyond the last")
    )
    ending = (
        messages.filter(pl.col("kind").is_in(["accept", "withdraw", "reject"]))
        .group_by(DEAL)
        .agg(end=pl.col("round").min(), ends=pl.len())
    )
    closed = messages.join(ending, on=DEAL, how="left")
    after = closed.filter(pl.col("round") > pl.col("end")).select(*DEAL, fault=pl.lit("spoke after the end"))
    twice = ending.filter(pl.col("ends") > 1).select(*DEAL, fault=pl.lit("ended twice"))
    open_ = closed.filter(pl.col("end").is_null()).unique(DEAL).select(*DEAL, fault=pl.lit("never ended"))

    said = {
        kind: messages.filter(pl.col("kind") == kind).select(*DEAL, "round", **{kind: "price_usd_per_mwh"})
        for kind in ("ask", "offer", "accept")
    }
    deals = (
        said["accept"]
        .join(said["ask"], on=[*DEAL, "round"], how="left")
        .join(said["offer"], on=[*DEAL, "round"], how="left")
    )
    inside = (pl.col("accept") >= pl.col("ask") - TOLERANCE) & (pl.col("accept") <= pl.col("offer") + TOLERANCE)
    outside = deals.filter(~inside.fill_null(False)).select(*DEAL, fault=pl.lit("price outside ask and offer"))
    spoken = agreements.join(deals, on=DEAL, how="left")
    differs = (pl.col("agreed_price_usd_per_mwh") - pl.col("accept")).abs() <= TOLERANCE
    unspoken = spoken.filter(~differs.fill_null(False)).select(*DEAL, fault=pl.lit("agreement without the deal"))

    required = day["market.opportunities"].select("opportunity_id", "required_capacity_mw")
    largest_kw = 1000.0 * settings.rules.maximum_commitment_fraction * pl.col("required_capacity_mw")
    too_large = agreements.join(required, on="opportunity_id").filter(
        pl.col("committed_capacity_kw") > largest_kw + TOLERANCE * 1e3
    )
    members = agreements.group_by("opportunity_id").agg(found=pl.len(), kw=pl.col("committed_capacity_kw").sum())
    counted = (
        day["negotiation.summary"]
        .join(members, on="opportunity_id", how="left")
        .with_columns(pl.col("found", "kw").fill_null(0))
    )
    wrong = counted.filter(
        (pl.col("found") != pl.col("members"))
        | ((pl.col("kw") / 1000.0 - pl.col("committed_capacity_mw")).abs() > 1e-6)
        | (
            (pl.col("status") != "no_bid")
            & (
                pl.col("committed_capacity_mw")
                < settings.rules.required_fraction * pl.col("required_capacity_mw") - 1e-9
            )
        )
    )
    faults = [rises, falls, late, after, twice, open_, outside, unspoken]
    faults.append(too_large.select(*DEAL, fault=pl.lit("commitment above its share of R")))
    faults.append(
        wrong.select("opportunity_id", prosumer_id=pl.lit("all"), fault=pl.lit("summary does not match agreements"))
    )
    rounds = int(messages["round"].to_numpy().max(initial=0))
    held = f"{messages.height} messages in at most {rounds} rounds, {agreements.height} deals: every rule holds"
    return judge(pl.concat(faults), "breaches of the protocol", held, agreements.height)


def nobody_is_paid_below_reservation(day: Day, settings: Settings) -> Verdict:
    """Agreed price and payment reach the owner's least price, which follows from the fleet's own columns."""
    agreements = day["negotiation.agreements"]
    low = agreements.filter(pl.col("agreed_price_usd_per_mwh") < pl.col("reservation_price_usd_per_mwh") - TOLERANCE)
    fleet = day["fleet.prosumers"].select(
        "prosumer_id", floor="wear_usd_per_mwh", ask=1000.0 * pl.col("minimum_compensation_usd_per_kwh")
    )
    energy = agreements.filter(pl.col("opportunity_id").str.starts_with("energy")).join(fleet, on="prosumer_id")
    understated = energy.filter(pl.col("reservation_price_usd_per_mwh") < pl.col("floor") + pl.col("ask") - TOLERANCE)
    owed = day["dispatch.payments"].join(agreements, on=DEAL, how="left")
    least_usd = pl.col("reservation_price_usd_per_mwh") * pl.col("dispatched_kwh") / 1000.0
    underpaid = owed.filter(~(pl.col("payment_usd") >= least_usd - 1e-6).fill_null(False))
    broken = pl.concat([frame.select(*DEAL) for frame in (low, understated, underpaid)])
    above = agreements["agreed_price_usd_per_mwh"] - agreements["reservation_price_usd_per_mwh"]
    least = float(above.to_numpy().min()) if agreements.height else 0.0
    held = (
        f"{agreements.height} agreements and {owed.height} payments at or above the least price; "
        f"the closest by {least:.4f} $/MWh"
    )
    return judge(broken, "deals below the owner's least price", held, least)
