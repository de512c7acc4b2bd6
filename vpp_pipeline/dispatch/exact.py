"""The readable method: CVXPY's linear problem of the whole fleet, branch and bound over the bids, a settled schedule.

It is the reference for anything faster, and practical to a few hundred prosumers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vpp_pipeline.core.arrays import Array, round_down
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.branch_and_bound import Limits, search
from vpp_pipeline.dispatch.formulation import Formulation, formulate
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, Duals, unlimited_mw
from vpp_pipeline.dispatch.schedule import DaySchedule, without_dust_below_zero
from vpp_pipeline.dispatch.solvers import decides_bids, proven_bound_usd, solver_of_lps, time_limit
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.settings import MarketRules, OptimiserSettings

LOG = logging.getLogger(__name__)
BOTH_WAYS_KW = 1e-4  # below the tolerance of verification
MOST_PASSES = 20

SolveLinear = Callable[[Array, Array, Array, Array], float]


@dataclass
class Log:
    """What happened on the way, for `dispatch.proof`."""

    steps: list[str] = field(default_factory=list)

    def note(self, step: str) -> None:
        """Keep the step, once."""
        if step not in self.steps:
            self.steps.append(step)
            LOG.info("dispatch: %s", step)


def solve_exactly(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    1. With no bids: what charging costs anyway, and a first feasible answer.
    2. Decisions z by branch and bound, from that answer, until the gap or a limit is reached.
    3. Quantities are settled to the bid step, downwards, and the LP is solved again with them.

    Raises SolveError with each solver's own word if there is no answer.
    """
    begun, log, count = time.perf_counter(), Log(), len(day.opportunity_id)
    linear = formulate(day, binary=False)
    nothing, free = np.zeros(count), unlimited_mw(day)

    def solve_linear(z_low: Array, z_high: Array, q_low: Array, q_high: Array) -> float:
        linear.set_bids(z_low, z_high)
        linear.set_quantities(q_low, q_high)
        return solve_lp(linear, settings, log)

    no_sale_usd = solve_linear(nothing, nothing, nothing, free)
    no_sale_charging_usd = linear.schedule().grid_charge_kw @ (day.market_price + day.charging_adder) / 1000.0

    found = None if decides_bids(settings.solver) else _branch_and_bound(day, linear, settings, log, no_sale_usd)
    if found is None:
        relaxed_usd = solve_linear(nothing, day.may_bid.astype(float), nothing, free)
        rounded = ((np.asarray(linear.q.value) >= 0.5 * day.minimum_mw) & day.may_bid).astype(float)
        try:
            rounded_usd = solve_linear(rounded, rounded, nothing, free)
        except SolveError:  # there is no schedule with these bids
            rounded_usd = -np.inf
        first = max((no_sale_usd, nothing), (rounded_usd, rounded), key=lambda answer: answer[0])
        found = _mixed_integer(day, settings, log, first, relaxed_usd)
    best_z, bound_usd = found

    try:
        quantity_mw, objective_usd, shadow_price, duals = settle(day, linear, solve_linear, best_z, rules, log)
    except SolveError as error:
        log.note(f"no bid: the bids could not be settled: {error}")
        objective_usd = -np.inf
    if objective_usd < no_sale_usd - 1e-6:
        log.note("no bid: bidding would lose money")
        best_z, quantity_mw, shadow_price = nothing, nothing, nothing
        linear.set_directions(day.fleet.max_charge_kw, day.fleet.max_discharge_kw)
        objective_usd = solve_linear(nothing, nothing, nothing, nothing)
        duals = _duals(day, linear, best_z)
    return DaySolution(
        schedule=exact_energy(day.fleet, linear.schedule()),
        is_bid=best_z > 0.5,
        quantity_mw=quantity_mw,
        objective_usd=objective_usd,
        bound_usd=max(bound_usd, objective_usd),
        no_bid_usd=no_sale_usd,
        stored_value_usd_per_mwh=_stored_value(linear),
        shadow_price_usd_per_mwh=shadow_price,
        duals=duals,
        no_sale_charging_usd=no_sale_charging_usd,
        method="; ".join(["exact", *log.steps]),
        solver=settings.solver,
        status=str(linear.problem.status),
        seconds=time.perf_counter() - begun,
    )


def solve_lp(linear: Formulation, settings: OptimiserSettings, log: Log) -> float:
    """The LP by the chosen solver, else by the fallback; which one is recorded."""
    solver = solver_of_lps(settings.solver)
    if solver != settings.solver:
        log.note(f"LPs by {solver}, because {settings.solver} gives no duals")
    if solver == "HIGHS":
        try:
            if (value := linear.go_on()) is not None:
                return value
        except SolveError as error:
            log.note(f"HiGHS began an LP afresh: {error}")
    try:
        return linear.solve(solver)
    except SolveError as first:
        if linear.problem.status == "infeasible" or settings.fallback_solver == solver:
            raise
        try:
            value = linear.solve(settings.fallback_solver)
        except SolveError as second:
            raise SolveError(f"{first}; {second}") from second
        log.note(f"{settings.fallback_solver} took over an LP: {first}")
        return value


