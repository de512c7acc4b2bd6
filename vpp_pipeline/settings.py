"""Settings of a run, with default, unit, and source; [cfg] marks a value for which no source was found."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.errors import InputError, did_you_mean, setting_problem

SETTINGS_FILE = "settings.toml"  # in a data folder
KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "VPP_LLM_API_KEY")

#: settings that say where a key goes and which files are written, and the environment variable of each. The owner of
#: the machine decides on them, there or on the command line; a run's configuration in Dagster cannot name them.
OWNERS_VARIABLES: Mapping[str, str] = {
    "base_url": "VPP_LLM_URL",
    "api_key_variable": "VPP_LLM_API_KEY_VARIABLE",
    "store": "VPP_LLM_STORE",
    "answers": "VPP_LLM_ANSWERS",
}


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FleetSettings(_Group):
    """The fleet: a file, or the seeded generator."""

    path: Path | None = Field(None, description="CSV or Parquet file of the fleet; null: the seeded generator.")
    prosumers: int = Field(200, ge=3, description="Size of the generated fleet.")
    part_prosumers: int = Field(
        100_000,
        ge=10,
        description="A fleet of more is made, bid, and verified in parts, one resource each, beside each other with "
        "`optimiser.backend=ray`; a generated one is cut into so many resources.",
    )
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
        0.5,
        ge=0,
        le=1,
        description="Initial and terminal state of charge.",
    )
    reads_notes: bool = Field(True, description="Read owners' notes into preferences, which they can only tighten.")
    quarantine_limit_fraction: float = Field(
        0.2, ge=0, le=1, description="Largest share of a fleet file in quarantine; a larger one stops the run."
    )
    home_limit_kw: float = Field(
        100.0, gt=0, description="Power, solar, or load above which a home of a file is set aside: probably W [cfg]."
    )
    home_limit_kwh: float = Field(
        500.0, gt=0, description="Capacity above which a home of a file is set aside: probably Wh [cfg]."
    )
    business_limit_kw: float = Field(10_000.0, gt=0, description="The same power of a business [cfg].")
    business_limit_kwh: float = Field(50_000.0, gt=0, description="The same capacity of a business [cfg].")
    least_capacity_kwh: float = Field(
        0.1, ge=0, description="Capacity below which a store of a file is set aside: probably MWh [cfg]."
    )
    shortest_duration_hours: float = Field(
        0.05, ge=0, description="Capacity over power below which a store of a file is set aside: unlike units [cfg]."
    )
    longest_duration_hours: float = Field(
        200.0, gt=0, description="Capacity over power above which a store of a file is set aside: unlike units [cfg]."
    )
    carry_over: bool = Field(
        False,
        description="Begin with the terminal state of charge of the day before's schedule, where there is one.",
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


class ResourceSettings(_Group):
    """The resources that bids are made for: those of a file, or the desk's single one."""

    path: Path | None = Field(None, description="CSV file of resources; null: one resource for the whole fleet.")
    participation: Literal["storage", "hourly", "proxy_demand", "none"] = Field(
        "storage",
        description="How the single resource takes part: `storage` is cleared over the day with its state of charge, "
        "`hourly` hour by hour; `proxy_demand` exports nothing, `none` sells nothing.",
    )
    certified_spin_mw: float | None = Field(
        None,
        ge=0,
        description="Certified spinning reserve of the single resource; null: assumed for all it can hold, though no "
        "certificate is known. 0: none is bid.",
    )
    certified_nonspin_mw: float | None = Field(None, ge=0, description="The same for non-spinning reserve.")
    storage_classes: int = Field(
        17, ge=1, le=99, description="Most storage resources that one taking part as `storage` is cut into."
    )
    storage_remade_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the owners that joined or left since, from which on its classes are made anew.",
    )
    storage_least_mw: float = Field(
        0.112, ge=0.001, description="Least discharge of a class when it is made: the market's minimum, and some room."
    )

    @model_validator(mode="after")
    def _describes_one_resource(self) -> ResourceSettings:
        fields = type(self).model_fields
        stated = [name for name in fields if name == "participation" or name.startswith("certified")]
        own = [name for name in stated if getattr(self, name) != fields[name].default]
        if self.path is not None and own:
            raise ValueError(f"the file of resources states {', '.join(own)} itself; leave out the one or the other")
        return self


