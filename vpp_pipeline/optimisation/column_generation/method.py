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
from dataclasses import dataclass, replace

import numpy as np

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.column_generation.coordinator import Coordinator
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.groups import groups_of
from vpp_pipeline.optimisation.column_generation.master import Master, MasterAnswer
from vpp_pipeline.optimisation.column_generation.pricing import NO_SALE, FleetPricer, stores_of
from vpp_pipeline.optimisation.column_generation.recover import recover
from vpp_pipeline.optimisation.column_generation.search import Search
from vpp_pipeline.optimisation.column_generation.settle import settle_beside
from vpp_pipeline.optimisation.exact import ENERGY, NONSPIN, SPIN
from vpp_pipeline.optimisation.exact_method import Log
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution, Duals, part_of
from vpp_pipeline.optimisation.uncertainty import objective_of
from vpp_pipeline.settings import MarketRules, OptimiserSettings

SAMPLE_EVERY = 10  # a sample has every tenth prosumer
SMALLEST_SAMPLED = 1_000  # smaller fleets are not sampled
SAMPLE_GAP = 1e-4
KEPT_PRICES = 6  # prices of the sample that are put to the whole fleet
RECOVERY_GAP = 0.1  # of the gap target: how well the columns for the decided bids must mix


@dataclass(frozen=True)
class Prepared:
    """A day ready for column generation."""

    pricer: FleetPricer
    generation: Generation
    no_sale: Duals


def prepare(day: DayProblem, until: float, groups: int | None = None) -> Prepared:
    """Fleet, coordinator and master of a day, with the columns of no sale and of the sample's prices."""
    stores = stores_of(day)
    group, count = groups_of(stores) if groups is None else groups_of(stores, groups)
    pricer = FleetPricer(stores, group, count, day.call_hours)
    coordinator = Coordinator(
        day, np.minimum(stores.energy_kw, stores.room).sum(axis=0) / 1000.0, stores.max_charge.sum(axis=0) / 1000.0
    )
    generation = Generation(pricer, coordinator, Master(coordinator, count))
    hours = len(day.market_price)
    nothing = np.zeros(hours)
    no_sale = Duals(np.full(hours, NO_SALE), coordinator.market, nothing, nothing)
    generation.put(no_sale)
    for duals, tilt in _first_prices(day, coordinator, until):
        generation.put(duals, tilt)
    return Prepared(pricer, generation, no_sale)


def _first_prices(day: DayProblem, coordinator: Coordinator, until: float) -> list[tuple[Duals, Array]]:
    """Prices to begin with: those that a sample of the fleet ends with, or what the market pays."""
    n = len(day.fleet)
    if n < SMALLEST_SAMPLED:
        best = [day.price * (day.product == product) for product in (ENERGY, SPIN, NONSPIN)]
        by_hour = [np.where(day.covers, price[:, None], 0.0).max(axis=0, initial=0.0) for price in best]
        energy = np.maximum(coordinator.market, by_hour[0])
        return [(Duals(energy, energy, by_hour[1], by_hour[2]), coordinator.no_tilt)]
    chosen = np.arange(SAMPLE_EVERY // 2, n, SAMPLE_EVERY)
    held = np.zeros(n)
    np.add.at(held, day.agreement_prosumer, day.committed_kw)
    share = float(held[chosen].sum() / held.sum()) if held.any() else len(chosen) / n
    sample = prepare(part_of(day, chosen, share), until).generation
    low, high = np.zeros(len(day.price)), day.may_bid.astype(float)
    sample.converge(low, high, SAMPLE_GAP, until)
    kept = [sample.bound(low, high)[1], *sample.promises[-KEPT_PRICES:]]
    return [(promise.duals, promise.tilt) for promise in kept]


def solve_by_columns(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    Raises SolveError if HiGHS has no answer to a master problem.
    """
    begun, log = time.perf_counter(), Log()
    until = begun + settings.time_limit_seconds
    prepared = prepare(day, until)
    pricer, generation = prepared.pricer, prepared.generation
    no_sale_charging_usd = -pricer.values(prepared.no_sale)
    no_sale_usd = -float(no_sale_charging_usd.sum())
    found = Search(generation, day.may_bid, settings.gap_target_fraction / 2.0, until).run(no_sale_usd)
    log.note(f"branch and price, {found.nodes} nodes, {pricer.sweeps} sweeps")
    if found.ran_out_of_time:
        log.note(f"stopped at its time limit of {settings.time_limit_seconds:g} s")

    solution: DaySolution | None = None
    if found.decisions.any():
        try:
            solution = _carried_out(day, prepared, found.decisions, rules, settings, log)
        except SolveError as error:
            log.note(f"no bid: the bids could not be settled: {error}")
        if solution is not None and solution.objective_usd < no_sale_usd - 1e-6:
            log.note("no bid: bidding would lose money")
            solution = None
    if solution is None:
        solution = _carried_out(day, prepared, np.zeros_like(found.decisions), rules, settings, log)
    return replace(
        solution,
        bound_usd=max(found.bound_usd, solution.objective_usd),
        no_sale_charging_usd=no_sale_charging_usd,
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
    schedule = recover(pricer, generation, answer.weights)
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
