"""Checks of the negotiation: the protocol from its messages alone, and that nobody loses by a deal."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.verdict import Day, Verdict, judge
from vpp_pipeline.settings import NegotiationPolicy, Settings

TOLERANCE = 1e-9
DEAL = ["opportunity_id", "prosumer_id"]


def negotiations_follow_the_protocol(day: Day, settings: Settings) -> Verdict:
    """Terminates in the set rounds; asks never rise, offers never fall; nobody speaks after closing or withdrawing;
    agreements match their deals, lie between ask and offer and below the ceiling, and commit at most their share of R;
    the summary adds up.
    """
    messages, agreements = day["negotiation.messages"], day["negotiation.agreements"]
    faults = (
        _speech_faults(messages, settings.negotiation.rounds)
        + _deal_faults(day, settings)
        + _summary_faults(day, settings)
    )
    rounds = int(messages["round"].to_numpy().max(initial=0))
    held = f"{messages.height} messages in at most {rounds} rounds, {agreements.height} deals: every rule holds"
    return judge(pl.concat(faults), "breaches of the protocol", held, agreements.height)


def _fault(rows: pl.DataFrame, words: str) -> pl.DataFrame:
    return rows.select(*DEAL, fault=pl.lit(words))


def _speech_faults(messages: pl.DataFrame, rounds: int) -> list[pl.DataFrame]:
    """Who spoke out of turn, or went back on a word."""
    step = pl.col("price_usd_per_mwh").diff().over([*DEAL, "kind"])
    steps = messages.sort(*DEAL, "round").with_columns(step=step)
    is_end = pl.col("kind").is_in(["accept", "withdraw", "reject"])
    ends = messages.filter(is_end).group_by(DEAL).agg(end=pl.col("round").min(), ends=pl.len())
    told = messages.join(ends, on=DEAL, how="left")
    return [
        _fault(steps.filter((pl.col("kind") == "ask") & (pl.col("step") > TOLERANCE)), "ask rose"),
        _fault(steps.filter((pl.col("kind") == "offer") & (pl.col("step") < -TOLERANCE)), "offer fell"),
        _fault(messages.filter(pl.col("round") > rounds), "round beyond the last"),
        _fault(told.filter(pl.col("round") > pl.col("end")), "spoke after the end"),
        _fault(ends.filter(pl.col("ends") > 1), "ended twice"),
        _fault(told.filter(pl.col("end").is_null()).unique(DEAL), "never ended"),
    ]


def _deal_faults(day: Day, settings: Settings) -> list[pl.DataFrame]:
    """Deals outside ask and offer, and agreements that are not the deal that was struck."""
    messages, agreements = day["negotiation.messages"], day["negotiation.agreements"]
    said = {
        kind: messages.filter(pl.col("kind") == kind).select(
            *DEAL, "round", **{kind: "price_usd_per_mwh", f"{kind}_kw": "capacity_kw"}
        )
        for kind in ("ask", "offer", "accept")
    }
    deals = said["accept"]
    for kind in ("ask", "offer"):
        deals = deals.join(said[kind], on=[*DEAL, "round"], how="left")
    inside = (pl.col("accept") >= pl.col("ask") - TOLERANCE) & (pl.col("accept") <= pl.col("offer") + TOLERANCE)
    spoken = agreements.join(deals, on=DEAL, how="left")
    same_price = (pl.col("agreed_price_usd_per_mwh") - pl.col("accept")).abs() <= TOLERANCE
    same_capacity = (pl.col("committed_capacity_kw") - pl.col("accept_kw")).abs() <= TOLERANCE
    largest_kw = 1000.0 * settings.rules.maximum_commitment_fraction * pl.col("required_capacity_mw")
    bounded = agreements.join(_ceilings(day, settings.negotiation), on=DEAL, how="left")
    return [
        _fault(deals.filter(~inside.fill_null(False)), "price outside ask and offer"),
        _fault(bounded.filter(pl.col("committed_capacity_kw") > largest_kw + 1e-6), "commitment above its share of R"),
        _fault(
            bounded.filter(pl.col("agreed_price_usd_per_mwh") > pl.col("ceiling") + 1e-6), "price above the ceiling"
        ),
        _fault(spoken.filter(~(same_price & same_capacity).fill_null(False)), "agreement without the deal"),
    ]


def _ceilings(day: Day, policy: NegotiationPolicy) -> pl.DataFrame:
    """Most the aggregator may pay, by opportunity and prosumer: the price less recharging and margin."""
    cheapest = max(0.0, float(day["market.price_forecast"]["energy_usd_per_mwh"].sort()[:4].to_numpy().mean()))
    recharging = pl.when((pl.col("product") == "energy") & (pl.col("store") != "none")).then(
        cheapest / (pl.col("charge_efficiency") * pl.col("discharge_efficiency"))
    )
    pairs = day["market.opportunities"].join(day["fleet.prosumers"].drop("market_date"), how="cross")
    left = pl.col("forecast_price") - recharging.otherwise(0.0)
    return pairs.select(*DEAL, "required_capacity_mw", ceiling=left * (1.0 - policy.minimum_margin_fraction))


def _summary_faults(day: Day, settings: Settings) -> list[pl.DataFrame]:
    """Summaries that are missing, or that the agreements and opportunities do not bear out."""
    rules, both = settings.rules, ["opportunity_id"]
    members = (
        day["negotiation.agreements"].group_by(both).agg(found=pl.len(), mw=pl.col("committed_capacity_kw").sum() / 1e3)
    )
    asked = day["market.opportunities"].select("opportunity_id", asked_mw="required_capacity_mw")
    rows = day["negotiation.summary"].join(asked, on=both, how="full", coalesce=True).join(members, on=both, how="left")
    rows = rows.with_columns(pl.col("found", "mw").fill_null(0.0))
    enough = pl.col("found") >= rules.minimum_members
    reaches = {
        share: enough & (pl.col("mw") >= share * pl.col("asked_mw") - 1e-9) for share in (1.0, rules.required_fraction)
    }
    status = (
        pl.when(reaches[1.0])
        .then(pl.lit("agreed"))
        .when(reaches[rules.required_fraction])
        .then(pl.lit("relaxed"))
        .otherwise(pl.lit("no_bid"))
    )
    same = (
        (pl.col("found") == pl.col("members"))
        & ((pl.col("mw") - pl.col("committed_capacity_mw")).abs() <= 1e-6)
        & ((pl.col("asked_mw") - pl.col("required_capacity_mw")).abs() <= TOLERANCE)
        & (pl.col("status") == status)
    )
    wrong = rows.filter(~same.fill_null(False)).with_columns(prosumer_id=pl.lit("all"))
    return [_fault(wrong, "summary does not match agreements")]


def nobody_is_paid_below_reservation(day: Day, settings: Settings) -> Verdict:
    """Agreed price and payment reach the least price, which follows from wear, compensation and willingness."""
    agreements = day["negotiation.agreements"]
    agreed, least_price = pl.col("agreed_price_usd_per_mwh"), pl.col("reservation_price_usd_per_mwh")
    low = agreements.filter(agreed < least_price - TOLERANCE)
    known = agreements.join(_least_prices(day, settings.negotiation), on=DEAL, how="left")
    misstated = known.filter(~((least_price - pl.col("least")).abs() <= 1e-6).fill_null(False))
    owed = day["dispatch.payments"].join(agreements, on=DEAL, how="left")
    underpaid = owed.filter(
        ~(pl.col("payment_usd") >= least_price * pl.col("dispatched_kwh") / 1000.0 - 1e-6).fill_null(False)
    )
    broken = pl.concat([frame.select(*DEAL) for frame in (low, misstated, underpaid)])
    above = agreements["agreed_price_usd_per_mwh"] - agreements["reservation_price_usd_per_mwh"]
    closest = float(above.to_numpy().min()) if agreements.height else 0.0
    held = (
        f"{agreements.height} agreements and {owed.height} payments at or above the least price; "
        f"the closest by {closest:.4f} $/MWh"
    )
    return judge(broken, "deals below the owner's least price", held, closest)


def _least_prices(day: Day, policy: NegotiationPolicy) -> pl.DataFrame:
    """Reservation price by opportunity and prosumer, from the fleet's columns."""
    energy = (
        pl.col("wear_usd_per_mwh")
        + 1000.0 * pl.col("minimum_compensation_usd_per_kwh")
        + policy.inconvenience_usd_per_mwh * (1.0 - pl.col("participation_willingness_fraction"))
    )
    reserve = {
        product: policy.holding_usd_per_mw_h(product) + policy.call_probability(product) * energy
        for product in ("spin", "nonspin")
    }
    least = pl.when(pl.col("product") == "energy").then(energy)
    for product, price in reserve.items():
        least = least.when(pl.col("product") == product).then(price)  # type: ignore[assignment]
    pairs = day["market.opportunities"].join(day["fleet.prosumers"].drop("market_date"), how="cross")
    return pairs.select(*DEAL, least=least)
