"""From prices and homes to market bids: the day-ahead CAISO bids of a virtual power plant."""

from __future__ import annotations

from typing import Any

from vpp_pipeline.core.provenance import __version__

__all__ = ["MarketOpportunity", "__version__", "run_cycle"]


def __getattr__(name: str) -> Any:
    """``run_cycle`` and ``MarketOpportunity`` on first use: the solvers take seconds to import."""
    if name == "MarketOpportunity":
        from vpp_pipeline.schemas.documents import MarketOpportunity

        return MarketOpportunity
    if name == "run_cycle":
        from vpp_pipeline.single_opportunity import run_cycle

        return run_cycle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
