"""An oracle that shares nothing with `formulation.py`: one SciPy LP per set of bids, straight from the formulas."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.problem import DayProblem

KINDS = ("cg", "cs", "d", "v", "s", "n", "E")


@dataclass(frozen=True)
class Best:
    """The best combination of bids and its objective, beside that of no bid; how many combinations were feasible."""

    objective_usd: float
    no_bid_usd: float
    decisions: tuple[int, ...]
    feasible: int


class _Lp:
    """Rows and columns by name: one column per (kind, prosumer, hour), per quantity and per purchase."""

    def __init__(self, day: DayProblem) -> None:
        self.day, self.n, self.t = day, len(day.fleet), len(day.market_price)
        self.count = len(day.opportunity_id)
        self.columns = len(KINDS) * self.n * self.t + self.count + self.t
        self.rows: dict[str, list[tuple[dict[int, float], float]]] = {"equal": [], "most": []}
        self._write()

    def at(self, kind: str, i: int, t: int) -> int:
        return (KINDS.index(kind) * self.n + i) * self.t + t

    def q(self, o: int) -> int:
        return len(KINDS) * self.n * self.t + o

    def buy(self, t: int) -> int:
        return len(KINDS) * self.n * self.t + self.count + t

    def _write(self) -> None:
        day, f, tau = self.day, self.day.fleet, self.day.call_hours
        for i in range(self.n):
            floor_before = min(f.initial_stored_kwh[i], f.min_stored_kwh[i, 0])
            for t in range(self.t):
                x = {kind: self.at(kind, i, t) for kind in KINDS}
                balance = {
                    x["E"]: 1.0,
                    x["cg"]: -f.charge_efficiency[i],
                    x["cs"]: -f.charge_efficiency[i],
                    x["d"]: 1.0 / f.discharge_efficiency[i],
                }
                held = tau / f.discharge_efficiency[i]
                if t == 0:
                    self._equal(balance, f.initial_stored_kwh[i] - f.drive_kwh[i, t])
                    self._most({x["s"]: held, x["n"]: held}, f.initial_stored_kwh[i] - floor_before)
                else:
                    self._equal({**balance, self.at("E", i, t - 1): -1.0}, -f.drive_kwh[i, t])
                    self._most({x["s"]: held, x["n"]: held, self.at("E", i, t - 1): -1.0}, -f.min_stored_kwh[i, t - 1])
                self._most({x["s"]: held, x["n"]: held, x["E"]: -1.0}, -f.min_stored_kwh[i, t])
                self._most({x["cg"]: 1.0, x["cs"]: 1.0}, f.max_charge_kw[i, t])
                self._most({x["d"]: 1.0, x["s"]: 1.0, x["n"]: 1.0}, f.max_discharge_kw[i, t])
                home_kw = max(f.load_kw[i, t] - f.solar_kw[i, t], 0.0)  # never reaches the meter
                self._most({x["d"]: 1.0, x["v"]: 1.0, x["s"]: 1.0, x["n"]: 1.0}, f.export_limit_kw[i, t] + home_kw)
                self._most({x["cs"]: 1.0, x["v"]: 1.0}, max(f.solar_kw[i, t] - f.load_kw[i, t], 0.0))
            cycled = {self.at("d", i, t): 1.0 / f.discharge_efficiency[i] for t in range(self.t)}
            self._most(cycled, f.maximum_cycles_per_day[i] * f.capacity_kwh[i])
        everyone = range(self.n)
        for t in range(self.t):
            covering = {int(day.product[o]): o for o in range(self.count) if day.covers[o, t]}
            energy = {self.at(k, i, t): 1e-3 for k in ("d", "v") for i in everyone} | {
                self.at("cg", i, t): -1e-3 for i in everyone
            }
            energy |= {self.buy(t): 1.0} | ({self.q(covering[0]): -1.0} if 0 in covering else {})
            self._equal(energy, 0.0)
            for product, kind in ((1, "s"), (2, "n")):
                if product in covering:
                    self._equal({self.at(kind, i, t): 1e-3 for i in everyone} | {self.q(covering[product]): -1.0}, 0.0)
        for k in range(len(day.committed_kw)):
            if day.product[day.agreement_opportunity[k]] == 0:
                for t in np.flatnonzero(day.covers[day.agreement_opportunity[k]]):
                    i = int(day.agreement_prosumer[k])
                    self._most({self.at("d", i, int(t)): 1.0, self.at("v", i, int(t)): 1.0}, day.committed_kw[k])

    def _equal(self, row: dict[int, float], right: float) -> None:
        self.rows["equal"].append((row, right))

    def _most(self, row: dict[int, float], right: float) -> None:
        self.rows["most"].append((row, right))

    def matrix(self, kind: str) -> tuple[sp.csr_matrix, Array]:
        entries = [(r, c, value) for r, (row, _) in enumerate(self.rows[kind]) for c, value in row.items()]
        r, c, values = zip(*entries, strict=True)
        return sp.csr_matrix((values, (r, c)), shape=(len(self.rows[kind]), self.columns)), np.array(
            [right for _, right in self.rows[kind]]
        )

    def cost(self) -> Array:
        day, cost = self.day, np.zeros(self.columns)
        for o in range(self.count):
            cost[self.q(o)] = -day.price[o] * day.covers[o].sum()
        for t in range(self.t):
            cost[self.buy(t)] = day.market_price[t] + day.charging_adder
        for k, o in enumerate(day.agreement_opportunity):
            for t in np.flatnonzero(day.covers[o]):
                for kind in (("d", "v"), ("s",), ("n",))[day.product[o]]:
                    cost[self.at(kind, int(day.agreement_prosumer[k]), int(t))] = (
                        day.call_price[k] - day.satisfaction_worth[k]
                    ) / 1000.0
        return cost

    def bounds(self, bids: tuple[int, ...]) -> Array:
        day, f = self.day, self.day.fleet
        low, high = np.zeros(self.columns), np.zeros(self.columns)
        for i in range(self.n):
            for t in range(self.t):
                high[self.at("cg", i, t)] = high[self.at("cs", i, t)] = np.inf
                low[self.at("E", i, t)] = max(
                    f.min_stored_kwh[i, t], f.terminal_stored_kwh[i] if t == self.t - 1 else 0.0
                )
                high[self.at("E", i, t)] = f.max_stored_kwh[i, t]
        for k, o in enumerate(day.agreement_opportunity):
            if bids[o]:
                for t in np.flatnonzero(day.covers[o]):
                    for kind in (("d", "v"), ("s",), ("n",))[day.product[o]]:
                        high[self.at(kind, int(day.agreement_prosumer[k]), int(t))] = day.committed_kw[k]
        for o in range(self.count):
            if bids[o]:
                low[self.q(o)], high[self.q(o)] = day.minimum_mw[o], day.required_mw[o]
        for t in range(self.t):
            sells = any(bids[o] and day.product[o] == 0 and day.covers[o, t] for o in range(self.count))
            high[self.buy(t)] = 0.0 if sells else np.inf
        return np.column_stack([low, high])


def brute_force(day: DayProblem) -> Best:
    """The best over all 2^O combinations of bids that the negotiation allows."""
    lp = _Lp(day)
    (equal, equal_right), (most, most_right), cost = lp.matrix("equal"), lp.matrix("most"), lp.cost()
    answers: dict[tuple[int, ...], float] = {}
    for bids in itertools.product(*[(0, 1) if may else (0,) for may in day.may_bid]):
        answer = linprog(cost, most, most_right, equal, equal_right, lp.bounds(bids), method="highs")
        if answer.status == 0:
            answers[bids] = -answer.fun
        else:
            assert answer.status == 2, answer.message  # infeasible is an answer; anything else is not
    best = max(answers, key=lambda bids: answers[bids])
    return Best(answers[best], answers[(0,) * lp.count], best, len(answers))
