"""The fleet behind one small interface: prices in, sums of groups out. The master never sees a prosumer.

`FleetPricer` holds the fleet in this process, `RayPricer` (`ray_shards.py`) in shards on several machines. Both are a
`Pricer`, which joins what shards answer in the order of groups: the same bits for any number of shards.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.column_generation.best_response import POWERS, Stores, spread
from vpp_pipeline.dispatch.column_generation.shard import (
    Collected,
    Mix,
    Plan,
    Scale,
    Shard,
    as_read_only,
)
from vpp_pipeline.dispatch.problem import DayProblem, Duals, part_of
from vpp_pipeline.dispatch.schedule import DaySchedule

SPIN, NONSPIN = 1, 2  # places among the products of the RESERVES that the kernels price
RESERVES = 2
MOST_BLOCKS, SMALLEST_BLOCK = 64, 64  # of a sweep: how many, and prosumers in one
BLOCK_NUMBERS = 4_000_000  # numbers that the partial sums of all blocks may take
ASKED_APART = 3  # of a fleet that is asked part by part: each part is spread evenly over the shards


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


@dataclass(frozen=True)
class Solved:
    """A plan of the whole fleet, prosumer by prosumer."""

    schedule: DaySchedule  # (N, T)
    stored_value: Array  # (N, T) what one more kWh at the end of each hour is worth, $ per kWh
    no_sale_usd: Array  # (N,) value of the best day with no sales


class Pricer(ABC):
    """What column generation needs of a fleet: sums by group, and at last the schedule that was decided.

    ``group`` (N,): of each prosumer, 0 … ``groups`` − 1; ``shards``: into how many the groups are cut at most.
    """

    def __init__(self, group: Indices, groups: int, hours: int, shards: int = 1) -> None:
        self.group, self.groups, self.sweeps = group, groups, 0.0
        self._most_blocks = min(MOST_BLOCKS, max(BLOCK_NUMBERS // (groups * hours * 4), 1))
        #: by who is asked: where blocks begin, and the share of the fleet
        self._blocks, self._asked = dict[bytes, Indices](), dict[bytes, float]()
        shard_of = cut(groups, shards)[group]
        #: places (n,) in the fleet of each shard's prosumers, and its groups (g,), both ascending
        self.members = [np.flatnonzero(shard_of == shard) for shard in np.unique(shard_of)]
        self.own = [np.unique(group[members]) for members in self.members]

    def __len__(self) -> int:
        return len(self.group)

    @abstractmethod
    def ask(self, question: str, *given: Any) -> Sequence[Any]:
        """What each shard's method of that name answers."""

    def price(self, duals: Duals, asked: Flags | None = None) -> GroupSums:
        """Every prosumer's best response to ``duals``, summed by group in a fixed order; of groups ``asked`` (G,)."""
        answers = self.ask("price", duals, self._blocks_of(asked), asked)
        power, money = (self._of_groups([answer[k] for answer in answers]) for k in (0, 1))
        return GroupSums(*np.moveaxis(power, 2, 0), *money.T)

    def _blocks_of(self, asked: Flags | None) -> Indices:
        """Places where blocks of as many ``asked`` prosumers each begin, and the end of the fleet; counts the sweep."""
        key = b"" if asked is None else asked.tobytes()
        if key not in self._blocks:
            chosen = np.arange(len(self)) if asked is None else np.flatnonzero(asked[self.group])
            count = int(np.clip(len(chosen) // SMALLEST_BLOCK, 1, self._most_blocks))
            begins = [block[0] for block in np.array_split(chosen, count) if len(block)]
            self._blocks[key] = np.array([0, *begins[1:], len(self)])
            self._asked[key] = len(chosen) / len(self)
        self.sweeps += self._asked[key]
        return self._blocks[key]

    def values(self, duals: Duals) -> Array:
        """What each prosumer's best day is worth at ``duals`` (N,), $."""
        return self._of_prosumers(self.ask("values", duals))

    def powers_of(self, plan: Plan, without: Indices | None = None) -> Array:
        """Powers (POWERS, T) of the fleet, kW; ``without`` prosumers at those places (ascending)."""
        return np.asarray(self._of_groups(self.ask("powers_of", plan, without)).sum(axis=0))

    def paid_usd(self, plan: Plan) -> float:
        """What owners are paid for what they sell, less the worth of their satisfaction, $."""
        return float(self._of_groups(self.ask("paid_usd", plan)).sum())

    def could_give_up(self, plan: Plan, hour: int, power: Literal["sun", "discharge", "charge"]) -> float:
        """Most that the fleet could sell less in ``hour`` by ``power``, kW."""
        return float(self._of_groups(self.ask("could_give_up", plan, hour, power)).sum())

    def collect(self, plan: Plan, duals: Duals, no_sale: Duals) -> Solved:
        """What ``plan`` comes to for each prosumer, once the day is decided."""
        parts: Sequence[Collected] = self.ask("collect", plan, duals, no_sale)
        grid, solar, discharge, sold, spin, nonspin = (
            self._of_prosumers([part.powers[p] for part in parts]) for p in range(POWERS)
        )
        stored, worth, no_sale_usd = (
            self._of_prosumers([getattr(part, name) for part in parts])
            for name in ("stored", "stored_value", "no_sale_usd")
        )
        return Solved(DaySchedule(grid, solar, discharge, sold, spin, nonspin, stored), worth, no_sale_usd)

    def _of_groups(self, parts: Sequence[Array]) -> Array:
        """Values (G, …) from those of each shard's own groups."""
        if len(parts) == 1 and len(self.own[0]) == self.groups:
            return parts[0]
        every = np.zeros((self.groups, *parts[0].shape[1:]))
        for own, values in zip(self.own, parts, strict=True):
            every[own] = values
        return every

    def _of_prosumers(self, parts: Sequence[Array]) -> Array:
        """Values (N, …) from those of each shard's prosumers."""
        if len(parts) == 1:
            return parts[0]
        every = np.empty((len(self), *parts[0].shape[1:]), dtype=parts[0].dtype)
        for members, values in zip(self.members, parts, strict=True):
            every[members] = values
        return every


class FleetPricer(Pricer):
    """A fleet in memory, answered for by as many threads as there are cores; cut into ``shards`` if asked to."""

    def __init__(self, stores: Stores, group: Indices, groups: int, call_hours: float, shards: int = 1) -> None:
        super().__init__(group, groups, stores.max_charge.shape[1], shards)
        self.shards = [
            Shard(part_of_stores(stores, members), members, group[members], call_hours) for members in self.members
        ]

    def ask(self, question: str, *given: Any) -> Sequence[Any]:
        """What each shard's method of that name answers."""
        return [getattr(shard, question)(*given) for shard in self.shards]


class Backend(Protocol):
    """Where fleets are held."""

    def pricer(self, stores: Stores, group: Indices, groups: int, call_hours: float) -> Pricer:
        """The pricer of a fleet."""
        ...

    def events(self) -> list[str]:
        """What happened to shards, in words for `dispatch.proof`."""
        ...


class InProcess:
    """Fleets in this process: the backend `local`."""

    def pricer(self, stores: Stores, group: Indices, groups: int, call_hours: float) -> Pricer:
        """The pricer of a fleet."""
        return FleetPricer(stores, group, groups, call_hours)

    def events(self) -> list[str]:
        """Nothing happens here."""
        return []


LOCAL = InProcess()


def cut(groups: int, shards: int) -> Indices:
    """Shard (G,) of each group: each has as many as another, or one more; so it is among those asked in one part.

    >>> cut(8, 3).tolist()
    [0, 0, 0, 1, 1, 1, 2, 2]
    """
    turn = np.lexsort((np.arange(groups), np.arange(groups) % ASKED_APART))
    shard = np.empty(groups, dtype=np.int64)
    shard[turn] = np.arange(groups) % max(shards, 1)
    return shard


def part_of_stores(stores: Stores, members: Indices) -> Stores:
    """Those of ``members`` (n,) alone; the same arrays where they are all."""
    if len(members) == len(stores.initial):
        return stores
    return Stores(*(as_read_only(values[members]) for values in stores))


def load_kernels(day: DayProblem) -> float:
    """Compile every kernel for the number types of ``day``, or read what was compiled before; the CPU seconds it took.

    On a fresh machine that is half a minute, which must not count as a search's.
    """
    begun, hours = time.process_time(), len(day.market_price)
    stores, first = stores_of(part_of(day, np.arange(1), 1.0)), np.zeros(1, dtype=np.int64)
    shard, closed = Shard(stores, first, first, day.call_hours), Duals(*np.zeros((4, hours)))
    shard.price(closed, np.arange(2))
    plan = Plan.of(Mix((closed,), np.ones((1, 1)))).then(Scale(np.ones((POWERS, hours))))
    shard.collect(plan, closed, closed)
    return time.process_time() - begun


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
    spread(*(as_read_only(each) for each in (*deals, day.satisfaction_worth, day.product, day.covers)), committed)
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
    charge, discharge, highest, floor, sun, room, drive = (as_read_only(kw, exact) for kw in by_hour)
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
        as_read_only(lowest),
        highest,
        floor,
        sun,
        room,
        drive,
        *(as_read_only(each) for each in committed),
        *(as_read_only(each, np.float64) for each in of_store),
    )
