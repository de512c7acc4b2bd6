"""One store over one day as a linear program: what the market clears, and what a box is worth at given prices.

    maximize    Σ_t Σ_j sell_tj q_tj − Σ_t buy_t c_t + Σ_t (spin_t s_t + nonspin_t n_t)
    dynamics    S_t = S_{t−1} + c_t − Σ_j q_tj,   S_0 = 0
    power       Σ_j q_tj + s_t + n_t ≤ pd_t + spare_t,   0 ≤ c_t ≤ pc_t,   0 ≤ q_tj ≤ its segment
    energy      −below_t ≤ S_t ≤ above_t,   S_T ≥ −last,   Σ_t Σ_j q_tj ≤ cycles
    reserve     τ (s_t + n_t) ≤ S_t + below_t   and   ≤ S_{t−1} + below_{t−1}  (in the first hour: ≤ first)

All on the stored side: kWh, and money per kWh into or out of the store. Reserve shares the power of energy, and a call
of τ hours never takes the store below its floor: CAISO's ancillary-service state-of-charge constraint.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import highspy
import numpy as np
from scipy import sparse

from vpp_pipeline.aggregation.boxes import Boxes
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError


@dataclass(frozen=True)
class Gains:
    """Money per kWh on the stored side, by hour (T,); of sales by segment as well (T, J)."""

    buy: Array  # what a kWh into the store costs
    sell: Array
    spin: Array
    nonspin: Array


@dataclass(frozen=True)
class Answer:
    """The best day: kWh (T,), sales by segment (T, J); its worth in $, and what more of each limit would add."""

    bought: Array
    sold: Array
    spin: Array
    nonspin: Array
    stored: Array
    worth: float
    worth_of_more: Array  # (4 T + 3,) by entry of a box
    stored_value: Array  # (T,) $ per kWh more in the store at each hour's end


class StorageDay:
    """The program for one store of T hours, kept from one solve to the next: another box or other prices, warm."""

    def __init__(self, hours: int, call_hours: float, sells: int = 1) -> None:
        self.hours, self.sells = hours, sells
        at = np.cumsum([0, hours, hours * sells, hours, hours, hours])
        self._columns = [np.arange(low, high, dtype=np.int32) for low, high in pairwise(at)]
        one, none = sparse.identity(hours, format="csr"), None
        before = sparse.diags([1.0], [-1], shape=(hours, hours), format="csr")
        sold = sparse.kron(one, np.ones((1, sells)), format="csr")
        every_hour = sparse.csr_matrix(np.ones((1, hours)))
        matrix = sparse.bmat(
            [
                [-one, sold, none, none, one - before],
                [none, sold, one, one, none],
                [none, none, call_hours * one, call_hours * one, -one],
                [none, none, call_hours * one, call_hours * one, -before],
                [none, every_hour @ sold, none, none, none],
            ],
            format="csr",
        )
        self._rows = np.arange(matrix.shape[0], dtype=np.int32)
        program = highspy.HighsLp()
        program.num_row_, program.num_col_ = matrix.shape
        program.sense_ = highspy.ObjSense.kMaximize
        program.col_cost_ = np.zeros(matrix.shape[1])
        program.col_lower_, program.col_upper_ = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
        program.row_lower_ = np.full(matrix.shape[0], -highspy.kHighsInf)
        program.row_upper_ = np.zeros(matrix.shape[0])
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_, program.a_matrix_.index_ = matrix.indptr, matrix.indices
        program.a_matrix_.value_ = matrix.data
        self._highs = highspy.Highs()
        self._highs.silent()
        self._highs.setOptionValue("threads", 1)
        self._highs.passModel(program)

    def limit(
        self,
        box: Array,
        bought: Array | None = None,
        sold: Array | None = None,
        spare: Array | None = None,
        held: Array | None = None,
    ) -> None:
        """Limits from a box (4 T + 3,), of purchases (T,), of segments of sales (T, J), and of each reserve ``held``
        (reserves, T); or else the box's own.

        ``spare`` (T,): reserve beyond the box, of owners who back it themselves.
        """
        own = Boxes(box[None])
        charge = own.charge[0] if bought is None else bought
        discharge = own.discharge[0][:, None] if sold is None else sold
        low = -own.below[0]
        low[-1] = max(low[-1], -own.last[0])
        zeros = np.zeros(self.hours * (self.sells + 3))
        most = own.discharge[0] if spare is None else own.discharge[0] + spare
        spin, nonspin = (most, most) if held is None else held
        upper = np.concatenate([charge, discharge.ravel(), spin, nonspin, own.above[0]])
        self._set_columns(np.concatenate([zeros, low]), upper)
        below_before = np.append(own.first, own.below[0, :-1])
        sides = np.concatenate([np.zeros(self.hours), most, own.below[0], below_before, own.cycles])
        least = np.full(len(sides), -highspy.kHighsInf)
        least[: self.hours] = 0.0
        self._highs.changeRowsBounds(len(sides), self._rows, least, sides)
        self._last_binds = -own.last[0] > -own.below[0, -1]

    def _set_columns(self, lower: Array, upper: Array) -> None:
        every = np.concatenate(self._columns)
        self._lower, self._upper = lower, upper
        self._highs.changeColsBounds(len(every), every, lower, upper)

    def earn(self, gains: Gains) -> None:
        """Prices of every column."""
        still = np.zeros(self.hours)
        cost = np.concatenate([-gains.buy, gains.sell.ravel(), gains.spin, gains.nonspin, still])
        self._highs.changeColsCost(len(cost), np.concatenate(self._columns), cost)

    def solve(self) -> Answer:
        """The best day. Raises SolveError with HiGHS' word if there is none."""
        self._highs.run()
        status = self._highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            self._highs.clearSolver()
            self._highs.run()
            status = self._highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolveError(f"HiGHS says {self._highs.modelStatusToString(status)} of a storage resource")
        found = self._highs.getSolution()
        values = np.clip(np.array(found.col_value), self._lower, self._upper)
        bought, sold, spin, nonspin, stored = (values[columns] for columns in self._columns)
        worth = self._highs.getObjectiveValue()
        more = self._worth_of_more(np.array(found.col_dual), np.array(found.row_dual))
        value = np.array(found.row_dual)[: self.hours]
        return Answer(bought, sold.reshape(self.hours, -1), spin, nonspin, stored, worth, more, value)

    def _worth_of_more(self, of_columns: Array, of_rows: Array) -> Array:
        """What one more kWh of each entry of the box would add, from the duals; segments as one."""
        hours = self.hours
        _, power, after, before, cycles = (
            of_rows[k * hours : (k + 1) * hours] if k < 4 else of_rows[4 * hours :] for k in range(5)
        )
        gain = np.maximum(of_columns, 0.0)  # at the upper bound
        loss = np.maximum(-of_columns, 0.0)  # at the lower
        charge = gain[self._columns[0]]
        own = gain[self._columns[1]].reshape(hours, -1).max(axis=1) + gain[self._columns[2]] + gain[self._columns[3]]
        below, above = loss[self._columns[4]].copy(), gain[self._columns[4]]
        last = 0.0
        if self._last_binds:
            last, below[-1] = float(below[-1]), 0.0
        below += np.maximum(after, 0.0)
        below[:-1] += np.maximum(before[1:], 0.0)
        ends = [np.maximum(before[0], 0.0), last, max(float(cycles[0]), 0.0)]
        return np.concatenate([charge, np.maximum(power, 0.0) + own, below, above, ends])
