"""The coordinator's linear programme over columns: how much of each group's plans to run, and what to bid.

    maximise    Σ_o price_o h_o q_o − Σ_t (market_t + adder) buy_t − Σ_c paid_c λ_c
    position    Σ_c (sold_ct − bought_ct) λ_c = q_o(t) − buy_t             dual: what a kWh is worth, `buy`
    export      Σ_c sold_ct λ_c ≤ M_t z_o(t)                               dual: `buy` − `sell`
    reserve     Σ_c spin_ct λ_c ≥ q_o(t), and the same for nonspin         dual: `spin`, `nonspin`
    bid or not  minimum_o z_o − short_o ≤ q_o ≤ R_o z_o,   buy_t ≤ most_t (1 − z_o(t)),   0 ≤ z_o ≤ 1
    groups      Σ_{c of g} λ_c = 1

Powers in MW. A column is a group's best response to some prices; Dantzig and Wolfe (1960). The Lagrangian bound needs
the prosumers' values and the coordinator's own best answer to the same prices, which is separable by opportunity.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from vpp_pipeline.domain.arrays import Array, Indices
from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.column_generation.pricing import GroupSums
from vpp_pipeline.optimisation.problem import DayProblem, Duals

ENERGY, SPIN, NONSPIN = range(3)
SMALL = 1e-11
SHORTFALL_USD_PER_MW = 20_000.0  # above any price of the market, so that no bid is left short
PRIMAL = 4


@dataclass(frozen=True)
class MasterAnswer:
    """The best mixture of the columns so far."""

    objective_usd: float
    z: Array  # (O,)
    q: Array  # (O,) MW
    weights: Array  # (columns,)
    group_usd: Array  # (G,) what each group earns beyond the prices of its powers
    duals: Duals


class Coordinator:
    """The part of the day that is not the prosumers': prices, sizes and rules of the opportunities."""

    def __init__(self, day: DayProblem, most_sold_mw: Array, most_bought_mw: Array) -> None:
        self.day, self.most_sold_mw, self.most_bought_mw = day, most_sold_mw, most_bought_mw
        self.market = day.market_price + day.charging_adder
        self.is_energy = day.product == ENERGY
        covered = day.covers[self.is_energy].any(axis=0)
        self.open_hours = ~covered  # hours in which energy is bought, never sold

    def most(self, duals: Duals, z_low: Array, z_high: Array) -> float:
        """The coordinator's best value at ``duals``, with z (O,) within bounds: its part of the Lagrangian bound."""
        day = self.day
        by_product = np.vstack([duals.buy, duals.spin, duals.nonspin])
        owed = np.einsum("ot,ot->o", day.covers, by_product[day.product])
        per_mw = day.price * day.hours - owed
        bid = np.where(per_mw > 0.0, per_mw * day.required_mw, per_mw * day.minimum_mw)
        export = np.maximum(duals.buy - duals.sell, 0.0) * self.most_sold_mw
        bought = np.maximum(duals.buy - self.market, 0.0) * self.most_bought_mw
        bid = bid + np.where(self.is_energy, day.covers @ export, 0.0)
        no_bid = np.where(self.is_energy, day.covers @ bought, 0.0)
        best = np.where(z_low > 0.5, bid, np.where(z_high < 0.5, no_bid, np.maximum(bid, no_bid)))
        return float(best.sum() + bought[self.open_hours].sum())


