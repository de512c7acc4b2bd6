"""Ways to decide who may be asked and at what price, beside those of the desk; same interface as its engines.

None of them has a `minimum margin`, and those that pay the least price know it: full information, a rival's best case.
"""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.negotiation.negotiate import Adviser, Engine
from vpp_pipeline.negotiation.outcome import End, Floor, Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy


def centralised(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Everyone is at the dispatcher's disposal and is paid exactly the least price."""
    return _one_round(terms, terms.capacity_kw > 0.0, terms.reservation)


def only(is_there: Flags) -> Engine:
    """:func:`centralised`, of those who will be there (N,) alone: what only foresight knows."""

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        return _one_round(terms, (terms.capacity_kw > 0.0) & is_there, terms.reservation)

    return engine


def greedy(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Each opportunity by itself: the cheapest first, recharging included, until R is reached; the rest is turned away.

    Who is cheapest is the order of ``reservation − ceiling``: among those asking the same, a store that loses less
    comes first. Least prices are paid.
    """
    may = (terms.capacity_kw > 0.0) & (terms.reservation <= terms.ceiling)
    order = np.argsort(np.where(may, terms.reservation - terms.ceiling, np.inf), axis=1, kind="stable")
    capacity = np.take_along_axis(np.where(may, terms.capacity_kw, 0.0), order, axis=1)
    is_needed = capacity.cumsum(axis=1) - capacity < terms.required_kw[:, None]
    chosen = np.zeros_like(may)
    np.put_along_axis(chosen, order, is_needed, axis=1)
    return _one_round(terms, chosen & may, terms.reservation)


def posted_price(fraction: float) -> Engine:
    """Take it or leave it: ``fraction`` of what the aggregator could pay at most is offered to everyone."""

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        offer = fraction * np.maximum(terms.ceiling, 0.0)
        return _one_round(terms, (terms.capacity_kw > 0.0) & (terms.reservation <= offer), offer)

    return engine


def _one_round(terms: Terms, is_in: Flags, price: Array) -> Outcome:
    floor = Floor(terms.capacity_kw > 0.0)
    floor.ask(terms.reservation)
    floor.offer(price)
    floor.close(is_in, End.ACCEPTED, price)
    floor.close(terms.capacity_kw > 0.0, End.PRICED_OUT, terms.reservation)
    return floor.outcome("as this arm pays", 1)
