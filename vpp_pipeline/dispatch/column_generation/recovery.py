"""From weights of columns back to a schedule of every prosumer, settled on the market's step.

Bids are on the market's step, to the last watt: what rounding and netting leave is given up, or sold in other hours.

Giving up needs no solver and works at any size. Where it costs more than the day's gap target, or a bid lacks a little
of its minimum, a small part of the fleet is solved again by the exact method beside the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices, round_down
from vpp_pipeline.dispatch.column_generation.best_response import POWERS, Stores, add_schedules
from vpp_pipeline.dispatch.column_generation.branch_and_price import Generation
from vpp_pipeline.dispatch.column_generation.master import MasterAnswer
from vpp_pipeline.dispatch.column_generation.pricing import NONSPIN, SPIN, FleetPricer, in_threads, per_kwh
from vpp_pipeline.dispatch.exact import Log, exact_energy, settle, solve_lp
from vpp_pipeline.dispatch.formulation import ENERGY, STEP_H, Beside, formulate
from vpp_pipeline.dispatch.problem import DayProblem, part_of, prosumers_with_deals
from vpp_pipeline.dispatch.schedule import DaySchedule, without_dust_below_zero
from vpp_pipeline.settings import MarketRules, OptimiserSettings

WEIGHT = 1e-9  # columns with less are left out, and the rest of their group takes their place
PART = 4096  # prosumers of one piece of work
PARTS = (100, 400)  # prosumers that are solved again, at most
SEED = 7
LEFT_KW = 1e-4  # a position that is this near to its bid meets it: below the tolerance of verification


def recover(pricer: FleetPricer, generation: Generation, answer: MasterAnswer) -> DaySchedule:
    """The schedule (N, T) that the weights of columns stand for: a mixture of each prosumer's own best responses.

    A mixture of schedules keeps every limit. One that charges in one of them and discharges in another would do both:
    that is netted, which can only leave more energy to sell.
    """
    stores, groups = pricer.stores, pricer.groups
    share: dict[int, Array] = defaultdict(lambda: np.zeros(groups))
    for (group, answered), weight in zip(generation.master.columns, answer.weights, strict=True):
        if weight > WEIGHT:
            share[answered][group] += weight
    total = np.sum(list(share.values()), axis=0)
    mixture = [(per_kwh(generation.dual_bounds[answered].duals), share[answered] / total) for answered in sorted(share)]
    powers = np.zeros((POWERS, *stores.max_charge.shape), dtype=stores.max_charge.dtype)
    stored = np.empty(stores.max_charge.shape, dtype=stores.max_charge.dtype)

    def mix(first: int) -> None:
        """Prosumers from ``first`` on, in full precision."""
        part = slice(first, first + PART)
        members = pricer.group[part]
        mixed = np.zeros((POWERS, len(members), stores.max_charge.shape[1]))
        for prices, weight in mixture:
            chosen = np.flatnonzero(weight[members])
            add_schedules(stores, first, chosen, weight[members[chosen]], prices, pricer.call_hours, mixed)
        mine = Stores(*(values[part] for values in stores))
        net(mixed, mine)
        np.maximum(mixed, 0.0, out=mixed)
        powers[:, part] = mixed
        stored[part] = stored_after(powers[:, part], mine)

    in_threads(mix, range(0, len(pricer), PART))
    trim(powers, generation.coordinator.day, answer.q)
    grid, solar, discharge, sold, spin, nonspin = powers
    return DaySchedule(grid, solar, discharge, sold, spin, nonspin, stored)


def net(powers: Array, stores: Stores) -> None:
    """Keep stores from charging and discharging at once, in place, with the same energy stored.

    What the store no longer loses is bought less, or is sun that can be sold in place of what was discharged.
    """
    grid, solar, discharge, sold = powers[:4]
    kept = (stores.charge_efficiency * stores.discharge_efficiency)[:, None]
    less_discharged = np.minimum(discharge, kept * (grid + solar))
    less_charged = less_discharged / kept
    less_grid = np.minimum(less_charged, grid)
    less_solar = less_charged - less_grid
    grid -= less_grid
    solar -= less_solar
    discharge -= less_discharged
    sold += np.minimum(less_solar, less_discharged)


def trim(powers: Array, day: DayProblem, quantity_mw: Array) -> None:
    """Hold no more reserve ready than is bid, and sell no more sun, in place; ``quantity_mw`` (O,).

    The master may leave reserve unused, and netting leaves energy to sell: everyone gives up the same share.
    """
    most_kw = [1000.0 * day.covers[day.product == p].T @ quantity_mw[day.product == p] for p in range(3)]
    for reserve, most in ((powers[4], most_kw[SPIN]), (powers[5], most_kw[NONSPIN])):
        held = reserve.sum(axis=0, dtype=float)
        reserve *= np.where(held > most, most / np.where(held > 0.0, held, 1.0), 1.0)
    bought, delivered, sold = (powers[p].sum(axis=0, dtype=float) for p in (0, 2, 3))
    over = np.where(most_kw[ENERGY] > 0.0, sold + delivered - bought - most_kw[ENERGY], 0.0)
    powers[3] *= 1.0 - np.clip(over, 0.0, sold) / np.where(sold > 0.0, sold, 1.0)


def stored_after(powers: Array, stores: Stores) -> Array:
    """Stored energy (N, T) that follows from powers (POWERS, N, T), kWh."""
    grid, solar, discharge = powers[:3]
    charged = stores.charge_efficiency[:, None] * (grid + solar)
    change = charged - discharge / stores.discharge_efficiency[:, None] - stores.drive
    return without_dust_below_zero(stores.initial[:, None] + np.cumsum(change, axis=1))


@dataclass(frozen=True)
class OnStep:
    """A schedule that meets its bids on the market's step."""

    schedule: DaySchedule
    quantity_mw: Array  # (O,)


