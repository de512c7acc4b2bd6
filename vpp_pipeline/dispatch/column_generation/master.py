"""The coordinator's linear programme over columns: how much of each group's plans to run, and what to bid.

    maximise    Σ_o price_o h_o q_o − Σ_t (market_t + adder) buy_t − Σ_c paid_c λ_c
    position    Σ_c (sold_ct − bought_ct) λ_c = q_o(t) − buy_t − lack_t    dual: what a kWh is worth, `buy`
    export      Σ_c sold_ct λ_c ≤ M_t z_o(t)                               dual: `buy` − `sell`
    reserve     Σ_c spin_ct λ_c ≥ q_o(t), and the same for nonspin         dual: `spin`, `nonspin`
    largest     q_o ≤ R_o z_o
    least       q_o ≥ minimum_o z_o − short_o                              short, lack: at a price above the market's
    buy or bid  buy_t ≤ most_t (1 − z_o(t)),   0 ≤ z_o ≤ 1
    groups      Σ_{c of g} λ_c = 1
    risk        ξ_w ≥ η − Σ_o worth_wo h_o q_o + Σ_t market_wt buy_t       dual: the tilt of prices (`formulation.py`)

Powers in MW. A column is a group's best response to some prices (Dantzig and Wolfe 1960).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import highspy
import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.column_generation.pricing import GroupSums
from vpp_pipeline.dispatch.formulation import ENERGY
from vpp_pipeline.dispatch.problem import DayProblem, Duals
from vpp_pipeline.dispatch.scenarios import tilted_prices

SMALL_MW = 1e-11
NO_PRICE = 1e-7  # $ per MW and hour: a reserve price below it is rounding
DUAL, PRIMAL = 1, 4  # HiGHS's simplex strategies
SHORTFALL_USD_PER_MW = 1e5  # far above any price of the market, so that no bid is left short if it can be met
INFINITY = highspy.kHighsInf


@dataclass(frozen=True)
class MasterAnswer:
    """The best mixture of the columns so far."""

    objective_usd: float
    z: Array  # (O,)
    q: Array  # (O,) MW
    short_of_mw: Array  # (O,) what each bid lacks of its minimum, or of what its hours must sell
    both_mw: Array  # (T,) what the fleet sells in an hour in which it buys as much from the market
    weights: Array  # (columns,)
    group_usd: Array  # (G,) what each group earns beyond the prices of its powers
    duals: Duals
    tilt: Array  # (W,) weight of each scenario in what prices count, by the CVaR; none without risk

    @property
    def short_mw(self) -> float:
        """What all bids together lack: an answer only if it is nothing."""
        return float(self.short_of_mw.sum())


class _Rows:
    """Where each kind of row lies, and its limits."""

    def __init__(self, coordinator: Coordinator, groups: int, futures: int) -> None:
        hours, count = len(coordinator.market), len(coordinator.day.price)
        no_limit = np.full(max(hours, count, futures), INFINITY)
        kinds = [
            (np.zeros(hours), np.zeros(hours)),  # position
            (-no_limit[:hours], np.zeros(hours)),  # export
            (np.zeros(hours), no_limit[:hours]),  # spin
            (np.zeros(hours), no_limit[:hours]),  # nonspin
            (-no_limit[:count], np.zeros(count)),  # largest
            (np.zeros(count), no_limit[:count]),  # least
            (-no_limit[:hours], coordinator.most_bought_mw),  # buy or bid
            (np.ones(groups), np.ones(groups)),  # groups
            (np.zeros(futures), no_limit[:futures]),  # risk
        ]
        edges = np.cumsum([0, *(len(low) for low, _ in kinds)])
        places = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        (self.position, self.export, self.spin, self.nonspin) = places[:4]
        (self.largest, self.least, self.buy_or_bid, self.groups, self.risk) = places[4:]
        self.low, self.high = (np.concatenate([kind[side] for kind in kinds]) for side in (0, 1))


class Master:
    """One HiGHS instance that grows by columns and continues from the basis it has."""

    def __init__(self, coordinator: Coordinator, groups: int) -> None:
        self.coordinator, self.groups = coordinator, groups
        scenarios = coordinator.scenarios
        self._rows = rows = _Rows(coordinator, groups, 0 if scenarios is None else len(scenarios.probability))
        self._highs = highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("presolve", "off")
        highs.setOptionValue("primal_feasibility_tolerance", 1e-9)  # MW: times the price of a shortfall, 0.1 cent
        none = np.zeros(0, dtype=np.int32)
        size = len(rows.low)
        highs.addRows(size, rows.low, rows.high, 0, np.zeros(size, dtype=np.int32), none, np.zeros(0))
        count = len(coordinator.day.price)
        self._q, self._z = np.arange(count, dtype=np.int32), np.arange(count, 2 * count, dtype=np.int32)
        self._slack: list[int] = []
        self._purchases: Indices = np.zeros(0, dtype=int)
        self._add_bids()
        self._add_purchases()
        self._add_risk()
        self._first_column = highs.getNumCol()
        self.columns: list[tuple[int, int]] = []  # group, index of the prices that it answers
        self._last: MasterAnswer | None = None
        self.pivots = 0  # simplex iterations so far

    def _add_bids(self) -> None:
        """q, z and what each bid lacks of its minimum."""
        coordinator, rows = self.coordinator, self._rows
        day, scenarios = coordinator.day, coordinator.scenarios
        certain = 1.0 if scenarios is None else 1.0 - scenarios.aversion
        worth = np.zeros((0, len(day.price))) if scenarios is None else scenarios.worth * day.hours
        risk = np.arange(rows.risk.start, rows.risk.stop)
        first_row = (rows.position.start, rows.spin.start, rows.nonspin.start)
        for o, product in enumerate(day.product):
            covered = np.flatnonzero(day.covers[o])
            index = [*(first_row[product] + covered), rows.largest.start + o, rows.least.start + o, *risk]
            value = [*(-np.ones(len(covered))), 1.0, 1.0, *worth[:, o]]
            self._add(-certain * day.price[o] * day.hours[o], 0.0, INFINITY, index, value)
        for o, product in enumerate(day.product):
            index = [rows.largest.start + o, rows.least.start + o]
            value = [-day.required_mw[o], -day.minimum_mw[o]]
            if product == ENERGY:
                covered = np.flatnonzero(day.covers[o])
                index += [*(rows.export.start + covered), *(rows.buy_or_bid.start + covered)]
                value += [*(-coordinator.most_sold_mw[covered]), *coordinator.most_bought_mw[covered]]
            self._add(0.0, 0.0, 1.0, index, value)
        for o, hours in enumerate(day.hours):
            self._add_slack(SHORTFALL_USD_PER_MW * hours, rows.least.start + o)

    def _add_purchases(self) -> None:
        coordinator, rows, scenarios = self.coordinator, self._rows, self.coordinator.scenarios
        certain = 1.0 if scenarios is None else 1.0 - scenarios.aversion
        market = np.zeros((0, len(coordinator.market)))
        if scenarios is not None:
            market = scenarios.market_price + coordinator.day.charging_adder
        risk = np.arange(rows.risk.start, rows.risk.stop)
        self._purchases = self._highs.getNumCol() + np.arange(len(coordinator.market))
        for t, price in enumerate(coordinator.market):
            index = [rows.position.start + t, rows.buy_or_bid.start + t, *risk]
            self._add(certain * price, 0.0, INFINITY, index, [1.0, 1.0, *-market[:, t]])
        for t in range(len(coordinator.market)):  # what no column can leave to sell, in an hour with a bid
            self._add_slack(SHORTFALL_USD_PER_MW, rows.position.start + t)

    def _add_risk(self) -> None:
        """The value at risk η, and how far each scenario falls below it."""
        scenarios = self.coordinator.scenarios
        if scenarios is None:
            return
        risk = np.arange(self._rows.risk.start, self._rows.risk.stop)
        self._add(-scenarios.aversion, -INFINITY, INFINITY, risk, -np.ones(len(risk)))
        for row, probability in zip(risk, scenarios.probability, strict=True):
            self._add(scenarios.aversion * probability / scenarios.tail_fraction, 0.0, INFINITY, [row], [1.0])

    def _add(self, cost: float, low: float, high: float, index: Any, value: Any) -> None:
        self._highs.addCol(float(cost), low, high, len(index), np.array(index, dtype=np.int32), np.array(value, float))

    def _add_slack(self, cost: float, row: int) -> None:
        self._slack.append(self._highs.getNumCol())
        self._add(cost, 0.0, INFINITY, [row], [1.0])

    def add(self, sums: GroupSums, answered: int, asked: Flags | None = None) -> None:
        """Add the columns of ``sums``, which answer the prices of that index: those that improve on the last answer."""
        chosen: Indices = np.arange(self.groups) if asked is None else np.flatnonzero(asked)
        if self._last is not None:
            worth = sums.worth(self._last.duals)
            better = worth > self._last.group_usd + 1e-10 * (1.0 + np.abs(worth))
            chosen = chosen[better[chosen]]
        powers = (sums.sold_kw - sums.bought_kw, sums.sold_kw, sums.spin_kw, sums.nonspin_kw)
        if len(chosen):
            self._add_columns(np.hstack(powers)[chosen] / 1000.0, sums.paid_usd[chosen], chosen, answered)

    def _add_columns(self, powers_mw: Array, paid_usd: Array, group: Indices, answered: int) -> None:
        """Columns (n,) with powers (n, 4 T) in the first rows, and a one in the row of their group."""
        count = len(group)
        column, row = np.nonzero(np.abs(powers_mw) > SMALL_MW)
        starts = np.searchsorted(column, np.arange(count)) + np.arange(count)
        index, value = np.empty(len(row) + count, dtype=np.int32), np.empty(len(row) + count)
        place = np.arange(len(row)) + column
        index[place], value[place] = row, powers_mw[column, row]
        ends = np.append(starts[1:], len(index)) - 1
        index[ends], value[ends] = self._rows.groups.start + group, 1.0
        low, high = np.zeros(count), np.full(count, INFINITY)
        self._highs.setOptionValue("simplex_strategy", PRIMAL)  # new columns leave the basis primal feasible
        self._highs.addCols(count, paid_usd, low, high, len(index), starts.astype(np.int32), index, value)
        self.columns += [(int(g), answered) for g in group]

    def set_bids(self, low: Array, high: Array) -> None:
        """Bounds (O,) of z."""
        self._highs.changeColsBounds(len(self._z), self._z, low.astype(float), high.astype(float))
        self._highs.setOptionValue("simplex_strategy", DUAL)  # other bounds leave the basis dual feasible

    def solve(self) -> MasterAnswer:
        """The best mixture of the columns so far; a bid they cannot fill is short of its minimum, at a high price.

        Raises SolveError if HiGHS has no answer.
        """
        status = self._run()
        if status != highspy.HighsModelStatus.kOptimal:  # numerical trouble: from scratch, the way HiGHS would choose
            self._highs.clearSolver()
            self._highs.setOptionValue("simplex_strategy", DUAL)
            status = self._run()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolveError(f"HiGHS says {self._highs.modelStatusToString(status)} of the master problem")
        solution, rows = self._highs.getSolution(), self._rows
        value, dual = np.array(solution.col_value), np.array(solution.row_dual)
        # HiGHS minimises: the dual of a row is what a unit more on its right-hand side costs
        self._last = MasterAnswer(
            objective_usd=-self._highs.getInfo().objective_function_value,
            z=value[self._z],
            q=value[self._q],
            short_of_mw=self._short_of_mw(value[self._slack]),
            both_mw=self._both_mw(value, np.array(solution.row_value)),
            weights=value[self._first_column :],
            group_usd=-dual[rows.groups],
            duals=Duals(
                sell=dual[rows.position] + np.minimum(dual[rows.export], 0.0),
                buy=dual[rows.position],
                spin=np.where(dual[rows.spin] > NO_PRICE, dual[rows.spin], 0.0),
                nonspin=np.where(dual[rows.nonspin] > NO_PRICE, dual[rows.nonspin], 0.0),
            ),
            tilt=np.maximum(dual[rows.risk], 0.0),
        )
        return self._last

    def _run(self) -> Any:
        """HiGHS' status of the model."""
        self._highs.run()
        self.pivots += max(int(self._highs.getInfo().simplex_iteration_count), 0)
        return self._highs.getModelStatus()

    def _both_mw(self, value: Array, row: Array) -> Array:
        """The lesser of sales and purchases by hour (T,): a bid decides for one of them, half a bid for neither."""
        coordinator = self.coordinator
        bids = (coordinator.day.covers * coordinator.is_energy[:, None]).T @ value[self._z]
        sold_mw = row[self._rows.export] + coordinator.most_sold_mw * bids
        return np.asarray(np.minimum(sold_mw, value[self._purchases]))

    def _short_of_mw(self, slack: Array) -> Array:
        """What bids (O,) lack, from ``slack``: of their minimum (O,), then of what hours sell (T,)."""
        day = self.coordinator.day
        lack = slack[len(day.price) :]
        return np.asarray(slack[: len(day.price)] + np.where(day.product == ENERGY, day.covers @ lack, 0.0))


