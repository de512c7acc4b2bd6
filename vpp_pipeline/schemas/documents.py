"""Messages between market, aggregator, and prosumers, and the results, as documents.

Field names of the results are those of the original project's JSON (`NegotiationResult`, `OptimizationResult`,
`FinalBid`); powers in kW or MW, prices in $/MWh (for reserves $ per MW held for one hour), money in $.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vpp_pipeline.core.caiso import CAISO

if TYPE_CHECKING:
    Product: TypeAlias = str
else:
    Product = Literal[CAISO.names]  # pydantic refuses others by name


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MarketOpportunity(_Message):
    """An opportunity that a market or a buyer states."""

    opportunity_id: str
    market_type: Product
    timestamp: datetime = Field(description="Start of the block; Pacific where it has no offset.")
    duration_hours: float = Field(1.0, gt=0)
    required_capacity_mw: float = Field(ge=0)
    market_price_mwh: float | None = Field(None, description="Offered or expected price; null: the market's.")
    deadline: datetime | None = None


class ProsumerBid(_Message):
    """A prosumer's ask."""

    opportunity_id: str
    prosumer_id: str
    round: int = Field(ge=1, le=10)
    available_capacity_kw: float = Field(gt=0)
    minimum_price_per_mwh: float


class AggregatorOffer(_Message):
    """The aggregator's offer."""

    opportunity_id: str
    prosumer_id: str
    round: int = Field(ge=1, le=10)
    requested_capacity_kw: float = Field(gt=0)
    offered_price_per_mwh: float


class ProsumerResponse(_Message):
    """A prosumer's answer to an offer."""

    opportunity_id: str
    prosumer_id: str
    round: int = Field(ge=1, le=10)
    answer: Literal["accept", "reject", "withdraw"]
    price_per_mwh: float
    reason: str


class CoalitionMember(_Message):
    """A prosumer that holds an option of the opportunity."""

    prosumer_id: str
    committed_capacity_kw: float = Field(gt=0)
    agreed_price_per_mwh: float = Field(description="Price that is paid if the forecast clears.")
    floor_price_per_mwh: float | None = Field(None, description="Lowest price of a delivery.")
    cap_price_per_mwh: float | None = Field(None, description="Highest price of a delivery.")
    satisfaction_score: float = Field(ge=0, le=10)


class NegotiationResult(_Message):
    """The outcome of the negotiation of one opportunity."""

    success: bool
    coalition_members: list[CoalitionMember]
    total_capacity_mw: float = Field(ge=0)
    negotiation_rounds: int = Field(ge=0)
    final_bid_price: float | None
    prosumer_satisfaction_avg: float | None
    reason: str


class OptimizationResult(_Message):
    """The schedule of one opportunity, with payments."""

    success: bool
    total_bid_capacity_mw: float = Field(ge=0)
    optimal_bid_price_mwh: float | None
    expected_profit: float
    dispatch_schedule: dict[str, float] = Field(description="kW by prosumer.")
    prosumer_payments: dict[str, float] = Field(description="$ by prosumer.")


class FinalBid(_Message):
    """The bid as it goes to the market."""

    bid_id: str
    opportunity_id: str
    total_capacity_mw: float = Field(ge=0)
    bid_price_mwh: float
    expected_profit: float
    profit_margin: float | None = Field(description="Profit over revenue; null where the revenue is 0.")
    reliability_score: float = Field(ge=0, le=1)
    coalition_size: int = Field(ge=1)


class CurvePoint(_Message):
    """A range of MW at one price; negative MW charge."""

    from_mw: float
    to_mw: float
    price_mwh: float


class StorageBid(_Message):
    """The bid of a storage resource, which the market clears over the day: a curve from charge to discharge."""

    bid_id: str
    opportunity_id: str
    total_capacity_mw: float = Field(ge=0)
    bid_price_mwh: float | None = Field(description="Price of the first segment that sells; null: it sells nothing.")
    expected_profit: float
    profit_margin: float | None = Field(description="Profit over revenue; null where the revenue is 0.")
    reliability_score: float | None = Field(ge=0, le=1, description="Null where it sells nothing.")
    coalition_size: int = Field(ge=0)
    expected_mw: float = Field(description="MW that clear at the forecast, negative where it charges.")
    self_scheduled_mw: float = Field(ge=0, description="Sun that is sold whatever the price; the curve begins at it.")
    curve: list[CurvePoint]


class CycleResult(_Message):
    """All three results of one opportunity; the bid is null for a no-bid."""

    opportunity_id: str
    created: AwareDatetime
    negotiation: NegotiationResult
    optimization: OptimizationResult
    final_bid: StorageBid | FinalBid | None
    prosumer_top_ups: dict[str, float] = Field(
        default_factory=dict, description="$ by prosumer beyond its payments; empty unless `payments.rule` is owen."
    )
    reason: str = Field(description="Why there is a bid or a no-bid.")
