"""A day made ready for column generation: a sample of the fleet, solved first, gives prices and decisions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.optimisation.column_generation.coordinator import Coordinator
from vpp_pipeline.optimisation.column_generation.generation import Generation, Promise
from vpp_pipeline.optimisation.column_generation.groups import groups_of
from vpp_pipeline.optimisation.column_generation.master import Master
from vpp_pipeline.optimisation.column_generation.pricing import NO_SALE, FleetPricer, stores_of
from vpp_pipeline.optimisation.column_generation.search import Found, Search
from vpp_pipeline.optimisation.exact import ENERGY, NONSPIN, SPIN
from vpp_pipeline.optimisation.problem import DayProblem, Duals, part_of

SAMPLE_EVERY = 10  # a sample has every tenth prosumer
SMALLEST_SAMPLED = 1_000  # smaller fleets are not sampled
SAMPLE_TIME = 0.25  # of the time left
KEPT_PRICES = 4  # prices of the sample that are put to the whole fleet, before the bids are decided and after


@dataclass(frozen=True)
class Prepared:
    """A day ready for column generation."""

    pricer: FleetPricer
    generation: Generation
    no_sale: Duals
    first: Array | None  # (O,) decisions that a sample of the fleet would take


def prepare(day: DayProblem, gap_target: float, until: float, *, decides: bool = True) -> Prepared:
    """Fleet, coordinator and master of a day, with the columns of no sale and of the sample's prices.

    ``decides``: the sample decides its bids; otherwise it solves the relaxation alone.
    """
    stores = stores_of(day)
    group, count = groups_of(stores)
    pricer = FleetPricer(stores, group, count, day.call_hours)
    coordinator = Coordinator(
        day, np.minimum(stores.energy_kw, stores.room).sum(axis=0) / 1000.0, stores.max_charge.sum(axis=0) / 1000.0
    )
    generation = Generation(pricer, coordinator, Master(coordinator, count))
    hours = len(day.market_price)
    nothing = np.zeros(hours)
    no_sale = Duals(np.full(hours, NO_SALE), coordinator.market, nothing, nothing)
    generation.put(no_sale)
    if len(day.fleet) < SMALLEST_SAMPLED:
        generation.put(_market_prices(coordinator))
        return Prepared(pricer, generation, no_sale, None)
    prices, first = _sampled(day, gap_target, until, decides)
    for promise in prices:
        generation.put(promise.duals, promise.tilt)
    return Prepared(pricer, generation, no_sale, first)


def _market_prices(coordinator: Coordinator) -> Duals:
    """Prices to begin with: the best that is paid in each hour."""
    day = coordinator.day
    best = [day.price * (day.product == product) for product in (ENERGY, SPIN, NONSPIN)]
    energy, spin, nonspin = (np.where(day.covers, price[:, None], 0.0).max(axis=0, initial=0.0) for price in best)
    energy = np.maximum(coordinator.market, energy)
    return Duals(energy, energy, spin, nonspin)


def _sampled(day: DayProblem, gap_target: float, until: float, decides: bool) -> tuple[list[Promise], Array | None]:
    """Prices and decisions with which a sample of the fleet ends, on opportunities of its share of their size."""
    n = len(day.fleet)
    chosen = np.arange(SAMPLE_EVERY // 2, n, SAMPLE_EVERY)
    held = np.zeros(n)
    np.add.at(held, day.agreement_prosumer, day.committed_kw)
    share = float(held[chosen].sum() / held.sum()) if held.any() else len(chosen) / n
    now = time.perf_counter()
    enough = now + SAMPLE_TIME * max(until - now, 0.0)
    sample = prepare(part_of(day, chosen, share), gap_target, enough, decides=decides)
    nothing, anything = np.zeros(len(day.price)), day.may_bid.astype(float)
    if not decides:
        sample.generation.converge(nothing, anything, gap_target, enough)
        return sample.generation.best_prices(nothing, anything, KEPT_PRICES), None
    found = search(sample, day, gap_target, enough)
    prices = sample.generation.best_prices(nothing, anything, KEPT_PRICES)
    decided = sample.generation.best_prices(found.decisions, found.decisions, KEPT_PRICES)
    decided = [promise for promise in decided if all(promise is not other for other in prices)]
    return [*prices, *decided], found.decisions


def search(prepared: Prepared, day: DayProblem, gap_target: float, until: float) -> Found:
    """Decide the bids, beginning with the sample's decisions."""
    return Search(prepared.generation, day.may_bid, gap_target, until).run(prepared.first)
