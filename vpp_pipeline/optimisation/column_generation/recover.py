"""From weights of columns back to a schedule of every prosumer."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.pricing import FleetPricer, in_threads, per_kwh
from vpp_pipeline.optimisation.column_generation.respond import POWERS, Stores, add_schedules
from vpp_pipeline.optimisation.problem import DaySchedule

WEIGHT = 1e-9  # columns with less are left out, and the rest of their group takes their place
PART = 4096  # prosumers of one piece of work


def recover(pricer: FleetPricer, generation: Generation, weights: Array) -> DaySchedule:
    """The schedule (N, T) that the columns' ``weights`` stand for: a mixture of each prosumer's own best responses.

    A mixture of schedules keeps every limit. One that charges in one of them and discharges in another would do both:
    that is netted, which can only leave more energy to sell.
    """
    stores, groups = pricer.stores, pricer.groups
    share: dict[int, Array] = defaultdict(lambda: np.zeros(groups))
    for (group, answered), weight in zip(generation.master.columns, weights, strict=True):
        if weight > WEIGHT:
            share[answered][group] += weight
    total = np.sum(list(share.values()), axis=0)
    powers = np.zeros((POWERS, *stores.max_charge.shape))
    for answered in sorted(share):
        weight = (share[answered] / total)[pricer.group]
        chosen = np.flatnonzero(weight)
        prices = per_kwh(generation.promises[answered].duals)

        def add(part: Array, weight: Array = weight, prices: Array = prices) -> None:
            add_schedules(stores, part, weight[part], prices, pricer.call_hours, powers)

        in_threads(add, np.array_split(chosen, max(len(chosen) // PART, 1)))
    net(powers, stores)
    return schedule_of(powers, stores)


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


def schedule_of(powers: Array, stores: Stores) -> DaySchedule:
    """Powers (POWERS, N, T) as a schedule, with the stored energy that follows from them."""
    grid, solar, discharge, sold, spin, nonspin = np.maximum(powers, 0.0)
    change = (
        stores.charge_efficiency[:, None] * (grid + solar)
        - discharge / stores.discharge_efficiency[:, None]
        - stores.drive
    )
    stored = stores.initial[:, None] + np.cumsum(change, axis=1)
    return DaySchedule(grid, solar, discharge, sold, spin, nonspin, stored)
