"""Prosumers who answer alike share their columns: the master stays small whatever the fleet."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.domain.arrays import Array, Indices
from vpp_pipeline.optimisation.column_generation.respond import Stores

MOST_GROUPS = 200


def groups_of(stores: Stores, most: int = MOST_GROUPS) -> tuple[Indices, int]:
    """Group (N,) of each prosumer and how many there are; up to ``most`` prosumers stand for themselves.

    Prosumers are put in order of what makes them answer alike (the owner's price, how long the store lasts, whether it
    has sun) and cut into runs of equal size.
    """
    n = len(stores.initial)
    if n <= most:
        return np.arange(n), n
    held = stores.energy_kw + stores.spin_kw + stores.nonspin_kw
    price = _mean(stores.energy_cost, stores.energy_kw)
    power = np.maximum(stores.max_discharge.max(axis=1), 1e-9)
    hours = stores.highest[:, 0] / power
    kind = (held.sum(axis=1) > 0.0) * 2 + (stores.sun.max(axis=1) > 0.0)
    stays = (stores.max_discharge > 0.0).sum(axis=1)
    place = np.empty(n, dtype=np.int64)
    place[np.lexsort((price, hours.round(1), stays // 4, kind))] = np.arange(n)
    return place * most // n, most


def _mean(values: Array, weights: Array) -> Array:
    total = weights.sum(axis=1)
    return np.asarray((values * weights).sum(axis=1) / np.where(total > 0.0, total, 1.0))
