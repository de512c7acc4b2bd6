"""Documents of a negotiation, under the name by which callers of `run_cycle` have always imported them."""

from __future__ import annotations

from vpp_pipeline.schemas.documents import (
    AggregatorOffer,
    CoalitionMember,
    CycleResult,
    FinalBid,
    MarketOpportunity,
    NegotiationResult,
    OptimizationResult,
    ProsumerBid,
    ProsumerResponse,
)

__all__ = [
    "AggregatorOffer",
    "CoalitionMember",
    "CycleResult",
    "FinalBid",
    "MarketOpportunity",
    "NegotiationResult",
    "OptimizationResult",
    "ProsumerBid",
    "ProsumerResponse",
]