def settle(
    day: DayProblem, linear: Formulation, solve_linear: SolveLinear, decisions: Array, rules: MarketRules, log: Log
) -> tuple[Array, float, Array, Duals]:
    """Quantities (O,) at the bid step, what they earn, the shadow price (O,) of each quantity's limit, and the duals.

    Prices are those of the problem whose quantities are still free; the step would otherwise be what they price.

    Where a store charges and discharges at once (free solar makes both worth the same, or a later price below zero
    makes lost energy worth something), the smaller of the two is ruled out and the day solved again.

    Raises SolveError if that is still so after MOST_PASSES.
    """
    nothing, free = np.zeros(len(decisions)), unlimited_mw(day)
    charge_kw, discharge_kw = day.fleet.max_charge_kw.copy(), day.fleet.max_discharge_kw.copy()
    for _ in range(MOST_PASSES):
        linear.set_directions(charge_kw, discharge_kw)
        solve_linear(decisions, decisions, nothing, free)
        shadow_price = (np.asarray(linear.largest.dual_value) - np.asarray(linear.least.dual_value)) / day.hours
        duals = _duals(day, linear, decisions)
        quantity_mw = round_down(np.asarray(linear.q.value) * decisions, rules.quantity_step_mw)
        objective_usd = solve_linear(decisions, decisions, quantity_mw, quantity_mw)
        schedule = linear.schedule()
        both = np.minimum(schedule.charge_kw, schedule.discharge_kw) > BOTH_WAYS_KW
        if not both.any():
            return quantity_mw, objective_usd, shadow_price, duals
        log.note("stores kept from charging and discharging at once")
        charges_less = schedule.charge_kw < schedule.discharge_kw
        charge_kw[both & charges_less] = 0.0
        discharge_kw[both & ~charges_less] = 0.0
    raise SolveError(f"stores still charge and discharge at once after {MOST_PASSES} passes")


def _branch_and_bound(
    day: DayProblem, linear: Formulation, settings: OptimiserSettings, log: Log, no_sale_usd: float
) -> tuple[Array, float] | None:
    """Decisions and bound from our own search; None if HiGHS failed on the way."""
    start = (no_sale_usd, np.zeros(len(day.opportunity_id)))
    try:
        limits = Limits(settings.node_limit, settings.pivot_limit, settings.time_limit_seconds)
        found = search(day, linear, start, settings.gap_target_fraction / 2.0, limits)
    except SolveError as error:
        log.note(f"branch and bound failed: {error}")
        return None
    log.note(f"branch and bound, {found.nodes} nodes")
    if found.ran_out:
        log.note(limits.reached(found.ran_out))
    return found.decisions, found.bound_usd


def _mixed_integer(
    day: DayProblem, settings: OptimiserSettings, log: Log, first: tuple[float, Array], bound_usd: float
) -> tuple[Array, float]:
    """Decisions and bound from CVXPY's own mixed-integer problem, for another solver or a search that failed.

    ``first``: a feasible objective and its decisions, which stand where the search finds nothing better before its time
    limit; one that fails before it raises SolveError. ``bound_usd``: that of the relaxation, for solvers that do not
    tell their own.
    """
    solver, seconds = settings.solver if decides_bids(settings.solver) else "HIGHS", settings.time_limit_seconds
    start_z, limit = np.zeros(len(day.opportunity_id)), time_limit(solver, seconds)
    binary = formulate(day, binary=True)
    binary.set_bids(start_z, day.may_bid.astype(float))
    binary.set_quantities(start_z, unlimited_mw(day))
    log.note(f"mixed-integer search by {solver}{'' if limit else ', whose time limit we do not know'}")
    begun, found_usd = time.perf_counter(), -np.inf
    try:
        found_usd = binary.solve(solver, **limit)
    except SolveError as error:
        if not limit or time.perf_counter() - begun < seconds:
            hint = "its licence may be for smaller problems only; optimiser.solver=HIGHS needs none"
            raise SolveError(f"{error} ({solver} could not decide the bids; {hint})") from error
    if binary.problem.status != "optimal":
        log.note(f"stopped at its time limit of {seconds:g} s")
    statistics = binary.problem.solver_stats.extra_stats if binary.problem.solver_stats else None
    bound_usd = min(bound_usd, max(proven_bound_usd(solver, statistics), found_usd))
    return first[1] if found_usd <= first[0] else np.round(np.asarray(binary.z.value)), max(bound_usd, first[0])


def exact_energy(fleet: Fleet, schedule: DaySchedule) -> DaySchedule:
    """The schedule with stored energy integrated from its powers, so that the balance holds to the last digits."""
    change_kwh = (
        fleet.charge_efficiency[:, None] * schedule.charge_kw
        - schedule.discharge_kw / fleet.discharge_efficiency[:, None]
        - fleet.drive_kwh
    )
    stored_kwh = fleet.initial_stored_kwh[:, None] + np.cumsum(change_kwh, axis=1)
    return DaySchedule(**{**vars(schedule), "stored_kwh": without_dust_below_zero(stored_kwh)})


def _stored_value(linear: Formulation) -> Array:
    """Dual (N, T) of the stored-energy balance in $/MWh: what one more stored MWh at the end of the hour is worth."""
    dual = linear.dynamics.dual_value
    return np.zeros(linear.stored.shape)[:, 1:] if dual is None else 1000.0 * np.asarray(dual)


def _duals(day: DayProblem, linear: Formulation, decisions: Array) -> Duals:
    """What one more MW from any prosumer would earn in the LP just solved, by hour (T,).

    Without an energy bid nothing can be sold, and charging is bought at the market price; without a bid for a reserve,
    what is held is worth nothing. With an energy bid, selling and charging are worth the same: the row
    ``exported ≤ commitments · z`` adds nothing to each prosumer's own limit then, so its dual can be taken as zero.
    """
    bid = decisions > 0.5
    is_covered = {product: day.covers[bid & (day.product == p)].any(axis=0) for p, product in enumerate(PRODUCTS)}
    worth = {product: -np.asarray(row.dual_value) for product, row in linear.balances.items()}
    return Duals(
        sell=np.where(is_covered["energy"], worth["energy"], -np.inf),
        buy=np.where(is_covered["energy"], worth["energy"], linear.charging_price(day)),
        **{one.name: np.where(is_covered[one.name], worth[one.name], 0.0) for one in CAISO.reserves},
    )
