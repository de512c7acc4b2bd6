"""The engine `concession`: a Contract Net with time-dependent concessions on both sides.

In every round the prosumer names its ask and the aggregator its offer. Where the offer meets the ask the deal closes at
the mean of the two. Asks fall from the opening ask to the reservation price, offers rise to the ceiling, both by
Faratin, Sierra & Jennings (1998), "Negotiation decision functions for autonomous agents", time-dependent tactics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Texts
from vpp_pipeline.domain.negotiation.outcome import End, Floor, Outcome
from vpp_pipeline.domain.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy

SCARCE_PATIENCE, AMPLE_PATIENCE = 4.0, 0.25  # bounds of the aggregator's concession exponent


@dataclass(frozen=True)
class Seen:
    """What the aggregator's side knows when it is its turn: not the owners' least prices. Arrays are read-only."""

    round_: int
    rounds: int  # most rounds there can be; in the last one an ask is the owner's least price
    opportunity_id: Texts  # (O,)
    segment: Texts  # (N,) kind of prosumer
    required_kw: Array  # (O,)
    capacity_kw: Array  # (O, N)
    ceiling: Array  # (O, N)
    is_open: Flags  # (O, N) who is still at the table
    ask: Array  # (O, N) of this round
    rule: Array  # (O, N) share of the way from first offer to ceiling that the engine would have conceded by now


class Adviser(Protocol):
    """Someone who proposes how far the aggregator gives way. It proposes fractions, never prices, and never decides."""

    def concede(self, seen: Seen) -> Array:
        """Share (O, N) of the way from first offer to ceiling to be conceded by ``seen.round_``.

        Whatever comes back is safe: what is not a number, or not an array of (O, N), is replaced by the rule, the rest
        is held within ``trust_region_fraction`` of the rule, within 0-1, and never below what was conceded before. An
        adviser that cannot answer returns ``seen.rule``; what it raises stops the negotiation.
        """
        ...


def concession(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """At most ``policy.rounds`` rounds; fewer when nothing can change any more.

    Prosumers without capacity stay silent. Where the ceiling leaves nothing to offer, the aggregator rejects at once.
    A prosumer whose ask stands at its reservation price walks away when the offer stands at the ceiling below it, and
    in the last round in any case.
    """
    floor, last = Floor(terms.capacity_kw > 0.0), policy.rounds
    conceded = np.zeros(terms.capacity_kw.shape)
    for round_ in range(1, last + 1):
        ask = _ask(terms, round_, last)
        floor.ask(ask)
        if round_ == 1:
            floor.close(terms.ceiling <= 0.0, End.REFUSED, np.minimum(terms.ceiling, 0.0))
        rule = _rule(terms, round_, policy)
        if adviser is not None and round_ > 1:
            conceded = _advised(
                adviser, _seen(terms, policy, round_, floor.is_open, ask, rule), policy.trust_region_fraction, conceded
            )
        else:
            conceded = rule
        share = policy.opening_offer_fraction + conceded * (1.0 - policy.opening_offer_fraction)
        offer = np.minimum(share, 1.0) * terms.ceiling
        floor.offer(offer)
        floor.close(offer >= ask, End.ACCEPTED, (ask + offer) / 2.0)
        nothing_moves = (ask <= terms.reservation) & (offer >= terms.ceiling)
        floor.close(nothing_moves | (round_ == last), End.DEADLOCK, ask)
        if not floor.is_open.any():
            break
    return floor.outcome("half-way between ask and offer", last)


def _progress(round_: int, rounds: int, patience: Array) -> Array:
    """Share of the way conceded by ``round_``: 0 in the first, 1 in the last; a single round is the last."""
    elapsed = 1.0 if rounds == 1 else (round_ - 1) / (rounds - 1)
    return np.asarray(elapsed ** (1.0 / patience))


def _ask(terms: Terms, round_: int, rounds: int) -> Array:
    """Asks (O, N): from the opening ask down to the reservation price."""
    conceded = _progress(round_, rounds, terms.patience)[None, :]
    return terms.reservation + (1.0 - conceded) * (terms.opening_ask - terms.reservation)


def _rule(terms: Terms, round_: int, policy: NegotiationPolicy) -> Array:
    """Share (O, N) of the way to the ceiling that is conceded by ``round_``: sooner where capacity is scarce."""
    supply = terms.capacity_kw.sum(axis=1) / terms.required_kw
    patience = np.clip(1.5 / np.maximum(supply, 1e-9), AMPLE_PATIENCE, SCARCE_PATIENCE)
    return np.broadcast_to(_progress(round_, policy.rounds, patience)[:, None], terms.capacity_kw.shape)


def _seen(terms: Terms, policy: NegotiationPolicy, round_: int, is_open: Flags, ask: Array, rule: Array) -> Seen:
    public = {
        name: getattr(terms, name) for name in ("opportunity_id", "segment", "required_kw", "capacity_kw", "ceiling")
    }
    arrays = public | {"is_open": is_open.copy(), "ask": ask, "rule": rule}  # who is at the table changes in place
    views = {name: np.broadcast_to(values, values.shape) for name, values in arrays.items()}
    return Seen(round_=round_, rounds=policy.rounds, **views)


def _advised(adviser: Adviser, seen: Seen, trust: float, before: Array) -> Array:
    """What is conceded on advice: within ``trust`` of the rule, within 0-1, never less than ``before``."""
    rule = seen.rule
    answer = adviser.concede(seen)
    try:
        advised = np.asarray(answer, dtype=float)
    except (TypeError, ValueError, OverflowError):  # words, rows of unlike length, endless numbers are no advice
        advised = rule
    if advised.shape != rule.shape:
        advised = rule
    held = np.clip(np.where(np.isfinite(advised), advised, rule), rule - trust, rule + trust)
    safe: Array = np.clip(np.maximum(held, before), 0.0, 1.0)
    return safe
