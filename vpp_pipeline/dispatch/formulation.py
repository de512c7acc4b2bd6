"""The day's optimisation in CVXPY: the formulation that people read, and the oracle for anything faster.

Sets: prosumers i (N), hours t (T, step Δ = 1 h), opportunities o (O). Units: kW, kWh; bids q in MW; money in $.

    maximise    Σ_o price_o q_o h_o  −  Σ_t (market_t + adder) buy_t Δ  −  Σ agreed · sold  +  w Σ σ · sold
    dynamics    E_t = E_{t−1} + ηc (cg + cs) Δ − d Δ/ηd − drive_t,     floor ≤ E ≤ cap,   E_T ≥ target
    inverter    cg + cs ≤ Pc,   d + s + n ≤ Pd,   d + v + s + n ≤ export limit + max(load − solar, 0)
    solar       cs + v ≤ max(solar − load, 0)
    cycles      Σ_t d Δ/ηd ≤ cycles · capacity
    backing     (s + n) τ/ηd ≤ E_t − floor_t   and   ≤ E_{t−1} − floor_{t−1}
    options     each of d + v, s, n ≤ its commitment in that opportunity
    position    Σ_i (d + v − cg)/1000 = q_o − buy_t,   Σ_i s/1000 = q_o  (or n)
    bid or not  minimum_o z_o ≤ q_o ≤ R_o z_o,   sold only where z = 1,   buy only in hours without an energy bid

With scenarios, what the market pays (the first two sums) counts (1 − λ) as forecast and λ by its CVaR (see below).
Charging in an hour with an energy bid is delivered by the fleet itself (it lowers q); in other hours it is bought.
Charging and discharging have limits of their own besides, by which `exact.py` keeps a store from doing both.

Aversion to risk as a linear objective: expected profit against its conditional value at risk (CVaR).

Owners are paid the same in every scenario (what the absent do not get is in the worth of a bid), and CVaR(x − c) =
CVaR(x) − c. So the risk is in what the market pays alone: in q and the purchases, in no prosumer's own variables.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cvxpy as cp
import numpy as np
from scipy import sparse

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.scenarios import tilted_prices
from vpp_pipeline.dispatch.schedule import DaySchedule, held_by_column
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram
from vpp_pipeline.fleet.arrays import Fleet

ENERGY = PRODUCTS.index("energy")
STEP_H = 1.0
CUT_TOLERANCE_KW = 1e-3


@dataclass(frozen=True)
class Formulation:
    """A CVXPY problem and the handles to set its bid decisions and to read its answer."""

    problem: cp.Problem
    variables: Variables
    parameters: Parameters
    dynamics: cp.Constraint
    largest: cp.Constraint
    least: cp.Constraint
    balances: dict[str, cp.Constraint]
    tail: list[cp.Constraint]

    @property
    def z(self) -> cp.Variable:
        """Bid or no bid (O,)."""
        return self.variables.z

    @property
    def q(self) -> cp.Variable:
        """Quantities (O,) in MW."""
        return self.variables.q

    @property
    def stored(self) -> cp.Variable:
        """Stored energy (N, T + 1) in kWh."""
        return self.variables.stored

    def set_bids(self, low: Array, high: Array) -> None:
        """Bounds of z (O,)."""
        self.parameters.z_low.value, self.parameters.z_high.value = low, high

    def set_quantities(self, low: Array, high: Array) -> None:
        """Bounds of q (O,) in MW."""
        self.parameters.q_low.value, self.parameters.q_high.value = low, high

    def set_directions(self, charge_kw: Array, discharge_kw: Array) -> None:
        """Limits (N, T) of charging and of discharging, at most those of the envelope."""
        self.parameters.charge_limit.value = charge_kw
        self.parameters.discharge_limit.value = discharge_kw

    def solve(self, solver: str, **options: Any) -> float:
        """Objective in $; raises SolveError with the solver's word if there is no answer."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an inaccurate answer is judged by our own verification
            try:
                self.problem.solve(solver=solver, **options)
            except cp.SolverError as error:
                raise SolveError(f"{solver}: {error}") from error
        if self.z.value is None or self.stored.value is None:
            raise SolveError(f"{solver} says {self.problem.status}")
        return float(self.problem.value)

    @cached_property
    def program(self) -> WarmLinearProgram:
        """The linear problem in HiGHS, kept from one solve to the next."""
        return WarmLinearProgram(self.problem)

    def go_on(self) -> float | None:
        """Objective in $ by HiGHS, going on from the last answer; None if none exists. Not for binary decisions.

        Raises SolveError with HiGHS' word where it fails.
        """
        self.program.take_parameters()
        answer = self.program.solve()
        if answer is None:
            return None
        self.program.hand_over(answer)
        return float(self.problem.value)

    def charging_price(self, day: DayProblem) -> Array:
        """What a MWh that is bought counts (T,), $: the market's price, weighed by the scenarios that are feared."""
        if not self.tail:
            return day.market_price + day.charging_adder
        return tilted_prices(day, np.asarray(self.tail[0].dual_value))[1] + day.charging_adder

    def schedule(self) -> DaySchedule:
        """The answer's schedule."""
        return self.variables.schedule()


