"""A day made ready for column generation: groups of prosumers alike, and a sample that is solved first."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch import branch_and_bound
from vpp_pipeline.dispatch.branch_and_bound import Limits
from vpp_pipeline.dispatch.column_generation.best_response import Stores
from vpp_pipeline.dispatch.column_generation.branch_and_price import DualBound, Found, Generation, Leaf, Search
from vpp_pipeline.dispatch.column_generation.master import Coordinator, Master, MasterAnswer
from vpp_pipeline.dispatch.column_generation.pricing import (
    ASKED_APART,
    LOCAL,
    NONSPIN,
    SPIN,
    Backend,
    Pricer,
    stores_of,
)
from vpp_pipeline.dispatch.column_generation.shard import NO_SALE
from vpp_pipeline.dispatch.formulation import ENERGY, formulate
from vpp_pipeline.dispatch.problem import DayProblem, Duals, part_of, unlimited_mw

LOG = logging.getLogger(__name__)
SAMPLE_EVERY = 10  # a sample has every tenth prosumer
SMALLEST_SAMPLED = 1_000  # smaller fleets are not sampled
SAMPLE_WORK = 0.5  # of the work that the search for better decisions may do, where the sample does not search itself
WEIGHT = 1e-9  # of a mixture: less is none
PARTS = ASKED_APART  # of the groups, of which one is asked at a time
DUST, LEAST_DUST = 0.3, 1e-6  # reserve prices left out: share of gap target and dearest hour, $ per MW and hour
MOST_GROUPS, LARGE, MOST_GROUPS_OF_LARGE = 100, 50_000, 200  # prosumers: there a sweep costs more than the master
SEARCHED = 20_000  # prosumers: the largest sample of no more searches for the decisions of a larger fleet
EXACT_SAMPLE = 500  # prosumers: the decisions of a sample no larger are found by the exact method
LEAST_ELSEWHERE = 5_000  # prosumers: a smaller sample is priced here, since a round trip costs more than its sweep
NO_SEARCH = Limits(nodes=0, pivots=np.inf)


@dataclass(frozen=True)
class Prepared:
    """A day ready for column generation."""

    pricer: Pricer
    generation: Generation
    no_sale: Duals
    first: Array | None  # (O,) decisions that a sample of the fleet would take
    leaves: tuple[Leaf, ...] = ()  # of the sample's search tree, where there is one


@dataclass(frozen=True)
class _Lead:
    """Prices that a sample ends with, and the groups (G,) of the whole fleet to be asked; all of them if None."""

    dual_bound: DualBound
    asked: Flags | None


def prepare(
    day: DayProblem,
    gap_target: float,
    limits: Limits = NO_SEARCH,
    *,
    decides: bool = True,
    backend: Backend = LOCAL,
) -> Prepared:
    """Fleet, coordinator and master of a day, with the columns of no sale and of the sample's prices.

    ``decides``: the sample decides its bids, within its part of the limits; otherwise it solves the relaxation alone.
    ``backend``: where the fleet is held.
    """
    stores = stores_of(day)
    order = similarity_order(stores)
    group, count = groups_of(order, MOST_GROUPS if len(order) < LARGE else MOST_GROUPS_OF_LARGE)
    pricer = backend.pricer(stores, group, count, day.call_hours)
    coordinator = Coordinator(
        day,
        np.minimum(stores.energy_kw, stores.room).sum(axis=0, dtype=float) / 1000.0,
        stores.max_charge.sum(axis=0, dtype=float) / 1000.0,
    )
    dust = max(LEAST_DUST, DUST * gap_target * float(np.abs(day.market_price).max()))
    parts = PARTS if len(day.fleet) >= SMALLEST_SAMPLED else 0
    generation = Generation(pricer, coordinator, Master(coordinator, count), dust, parts)
    hours = len(day.market_price)
    nothing = np.zeros(hours)
    no_sale = Duals(np.full(hours, NO_SALE), coordinator.market, nothing, nothing)
    generation.put(no_sale)
    if len(day.fleet) < SMALLEST_SAMPLED:
        generation.put(_market_prices(coordinator))
        return Prepared(pricer, generation, no_sale, None)
    chosen = np.sort(order[SAMPLE_EVERY // 2 :: SAMPLE_EVERY])
    held = sum(kw.sum(axis=1, dtype=float) for kw in (stores.energy_kw, stores.spin_kw, stores.nonspin_kw))
    share = float(held[chosen].sum() / held.sum()) if held.any() else len(chosen) / len(day.fleet)
    del stores, held  # a shard elsewhere has its own
    leads, found = _sampled(day, chosen, share, pricer, gap_target, limits, decides, backend)
    for lead in leads:
        generation.put(lead.dual_bound.duals, lead.dual_bound.tilt, lead.asked)
    if found is None:
        return Prepared(pricer, generation, no_sale, None)
    return Prepared(pricer, generation, no_sale, found.decisions, found.leaves)


def _market_prices(coordinator: Coordinator) -> Duals:
    """Prices to begin with: the best that is paid in each hour."""
    day = coordinator.day
    best = [day.price * (day.product == product) for product in (ENERGY, SPIN, NONSPIN)]
    energy, spin, nonspin = (np.where(day.covers, price[:, None], 0.0).max(axis=0, initial=0.0) for price in best)
    energy = np.maximum(coordinator.market, energy)
    return Duals(energy, energy, spin, nonspin)


def _sampled(
    day: DayProblem,
    chosen: Indices,
    share: float,
    pricer: Pricer,
    gap_target: float,
    limits: Limits,
    decides: bool,
    backend: Backend,
) -> tuple[list[_Lead], Found | None]:
    """Prices and decisions with which a sample of the fleet ends, on opportunities of its ``share`` of their size.

    ``chosen`` (n,), ascending: every tenth in the order of similarity, so that the sample has prosumers of every kind.
    """
    part, place = limits.part(SAMPLE_WORK), backend if len(chosen) >= LEAST_ELSEWHERE else LOCAL
    sample = prepare(part_of(day, chosen, share), gap_target, part, decides=decides, backend=place)
    nothing, anything = np.zeros(len(day.price)), day.may_bid.astype(float)
    searches = len(chosen) <= SEARCHED < len(day.fleet)
    # a node costs the sample a tenth of what it costs the fleet, which takes over its tree
    found = decisions_of(sample, gap_target, limits if searches else part, searches=searches) if decides else None
    answers = [sample.generation.converge(nothing, anything, gap_target)[0]]
    if found is not None:
        answers.append(sample.generation.converge(found.decisions, found.decisions, gap_target)[0])
    mixed = np.logical_or.reduce([_mixed(sample, answer) for answer in answers])
    asked = np.zeros((len(mixed), pricer.groups), dtype=bool)
    np.logical_or.at(asked.T, pricer.group[chosen], mixed.T[sample.pricer.group])
    best = sample.generation.best_prices(nothing, anything, 1)[0]
    leads = [_Lead(best, None)]
    for dual_bound, groups in zip(sample.generation.dual_bounds, asked, strict=True):
        if dual_bound is not best and groups.any():
            leads.append(_Lead(dual_bound, groups))
    return leads, found


def decisions_of(sample: Prepared, gap_target: float, limits: Limits, *, searches: bool) -> Found:
    """Decisions (O,) of a sample: of a small one by the exact method, whose cuts find better ones in less time.

    A larger one takes the better of its own sample's and those of its rounded relaxation, unless it ``searches``.
    """
    day = sample.generation.coordinator.day
    if len(day.fleet) > EXACT_SAMPLE:
        return search(sample, gap_target, limits if searches else replace(limits, nodes=0))
    linear, nothing = formulate(day, binary=False), np.zeros(len(day.price))
    linear.set_bids(nothing, nothing)
    linear.set_quantities(nothing, unlimited_mw(day))
    try:
        start = (linear.solve("HIGHS"), nothing)
        found = branch_and_bound.search(day, linear, start, gap_target, limits)
        return Found(found.decisions, found.objective_usd, found.bound_usd, start[0], found.nodes, found.ran_out)
    except SolveError as error:
        LOG.warning("dispatch: the sample is decided by columns, because the exact method failed: %s", error)
        return search(sample, gap_target, limits)


def _mixed(sample: Prepared, answer: MasterAnswer) -> Flags:
    """Which prices (K, G) carry weight in the mixture of which group of the sample; later columns than its own none."""
    used = np.zeros((len(sample.generation.dual_bounds), sample.pricer.groups), dtype=bool)
    group, answered = np.array(sample.generation.master.columns[: len(answer.weights)]).T
    weighs = answer.weights > WEIGHT
    used[answered[weighs], group[weighs]] = True
    return used


def search(prepared: Prepared, gap_target: float, limits: Limits) -> Found:
    """Decide the bids, beginning with the sample's decisions."""
    may_bid = prepared.generation.coordinator.day.may_bid
    return Search(prepared.generation, may_bid, gap_target).run(prepared.first, limits, prepared.leaves)


def groups_of(order: Indices, most: int) -> tuple[Indices, int]:
    """Group (N,) of each prosumer and how many there are: runs of ``order`` (N,) of equal size.

    Up to ``most`` prosumers stand for themselves.
    """
    n = len(order)
    if n <= most:
        return np.arange(n), n
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    return place * most // n, most


def similarity_order(stores: Stores) -> Indices:
    """Prosumers (N,) ordered so that neighbors have similar pricing problems.

    That is the owner's price, how long the store lasts, how often it is available, and whether it has solar.
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
