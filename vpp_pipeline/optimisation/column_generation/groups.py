"""Prosumers who answer alike share their columns: the master stays small whatever the fleet."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.optimisation.column_generation.respond import Stores

MOST_GROUPS = 400


def groups_of(order: Indices, most: int = MOST_GROUPS) -> tuple[Indices, int]:
    """Group (N,) of each prosumer and how many there are: runs of ``order`` (N,) of equal size.

    Up to ``most`` prosumers stand for themselves.
    """
    n = len(order)
    if n <= most:
        return np.arange(n), n
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    return place * most // n, most


def likeness(stores: Stores) -> Indices:
    """Prosumers (N,) in order of what makes them answer alike.

    That is the owner's price, how long the store lasts, how often it is there, and whether it has sun.
    """
    held = stores.energy_kw + stores.spin_kw + stores.nonspin_kw
    price = _mean(stores.energy_cost, stores.energy_kw)
    power = np.maximum(stores.max_discharge.max(axis=1), 1e-9)
    hours = stores.highest[:, 0] / power
    kind = (held.sum(axis=1) > 0.0) * 2 + (stores.sun.max(axis=1) > 0.0)
    stays = (stores.max_discharge > 0.0).sum(axis=1)
    return np.lexsort((price, hours.round(1), stays // 4, kind))


def _mean(values: Array, weights: Array) -> Array:
    total = weights.sum(axis=1)
    return np.asarray((values * weights).sum(axis=1) / np.where(total > 0.0, total, 1.0))