class Master:
    """One HiGHS instance that grows by columns and continues from the basis it has."""

    def __init__(self, coordinator: Coordinator, groups: int) -> None:
        self.coordinator, self.groups = coordinator, groups
        day = coordinator.day
        hours, count = len(day.market_price), len(day.opportunity_id)
        self._hours, self._count = hours, count
        self._highs = highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("presolve", "off")
        highs.setOptionValue("simplex_strategy", PRIMAL)  # new columns leave the basis feasible
        infinity = highspy.kHighsInf
        # rows: position (T), export (T), spin (T), nonspin (T), q ≤ R z (O), q ≥ minimum z (O), buy or bid (T), groups
        low = np.concatenate(
            [np.zeros(hours), np.full(hours, -infinity), np.zeros(2 * hours), np.full(count, -infinity)]
            + [np.zeros(count), np.full(hours, -infinity), np.ones(groups)]
        )
        high = np.concatenate(
            [np.zeros(2 * hours), np.full(2 * hours, infinity), np.zeros(count)]
            + [np.full(count, infinity), coordinator.most_bought_mw, np.ones(groups)]
        )
        rows = len(low)
        empty = np.zeros(0, dtype=np.int32), np.zeros(0)
        highs.addRows(rows, low, high, 0, np.zeros(rows, dtype=np.int32), *empty)
        self._group_row = rows - groups
        first_row = np.array([0, 2 * hours, 3 * hours])
        for o in range(count):  # q
            t = np.flatnonzero(day.covers[o])
            index = np.concatenate([first_row[day.product[o]] + t, [4 * hours + o, 4 * hours + count + o]])
            value = np.concatenate([-np.ones(len(t)), [1.0, 1.0]])
            self._add(-day.price[o] * day.hours[o], 0.0, infinity, index, value)
        for o in range(count):  # z
            index, value = [4 * hours + o, 4 * hours + count + o], [-day.required_mw[o], -day.minimum_mw[o]]
            if day.product[o] == ENERGY:
                t = np.flatnonzero(day.covers[o])
                index = [*index, *(hours + t), *(4 * hours + 2 * count + t)]
                value = [*value, *(-coordinator.most_sold_mw[t]), *coordinator.most_bought_mw[t]]
            self._add(0.0, 0.0, 1.0, np.array(index), np.array(value))
        for t in range(hours):  # buy
            index, value = [t, 4 * hours + 2 * count + t], [1.0, 1.0]
            self._add(coordinator.market[t], 0.0, infinity, np.array(index), np.array(value))
        for o in range(count):  # what a bid lacks of its minimum while no column can give it
            self._add(SHORTFALL_USD_PER_MW * day.hours[o], 0.0, infinity, np.array([4 * hours + count + o]), np.ones(1))
        self._fixed_columns = 3 * count + hours
        self._z = np.arange(count, 2 * count, dtype=np.int32)
        self._q = np.arange(count, dtype=np.int32)
        self.columns: list[tuple[int, int]] = []  # group, index of the prices that it answers
        self._last: MasterAnswer | None = None

    def _add(self, cost: float, low: float, high: float, index: Array, value: Array) -> None:
        self._highs.addCol(float(cost), low, high, len(index), index.astype(np.int32), value.astype(float))

    def add(self, sums: GroupSums, answered: int) -> None:
        """Add the columns of ``sums``, which answer the prices of that index: those that improve on the last answer."""
        chosen = np.arange(self.groups)
        if self._last is not None:
            duals = self._last.duals
            worth = (
                sums.sold_kw @ duals.sell
                - sums.bought_kw @ duals.buy
                + sums.spin_kw @ duals.spin
                + sums.nonspin_kw @ duals.nonspin
            ) / 1000.0 - sums.paid_usd
            chosen = np.flatnonzero(worth > self._last.group_usd + 1e-10 * (1.0 + np.abs(worth)))
        rows = np.concatenate([sums.sold_kw - sums.bought_kw, sums.sold_kw, sums.spin_kw, sums.nonspin_kw], axis=1)
        self._add_columns(rows[chosen] / 1000.0, sums.paid_usd[chosen], chosen, answered)

    def _add_columns(self, dense: Array, paid_usd: Array, group: Indices, answered: int) -> None:
        dense = np.where(np.abs(dense) < SMALL, 0.0, dense)
        column, row = np.nonzero(dense)
        count = len(group)
        if count == 0:
            return
        starts = np.searchsorted(column, np.arange(count)) + np.arange(count)
        index, value = np.empty(len(row) + count, dtype=np.int32), np.empty(len(row) + count)
        place = np.arange(len(row)) + column
        index[place], value[place] = row, dense[column, row]
        ends = np.append(starts[1:], len(index)) - 1
        index[ends], value[ends] = self._group_row + group, 1.0
        upper = np.full(count, highspy.kHighsInf)
        self._highs.addCols(
            count, paid_usd, np.zeros(count), upper, len(index), starts.astype(np.int32), index, value
        )
        self.columns += [(int(g), answered) for g in group]

    def set_bids(self, low: Array, high: Array) -> None:
        """Bounds (O,) of z."""
        self._highs.changeColsBounds(self._count, self._z, low.astype(float), high.astype(float))

    def set_quantities(self, low: Array, high: Array) -> None:
        """Bounds (O,) of q, MW."""
        self._highs.changeColsBounds(self._count, self._q, low.astype(float), high.astype(float))

    def solve(self) -> MasterAnswer:
        """The best mixture of the columns so far; a bid they cannot fill is short of its minimum, at a high price.

        Raises SolveError if HiGHS has no answer.
        """
        self._highs.run()
        status = self._highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolveError(f"HiGHS says {self._highs.modelStatusToString(status)} of the master problem")
        solution = self._highs.getSolution()
        value, dual = np.array(solution.col_value), np.array(solution.row_dual)
        hours, count = self._hours, self._count
        # HiGHS minimises; the dual of a row is the change of cost per unit of its right-hand side
        position, export = dual[:hours], dual[hours : 2 * hours]
        self._last = MasterAnswer(
            objective_usd=-self._highs.getInfo().objective_function_value,
            z=value[count : 2 * count],
            q=value[:count],
            weights=value[self._fixed_columns :],
            group_usd=-dual[self._group_row :],
            duals=Duals(
                sell=position + np.minimum(export, 0.0),
                buy=position,
                spin=np.maximum(dual[2 * hours : 3 * hours], 0.0),
                nonspin=np.maximum(dual[3 * hours : 4 * hours], 0.0),
            ),
        )
        return self._last
