"""Bid or no bid: best-first branch and bound over the linear problem that CVXPY compiled.

The relaxation is nearly integral, so a handful of branchings closes the gap; a general mixed-integer search spends its
time on cuts instead (`benchmarks/bench_search.py` compares the two). Each node changes bounds of z only, so HiGHS
continues from the basis it has (dual simplex).
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.formulation import Formulation
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram

INTEGRAL = 1e-6
LEAST_WORTH_USD = 1.0  # bidding that could add less is searched as if it could add this


@dataclass(frozen=True)
class CpuLimit:
    """CPU seconds, of all threads of this process, counted from ``begun`` (`time.process_time`).

    A busy machine takes longer, and stops no earlier.
    """

    seconds: float
    begun: float

    @classmethod
    def from_now(cls, seconds: float) -> CpuLimit:
        """A limit that begins to count now."""
        return cls(seconds, time.process_time())

    def is_reached(self) -> bool:
        """Whether the process has used up its seconds."""
        return time.process_time() - self.begun > self.seconds


@dataclass(frozen=True)
class SearchResult:
    """Best decisions z (O,), what they earn, and a bound on what any decisions could earn."""

    decisions: Array
    objective_usd: float
    bound_usd: float
    nodes: int
    ran_out: str  # of what, where the gap was not reached: time or nodes; empty otherwise


class _Relaxation:
    """The LP with z within bounds."""

    def __init__(self, formulation: Formulation, program: WarmLinearProgram) -> None:
        self._formulation, self._program = formulation, program

    def open(self) -> None:
        """Leave z to the formulation's own bounds again."""
        anywhere = np.full(self._formulation.z.size, np.inf)
        self._program.set_bounds(self._formulation.z, -anywhere, anywhere)

    def solve(self, low: Array, high: Array) -> tuple[float, Array, Array] | None:
        """Objective in $, z and q (O,); None if no answer exists within these bounds of z."""
        self._program.set_bounds(self._formulation.z, low, high)
        answer = self._program.solve()
        if answer is None:
            return None
        cost, values = answer
        z, q = (self._program.value_of(part, values) for part in (self._formulation.z, self._formulation.q))
        return -cost, z, q


def _dive(
    relaxed: _Relaxation, low: Array, high: Array, root: tuple[float, Array, Array], minimum_mw: Array
) -> tuple[float, Array]:
    """A feasible answer from the relaxation: give up the least filled quarter of the undecided bids, again and again.

    Once every undecided bid reaches its minimum, all of them are tried at once. Each step decides at least one bid, so
    it ends; where a step has no answer, minus infinity says that the dive found nothing.
    """
    low, high, (objective_usd, z, quantity_mw) = low.copy(), high.copy(), root
    while (undecided := np.minimum(z, 1.0 - z) > INTEGRAL).any():
        filled = np.where(undecided, quantity_mw / minimum_mw, np.inf)
        taken = np.where(undecided, 1.0, low)
        answer = relaxed.solve(taken, high) if filled.min() >= 1.0 - INTEGRAL else None
        if answer is not None:
            low = taken
        else:
            few = max(1, int(undecided.sum()) // 4)
            high[np.argsort(filled, kind="stable")[:few]] = 0.0
            answer = relaxed.solve(low, high)
        if answer is None:
            return -np.inf, z
        objective_usd, z, quantity_mw = answer
    return objective_usd, np.round(z)


def search(
    day: DayProblem,
    linear: Formulation,
    start: tuple[float, Array],
    gap_target: float,
    seconds: float,
    node_limit: int,
) -> SearchResult:
    """Decisions within ``gap_target`` of the best there are, with the proven bound.

    Or the best found in ``seconds`` of CPU time and ``node_limit`` nodes (LPs solved after the first answers: no bid,
    the dive and the rounded relaxation, which no limit cuts short). ``gap_target`` is a share of what bidding could
    add to ``start``.

    ``linear`` is the formulation with 0 ≤ z ≤ 1; its quantities are left free. ``start``: a feasible objective and its
    decisions. Best-first; branches on the most fractional z; at each node the relaxed quantities, rounded to
    decisions, are tried as an answer.
    """
    count, (no_bid_usd, _) = len(day.opportunity_id), start
    linear.set_quantities(np.zeros(count), unlimited_mw(day))
    linear.set_bids(np.zeros(count), day.may_bid.astype(float))
    linear.program.take_parameters()
    relaxed = _Relaxation(linear, linear.program)
    best_usd, best = start
    tried: set[bytes] = set()

    def try_rounding(quantity_mw: Array) -> None:
        nonlocal best_usd, best
        decisions = ((quantity_mw >= 0.5 * day.minimum_mw) & day.may_bid).astype(float)
        if decisions.tobytes() not in tried:
            tried.add(decisions.tobytes())
            answer = rounded.solve(decisions, decisions)
            if answer is not None and answer[0] > best_usd:
                best_usd, best = answer[0], decisions

    low, high = np.zeros(count), day.may_bid.astype(float)
    root = relaxed.solve(low, high)
    if root is None:
        raise SolveError("the day has no feasible schedule at all, with or without bids")
    # a heap entry: -bound, order of creation (so that ties are settled the same way each time), bounds of z, z, q
    dived = _dive(relaxed, low, high, root, day.minimum_mw)
    rounded = _Relaxation(linear, linear.program.another())
    if dived[0] > best_usd:
        best_usd, best = dived
    try_rounding(root[2])
    nodes, heap = 0, [(-root[0], 0, low, high, root[1], root[2])]
    ran_out, limit = "", CpuLimit.from_now(seconds)
    while heap:
        bound_usd, low, high, z, quantity_mw = -heap[0][0], *heap[0][2:]
        if bound_usd - best_usd <= gap_target * max(bound_usd - no_bid_usd, LEAST_WORTH_USD):
            break
        ran_out = "nodes" if nodes >= node_limit else "time" if limit.is_reached() else ""
        if ran_out:
            break
        heapq.heappop(heap)
        try_rounding(quantity_mw)
        fractional = np.minimum(z, 1.0 - z)
        branch = int(day.undecided_worth(z).argmax())
        if fractional.max() <= INTEGRAL:
            if bound_usd > best_usd:
                best_usd, best = bound_usd, np.round(z)
            continue
        for decision in (0.0, 1.0):
            nodes += 1
            child_low, child_high = low.copy(), high.copy()
            child_low[branch] = child_high[branch] = decision
            answer = relaxed.solve(child_low, child_high)
            if answer is not None and answer[0] > best_usd:
                heapq.heappush(heap, (-answer[0], nodes, child_low, child_high, answer[1], answer[2]))
    relaxed.open()
    return SearchResult(best, best_usd, max(best_usd, -heap[0][0]) if heap else best_usd, nodes, ran_out)
