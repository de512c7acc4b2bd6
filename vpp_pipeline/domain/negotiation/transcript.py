"""What was said, as tables: every word of those whose words are kept, and every round at a glance."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Codes, Flags
from vpp_pipeline.domain.negotiation.outcome import KIND, End, Outcome
from vpp_pipeline.domain.negotiation.terms import Terms
from vpp_pipeline.schemas import Messages, Segments, door

SENDER = {"accept": "prosumer", "withdraw": "prosumer", "reject": "aggregator"}
WORDS = {
    End.DEADLOCK: "deadlock: the offer does not reach the ask, and neither moves further",
    End.REFUSED: "the price leaves nothing to offer",
    End.PRICED_OUT: "the clearing price does not exceed the ask",
    End.SETS_THE_PRICE: "the first ask beyond the wanted capacity sets the price",
}


def is_kept(prosumers: int, most: int) -> Flags:
    """Whose words are kept (N,): everyone's in a fleet of up to ``most``, else those of ``most``, evenly spaced."""
    kept = np.ones(prosumers, dtype=bool)
    if prosumers > most:
        kept[:] = False
        kept[np.linspace(0, prosumers - 1, most).astype(int)] = True
    return kept


def messages_of(outcome: Outcome, terms: Terms, kept: Flags) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Messages` of the prosumers ``kept`` (N,)."""
    places = np.flatnonzero(kept)
    prosumers = pl.Series(terms.prosumer_id[places], dtype=pl.String)
    opportunities = pl.Series(terms.opportunity_id, dtype=pl.String)

    def spoken(who: Flags, round_: int | Codes, sender: str, kind: str, price: Array, reason: str) -> pl.DataFrame:
        o, i = np.nonzero(who[:, places])
        rounds = round_[:, places][o, i] if isinstance(round_, np.ndarray) else round_
        return pl.DataFrame(
            {
                "opportunity_id": opportunities.gather(o),
                "prosumer_id": prosumers.gather(i),
                "capacity_kw": terms.capacity_kw[:, places][o, i],
                "price_usd_per_mwh": price[:, places][o, i],
            }
        ).with_columns(
            round=rounds,
            sender=pl.lit(sender),
            kind=pl.lit(kind),
            reason=pl.lit(reason),
            market_date=pl.lit(terms.market_date),
        )

    said = []
    for round_, (ask, offer) in enumerate(zip(outcome.ask, outcome.offer, strict=True), start=1):
        opening = "opening ask" if round_ == 1 else "concedes"
        said.append(spoken(np.isfinite(ask), round_, "prosumer", "ask", ask, opening))
        words = "final offer" if round_ == outcome.last_round else "counter-offer"
        said.append(spoken(np.isfinite(offer), round_, "aggregator", "offer", offer, words))
    for end, kind in KIND.items():
        words = WORDS.get(end, f"the offer meets the ask: {outcome.price_words}")
        said.append(spoken(outcome.end == end, outcome.end_round, SENDER[kind], kind, outcome.end_price, words))
    return door(Messages, pl.concat(said, how="vertical_relaxed"))


def segments_of(outcome: Outcome, terms: Terms) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Segments`: every prosumer's words, added up by kind and round."""
    kinds, kind = np.unique(terms.segment.astype(str), return_inverse=True)
    count = len(terms.opportunity_id)
    cell = (np.arange(count)[:, None] * len(kinds) + kind[None, :]).ravel()

    def total(values: Array | Flags) -> Array:
        return np.bincount(cell, weights=values.ravel(), minlength=count * len(kinds)).astype(float)

    rounds = []
    for round_, (ask, offer) in enumerate(zip(outcome.ask, outcome.offer, strict=True), start=1):
        asked, offered, now = np.isfinite(ask), np.isfinite(offer), outcome.end_round == round_
        closed = outcome.is_closed & now
        asked_kw, offered_kw = (np.where(spoke, terms.capacity_kw, 0.0) for spoke in (asked, offered))
        capacity, capacity_offered = total(asked_kw), total(offered_kw)
        rounds.append(
            pl.DataFrame(
                {
                    "opportunity_id": np.repeat(terms.opportunity_id.astype(str), len(kinds)),
                    "segment": np.tile(kinds, count),
                    "prosumers": total(asked).astype(int),
                    "capacity_kw": capacity,
                    "mean_ask_usd_per_mwh": _mean(total(np.nan_to_num(ask) * asked_kw), capacity),
                    "mean_offer_usd_per_mwh": _mean(total(np.nan_to_num(offer) * offered_kw), capacity_offered),
                    "accepted": total(closed).astype(int),
                    "accepted_kw": total(np.where(closed, terms.capacity_kw, 0.0)),
                    "left": total(now & ~closed & (outcome.end != End.SILENT)).astype(int),
                }
            ).with_columns(round=round_, market_date=pl.lit(terms.market_date))
        )
    table = pl.concat(rounds).filter(pl.col("prosumers") > 0)
    return door(Segments, table.with_columns(pl.col("mean_offer_usd_per_mwh").fill_nan(None)))


def _mean(weighted: Array, weight: Array) -> Array:
    """Weighted mean; not a number where there is no weight."""
    mean: Array = np.divide(weighted, weight, out=np.full(len(weight), np.nan), where=weight > 0.0)
    return mean
