"""The day's problem as a language model would weigh it: a typed list of weights and stricter limits, and no more.

The specification cannot name a limit of an owner, a device or the market: those are compiled always. What it changes is
tried in a shadow solve, and the schedule found is validated and booked by the desk's own problem.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from vpp_pipeline.bidding.valid_bids import refusals_of, solve_valid_day, without_bids
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.infeasibility import InfeasibleDay
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.scenarios import expected_of, objective_of
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import FORMULATION
from vpp_pipeline.llm.adviser import Asks
from vpp_pipeline.llm.interface import LLMError, LLMRequest, StrictModel, schema_of
from vpp_pipeline.negotiation.agreements import satisfaction_worth
from vpp_pipeline.settings import Settings

PURPOSE, PROMPT_VERSION = "formulation", "1"
CENT = 0.01  # $: less is no loss

SYSTEM = """\
You advise on how to weigh one day's schedule of a virtual power plant. The user message is a JSON object with numbers
about the day and the weights in use. Answer with a specification in the given schema:
`risk_aversion` (0-1) weighs the mean profit of the worst `tail_fraction` of price scenarios against the expected
profit; it does nothing where there is one scenario. `satisfaction_usd_per_mwh` (0-10) credits deals that leave owners
more. `charging_adder_usd_per_mwh` (0-20) makes charging look dearer than the market. `stricter` may hold each of
hold_back (leave this share of every commitment unused), fewer_cycles (full cycles of every store), longer_calls (hours
that held reserve must last) once. Nothing else can be changed. A specification that costs more than
`largest_loss_fraction` of the expected profit is refused. Answer with JSON only."""


class HoldBack(StrictModel):
    """A share of every commitment that stays unused."""

    kind: Literal["hold_back"]
    fraction: float = Field(ge=0, le=0.5)


class FewerCycles(StrictModel):
    """Most full cycles of any store."""

    kind: Literal["fewer_cycles"]
    cycles_per_day: float = Field(ge=0.25, le=4)


class LongerCalls(StrictModel):
    """Hours that a called reserve must last."""

    kind: Literal["longer_calls"]
    hours: float = Field(ge=0.5, le=4)


Stricter = Annotated[HoldBack | FewerCycles | LongerCalls, Field(discriminator="kind")]


class FormulationSpec(StrictModel):
    """All that a model may choose. Every specification that validates is safe: it weighs, or it tightens."""

    risk_aversion: float = Field(ge=0, le=1)
    tail_fraction: float = Field(ge=0.05, le=1)
    satisfaction_usd_per_mwh: float = Field(ge=0, le=10)
    charging_adder_usd_per_mwh: float = Field(ge=0, le=20)
    stricter: list[Stricter] = Field(max_length=3)

    @model_validator(mode="after")
    def _each_once(self) -> FormulationSpec:
        kinds = [limit.kind for limit in self.stricter]
        if len(set(kinds)) != len(kinds):
            raise ValueError("a limit is named twice")
        return self


@dataclass(frozen=True)
class Formulated:
    """What the day is solved by, and how the plain formulation and the model's compare."""

    solution: DaySolution  # the plain one, unless the specification was accepted
    is_accepted: bool
    verdict: str
    spec: FormulationSpec | None = None
    plain_profit_usd: float | None = None  # expected, at the desk's own prices, satisfaction left out
    formulated_profit_usd: float | None = None  # the same measure of the shadow's schedule
    plain_objective_usd: float | None = None  # what each maximised, in its own terms
    formulated_objective_usd: float | None = None

    def told_in(self, proof: pl.DataFrame) -> pl.DataFrame:
        """The row of `dispatch.proof` with both formulations' figures; as it is where none was asked for."""
        if not self.verdict:
            return proof
        figures = {name: getattr(self, name) for name in FORMULATION if name.endswith("_usd")}
        told = {"formulation": self.spec.model_dump_json() if self.spec else None, "formulation_verdict": self.verdict}
        return proof.with_columns(
            pl.lit(value, dtype=FORMULATION[name]).alias(name) for name, value in (told | figures).items()
        )


def compiled(spec: FormulationSpec, day: DayProblem, least_price: np.ndarray) -> DayProblem:
    """``day`` with the specification's weights and stricter limits; ``least_price`` (K,) of each agreement, $/MWh.

    A limit is the tighter of the two; CVXPY's formulation (`dispatch/formulation.py`) and column generation read both.
    """
    limits = {limit.kind: limit for limit in spec.stricter}
    scenarios, fleet, committed, call_hours = day.scenarios, day.fleet, day.committed_kw, day.call_hours
    if scenarios is not None:
        scenarios = replace(scenarios, aversion=spec.risk_aversion, tail_fraction=spec.tail_fraction)
    if isinstance(held := limits.get("hold_back"), HoldBack):
        committed = committed * (1.0 - held.fraction)
    if isinstance(cycles := limits.get("fewer_cycles"), FewerCycles):
        fleet = replace(fleet, maximum_cycles_per_day=np.minimum(fleet.maximum_cycles_per_day, cycles.cycles_per_day))
    if isinstance(calls := limits.get("longer_calls"), LongerCalls):
        call_hours = max(call_hours, calls.hours)
    return replace(
        day,
        fleet=fleet,
        scenarios=scenarios,
        committed_kw=committed,
        call_hours=call_hours,
        satisfaction_worth=satisfaction_worth(day.call_price, least_price, spec.satisfaction_usd_per_mwh),
        charging_adder=max(day.charging_adder, spec.charging_adder_usd_per_mwh),
    )


