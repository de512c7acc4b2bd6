"""The fleet behind one small interface: prices in, sums of groups out. The master never sees a prosumer.

`FleetPricer` holds the fleet in this process. Another implementation may hold slices on several machines and add their
sums in a fixed order; nothing else would change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.column_generation.best_response import (
    POWERS,
    Stores,
    add_responses,
    add_schedules,
    fill_stored_values,
    fill_values,
    spread,
)
from vpp_pipeline.dispatch.problem import DayProblem, Duals, part_of

NO_SALE = -1e6  # $ per MWh: below any price, the hour is closed for sales
MOST_BLOCKS, SMALLEST_BLOCK = 64, 64  # how many, and prosumers in one
BLOCK_NUMBERS = 4_000_000  # numbers that the partial sums of all blocks may take
SPIN, NONSPIN = 1, 2  # places among the products of the RESERVES that the kernels price
RESERVES = 2


@dataclass(frozen=True)
class GroupSums:
    """Best responses summed over each of G groups."""

    sold_kw: Array  # (G, T) discharge and own solar
    bought_kw: Array  # (G, T) charging from the grid
    spin_kw: Array  # (G, T)
    nonspin_kw: Array  # (G, T)
    paid_usd: Array  # (G,) what owners are paid, less the worth of their satisfaction
    value_usd: Array  # (G,) the most any schedule is worth at these prices: the bound is made of it

    def worth(self, duals: Duals) -> Array:
        """What these powers earn each group (G,) at other prices, $."""
        earned = self.sold_kw @ duals.sell - self.bought_kw @ duals.buy
        return (earned + self.spin_kw @ duals.spin + self.nonspin_kw @ duals.nonspin) / 1000.0 - self.paid_usd


class Pricer(Protocol):
    """What the master needs of a fleet."""

    groups: int

    def price(self, duals: Duals, asked: Flags | None = None) -> GroupSums:
        """Every prosumer's best response to ``duals``, summed by group in a fixed order; of groups ``asked`` (G,)."""
        ...


