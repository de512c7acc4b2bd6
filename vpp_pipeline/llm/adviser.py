"""The adviser of the engine `llm`: a language model proposes how far to give way, kind by kind of prosumer.

It proposes shares of a way that our code has computed, and never decides: `negotiation/negotiate.py` holds
every share near the rule's own. Where there is no usable answer the rule stands, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.llm.ports import LLMError, LLMRequest, T
from vpp_pipeline.llm.questions import AdviceEnvelope, SegmentAdvice, question
from vpp_pipeline.llm.segments import CLOSED_LIST, OpportunityView, kinds_of, views
from vpp_pipeline.negotiation.negotiate import Seen
from vpp_pipeline.settings import LLMSettings, NegotiationPolicy

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
        """Share of the segments that the rule decided; 0 where nobody was to be asked about."""
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
    """Asks once per opportunity, in round 2, for the counter-offer and the final offer together.

    One question for both halves requests, cost and waiting; what a second one could tell in addition, the asks of the
    last round, are the owners' least prices and never told. Rounds between the two lie on the line between the answers.
    """

    def __init__(self, gateway: Asks, policy: NegotiationPolicy, llm: LLMSettings) -> None:
        self._gateway, self._policy, self._llm = gateway, policy, llm
        self._advice: dict[str, Advised] = {}  # by opportunity, of the block under negotiation
        self.tally = Tally()

    def concede(self, seen: Seen) -> Array:
        """Shares (O, N) as advised; the rule's own where there is no advice. See `Adviser`."""
        if seen.round_ == 2:
            self._advice = self._ask_about(list(views(seen)))
        kind, shares = kinds_of(seen), np.array(seen.rule)
        for o, name in enumerate(seen.opportunity_id):
            for segment, advice in self._advice.get(str(name), {}).items():
                shares[o, kind == CLOSED_LIST.index(segment)] = _share(advice, seen.round_, seen.rounds)
        return shares

    def _ask_about(self, opportunities: list[OpportunityView]) -> dict[str, Advised]:
        """What the model advises, by opportunity; all are asked about side by side, equal questions once."""
        questions = [question(view, self._policy, self._llm) for view in opportunities]
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


def _share(advice: SegmentAdvice, round_: int, rounds: int) -> float:
    """What is conceded by ``round_``: the counter-offer in round 2, the final offer in the last, a line in between."""
    if round_ >= rounds:
        return advice.final_fraction
    way = (round_ - 2) / (rounds - 2)
    return advice.counter_fraction + way * (advice.final_fraction - advice.counter_fraction)
