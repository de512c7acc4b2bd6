"""Every choice of a desk, with default, unit and source. Marked [cfg]: no source was found, so it is a setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecast_settings import ForecastSettings as ForecastSettings
from vpp_pipeline.forecast_settings import WeatherSettings as WeatherSettings
from vpp_pipeline.llm_settings import OWNERS_VARIABLES
from vpp_pipeline.llm_settings import LLMSettings as LLMSettings
from vpp_pipeline.settlement_settings import SettlementSettings as SettlementSettings


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FleetSettings(_Group):
    """Which homes and businesses take part."""

    path: Path | None = Field(None, description="CSV or Parquet file of a real fleet; empty: the seeded generator.")
    prosumers: int = Field(200, ge=3, description="Size of the generated fleet.")
    seed: int = Field(20230815, description="Seed of the generated fleet.")
    business_sites: int = Field(
        14, ge=0, description="Small business sites (100-500 kW) among the first 200 prosumers; the share holds beyond."
    )
    battery_share: float = Field(0.72, ge=0, le=1, description="Share of generated homes with a battery.")
    ev_share: float = Field(0.35, ge=0, le=1, description="Share of generated homes with an EV.")
    solar_share: float = Field(0.60, ge=0, le=1, description="Share of generated homes with a store that have solar.")
    v2g_share: float = Field(0.35, ge=0, le=1, description="Share of generated EVs whose owner lets them discharge.")
    commuter_share: float = Field(0.55, ge=0, le=1, description="Share of generated homes that commute.")
    home_office_share: float = Field(0.20, ge=0, le=1, description="Share of generated homes with a home office.")
    retired_share: float = Field(0.20, ge=0, le=1, description="Share of generated homes of retired people.")
    night_shift_share: float = Field(0.05, ge=0, le=1, description="Share of generated homes that work at night.")
    note_share: float = Field(0.06, ge=0, le=1, description="Share of generated owners who left a note.")
    initial_stored_fraction: float = Field(
        0.5, ge=0, le=1, description="Stored energy at the day's start and end, at least the floor."
    )
    reads_notes: bool = Field(True, description="Read owners' notes into limits, which they can only tighten.")
    quarantine_limit_fraction: float = Field(
        0.2, ge=0, le=1, description="A fleet of which a larger share is quarantined stops the run."
    )
    carry_over: bool = Field(
        False,
        description="Begin with the stored energy that the schedule of the day before ends with, where there is one.",
    )

    @model_validator(mode="after")
    def _archetypes_add_up(self) -> FleetSettings:
        total = self.commuter_share + self.home_office_share + self.retired_share + self.night_shift_share
        if abs(total - 1.0) > 1e-9:
            raise ValueError(
                f"the shares of archetypes add up to {total:g}; commuter_share, home_office_share, retired_share and "
                "night_shift_share must add up to 1"
            )
        return self


class MarketRules(_Group):
    """What CAISO accepts as a bid."""

    quantity_step_mw: float = Field(0.01, gt=0, description="Bids are rounded down to this [cfg].")
    energy_minimum_mw: float = Field(0.1, ge=0, description="Minimum of an aggregation (CAISO tariff 4.17.5).")
    reserve_minimum_mw: float = Field(0.5, ge=0, description="Minimum for spin and nonspin [cfg].")
    required_fraction: float = Field(0.8, gt=0, le=1, description="The 80 % rule: least share of R that a bid offers.")
    minimum_members: int = Field(3, ge=1, description="Least number of prosumers behind a bid.")
    maximum_commitment_fraction: float = Field(
        0.39, gt=0, le=1, description="Most of R that one prosumer may commit; below 0.4, so that 0.8 R needs three."
    )
    energy_price_floor_usd_per_mwh: float = Field(-150.0, description="CAISO energy bid floor (tariff 39.6.1.4).")
    energy_price_cap_usd_per_mwh: float = Field(1000.0, description="CAISO soft energy bid cap (tariff 39.6.1.1).")
    reserve_price_floor_usd_per_mw_h: float = Field(0.0)
    reserve_price_cap_usd_per_mw_h: float = Field(250.0, description="[cfg]")
    reserve_call_hours: float = Field(
        1.0, gt=0, description="Hours a called reserve must last (tau) [cfg]; the rule's minimum is 0.5 h."
    )
    maximum_segments: int = Field(
        10, ge=1, le=10, description="Most segments of an energy bid curve (tariff 30.5.2.4)."
    )

    @model_validator(mode="after")
    def _needs_enough_members(self) -> MarketRules:
        if self.maximum_commitment_fraction * (self.minimum_members - 1) >= self.required_fraction:
            raise ValueError(
                f"{self.minimum_members - 1} members could reach required_fraction {self.required_fraction} of R; "
                "lower maximum_commitment_fraction, or minimum_members"
            )
        return self

    @model_validator(mode="after")
    def _leaves_prices(self) -> MarketRules:
        for name in ("energy_price_{}_usd_per_mwh", "reserve_price_{}_usd_per_mw_h"):
            floor, cap = (getattr(self, name.format(side)) for side in ("floor", "cap"))
            if floor > cap:
                raise ValueError(f"no price is left: {name.format('floor')} {floor:g} is above the cap of {cap:g}")
        return self

    def minimum_mw(self, product: str) -> float:
        """Least MW of a bid for ``product``: the market's minimum, and at least one bid step."""
        minimum_mw = self.energy_minimum_mw if product == "energy" else self.reserve_minimum_mw
        return max(minimum_mw, self.quantity_step_mw)

    def price_limits(self, product: str) -> tuple[float, float]:
        """Lowest and highest bid price for ``product``."""
        if product == "energy":
            return self.energy_price_floor_usd_per_mwh, self.energy_price_cap_usd_per_mwh
        return self.reserve_price_floor_usd_per_mw_h, self.reserve_price_cap_usd_per_mw_h


