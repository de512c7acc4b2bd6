"""The whole day at any size: prices to the fleet, columns back, bids decided, every schedule recovered and settled.

1. No sale: what charging costs anyway, and the first column of each group.
2. Prices from a sample of the fleet, whose day is solved first (and its own from a smaller one).
3. Branch and price decides the bids; its bound holds for the whole fleet.
4. With the bids decided, columns are added until the mixture is as good as its own bound.
5. Every prosumer's schedule is recovered. A small part of the fleet is then solved again by the exact method beside
   the others, so that each bid is met on the market's step, to the last watt.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.column_generation.agreement import agreement
from vpp_pipeline.optimisation.column_generation.coordinator import Coordinator
from vpp_pipeline.optimisation.column_generation.master import MasterAnswer
from vpp_pipeline.optimisation.column_generation.prepare import Prepared, prepare, search
from vpp_pipeline.optimisation.column_generation.recover import recover
from vpp_pipeline.optimisation.column_generation.settle import settle_beside
from vpp_pipeline.optimisation.exact import ENERGY, NONSPIN, SPIN
from vpp_pipeline.optimisation.exact_method import Log
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution, Duals
from vpp_pipeline.optimisation.uncertainty import objective_of
from vpp_pipeline.settings import MarketRules, OptimiserSettings

SEARCH_GAP = 0.8  # of the gap target: the rest is for rounding to the market's step
RECOVERY_GAP = 0.1  # of the gap target: how well the columns for the decided bids must mix


def solve_by_columns(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    Raises SolveError if HiGHS has no answer to a master problem.
    """
    begun, log = time.perf_counter(), Log()
    limit = settings.time_limit_seconds + settings.time_limit_seconds_per_thousand * len(day.fleet) / 1000.0
    until = begun + limit
    gap_target = settings.gap_target_fraction * SEARCH_GAP
    prepared = prepare(day, gap_target, until)
    pricer = prepared.pricer
    found = search(prepared, day, gap_target, until)
    log.note(f"branch and price, {found.nodes} nodes, {pricer.sweeps} sweeps")
    if found.ran_out_of_time:
        log.note(f"stopped at its time limit of {limit:g} s")

    def carry_out(decisions: Array) -> DaySolution:
        return _carried_out(day, prepared, decisions, rules, settings, log)

    solution = no_sale = carry_out(np.zeros_like(found.decisions))
    if found.decisions.any():
        try:
            solution = carry_out(found.decisions)
        except SolveError as error:
            log.note(f"no bid: the bids could not be settled: {error}")
        if solution.objective_usd < no_sale.objective_usd - 1e-6:
            log.note("no bid: bidding would lose money")
            solution = no_sale
    log.note(agreement(day, day.market_date.toordinal()))
    return replace(
        solution,
        bound_usd=max(found.bound_usd, solution.objective_usd),
        no_sale_charging_usd=-pricer.values(prepared.no_sale),
        method="; ".join(["column generation", *log.steps]),
        seconds=time.perf_counter() - begun,
    )


def _carried_out(
    day: DayProblem,
    prepared: Prepared,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    log: Log,
) -> DaySolution:
    """The solution with these bids: columns for them, every schedule, quantities on the market's step."""
    pricer, generation = prepared.pricer, prepared.generation
    gap = settings.gap_target_fraction * RECOVERY_GAP
    answer, _ = generation.converge(decisions, decisions, gap, time.perf_counter() + settings.time_limit_seconds)
    duals = _decided(day, generation.coordinator, answer, decisions)
    schedule = recover(pricer, generation, answer)
    schedule, quantity_mw = settle_beside(day, schedule, decisions, rules, settings, log)
    solution = DaySolution(
        schedule=schedule,
        is_bid=decisions > 0.5,
        quantity_mw=quantity_mw,
        objective_usd=np.nan,
        bound_usd=np.nan,
        stored_value_usd_per_mwh=1000.0 * pricer.stored_values(duals, schedule.stored_kwh),
        shadow_price_usd_per_mwh=_shadow_price(generation.coordinator, answer, decisions),
        duals=duals,
        no_sale_charging_usd=np.zeros(len(day.fleet)),
        method="",
        solver="HIGHS",
        status="optimal",
        seconds=np.nan,
    )
    return replace(solution, objective_usd=objective_of(day, solution))


def _decided(day: DayProblem, coordinator: Coordinator, answer: MasterAnswer, decisions: Array) -> Duals:
    """The duals with the bids as decided, as :class:`Duals` defines them."""
    bid = decisions > 0.5
    has = [day.covers[bid & (day.product == product)].any(axis=0) for product in (ENERGY, SPIN, NONSPIN)]
    duals = answer.duals
    return Duals(
        sell=np.where(has[ENERGY], duals.buy, -np.inf),
        buy=np.where(has[ENERGY], duals.buy, coordinator.prices(answer.tilt)[1]),
        spin=np.where(has[SPIN], duals.spin, 0.0),
        nonspin=np.where(has[NONSPIN], duals.nonspin, 0.0),
    )


def _shadow_price(coordinator: Coordinator, answer: MasterAnswer, decisions: Array) -> Array:
    """What a MW more of each bid's size is worth per hour (O,): its price less what the energy is worth elsewhere."""
    day, price = coordinator.day, coordinator.prices(answer.tilt)[0]
    return np.asarray((price - coordinator.owed(answer.duals) / day.hours) * decisions)
