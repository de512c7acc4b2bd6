"""Agreements and the summary of each opportunity: options, prices, reasons, and satisfaction."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.display import usd_text
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.fleet.arrays import BOUNDS
from vpp_pipeline.negotiation.contract import COLUMNS, Prices
from vpp_pipeline.negotiation.outcome import End, Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import Agreements, Summary, validate
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

HALF = 0.5  # what an owner gets of the index price beyond the posted reference


def options(agreements: pl.DataFrame) -> pl.DataFrame:
    """The rows of `negotiation.agreements` that hold an option, and so may be called."""
    return agreements.filter("holds_option")


def deal_prices(outcome: Outcome, terms: Terms, policy: NegotiationPolicy) -> Prices:
    """The prices (O, N) of the deals that closed; what is agreed at a fixed price is floor and cap at once."""
    none = np.full(terms.reservation.shape, np.nan)
    is_indexed = policy.contract == "indexed"
    return Prices(
        floor=terms.reservation if is_indexed else outcome.end_price,
        cap=outcome.end_price,
        reference=none if outcome.reference is None else outcome.reference,
        share=none if outcome.reference is None else np.full_like(none, HALF),
        recharge_factor=terms.factors if is_indexed else np.zeros_like(none),
    )


def agreements_of(outcome: Outcome, terms: Terms, policy: NegotiationPolicy, kept: Flags) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Agreements`: every deal that closed, and everyone of the resource who is
    ``kept`` (N,) and out.

    The agreed price is what would be paid at the forecast; of an indexed deal, floor and cap say what will be.

    Deals are ranked by ``policy.ranking``; satisfaction (but not in `uniform_clearing`: an auction must not heed what
    was asked) and then the id break ties. Everyone whose deal closes holds an option; where ``maximum_coalition`` is
    set, the best-ranked that many.
    """
    o, i = np.nonzero(outcome.is_closed | kept[None, :])
    is_deal = outcome.is_closed[o, i]
    prices = deal_prices(outcome, terms, policy).of((o, i))
    agreed = np.where(is_deal, prices.expected(terms.index_price[o, i]), np.nan)
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
            "cap": outcome.end_price[o, i],
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
            **{column: np.where(holds_option, getattr(prices, name), np.nan) for name, column in COLUMNS.items()},
        }
    ).with_columns(pl.col("agreed", "score", "last_offer", *COLUMNS.values()).fill_nan(None))
    is_in, has_deal = pl.col("holds_option"), pl.col("agreed").is_not_null()
    return validate(
        Agreements,
        rows.select(
            "opportunity_id",
            "prosumer_id",
            "holds_option",
            "committed_capacity_kw",
            "reservation_price_usd_per_mwh",
            *COLUMNS.values(),
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
    chosen. From 20 kW on, only 1/price and MW are left, and 100 kW more outweigh a price of $10/MWh instead of $1,000.
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

    end, most = pl.col("end"), policy.maximum_coalition
    rule = "price over reliability" if policy.ranking == "cost_effectiveness" else "the original's bid score"
    deal = pl.format(
        f"closed in round {{}} at {{}}, {price_words} (its reservation price {{}}, our ceiling {{}})",
        "round",
        usd_text("agreed"),
        usd_text("reservation_price_usd_per_mwh"),
        usd_text("ceiling"),
    )
    if policy.contract == "indexed":
        deal = _indexed_deal(price_words)
    return (
        pl.when("holds_option")
        .then(
            pl.format(
                "In: it {}: {} kW, bound by {}; rank {} of {} by " + rule + ".",
                deal,
                pl.col("capacity_kw").round(2),
                "bound",
                "rank",
                "deals",
            )
        )
        .when(end.is_in([End.ACCEPTED, End.STAND_BY]))
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
                "Out: deadlock in round {}: our last offer, {}, does not reach its last ask, {}.",
                "round",
                usd_text("last_offer"),
                usd_text("last_ask"),
            )
        )
        .when(end == End.REFUSED)
        .then(
            pl.format(
                "Out: after recharging and margin the expected price leaves {} to offer; it asked {}.",
                usd_text("ceiling"),
                usd_text("last_ask"),
            )
        )
        .when((end == End.PRICED_OUT) & pl.col("last_offer").is_null())
        .then(pl.lit("Out: there is no other owner whose reservation price a cap could rest on."))
        .when(end == End.PRICED_OUT)
        .then(
            pl.format(
                "Out: {}, {}, does not exceed its ask, {}.",
                pl.lit("the posted cap" if policy.contract == "indexed" else "the clearing price for it"),
                usd_text("last_offer"),
                usd_text("last_ask"),
            )
        )
        .when(end == End.SETS_THE_PRICE)
        .then(
            pl.format(
                "Out: its ask, {}, is the first beyond the wanted capacity; it sets the price for the others.",
                usd_text("last_ask"),
            )
        )
        .otherwise(pl.format("Out: it has nothing to offer then, because of {}.", "bound"))
    )


def _indexed_deal(price_words: str) -> pl.Expr:
    """How an indexed deal came about: its floor and cap, or the floor alone."""
    floor = usd_text("reservation_price_usd_per_mwh")
    capped = pl.format(
        f"closed in round {{}} at a floor of {{}} and a cap of {{}}, {price_words} (our ceiling {{}})",
        "round",
        floor,
        usd_text("cap"),
        usd_text("ceiling"),
    )
    stand_by = pl.format(
        "is on stand-by at its floor of {}, which our ceiling of {} does not reach", floor, usd_text("ceiling")
    )
    return pl.when(pl.col("end") == End.STAND_BY).then(stand_by).otherwise(capped)


