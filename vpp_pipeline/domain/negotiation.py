"""How a deal is struck: a Contract-Net protocol with time-dependent concessions, over whole arrays.

In every round the prosumer names its ask and the aggregator its offer. Where the offer meets the ask the deal closes at
the mean of the two. Asks fall from the opening ask to the reservation price, offers rise to the ceiling, both by
Faratin, Sierra & Jennings (1998), "Negotiation decision functions for autonomous agents", time-dependent tactics.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array, Flags
from vpp_pipeline.domain.satisfaction import satisfaction_score
from vpp_pipeline.domain.terms import Terms
from vpp_pipeline.schemas import Agreements, Messages, Summary, door
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

SENDER = {
    "ask": "prosumer",
    "accept": "prosumer",
    "withdraw": "prosumer",
    "offer": "aggregator",
    "reject": "aggregator",
}
SCARCE_PATIENCE, AMPLE_PATIENCE = 4.0, 0.25  # bounds of the aggregator's concession exponent


def negotiate(terms: Terms, opportunities: pl.DataFrame, policy: NegotiationPolicy) -> pl.DataFrame:
    """Every message of every opportunity: rows of :class:`~vpp_pipeline.schemas.Messages`.

    Prosumers without capacity stay silent. A prosumer whose deal closes, or who withdraws, speaks no more. Where the
    ceiling leaves nothing to offer, the aggregator rejects at once. Ends in ``policy.rounds`` rounds, earlier when no
    one is left; in the last one asks stand at the reservation price and offers at the ceiling.
    """
    said: list[pl.DataFrame] = []

    def say(who: Flags, round_: int, kind: str, price: Array, reason: str) -> None:
        said.append(_spoken(terms, who, round_, kind, price, reason))

    last = policy.rounds
    is_open: Flags = terms.capacity_kw > 0.0
    hopeless = is_open & (terms.ceiling <= 0.0)
    say(is_open, 1, "ask", _ask(terms, 1, last), "opening ask")
    say(hopeless, 1, "reject", np.minimum(terms.ceiling, 0.0), "the price leaves nothing to offer")
    is_open &= ~hopeless
    for round_ in range(1, last + 1):
        ask, offer = _ask(terms, round_, last), _offer(terms, round_, policy)
        if round_ > 1:
            say(is_open, round_, "ask", ask, "concedes")
        say(is_open, round_, "offer", offer, "final offer" if round_ == last else "counter-offer")
        closes = is_open & (offer >= ask)
        say(closes, round_, "accept", (ask + offer) / 2.0, "the offer meets the ask: the difference is split")
        is_open &= ~closes
        if not is_open.any():
            break
    else:
        say(is_open, last, "withdraw", ask, "the final offer stays below the final ask")
    day = opportunities.select("opportunity_id", "market_date")
    return door(Messages, pl.concat(said).join(day, on="opportunity_id"))


def _spoken(terms: Terms, who: Flags, round_: int, kind: str, price: Array, reason: str) -> pl.DataFrame:
    """One message for each True of ``who`` (O, N)."""
    o, i = np.nonzero(who)
    return pl.DataFrame(
        {
            "opportunity_id": terms.opportunity_id[o].astype(str),
            "prosumer_id": terms.prosumer_id[i].astype(str),
            "capacity_kw": terms.capacity_kw[o, i],
            "price_usd_per_mwh": price[o, i],
        }
    ).with_columns(round=round_, sender=pl.lit(SENDER[kind]), kind=pl.lit(kind), reason=pl.lit(reason))


def _progress(round_: int, rounds: int, patience: Array) -> Array:
    """Share of the way conceded by ``round_``: 0 in the first, 1 in the last; a single round is the last."""
    elapsed = 1.0 if rounds == 1 else (round_ - 1) / (rounds - 1)
    return np.asarray(elapsed ** (1.0 / patience))


def _ask(terms: Terms, round_: int, rounds: int) -> Array:
    """Asks (O, N): from the opening ask down to the reservation price."""
    conceded = _progress(round_, rounds, terms.patience)[None, :]
    return terms.reservation + (1.0 - conceded) * (terms.opening_ask - terms.reservation)


def _offer(terms: Terms, round_: int, policy: NegotiationPolicy) -> Array:
    """Offers (O, N): from a share of the ceiling up to it, sooner where capacity is scarce against R."""
    supply = terms.capacity_kw.sum(axis=1) / terms.required_kw
    patience = np.clip(1.5 / np.maximum(supply, 1e-9), AMPLE_PATIENCE, SCARCE_PATIENCE)
    conceded = _progress(round_, policy.rounds, patience)[:, None]
    share = policy.opening_offer_fraction + conceded * (1.0 - policy.opening_offer_fraction)
    return np.minimum(share, 1.0) * terms.ceiling


def agreements_of(messages: pl.DataFrame, terms: Terms, policy: NegotiationPolicy) -> pl.DataFrame:
    """The deals that closed, ranked by cost-effectiveness: rows of :class:`~vpp_pipeline.schemas.Agreements`.

    Rank: agreed price / probability of delivery, cheapest first; satisfaction, then the id, breaks ties. Where
    ``maximum_coalition`` is set, the best-ranked that many hold an option.
    """
    said = messages.filter(pl.col("kind") == "accept").join(
        _private_terms(terms), on=["opportunity_id", "prosumer_id"], how="left"
    )
    agreed, reservation = pl.col("price_usd_per_mwh"), pl.col("reservation")
    score = satisfaction_score(said["price_usd_per_mwh"].to_numpy(), said["reservation"].to_numpy(), 1.0)
    ranked = said.with_columns(score=score, cost=agreed / pl.col("availability_fraction")).sort(
        ["opportunity_id", "cost", "score", "prosumer_id"], descending=[False, False, True, False]
    )
    ranked = ranked.with_columns(
        rank=pl.int_range(1, pl.len() + 1).over("opportunity_id"), deals=pl.len().over("opportunity_id")
    )
    if policy.maximum_coalition is not None:
        ranked = ranked.filter(pl.col("rank") <= policy.maximum_coalition)
    return door(
        Agreements,
        ranked.select(
            "market_date",
            "opportunity_id",
            "prosumer_id",
            "rank",
            committed_capacity_kw="capacity_kw",
            reservation_price_usd_per_mwh=reservation,
            agreed_price_usd_per_mwh=agreed,
            expected_satisfaction_score="score",
            closed_round="round",
            reason=pl.format(
                "Closed in round {} at {} $ against a least price of {} $; rank {} of {} by price over reliability.",
                "round",
                agreed.round(2),
                reservation.round(2),
                "rank",
                "deals",
            ),
        ),
    )


def _private_terms(terms: Terms) -> pl.DataFrame:
    """Reservation price and availability per opportunity and prosumer, as a table."""
    shape = terms.reservation.shape
    return pl.DataFrame(
        {
            "opportunity_id": np.repeat(terms.opportunity_id.astype(str), shape[1]),
            "prosumer_id": np.tile(terms.prosumer_id.astype(str), shape[0]),
            "reservation": terms.reservation.ravel(),
            "availability_fraction": np.tile(terms.availability_fraction, shape[0]),
        }
    )


def summarise(
    messages: pl.DataFrame,
    agreements: pl.DataFrame,
    opportunities: pl.DataFrame,
    terms: Terms,
    rules: MarketRules,
    provenance: pl.DataFrame,
) -> pl.DataFrame:
    """One row per opportunity: rows of :class:`~vpp_pipeline.schemas.Summary`.

    ``provenance``: opportunity_id, engine, fingerprint, seconds. Feasible at 100 % of R is `agreed`, at 80 % `relaxed`.
    """
    heard = messages.group_by("opportunity_id").agg(
        rounds=pl.col("round").max(), bids=pl.col("prosumer_id").filter(pl.col("kind") == "ask").n_unique()
    )
    held = agreements.group_by("opportunity_id").agg(
        members=pl.len(), committed_capacity_mw=pl.col("committed_capacity_kw").sum() / 1000.0
    )
    rows = (
        opportunities.select("opportunity_id", "market_date", "required_capacity_mw", "forecast_price")
        .join(heard, on="opportunity_id", how="left")
        .join(held, on="opportunity_id", how="left")
        .join(provenance, on="opportunity_id", how="left")
        .with_columns(pl.col("rounds", "bids", "members").fill_null(0), pl.col("committed_capacity_mw").fill_null(0.0))
    )
    committed, required = pl.col("committed_capacity_mw"), pl.col("required_capacity_mw")
    enough_members = pl.col("members") >= rules.minimum_members
    status = (
        pl.when(enough_members & (committed >= required - 1e-9))
        .then(pl.lit("agreed"))
        .when(enough_members & (committed >= rules.required_fraction * required - 1e-9))
        .then(pl.lit("relaxed"))
        .otherwise(pl.lit("no_bid"))
    )
    reason = (
        pl.when(pl.col("bids") == 0)
        .then(pl.lit("no prosumer has capacity then"))
        .when(pl.col("members") == 0)
        .then(pl.format("no deal: at {} $ no offer reaches an owner's least price", pl.col("forecast_price").round(2)))
        .when(~enough_members)
        .then(pl.format("only {} deals closed, {} members are needed", "members", pl.lit(rules.minimum_members)))
        .when(status == "no_bid")
        .then(pl.format("{} MW under option, below 80 % of {} MW", committed.round(3), required))
        .otherwise(pl.format("{} deals hold {} MW for {} MW", "members", committed.round(3), required))
    )
    return door(Summary, rows.with_columns(asked=len(terms.prosumer_id), status=status, reason=reason))