def formulate(day: DayProblem, least_price: np.ndarray, settings: Settings, gateway: Asks) -> Formulated:
    """Solve the day plainly and as the model would weigh it; the latter's schedule where it costs little.

    Raises what :func:`solve_valid_day` raises for the plain problem; whatever goes wrong with the other leaves the
    plain.
    """
    plain = solve_valid_day(day, settings.rules, settings.optimiser)
    if settings.payments.rule != "agreed":
        return Formulated(plain, False, "not asked: top-ups rest on the plain problem's internal prices")
    try:
        spec = gateway.ask(formulation_question(day, settings), FormulationSpec)
    except LLMError as error:  # the plain formulation stands, and the table says so
        return Formulated(plain, False, f"no answer: {error.kind}")
    try:
        weighed = compiled(spec, without_bids(day, plain.refusals), least_price)
        shadow = solve_day(weighed, settings.rules, settings.optimiser)
    except (SolveError, InfeasibleDay) as error:  # what a tightened problem cannot do is no fault of the day
        return Formulated(plain, False, f"refused: no schedule, {type(error).__name__}", spec)
    found = judge(day, plain, shadow, spec, settings.model_use.formulation_loss_fraction)
    refused = refusals_of(day, found.solution, settings.rules)
    if refused:  # dearer than in the plain formulation, where the market takes every bid
        name, reason = next(iter(refused.items()))
        words = f"refused: the market would not take {len(refused)} of its bids, first {name}: {reason}"
        return replace(found, solution=plain, is_accepted=False, verdict=words)
    return found


def judge(
    day: DayProblem, plain: DaySolution, shadow: DaySolution, spec: FormulationSpec, most_loss: float
) -> Formulated:
    """Whether ``shadow`` may stand for ``plain``: at most the share ``most_loss`` less profit, never less than no bid.

    An accepted schedule is booked in the plain problem's terms: its objective, and the bound that holds for both.
    """
    money = replace(day, satisfaction_worth=np.zeros_like(day.satisfaction_worth))
    no_sale_usd = -float(plain.no_sale_charging_usd.sum())
    plain_usd, shadow_usd = expected_of(money, plain), expected_of(money, shadow)
    worth = objective_of(day, shadow)
    figures = (plain_usd, shadow_usd, plain.objective_usd, shadow.objective_usd)
    allowed_usd = most_loss * max(plain_usd - no_sale_usd, 0.0)
    words = f"{usd(shadow_usd)} of expected profit instead of {usd(plain_usd)}"
    if shadow_usd < plain_usd - allowed_usd - CENT or worth < no_sale_usd:
        return Formulated(
            plain, False, f"refused: {words}, a loss of at most {usd(allowed_usd)} is allowed", spec, *figures
        )
    booked = replace(
        shadow,
        objective_usd=worth,
        bound_usd=max(plain.bound_usd, worth),
        no_sale_charging_usd=plain.no_sale_charging_usd,
        refusals=plain.refusals,
        method=f"{shadow.method}; weighed by a language model",
        seconds=plain.seconds + shadow.seconds,
    )
    return Formulated(booked, True, f"accepted: {words}", spec, *figures)


def formulation_question(day: DayProblem, settings: Settings) -> LLMRequest:
    """The day in rounded numbers: prices, sizes and weights; nothing about any one prosumer."""
    by_product = {
        product: {
            "opportunities": int((mine := day.product == k).sum()),
            "required_mw": round(float(day.required_mw[mine].sum()), 1),
            "price_usd_per_mwh": [round(float(each)) for each in np.quantile(day.price[mine], (0.0, 0.5, 1.0))],
        }
        for k, product in enumerate(PRODUCTS)
        if (day.product == k).any()
    }
    told = {
        "products": by_product,
        "prosumers": len(day.fleet),
        "scenarios": len(day.scenarios.probability) if day.scenarios else 1,
        "weights": {
            "risk_aversion": settings.risk.aversion,
            "tail_fraction": settings.risk.tail_fraction,
            "satisfaction_usd_per_mwh": settings.optimiser.satisfaction_weight_usd_per_mwh,
            "charging_adder_usd_per_mwh": settings.optimiser.charging_adder_usd_per_mwh,
        },
        "largest_loss_fraction": settings.model_use.formulation_loss_fraction,
    }
    return LLMRequest(
        purpose=PURPOSE,
        model=settings.llm.model,
        system=SYSTEM,
        user=json.dumps(told, separators=(",", ":"), allow_nan=False),
        json_schema=schema_of(FormulationSpec),
        temperature=settings.llm.temperature,
        max_output_tokens=settings.llm.max_output_tokens,
        prompt_version=PROMPT_VERSION,
        subject=f"day_{day.market_date}",
    )
