"""Solve the day: a bound from the relaxation, a feasible start, a search for better decisions, a settled schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from cvxpy.reductions.solvers.defines import MI_SOLVERS

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.domain.rounding import round_down
from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.branch_and_bound import search
from vpp_pipeline.optimisation.exact import Formulation, formulate
from vpp_pipeline.optimisation.problem import DayProblem, DaySchedule, DaySolution, unlimited_mw
from vpp_pipeline.settings import MarketRules, OptimiserSettings

BOTH_WAYS_KW = 1e-4  # below the tolerance of verification
MOST_PASSES = 20

_SolveLinear = Callable[[Array, Array, Array, Array], float]


@dataclass
class _Log:
    """What happened on the way, for `dispatch.proof`."""

    steps: list[str] = field(default_factory=list)

    def note(self, step: str) -> None:
        if step not in self.steps:
            self.steps.append(step)


def solve_day(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    1. With no bids: what charging costs anyway, and a first feasible answer.
    2. Decisions z by branch and bound, from that answer, until the gap or the time limit is reached.
    3. Quantities are settled to the bid step, downwards, and the LP is solved again with them.

    Raises SolveError with each solver's own word if there is no answer.
    """
    begun, log, count = time.perf_counter(), _Log(), len(day.opportunity_id)
    linear = formulate(day, binary=False)
    nothing, free = np.zeros(count), unlimited_mw(day)

    def solve_linear(z_low: Array, z_high: Array, q_low: Array, q_high: Array) -> float:
        linear.set_bids(z_low, z_high)
        linear.set_quantities(q_low, q_high)
        return _solve_linear(linear, settings, log)

    no_sale_usd = solve_linear(nothing, nothing, nothing, free)
    no_sale_charging_usd = linear.schedule().grid_charge_kw @ (day.market_price + day.charging_adder) / 1000.0

    decides_itself = settings.solver in MI_SOLVERS and settings.solver != "HIGHS"
    found = None if decides_itself else _branch_and_bound(day, linear, settings, log, no_sale_usd)
    if found is None:
        relaxed_usd = solve_linear(nothing, day.may_bid.astype(float), nothing, free)
        found = _mixed_integer(day, settings, log, no_sale_usd, relaxed_usd)
    best_z, bound_usd = found

    try:
        quantity_mw, objective_usd, shadow_price = _settle(day, linear, solve_linear, best_z, rules, log)
    except SolveError as error:
        log.note(f"no bid: the bids could not be settled: {error}")
        objective_usd = -np.inf
    if objective_usd < no_sale_usd - 1e-6:
        log.note("no bid: bidding would lose money")
        best_z, quantity_mw, shadow_price = nothing, nothing, nothing
        linear.set_directions(day.fleet.max_charge_kw, day.fleet.max_discharge_kw)
        objective_usd = solve_linear(nothing, nothing, nothing, nothing)
    return DaySolution(
        schedule=_exact_energy(day, linear.schedule()),
        is_bid=best_z > 0.5,
        quantity_mw=quantity_mw,
        objective_usd=objective_usd,
        bound_usd=max(bound_usd, objective_usd),
        stored_value_usd_per_mwh=_stored_value(linear),
        shadow_price_usd_per_mwh=shadow_price,
        no_sale_charging_usd=no_sale_charging_usd,
        method="; ".join(["exact", *log.steps]),
        solver=settings.solver,
        status=str(linear.problem.status),
        seconds=time.perf_counter() - begun,
    )


def _solve_linear(linear: Formulation, settings: OptimiserSettings, log: _Log) -> float:
    """The LP by the chosen solver, else by the fallback; which one is recorded."""
    try:
        return linear.solve(settings.solver)
    except SolveError as first:
        if linear.problem.status == "infeasible" or settings.fallback_solver == settings.solver:
            raise
        try:
            value = linear.solve(settings.fallback_solver)
        except SolveError as second:
            raise SolveError(f"{first}; {second}") from second
        log.note(f"{settings.fallback_solver} took over an LP: {first}")
        return value


