"""Bid or no bid at any size: column generation at a node, branch and price over the nodes.

A node fixes some bids. Its bound is the least dual bound of all prices so far under those decisions, so that most
children need no pricing problem; columns are shared by all nodes. The search of a fleet continues where that of its
sample ended: a leaf of that tree costs one sweep, at the prices that the sample found there.

The first answers (no bid, decisions that somebody suggests, the rounded relaxation) are found before any limit counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.dispatch.branch_and_bound import LEAST_WORTH_USD, Allowance, Limits
from vpp_pipeline.dispatch.column_generation.master import Coordinator, Master, MasterAnswer
from vpp_pipeline.dispatch.column_generation.pricing import Pricer
from vpp_pipeline.dispatch.problem import Duals

INTEGRAL = 1e-6
SHORT_MW = 1e-7
MOST_ITERATIONS = 400
MOST_SWEEPS = 60.0  # of a fleet that is asked part by part
WORTH_A_ROUND = 0.4  # of the open gap: a round of parts that closes less is followed by everyone
PIVOTS_OF_SWEEP, PIVOTS_OF_RESPONSE = 5.0, 0.07  # what pricing costs, by the CPU time of a simplex iteration (0.2 ms)
NEAR_BEST = 0.5  # of what is open: how far below the best decisions may earn by the columns there are
UNTRUE, UNTRUE_USD = 1e-6, 1e-3  # a bound that lies lower than an answer by more is wrong


@dataclass(frozen=True)
class Leaf:
    """Bounds of z (O,) at a leaf of a search tree, and the prices of its least dual bound."""

    low: Array
    high: Array
    dual_bound: DualBound


@dataclass(frozen=True)
class Found:
    """Best decisions z (O,), what they earn, and a bound on what any decisions could earn."""

    decisions: Array
    objective_usd: float
    bound_usd: float
    no_bid_usd: float
    nodes: int
    ran_out: str  # of what, where the gap was not reached (`Allowance.ran_out`); empty otherwise
    leaves: tuple[Leaf, ...] = ()  # of the tree, which together hold all decisions; the highest bound first


@dataclass(frozen=True)
class _Node:
    """Bounds of z (O,), a bound on what decisions within them earn, and the answer of the relaxation, once solved."""

    low: Array
    high: Array
    bound_usd: float
    answer: MasterAnswer | None
    lead: DualBound | None = None  # prices of a sample, not asked for yet


class Search:
    """Best-first search over the bids of one day."""

    def __init__(self, generation: Generation, may_bid: Flags, gap_target: float) -> None:
        self.generation, self.gap_target = generation, gap_target
        self.day = generation.coordinator.day
        self._may_bid = may_bid.astype(float)
        self._nothing = np.zeros(len(may_bid))
        self._tried: set[bytes] = set()
        self._asked: set[int] = set()  # identities of a sample's prices, of which several leaves may share one
        self.best, self.best_usd = self._nothing, -np.inf

    def run(self, first: Array | None, limits: Limits, leaves: tuple[Leaf, ...] = ()) -> Found:
        """Decisions within ``gap_target`` of the best, or the best of the first answers and of a limited search.

        ``first``: decisions (O,) to begin with, if someone knows good ones. ``leaves``: of the tree of a sample, where
        this search continues; their prices are asked for before they are searched. ``limits`` count from the moment
        the first answers are there.
        """
        no_sale, _ = self.generation.converge(self._nothing, self._nothing, self.gap_target / 8.0)
        self.best_usd = self.generation.no_bid_usd = no_sale.objective_usd
        if first is not None:
            self._try(first * self._may_bid)
        nodes = [_Node(leaf.low, leaf.high, self._bound(leaf.low, leaf.high), None, leaf.dual_bound) for leaf in leaves]
        if len(nodes) < 2:
            root, bound_usd = self._converge(self._nothing, self._may_bid)
            self._round(root, open_usd=root.objective_usd - self.best_usd)
            if first is None:
                self._dive(root)
            nodes = [_Node(self._nothing, self._may_bid, bound_usd, root)]
        limit = Allowance.from_now(limits, lambda: self.generation.work)
        heap = [(-node.bound_usd, number, node) for number, node in enumerate(nodes)]
        heapq.heapify(heap)
        closed: list[_Node] = []
        number, branched, ran_out = len(heap), 0, ""
        while heap and -heap[0][0] > self._enough():
            ran_out = limit.ran_out(branched)
            if ran_out:
                break
            node = heapq.heappop(heap)[2]
            if node.answer is not None and self._is_decided(node.answer, limit):
                closed.append(replace(node, bound_usd=self._bound(node.low, node.high)))
                continue
            for child in self._successors(node, limit):
                branched += node.answer is not None
                if child.bound_usd > self._enough():
                    heapq.heappush(heap, (-child.bound_usd, number := number + 1, child))
                else:
                    closed.append(child)
        for _, _, node in heap:  # prices that were asked for since then may bound it better
            closed.append(replace(node, bound_usd=min(node.bound_usd, self._bound(node.low, node.high))))
        closed.sort(key=lambda node: -node.bound_usd)
        tree = tuple(
            Leaf(node.low, node.high, node.lead or self.generation.bound(node.low, node.high)[1]) for node in closed
        )
        bound_usd = max(self.best_usd, closed[0].bound_usd)
        return Found(self.best, self.best_usd, bound_usd, no_sale.objective_usd, branched, ran_out, tree)

    def _is_decided(self, answer: MasterAnswer, limit: Allowance) -> bool:
        """Whether ``answer`` leaves no bid undecided; it is kept then. Its rounded decisions are tried in any case."""
        self._round(answer, limit, answer.objective_usd - self.best_usd)
        is_decided = bool(np.minimum(answer.z, 1.0 - answer.z).max() <= INTEGRAL)
        if is_decided:
            self._keep(answer, np.round(answer.z))
        return is_decided

    def _successors(self, node: _Node, limit: Allowance) -> Iterator[_Node]:
        """What takes the place of ``node``: itself once its sample's prices are asked for, or it is solved; children.

        A sweep at the sample's prices is a part of what a solution costs, so all leaves are asked before one is solved.
        """
        if node.lead is not None:
            if id(node.lead) not in self._asked:
                self._asked.add(id(node.lead))
                self.generation.put(node.lead.duals, node.lead.tilt)
            yield _Node(node.low, node.high, self._bound(node.low, node.high), None)
        elif node.answer is None:
            yield self._solved(node.low, node.high, limit)
        else:
            bid = self._bid_to_decide(node.answer)
            for decision in (0.0, 1.0):
                low, high = node.low.copy(), node.high.copy()
                low[bid] = high[bid] = decision
                yield self._solved(low, high, limit)

    def _bid_to_decide(self, answer: MasterAnswer) -> int:
        """The undecided bid to branch on: of energy first, where the fleet sells most of what it buys in the same hour.

        That is what a little of a bid of energy is worth to a relaxation. Otherwise the one with the most money open.
        """
        is_open = np.minimum(answer.z, 1.0 - answer.z) > INTEGRAL
        both_mw = np.where(is_open & self.generation.coordinator.is_energy, self.day.covers @ answer.both_mw, 0.0)
        worth = both_mw * np.abs(self.day.price) if both_mw.max() > SHORT_MW else self.day.undecided_worth(answer.z)
        return int(worth.argmax())

    def _solved(self, low: Array, high: Array, limit: Allowance) -> _Node:
        """The node with z (O,) within bounds; unsolved where the prices so far are enough."""
        bound_usd = self._bound(low, high)
        if bound_usd <= self._enough():
            return _Node(low, high, bound_usd, None)
        answer, bound_usd = self._converge(low, high, limit)
        return _Node(low, high, bound_usd, answer)

    def _bound(self, low: Array, high: Array) -> float:
        return self.generation.bound(low, high)[0]

    def _enough(self) -> float:
        """A bound that is no better than what we have."""
        worth_usd = self.generation.worth_of_bidding(self.best_usd)
        return self.best_usd + self.gap_target * max(worth_usd, LEAST_WORTH_USD)

    def _converge(self, low: Array, high: Array, limit: Allowance | None = None) -> tuple[MasterAnswer, float]:
        return self.generation.converge(low, high, self.gap_target / 2.0, limit, self._enough())

    def _keep(self, answer: MasterAnswer, decisions: Array) -> None:
        if answer.objective_usd > self.best_usd and answer.short_mw <= SHORT_MW:
            self.best_usd, self.best = answer.objective_usd, decisions

    def _try(self, decisions: Array, limit: Allowance | None = None, open_usd: float = np.inf) -> None:
        """What the fleet earns with these bids: by the columns there are, then, if it may be the best, by new ones.

        Bids that stay short of their least quantity are given up, until the others can be met.
        """
        while decisions.any() and decisions.tobytes() not in self._tried:
            self._tried.add(decisions.tobytes())
            if self.generation.bound(decisions, decisions)[0] <= self.best_usd:
                return
            if self.best.any() and open_usd < np.inf:  # new columns are dear: only for decisions that are near the best
                self.generation.master.set_bids(decisions, decisions)
                found = self.generation.master.solve()
                short = found.short_of_mw > SHORT_MW
                if short.any():
                    decisions = np.where(short, 0.0, decisions)
                    continue
                if found.objective_usd < self.best_usd - NEAR_BEST * open_usd:
                    return
            answer, _ = self.generation.converge(decisions, decisions, self.gap_target / 2.0, limit, self._enough())
            self._keep(answer, decisions)
            decisions = np.where(answer.short_of_mw > SHORT_MW, 0.0, decisions)

    def _round(self, answer: MasterAnswer, limit: Allowance | None = None, open_usd: float = np.inf) -> None:
        rounded = ((answer.q >= 0.5 * self.day.minimum_mw) & (self._may_bid > 0.0)).astype(float)
        self._try(rounded, limit, open_usd)

    def _dive(self, root: MasterAnswer) -> None:
        """Feasible decisions from the relaxation: without the least filled of the undecided bids, one by one."""
        low, high, answer = self._nothing.copy(), self._may_bid.copy(), root
        while (undecided := np.minimum(answer.z, 1.0 - answer.z) > INTEGRAL).any():
            least = self.day.minimum_mw  # where it is nothing, any quantity fills it
            filled = np.where(undecided & (least > 0.0), answer.q / np.maximum(least, 1e-300), np.inf)
            if filled.min() >= 1.0 - INTEGRAL:
                break
            high[int(filled.argmin())] = 0.0
            self.generation.master.set_bids(low, high)
            answer = self.generation.master.solve()
        self._try(np.where(undecided, 1.0, np.round(answer.z)))


@dataclass(frozen=True)
class DualBound:
    """Prices, and the sum of the optimal values of the pricing problems at them: the fleet's part of a dual bound."""

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
    parts: int  # of the groups for partial pricing between sweeps of the whole fleet; 0: none
    smoothing: float = 0.5
    dual_bounds: list[DualBound] = field(default_factory=list)
    sweeps: float = 0.0  # how often the fleet was asked, a part of it for a part of one
    no_bid_usd: float | None = None  # what the day is worth without bids, once somebody has found out
    untrue_usd: float = 0.0  # by how much an answer earned more than any answer should: above 0, no bound is proven

    @property
    def work(self) -> float:
        """Simplex iterations of the master so far, and what pricing comes to in such iterations."""
        prosumers = len(self.coordinator.day.fleet)
        return self.master.pivots + self.sweeps * (PIVOTS_OF_SWEEP + PIVOTS_OF_RESPONSE * prosumers)

    def put(self, duals: Duals, tilt: Array | None = None, asked: Flags | None = None) -> None:
        """Solve the pricing problems at these prices; the solutions become columns, the values a dual bound.

        ``asked`` (G,): of these groups only, which gives no bound.
        """
        # any reserve prices make a bound: those next to nothing would only make every hour dear to solve
        spin, nonspin = (np.where(price > self.dust, price, 0.0) for price in (duals.spin, duals.nonspin))
        duals = replace(duals, spin=spin, nonspin=nonspin)
        sums = self.pricer.price(duals, asked)
        self.sweeps += 1.0 if asked is None else float(asked.mean())
        self.master.add(sums, len(self.dual_bounds), asked)
        tilt = self.coordinator.no_tilt if tilt is None else tilt
        self.dual_bounds.append(DualBound(duals, tilt, float(sums.value_usd.sum()) if asked is None else np.inf))

    def bound(self, z_low: Array, z_high: Array) -> tuple[float, DualBound]:
        """The least dual bound of all prices so far with z (O,) within bounds, and its prices."""
        bounds = [self._bound_of(dual_bound, z_low, z_high) for dual_bound in self.dual_bounds]
        best = int(np.argmin(bounds))
        return bounds[best], self.dual_bounds[best]

    def best_prices(self, z_low: Array, z_high: Array, count: int) -> list[DualBound]:
        """The ``count`` prices of the least dual bounds, the tightest first, with z (O,) within bounds."""
        return sorted(self.dual_bounds, key=lambda dual_bound: self._bound_of(dual_bound, z_low, z_high))[:count]

    def _bound_of(self, dual_bound: DualBound, z_low: Array, z_high: Array) -> float:
        return dual_bound.value_usd + self.coordinator.most(dual_bound.duals, dual_bound.tilt, z_low, z_high)

    def converge(
        self,
        z_low: Array,
        z_high: Array,
        gap_target: float,
        limit: Allowance | None = None,
        worth_usd: float = -np.inf,
    ) -> tuple[MasterAnswer, float]:
        """Add columns until answer and bound are within ``gap_target``, or the bound falls to ``worth_usd``.

        ``gap_target`` is a share of what bidding could add (of the bound itself, until ``no_bid_usd`` is known). Ends
        once ``limit`` is reached, after MOST_ITERATIONS, or after MOST_SWEEPS of a fleet that is asked in parts.
        Prices are smoothed towards those of the best bound (Wentges 1997): the master's own swing from one extreme to
        the other.
        """
        last_sweep = self.sweeps + (MOST_SWEEPS if self.parts else np.inf)
        self.master.set_bids(z_low, z_high)
        smoothing, partial_pricing = self.smoothing, _PartialPricing(self.parts)
        bound_usd, center = self.bound(z_low, z_high)
        answer = self.master.solve()
        for _ in range(MOST_ITERATIONS):
            gap = bound_usd - answer.objective_usd
            if gap <= gap_target * self.worth_of_bidding(bound_usd) or bound_usd <= worth_usd:
                break
            if (limit is not None and limit.ran_out()) or self.sweeps > last_sweep:
                break
            columns, part = len(self.master.columns), partial_pricing.next(answer.objective_usd, bound_usd)
            asked = None if part is None else np.arange(self.pricer.groups) % self.parts == part
            duals = _between(answer.duals, center.duals, smoothing)
            self.put(duals, answer.tilt + smoothing * (center.tilt - answer.tilt), asked)
            if part is not None:
                partial_pricing.found(len(self.master.columns) > columns)
            else:
                here = self._bound_of(self.dual_bounds[-1], z_low, z_high)
                if here < bound_usd:
                    bound_usd, center = here, self.dual_bounds[-1]
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


class _PartialPricing:
    """Partial pricing: one part of the groups after the other, and all once a round of parts gains little.

    A part gives columns at a part of the cost; a dual bound needs all pricing problems.
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