def summarise(
    segments: pl.DataFrame,
    agreements: pl.DataFrame,
    opportunities: pl.DataFrame,
    asked: Indices,
    rules: MarketRules,
    provenance: pl.DataFrame,
) -> pl.DataFrame:
    """One row per opportunity: rows of :class:`~vpp_pipeline.schemas.Summary`.

    ``asked`` (O,): prosumers called for each. ``provenance``: opportunity_id, engine, fingerprint, seconds. Feasible at
    100% of R is `agreed`, at 80% `relaxed`. A storage resource may have a single member; its pool may not.
    """
    heard = segments.group_by("opportunity_id").agg(
        rounds=pl.col("round").max(), bids=pl.col("prosumers").filter(pl.col("round") == 1).sum()
    )
    held = (
        options(agreements)
        .group_by("opportunity_id")
        .agg(members=pl.len(), committed_capacity_mw=pl.col("committed_capacity_kw").sum() / 1000.0)
    )
    closed = agreements.group_by("opportunity_id").agg(deals=pl.col("rank").count())
    rows = (
        with_missing(opportunities, closed_reason=None, participation=None)
        .select(
            "opportunity_id", "market_date", "required_capacity_mw", "forecast_price", "closed_reason", "participation"
        )
        .with_columns(asked=pl.Series(asked))
        .join(heard, on="opportunity_id", how="left")
        .join(held, on="opportunity_id", how="left")
        .join(closed, on="opportunity_id", how="left")
        .join(provenance, on="opportunity_id", how="left")
        .with_columns(
            pl.col("rounds", "bids", "members", "deals").fill_null(0), pl.col("committed_capacity_mw").fill_null(0.0)
        )
    )
    committed, required = pl.col("committed_capacity_mw"), pl.col("required_capacity_mw")
    is_storage = (pl.col("participation") == "storage").fill_null(False)
    enough_members = pl.col("members") >= pl.when(is_storage).then(1).otherwise(rules.minimum_members)
    status = (
        pl.when(enough_members & (committed >= required - 1e-9))
        .then(pl.lit("agreed"))
        .when(enough_members & (committed >= rules.required_fraction * required - 1e-9))
        .then(pl.lit("relaxed"))
        .otherwise(pl.lit("no_bid"))
    )
    reason = (
        pl.when(pl.col("closed_reason").is_not_null())
        .then("closed_reason")
        .when(pl.col("bids") == 0)
        .then(pl.lit("no prosumer has capacity then"))
        .when(pl.col("members") == 0)
        .then(pl.format("no deal: at {} no offer reaches an owner's reservation price", usd_text("forecast_price")))
        .when(~enough_members)
        .then(pl.format("deals closed: {}, members needed: {}", "members", pl.lit(rules.minimum_members)))
        .when(status == "no_bid")
        .then(pl.format("{} MW under option, below 80% of {} MW", committed.round(3), required))
        .otherwise(pl.format("{} deals hold {} MW for {} MW", "members", committed.round(3), required))
    )
    is_cut = pl.col("deals") > pl.col("members")
    cut = pl.format("{}; {} deals closed, the largest coalition keeps {}", reason, "deals", "members")
    reason = pl.when(is_cut).then(cut).otherwise(reason)
    return validate(Summary, rows.with_columns(status=status, reason=reason))


def weighted_satisfaction(scores: Array, committed_kw: Array) -> float | None:
    """Mean of ``scores`` (n,) weighted by commitment; None without any."""
    return float(np.average(scores, weights=committed_kw)) if len(scores) else None


def surplus_fraction(agreed: Array, reservation: Array) -> Array:
    """sigma = (agreed - reservation) / agreed, in 0-1: the part of the price that is the owner's gain."""
    return np.clip((agreed - reservation) / np.where(agreed > 0.0, agreed, 1.0), 0.0, 1.0)


def satisfaction_worth(agreed: Array, reservation: Array, weight_usd_per_mwh: float) -> Array:
    """w sigma, $/MWh: credit of the objective for a satisfied owner, never more than the owner is paid.

    The bound keeps delivered energy from being worth more than nothing at all, so that a store never charges and
    discharges at once to collect it.
    """
    return np.minimum(weight_usd_per_mwh * surplus_fraction(agreed, reservation), agreed)


def satisfaction_score(
    agreed: Array, reservation: Array, used_fraction: Array | float, is_broken: Flags | bool = False
) -> Array:
    """S (0-10) = 0 where a stated preference is violated, else 5 + 5 u sigma.

    ``used_fraction`` u = dispatched / committed. 5 is "nothing lost, nothing gained".

    At a reservation price of $30 per MWh, agreed at $50 and at $30; then at $50, half used, and a preference violated:

    >>> satisfaction_score(np.array([50.0, 30.0]), np.array([30.0, 30.0]), 1.0).tolist()
    [7.0, 5.0]
    >>> satisfaction_score(np.array([50.0, 50.0]), np.array([30.0, 30.0]), 0.5, np.array([False, True])).tolist()
    [6.0, 0.0]
    """
    return np.where(is_broken, 0.0, 5.0 + 5.0 * np.asarray(used_fraction) * surplus_fraction(agreed, reservation))
