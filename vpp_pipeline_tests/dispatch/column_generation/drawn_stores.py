"""Prosumers drawn at random as the kernels take them, and prices to put to them."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.dispatch.column_generation.best_response import Stores
from vpp_pipeline.dispatch.problem import Duals

CLOSED = -np.inf  # the price of a sale in an hour in which no energy is bid


def draw_stores(rng: np.random.Generator, count: int, hours: int, *, whole_numbers: bool = False) -> Stores:
    """Batteries, EVs that leave, homes with sun: ``count`` of them, each with at least one schedule within its limits.

    The band of stored energy is drawn around one that charging alone can follow. With ``whole_numbers`` all limits and
    prices are whole, so that many things tie.
    """

    def draw(low: float, high: float, *shape: int) -> Array:
        return (
            rng.integers(int(low), int(high) + 1, shape).astype(float)
            if whole_numbers
            else rng.uniform(low, high, shape)
        )

    def sometimes(share: float, values: Array, otherwise: Array | float = 0.0) -> Array:
        return np.where(rng.random(values.shape) < share, values, otherwise)

    shape = (count, hours)
    efficiency = np.array([1.0, 0.8, 0.5]) if whole_numbers else rng.uniform(0.7, 1.0, 4)
    eta_c, eta_d = rng.choice(efficiency, count), rng.choice(efficiency, count)
    eta_c[: count // 4] = eta_d[: count // 4] = 1.0
    here = (rng.random(shape) < rng.choice([0.0, 0.6, 1.0, 1.0], count)[:, None]).astype(float)
    power = draw(0, 10, count, 1)
    max_charge, max_discharge = here * sometimes(0.9, power), here * sometimes(0.9, draw(0, 10, count, 1))
    initial = draw(0, 20, count)
    drive = np.zeros(shape)
    stored = np.empty(shape)
    before = initial
    for t in range(hours):
        full = before + eta_c * max_charge[:, t] * sometimes(0.5, rng.random(count))
        drive[:, t] = np.minimum(sometimes(0.3, draw(0, 3, count)) * (here[:, t] == 0.0), full)
        before = stored[:, t] = full - drive[:, t]
    least = np.minimum(stored, draw(0, 8, count, 1))
    lowest = np.where(rng.random(shape) < 0.9, least, stored)
    floor = np.minimum(lowest, sometimes(0.8, lowest, 0.5 * lowest))
    highest = stored + sometimes(0.9, draw(0, 30, count, 1))
    lowest[:, -1] = np.maximum(lowest[:, -1], sometimes(0.6, stored[:, -1] - draw(0, 10, count)))
    sun = sometimes(0.5, draw(0, 8, *shape)) * (rng.random((count, 1)) < 0.6)
    room = sometimes(0.9, draw(2, 25, count, 1)) + np.zeros(shape)

    def commitment() -> Array:
        return sometimes(0.6, draw(0, 12, *shape)) * (rng.random((count, 1)) < 0.8)

    def cost() -> Array:
        return draw(0, 6, *shape) / 100.0  # never negative: credit for satisfaction is at most what is paid

    cycles = np.where(rng.random(count) < 0.5, draw(0, 20, count), 1e4)
    arrays = (
        max_charge,
        max_discharge,
        lowest,
        highest,
        floor,
        sun,
        room,
        drive,
        commitment(),
        cost(),
        commitment(),
        cost(),
        commitment(),
        cost(),
        eta_c,
        eta_d,
        initial,
        np.minimum(initial, floor[:, 0]),
        cycles,
    )
    return Stores(*(np.ascontiguousarray(array, dtype=float) for array in arrays))


def draw_prices(
    rng: np.random.Generator, hours: int, *, lowest: float = 0.0, highest: float = 120.0, whole_numbers: bool = False
) -> Duals:
    """A sale never pays more than charging costs; some hours are closed for sales, some reserves are worth nothing."""

    def draw(low: float, high: float) -> Array:
        prices = rng.uniform(low, high, hours)
        return 10.0 * np.round(prices / 10.0) if whole_numbers else prices

    buy = draw(lowest, highest)
    sell = buy - np.where(rng.random(hours) < 0.3, draw(0.0, 40.0), 0.0)
    return Duals(
        sell=np.where(rng.random(hours) < 0.1, CLOSED, sell),
        buy=buy,
        spin=draw(0.0, 60.0) * (rng.random(hours) < 0.7),
        nonspin=draw(0.0, 60.0) * (rng.random(hours) < 0.7),
    )


def burning_pays(stores: Stores, duals: Duals) -> Flags:
    """Whether charging and discharging at once would earn (N,): a sale after losses pays more than charging costs."""
    kept = (stores.charge_efficiency * stores.discharge_efficiency)[:, None]
    sale = duals.sell / 1000.0 - stores.energy_cost
    most_sold = np.minimum(np.minimum(stores.max_discharge, stores.energy_kw), stores.room)
    possible = (most_sold > 0.0) & (stores.max_charge > 0.0)
    return np.asarray((possible & (np.where(possible, sale, 0.0) * kept > duals.buy / 1000.0 + 1e-12)).any(axis=1))