@dataclass(frozen=True)
class Beside:
    """What the rest of a fleet does by hour (T,), MW, where only a part of it is formulated."""

    sold: Array
    charged: Array
    held: Array  # (reserves, T)


@dataclass(frozen=True)
class FleetVariables:
    """What prosumers do: powers (N, T) in kW, stored energy (N, T + 1) in kWh."""

    grid_charge: cp.Variable
    solar_charge: cp.Variable
    discharge: cp.Variable
    solar_sold: cp.Variable
    held: tuple[cp.Variable, ...]  # of each reserve
    stored: cp.Variable  # from the start of the day on; the first column is the initial stored energy

    @property
    def charge(self) -> cp.Expression:
        """All charging."""
        return self.grid_charge + self.solar_charge

    @property
    def exported(self) -> cp.Expression:
        """Energy sold: discharge and own solar."""
        return self.discharge + self.solar_sold

    @property
    def reserve(self) -> cp.Expression:
        """All reserves held."""
        return sum(self.held[1:], self.held[0])

    @property
    def sold(self) -> tuple[cp.Expression, ...]:
        """Sales of each product, in the order of PRODUCTS."""
        return self.exported, *self.held

    def schedule(self) -> DaySchedule:
        """The answer as clean arrays: no negative powers from solver tolerance."""
        return DaySchedule(
            grid_charge_kw=np.maximum(self.grid_charge.value, 0.0),
            solar_charge_kw=np.maximum(self.solar_charge.value, 0.0),
            discharge_kw=np.maximum(self.discharge.value, 0.0),
            solar_sold_kw=np.maximum(self.solar_sold.value, 0.0),
            stored_kwh=np.asarray(self.stored.value[:, 1:]),
            **held_by_column(np.maximum(kw.value, 0.0) for kw in self.held),
        )


@dataclass(frozen=True)
class Variables(FleetVariables):
    """The variables of the problem: the fleet's, bids (O,), and purchases (T,)."""

    z: cp.Variable
    q: cp.Variable
    buy: cp.Variable


@dataclass(frozen=True)
class Parameters:
    """What is set between solves: bounds of z and q (O,), and limits (N, T) of charging and of discharging."""

    z_low: cp.Parameter
    z_high: cp.Parameter
    q_low: cp.Parameter
    q_high: cp.Parameter
    charge_limit: cp.Parameter
    discharge_limit: cp.Parameter


def declare_fleet(fleet: Fleet, commitment: list[Array]) -> FleetVariables:
    """The fleet's variables within their own bounds (floor ≤ E ≤ cap, E_T ≥ target, powers up to device and
    commitment: (N, T) by product).
    """
    shape = fleet.max_charge_kw.shape

    def power(most: Array) -> cp.Variable:
        return cp.Variable(shape, bounds=[np.zeros(shape), np.maximum(most, 0.0)])

    initial = fleet.initial_stored_kwh[:, None]
    floor = np.column_stack([initial, fleet.min_stored_kwh])
    floor[:, -1] = np.maximum(floor[:, -1], fleet.terminal_stored_kwh)
    return FleetVariables(
        grid_charge=power(fleet.max_charge_kw),
        solar_charge=power(np.minimum(fleet.max_charge_kw, fleet.surplus_kw)),
        discharge=power(np.minimum(fleet.max_discharge_kw, commitment[ENERGY])),
        solar_sold=power(np.minimum(fleet.surplus_kw, commitment[ENERGY])),
        held=tuple(power(np.minimum(fleet.max_discharge_kw, kw)) for kw in commitment[1:]),
        stored=cp.Variable((shape[0], shape[1] + 1), bounds=[floor, np.column_stack([initial, fleet.max_stored_kwh])]),
    )


