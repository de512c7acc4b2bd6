"""Column generation: prices are improved until what they promise is what the columns earn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.optimisation.column_generation.coordinator import Coordinator
from vpp_pipeline.optimisation.column_generation.master import Master, MasterAnswer
from vpp_pipeline.optimisation.column_generation.pricing import Pricer
from vpp_pipeline.optimisation.limits import Limit, NoLimit
from vpp_pipeline.optimisation.problem import Duals

MOST_ITERATIONS = 400
MOST_SWEEPS = 60.0  # of a fleet that is asked part by part
WORTH_A_ROUND = 0.4  # of the open gap: a round of parts that closes less is followed by everyone
UNTRUE, UNTRUE_USD = 1e-6, 1e-3  # a bound that lies lower than an answer by more is wrong


@dataclass(frozen=True)
class Promise:
    """Prices that were put to the fleet, and the sum of what its best responses are worth at them."""

    duals: Duals
    tilt: Array  # (W,) weights of the scenarios
    value_usd: float


@dataclass
class Generation:
    """The columns of a day so far, and the prices that they answer."""

    pricer: Pricer
    coordinator: Coordinator
    master: Master
    dust: float  # $ per MW and hour: reserve prices below it are left out
    parts: int  # of the groups, that are asked in turn between sweeps of the whole fleet; 0: always the whole
    smoothing: float = 0.5
    promises: list[Promise] = field(default_factory=list)
    sweeps: float = 0.0  # how often the fleet was asked, a part of it for a part of one
    no_bid_usd: float | None = None  # what the day is worth without bids, once somebody has found out
    untrue_usd: float = 0.0  # by how much an answer earned more than any answer should: above 0, no bound is proven

    def put(self, duals: Duals, tilt: Array | None = None, asked: Flags | None = None) -> None:
        """Put prices to the fleet; its answers become columns, its promise a bound.

        ``asked`` (G,): to these groups only, whose answers bound nothing.
        """
        # any reserve prices make a bound: those next to nothing would only make every hour dear to solve
        spin, nonspin = (np.where(price > self.dust, price, 0.0) for price in (duals.spin, duals.nonspin))
        duals = replace(duals, spin=spin, nonspin=nonspin)
        sums = self.pricer.price(duals, asked)
        self.sweeps += 1.0 if asked is None else float(asked.mean())
        self.master.add(sums, len(self.promises), asked)
        tilt = self.coordinator.no_tilt if tilt is None else tilt
        self.promises.append(Promise(duals, tilt, float(sums.value_usd.sum()) if asked is None else np.inf))

    def bound(self, z_low: Array, z_high: Array) -> tuple[float, Promise]:
        """The least that any prices so far promise with z (O,) within bounds: no schedule earns more."""
        bounds = [self._promised(promise, z_low, z_high) for promise in self.promises]
        best = int(np.argmin(bounds))
        return bounds[best], self.promises[best]

    def best_prices(self, z_low: Array, z_high: Array, count: int) -> list[Promise]:
        """The ``count`` prices that promise least, the tightest first, with z (O,) within bounds."""
        return sorted(self.promises, key=lambda promise: self._promised(promise, z_low, z_high))[:count]

    def _promised(self, promise: Promise, z_low: Array, z_high: Array) -> float:
        return promise.value_usd + self.coordinator.most(promise.duals, promise.tilt, z_low, z_high)

    def converge(
        self,
        z_low: Array,
        z_high: Array,
        gap_target: float,
        limit: Limit | None = None,
        worth_usd: float = -np.inf,
    ) -> tuple[MasterAnswer, float]:
        """Add columns until answer and bound are within ``gap_target``, or the bound falls to ``worth_usd``.

        ``gap_target`` is a share of what bidding could add (of the bound itself, until ``no_bid_usd`` is known). Ends
        once ``limit`` is reached, after MOST_ITERATIONS, or after MOST_SWEEPS of a fleet that is asked in parts.
        Prices are smoothed towards those of the best bound (Wentges 1997): the master's own swing from one extreme to
        the other.
        """
        limit, last_sweep = limit or NoLimit(), self.sweeps + (MOST_SWEEPS if self.parts else np.inf)
        self.master.set_bids(z_low, z_high)
        smoothing, turns = self.smoothing, _Turns(self.parts)
        bound_usd, center = self.bound(z_low, z_high)
        answer = self.master.solve()
        for _ in range(MOST_ITERATIONS):
            gap = bound_usd - answer.objective_usd
            if gap <= gap_target * self.worth_of_bidding(bound_usd) or bound_usd <= worth_usd:
                break
            if limit.is_reached() or self.sweeps > last_sweep:
                break
            columns, part = len(self.master.columns), turns.next(answer.objective_usd, bound_usd)
            asked = None if part is None else np.arange(self.pricer.groups) % self.parts == part
            duals = _between(answer.duals, center.duals, smoothing)
            self.put(duals, answer.tilt + smoothing * (center.tilt - answer.tilt), asked)
            if part is not None:
                turns.found(len(self.master.columns) > columns)
            else:
                here = self._promised(self.promises[-1], z_low, z_high)
                if here < bound_usd:
                    bound_usd, center = here, self.promises[-1]
                    smoothing = self.smoothing
                elif len(self.master.columns) > columns:
                    smoothing *= 0.6
                elif smoothing > 0.0:
                    smoothing = 0.0
                else:  # no answer is better than those there are: the rest is what the bound takes for granted
                    break
            answer = self.master.solve()
        if bound_usd < answer.objective_usd - UNTRUE * abs(answer.objective_usd) - UNTRUE_USD:
            self.untrue_usd = max(self.untrue_usd, answer.objective_usd - bound_usd)
        return answer, bound_usd

    def worth_of_bidding(self, bound_usd: float) -> float:
        """What bids could add to a day that earns at most ``bound_usd``, $, by which gaps are measured."""
        return abs(bound_usd) if self.no_bid_usd is None else bound_usd - self.no_bid_usd


class _Turns:
    """Who is asked next: one part of the groups after the other, and everyone once a round of them gains little.

    A part gives columns at a part of the cost; only everyone's answers make a bound.
    """

    def __init__(self, parts: int) -> None:
        self._parts, self._left, self._begun_usd = parts, 0, -np.inf  # parts still to ask, where the round began

    def next(self, objective_usd: float, bound_usd: float) -> int | None:
        """Number of a part, or None: everyone."""
        if self._left == 0:
            gained_usd, open_usd = objective_usd - self._begun_usd, bound_usd - objective_usd
            self._begun_usd = objective_usd
            if gained_usd < WORTH_A_ROUND * open_usd or self._parts == 0:
                self._begun_usd = -np.inf  # a round comes next
                return None
            self._left = self._parts
        self._left -= 1
        return self._left

    def found(self, better: bool) -> None:
        """Whether the part asked last had a better answer: if not, the others are not asked either."""
        if not better:
            self._left, self._begun_usd = 0, np.inf


def _between(out: Duals, center: Duals, share: float) -> Duals:
    """Prices ``share`` of the way from ``out`` to ``center``."""
    return Duals(*(a + share * (b - a) for a, b in zip(vars(out).values(), vars(center).values(), strict=True)))
