"""The adviser of the engine `llm`: a language model proposes how far to give way, kind by kind of prosumer.

It proposes shares of a way that our code has computed, and never decides: `negotiation/negotiate.py` holds
every share near the rule's own. Where there is no usable answer the rule stands, and is counted.

An opportunity as a language model may see it: kinds of prosumers added up, and no one of them.

Shares and ratios, rounded: they hold no name, note, date, price, or reservation price, and equal
situations give equal questions, so that a stored answer is found again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, ValidationError

from vpp_pipeline.core.arrays import Array, Codes, Flags
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.llm.interface import LLMError, LLMRequest, StrictModel, T, schema_of
from vpp_pipeline.negotiation.negotiate import LEAST_KW, Seen
from vpp_pipeline.settings import LLMSettings, NegotiationPolicy

#: kinds of prosumers (site and store, as in `negotiation.segments`) by the ids that questions and answers use
SEGMENT_IDS = {
    f"{site} {store}": f"{site}_{words}"
    for site in ("home", "business")
    for store, words in (("battery", "battery"), ("ev", "ev"), ("none", "solar"))
}
OTHER = "other"  # whatever else a fleet calls its prosumers: their words go nowhere
CLOSED_LIST = (*SEGMENT_IDS.values(), OTHER)
LEAST_COMPANY = 3  # what fewer prosumers ask is not told, for it would be one person's word

#: the name of an opportunity, which may end in that of its resource
_OPPORTUNITY = re.compile(rf"({'|'.join(PRODUCTS)})_\d{{8}}_(\d{{2}})\d{{2}}r?(?:_[A-Za-z0-9_-]{{1,43}})?")
PURPOSE, PROMPT_VERSION = "counter_offer", "1"
MOST_SEGMENTS = 64  # entries of an answer that are looked at

SYSTEM = """\
You advise the aggregator of a virtual power plant that buys flexibility from groups of small prosumers in rounds.
In every round prosumers ask less and the aggregator offers more, from a first offer up to a ceiling that it never
exceeds. A deal closes in the first round in which the offer reaches the ask, at the mean of the two. Giving way late
keeps more of the margin; giving way too little loses deals, and the opportunity fails unless deals hold at least 80 %
of what is required.
The user message is a JSON object with numbers about one opportunity. `supply` is capacity over what is required,
`ask_over_ceiling` the mean ask over the ceiling, `within_ceiling` the share of capacity that asks no more than the
ceiling. `rule` is the share of the way from first offer to ceiling that a fixed rule would have conceded by the
counter-offer; by the final offer it concedes all of it, 1.0.
Answer for each segment listed with two fractions between 0 and 1 of the way from first offer to ceiling:
`counter_fraction` for the counter-offer of round 2 and `final_fraction` for the final offer, not below it. Stay within
`may_differ_by` of the rule. Answer with JSON only, in the given schema."""


class SegmentAdvice(StrictModel):
    """How far to give way to one kind of prosumer."""

    segment: Literal[
        "home_battery", "home_ev", "home_solar", "business_battery", "business_ev", "business_solar", "other"
    ]
    counter_fraction: float = Field(ge=0, le=1, description="Share of the way conceded by the counter-offer.")
    final_fraction: float = Field(ge=0, le=1, description="Share of the way conceded by the final offer.")


Advised = Mapping[str, SegmentAdvice]  # by segment


class Asks(Protocol):
    """Who can be asked: the gateway, from several threads at once."""

    def ask(self, request: LLMRequest, out: type[T]) -> T:
        """A validated answer; raises `LLMError` alone."""
        ...


@dataclass
class Tally:
    """How much of a day's advice came from the model, and why the rest did not."""

    asked: int = 0  # opportunities
    answered: int = 0
    segments: int = 0  # kinds of prosumers in those opportunities
    segments_by_rule: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # by kind of failure

    @property
    def fallback_fraction(self) -> float:
        """Share of the segments that the rule decided; 0 without segments."""
        return self.segments_by_rule / self.segments if self.segments else 0.0

    def in_numbers(self) -> dict[str, float | int | str]:
        """For a run's metadata."""
        return {
            "asked_about": self.asked,
            "advised_on": self.answered,
            "fallback_fraction": round(self.fallback_fraction, 4),
            "failures": ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items())),
        }


