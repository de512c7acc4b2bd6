"""Bids are on the market's step, to the last watt: a part of the fleet makes up what rounding and netting leave."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.domain.arrays import Array, Indices
from vpp_pipeline.domain.day_schedule import DaySchedule
from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.exact import Beside, formulate
from vpp_pipeline.optimisation.exact_method import Log, exact_energy, settle, solve_lp
from vpp_pipeline.optimisation.problem import DayProblem, part_of, prosumers_with_deals
from vpp_pipeline.settings import MarketRules, OptimiserSettings

FIRST_PART, MOST_PART = 100, 1_600
SEED = 7


def settle_beside(
    day: DayProblem,
    schedule: DaySchedule,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    log: Log,
) -> tuple[DaySchedule, Array]:
    """Schedule and quantities (O,) on the market's step, once a part of the fleet is solved exactly.

    The others keep their schedule. Where a part cannot make up for them, one four times as large is tried. Raises
    SolveError if none can.
    """
    size = FIRST_PART
    while True:
        chosen = _part(day, size)
        try:
            return _settle_part(day, schedule, chosen, decisions, rules, settings, log)
        except SolveError as error:
            if len(chosen) == len(day.fleet) or size >= MOST_PART:
                raise
            log.note(f"{size} prosumers could not make up the rest: {error}")
            size *= 4


def _part(day: DayProblem, size: int) -> Indices:
    """Up to ``size`` prosumers drawn from those with a store and an agreement, in order."""
    able = np.intersect1d(np.flatnonzero(day.fleet.has_store), prosumers_with_deals(day))
    able = able if len(able) >= min(size, len(day.fleet)) else np.arange(len(day.fleet))
    return np.sort(np.random.default_rng(SEED).permutation(able)[:size])


def _settle_part(
    day: DayProblem,
    schedule: DaySchedule,
    chosen: Indices,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    log: Log,
) -> tuple[DaySchedule, Array]:
    others = np.ones(len(day.fleet), dtype=bool)
    others[chosen] = False

    def total_mw(kw: Array) -> Array:
        return np.asarray(kw[others].sum(axis=0, dtype=float) / 1000.0)

    beside = Beside(
        sold=total_mw(schedule.exported_kw),
        charged=total_mw(schedule.grid_charge_kw),
        spin=total_mw(schedule.spin_kw),
        nonspin=total_mw(schedule.nonspin_kw),
    )
    # a part of the day keeps the size of its bids: the others are beside it
    part = part_of(day, chosen, 1.0)
    linear = formulate(part, binary=False, beside=beside)

    def solve_linear(z_low: Array, z_high: Array, q_low: Array, q_high: Array) -> float:
        linear.set_bids(z_low, z_high)
        linear.set_quantities(q_low, q_high)
        return solve_lp(linear, settings, log)

    quantity_mw, _, _, _ = settle(part, linear, solve_linear, decisions, rules, log)
    mine = exact_energy(part, linear.schedule())
    arrays = {}
    for name, values in vars(schedule).items():
        arrays[name] = values.copy()
        arrays[name][chosen] = getattr(mine, name)
    return DaySchedule(**arrays), quantity_mw