def declare(day: DayProblem, commitment: list[Array], *, binary: bool) -> tuple[Variables, Parameters]:
    """All variables, and the parameters that are set between solves."""
    shape, count = day.fleet.max_charge_kw.shape, len(day.opportunity_id)
    variables = Variables(
        **vars(declare_fleet(day.fleet, commitment)),
        z=cp.Variable(count, boolean=True) if binary else cp.Variable(count),
        q=cp.Variable(count, nonneg=True),
        buy=cp.Variable(shape[1], nonneg=True),
    )
    of_bids, of_stores = [cp.Parameter(count) for _ in range(4)], [cp.Parameter(shape) for _ in range(2)]
    return variables, Parameters(*of_bids, *of_stores)


def stored_energy_balance(v: FleetVariables, fleet: Fleet) -> cp.Constraint:
    """E_t = E_{t−1} + ηc (cg + cs) Δ − d Δ/ηd − drive_t."""
    eta_c, eta_d = fleet.charge_efficiency[:, None], fleet.discharge_efficiency[:, None]
    return v.stored[:, 1:] == (
        v.stored[:, :-1]
        + cp.multiply(eta_c * STEP_H, v.charge)
        - cp.multiply(STEP_H / eta_d, v.discharge)
        - fleet.drive_kwh
    )


def charge_and_discharge_limits(v: Variables, parameters: Parameters) -> list[cp.Constraint]:
    """cg + cs ≤ Pc,  d ≤ Pd: parameters, by which a store is kept from doing both at once."""
    return [v.charge <= parameters.charge_limit, v.discharge <= parameters.discharge_limit]


def inverter_and_export_limits(v: FleetVariables, fleet: Fleet) -> list[cp.Constraint]:
    """d + s + n ≤ Pd,  d + v + s + n ≤ export limit + max(load − solar, 0)."""
    return [v.discharge + v.reserve <= fleet.max_discharge_kw, v.exported + v.reserve <= fleet.export_room_kw]


def solar_surplus(v: FleetVariables, fleet: Fleet) -> cp.Constraint:
    """cs + v ≤ max(solar − load, 0)."""
    return v.solar_charge + v.solar_sold <= fleet.surplus_kw


def energy_commitments(v: FleetVariables, commitment: list[Array]) -> cp.Constraint:
    """d + v ≤ commitment; those of reserve are bounds of s and n."""
    return v.exported <= commitment[ENERGY]


def daily_cycles(v: FleetVariables, fleet: Fleet) -> cp.Constraint:
    """Σ_t d Δ/ηd ≤ cycles · capacity."""
    drawn = cp.multiply(STEP_H / fleet.discharge_efficiency[:, None], v.discharge)
    return cp.sum(drawn, axis=1) <= fleet.maximum_cycles_per_day * fleet.capacity_kwh


def reserve_backing(v: FleetVariables, fleet: Fleet, call_hours: float) -> list[cp.Constraint]:
    """(s + n) τ/ηd ≤ E_t − floor_t  and  ≤ E_{t−1} − floor_{t−1}: a call of τ hours never takes the store below it."""
    floor = np.column_stack([np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0]), fleet.min_stored_kwh])
    called = cp.multiply(call_hours / fleet.discharge_efficiency[:, None], v.reserve)
    return [called <= v.stored[:, 1:] - floor[:, 1:], called <= v.stored[:, :-1] - floor[:, :-1]]


def positions(v: Variables, is_product: list[Array], rest: Beside) -> dict[str, cp.Constraint]:
    """Σ_i (d + v − cg)/1000 = q_o − buy_t,  Σ_i s/1000 = q_o,  Σ_i n/1000 = q_o, by product."""
    net_mw = cp.sum(v.exported - v.grid_charge, axis=0) / 1000.0 + (rest.sold - rest.charged)
    reserves = zip(CAISO.reserves, v.held, rest.held, is_product[1:], strict=True)
    return {
        "energy": net_mw == is_product[ENERGY] @ v.q - v.buy,
        **{
            reserve.name: cp.sum(kw, axis=0) / 1000.0 + others_mw == is_reserve @ v.q
            for reserve, kw, others_mw, is_reserve in reserves
        },
    }


def sell_or_buy(
    v: Variables, day: DayProblem, commitment: list[Array], is_energy: Array, rest: Beside
) -> list[cp.Constraint]:
    """Σ_i (d + v) ≤ M_t z_o(t),  buy_t ≤ M′_t (1 − z_o(t)): energy is sold with a bid, and bought without one."""
    most_sold_mw = np.minimum(commitment[ENERGY], day.fleet.export_room_kw).sum(axis=0) / 1000.0 + rest.sold
    most_bought_mw = day.fleet.max_charge_kw.sum(axis=0) / 1000.0 + rest.charged
    return [
        cp.sum(v.exported, axis=0) / 1000.0 + rest.sold <= cp.multiply(most_sold_mw, is_energy @ v.z),
        v.buy <= cp.multiply(most_bought_mw, 1.0 - is_energy @ v.z),
    ]


