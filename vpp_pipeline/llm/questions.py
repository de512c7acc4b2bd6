"""What the model is asked about an opportunity, and what it may answer: fractions, for kinds of prosumers we named."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, ValidationError

from vpp_pipeline.llm.ports import LLMRequest, StrictModel, schema_of
from vpp_pipeline.llm.segments import OpportunityView
from vpp_pipeline.settings import LLMSettings, NegotiationPolicy

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


class Advice(StrictModel):
    """The schema that an answer is asked to follow."""

    segments: list[SegmentAdvice] = Field(max_length=MOST_SEGMENTS)


class AdviceEnvelope(StrictModel):
    """The same with its entries not yet judged, so that one wrong entry costs one segment and not the answer."""

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
