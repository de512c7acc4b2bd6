"""Who is in and who is out of each opportunity, at what price, in which rank, and why."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.domain.negotiation.outcome import End, Outcome
from vpp_pipeline.domain.negotiation.terms import Terms
from vpp_pipeline.domain.satisfaction import satisfaction_score
from vpp_pipeline.fleet.arrays import BOUNDS
from vpp_pipeline.schemas import Agreements, door
from vpp_pipeline.settings import NegotiationPolicy


def options(agreements: pl.DataFrame) -> pl.DataFrame:
    """The rows of `negotiation.agreements` that hold an option: who may be asked to deliver."""
    return agreements.filter("holds_option")


def agreements_of(outcome: Outcome, terms: Terms, policy: NegotiationPolicy, kept: Flags) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Agreements`: every deal that closed, and everyone ``kept`` (N,) who is out.

    Deals are ranked by ``policy.ranking``; satisfaction (but not in `uniform_clearing`: an auction must not heed what
    was asked) and then the id break ties. Everyone whose deal closes holds an option; where ``maximum_coalition`` is
    set, the best-ranked that many.
    """
    o, i = np.nonzero(outcome.is_closed | kept[None, :])
    agreed = np.where(outcome.is_closed, outcome.end_price, np.nan)[o, i]
    reservation, capacity_kw = terms.reservation[o, i], terms.capacity_kw[o, i]
    score = satisfaction_score(agreed, reservation, 1.0)
    is_auction = policy.engine == "uniform_clearing"
    content = np.zeros(len(score)) if is_auction else score  # an auction's rank must not heed asks
    rank = _ranks(o, agreed, content, _merit(policy.ranking, agreed, capacity_kw, terms.availability_fraction[i]))
    holds_option = np.isfinite(agreed) & (rank <= (policy.maximum_coalition or len(terms.prosumer_id)))
    rows = pl.DataFrame(
        {
            "opportunity_id": pl.Series(terms.opportunity_id, dtype=pl.String).gather(o),
            "prosumer_id": pl.Series(terms.prosumer_id, dtype=pl.String).gather(i),
            "holds_option": holds_option,
            "committed_capacity_kw": np.where(holds_option, capacity_kw, 0.0),
            "reservation_price_usd_per_mwh": reservation,
            "agreed": agreed,
            "score": score,
            "rank": rank,
            "round": outcome.end_round[o, i],
            "end": outcome.end[o, i],
            "capacity_kw": capacity_kw,
            "ceiling": terms.ceiling[o, i],
            "last_ask": _last(outcome.ask)[o, i],
            "last_offer": _last(outcome.offer)[o, i],
            "deals": outcome.is_closed.sum(axis=1)[o],
            "bound": pl.Series(BOUNDS).gather(terms.bound_by[o, i]),
        }
    ).with_columns(pl.col("agreed", "score").fill_nan(None))
    is_in, has_deal = pl.col("holds_option"), pl.col("agreed").is_not_null()
    return door(
        Agreements,
        rows.select(
            "opportunity_id",
            "prosumer_id",
            "holds_option",
            "committed_capacity_kw",
            "reservation_price_usd_per_mwh",
            market_date=pl.lit(terms.market_date),
            agreed_price_usd_per_mwh=pl.when(is_in).then("agreed"),
            expected_satisfaction_score=pl.when(is_in).then("score"),
            rank=pl.when(has_deal).then("rank"),
            closed_round=pl.when(has_deal).then("round"),
            reason=_reason(outcome.price_words, policy),
        ),
    )


def _merit(ranking: str, agreed: Array, capacity_kw: Array, availability_fraction: Array) -> Array:
    """What deals are ranked by, least first.

    `cost_effectiveness`: $ per MWh that can be counted on, agreed price / probability of delivery.
    `original`: minus the bid score of the first project's README, which adds 1/price ($/MWh)⁻¹, capacity in MW, a
    constant and capacity in units of 10 kW up to 2: terms without a common unit, whose order depends on the units
    chosen. From 20 kW on, only 1/price and MW are left, and 100 kW more outweigh a price of 10 $/MWh instead of 1000.
    """
    if ranking == "original":
        score = 1.0 / np.maximum(agreed, 1.0) + capacity_kw / 1000.0 + 1.0 + np.minimum(capacity_kw / 10.0, 2.0)
        return np.asarray(-score)
    return agreed / np.maximum(availability_fraction, 1e-9)  # never counted on: ranked last


def _ranks(opportunity: Indices, agreed: Array, score: Array, merit: Array) -> Indices:
    """Rank from 1 within each opportunity, by merit, then satisfaction, then place; deals only, others come after."""
    order = np.lexsort((-score, merit, opportunity))
    first = np.searchsorted(opportunity[order], opportunity[order])
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - first + 1
    return rank


def _last(spoken: Array) -> Array:
    """The last price (O, N) of K rounds (K, O, N); not a number where there was none."""
    last = np.full(spoken.shape[1:], np.nan)
    for prices in spoken:
        last = np.where(np.isfinite(prices), prices, last)
    return last


def _reason(price_words: str, policy: NegotiationPolicy) -> pl.Expr:
    """One sentence on why a prosumer is in or out."""

    def told(name: str) -> pl.Expr:
        return pl.col(name).round(2)

    end, most = pl.col("end"), policy.maximum_coalition
    rule = "price over reliability" if policy.ranking == "cost_effectiveness" else "the original's bid score"
    deal = pl.format(
        f"closed in round {{}} at {{}} $, {price_words} (its least price {{}} $, our most {{}} $)",
        "round",
        told("agreed"),
        told("reservation_price_usd_per_mwh"),
        told("ceiling"),
    )
    return (
        pl.when("holds_option")
        .then(
            pl.format(
                "In: it {}: {} kW, bound by {}; rank {} of {} by " + rule + ".",
                deal,
                told("capacity_kw"),
                "bound",
                "rank",
                "deals",
            )
        )
        .when(end == End.ACCEPTED)
        .then(
            pl.format(
                f"Out: it {{}}, but rank {{}} of {{}} by {rule} exceeds the largest coalition: {most}.",
                deal,
                "rank",
                "deals",
            )
        )
        .when(end == End.DEADLOCK)
        .then(
            pl.format(
                "Out: it walked away in round {}: our last offer, {} $, does not reach its last ask, {} $.",
                "round",
                told("last_offer"),
                told("last_ask"),
            )
        )
        .when(end == End.REFUSED)
        .then(
            pl.format(
                "Out: after recharging and margin the expected price leaves {} $ to offer; it asked {} $.",
                told("ceiling"),
                told("last_ask"),
            )
        )
        .when(end == End.PRICED_OUT)
        .then(
            pl.format(
                "Out: the clearing price for it, {} $, does not exceed its ask, {} $.",
                told("last_offer"),
                told("last_ask"),
            )
        )
        .when(end == End.SETS_THE_PRICE)
        .then(
            pl.format(
                "Out: its ask, {} $, is the first beyond the wanted capacity; it sets the price for the others.",
                told("last_ask"),
            )
        )
        .otherwise(pl.format("Out: it has nothing to offer then, because of {}.", "bound"))
    )