def eighty_percent_rule(v: Variables, day: DayProblem) -> tuple[cp.Constraint, cp.Constraint]:
    """q_o ≤ R_o z_o  and  q_o ≥ minimum_o z_o, where minimum is 0.8 R on the bid step, at least the market's own."""
    return v.q <= cp.multiply(day.required_mw, v.z), v.q >= cp.multiply(day.minimum_mw, v.z)


def decision_bounds(v: Variables, parameters: Parameters) -> list[cp.Constraint]:
    """z and q within the bounds that the search sets."""
    return [
        v.z >= parameters.z_low,
        v.z <= parameters.z_high,
        v.q >= parameters.q_low,
        v.q <= parameters.q_high,
    ]


class Cuts:
    """Rows that hold wherever z is 0 or 1, and that a relaxation between may violate; over the program's columns.

    sold      sold_it ≤ most_it Σ_{o covers t} z_o,  most = min(commitment, device limit), for each product
    bought    buy_t ≤ Σ_{i in S} cg_it + Σ_{i not in S} Pc_it (1 − z_o(t)),  for any set S of prosumers

    Between 0 and 1 the sums over prosumers of :func:`sell_or_buy` and :func:`eighty_percent_rule` leave both open: few
    prosumers may sell all of a small z, and what the minimum asks for may be bought and sold in the same hour. Each row
    is given once.
    """

    def __init__(self, linear: Formulation, day: DayProblem) -> None:
        self._sold = _sold_only_with_a_bid(linear, day)
        self._left = np.ones(self._sold.shape[0], dtype=bool)
        v, program = linear.variables, linear.program
        is_energy = day.product == ENERGY
        self._hours = np.flatnonzero(day.covers[is_energy].any(axis=0))
        self._bids = program.columns_of(v.z)[is_energy]
        self._covers = day.covers[is_energy][:, self._hours].astype(float)  # (energy bids, their hours)
        shape = v.grid_charge.shape
        self._charge = program.columns_of(v.grid_charge).reshape(shape, order="F")[:, self._hours]
        self._buy = program.columns_of(v.buy)[self._hours]
        self._most_mw = day.fleet.max_charge_kw[:, self._hours] / 1000.0
        self._width = program.width

    def violated(self, values: Array) -> tuple[sparse.csr_matrix, Array]:
        """The rows that ``values`` of all columns violate, and their right-hand sides (``rows @ x <= most``)."""
        sold = self._left & (self._sold @ values > CUT_TOLERANCE_KW)
        self._left &= ~sold
        bought, most_mw = self._bought(values)
        return sparse.vstack([self._sold[sold], bought], format="csr"), np.append(np.zeros(int(sold.sum())), most_mw)

    def _bought(self, values: Array) -> tuple[sparse.csr_matrix, Array]:
        """Of each hour the row whose S is violated most: who charges less than Pc (1 − z)."""
        charge_mw, no_bid = values[self._charge] / 1000.0, 1.0 - values[self._bids] @ self._covers
        is_in = charge_mw < self._most_mw * no_bid
        reach_mw = np.where(is_in, charge_mw, self._most_mw * no_bid).sum(axis=0)
        t = np.flatnonzero(values[self._buy] - reach_mw > CUT_TOLERANCE_KW / 1000.0)
        others_mw = np.where(is_in, 0.0, self._most_mw).sum(axis=0)[t]
        i, row = np.nonzero(is_in[:, t])
        o, of = np.nonzero(self._covers[:, t])
        columns = np.concatenate([self._buy[t], self._charge[i, t[row]], self._bids[o]])
        rows = np.concatenate([np.arange(len(t)), row, of])
        cells = np.concatenate([np.ones(len(t)), np.full(len(i), -1.0 / 1000.0), others_mw[of]])
        return sparse.csr_matrix((cells, (rows, columns)), shape=(len(t), self._width)), others_mw