class ModelAdviser:
    """Asks once per opportunity, in round 2, for the counter-offer and the final offer together; of a storage resource
    once per product, about its largest hour: its owners need deals for all hours, and a day of 17 has 1,224.

    One question for both halves requests, cost and waiting; a second one could only add the asks of the last round,
    which are the owners' reservation prices and never sent. Rounds between the two lie on the line between the answers.
    """

    def __init__(self, gateway: Asks, policy: NegotiationPolicy, llm: LLMSettings) -> None:
        self._gateway, self._policy, self._llm = gateway, policy, llm
        self._advice: dict[str, Advised] = {}  # by opportunity, of the block under negotiation
        self.tally = Tally()

    def concede(self, seen: Seen) -> Array:
        """Shares (O, N) as advised; the rule's own where there is no advice. See `Adviser`."""
        if seen.round_ == 2:
            self._advice = self._ask_about(list(views(seen)), seen.is_storage)
        kind, shares = kinds_of(seen), np.array(seen.rule)
        for o, name in enumerate(seen.opportunity_id):
            for segment, advice in self._advice.get(str(name), {}).items():
                shares[o, kind == CLOSED_LIST.index(segment)] = _share(advice, seen.round_, seen.rounds)
        return shares

    def _ask_about(self, opportunities: list[OpportunityView], is_storage: bool) -> dict[str, Advised]:
        """What the model advises, by opportunity; all are asked about side by side, equal questions once."""
        told = _largest_by_product(opportunities) if is_storage else opportunities
        questions = [question(view, self._policy, self._llm) for view in told]
        distinct = {request.key(): request for request in questions}
        with ThreadPoolExecutor(self._llm.workers, thread_name_prefix="advice") as pool:
            answers = dict(zip(distinct, pool.map(self._ask, distinct.values()), strict=True))
        found = {}
        for view, request in zip(opportunities, questions, strict=True):
            answer, wanted = answers[request.key()], {segment.segment for segment in view.segments}
            usable: Advised = {}
            if isinstance(answer, LLMError):
                self.tally.failures[str(answer.kind)] += 1
            else:
                self.tally.answered += 1
                usable = {segment: advice for segment, advice in answer.usable().items() if segment in wanted}
            self.tally.asked += 1
            self.tally.segments += len(wanted)
            self.tally.segments_by_rule += len(wanted - usable.keys())
            found[view.opportunity_id] = usable
        return found

    def _ask(self, request: LLMRequest) -> AdviceEnvelope | LLMError:
        try:
            return self._gateway.ask(request, AdviceEnvelope)
        except LLMError as error:  # the rule stands in, and is counted
            return error


def _largest_by_product(opportunities: list[OpportunityView]) -> list[OpportunityView]:
    """For each of ``opportunities`` the one of its product with most kinds of prosumers, then the largest."""
    largest: dict[str | None, OpportunityView] = {}
    for view in sorted(opportunities, key=lambda one: (len(one.segments), one.required_mw)):
        largest[view.product] = view
    return [largest[view.product] for view in opportunities]


def _share(advice: SegmentAdvice, round_: int, rounds: int) -> float:
    """What is conceded by ``round_``: the counter-offer in round 2, the final offer in the last, a line in between."""
    if round_ >= rounds:
        return advice.final_fraction
    way = (round_ - 2) / (rounds - 2)
    return advice.counter_fraction + way * (advice.final_fraction - advice.counter_fraction)


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

    In the last round an ask is the owner's reservation price, so asks are sent before it only.
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
            supply=_round(seen.capacity_kw[o, here].sum() / max(seen.required_kw[o], LEAST_KW)),
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
        supply=_round(capacity.sum() / max(seen.required_kw[o], LEAST_KW)),
        ask_over_ceiling=_round(np.average(ratio, weights=capacity)) if is_told else None,
        within_ceiling=_round(np.average(ratio <= 1.0, weights=capacity)) if is_told else None,
    )


def _round(value: float) -> float:
    """To hundredths: the last digits of a sum depend on the machine, and would make another question of it."""
    return round(min(float(value), 1e6) + 1e-9, 2)  # halves, which occur, go up whatever their last digits


class Advice(StrictModel):
    """The schema that an answer is asked to follow."""

    segments: list[SegmentAdvice] = Field(max_length=MOST_SEGMENTS)


class AdviceEnvelope(StrictModel):
    """The same with entries that are not yet validated, so that a wrong one costs one segment and not the answer."""

    segments: list[Any] = Field(max_length=MOST_SEGMENTS)

    def usable(self) -> dict[str, SegmentAdvice]:
        """Entries that follow the schema, by segment; two for one segment are none."""
        found: dict[str, SegmentAdvice] = {}
        twice: set[str] = set()
        for entry in self.segments:
            try:
                advice = SegmentAdvice.model_validate(entry)
            except ValidationError:  # the rule stands in, and is counted
                continue
            if advice.segment in found:
                twice.add(advice.segment)
            found[advice.segment] = advice
        return {segment: advice for segment, advice in found.items() if segment not in twice}


def question(view: OpportunityView, policy: NegotiationPolicy, llm: LLMSettings) -> LLMRequest:
    """One question for both the counter-offer and the final offer."""
    told = {
        "product": view.product,
        "local_hour": view.local_hour,
        "required_mw": view.required_mw,
        "supply": view.supply,
        "rounds": view.rounds,
        "rule": view.rule,
        "may_differ_by": policy.trust_region_fraction,
        "first_offer_over_ceiling": policy.opening_offer_fraction,
        "segments": [asdict(segment) for segment in view.segments],
    }
    return LLMRequest(
        purpose=PURPOSE,
        system=SYSTEM,
        user=json.dumps(told, separators=(",", ":"), allow_nan=False),
        json_schema=schema_of(Advice),
        prompt_version=PROMPT_VERSION,
        subject=view.opportunity_id,
        model=llm.model,
        temperature=llm.temperature,
        max_output_tokens=llm.max_output_tokens,
    )
