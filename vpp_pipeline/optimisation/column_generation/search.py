"""Bid or no bid at any size: branch and price.

A node fixes some bids. Its bound is the least that any prices so far promise under those decisions, so that most
children are judged without asking the fleet again; columns are shared by all nodes.

The first answers (no bid, decisions that somebody suggests, the rounded relaxation) are found before any limit counts.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.optimisation.branch_and_bound import LEAST_WORTH_USD
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.master import MasterAnswer
from vpp_pipeline.optimisation.limits import CpuLimit, Limit

INTEGRAL = 1e-6
SHORT_MW = 1e-7


@dataclass(frozen=True)
class Found:
    """Best decisions z (O,), what they earn, and a bound on what any decisions could earn."""

    decisions: Array
    objective_usd: float
    bound_usd: float
    no_bid_usd: float
    nodes: int
    ran_out: str  # of what, where the gap was not reached: time or nodes; empty otherwise


class Search:
    """Best-first search over the bids of one day."""

    def __init__(self, generation: Generation, may_bid: Flags, gap_target: float) -> None:
        self.generation, self.gap_target = generation, gap_target
        self.day = generation.coordinator.day
        self._may_bid = may_bid.astype(float)
        self._nothing = np.zeros(len(may_bid))
        self._tried: set[bytes] = set()
        self.best, self.best_usd = self._nothing, -np.inf

    def run(self, first: Array | None, seconds: float, node_limit: int) -> Found:
        """Decisions within ``gap_target`` of the best, or the best of the first answers and of a limited search.

        ``first``: decisions (O,) to begin with, if someone knows good ones. ``seconds`` of CPU time and ``node_limit``
        branchings count from the moment the first answers are there.
        """
        no_sale, _ = self.generation.converge(self._nothing, self._nothing, self.gap_target / 8.0)
        self.best_usd = self.generation.no_bid_usd = no_sale.objective_usd
        if first is not None:
            self._try(first * self._may_bid)
        root, bound_usd = self._converge(self._nothing, self._may_bid)
        self._round(root)
        if first is None:
            self._dive(root)
        limit = CpuLimit.from_now(seconds)
        heap = [(-bound_usd, 0, self._nothing, self._may_bid, root)]
        settled_usd, nodes, ran_out = -np.inf, 0, ""
        while heap and -heap[0][0] > self._enough():
            ran_out = "nodes" if nodes >= node_limit else "time" if limit.is_reached() else ""
            if ran_out:
                break
            _, _, low, high, answer = heapq.heappop(heap)
            self._round(answer, limit)
            fractional = np.minimum(answer.z, 1.0 - answer.z)
            branch = int(self.day.undecided_worth(answer.z).argmax())
            if fractional.max() <= INTEGRAL:
                self._keep(answer, np.round(answer.z))
                settled_usd = max(settled_usd, self.generation.bound(low, high)[0])
                continue
            for decision in (0.0, 1.0):
                nodes += 1
                child_low, child_high = low.copy(), high.copy()
                child_low[branch] = child_high[branch] = decision
                if self.generation.bound(child_low, child_high)[0] <= self._enough():
                    settled_usd = max(settled_usd, self.generation.bound(child_low, child_high)[0])
                    continue
                child, child_bound_usd = self._converge(child_low, child_high, limit)
                if child_bound_usd <= self._enough():
                    settled_usd = max(settled_usd, child_bound_usd)
                    continue
                heapq.heappush(heap, (-child_bound_usd, nodes, child_low, child_high, child))
        open_usd = -heap[0][0] if heap else -np.inf
        bound_usd = max(self.best_usd, open_usd, settled_usd)
        return Found(self.best, self.best_usd, bound_usd, no_sale.objective_usd, nodes, ran_out)

    def _enough(self) -> float:
        """A bound that is no better than what we have."""
        worth_usd = self.generation.worth_of_bidding(self.best_usd)
        return self.best_usd + self.gap_target * max(worth_usd, LEAST_WORTH_USD)

    def _converge(self, low: Array, high: Array, limit: Limit | None = None) -> tuple[MasterAnswer, float]:
        return self.generation.converge(low, high, self.gap_target / 8.0, limit, self._enough())

    def _keep(self, answer: MasterAnswer, decisions: Array) -> None:
        if answer.objective_usd > self.best_usd and answer.short_mw <= SHORT_MW:
            self.best_usd, self.best = answer.objective_usd, decisions

    def _try(self, decisions: Array, limit: Limit | None = None) -> None:
        """What the fleet earns with these bids: by the columns there are, then, if it may be the best, by new ones.

        Bids that stay short of their least quantity are given up, until the others can be met.
        """
        while decisions.any() and decisions.tobytes() not in self._tried:
            self._tried.add(decisions.tobytes())
            if self.generation.bound(decisions, decisions)[0] <= self.best_usd:
                return
            answer, _ = self.generation.converge(decisions, decisions, self.gap_target / 2.0, limit, self._enough())
            self._keep(answer, decisions)
            decisions = np.where(answer.short_of_mw > SHORT_MW, 0.0, decisions)

    def _round(self, answer: MasterAnswer, limit: Limit | None = None) -> None:
        self._try(((answer.q >= 0.5 * self.day.minimum_mw) & (self._may_bid > 0.0)).astype(float), limit)

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
