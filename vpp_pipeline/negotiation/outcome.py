"""How negotiations ended, as whole arrays, and what was said, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Codes, Flags
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import Messages, Segments, validate

SENDER = {"accept": "prosumer", "withdraw": "prosumer", "reject": "aggregator"}


class End(IntEnum):
    """How one prosumer's negotiation of one opportunity ended."""

    SILENT = 0  # no capacity, so no message
    ACCEPTED = 1  # the deal closed
    DEADLOCK = 2  # neither side can concede further and offer and ask do not meet: the prosumer withdraws
    REFUSED = 3  # the price leaves the aggregator nothing to offer
    PRICED_OUT = 4  # the clearing price is below the ask
    SETS_THE_PRICE = 5  # the first ask beyond the wanted capacity: it sets the price, so it may not earn it
    STAND_BY = 6  # no cap is agreed, and the floor of the indexed deal stands: it may be called at that


WORDS = {
    End.DEADLOCK: "deadlock: the offer does not reach the ask, and no side can concede",
    End.REFUSED: "the price leaves nothing to offer",
    End.PRICED_OUT: "the clearing price does not exceed the ask",
    End.SETS_THE_PRICE: "the first ask beyond the wanted capacity sets the price",
    End.STAND_BY: "no offer reaches the floor, which stands: on stand-by at it",
}


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
    return validate(Messages, pl.concat(said, how="vertical_relaxed"))


def segments_of(outcome: Outcome, terms: Terms) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Segments`: sums over all prosumers' messages by segment and round."""
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
    return validate(Segments, table.with_columns(pl.col("mean_offer_usd_per_mwh").fill_nan(None)))


def _mean(weighted: Array, weight: Array) -> Array:
    """Weighted mean; not a number where there is no weight."""
    mean: Array = np.divide(weighted, weight, out=np.full(len(weight), np.nan), where=weight > 0.0)
    return mean


#: what the side that ends it says
KIND = {
    End.ACCEPTED: "accept",
    End.DEADLOCK: "withdraw",
    End.REFUSED: "reject",
    End.PRICED_OUT: "withdraw",
    End.SETS_THE_PRICE: "reject",
    End.STAND_BY: "accept",
}


@dataclass(frozen=True)
class Outcome:
    """K rounds of O negotiations with N prosumers; prices in $/MWh, for reserves $ per MW held for one hour."""

    ask: Array  # (K, O, N) what the prosumer asked; not a number where it said nothing
    offer: Array  # (K, O, N) what the aggregator offered; not a number where it said nothing
    end: Codes  # (O, N) values of End
    end_round: Codes  # (O, N) from 1; 0 where nobody spoke
    end_price: Array  # (O, N) price of the last word, of an indexed deal its cap; not a number where nobody spoke
    price_words: str  # how this engine finds the price of a deal
    last_round: int  # most rounds there could have been; K where nobody ended early
    reference: Array | None = None  # (O, N) from which on owners get a share; None: none of them does

    @property
    def is_closed(self) -> Flags:
        """Whether the deal closed (O, N), be it at the floor alone."""
        return np.asarray((self.end == End.ACCEPTED) | (self.end == End.STAND_BY))


class Floor:
    """Keeps the word of O x N negotiations while an engine runs them: who ended speaks no more."""

    def __init__(self, is_open: Flags) -> None:
        shape = is_open.shape
        self.is_open: Flags = is_open.copy()
        self.asks: list[Array] = []
        self.offers: list[Array] = []
        self.end: Codes = np.zeros(shape, dtype=np.int8)
        self.end_round: Codes = np.zeros(shape, dtype=np.int8)
        self.end_price = np.full(shape, np.nan)

    def ask(self, price: Array) -> None:
        """Everyone still open asks; opens a round."""
        self.asks.append(np.where(self.is_open, price, np.nan))
        self.offers.append(np.full(self.is_open.shape, np.nan))

    def offer(self, price: Array) -> None:
        """The aggregator offers to everyone still open."""
        self.offers[-1] = np.where(self.is_open, price, np.nan)

    def close(self, who: Flags, end: End, price: Array) -> None:
        """Those of ``who`` that are still open end in this round."""
        ending = who & self.is_open
        self.end[ending] = end
        self.end_round[ending] = len(self.asks)
        self.end_price = np.where(ending, price, self.end_price)
        self.is_open &= ~ending

    def outcome(self, price_words: str, last_round: int, reference: Array | None = None) -> Outcome:
        """What was said, once everyone has ended."""
        if self.is_open.any():
            raise AssertionError(f"{int(self.is_open.sum())} negotiations have not ended")
        return Outcome(
            np.stack(self.asks),
            np.stack(self.offers),
            self.end,
            self.end_round,
            self.end_price,
            price_words,
            last_round,
            reference,
        )
