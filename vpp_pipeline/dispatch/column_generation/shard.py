"""A shard: whole groups of the fleet, answered for by one process. The fleet in memory is one shard, or several.

What a shard says is never added to another's: a group lies in one shard, so its sums are made there, over the same
blocks of the fleet and in the same order however many shards there are. Sums of the fleet are those of its groups, in
their order. The same bits come out for any cut.

A schedule is a plan: the steps that lead to it, which any process can repeat. A shard keeps what the last plan came to
and applies what is new of the next; one that was started again applies all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any, Literal

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.dispatch.column_generation.best_response import (
    POWERS,
    Stores,
    add_responses,
    add_schedules,
    fill_stored_values,
    fill_values,
)
from vpp_pipeline.dispatch.problem import Duals
from vpp_pipeline.dispatch.schedule import DaySchedule, without_dust_below_zero

NO_SALE = -1e6  # $ per MWh: below any price, the hour is closed for sales
MOST_RUNS = 64  # into which the work on single prosumers is cut
PART = 4096  # prosumers of one piece of work
GRID, SOLAR, DISCHARGE, SOLD, SPIN_KW, NONSPIN_KW = range(POWERS)  # rows of powers (POWERS, N, T)
STEPS = count()  # numbers of the steps of all plans of this process


@dataclass(frozen=True)
class Mix:
    """Every prosumer's mixture of its best responses: to each of K prices, by its group's share (K, G)."""

    duals: tuple[Duals, ...]
    share: Array


@dataclass(frozen=True)
class Scale:
    """Powers (POWERS, T) times a factor that is the same for everyone."""

    factor: Array


@dataclass(frozen=True)
class Trim(Scale):
    """The same as a part of the mixture, from which other plans begin."""


@dataclass(frozen=True)
class GiveUp:
    """In one hour everyone does ``fraction`` of what it could to sell less: no sun, less discharge, more charging."""

    hour: int
    power: Literal["sun", "discharge", "charge"]
    fraction: float


@dataclass(frozen=True)
class Put:
    """Prosumers at ``place`` (n,), ascending, run ``schedule``."""

    place: Indices
    schedule: DaySchedule


@dataclass(frozen=True)
class Plan:
    """Steps to a schedule of the whole fleet, with their numbers; a mixture comes first."""

    steps: tuple[Mix | Scale | GiveUp | Put, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, mix: Mix) -> Plan:
        """The plan that begins with ``mix``."""
        return cls((mix,), (next(STEPS),))

    def then(self, step: Scale | GiveUp | Put) -> Plan:
        """The plan with one step more."""
        return Plan((*self.steps, step), (*self.numbers, next(STEPS)))

    @property
    def mixture(self) -> int:
        """How many of its first steps are the mixture's."""
        return sum(isinstance(step, Mix | Trim) for step in self.steps)


@dataclass
class _Done:
    """What steps with these numbers come to."""

    numbers: tuple[int, ...]
    powers: Array  # (POWERS, n, T)
    stored: Array  # (n, T)
    could: dict[tuple[int, str], Array] = field(default_factory=dict)  # what was asked last, kW (n,)


@dataclass(frozen=True)
class Collected:
    """What a plan comes to for each of n prosumers."""

    powers: Array  # (POWERS, n, T)
    stored: Array  # (n, T)
    stored_value: Array  # (n, T) what one more kWh at the end of each hour is worth, $ per kWh
    no_sale_usd: Array  # (n,) value of the best day with no sales