def give_up_excess(
    day: DayProblem, schedule: DaySchedule, decisions: Array, rules: MarketRules
) -> tuple[OnStep, Flags]:
    """The schedule without what exceeds its bids on the step, and which bids (O,) it cannot meet all the same.

    Each bid is what all of its hours deliver, at most R, rounded down. Reserve is scaled to it. Of energy, sun stays at
    home, then stores discharge less, then idle ones charge more, as far as their capacity allows in all later hours:
    no limit can be broken by it.
    """
    bid, product = decisions > 0.5, day.product
    powers = {name: np.array(values, dtype=float) for name, values in vars(schedule).items()}
    net_kw = (powers["discharge_kw"] + powers["solar_sold_kw"] - powers["grid_charge_kw"]).sum(axis=0)
    held_kw = np.array([net_kw, powers["spin_kw"].sum(axis=0), powers["nonspin_kw"].sum(axis=0)])
    least_mw = np.where(day.covers, held_kw[product] / 1000.0, np.inf).min(axis=1)
    quantity_mw = bid * round_down(np.clip(least_mw, 0.0, day.required_mw), rules.quantity_step_mw)
    fails = bid & (quantity_mw < day.minimum_mw - 1e-9)

    sold_kw = np.array([1000.0 * day.covers[product == p].T @ quantity_mw[product == p] for p in range(3)])
    for p, name in ((1, "spin_kw"), (2, "nonspin_kw")):
        powers[name] *= np.minimum(sold_kw[p] / np.where(held_kw[p] > 0.0, held_kw[p], 1.0), 1.0)
    has_bid = day.covers[bid & (product == ENERGY)].any(axis=0)
    for t in np.flatnonzero(has_bid & (net_kw - sold_kw[ENERGY] > LEFT_KW)):
        if _give_up_energy(day, powers, int(t), net_kw[t] - sold_kw[ENERGY, t]) > LEFT_KW:
            fails |= bid & (product == ENERGY) & day.covers[:, t]
    return OnStep(DaySchedule(**powers), quantity_mw), fails


