"""The whole day at any size: prices to the fleet, columns back, bids decided, every schedule recovered and settled.

1. No sale: what charging costs anyway, and the first column of each group.
2. Prices from a sample of the fleet, whose day is solved first (and its own from a smaller one).
3. Branch and price decides the bids; its bound holds for the whole fleet.
4. With the bids decided, columns are added until the mixture is as good as its own bound.
5. Every prosumer's schedule is recovered, and what exceeds the bids on the market's step is given up. A small part of
   the fleet may be solved again by the exact method beside the others.

Every step but the search of 3 is finished whatever it takes, and is bounded by counted work; machine code is compiled,
or read from its folder, before the search's work counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.branch_and_bound import Limits
from vpp_pipeline.dispatch.column_generation.branch_and_price import SHORT_MW
from vpp_pipeline.dispatch.column_generation.master import Coordinator, MasterAnswer
from vpp_pipeline.dispatch.column_generation.pricing import LOCAL, NONSPIN, SPIN, Backend, Pricer, load_kernels
from vpp_pipeline.dispatch.column_generation.recovery import PARTS, OnStep, give_up_excess, recover, settle_part
from vpp_pipeline.dispatch.column_generation.shard import GRID, Plan
from vpp_pipeline.dispatch.column_generation.warm_start import Prepared, prepare, search
from vpp_pipeline.dispatch.exact import Log, solve_exactly
from vpp_pipeline.dispatch.formulation import ENERGY, formulate
from vpp_pipeline.dispatch.problem import (
    DayProblem,
    DaySolution,
    Duals,
    merit_order_bound,
    part_of,
    prosumers_with_deals,
    unlimited_mw,
)
from vpp_pipeline.dispatch.scenarios import Totals, objective_at
from vpp_pipeline.settings import MarketRules, OptimiserSettings

SEARCH_GAP = 0.8  # of the gap target: the rest is for rounding to the market's step
RECOVERY_GAP = 0.1  # of the gap target: how well the columns for the decided bids must mix
SLOW_COMPILATION_S = 1.0  # told in the proof
PIVOTS_PER_THOUSAND = 500  # prosumers: what their pricing adds to the work of a search
EXACT_TAKES_OVER = 2_000  # prosumers: the exact method needs minutes for so many
SAMPLE = 40
AGREED = 1e-6


def solve_by_columns(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    Where columns fail (a bound shows itself to be wrong, the methods disagree on a part of the fleet, HiGHS has no
    answer to a master problem), the exact method solves the day. Of a fleet too large for it the schedule stands, with
    a bound that does not rest on columns; without a schedule SolveError is raised.
    """
    begun, log = time.perf_counter(), Log()
    solution: DaySolution | None = None
    try:
        with opened(settings) as backend:
            solution, fault = _solve(day, rules, settings, log, backend)
    except SolveError as error:
        fault = str(error)
        if len(day.fleet) > EXACT_TAKES_OVER:
            raise
    if fault and len(day.fleet) <= EXACT_TAKES_OVER:
        solution = solve_exactly(day, rules, settings)
        method = f"{solution.method}; in place of column generation: {fault}"
        return replace(solution, method=method, seconds=time.perf_counter() - begun)
    assert solution is not None
    if fault:
        log.note(f"bound by merit order, because {fault}")
        solution = replace(solution, bound_usd=max(merit_order_bound(day), solution.objective_usd))
    method, seconds = "; ".join(["column generation", *log.steps]), time.perf_counter() - begun
    return replace(solution, method=method, seconds=seconds)


@contextmanager
def opened(settings: OptimiserSettings) -> Iterator[Backend]:
    """Where the fleet of a day is held: in this process, or on the cluster that the settings name."""
    if settings.backend == "local":
        yield LOCAL
        return
    from vpp_pipeline.dispatch.column_generation.ray_shards import RayShards  # with Ray, which few have

    with RayShards(settings) as cluster:
        yield cluster


def limits_of(prosumers: int, settings: OptimiserSettings) -> Limits:
    """The work that a search over so many prosumers may do."""
    thousands = prosumers / 1000.0
    return Limits(
        nodes=settings.node_limit,
        pivots=settings.pivot_limit + PIVOTS_PER_THOUSAND * thousands,
        seconds=settings.time_limit_seconds + settings.time_limit_seconds_per_thousand * thousands,
    )


def _solve(
    day: DayProblem, rules: MarketRules, settings: OptimiserSettings, log: Log, backend: Backend
) -> tuple[DaySolution, str]:
    """The solution by columns, and why its bound must not be trusted; empty where nothing speaks against it."""
    if (compiled_s := load_kernels(day)) > SLOW_COMPILATION_S:
        log.note(f"kernels compiled in {compiled_s:.0f} s, once")
    gap_target = settings.gap_target_fraction * SEARCH_GAP
    limits = limits_of(len(day.fleet), settings)
    prepared = prepare(day, gap_target, limits, backend=backend)
    pricer, generation = prepared.pricer, prepared.generation
    found = search(prepared, gap_target, limits)
    log.note(f"branch and price, {found.nodes} nodes, {pricer.sweeps:.0f} sweeps")
    if found.ran_out:
        log.note(limits.reached(found.ran_out))

    settled = _settled(day, prepared, found.decisions, rules, settings, log)
    if (settled.decisions > 0.5).any() and settled.objective_usd < found.no_bid_usd - 1e-6:
        log.note("no bid: bidding would lose money")
        settled = _settled(day, prepared, np.zeros_like(found.decisions), rules, settings, log)
    solved = pricer.collect(settled.plan, settled.duals, prepared.no_sale)
    solution = DaySolution(
        schedule=solved.schedule,
        is_bid=settled.decisions > 0.5,
        quantity_mw=settled.quantity_mw,
        objective_usd=settled.objective_usd,
        bound_usd=max(found.bound_usd, settled.objective_usd),
        no_bid_usd=found.no_bid_usd,
        stored_value_usd_per_mwh=1000.0 * solved.stored_value,
        shadow_price_usd_per_mwh=settled.shadow_price_usd_per_mwh,
        duals=settled.duals,
        no_sale_charging_usd=-solved.no_sale_usd,
        method="",
        solver="HIGHS",
        status="optimal",
        seconds=np.nan,
    )
    for event in backend.events():
        log.note(event)
    try:
        log.note(agreement(day, day.market_date.toordinal()))
    except Disagreement as error:
        return solution, str(error)
    if generation.untrue_usd > 0.0:
        return solution, f"a solution earns {usd(generation.untrue_usd)} more than its bound allows"
    return solution, ""


