"""The engine `uniform_clearing`: one sealed round, and a price that nobody who earns it can move.

A (k+1)-price reverse auction after Vickrey (1961), "Counterspeculation, auctions, and competitive sealed tenders"; that
the price setter does not trade is the idea of McAfee (1992), "A dominant strategy double auction". For one opportunity
and fixed capacities:

    cost      v_i = reservation_i + (C − ceiling_i),  C the highest ceiling: what a MWh of i costs the aggregator,
              recharging included, beside one of the prosumer that is cheapest to recharge
    order     by v, then by place; those with v_i > C cannot be paid enough
    target    Q = max(depth · R, R + the largest capacity), in kW, the same whatever is asked
    setter    the first whose capacity brings the sum to Q; it wins nothing
    price     P = v of the setter, C where there is none or it asks for more; winner i is paid P − (C − ceiling_i)

Telling the true reservation price is best, whatever the others ask: a winner that asks for more is paid the same until
it comes to stand at or behind the setter, and wins nothing; a loser that asks for less and so wins pushes the sum to Q
no later, so the price is at most what it was, which is at most its own cost. (Capacities are facts of the devices, not
words; several opportunities that want the same stored energy are beyond this argument.)
"""

from __future__ import annotations

import numpy as np

from vpp_pipeline.domain.negotiation.concession import Adviser
from vpp_pipeline.domain.negotiation.outcome import End, Floor, Outcome
from vpp_pipeline.domain.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy


def uniform_clearing(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """One round: asks at the reservation price, the clearing price offered to all, winners accept.

    There is nothing to concede, so an ``adviser`` is not asked.
    """
    floor = Floor(terms.capacity_kw > 0.0)
    floor.ask(terms.reservation)
    floor.close(terms.ceiling <= 0.0, End.REFUSED, np.minimum(terms.ceiling, 0.0))
    competes = floor.is_open.copy()
    capacity = np.where(competes, terms.capacity_kw, 0.0)
    highest = np.where(competes, terms.ceiling, -np.inf).max(axis=1, initial=0.0, keepdims=True)
    handicap = highest - terms.ceiling  # C − ceiling_i
    cost = np.where(competes, terms.reservation + handicap, np.inf)

    order = np.argsort(cost, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None, :], axis=1)
    offered = np.take_along_axis(capacity, order, axis=1).cumsum(axis=1)
    required = terms.required_kw[:, None]
    target = np.maximum(policy.auction_depth * required, required + capacity.max(axis=1, keepdims=True))
    reaches = offered >= target
    has_setter = reaches.any(axis=1, keepdims=True)
    setter = np.where(has_setter, reaches.argmax(axis=1)[:, None], order.shape[1])
    dearest = np.take_along_axis(cost, np.take_along_axis(order, np.minimum(setter, order.shape[1] - 1), 1), 1)
    price = np.minimum(np.where(has_setter, dearest, highest), highest)

    # the same comparison as v_i <= P, written so that a winner is never a rounding error below its reservation price
    offer = np.maximum(np.minimum(terms.ceiling, price - handicap), 0.0)
    wins = (place < setter) & (cost <= price)
    offer = np.where(wins, np.maximum(offer, terms.reservation), offer)
    floor.offer(offer)
    floor.close(wins, End.ACCEPTED, offer)
    floor.close((place == setter) & (cost <= highest), End.SETS_THE_PRICE, offer)
    floor.close(competes, End.PRICED_OUT, terms.reservation)
    return floor.outcome("the clearing price", 1)