def _give_up_energy(day: DayProblem, powers: dict[str, Array], t: int, excess_kw: float) -> float:
    """Sell ``excess_kw`` less in hour ``t``, in place; returns the rest that no prosumer can give up."""
    fleet, stored = day.fleet, powers["stored_kwh"]
    sun = powers["solar_sold_kw"][:, t]
    excess_kw -= _take(sun, sun.copy(), excess_kw, -1.0)[0]
    discharge, grid = powers["discharge_kw"][:, t], powers["grid_charge_kw"][:, t]
    for change, sign, kwh_per_kw in (
        (discharge, -1.0, STEP_H / fleet.discharge_efficiency),
        (grid, 1.0, STEP_H * fleet.charge_efficiency),
    ):
        room_kwh = np.maximum((fleet.max_stored_kwh[:, t:] - stored[:, t:]).min(axis=1), 0.0)
        charger_kw = np.where(discharge > 0.0, 0.0, fleet.max_charge_kw[:, t] - grid - powers["solar_charge_kw"][:, t])
        most_kw = np.minimum(discharge if sign < 0.0 else np.maximum(charger_kw, 0.0), room_kwh / kwh_per_kw)
        done_kw, changed = _take(change, most_kw, excess_kw, sign)
        stored[:, t:] += (changed * kwh_per_kw)[:, None]
        excess_kw -= done_kw
    return excess_kw


def _take(power: Array, most_kw: Array, wanted_kw: float, sign: float) -> tuple[float, Array]:
    """Change ``power`` (N,) by up to ``most_kw`` (N,), everyone by the same share; how much in all, and each (N,)."""
    total_kw = float(most_kw.sum())
    changed = most_kw * (float(np.clip(wanted_kw / total_kw, 0.0, 1.0)) if total_kw > 0.0 else 0.0)
    power += sign * changed
    return float(changed.sum()), changed


def settle_part(
    day: DayProblem,
    schedule: DaySchedule,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    size: int,
) -> OnStep:
    """The schedule with up to ``size`` prosumers solved exactly beside the others, who keep theirs.

    Raises SolveError if these prosumers cannot make up for what the others leave.
    """
    chosen, log = _part(day, size), Log()
    others = np.ones(len(day.fleet), dtype=bool)
    others[chosen] = False

    def total_mw(kw: Array) -> Array:
        return np.asarray(kw[others].sum(axis=0, dtype=float) / 1000.0)

    beside = Beside(
        sold=total_mw(schedule.exported_kw),
        charged=total_mw(schedule.grid_charge_kw),
        held=np.stack([total_mw(kw) for kw in schedule.held_kw]),
    )
    # a part of the day keeps the size of its bids: the others are beside it
    part = part_of(day, chosen, 1.0)
    linear = formulate(part, binary=False, beside=beside)

    def solve_linear(z_low: Array, z_high: Array, q_low: Array, q_high: Array) -> float:
        linear.set_bids(z_low, z_high)
        linear.set_quantities(q_low, q_high)
        return solve_lp(linear, settings, log)

    quantity_mw, _, _, _ = settle(part, linear, solve_linear, decisions, rules, log)
    mine = exact_energy(part.fleet, linear.schedule())
    arrays = {}
    for name, values in vars(schedule).items():
        arrays[name] = values.copy()
        arrays[name][chosen] = getattr(mine, name)
    return OnStep(DaySchedule(**arrays), quantity_mw)


def _part(day: DayProblem, size: int) -> Indices:
    """Up to ``size`` prosumers drawn from those with a store and an agreement, in order."""
    able = np.intersect1d(np.flatnonzero(day.fleet.has_store), prosumers_with_deals(day))
    able = able if len(able) >= min(size, len(day.fleet)) else np.arange(len(day.fleet))
    return np.sort(np.random.default_rng(SEED).permutation(able)[:size])