class MarketRules(_Group):
    """Market rules for bids, CAISO's and our own."""

    quantity_step_mw: float = Field(0.01, ge=1e-4, description="Bids are rounded down to this [cfg].")
    energy_minimum_mw: float = Field(0.1, ge=0, description="Minimum of an aggregation (CAISO tariff 4.17.5).")
    reserve_minimum_mw: float = Field(0.5, ge=0, description="Minimum for spin and nonspin [cfg].")
    storage_step_mw: float = Field(0.001, ge=1e-4, description="Limits of storage resources are rounded to this [cfg].")
    storage_reserve_minimum_mw: float = Field(
        0.1, ge=0, description="Least certification for which a storage resource may offer a reserve [cfg]."
    )
    storage_kept_by: Literal["market", "coordinator"] = Field(
        "market",
        description="Who keeps the state of charge of storage resources (PRR 922): the market, which awards no more "
        "than it allows, or the scheduling coordinator, who bids such that any awards can be delivered.",
    )
    storage_limits_by_hour: bool = Field(
        True,
        description="Whether the market takes limits of the state of charge by hour, day ahead [not verified]; false: "
        "one range holds for the whole day.",
    )
    storage_limit_of_day: bool = Field(
        False,
        description="Whether it takes a limit of daily discharge [not verified]; false: charging is "
        "offered in the cheapest hours of the forecast, as far as no award can discharge more than the day may.",
    )
    required_fraction: float = Field(
        0.8, gt=0, le=1, description="The 80% rule: smallest share of R that a bid offers."
    )
    minimum_members: int = Field(3, ge=1, description="Smallest number of prosumers behind a bid.")
    maximum_commitment_fraction: float = Field(
        0.39,
        gt=0,
        le=1,
        description="Largest share of R that one prosumer commits; below 0.4, so that 0.8 R needs three.",
    )
    energy_price_floor_usd_per_mwh: float = Field(-150.0, description="CAISO energy bid floor (tariff 39.6.1.4).")
    energy_price_cap_usd_per_mwh: float = Field(1000.0, description="CAISO soft energy bid cap (tariff 39.6.1.1).")
    reserve_price_floor_usd_per_mw_h: float = Field(0.0, description="Lowest bid price of spin and nonspin.")
    reserve_price_cap_usd_per_mw_h: float = Field(250.0, description="Highest bid price of spin and nonspin [cfg].")
    reserve_call_hours: float = Field(
        1.0, gt=0, description="Hours that a called reserve must last (tau) [cfg]; the rule's minimum is 0.5 h."
    )
    maximum_segments: int = Field(10, ge=1, le=10, description="Most segments of an energy curve (tariff 30.5.2.4).")

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
        """Smallest MW of a bid for ``product``: the market's minimum, and at least one bid step."""
        return max(self._of(CAISO.product(product).minimum), self.quantity_step_mw)

    def price_limits(self, product: str) -> tuple[float, float]:
        """Lowest and highest bid price for ``product``."""
        declared = CAISO.product(product)
        return self._of(declared.price_floor), self._of(declared.price_cap)

    def call_hours(self, product: str) -> float:
        """Hours that ``product`` must last when it is called."""
        return self._of(CAISO.product(product).call_hours)

    @property
    def backing_hours(self) -> float:
        """Hours of energy behind each kW held: the longest call of any reserve."""
        return max(self.call_hours(product.name) for product in CAISO.reserves)

    def _of(self, name: str) -> float:
        return float(getattr(self, name))


