"""Bid or no bid at any size: branch and price.

A node fixes some bids. Its bound is the least that any prices so far promise under those decisions, so that most
children are judged without asking the fleet again; columns are shared by all nodes.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.domain.arrays import Array, Flags
from vpp_pipeline.optimisation.column_generation.generation import Generation
from vpp_pipeline.optimisation.column_generation.master import MasterAnswer

INTEGRAL = 1e-6
SHORT_MW = 1e-7
MOST_NODES = 5_000


@dataclass(frozen=True)
class Found:
    """Best decisions z (O,), what they earn, and a bound on what any decisions could earn."""

    decisions: Array
    objective_usd: float
    bound_usd: float
    nodes: int
    ran_out_of_time: bool


class Search:
    """Best-first search over the bids of one day."""

    def __init__(self, generation: Generation, may_bid: Flags, gap_target: float, until: float) -> None:
        self.generation, self.gap_target, self.until = generation, gap_target, until
        self.day = generation.coordinator.day
        self._may_bid = may_bid.astype(float)
        self._nothing = np.zeros(len(may_bid))
        self._tried: set[bytes] = set()
        self.best, self.best_usd = self._nothing, -np.inf

    def run(self, first: Array | None) -> Found:
        """Decisions within ``gap_target`` of the best, or the best found in time; never worse than no sale.

        ``first``: decisions (O,) to begin with, if someone knows good ones.
        """
        no_sale, _ = self._converge(self._nothing, self._nothing)
        self.best_usd = no_sale.objective_usd
        if first is not None:
            self._try(first * self._may_bid)
        root, bound_usd = self._converge(self._nothing, self._may_bid)
        if first is None:
            self._dive(root)
        heap = [(-bound_usd, 0, self._nothing, self._may_bid, root)]
        settled_usd, nodes = -np.inf, 0
        while heap and not self._is_done(-heap[0][0], nodes):
            _, _, low, high, answer = heapq.heappop(heap)
            self._round(answer)
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
                child, child_bound_usd = self._converge(child_low, child_high)
                if child_bound_usd <= self._enough():
                    settled_usd = max(settled_usd, child_bound_usd)
                    continue
                heapq.heappush(heap, (-child_bound_usd, nodes, child_low, child_high, child))
        open_usd = -heap[0][0] if heap else -np.inf
        bound_usd = max(self.best_usd, open_usd, settled_usd)
        if first is not None and not self.best.any():
            self.best = first * self._may_bid  # out of time before their columns were there: still to be carried out
        return Found(self.best, self.best_usd, bound_usd, nodes, bool(heap) and time.perf_counter() > self.until)

    def _is_done(self, bound_usd: float, nodes: int) -> bool:
        return bound_usd <= self._enough() or time.perf_counter() > self.until or nodes >= MOST_NODES

    def _enough(self) -> float:
        """A bound that is no better than what we have."""
        return self.best_usd + self.gap_target * abs(self.best_usd)

    def _converge(self, low: Array, high: Array) -> tuple[MasterAnswer, float]:
        return self.generation.converge(low, high, self.gap_target / 8.0, self.until, self._enough())

    def _keep(self, answer: MasterAnswer, decisions: Array) -> None:
        if answer.objective_usd > self.best_usd and answer.short_mw <= SHORT_MW:
            self.best_usd, self.best = answer.objective_usd, decisions

    def _try(self, decisions: Array) -> None:
        """What the fleet earns with these bids: by the columns there are, then, if it may be the best, by new ones."""
        if decisions.tobytes() in self._tried:
            return
        self._tried.add(decisions.tobytes())
        if self.generation.bound(decisions, decisions)[0] > self.best_usd:
            answer, _ = self.generation.converge(
                decisions, decisions, self.gap_target / 2.0, self.until, self._enough()
            )
            self._keep(answer, decisions)

    def _round(self, answer: MasterAnswer) -> None:
        self._try(((answer.q >= 0.5 * self.day.minimum_mw) & (self._may_bid > 0.0)).astype(float))

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
