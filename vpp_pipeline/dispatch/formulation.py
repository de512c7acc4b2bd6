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

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.scenarios import tilted_prices
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram

ENERGY, SPIN, NONSPIN = range(3)
STEP_H = 1.0


@dataclass(frozen=True)
class Formulation:
    """A CVXPY problem and the handles to set its bid decisions and to read its answer."""

    problem: cp.Problem
    z: cp.Variable
    q: cp.Variable
    buy: cp.Variable
    powers: dict[str, cp.Variable]
    stored: cp.Variable
    dynamics: cp.Constraint
    largest: cp.Constraint
    least: cp.Constraint
    balances: dict[str, cp.Constraint]
    tail: list[cp.Constraint]
    z_low: cp.Parameter
    z_high: cp.Parameter
    q_low: cp.Parameter
    q_high: cp.Parameter
    charge_limit: cp.Parameter
    discharge_limit: cp.Parameter

    def set_bids(self, low: Array, high: Array) -> None:
        """Bounds of z (O,)."""
        self.z_low.value, self.z_high.value = low, high

    def set_quantities(self, low: Array, high: Array) -> None:
        """Bounds of q (O,) in MW."""
        self.q_low.value, self.q_high.value = low, high

    def set_directions(self, charge_kw: Array, discharge_kw: Array) -> None:
        """Limits (N, T) of charging and of discharging, at most those of the envelope."""
        self.charge_limit.value, self.discharge_limit.value = charge_kw, discharge_kw

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
        """The answer as clean arrays: no negative powers from solver tolerance."""
        kw = {name: np.maximum(variable.value, 0.0) for name, variable in self.powers.items()}
        return DaySchedule(**kw, stored_kwh=np.asarray(self.stored.value[:, 1:]))


@dataclass(frozen=True)
class Beside:
    """What the rest of a fleet does by hour (T,), MW, where only a part of it is formulated."""

    sold: Array
    charged: Array
    spin: Array
    nonspin: Array