class OpportunityPolicy(_Group):
    """Opportunities: how much of the fleet is offered, and when."""

    sizing: Literal["fraction", "fixed_mw", "planned"] = Field(
        "planned",
        description="Rule that sizes R; `planned`: sales of typical prosumers at forecast prices, hour by hour.",
    )
    fraction: float = Field(
        0.10, gt=0, le=1, description="R as a share of what the fleet can offer then, where sizing is `fraction`."
    )
    fixed_mw: float = Field(0.5, gt=0, description="R where sizing is `fixed_mw`.")
    planned_fraction: float = Field(
        0.75, gt=0, le=1, description="Largest planned R, as a share of what can be offered."
    )
    deal_days: int = Field(
        0,
        ge=0,
        le=7,
        description="Past days whose agreements correct the typical prices of planned sizes; 0: assumptions only.",
    )
    minimum_price_usd_per_mwh: float | None = Field(
        None, description="Hours of energy with a lower expected price are not offered; reserve always is."
    )
    requests: Path | None = Field(
        None, description="CSV of requests; null: data/opportunities.csv of the project; else the example."
    )


class NegotiationPolicy(_Group):
    """The negotiation: engine, rounds, and prices."""

    engine: Literal["concession", "uniform_clearing", "llm"] = Field(
        "concession", description="Negotiation engine; `llm` is `concession` with a language model's advice."
    )
    contract: Literal["indexed", "fixed"] = Field(
        "indexed",
        description="Contract of a deal: a floor and a cap, indexed to the price that clears, or a fixed price.",
    )
    rounds: int = Field(3, ge=1, le=10, description="Largest number of rounds; the last one ends the negotiation.")
    opening_premium_fraction: float = Field(
        1.0, ge=0, description="Opening ask for the cap of an indexed deal, above its floor."
    )
    posted: Literal["cap", "half_share"] = Field(
        "cap",
        description="Indexed deals of `uniform_clearing`: a posted cap, or half of what exceeds a reference as well.",
    )
    posted_multiple: float = Field(
        1.5, ge=1, description="Posted cap as a multiple of the median reservation price of the segment's other owners."
    )
    opening_markup_fraction: float = Field(
        0.25, ge=0, description="Opening ask for a fixed price, above the reservation price."
    )
    opening_offer_fraction: float = Field(0.5, ge=0, le=1, description="First offer as a share of the ceiling.")
    minimum_margin_fraction: float = Field(0.10, ge=0, lt=1, description="Smallest margin of the aggregator.")
    ranking: Literal["cost_effectiveness", "original"] = Field(
        "cost_effectiveness",
        description="Rule that ranks deals; `original` is that of the first project, which adds different units.",
    )
    auction_depth: float = Field(
        5.0,
        ge=1,
        description="`uniform_clearing` at fixed prices buys up to this multiple of R; the next ask sets the price.",
    )
    trust_region_fraction: float = Field(0.15, ge=0, le=1, description="Largest deviation of an adviser from the rule.")
    transcript_prosumers: int = Field(
        2000, ge=0, description="Fleets up to this size keep every message; larger ones those of a sample of this size."
    )
    maximum_coalition: int | None = Field(None, ge=3, description="Largest coalition, best-ranked members first.")
    spin_holding_usd_per_mw_h: float = Field(0.5, ge=0, description="Premium for an hour of readiness, spin.")
    nonspin_holding_usd_per_mw_h: float = Field(0.25, ge=0, description="Premium for an hour of readiness, nonspin.")
    spin_call_probability: float = Field(0.01, ge=0, le=1, description="Chance that spin is called in an hour [cfg].")
    nonspin_call_probability: float = Field(0.005, ge=0, le=1, description="Chance of a nonspin call in an hour [cfg].")
    inconvenience_usd_per_mwh: float = Field(20.0, ge=0, description="Extra ask of an owner with no willingness.")

    def holding_usd_per_mw_h(self, product: str) -> float:
        return float(getattr(self, CAISO.product(product).holding))

    def call_probability(self, product: str) -> float:
        return float(getattr(self, CAISO.product(product).call_probability))


