"""How negotiations ended, as whole arrays: what every engine answers, and all that is derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vpp_pipeline.core.arrays import Array, Codes, Flags


class End(IntEnum):
    """How one prosumer's negotiation of one opportunity ended."""

    SILENT = 0  # no capacity: it never spoke
    ACCEPTED = 1  # the deal closed
    DEADLOCK = 2  # neither side moves further and offer and ask do not meet: the prosumer walks away
    REFUSED = 3  # the price leaves the aggregator nothing to offer
    PRICED_OUT = 4  # the clearing price is below the ask
    SETS_THE_PRICE = 5  # the first ask beyond the wanted capacity: it sets the price, so it may not earn it


#: what the side that ends it says
KIND = {
    End.ACCEPTED: "accept",
    End.DEADLOCK: "withdraw",
    End.REFUSED: "reject",
    End.PRICED_OUT: "withdraw",
    End.SETS_THE_PRICE: "reject",
}


@dataclass(frozen=True)
class Outcome:
    """K rounds of O negotiations with N prosumers; prices in $/MWh, for reserves $ per MW held for one hour."""

    ask: Array  # (K, O, N) what the prosumer asked; not a number where it said nothing
    offer: Array  # (K, O, N) what the aggregator offered; not a number where it said nothing
    end: Codes  # (O, N) values of End
    end_round: Codes  # (O, N) from 1; 0 where nobody spoke
    end_price: Array  # (O, N) price of the last word; not a number where nobody spoke
    price_words: str  # how this engine finds the price of a deal
    last_round: int  # most rounds there could have been; K where nobody ended early

    @property
    def is_closed(self) -> Flags:
        """Whether the deal closed (O, N)."""
        return np.asarray(self.end == End.ACCEPTED)


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

    def outcome(self, price_words: str, last_round: int) -> Outcome:
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
        )
