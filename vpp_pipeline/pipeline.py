"""The chain of a market day: pure stage functions on named tables, and the whole day in one call.

    state the problem → solve it (`bidding.valid_bids`) → tabulate the solution → pay → bid

Every stage takes the day's tables by their warehouse names, with its settings, and gives new ones. Dagster's assets,
the command line, the back-test, `run_cycle`, and the benchmarks call these functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from vpp_pipeline.bidding.bids import Stamp, form_bids, reconcile
from vpp_pipeline.core.tables import SCHEDULE_BEFORE, Day
from vpp_pipeline.dispatch.payments import owen_shares_table, payments_of
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, day_problem
from vpp_pipeline.dispatch.scenarios import with_scenarios
from vpp_pipeline.fleet.arrays import Fleet, begin_with, fleet_arrays, starts_of
from vpp_pipeline.negotiation.agreements import summarise
from vpp_pipeline.negotiation.negotiate import Adviser, negotiate
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
from vpp_pipeline.schemas import LLMCalls, PriceScenarios
from vpp_pipeline.settings import Settings

EXPECTED = ("market.solar_forecast", "market.load_forecast", "market.charging_forecast")


@dataclass(frozen=True)
class Inputs:
    """What a day's bids are made from: rows of the tables of these names."""

    forecast: pl.DataFrame
    prosumers: pl.DataFrame
    availability: pl.DataFrame
    opportunities: pl.DataFrame
    schedule_before: pl.DataFrame | None = None  # of the day before, where stored energy carries over
    price_scenarios: pl.DataFrame | None = None  # without any, the day is held against its forecast alone
    expected: tuple[pl.DataFrame, ...] | None = None  # rows of EXPECTED, behind `availability`


@dataclass(frozen=True)
class Negotiated:
    """A day whose deals are struck: its tables so far, and what the optimiser is given."""

    inputs: Inputs
    settings: Settings
    fleet: Fleet
    terms: Terms
    problem: DayProblem
    tables: dict[str, pl.DataFrame]


def state_problem(day: Day, settings: Settings) -> tuple[DayProblem, pl.DataFrame]:
    """The day's problem, and `dispatch.starts`: what each store begins with.

    Reads forecast, scenarios, opportunities, fleet, summary, and agreements; with `fleet.carry_over` the schedule of
    the day before too, where ``day`` has it under SCHEDULE_BEFORE.
    """
    before = day.get(SCHEDULE_BEFORE) if settings.fleet.carry_over else None
    starts = starts_of(day["fleet.prosumers"], before)
    problem = day_problem(
        begin_with(fleet_arrays(day["fleet.prosumers"], day["fleet.availability"]), starts),
        day["market.price_forecast"],
        day["market.opportunities"],
        day["negotiation.summary"],
        day["negotiation.agreements"],
        settings.rules,
        settings.optimiser,
    )
    return with_scenarios(problem, day["market.opportunities"], day["market.price_scenarios"], settings.risk), starts


def tabulate(problem: DayProblem, solution: DaySolution, settings: Settings) -> dict[str, pl.DataFrame]:
    """The solution as tables of `dispatch`, the schedule first."""
    from vpp_pipeline.dispatch import tables  # with CVXPY, which takes two seconds to import

    return {
        "dispatch.schedule": tables.schedule_table(problem, solution),
        "dispatch.positions": tables.positions_table(problem, solution),
        "dispatch.charging": tables.charging_table(problem, solution),
        "dispatch.internal_prices": tables.internal_prices_table(problem, solution),
        "dispatch.owen_shares": owen_shares_table(problem, solution, settings),
        "dispatch.scenario_quantities": tables.scenario_quantities_table(problem, solution),
        "dispatch.proof": tables.proof_table(problem, solution),
    }


def pay(day: Day) -> pl.DataFrame:
    """`dispatch.payments`: what each prosumer delivers and earns in each bid."""
    return payments_of(
        day["market.opportunities"],
        day["negotiation.agreements"],
        day["dispatch.schedule"],
        day["dispatch.positions"],
        day["dispatch.charging"],
        day["fleet.availability"],
    )


def form(day: Day, settings: Settings, stamp: Stamp) -> dict[str, pl.DataFrame]:
    """The day's bids, their price curves, and the money that adds them up."""
    payments, agreements = day["dispatch.payments"], day["negotiation.agreements"]
    bids, segments = form_bids(
        day["market.opportunities"],
        day["negotiation.summary"],
        agreements,
        day["dispatch.positions"],
        payments,
        day["fleet.prosumers"],
        settings.rules,
        stamp,
        day["dispatch.scenario_quantities"],
    )
    weight = settings.optimiser.satisfaction_weight_usd_per_mwh
    charging, proof, shares = (day[f"dispatch.{name}"] for name in ("charging", "proof", "owen_shares"))
    books = reconcile(bids, payments, agreements, charging, proof, shares, weight)
    return {"bids.final_bids": bids, "bids.bid_segments": segments, "dispatch.reconciliation": books}


def negotiate_day(inputs: Inputs, settings: Settings, adviser: Adviser | None = None) -> Negotiated:
    """Negotiate every opportunity and state the day's problem."""
    policy, rules = settings.negotiation, settings.rules
    fleet = fleet_arrays(inputs.prosumers, inputs.availability)
    terms = prepare_terms(inputs.opportunities, inputs.forecast, fleet, policy, rules)
    struck = negotiate(terms, policy, adviser)
    made = inputs.opportunities.select(
        "opportunity_id",
        engine=pl.lit(policy.engine),
        fingerprint=pl.Series(terms.fingerprints(policy.model_dump_json()), dtype=pl.String),
        seconds=pl.lit(0.0),
    )
    summary = summarise(struck.segments, struck.agreements, inputs.opportunities, len(fleet), rules, made)
    tables = {
        "market.price_forecast": inputs.forecast,
        "market.price_scenarios": (
            PriceScenarios.create_empty() if inputs.price_scenarios is None else inputs.price_scenarios
        ),
        "market.opportunities": inputs.opportunities,
        "fleet.prosumers": inputs.prosumers,
        "fleet.availability": inputs.availability,
        "negotiation.messages": struck.messages,
        "negotiation.segments": struck.segments,
        "negotiation.summary": summary,
        "negotiation.agreements": struck.agreements,
        "negotiation.llm_calls": LLMCalls.create_empty(),  # the audit is the gateway's
    }
    tables |= dict(zip(EXPECTED, inputs.expected or (), strict=False))
    before = {} if inputs.schedule_before is None else {SCHEDULE_BEFORE: inputs.schedule_before}
    problem, tables["dispatch.starts"] = state_problem(tables | before, settings)
    return Negotiated(inputs, settings, fleet, terms, problem, tables)


def settle_bids(day: Negotiated, solution: DaySolution, stamp: Stamp) -> dict[str, pl.DataFrame]:
    """Every table of the day, bids included, from what the optimiser found."""
    tables = day.tables | tabulate(day.problem, solution, day.settings)
    tables["market.opportunities"] = day.inputs.opportunities  # a back-test may have changed their sizes
    tables["dispatch.payments"] = pay(tables)
    return tables | form(tables, day.settings, stamp)


def bid(inputs: Inputs, settings: Settings, stamp: Stamp, adviser: Adviser | None = None) -> dict[str, pl.DataFrame]:
    """Negotiate, solve and form the bids of a day: every table by name."""
    from vpp_pipeline.bidding.valid_bids import solve_valid_day

    day = negotiate_day(inputs, settings, adviser)
    return settle_bids(day, solve_valid_day(day.problem, settings.rules, settings.optimiser), stamp)
