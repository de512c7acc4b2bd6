"""From weights of columns back to a schedule of every prosumer."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.domain.day_schedule import DaySchedule, without_dust_below_zero
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.master import MasterAnswer
from vpp_pipeline.optimisation.column_generation.pricing import FleetPricer, in_threads, per_kwh
from vpp_pipeline.optimisation.column_generation.respond import POWERS, Stores
from vpp_pipeline.optimisation.column_generation.sweep import add_schedules
from vpp_pipeline.optimisation.exact import ENERGY, NONSPIN, SPIN
from vpp_pipeline.optimisation.problem import DayProblem

WEIGHT = 1e-9  # columns with less are left out, and the rest of their group takes their place
PART = 4096  # prosumers of one piece of work


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
    mixture = [(per_kwh(generation.promises[answered].duals), share[answered] / total) for answered in sorted(share)]
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
