"""One prosumer's best day as a linear programme, and its limits written out: nothing shared with the kernels.

Powers in kW (grid charge, solar charge, discharge, solar sold, spin, nonspin) and stored energy in kWh, hour by hour.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.column_generation.best_response import Stores
from vpp_pipeline.dispatch.problem import Duals

POWERS = 6


def worth_per_kw(stores: Stores, i: int, duals: Duals) -> Array:
    """What a kW of each power earns in each hour (POWERS, T), $; minus infinity where nothing may be sold."""
    energy = duals.sell / 1000.0 - stores.energy_cost[i]
    return np.vstack(
        [
            -duals.buy / 1000.0,
            np.zeros(len(duals.buy)),
            energy,
            energy,
            duals.spin / 1000.0 - stores.spin_cost[i],
            duals.nonspin / 1000.0 - stores.nonspin_cost[i],
        ]
    )


def best_value(stores: Stores, i: int, duals: Duals, call_hours: float, *, one_way: bool = False) -> float:
    """The most prosumer ``i`` can earn, $, by HiGHS; ``one_way``: never charging and discharging in the same hour."""
    hours = len(duals.buy)
    none, one = sp.csr_matrix((hours, hours)), sp.identity(hours, format="csr")
    before = sp.eye(hours, k=-1, format="csr")  # stored energy at the start of each hour, but for the first
    eta_c, eta_d = stores.charge_efficiency[i], stores.discharge_efficiency[i]
    held = call_hours / eta_d * one
    start = np.zeros(hours)
    start[0] = stores.initial[i]
    floor_before = np.append(stores.floor_before[i], stores.floor[i, :-1])
    none_drawn = sp.csr_matrix((1, hours))

    #          grid charge    solar charge   discharge    solar sold  spin   nonspin  stored
    equal = [-eta_c * one, -eta_c * one, one / eta_d, none, none, none, one - before]
    most = [
        ([one, one, none, none, none, none, none], stores.max_charge[i]),
        ([none, none, one, none, one, one, none], stores.max_discharge[i]),
        ([none, none, one, one, one, one, none], stores.room[i]),
        ([none, one, none, one, none, none, none], stores.sun[i]),
        ([none, none, one, one, none, none, none], stores.energy_kw[i]),
        ([none, none, none, none, held, held, -one], -stores.floor[i]),
        ([none, none, none, none, held, held, -before], start - floor_before),
        (
            [none_drawn, none_drawn, np.full((1, hours), 1.0 / eta_d), *[none_drawn] * 4],
            np.array([stores.most_drawn_kwh[i]]),
        ),
    ]
    worth = worth_per_kw(stores, i, duals)
    closed = np.isneginf(worth)
    high = np.full((POWERS, hours), np.inf)
    high[4], high[5] = stores.spin_kw[i], stores.nonspin_kw[i]
    high[closed] = 0.0
    low, high = np.append(np.zeros(POWERS * hours), stores.lowest[i]), np.append(high, stores.highest[i])
    cost = np.append(-np.where(closed, 0.0, worth), np.zeros(hours))
    rows = [*(row for row, _ in most)]
    right = [limit for _, limit in most]
    if one_way:  # a last block of columns: 1 in the hours in which the store may charge, 0 where it may discharge
        equal = [*equal, none]
        rows = [[*row, none_drawn if row[0].shape[0] == 1 else none] for row in rows]
        charge, discharge = sp.diags(stores.max_charge[i]), sp.diags(stores.max_discharge[i])
        rows += [[one, one, *[none] * 5, -charge], [none, none, one, *[none] * 4, discharge]]
        right += [np.zeros(hours), stores.max_discharge[i]]
        low, high, cost = np.append(low, start * 0.0), np.append(high, np.ones(hours)), np.append(cost, np.zeros(hours))
    change = start - stores.drive[i]
    answer = milp(
        cost,
        integrality=np.append(np.zeros(7 * hours), np.ones(hours)) if one_way else None,
        bounds=Bounds(low, high),
        constraints=[
            LinearConstraint(sp.hstack(equal, format="csr"), change, change),
            LinearConstraint(sp.bmat(rows, format="csr"), -np.inf, np.concatenate(right)),
        ],
        options={"mip_rel_gap": 0.0},
    )
    assert answer.status == 0, answer.message
    return -float(answer.fun)


def earned(stores: Stores, i: int, duals: Duals, powers: Array) -> float:
    """What powers (POWERS, T) of prosumer ``i`` earn, $."""
    worth = worth_per_kw(stores, i, duals)
    return float(np.where(powers > 0.0, worth, 0.0).ravel() @ powers.ravel())


def excess(stores: Stores, i: int, powers: Array, call_hours: float) -> float:
    """By how much powers (POWERS, T) exceed the worst limit of prosumer ``i``, kW or kWh; hour by hour, in words."""
    grid, solar, discharge, sold, spin, nonspin = powers
    stored = stores.initial[i]
    over = [float(-powers.min())]
    for t in range(powers.shape[1]):
        begun = stored
        charged = grid[t] + solar[t]
        stored = (
            begun
            + stores.charge_efficiency[i] * charged
            - discharge[t] / stores.discharge_efficiency[i]
            - stores.drive[i, t]
        )
        reserve = spin[t] + nonspin[t]
        called = reserve * call_hours / stores.discharge_efficiency[i]
        over += [
            charged - stores.max_charge[i, t],
            discharge[t] + reserve - stores.max_discharge[i, t],
            discharge[t] + sold[t] + reserve - stores.room[i, t],
            solar[t] + sold[t] - stores.sun[i, t],
            discharge[t] + sold[t] - stores.energy_kw[i, t],
            spin[t] - stores.spin_kw[i, t],
            nonspin[t] - stores.nonspin_kw[i, t],
            stores.lowest[i, t] - stored,
            stored - stores.highest[i, t],
            called - (stored - stores.floor[i, t]),
            called - (begun - (stores.floor_before[i] if t == 0 else stores.floor[i, t - 1])),
            min(charged, discharge[t]),
        ]
    over.append(discharge.sum() / stores.discharge_efficiency[i] - stores.most_drawn_kwh[i])
    return float(max(over))
