"""The negotiation engines behind one interface, and what is kept of a negotiation.

The engine `concession`: a Contract Net with time-dependent concessions on both sides.

In every round the prosumer names its ask and the aggregator its offer. Asks fall from the opening ask to the
reservation price, offers rise to the ceiling, both by Faratin, Sierra & Jennings (1998), "Negotiation decision
functions for autonomous agents", time-dependent tactics. With fixed prices the deal closes at the mean of the two where
the offer meets the ask. With indexed deals (`contract.py`) the floor is the reservation price, asks and offers are
about the cap, and the deal closes at the ask; where no offer reaches the floor it stands alone, and the owner is on
stand-by at it: the forecast decides on caps, and on no owner's part in the day.

The engine `uniform_clearing`: one sealed round, and a price that no winner can move.

With indexed deals a cap is posted to each owner, ``posted_multiple`` times the median reservation price of the other
owners of the segment, and whoever's floor is no higher holds an option; with `posted` = half_share also a reference,
the lower quartile of the others, beyond which the owner gets half. With fixed prices, an auction:

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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Texts
from vpp_pipeline.negotiation.agreements import agreements_of
from vpp_pipeline.negotiation.contract import of_others
from vpp_pipeline.negotiation.outcome import End, Floor, Outcome, messages_of, segments_of
from vpp_pipeline.negotiation.terms import Terms, is_kept
from vpp_pipeline.settings import NegotiationPolicy

BLOCK_PAIRS = 500_000  # opportunities x prosumers held in memory at once: about 100 MB
LEAST_KW = 1.0  # of R, where supply is measured by it: storage may sell sun alone, and R is 0
SCARCE_PATIENCE, AMPLE_PATIENCE = 4.0, 0.25  # bounds of the aggregator's concession exponent


class Engine(Protocol):
    """A way to strike deals: from both sides' terms to what was said and how it ended.

    It may use nothing but ``terms`` (so that negotiations depend on no other's outcome), must end every prosumer's
    negotiation within ``policy.rounds`` rounds, and is held against `verification/negotiation.py`.
    """

    def __call__(self, terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        """Negotiate every opportunity of ``terms`` with every prosumer."""
        ...


@dataclass(frozen=True)
class Seen:
    """Information of the aggregator's side in a round, without reservation prices. Arrays are read-only."""

    round_: int
    rounds: int  # most rounds there can be; in the last one an ask is the owner's reservation price
    opportunity_id: Texts  # (O,)
    segment: Texts  # (N,) kind of prosumer
    required_kw: Array  # (O,)
    capacity_kw: Array  # (O, N)
    ceiling: Array  # (O, N)
    is_open: Flags  # (O, N) negotiations still open
    ask: Array  # (O, N) of this round
    rule: Array  # (O, N) share of the way from first offer to ceiling that the engine would have conceded by now
    is_storage: bool = False  # whether the opportunities are hours of one resource that is cleared over the day


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
    in the last round in any case. With indexed deals no prosumer is rejected or walks away: its floor stands.
    """
    floor, last = Floor(terms.capacity_kw > 0.0), policy.rounds
    is_indexed = policy.contract == "indexed"
    conceded = np.zeros(terms.capacity_kw.shape)
    for round_ in range(1, last + 1):
        ask = _ask(terms, round_, last)
        floor.ask(ask)
        if round_ == 1:
            if is_indexed:
                floor.close(terms.ceiling <= 0.0, End.STAND_BY, terms.reservation)
            else:
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
        floor.close(offer >= ask, End.ACCEPTED, ask if is_indexed else (ask + offer) / 2.0)
        nothing_moves = (ask <= terms.reservation) & (offer >= terms.ceiling)
        if is_indexed:
            floor.close(nothing_moves | (round_ == last), End.STAND_BY, terms.reservation)
        else:
            floor.close(nothing_moves | (round_ == last), End.DEADLOCK, ask)
        if not floor.is_open.any():
            break
    return floor.outcome("the ask" if is_indexed else "half-way between ask and offer", last)


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
    supply = terms.capacity_kw.sum(axis=1) / np.maximum(terms.required_kw, LEAST_KW)
    patience = np.clip(1.5 / np.maximum(supply, 1e-9), AMPLE_PATIENCE, SCARCE_PATIENCE)
    return np.broadcast_to(_progress(round_, policy.rounds, patience)[:, None], terms.capacity_kw.shape)


def _seen(terms: Terms, policy: NegotiationPolicy, round_: int, is_open: Flags, ask: Array, rule: Array) -> Seen:
    public = {
        name: getattr(terms, name) for name in ("opportunity_id", "segment", "required_kw", "capacity_kw", "ceiling")
    }
    arrays = public | {"is_open": is_open.copy(), "ask": ask, "rule": rule}  # who is at the table changes in place
    views = {name: np.broadcast_to(values, values.shape) for name, values in arrays.items()}
    return Seen(round_=round_, rounds=policy.rounds, is_storage=terms.is_storage, **views)


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


def uniform_clearing(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """One round: asks at the reservation price, the clearing price offered to all, winners accept.

    There is nothing to concede, so an ``adviser`` is not asked. With indexed deals it is a cap that is offered.
    """
    if policy.contract == "indexed":
        return _posted(terms, policy)
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


def _posted(terms: Terms, policy: NegotiationPolicy) -> Outcome:
    """A cap posted to each owner, from the reservation prices of others alone; taken where the floor is no higher."""
    cap = policy.posted_multiple * _of_others(terms, 0.5)
    floor = Floor(terms.capacity_kw > 0.0)
    floor.ask(terms.reservation)
    floor.offer(cap)
    floor.close(terms.reservation <= cap, End.ACCEPTED, cap)
    floor.close(terms.capacity_kw > 0.0, End.PRICED_OUT, terms.reservation)
    reference = _of_others(terms, 0.25) if policy.posted == "half_share" else None
    return floor.outcome("the posted cap", 1, reference)


def _of_others(terms: Terms, quantile: float) -> Array:
    """The quantile (O, N) of the segment's other owners' reservation prices, of each product once."""
    if quantile in terms.of_others:
        return terms.of_others[quantile]
    found, known = np.empty_like(terms.reservation), dict[bytes, Array]()
    for o, reservation in enumerate(terms.reservation):
        of_product = reservation.tobytes()
        if of_product not in known:
            known[of_product] = of_others(reservation, terms.segment, quantile)
        found[o] = known[of_product]
    return found


#: `llm` is `concession` with an adviser; where none is given (a rehearsal, a test) nobody advises, and it is the same
ENGINES: dict[str, Engine] = {"concession": concession, "uniform_clearing": uniform_clearing, "llm": concession}


@dataclass(frozen=True)
class Negotiations:
    """What is kept: rows of `negotiation.messages`, `negotiation.agreements` and `negotiation.segments`."""

    opportunity_id: Texts
    messages: pl.DataFrame
    agreements: pl.DataFrame
    segments: pl.DataFrame


def negotiate(
    terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None, engine: Engine | None = None
) -> Negotiations:
    """Every opportunity of ``terms`` by the policy's engine, or by ``engine``.

    An opportunity alone gives the same as among others.
    """
    blocks = list(in_blocks(terms, policy, adviser, engine))
    tables = ("messages", "agreements", "segments")
    return Negotiations(
        terms.opportunity_id, *(pl.concat([getattr(block, name) for block in blocks]) for name in tables)
    )


def in_blocks(
    terms: Terms,
    policy: NegotiationPolicy,
    adviser: Adviser | None = None,
    engine: Engine | None = None,
    pairs: int = BLOCK_PAIRS,
) -> Iterator[Negotiations]:
    """The same, some opportunities at a time, so that memory does not grow with their number; at least one block."""
    engine, kept = engine or ENGINES[policy.engine], terms.heard
    if kept is None:
        kept = is_kept(len(terms.prosumer_id), policy.transcript_prosumers)
    step, count = max(1, pairs // max(1, len(terms.prosumer_id))), len(terms.opportunity_id)
    for start in range(0, max(1, count), step):
        block = terms.only((np.arange(count) >= start) & (np.arange(count) < start + step))
        outcome = engine(block, policy, adviser)
        yield Negotiations(
            block.opportunity_id,
            messages_of(outcome, block, kept),
            agreements_of(outcome, block, policy, kept),
            segments_of(outcome, block),
        )