class OpportunityPolicy(_Group):
    """How much of the fleet is offered, and when."""

    sizing: Literal["fraction", "fixed_mw", "planned"] = Field(
        "planned",
        description="How R is set; `planned`: what typical prosumers would sell at forecast prices, hour by hour.",
    )
    fraction: float = Field(
        0.10, gt=0, le=1, description="R as a share of what the fleet can offer then; the least where planned."
    )
    fixed_mw: float = Field(0.5, gt=0, description="R where sizing is `fixed_mw`.")
    planned_fraction: float = Field(
        0.75, gt=0, le=1, description="Most that a planned R counts on, as a share of what the fleet can offer then."
    )
    deal_days: int = Field(
        0,
        ge=0,
        le=7,
        description="Days before whose deals correct what planned sizes take as typical prices; 0: assumptions alone.",
    )
    minimum_price_usd_per_mwh: float | None = Field(
        None, description="Hours of energy with a lower expected price are not offered; reserve always is."
    )
    requests: Path | None = Field(None, description="CSV of requests; empty: data/opportunities.csv of the project.")


class NegotiationPolicy(_Group):
    """How deals are struck."""

    engine: Literal["concession", "uniform_clearing", "llm"] = Field(
        "concession", description="Negotiation engine; `llm` is `concession` with a language model's advice."
    )
    rounds: int = Field(3, ge=1, le=10, description="Most rounds; the last one ends it.")
    opening_markup_fraction: float = Field(0.25, ge=0, description="Opening ask above the reservation price.")
    opening_offer_fraction: float = Field(0.5, ge=0, le=1, description="First offer as a share of the ceiling.")
    minimum_margin_fraction: float = Field(
        0.10, ge=0, lt=1, description="Share of the expected price that the aggregator keeps."
    )
    ranking: Literal["cost_effectiveness", "original"] = Field(
        "cost_effectiveness",
        description="Rule that ranks deals; `original` is the first project's, which adds up unlike units.",
    )
    auction_depth: float = Field(
        5.0, ge=1, description="`uniform_clearing` buys up to this multiple of R; the next ask sets the price."
    )
    trust_region_fraction: float = Field(
        0.15, ge=0, le=1, description="How far an adviser's concession may lie from the rule's own."
    )
    transcript_prosumers: int = Field(
        2000, ge=0, description="Fleets up to this size keep every word; larger ones that of a sample of this size."
    )
    maximum_coalition: int | None = Field(None, ge=3, description="Most members per opportunity, best-ranked first.")
    spin_holding_usd_per_mw_h: float = Field(0.5, ge=0, description="Premium for an hour of readiness, spin.")
    nonspin_holding_usd_per_mw_h: float = Field(0.25, ge=0, description="Premium for an hour of readiness, nonspin.")
    spin_call_probability: float = Field(0.01, ge=0, le=1, description="Chance that spin is called in an hour [cfg].")
    nonspin_call_probability: float = Field(
        0.005, ge=0, le=1, description="Chance that nonspin is called in an hour [cfg]."
    )
    inconvenience_usd_per_mwh: float = Field(
        20.0, ge=0, description="Asked on top by an owner with no willingness at all."
    )

    def holding_usd_per_mw_h(self, product: str) -> float:
        return {"spin": self.spin_holding_usd_per_mw_h, "nonspin": self.nonspin_holding_usd_per_mw_h}[product]

    def call_probability(self, product: str) -> float:
        return {"spin": self.spin_call_probability, "nonspin": self.nonspin_call_probability}[product]