def formulate(day: DayProblem, *, binary: bool, beside: Beside | None = None) -> Formulation:
    """The day's problem with z ∈ {0, 1} (``binary``) or 0 ≤ z ≤ 1; bounds of z and q are parameters."""
    fleet, (n, t) = day.fleet, (len(day.fleet), len(day.market_price))
    count = len(day.opportunity_id)
    eta_c, eta_d = fleet.charge_efficiency[:, None], fleet.discharge_efficiency[:, None]
    commitment = [day.by_prosumer_and_hour(product, day.committed_kw) for product in range(3)]
    cost = [_usd_per_kwh(day, product) for product in range(3)]

    def power(most: Array) -> cp.Variable:
        return cp.Variable((n, t), bounds=[np.zeros((n, t)), np.maximum(most, 0.0)])

    grid_charge = power(fleet.max_charge_kw)
    solar_charge = power(np.minimum(fleet.max_charge_kw, fleet.surplus_kw))
    discharge = power(np.minimum(fleet.max_discharge_kw, commitment[ENERGY]))
    solar_sold = power(np.minimum(fleet.surplus_kw, commitment[ENERGY]))
    spin = power(np.minimum(fleet.max_discharge_kw, commitment[SPIN]))
    nonspin = power(np.minimum(fleet.max_discharge_kw, commitment[NONSPIN]))
    initial = fleet.initial_stored_kwh[:, None]
    floor = np.column_stack([initial, fleet.min_stored_kwh])
    floor[:, -1] = np.maximum(floor[:, -1], fleet.terminal_stored_kwh)
    stored = cp.Variable((n, t + 1), bounds=[floor, np.column_stack([initial, fleet.max_stored_kwh])])

    exported = discharge + solar_sold
    reserve = spin + nonspin
    z = cp.Variable(count, boolean=True) if binary else cp.Variable(count)
    q = cp.Variable(count, nonneg=True)
    buy = cp.Variable(t, nonneg=True)
    z_low, z_high = cp.Parameter(count), cp.Parameter(count)
    q_low, q_high = cp.Parameter(count), cp.Parameter(count)
    is_product = [day.covers.T * (day.product == product)[None, :] for product in range(3)]  # (T, O)
    rest = beside or Beside(*np.zeros((4, t)))
    most_sold_mw = np.minimum(commitment[ENERGY], fleet.export_room_kw).sum(axis=0) / 1000.0 + rest.sold
    most_bought_mw = fleet.max_charge_kw.sum(axis=0) / 1000.0 + rest.charged
    reserve_floor = np.column_stack(
        [np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0]), fleet.min_stored_kwh]
    )

    charge_limit, discharge_limit = cp.Parameter((n, t)), cp.Parameter((n, t))
    dynamics = stored[:, 1:] == (
        stored[:, :-1]
        + cp.multiply(eta_c * STEP_H, grid_charge + solar_charge)
        - cp.multiply(STEP_H / eta_d, discharge)
        - fleet.drive_kwh
    )
    largest, least = q <= cp.multiply(day.required_mw, z), q >= cp.multiply(day.minimum_mw, z)
    within_limits = [
        dynamics,
        grid_charge + solar_charge <= charge_limit,
        discharge <= discharge_limit,
        discharge + reserve <= fleet.max_discharge_kw,
        exported + reserve <= fleet.export_room_kw,
        solar_charge + solar_sold <= fleet.surplus_kw,
        exported <= commitment[ENERGY],
        cp.sum(cp.multiply(STEP_H / eta_d, discharge), axis=1) <= fleet.maximum_cycles_per_day * fleet.capacity_kwh,
        cp.multiply(day.call_hours / eta_d, reserve) <= stored[:, 1:] - reserve_floor[:, 1:],
        cp.multiply(day.call_hours / eta_d, reserve) <= stored[:, :-1] - reserve_floor[:, :-1],
    ]
    balances = {
        "energy": cp.sum(exported - grid_charge, axis=0) / 1000.0 + (rest.sold - rest.charged)
        == is_product[ENERGY] @ q - buy,
        "spin": cp.sum(spin, axis=0) / 1000.0 + rest.spin == is_product[SPIN] @ q,
        "nonspin": cp.sum(nonspin, axis=0) / 1000.0 + rest.nonspin == is_product[NONSPIN] @ q,
    }
    coupling = [
        *balances.values(),
        cp.sum(exported, axis=0) / 1000.0 + rest.sold <= cp.multiply(most_sold_mw, is_product[ENERGY] @ z),
        buy <= cp.multiply(most_bought_mw, 1.0 - is_product[ENERGY] @ z),
        largest,
        least,
        z >= z_low,
        z <= z_high,
        q >= q_low,
        q <= q_high,
    ]
    revenue_usd = cp.sum(cp.multiply(day.price * day.hours * STEP_H, q))
    purchases_usd = cp.sum(cp.multiply((day.market_price + day.charging_adder) * STEP_H, buy))
    owners_usd = sum(
        cp.sum(cp.multiply(cost[product] * STEP_H, sold)) for product, sold in enumerate((exported, spin, nonspin))
    )
    market_usd, tail = risk_adjusted(day, q, buy, revenue_usd - purchases_usd)
    formulation = Formulation(
        problem=cp.Problem(cp.Maximize(market_usd - owners_usd), within_limits + coupling + tail),
        z=z,
        q=q,
        buy=buy,
        powers={
            "grid_charge_kw": grid_charge,
            "solar_charge_kw": solar_charge,
            "discharge_kw": discharge,
            "solar_sold_kw": solar_sold,
            "spin_kw": spin,
            "nonspin_kw": nonspin,
        },
        stored=stored,
        dynamics=dynamics,
        largest=largest,
        least=least,
        balances=balances,
        tail=tail,
        z_low=z_low,
        z_high=z_high,
        q_low=q_low,
        q_high=q_high,
        charge_limit=charge_limit,
        discharge_limit=discharge_limit,
    )
    formulation.set_directions(fleet.max_charge_kw, fleet.max_discharge_kw)
    return formulation


def _usd_per_kwh(day: DayProblem, product: int) -> Array:
    """Agreed price less the worth of satisfaction (N, T), $ per kW and hour."""
    return day.by_prosumer_and_hour(product, (day.agreed_price - day.satisfaction_worth) / 1000.0)


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