def _settle(
    day: DayProblem, linear: Formulation, solve_linear: _SolveLinear, decisions: Array, rules: MarketRules, log: _Log
) -> tuple[Array, float, Array]:
    """Quantities (O,) at the bid step, the objective with them, and the shadow price (O,) of each quantity's limit.

    Where a store charges and discharges at once (free solar makes both worth the same, or a later price below zero
    makes lost energy worth something), the smaller of the two is ruled out and the day solved again.

    Raises SolveError if that goes on for MOST_PASSES.
    """
    nothing, free = np.zeros(len(decisions)), unlimited_mw(day)
    charge_kw, discharge_kw = day.fleet.max_charge_kw.copy(), day.fleet.max_discharge_kw.copy()
    for _ in range(MOST_PASSES):
        linear.set_directions(charge_kw, discharge_kw)
        solve_linear(decisions, decisions, nothing, free)
        shadow_price = (np.asarray(linear.largest.dual_value) - np.asarray(linear.least.dual_value)) / day.hours
        quantity_mw = round_down(np.asarray(linear.q.value) * decisions, rules.quantity_step_mw)
        objective_usd = solve_linear(decisions, decisions, quantity_mw, quantity_mw)
        schedule = linear.schedule()
        both = np.minimum(schedule.charge_kw, schedule.discharge_kw) > BOTH_WAYS_KW
        if not both.any():
            return quantity_mw, objective_usd, shadow_price
        log.note("stores kept from charging and discharging at once")
        charges_less = schedule.charge_kw < schedule.discharge_kw
        charge_kw[both & charges_less] = 0.0
        discharge_kw[both & ~charges_less] = 0.0
    raise SolveError(f"stores still charge and discharge at once after {MOST_PASSES} passes")


def _branch_and_bound(
    day: DayProblem, linear: Formulation, settings: OptimiserSettings, log: _Log, no_sale_usd: float
) -> tuple[Array, float] | None:
    """Decisions and bound from our own search; None if HiGHS failed on the way."""
    start = (no_sale_usd, np.zeros(len(day.opportunity_id)))
    try:
        found = search(day, linear, start, settings.gap_target_fraction / 2.0, settings.time_limit_seconds)
    except SolveError as error:
        log.note(f"branch and bound failed: {error}")
        return None
    log.note(f"branch and bound, {found.nodes} nodes")
    if found.ran_out_of_time:
        log.note(f"stopped at its time limit of {settings.time_limit_seconds:g} s")
    return found.decisions, found.bound_usd


def _mixed_integer(
    day: DayProblem, settings: OptimiserSettings, log: _Log, no_sale_usd: float, bound_usd: float
) -> tuple[Array, float]:
    """Decisions and bound from CVXPY's own mixed-integer problem, for another solver or a search that failed."""
    start_z = np.zeros(len(day.opportunity_id))
    options = {"time_limit": settings.time_limit_seconds} if settings.solver == "HIGHS" else {}
    binary = formulate(day, binary=True)
    binary.set_bids(start_z, day.may_bid.astype(float))
    binary.set_quantities(start_z, unlimited_mw(day))
    found_usd = binary.solve(settings.solver, **options)
    log.note(f"mixed-integer search by {settings.solver}")
    if found_usd <= no_sale_usd:
        return start_z, bound_usd
    return np.round(np.asarray(binary.z.value)), bound_usd


def _exact_energy(day: DayProblem, schedule: DaySchedule) -> DaySchedule:
    """The schedule with stored energy integrated from its powers, so that the balance holds to the last digit."""
    fleet = day.fleet
    change_kwh = (
        fleet.charge_efficiency[:, None] * schedule.charge_kw
        - schedule.discharge_kw / fleet.discharge_efficiency[:, None]
        - fleet.drive_kwh
    )
    stored_kwh = fleet.initial_stored_kwh[:, None] + np.cumsum(change_kwh, axis=1)
    return DaySchedule(**{**vars(schedule), "stored_kwh": stored_kwh})


def _stored_value(linear: Formulation) -> Array:
    """Dual (N, T) of the stored-energy balance in $/MWh: what one more stored MWh at the end of the hour is worth."""
    dual = linear.dynamics.dual_value
    return np.zeros(linear.stored.shape)[:, 1:] if dual is None else 1000.0 * np.asarray(dual)