class OptimiserSettings(_Group):
    """How the day is solved."""

    method: Literal["auto", "exact", "column_generation"] = Field(
        "auto", description="`exact` up to `exact_up_to_prosumers`, `column_generation` above; or the one named."
    )
    exact_up_to_prosumers: int = Field(500, ge=0, description="Largest fleet that `auto` gives to the exact method.")
    solver: str = Field("HIGHS", description="CVXPY solver by name; HIGHS and LP solvers decide by our own search.")
    fallback_solver: str = Field("CLARABEL", description="CVXPY solver that takes over an LP in numerical trouble.")
    time_limit_seconds: float = Field(
        8.0,
        gt=0,
        description="CPU seconds of this process that the search for better bid/no-bid decisions may take, once its "
        "first answers are there; another mixed-integer solver is given it as its own limit.",
    )
    node_limit: int = Field(
        5_000, ge=0, description="Most branchings of the search: unlike seconds, the same on every machine."
    )
    time_limit_seconds_per_thousand: float = Field(
        1.0, ge=0, description="Added to that limit for each thousand prosumers, in column generation."
    )
    gap_target_fraction: float = Field(
        0.001,
        ge=0,
        description="The search ends when the proven gap is this small, as a share of what bidding could add.",
    )
    gap_warning_fraction: float = Field(
        0.05, ge=0, description="A day whose proven gap is wider is warned of: a better schedule may well exist."
    )
    gap_failure_fraction: float = Field(
        0.5, ge=0, description="A day whose proven gap is wider fails and publishes nothing; 1 lets every day pass."
    )
    satisfaction_weight_usd_per_mwh: float = Field(
        0.0, ge=0, le=10, description="Worth of one unit of satisfaction (sigma) per MWh."
    )
    charging_adder_usd_per_mwh: float = Field(
        0.0, ge=0, description="Paid on top of the market price for charging [cfg]."
    )


class PaymentSettings(_Group):
    """What prosumers earn beyond their agreed prices."""

    rule: Literal["agreed", "owen"] = Field(
        "agreed",
        description="`owen`: topped up towards what each adds to the day, from the profit less the minimum margin.",
    )


class RiskSettings(_Group):
    """What may happen instead of the forecast, and how much that weighs."""

    scenarios: int = Field(
        1, ge=1, le=1000, description="Futures that the day is held against; 1: the forecast alone, everyone there."
    )
    aversion: float = Field(
        0.0, ge=0, le=1, description="Weight λ in (1 − λ) · profit at the forecast + λ · CVaR of the scenarios' profit."
    )
    tail_fraction: float = Field(0.1, gt=0, le=1, description="Share of the worst scenarios whose mean the CVaR is.")
    history_days: int = Field(
        35, ge=8, le=400, description="Days before the market day whose prices tell how wrong forecasts are."
    )
    shortfall_penalty_fraction: float = Field(
        0.25, ge=0, description="Paid for what is not delivered, on top of its price, as a share of it [cfg]."
    )
    seed: int = Field(20230815, ge=0, description="Seed of the draws of past errors and of who is there.")