class Coordinator:
    """What the aggregator decides by itself, at given prices of energy and reserve: separable by opportunity."""

    def __init__(self, day: DayProblem, most_sold_mw: Array, most_bought_mw: Array) -> None:
        self.day, self.most_sold_mw, self.most_bought_mw = day, most_sold_mw, most_bought_mw
        self.market = day.market_price + day.charging_adder
        self.scenarios = day.scenarios if day.scenarios is not None and day.scenarios.aversion > 0.0 else None
        self.is_energy = day.product == ENERGY
        #: hours in which energy is bought and never sold
        self.open_hours = ~day.covers[self.is_energy].any(axis=0)

    @property
    def no_tilt(self) -> Array:
        """Every scenario as likely as it is (W,)."""
        return np.zeros(0) if self.scenarios is None else self.scenarios.aversion * self.scenarios.probability

    def prices(self, tilt: Array) -> tuple[Array, Array]:
        """Prices of opportunities (O,) and charging (T,), $: the forecast's, weighed by scenarios in ``tilt`` (W,)."""
        if self.scenarios is None:
            return self.day.price, self.market
        price, market = tilted_prices(self.day, self._admissible(tilt))
        return price, market + self.day.charging_adder

    def _admissible(self, tilt: Array) -> Array:
        """The nearest weights that make a bound: none above its limit, λ in all."""
        assert self.scenarios is not None
        most = self.scenarios.aversion * self.scenarios.probability / self.scenarios.tail_fraction
        tilt = np.clip(tilt, 0.0, most)
        missing = self.scenarios.aversion - tilt.sum()
        spare = most - tilt if missing > 0.0 else tilt
        return np.asarray(tilt + missing * spare / max(float(spare.sum()), 1e-300))

    def owed(self, duals: Duals) -> Array:
        """What a MW of each opportunity (O,) costs at ``duals``, over its hours, $."""
        by_product = np.vstack([duals.buy, duals.spin, duals.nonspin])
        return np.asarray(np.einsum("ot,ot->o", self.day.covers, by_product[self.day.product]))

    def most(self, duals: Duals, tilt: Array, z_low: Array, z_high: Array) -> float:
        """The coordinator's best value at ``duals``, with z (O,) within bounds: its part of the Lagrangian bound, $."""
        day = self.day
        price, market = self.prices(tilt)
        per_mw = price * day.hours - self.owed(duals)
        bid = np.where(per_mw > 0.0, per_mw * day.required_mw, per_mw * day.minimum_mw)
        export = np.maximum(duals.buy - duals.sell, 0.0) * self.most_sold_mw
        bought = np.maximum(duals.buy - market, 0.0) * self.most_bought_mw
        bid = bid + np.where(self.is_energy, day.covers @ export, 0.0)
        no_bid = np.where(self.is_energy, day.covers @ bought, 0.0)
        best = np.where(z_low > 0.5, bid, np.where(z_high < 0.5, no_bid, np.maximum(bid, no_bid)))
        return float(best.sum() + bought[self.open_hours].sum())