class FleetPricer:
    """A fleet in memory, answered for by as many threads as there are cores."""

    def __init__(self, stores: Stores, group: Indices, groups: int, call_hours: float) -> None:
        self.stores, self.group, self.groups, self.call_hours = stores, group, groups, call_hours
        self.sweeps = 0.0

    def __len__(self) -> int:
        return len(self.stores.initial)

    def price(self, duals: Duals, asked: Flags | None = None) -> GroupSums:
        """Every prosumer's best response to ``duals``, summed by group in a fixed order; of groups ``asked`` (G,).

        The fleet is cut into blocks whatever the number of threads, and their sums are added in the order of the
        fleet: the same bits come out each time.
        """
        prices, hours = per_kwh(duals), len(duals.buy)
        chosen = np.arange(len(self)) if asked is None else np.flatnonzero(asked[self.group])
        most = min(MOST_BLOCKS, max(BLOCK_NUMBERS // (self.groups * hours * 4), 1))
        count = int(np.clip(len(chosen) // SMALLEST_BLOCK, 1, most))
        blocks = np.array_split(chosen, count)
        power = np.zeros((len(blocks), self.groups, hours, 4))
        money = np.zeros((len(blocks), self.groups, 2))

        def answer(k: int) -> None:
            add_responses(self.stores, blocks[k], self.group, prices, self.call_hours, power[k], money[k])

        in_threads(answer, range(len(blocks)))
        self.sweeps += len(chosen) / len(self)
        sold, bought, spin, nonspin = np.moveaxis(power.sum(axis=0), 2, 0)
        paid, value = money.sum(axis=0).T
        return GroupSums(sold, bought, spin, nonspin, paid, value)

    def values(self, duals: Duals) -> Array:
        """What each prosumer's best day is worth at ``duals`` (N,), $."""
        prices, out = per_kwh(duals), np.empty(len(self))
        in_threads(
            lambda block: fill_values(self.stores, *block, prices, self.call_hours, out), self._blocks(MOST_BLOCKS)
        )
        return out

    def stored_values(self, duals: Duals, stored_kwh: Array) -> Array:
        """What one more kWh at the end of each hour is worth (N, T), $, with ``stored_kwh`` (N, T) in store."""
        prices, out, stored_kwh = per_kwh(duals), np.empty(stored_kwh.shape), _as_read_only(stored_kwh)
        in_threads(
            lambda block: fill_stored_values(self.stores, *block, prices, self.call_hours, stored_kwh, out),
            self._blocks(MOST_BLOCKS),
        )
        return out

    def _blocks(self, count: int) -> list[tuple[int, int]]:
        """The fleet cut into at most ``count`` runs."""
        edges = np.linspace(0, len(self), min(count, len(self)) + 1).astype(int)
        return list(pairwise(edges.tolist()))


def load_kernels(day: DayProblem) -> float:
    """Compile every kernel for the number types of ``day``, or read what was compiled before; the CPU seconds it took.

    On a fresh machine that is half a minute, which must not count as a search's.
    """
    begun, hours = time.process_time(), len(day.market_price)
    stores, nothing = stores_of(part_of(day, np.arange(1), 1.0)), np.zeros(hours)
    pricer, closed = FleetPricer(stores, np.zeros(1, dtype=np.int64), 1, day.call_hours), Duals(*np.zeros((4, hours)))
    pricer.price(closed)
    pricer.values(closed)
    pricer.stored_values(closed, stores.lowest)
    schedules = np.zeros((POWERS, 1, hours))
    add_schedules(stores, 0, np.arange(1), nothing[:1], per_kwh(closed), day.call_hours, schedules)
    return time.process_time() - begun


def in_threads(work: Callable[[Any], None], parts: Iterable[Any]) -> None:
    """Do ``work`` on every part; the kernels let go of the interpreter, so that threads are enough."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, parts))


def per_kwh(duals: Duals) -> Array:
    """Prices (4, T) in $ per kWh, as the kernels take them."""
    prices = np.vstack([duals.sell, duals.buy, duals.spin, duals.nonspin]) / 1000.0
    prices[0] = np.maximum(prices[0], NO_SALE / 1000.0)
    return prices


def stores_of(day: DayProblem) -> Stores:
    """The fleet of ``day`` with its commitments, spread over hours.

    In single precision where the day's limits are: a million prosumers take half the memory. Raises SolveError for a
    market with other reserves than the two that the kernels price.
    """
    if len(PRODUCTS) != 1 + RESERVES:
        raise SolveError(f"the kernels price energy and {RESERVES} reserves, and the market has {', '.join(PRODUCTS)}")
    fleet = day.fleet
    exact = np.result_type(fleet.max_charge_kw.dtype, np.float32)
    shape = (6, *fleet.max_charge_kw.shape)
    committed = np.zeros(shape, dtype=exact)
    deals = (day.agreement_opportunity, day.agreement_prosumer, day.committed_kw, day.call_price)
    spread(*(_as_read_only(each) for each in (*deals, day.satisfaction_worth, day.product, day.covers)), committed)
    lowest = fleet.min_stored_kwh.astype(np.float64)  # in full: it is what the owner finds at the day's end
    lowest[:, -1] = np.maximum(lowest[:, -1], fleet.terminal_stored_kwh)
    by_hour = (
        fleet.max_charge_kw,
        fleet.max_discharge_kw,
        fleet.max_stored_kwh,
        fleet.min_stored_kwh,
        fleet.surplus_kw,
        fleet.export_room_kw,
        fleet.drive_kwh,
    )
    charge, discharge, highest, floor, sun, room, drive = (_as_read_only(kw, exact) for kw in by_hour)
    of_store = (
        fleet.charge_efficiency,
        fleet.discharge_efficiency,
        fleet.initial_stored_kwh,
        np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0]),
        fleet.maximum_cycles_per_day * fleet.capacity_kwh,
    )
    return Stores(
        charge,
        discharge,
        _as_read_only(lowest),
        highest,
        floor,
        sun,
        room,
        drive,
        *(_as_read_only(each) for each in committed),
        *(_as_read_only(each, np.float64) for each in of_store),
    )


def _as_read_only(values: Any, dtype: Any = None) -> Any:
    """A view that kernels may not write to: numba compiles arrays of the one kind and the other apart, and tables give
    both."""
    view = np.ascontiguousarray(values, dtype=dtype).view()
    view.flags.writeable = False
    return view
