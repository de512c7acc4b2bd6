"""One interface to every engine, and what is kept of a negotiation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Texts
from vpp_pipeline.domain.negotiation.agreements import agreements_of
from vpp_pipeline.domain.negotiation.concession import Adviser, concession
from vpp_pipeline.domain.negotiation.outcome import Outcome
from vpp_pipeline.domain.negotiation.terms import Terms
from vpp_pipeline.domain.negotiation.transcript import is_kept, messages_of, segments_of
from vpp_pipeline.domain.negotiation.uniform_clearing import uniform_clearing
from vpp_pipeline.settings import NegotiationPolicy

BLOCK_PAIRS = 500_000  # opportunities x prosumers held in memory at once: about 100 MB


class Engine(Protocol):
    """A way to strike deals: from both sides' terms to what was said and how it ended.

    It may use nothing but ``terms`` (so that negotiations depend on no other's outcome), must end every prosumer's
    negotiation within ``policy.rounds`` rounds, and is held against `domain/verify_negotiation.py`.
    """

    def __call__(self, terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        """Negotiate every opportunity of ``terms`` with every prosumer."""
        ...


#: `llm` is `concession` with an adviser; where none is given (a rehearsal, a test) nobody advises, and it is the same
ENGINES: dict[str, Engine] = {"concession": concession, "uniform_clearing": uniform_clearing, "llm": concession}


@dataclass(frozen=True)
class Negotiations:
    """What is kept: rows of `negotiation.messages`, `negotiation.agreements` and `negotiation.segments`."""

    opportunity_id: Texts
    messages: pl.DataFrame
    agreements: pl.DataFrame
    segments: pl.DataFrame


def negotiate(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Negotiations:
    """Every opportunity of ``terms`` by the policy's engine; an opportunity alone gives the same as among others."""
    blocks = list(in_blocks(terms, policy, adviser))
    tables = ("messages", "agreements", "segments")
    return Negotiations(
        terms.opportunity_id, *(pl.concat([getattr(block, name) for block in blocks]) for name in tables)
    )


def in_blocks(
    terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None, pairs: int = BLOCK_PAIRS
) -> Iterator[Negotiations]:
    """The same, some opportunities at a time, so that memory does not grow with their number; at least one block."""
    engine, kept = ENGINES[policy.engine], is_kept(len(terms.prosumer_id), policy.transcript_prosumers)
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
