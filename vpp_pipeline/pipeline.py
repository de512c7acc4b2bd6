"""From a day's opportunities to its bids in one call: the same steps as the assets, without Dagster or a lake."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from vpp_pipeline.bidding.bids import Stamp, form_bids, reconcile
from vpp_pipeline.bidding.valid_bids import solve_valid_day
from vpp_pipeline.dispatch.payments import owen_shares_table, payments_of
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, day_problem
from vpp_pipeline.dispatch.scenarios import with_scenarios
from vpp_pipeline.dispatch.tables import (
    charging_table,
    internal_prices_table,
    positions_table,
    proof_table,
    scenario_quantities_table,
    schedule_table,
)
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
    starts = starts_of(inputs.prosumers, inputs.schedule_before)
    problem = day_problem(
        begin_with(fleet, starts),
        inputs.forecast,
        inputs.opportunities,
        summary,
        struck.agreements,
        rules,
        settings.optimiser,
    )
    problem = with_scenarios(problem, inputs.opportunities, inputs.price_scenarios, settings.risk)
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
        "dispatch.starts": starts,
    }
    tables |= dict(zip(EXPECTED, inputs.expected or (), strict=False))
    return Negotiated(inputs, settings, fleet, terms, problem, tables)


def settle_bids(day: Negotiated, solution: DaySolution, stamp: Stamp) -> dict[str, pl.DataFrame]:
    """Every table of the day, bids included, from what the optimiser found."""
    problem, tables, settings = day.problem, dict(day.tables), day.settings
    schedule, positions = schedule_table(problem, solution), positions_table(problem, solution)
    charging, proof = charging_table(problem, solution), proof_table(problem, solution)
    wanted, shares = scenario_quantities_table(problem, solution), owen_shares_table(problem, solution, settings)
    opportunities, agreements = day.inputs.opportunities, tables["negotiation.agreements"]
    payments = payments_of(opportunities, agreements, schedule, positions, charging, day.inputs.availability)
    bids, segments = form_bids(
        opportunities,
        tables["negotiation.summary"],
        agreements,
        positions,
        payments,
        day.inputs.prosumers,
        settings.rules,
        stamp,
        wanted,
    )
    weight = settings.optimiser.satisfaction_weight_usd_per_mwh
    return tables | {
        "dispatch.schedule": schedule,
        "dispatch.positions": positions,
        "dispatch.charging": charging,
        "dispatch.internal_prices": internal_prices_table(problem, solution),
        "dispatch.owen_shares": shares,
        "dispatch.proof": proof,
        "dispatch.scenario_quantities": wanted,
        "dispatch.payments": payments,
        "dispatch.reconciliation": reconcile(bids, payments, agreements, charging, proof, shares, weight),
        "bids.final_bids": bids,
        "bids.bid_segments": segments,
    }


def bid(inputs: Inputs, settings: Settings, stamp: Stamp, adviser: Adviser | None = None) -> dict[str, pl.DataFrame]:
    """Negotiate, solve and form the bids of a day: every table by name."""
    day = negotiate_day(inputs, settings, adviser)
    return settle_bids(day, solve_valid_day(day.problem, settings.rules, settings.optimiser), stamp)