def _sold_only_with_a_bid(linear: Formulation, day: DayProblem) -> sparse.csr_matrix:
    """A row for each prosumer, hour, and product with a commitment: see :class:`Cuts`."""
    v, fleet, program = linear.variables, day.fleet, linear.program
    shape = (len(fleet), len(day.market_price))
    bids, count = program.columns_of(v.z), 0
    rows, columns, values = [], [], []
    for product, parts in enumerate(((v.discharge, v.solar_sold), *((kw,) for kw in v.held))):
        device_kw = fleet.export_room_kw if product == ENERGY else fleet.max_discharge_kw
        most_kw = np.minimum(day.by_prosumer_and_hour(product, day.committed_kw), device_kw)
        i, t = np.nonzero(most_kw > 0.0)
        row = count + np.arange(len(i))
        for part in parts:
            rows.append(row)
            columns.append(program.columns_of(part)[i + shape[0] * t])
            values.append(np.ones(len(i)))
        k, o = np.nonzero((day.covers & (day.product == product)[:, None]).T[t])
        rows.append(row[k])
        columns.append(bids[o])
        values.append(-most_kw[i, t][k])
        count += len(i)
    cells = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(cells, shape=(count, program.width))


def owners_payments(v: Variables, day: DayProblem) -> cp.Expression:
    """Σ agreed · sold − w Σ σ · sold, in $."""
    return sum(cp.sum(cp.multiply(_usd_per_kwh(day, product) * STEP_H, kw)) for product, kw in enumerate(v.sold))


def formulate(day: DayProblem, *, binary: bool, beside: Beside | None = None) -> Formulation:
    """The day's problem with z ∈ {0, 1} (``binary``) or 0 ≤ z ≤ 1; bounds of z and q are parameters."""
    fleet, hours = day.fleet, len(day.market_price)
    commitment = [day.by_prosumer_and_hour(product, day.committed_kw) for product in range(len(PRODUCTS))]
    is_product = [day.covers.T * (day.product == product)[None, :] for product in range(len(PRODUCTS))]  # (T, O)
    rest = beside or Beside(np.zeros(hours), np.zeros(hours), np.zeros((len(CAISO.reserves), hours)))
    v, parameters = declare(day, commitment, binary=binary)

    dynamics, balances = stored_energy_balance(v, fleet), positions(v, is_product, rest)
    largest, least = eighty_percent_rule(v, day)
    revenue_usd = cp.sum(cp.multiply(day.price * day.hours * STEP_H, v.q))
    purchases_usd = cp.sum(cp.multiply((day.market_price + day.charging_adder) * STEP_H, v.buy))
    market_usd, tail = risk_adjusted(day, v.q, v.buy, revenue_usd - purchases_usd)
    constraints = [
        dynamics,
        *charge_and_discharge_limits(v, parameters),
        *inverter_and_export_limits(v, fleet),
        solar_surplus(v, fleet),
        energy_commitments(v, commitment),
        daily_cycles(v, fleet),
        *reserve_backing(v, fleet, day.call_hours),
        *balances.values(),
        *sell_or_buy(v, day, commitment, is_product[ENERGY], rest),
        largest,
        least,
        *decision_bounds(v, parameters),
        *tail,
    ]
    formulation = Formulation(
        problem=cp.Problem(cp.Maximize(market_usd - owners_payments(v, day)), constraints),
        variables=v,
        parameters=parameters,
        dynamics=dynamics,
        largest=largest,
        least=least,
        balances=balances,
        tail=tail,
    )
    formulation.set_directions(fleet.max_charge_kw, fleet.max_discharge_kw)
    return formulation


def _usd_per_kwh(day: DayProblem, product: int) -> Array:
    """Agreed price less the worth of satisfaction (N, T), $ per kW and hour."""
    return day.by_prosumer_and_hour(product, (day.call_price - day.satisfaction_worth) / 1000.0)


def risk_adjusted(
    day: DayProblem, q: cp.Variable, buy: cp.Variable, expected_usd: cp.Expression
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """What the market pays, (1 − λ) · expected + λ · CVaR, and the constraints that define the CVaR.

    maximise    (1 − λ) · expected + λ · (η − Σ_w P_w ξ_w / tail)
    subject to  ξ_w ≥ η − (Σ_o worth_wo h_o q_o − Σ_t (market_wt + adder) buy_t),   ξ ≥ 0

    Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2 (2000). ``q`` (O,) and ``buy``
    (T,) in MW; at the optimum η is the value at risk. Without scenarios or aversion it is what is expected, as it is.
    """
    scenarios = day.scenarios
    if scenarios is None or scenarios.aversion == 0.0:
        return expected_usd, []
    value_at_risk = cp.Variable()
    below = cp.Variable(len(scenarios.probability), nonneg=True)
    outcome_usd = (scenarios.worth * day.hours) @ q - (scenarios.market_price + day.charging_adder) @ buy
    cvar_usd = value_at_risk - scenarios.probability @ below / scenarios.tail_fraction
    adjusted_usd = (1.0 - scenarios.aversion) * expected_usd + scenarios.aversion * cvar_usd
    return adjusted_usd, [below >= value_at_risk - outcome_usd]
