"""Bid or no bid: best-first branch and bound over the linear problem that CVXPY compiled.

The relaxation is tightened by the rows of :class:`~vpp_pipeline.dispatch.formulation.Cuts` that it violates; decisions
that it leaves open are searched by pseudo-costs (`benchmarks/bench_search.py` compares it with a general mixed-integer
search). Each node changes bounds of z and adds rows, so HiGHS continues from the basis it has (dual simplex).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.formulation import ENERGY, Cuts, Formulation
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram

INTEGRAL = 1e-6
CUT_ROUNDS, CUT_ROUNDS_OF_NODE = 20, 1
LEAST_CUT_FRACTION = 5e-5  # of the bound, by which a round of cuts must lower it for another to follow
NEAR = 0.1  # of a decision: bids of energy so near to one are decided beside the one that a dive chooses
CANDIDATES = 4  # bids looked at for a branching
LEAST_FALL_USD = 1e-4  # of the bound, so that a product of two falls tells
FILLED_ENOUGH = (0.5, 0.8)  # shares of the minimum from which a rounded relaxation bids
DIVE_AT = 8  # nodes after which the best one is dived from, once
LEAST_WORTH_USD = 1.0  # bidding that could add less is searched as if it could add this


@dataclass(frozen=True)
class Limits:
    """The work that a search may do after its first answers.

    Nodes and simplex iterations are the same everywhere. CPU seconds, of all threads of this process, are for a machine
    so slow that they come first; a busy one takes longer, and stops no earlier.
    """

    nodes: int
    pivots: float  # simplex iterations
    seconds: float = np.inf

    def part(self, share: float) -> Limits:
        """The same number of nodes, and a share of the rest."""
        return replace(self, pivots=share * self.pivots, seconds=share * self.seconds)

    def reached(self, ran_out: str) -> str:
        """In words, the limit at which a search stopped (`Allowance.ran_out`)."""
        words = {
            "nodes": f"limit of {self.nodes:,} nodes",
            "pivots": f"limit of {self.pivots:,.0f} simplex iterations",
            "time": f"{self.seconds:g} s of CPU time",
        }
        return f"stopped at its {words[ran_out]}"


@dataclass(frozen=True)
class Allowance:
    """What is left of ``limits``: work is counted by ``pivots`` from ``first_pivot`` on, seconds from ``begun`` on."""

    limits: Limits
    pivots: Callable[[], float]
    first_pivot: float
    begun: float

    @classmethod
    def from_now(cls, limits: Limits, pivots: Callable[[], float]) -> Allowance:
        """An allowance that begins to count now; ``pivots`` tells the simplex iterations so far."""
        return cls(limits, pivots, pivots(), time.process_time())

    def ran_out(self, nodes: int = 0) -> str:
        """Of what nothing is left after ``nodes``: nodes, pivots, or time; empty where the search may continue."""
        if self.limits.nodes <= nodes:
            return "nodes"
        if self.pivots() - self.first_pivot > self.limits.pivots:
            return "pivots"
        return "time" if time.process_time() - self.begun > self.limits.seconds else ""


@dataclass(frozen=True)
class SearchResult:
    """Best decisions z (O,), what they earn, and a bound on what any decisions could earn."""

    decisions: Array
    objective_usd: float
    bound_usd: float
    nodes: int
    ran_out: str  # of what, where the gap was not reached (`Allowance.ran_out`); empty otherwise


@dataclass(frozen=True)
class _Relaxed:
    """An answer of the LP within bounds of z: an upper bound on what any decisions within them earn."""

    objective_usd: float
    low: Array  # (O,)
    high: Array
    z: Array
    quantity_mw: Array
    reduced_usd: Array  # (O,) what the objective changes by, at most, where z rises by one

    @property
    def is_open(self) -> Flags:
        """Bids (O,) that are neither made nor left out."""
        return np.asarray(np.minimum(self.z, 1.0 - self.z) > INTEGRAL)

    def narrowed(self, best_usd: float) -> tuple[Array, Array]:
        """Bounds of z without decisions that cannot earn more than ``best_usd``, by the reduced costs."""
        room = self.objective_usd - best_usd
        high = np.where((self.z <= INTEGRAL) & (-self.reduced_usd > room), self.low, self.high)
        low = np.where((self.z >= 1.0 - INTEGRAL) & (self.reduced_usd > room), self.high, self.low)
        return low, high


class _Relaxation:
    """The LP with z within bounds, tightened by ``cuts``; a row once added stays for later solves."""

    def __init__(self, formulation: Formulation, program: WarmLinearProgram, cuts: Cuts) -> None:
        self._formulation, self._program, self._cuts = formulation, program, cuts
        self.values: Array = np.zeros(program.width)  # of all columns, at the last answer

    @property
    def pivots(self) -> int:
        """Simplex iterations so far."""
        return self._program.pivots

    def another(self) -> _Relaxation:
        """The same LP, with the rows it has, in an instance of its own."""
        return _Relaxation(self._formulation, self._program.another(), self._cuts)

    def solve(self, low: Array, high: Array, cut_rounds: int = 0) -> _Relaxed | None:
        """The best answer with z within ``low`` and ``high`` (O,); None if there is none.

        At most ``cut_rounds`` times the rows that it violates are added, and it is solved again.
        """
        z, program, before_usd = self._formulation.z, self._program, np.inf
        program.set_bounds(z, low, high)
        while (answer := program.solve()) is not None:
            cost, self.values = answer
            if cut_rounds and before_usd + cost > LEAST_CUT_FRACTION * abs(cost):
                before_usd = -cost
                rows, most = self._cuts.violated(self.values)
                if len(most):
                    program.add_rows(rows, most)
                    cut_rounds -= 1
                    continue
            return _Relaxed(
                objective_usd=-cost,
                low=low,
                high=high,
                z=program.value_of(z, self.values),
                quantity_mw=program.value_of(self._formulation.q, self.values),
                reduced_usd=-program.reduced_cost_of(z),
            )
        return None


def _dive(relaxed: _Relaxation, root: _Relaxed, minimum_mw: Array, is_energy: Flags) -> tuple[float, Array]:
    """A feasible answer from the relaxation: energy decided first, then the least filled reserves given up.

    Bids of energy decide between selling and buying in an hour, so each is decided by itself, the one with the most
    capacity open first, at the nearer decision. Once every undecided bid reaches its minimum, all of them are tried at
    once. Each step decides at least one bid, so it ends; where a step has no answer, minus infinity says that the dive
    found nothing.
    """
    low, high, answer = root.low.copy(), root.high.copy(), root
    while (undecided := answer.is_open).any():
        filled = np.where(undecided, answer.quantity_mw / minimum_mw, np.inf)
        taken, found = np.where(undecided, 1.0, low), None
        if filled.min() >= 1.0 - INTEGRAL:
            found = relaxed.solve(taken, high)
        if found is not None:
            low = taken
        elif (undecided & is_energy).any():
            bid = int(np.where(undecided & is_energy, minimum_mw, -1.0).argmax())
            low[bid] = high[bid] = float(filled[bid] >= 0.5)
            near = undecided & is_energy & (np.minimum(answer.z, 1.0 - answer.z) <= NEAR)
            near[bid] = False
            low[near] = high[near] = np.round(answer.z[near])
            found = relaxed.solve(low, high)
        else:
            few = max(1, int(undecided.sum()) // 4)
            high[np.argsort(filled, kind="stable")[:few]] = 0.0
            found = relaxed.solve(low, high)
        if found is None:
            return -np.inf, answer.z
        answer = found
        low, high = low.copy(), high.copy()
    return answer.objective_usd, np.round(answer.z)


class _PseudoCosts:
    """The fall of the bound per unit that a decision moved z, as far as it was seen: which bid to branch on.

    Unknown ones are learned by solving both children (reliability 1), of the CANDIDATES with most money open.
    Achterberg, Koch and Martin, "Branching rules revisited", Operations Research Letters 33 (2005).
    """

    def __init__(self, day: DayProblem, relaxed: _Relaxation) -> None:
        self._day, self._relaxed = day, relaxed
        self._fall, self._seen = np.zeros((2, len(day.price))), np.zeros((2, len(day.price)))

    def branch(self, node: _Relaxed, best_usd: float) -> tuple[_Relaxed | None, _Relaxed | None]:
        """The two children, z = 0 and z = 1, of the bid by whose decisions the bound should fall most.

        A fall counts to ``best_usd`` at most, where the child is left out; one without an answer falls so far.
        """
        (low, high), room = node.narrowed(best_usd), node.objective_usd - best_usd
        worth = np.where(node.is_open, self._day.undecided_worth(node.z), -1.0)
        candidates = [bid for bid in np.argsort(-worth, kind="stable")[:CANDIDATES] if node.is_open[bid]]
        solved = {
            bid: self._children(node, low, high, bid, room) for bid in candidates if (self._seen[:, bid] == 0).any()
        }
        per_unit = self._fall / np.maximum(self._seen, 1.0)
        falls = np.clip(per_unit * np.stack([node.z, 1.0 - node.z]), LEAST_FALL_USD, max(room, LEAST_FALL_USD))
        bid = max(candidates, key=lambda candidate: falls[0, candidate] * falls[1, candidate])
        return solved[bid] if bid in solved else self._children(node, low, high, bid, room)

    def _children(
        self, node: _Relaxed, low: Array, high: Array, bid: int, room: float
    ) -> tuple[_Relaxed | None, _Relaxed | None]:
        children = []
        for decision, moved in ((0, node.z[bid]), (1, 1.0 - node.z[bid])):
            child_low, child_high = low.copy(), high.copy()
            child_low[bid] = child_high[bid] = float(decision)
            child = self._relaxed.solve(child_low, child_high, CUT_ROUNDS_OF_NODE)
            fall = node.objective_usd - child.objective_usd if child is not None else room
            self._fall[decision, bid] += fall / moved
            self._seen[decision, bid] += 1.0
            children.append(child)
        return children[0], children[1]


def search(
    day: DayProblem,
    linear: Formulation,
    start: tuple[float, Array],
    gap_target: float,
    limits: Limits,
) -> SearchResult:
    """Decisions within ``gap_target`` of the best there are, with the proven bound.

    Or the best found within ``limits``, after the first answers: no bid, the dive and the rounded relaxation, which no
    limit cuts short. ``gap_target`` is a share of what bidding could add to ``start``.

    ``linear`` is the formulation with 0 ≤ z ≤ 1; its quantities are left free. ``start``: a feasible objective and its
    decisions. The root and each child are tightened by cuts; the search is best-first, branches by pseudo-costs, and
    leaves out decisions that reduced costs rule out. At each node the relaxed quantities, rounded to
    decisions, are tried as an answer; after DIVE_AT nodes a dive from the best one.
    """
    count, (no_bid_usd, _) = len(day.opportunity_id), start
    linear.set_quantities(np.zeros(count), unlimited_mw(day))
    linear.set_bids(np.zeros(count), day.may_bid.astype(float))
    linear.program.take_parameters()
    relaxed = _Relaxation(linear, linear.program.another(), Cuts(linear, day))
    root = relaxed.solve(np.zeros(count), day.may_bid.astype(float), CUT_ROUNDS)
    if root is None:
        raise SolveError("the day has no feasible schedule at all, with or without bids")
    rounded, costs = relaxed.another(), _PseudoCosts(day, relaxed)
    best_usd, best = start
    tried: set[bytes] = set()

    def take(objective_usd: float, decisions: Array) -> None:
        nonlocal best_usd, best
        if objective_usd > best_usd:
            best_usd, best = objective_usd, decisions

    def try_rounding(quantity_mw: Array) -> None:
        for filled in FILLED_ENOUGH:
            decisions = ((quantity_mw >= filled * day.minimum_mw) & day.may_bid).astype(float)
            if decisions.tobytes() not in tried:
                tried.add(decisions.tobytes())
                answer = rounded.solve(decisions, decisions)
                if answer is not None:
                    take(answer.objective_usd, decisions)

    take(*_dive(relaxed, root, day.minimum_mw, day.product == ENERGY))
    try_rounding(root.quantity_mw)
    # a heap entry: -bound, and order of creation, so that ties are settled the same way each time
    nodes, heap = 0, [(-root.objective_usd, 0, root)]
    ran_out, allowance = "", Allowance.from_now(limits, lambda: relaxed.pivots + rounded.pivots)
    while heap:
        bound_usd, node = -heap[0][0], heap[0][2]
        if bound_usd - best_usd <= gap_target * max(bound_usd - no_bid_usd, LEAST_WORTH_USD):
            break
        ran_out = allowance.ran_out(nodes)
        if ran_out:
            break
        heapq.heappop(heap)
        try_rounding(node.quantity_mw)
        if not node.is_open.any():
            take(node.objective_usd, np.round(node.z))
            continue
        for child in costs.branch(node, best_usd):
            nodes += 1
            if child is not None and child.objective_usd > best_usd:
                heapq.heappush(heap, (-child.objective_usd, nodes, child))
        if nodes == DIVE_AT and heap:
            take(*_dive(relaxed, heap[0][2], day.minimum_mw, day.product == ENERGY))
    return SearchResult(best, best_usd, max(best_usd, -heap[0][0]) if heap else best_usd, nodes, ran_out)