@dataclass(frozen=True)
class _Settled:
    """A plan that meets its bids, and what it earns."""

    plan: Plan
    decisions: Array  # (O,)
    quantity_mw: Array  # (O,)
    objective_usd: float
    shadow_price_usd_per_mwh: Array  # (O,)
    duals: Duals


def _settled(
    day: DayProblem, prepared: Prepared, decisions: Array, rules: MarketRules, settings: OptimiserSettings, log: Log
) -> _Settled:
    """The plan with these bids: columns for them, every schedule, quantities on the market's step.

    Bids that cannot be met are given up, and the others carried out; each time at least one, so that it ends.
    """
    pricer, generation = prepared.pricer, prepared.generation
    gap = settings.gap_target_fraction * RECOVERY_GAP
    while True:
        answer, _ = generation.converge(decisions, decisions, gap)
        fails = answer.short_of_mw > SHORT_MW
        if not fails.any():
            plan = recover(pricer, generation, answer)
            on_step, fails = give_up_excess(day, pricer, plan, decisions, rules)
            if not fails.any():
                break
            made_up = _by_a_part(day, pricer, plan, decisions, rules, settings, log)
            if made_up is not None:
                on_step = made_up
                break
        log.note(f"{int(fails.sum())} bids given up that the fleet cannot quite meet")
        decisions = np.where(fails, 0.0, decisions)
    duals = _decided(day, generation.coordinator, answer, decisions)
    shadow_price = _shadow_price(generation.coordinator, answer, decisions)

    def settled(chosen: OnStep) -> _Settled:
        charged_kw, owners_usd = pricer.powers_of(chosen.plan)[GRID], pricer.paid_usd(chosen.plan)
        worth = objective_at(day, Totals(decisions > 0.5, chosen.quantity_mw, charged_kw, owners_usd))
        return _Settled(chosen.plan, decisions, chosen.quantity_mw, worth, shadow_price, duals)

    best = settled(on_step)
    lost_usd = answer.objective_usd - best.objective_usd
    if lost_usd > gap * generation.worth_of_bidding(answer.objective_usd):
        again = _by_a_part(day, pricer, plan, decisions, rules, settings, log, PARTS[:1])
        if again is not None:
            best = max(best, settled(again), key=lambda one: one.objective_usd)
    return best


def _by_a_part(
    day: DayProblem,
    pricer: Pricer,
    plan: Plan,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    log: Log,
    sizes: tuple[int, ...] = PARTS,
) -> OnStep | None:
    """The bids met by a small part of the fleet solved again, beside ``plan``; None if no part can."""
    for size in sizes:
        try:
            return settle_part(day, pricer, plan, decisions, rules, settings, size)
        except SolveError as error:
            log.note(f"{size} prosumers could not make up the rest: {error}")
    return None


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


class Disagreement(SolveError):
    """The two methods differ on a small part of a day."""


def agreement(day: DayProblem, seed: int) -> str:
    """In words, how well both methods agree on the relaxed day of a few prosumers, drawn by ``seed``.

    Raises Disagreement where they differ by more than a millionth. Where prices are below zero the relaxations are not
    the same (the exact one may burn energy): then its answer must not be the smaller one.
    """
    able = prosumers_with_deals(day)
    if not len(able):
        return "no deals to check both methods on"
    chosen = np.sort(np.random.default_rng(seed).permutation(able)[:SAMPLE])
    part = part_of(day, chosen, len(chosen) / len(able))
    nothing, anything = np.zeros(len(day.price)), day.may_bid.astype(float)
    linear = formulate(part, binary=False)
    linear.set_bids(nothing, anything)
    linear.set_quantities(nothing, unlimited_mw(part))
    exact_usd = linear.solve("HIGHS")
    gap = AGREED / 10.0
    generation = prepare(part, gap, decides=False).generation
    answer, bound_usd = generation.converge(nothing, anything, gap)
    difference = abs(exact_usd - answer.objective_usd) / max(abs(exact_usd), 1.0)
    feared = [] if part.scenarios is None else [part.scenarios.market_price, part.scenarios.worth]
    may_burn = any(bool((prices < 0.0).any()) for prices in (part.market_price, part.price, *feared))
    if difference > AGREED and not (may_burn and exact_usd >= answer.objective_usd):
        raise Disagreement(
            f"on {len(chosen)} prosumers the exact method finds {usd(exact_usd, 6)} and column generation "
            f"{usd(answer.objective_usd, 6)} (at most {usd(bound_usd, 6)}): please report this day"
        )
    return f"both methods agree to {difference:.0e} on {len(chosen)} prosumers"