class OptimiserSettings(_Group):
    """The optimization of the day."""

    method: Literal["auto", "exact", "column_generation"] = Field(
        "auto", description="`exact` up to `exact_up_to_prosumers`, `column_generation` above; or the one named."
    )
    exact_up_to_prosumers: int = Field(500, ge=0, description="Largest fleet that `auto` gives to the exact method.")
    solver: str = Field(
        "HIGHS", description="CVXPY solver by name; with HIGHS and LP solvers, our own branch and bound decides."
    )
    fallback_solver: str = Field("CLARABEL", description="CVXPY solver that takes over an LP in numerical trouble.")
    pivot_limit: int = Field(
        40_000,
        ge=0,
        description="Most simplex iterations of the search after its first solutions, the same everywhere: some 8 CPU "
        "seconds.",
    )
    node_limit: int = Field(5_000, ge=0, description="Most branchings of the search, the same everywhere.")
    time_limit_seconds: float = Field(
        60.0,
        gt=0,
        description="CPU seconds of the search, for a machine so slow that they come before `pivot_limit`; or seconds "
        "of another mixed-integer solver.",
    )
    time_limit_seconds_per_thousand: float = Field(
        0.1, ge=0, description="Addition to the time limit for each thousand prosumers, in column generation."
    )
    gap_target_fraction: float = Field(
        0.001,
        ge=0,
        description="The search ends when the MIP gap is this small, as a share of what bidding could add.",
    )
    gap_warning_fraction: float = Field(
        0.05, ge=0, description="A day with a wider MIP gap gets a warning: a better schedule may exist."
    )
    gap_failure_fraction: float = Field(
        0.5, ge=0, description="A day with a wider MIP gap fails and publishes nothing; 1 lets every day pass."
    )
    satisfaction_weight_usd_per_mwh: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Weight of one unit of satisfaction (sigma) per MWh; fixed prices only, since floors leave none.",
    )
    charging_adder_usd_per_mwh: float = Field(0.0, ge=0, description="Addition to the market price for charging [cfg].")
    backend: Literal["local", "ray"] = Field(
        "local",
        description="Where column generation holds the fleet: in this process, or in shards on a Ray cluster, with the "
        "same results to the bit (docs/scaling.md).",
    )
    shards: int = Field(
        0, ge=0, le=1000, description="Most shards of a fleet on Ray; 0: as many as the cluster has CPUs for."
    )
    shard_cpus: float = Field(
        1.0, gt=0, le=1000, description="CPUs of a node that a shard takes; it runs as many threads, at least one."
    )
    shard_folder: str | None = Field(
        None,
        description="Folder for shards and what they find, which every node can read and write, or its URL in an "
        "object store; empty: the temporary folder, for a cluster on this machine.",
    )
    shard_patience_s: float = Field(
        120.0, gt=0, description="A shard of which no node has answered for so long ends the day with an error."
    )
    ray_address: str | None = Field(
        None, description="HOST:PORT of the cluster's head; empty: RAY_ADDRESS, else a head on this machine."
    )


#: settings of `optimiser` that say where a day is computed, which changes no bit of it
COMPUTED_WHERE = {"backend", "shards", "shard_cpus", "shard_folder", "shard_patience_s", "ray_address"}


class PaymentSettings(_Group):
    """Payments to prosumers."""

    rule: Literal["agreed", "owen"] = Field(
        "agreed",
        description="`owen`: topped up toward what each adds to the day, from the profit less the minimum margin.",
    )


class RiskSettings(_Group):
    """Price scenarios, and how much their risk weighs."""

    scenarios: int = Field(
        1,
        ge=1,
        le=1000,
        description="Price scenarios of the day; 1: the forecast alone, with every prosumer available.",
    )
    aversion: float = Field(
        0.0, ge=0, le=1, description="Weight λ in (1 − λ) · profit at the forecast + λ · CVaR of the scenarios' profit."
    )
    tail_fraction: float = Field(0.1, gt=0, le=1, description="Share of the worst scenarios in the CVaR.")
    history_days: int = Field(
        35, ge=8, le=400, description="Days before the market day whose forecast errors the scenarios draw from."
    )
    shortfall_penalty_fraction: float = Field(
        0.25, ge=0, description="Paid for a shortfall on top of its price, as a share of that price [cfg]."
    )
    seed: int = Field(20230815, ge=0, description="Seed of the draws of past errors and of available prosumers.")