class Shard:
    """Prosumers of whole groups, with limits and commitments; ``threads`` answer for them, as many as cores if None.

    ``place`` (n,): where each stands in the fleet, ascending; ``group`` (n,): its group among those of the fleet.
    """

    def __init__(
        self,
        stores: Stores,
        place: Indices,
        group: Indices,
        call_hours: float,
        threads: int | None = None,
    ) -> None:
        self.stores, self.place, self.call_hours, self.threads = stores, place, call_hours, threads
        self.own, self._row = np.unique(group, return_inverse=True)
        self._order = np.argsort(self._row, kind="stable")
        self._starts = np.searchsorted(self._row[self._order], np.arange(len(self.own)))
        self._mixed: _Done | None = None
        self._done: _Done | None = None

    def __len__(self) -> int:
        return len(self.place)

    def price(self, duals: Duals, blocks: Indices, asked: Flags | None = None) -> tuple[Array, Array]:
        """Best responses to ``duals`` summed over each own group: sold, bought, spin, nonspin (g, T, 4), and what
        owners are paid and the value (g, 2); of groups ``asked`` (G,) of the fleet.

        ``blocks``: places of the fleet between which prosumers are added up, before the blocks are.
        """
        prices, hours = per_kwh(duals), len(duals.buy)
        chosen = np.arange(len(self)) if asked is None else np.flatnonzero(asked[self.own][self._row])
        edges = np.searchsorted(self.place[chosen], blocks)
        blocks_here = [chosen[a:b] for a, b in pairwise(edges)]
        shape = len(blocks_here), len(self.own)
        power, money = np.zeros((*shape, hours, 4)), np.zeros((*shape, 2))

        def answer(k: int) -> None:
            add_responses(self.stores, blocks_here[k], self._row, prices, self.call_hours, power[k], money[k])

        in_threads(answer, range(len(blocks_here)), self.threads)
        return power.sum(axis=0), money.sum(axis=0)

    def values(self, duals: Duals) -> Array:
        """What each prosumer's best day is worth at ``duals`` (n,), $."""
        prices, out = per_kwh(duals), np.empty(len(self))

        def fill(block: tuple[int, int]) -> None:
            fill_values(self.stores, *block, prices, self.call_hours, out)

        in_threads(fill, self._runs(), self.threads)
        return out

    def stored_values(self, duals: Duals, stored_kwh: Array) -> Array:
        """What one more kWh at the end of each hour is worth (n, T), $, with ``stored_kwh`` (n, T) in store."""
        prices, out, stored_kwh = per_kwh(duals), np.empty(stored_kwh.shape), as_read_only(stored_kwh)

        def fill(block: tuple[int, int]) -> None:
            fill_stored_values(self.stores, *block, prices, self.call_hours, stored_kwh, out)

        in_threads(fill, self._runs(), self.threads)
        return out

    def powers_of(self, plan: Plan, without: Indices | None = None) -> Array:
        """Powers (g, POWERS, T) of own groups, kW; ``without`` prosumers at those places of the fleet (ascending)."""
        done = self._carried_out(plan)
        taken = np.ones(len(self))
        if without is not None:
            taken[self._rows_of(without)[1]] = 0.0
        return np.stack([self._by_group(kw, taken) for kw in done.powers], axis=1)

    def paid_usd(self, plan: Plan) -> Array:
        """What owners of each own group (g,) are paid for what they sell, less the worth of their satisfaction, $."""
        powers, stores = self._carried_out(plan).powers, self.stores
        usd = np.multiply(stores.energy_cost, powers[DISCHARGE] + powers[SOLD], dtype=float).sum(axis=1)
        usd += np.multiply(stores.spin_cost, powers[SPIN_KW], dtype=float).sum(axis=1)
        usd += np.multiply(stores.nonspin_cost, powers[NONSPIN_KW], dtype=float).sum(axis=1)
        return self._by_group(usd)

    def could_give_up(self, plan: Plan, hour: int, power: Literal["sun", "discharge", "charge"]) -> Array:
        """Most that each own group (g,) could sell less in ``hour`` by ``power``, kW."""
        done = self._carried_out(plan)
        done.could = {(hour, power): self._could_give_up(done, hour, power)}
        return self._by_group(done.could[hour, power])

    def collect(self, plan: Plan, duals: Duals, no_sale: Duals) -> Collected:
        """What ``plan`` comes to for each prosumer, and what its stored energy is worth at ``duals``."""
        done = self._carried_out(plan)
        return Collected(done.powers, done.stored, self.stored_values(duals, done.stored), self.values(no_sale))

    def _runs(self) -> Iterable[tuple[int, int]]:
        """The shard cut into at most MOST_RUNS runs."""
        return pairwise(np.linspace(0, len(self), min(MOST_RUNS, len(self)) + 1).astype(int).tolist())

    def _by_group(self, values: Array, taken: Array | None = None) -> Array:
        """Sums (g, …) of ``values`` (n, …) times ``taken`` (n,) over own groups, each in the order of the fleet."""
        ordered = values[self._order].astype(float)
        if taken is not None:
            ordered *= taken[self._order].reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(np.add.reduceat(ordered, self._starts, axis=0))

    def _rows_of(self, places: Indices) -> tuple[Indices, Indices]:
        """Which of ``places`` of the fleet lie here, and their rows."""
        rows = np.minimum(np.searchsorted(self.place, places), len(self) - 1)
        here = np.flatnonzero(self.place[rows] == places)
        return here, rows[here]

    def _carried_out(self, plan: Plan) -> _Done:
        """What ``plan`` comes to, from what is kept of it."""
        mixture = plan.mixture
        mixed = self._mixed
        if mixed is None or mixed.numbers != plan.numbers[: min(len(mixed.numbers), mixture)]:
            self._mixed = self._done = None  # room for the next
            mixed = self._mixed = self._mix(plan)
        for number, step in list(zip(plan.numbers, plan.steps, strict=True))[len(mixed.numbers) : mixture]:
            self._take(mixed, number, step)
        if len(plan.numbers) == mixture:
            return mixed
        done = self._done
        if done is None or done.numbers != plan.numbers[: len(done.numbers)]:
            self._done = None
            done = _Done(mixed.numbers, mixed.powers.astype(float), mixed.stored.astype(float))
            self._done = done
        for number, step in list(zip(plan.numbers, plan.steps, strict=True))[len(done.numbers) :]:
            self._take(done, number, step)
        return done

    def _take(self, done: _Done, number: int, step: Mix | Scale | GiveUp | Put) -> None:
        """The next step, in place."""
        if isinstance(step, Scale):
            for power, factor in zip(done.powers, step.factor, strict=True):
                if (factor != 1.0).any():
                    power *= factor
        elif isinstance(step, GiveUp):
            self._give_up(done, step)
        elif isinstance(step, Put):
            here, rows = self._rows_of(step.place)
            *powers, stored = vars(step.schedule).values()
            for power, values in zip(done.powers, powers, strict=True):
                power[rows] = values[here]
            done.stored[rows] = stored[here]
        done.could = {}
        done.numbers = (*done.numbers, number)

    def _mix(self, plan: Plan) -> _Done:
        """The first step: a mixture of each prosumer's own best responses.

        A mixture of schedules keeps every limit. One that charges in one of them and discharges in another would do
        both: that is netted, which can only leave more energy to sell.
        """
        mix, stores = plan.steps[0], self.stores
        assert isinstance(mix, Mix)
        shape, dtype = stores.max_charge.shape, stores.max_charge.dtype
        powers, stored = np.zeros((POWERS, *shape), dtype=dtype), np.empty(shape, dtype=dtype)
        answered = [(per_kwh(duals), share[self.own]) for duals, share in zip(mix.duals, mix.share, strict=True)]

        def fill(first: int) -> None:
            """Prosumers from ``first`` on, in full precision."""
            part = slice(first, first + PART)
            members = self._row[part]
            mixed = np.zeros((POWERS, len(members), shape[1]))
            for prices, weight in answered:
                chosen = np.flatnonzero(weight[members])
                add_schedules(stores, first, chosen, weight[members[chosen]], prices, self.call_hours, mixed)
            mine = Stores(*(values[part] for values in stores))
            net(mixed, mine)
            np.maximum(mixed, 0.0, out=mixed)
            powers[:, part] = mixed
            stored[part] = stored_after(powers[:, part], mine)

        in_threads(fill, range(0, len(self), PART), self.threads)
        return _Done(plan.numbers[:1], powers, stored)

    def _could_give_up(self, done: _Done, hour: int, power: str) -> Array:
        """Most kW (n,) that each prosumer can sell less in ``hour``: no limit of a later hour is broken by it."""
        stores, powers = self.stores, done.powers
        if power == "sun":
            return np.array(powers[SOLD][:, hour])
        room_kwh = np.maximum((stores.highest[:, hour:] - done.stored[:, hour:]).min(axis=1), 0.0)
        discharge, grid, solar = (powers[row][:, hour] for row in (DISCHARGE, GRID, SOLAR))
        if power == "discharge":
            most_kw = discharge
        else:
            idle_kw = np.where(discharge > 0.0, 0.0, stores.max_charge[:, hour] - grid - solar)
            most_kw = np.maximum(idle_kw, 0.0)
        return np.asarray(np.minimum(most_kw, room_kwh / self._kwh_per_kw(power)))

    def _kwh_per_kw(self, power: str) -> Array:
        """Stored energy (n,) that a kW less sold for an hour leaves."""
        return 1.0 / self.stores.discharge_efficiency if power == "discharge" else self.stores.charge_efficiency

    def _give_up(self, done: _Done, step: GiveUp) -> None:
        could = done.could.get((step.hour, step.power))
        changed = step.fraction * (self._could_give_up(done, step.hour, step.power) if could is None else could)
        row, sign = {"sun": (SOLD, -1.0), "discharge": (DISCHARGE, -1.0), "charge": (GRID, 1.0)}[step.power]
        done.powers[row][:, step.hour] += sign * changed
        if step.power != "sun":
            done.stored[:, step.hour :] += (changed * self._kwh_per_kw(step.power))[:, None]


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


def stored_after(powers: Array, stores: Stores) -> Array:
    """Stored energy (N, T) that follows from powers (POWERS, N, T), kWh."""
    grid, solar, discharge = powers[:3]
    charged = stores.charge_efficiency[:, None] * (grid + solar)
    change = charged - discharge / stores.discharge_efficiency[:, None] - stores.drive
    return without_dust_below_zero(stores.initial[:, None] + np.cumsum(change, axis=1))


def in_threads(work: Callable[[Any], None], parts: Iterable[Any], threads: int | None = None) -> None:
    """Do ``work`` on every part; the kernels let go of the interpreter, so that threads are enough."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(work, parts))


def per_kwh(duals: Duals) -> Array:
    """Prices (4, T) in $ per kWh, as the kernels take them."""
    prices = np.vstack([duals.sell, duals.buy, duals.spin, duals.nonspin]) / 1000.0
    prices[0] = np.maximum(prices[0], NO_SALE / 1000.0)
    return prices


def as_read_only(values: Any, dtype: Any = None) -> Any:
    """A view that kernels may not write to: numba compiles arrays of the one kind and the other apart, and tables give
    both."""
    view = np.ascontiguousarray(values, dtype=dtype).view()
    view.flags.writeable = False
    return view
