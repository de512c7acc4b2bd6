"""Settings of settlement and back-test: who comes, and what is paid where somebody does not."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SettlementSettings(BaseModel):
    """Who is there to deliver, and what is paid where somebody is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    availability: Literal["fleet", "fixed"] = Field(
        "fleet", description="Chance that a prosumer is there: its own `availability_fraction`, or one for all."
    )
    availability_fraction: float = Field(0.8, ge=0, le=1, description="That chance where it is `fixed` [cfg].")
    imbalance_factor: float = Field(
        1.25,
        ge=1,
        description="Missing energy costs the day-ahead price times this; a surplus earns as much less [cfg].",
    )
    seed: int = Field(20230815, ge=0, description="Seed of who is there on which day.")