class ModelUseSettings(_Group):
    """Uses of a language model's answers beyond the engine `llm`; all off by default."""

    fallback_limit_fraction: float = Field(
        0.1, ge=0, le=1, description="A day in which the rule replaced the model in a larger share gets a warning."
    )
    formulation: bool = Field(False, description="Ask the model for weights and stricter limits of the day's problem.")
    formulation_loss_fraction: float = Field(
        0.02, ge=0, le=1, description="Largest share of the day's expected profit that such a formulation may cost."
    )
    reads_notes: bool = Field(False, description="Let the model read what the rules do not understand in notes.")
    paid_tier_confirmed: bool = Field(
        False, description="You confirm that the provider may not keep or learn from its input; notes require it."
    )

    @model_validator(mode="after")
    def _notes_need_a_paid_tier(self) -> ModelUseSettings:
        if self.reads_notes and not self.paid_tier_confirmed:
            raise ValueError("owners' notes would be sent to the provider; set model_use.paid_tier_confirmed as well")
        return self


#: what meters and prices are suspected of, where they are held against the sun, their sizes, and the market
SUSPICIONS = ("night", "clock", "running_total", "level", "price_shape", "price_level")


class ForecastSettings(BaseModel):
    """How prices, solar, load and charging are forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: Literal["auto", "average", "model", "lear", "seven_day_mean", "yesterday"] = Field(
        "auto",
        description="`model`: trees of a year; `lear`: lines of two; `average`: both; `auto`: that, but the seven-day "
        "mean for generated prices.",
    )
    solar: Literal["auto", "profile", "clear_sky", "metered", "weather"] = Field(
        "auto", description="`auto` is `metered` where meters measure solar, else the embedded `profile`."
    )
    load: Literal["auto", "profile", "metered"] = Field(
        "auto", description="`auto` is `metered` where meters measure load, else the embedded `profile`."
    )
    charging: Literal["auto", "none", "metered"] = Field(
        "auto", description="`auto` is `metered` where meters measure charging, else `none`: as the fleet states."
    )
    meters_late_hours: float = Field(
        48.0, gt=0, description="Meters whose newest hour is older than this when bids close get a warning."
    )
    accepted_suspicions: str = Field(
        "",
        description="Suspicions against meters (night, clock, running_total, level) and prices (price_shape, "
        "price_level) that do not count, with commas.",
    )
    latitude_deg: float = Field(34.0, ge=-66, le=66, description="Latitude of the panels, for pvlib and the weather.")
    longitude_deg: float = Field(-118.0, ge=-180, le=180, description="Longitude of the panels; east is positive.")
    tilt_deg: float = Field(20.0, ge=0, le=90, description="Slope of the panels from the horizontal.")
    azimuth_deg: float = Field(180.0, ge=0, le=360, description="Direction of the panels; 180 is south.")
    performance: float = Field(
        0.80, gt=0, le=1.2, description="Output per kW installed at 1 kW/m²: inverter, heat, dirt, wiring."
    )
    clearness: float | None = Field(
        None, ge=0, le=1.2, description="Factor on `clear_sky`; null: the month's mean in Fontana, California."
    )

    @field_validator("accepted_suspicions")
    @classmethod
    def _are_known(cls, names: str) -> str:
        unknown = [name for name in _listed(names) if name not in SUSPICIONS]
        if unknown:
            raise ValueError(f"{unknown[0]} is no suspicion; write one or more of {', '.join(SUSPICIONS)}")
        return names

    @property
    def accepted(self) -> frozenset[str]:
        """The suspicions that do not count."""
        return frozenset(_listed(self.accepted_suspicions))


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


class LLMSettings(BaseModel):
    """Requests to a language model, and limits of their cost. It only proposes; off by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["off", "live", "replay", "refresh"] = Field(
        "off",
        description="`off`: no requests; `live`: stored answers first, then requests; `replay`: stored answers only; "
        "`refresh`: requests only.",
    )
    provider: Literal["google-genai", "google-generativeai"] = Field(
        "google-genai", description="SDK: extra `gemini`, or `gemini-legacy`, unsupported upstream since 2025-11-30."
    )
    model: str = Field(
        "gemini-3.5-flash-lite",
        pattern=r"^[A-Za-z0-9][\w.\-]{0,127}$",
        description="Model id; models get retired.",
    )
    api_key_variable: str = Field(
        "GEMINI_API_KEY",
        description="Environment variable that holds the key: GEMINI_API_KEY, GOOGLE_API_KEY or VPP_LLM_API_KEY.",
    )
    base_url: str | None = Field(None, description="Another endpoint, https or this machine; null: the provider's own.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature; some models ignore it.")
    max_output_tokens: int = Field(4096, ge=16, le=65_536, description="Most tokens of an answer, with reasoning.")
    attempts: int = Field(3, ge=1, le=10, description="Most attempts per question.")
    attempt_timeout_s: float = Field(10.0, gt=0, le=600, description="Seconds of wall time of one attempt.")
    deadline_s: float = Field(20.0, gt=0, le=3600, description="Seconds of wall time of one question, with waits.")
    run_deadline_s: float = Field(
        35.0, gt=0, le=86_400, description="Seconds after a gateway's first question when it stops asking."
    )
    first_pause_s: float = Field(0.5, ge=0, le=60, description="Pause before a second attempt; doubles thereafter.")
    longest_pause_s: float = Field(4.0, ge=0, le=600, description="Longest pause, unless the provider asks for more.")
    breaker_failures: int = Field(5, ge=1, description="Failed questions in a row after which requests pause.")
    breaker_pause_s: float = Field(60.0, gt=0, description="Seconds of that pause; then one question is a trial.")
    workers: int = Field(8, ge=1, le=64, description="Most concurrent calls in a process.")
    calls_per_day: int = Field(1000, ge=0, description="Most calls a Pacific day, of all processes on one store.")
    tokens_per_day: int = Field(3_000_000, ge=0, description="Most tokens a Pacific day, input and output.")
    usd_per_day: float = Field(2.0, ge=0, description="Most money a Pacific day, at the prices below.")
    input_usd_per_million_tokens: float = Field(
        1.5, ge=0, description="Price of input; the default is a dearer model's, so that costs are overstated [cfg]."
    )
    output_usd_per_million_tokens: float = Field(9.0, ge=0, description="Price of output, with reasoning [cfg].")
    prices_as_of: str = Field(
        "2026-06-18", pattern=r"^\d{4}-\d{2}-\d{2}$", description="Day on which both prices were read; set all three."
    )
    prompt_limit_bytes: int = Field(60_000, ge=1, description="Longer questions are not sent.")
    reply_limit_bytes: int = Field(60_000, ge=1, description="Longer answers are refused and not stored.")
    store: Path | None = Field(
        None, description="SQLite file of answers, budget, and audit; null: llm.sqlite in the data folder."
    )
    answers: Path | None = Field(None, description="JSON lines of further answers, as `export_answers` writes them.")

    @field_validator("api_key_variable")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if name not in KEY_VARIABLES:
            raise ValueError(
                f"write the name of an environment variable, one of {', '.join(KEY_VARIABLES)}; never the key itself"
            )
        return name

    @field_validator("base_url")
    @classmethod
    def _keeps_the_key_private(cls, url: str | None) -> str | None:
        safe = r"(https://[A-Za-z0-9.\-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?/?"
        if url is not None and not re.fullmatch(safe, url):
            raise ValueError(
                "write https://host or https://host:port; http:// is for this machine alone: it shows the key"
            )
        return url


