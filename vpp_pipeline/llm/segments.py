"""An opportunity as a language model may see it: kinds of prosumers added up, and no one of them.

Shares and ratios, rounded: nothing in here is a name, an owner's own words, a date, a price or a least price, and equal
situations give equal questions, so that a stored answer is found again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Codes, Flags
from vpp_pipeline.negotiation.negotiate import Seen

#: kinds of prosumers (site and store, as in `negotiation.segments`) by the ids that questions and answers use
SEGMENT_IDS = {
    f"{site} {store}": f"{site}_{words}"
    for site in ("home", "business")
    for store, words in (("battery", "battery"), ("ev", "ev"), ("none", "solar"))
}
OTHER = "other"  # whatever else a fleet calls its prosumers: their words go nowhere
CLOSED_LIST = (*SEGMENT_IDS.values(), OTHER)
LEAST_COMPANY = 3  # what fewer prosumers ask is not told, for it would be one person's word

_OPPORTUNITY = re.compile(r"(energy|spin|nonspin)_\d{8}_(\d{2})\d{2}r?")


@dataclass(frozen=True)
class SegmentView:
    """One kind of prosumer in one opportunity: those still at the table."""

    segment: str  # of CLOSED_LIST
    prosumers: int
    supply: float  # their capacity over R
    ask_over_ceiling: float | None  # mean, weighted by capacity; None where fewer than LEAST_COMPANY ask
    within_ceiling: float | None  # share of their capacity that asks no more than the most we may pay


@dataclass(frozen=True)
class OpportunityView:
    """One opportunity at the aggregator's turn in round 2."""

    opportunity_id: str  # for our own books; no part of any question
    product: str | None
    local_hour: int | None
    required_mw: float
    supply: float  # capacity still at the table over R
    rule: float  # share of the way from first offer to ceiling that the rule concedes by now
    rounds: int
    segments: tuple[SegmentView, ...]


def kinds_of(seen: Seen) -> Codes:
    """Place (N,) of each prosumer's kind in the closed list."""
    names, code = np.unique(seen.segment.astype(str), return_inverse=True)
    places = [CLOSED_LIST.index(SEGMENT_IDS.get(str(name), OTHER)) for name in names]
    kinds: Codes = np.array(places, dtype=np.int8)[code]
    return kinds


def views(seen: Seen) -> Iterator[OpportunityView]:
    """Every opportunity in which there is someone to make an offer to.

    In the last round an ask is the owner's least price, so asks are told before it only.
    """
    kind = kinds_of(seen)
    at_the_table = seen.is_open & (seen.capacity_kw > 0.0) & (seen.ceiling > 0.0)
    asks_are_told = seen.round_ < seen.rounds
    for o in np.flatnonzero(at_the_table.any(axis=1)):
        here = at_the_table[o]
        present = [(CLOSED_LIST[place], here & (kind == place)) for place in np.unique(kind[here])]
        known = _OPPORTUNITY.fullmatch(str(seen.opportunity_id[o]))
        yield OpportunityView(
            opportunity_id=str(seen.opportunity_id[o]),
            product=known[1] if known else None,
            local_hour=int(known[2]) if known else None,
            required_mw=_round(seen.required_kw[o] / 1000.0),
            supply=_round(seen.capacity_kw[o, here].sum() / seen.required_kw[o]),
            rule=_round(seen.rule[o, here][0]),
            rounds=seen.rounds,
            segments=tuple(_segment(name, who, seen, int(o), asks_are_told) for name, who in present),
        )


def _segment(segment: str, who: Flags, seen: Seen, o: int, asks_are_told: bool) -> SegmentView:
    capacity, count = seen.capacity_kw[o, who], int(who.sum())
    is_told = asks_are_told and count >= LEAST_COMPANY
    ratio = seen.ask[o, who] / seen.ceiling[o, who]
    return SegmentView(
        segment=segment,
        prosumers=count,
        supply=_round(capacity.sum() / seen.required_kw[o]),
        ask_over_ceiling=_round(np.average(ratio, weights=capacity)) if is_told else None,
        within_ceiling=_round(np.average(ratio <= 1.0, weights=capacity)) if is_told else None,
    )


def _round(value: float) -> float:
    """To hundredths: the last digits of a sum depend on the machine, and would make another question of it."""
    return round(min(float(value), 1e6) + 1e-9, 2)  # halves, which occur, go up whatever their last digits