class ModelUseSettings(_Group):
    """What a language model's answers may be used for, beyond the engine `llm`; by default for nothing."""

    fallback_limit_fraction: float = Field(
        0.1, ge=0, le=1, description="A day of which the rule decided a larger share in the model's place is warned of."
    )
    formulation: bool = Field(False, description="Ask for weights and stricter limits of the day's problem.")
    formulation_loss_fraction: float = Field(
        0.02, ge=0, le=1, description="Most of the day's expected profit that such a formulation may cost."
    )
    reads_notes: bool = Field(False, description="Let the model read what the rules do not understand in notes.")
    paid_tier_confirmed: bool = Field(
        False, description="You confirm that the provider may not keep or learn from what it is sent; notes need it."
    )

    @model_validator(mode="after")
    def _notes_need_a_paid_tier(self) -> ModelUseSettings:
        if self.reads_notes and not self.paid_tier_confirmed:
            raise ValueError("owners' words would be sent away; it needs model_use.paid_tier_confirmed as well")
        return self


class OasisSettings(_Group):
    """How CAISO's OASIS is asked: the table [oasis] in `data/prices.toml`. No part of a bid's fingerprint."""

    url: str = Field(
        "https://oasis.caiso.com/oasisapi",
        pattern="^https?://",
        description="Address before `/SingleZip`; the environment variable VPP_OASIS_URL goes before it.",
    )
    region: str | None = Field(
        None, pattern="^(SP26|NP26)$", description="Reserve region of the node; empty: as its name says."
    )
    archive: Path | None = Field(None, description="Folder of our own copy; empty: `archive` beside prices.toml.")
    interval_s: float = Field(5.0, ge=0, description="Pause between requests of all processes (CAISO's use policy).")
    timeout_s: float = Field(60.0, gt=0, description="Limit of one whole answer.")
    attempts: int = Field(6, ge=1, description="Times that a question is asked while OASIS is busy, late or torn.")
    backoff_s: float = Field(
        5.0, ge=0, description="Pause before the second attempt; doubles, up to twelve times this."
    )
    patience_s: float = Field(600.0, gt=0, description="Wait at most so long for other processes that ask OASIS.")
    gate: Path | None = Field(
        None, description="Folder of the lock that paces; empty: this user's own in the machine's temporary one."
    )

    @model_validator(mode="after")
    def _keeps_the_use_policy(self) -> OasisSettings:
        if "caiso.com" in self.url and self.interval_s < 5.0:
            raise ValueError("CAISO's acceptable use policy asks for interval_s of 5 or more")
        return self


class Settings(_Group):
    """All settings of a run."""

    fleet: FleetSettings = FleetSettings()
    rules: MarketRules = MarketRules()
    opportunities: OpportunityPolicy = OpportunityPolicy()
    negotiation: NegotiationPolicy = NegotiationPolicy()
    optimiser: OptimiserSettings = OptimiserSettings()
    payments: PaymentSettings = PaymentSettings()
    risk: RiskSettings = RiskSettings()
    settlement: SettlementSettings = SettlementSettings()
    forecast: ForecastSettings = ForecastSettings()
    llm: LLMSettings = LLMSettings()
    model_use: ModelUseSettings = ModelUseSettings()


def read_settings(groups: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings by group and name, checked as a whole. Raises InputError, which names the first that cannot be used."""
    try:
        return Settings.model_validate(groups)
    except ValidationError as error:
        first = error.errors()[0]
    group, name = ([str(part) for part in first["loc"]] + ["", ""])[:2]
    variable = OWNERS_VARIABLES.get(name) if group == "llm" else None
    raise InputError(
        f"the setting {'.'.join(str(part) for part in first['loc'])} cannot be used: "
        f"{first['msg'].removeprefix('Value error, ')}",
        value=None if name == "api_key_variable" else first.get("input"),  # it may be the key itself
        remedy="vpp_pipeline/settings.py lists them all"
        + (f"; the environment variable {variable} sets this one" if variable else ""),
    )