class SettlementSettings(BaseModel):
    """Which prosumers are available in settlement, and what imbalance costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    availability: Literal["fleet", "fixed"] = Field(
        "fleet", description="Chance that a prosumer is available: its own `availability_fraction`, or one for all."
    )
    availability_fraction: float = Field(0.8, ge=0, le=1, description="Probability under `fixed` [cfg].")
    imbalance_factor: float = Field(
        1.25,
        ge=1,
        description="A shortfall costs the day-ahead price times this; a surplus earns as much less [cfg].",
    )
    seed: int = Field(20230815, ge=0, description="Seed of which prosumers are available on which day.")


class Settings(_Group):
    """All settings of a run."""

    fleet: FleetSettings = FleetSettings()
    resources: ResourceSettings = ResourceSettings()
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

    def of_part(self, parts: int) -> Settings:
        """Those of one of so many parts of a fleet: it is optimized in the process that works on it, and keeps its
        share of the transcripts."""
        transcripts = -(-self.negotiation.transcript_prosumers // parts)
        changed = {
            "optimiser": self.optimiser.model_copy(update={"backend": "local"}),
            "negotiation": self.negotiation.model_copy(update={"transcript_prosumers": transcripts}),
        }
        return self.model_copy(update=changed)

    def deciding(self, *others: str) -> str:
        """What results depend on, as JSON: all settings but where they are computed, and but groups ``others``."""
        return self.model_dump_json(exclude={"optimiser": COMPUTED_WHERE, **dict.fromkeys(others, True)})

    @classmethod
    def as_published(cls, text: str) -> Settings:
        """Those that a published day was made with, from their JSON.

        A day of a file of resources may name `hourly` beside it, which was the default then; the file decides.
        """
        groups = json.loads(text)
        if groups.get("resources", {}).get("path"):
            groups["resources"].pop("participation", None)
        return cls.model_validate(groups)

    def hour_by_hour(self) -> Settings:
        """The same with the single resource bid hour by hour, where it takes part as storage. A file states its own."""
        if self.resources.path is not None or self.resources.participation != "storage":
            return self
        hourly = self.resources.model_copy(update={"participation": "hourly"})
        return self.model_copy(update={"resources": hourly})


def read_settings(groups: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings by group and name, checked as a whole. Raises InputError, which names the first invalid one."""
    try:
        return Settings.model_validate(groups)
    except ValidationError as error:
        first = error.errors()[0]
    group, name = ([str(part) for part in first["loc"]] + ["", ""])[:2]
    if first["type"] == "extra_forbidden":
        raise _unknown(group, name or next(iter(groups[group]), ""))
    variable = OWNERS_VARIABLES.get(name) if group == "llm" else None
    raise InputError(
        f"the setting {'.'.join(str(part) for part in first['loc'])} cannot be used: {setting_problem(first)}",
        value=None if name == "api_key_variable" else first.get("input"),  # it may be the key itself
        remedy=f"`vpp-pipeline settings {group}` lists what is allowed"
        + (f"; the environment variable {variable} sets this one" if variable else ""),
    )


def settings_beside(data: Path) -> dict[str, dict[str, Any]]:
    """What `settings.toml` of a data folder sets, by group and name, with absolute paths; nothing where there is none.

    A run's own settings go before these. Raises InputError, which names the file, where it cannot be used.
    """
    file = data / SETTINGS_FILE
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"not a file of settings: {error}",
            file=file,
            remedy="Write a setting below its group, such as prosumers = 500 below [fleet]",
        ) from None
    if others := [name for name, values in found.items() if not isinstance(values, dict)]:
        raise InputError(
            "a setting stands outside its group", file=file, key=others[0], remedy="Write it below [GROUP]"
        )
    try:
        read_settings(found)
    except InputError as error:
        raise InputError(str(error).rstrip("."), file=file, remedy="Correct the file") from None
    for group, values in found.items():
        for name, value in values.items():
            if Path in _types_of(group, name):
                values[name] = str(data.resolve() / value)
    return found


def _types_of(group: str, name: str) -> tuple[object, ...]:
    annotation = type(Settings.model_fields[group].default).model_fields[name].annotation
    return (annotation, *get_args(annotation))


def _unknown(group: str, name: str) -> InputError:
    """The error of a setting that does not exist, with the one that may be meant."""
    groups = {other: type(field.default).model_fields for other, field in Settings.model_fields.items()}
    known = [f"{other}.{one}" for other, fields in groups.items() for one in fields]
    asked = f"{group}.{name}".rstrip(".")
    return InputError(
        f"there is no setting {asked}{did_you_mean(asked, known)}", remedy="`vpp-pipeline settings` lists them all"
    )


def llm_of_environment() -> dict[str, str]:
    """The owner's settings that environment variables name."""
    return {name: os.environ[variable] for name, variable in OWNERS_VARIABLES.items() if os.environ.get(variable)}
