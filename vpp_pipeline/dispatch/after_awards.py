"""Dispatch after awards: the day planned again once awards, clearing prices, and the available prosumers are known.

    maximize    Σ_t price_t (up_t − down_t) − (factor − 1) |price_t| (up_t + down_t)
                −  Σ_t factor · reserve price_t · short_t  −  Σ_t penalty · late_t
                −  Σ deal · sold  +  leftover Σ_i (E_T − target) / ηc
    position    Σ_i (d + v − cg)/1000 = position_t + up_t − down_t
    reserve     Σ_i s/1000 = award_t − short_t, and the same of n
    requests    Σ_i (d + v − cg)/1000 ≥ owed_t − late_t
    and every limit of `formulation.py` on a prosumer itself.

Awards and position are facts of the day-ahead market. What differs from the position is settled at the imbalance
price, which is never better than the market's; missing reserve is not paid, and counts as so much worse here. (Held
at any price of energy it cost a hundredth of the day's value: ADR 0057.) Awarded requests are obligations: they are
delivered wherever they can be, whatever energy would earn. Anyone with a deal may be called, whether the plan had
called it or not. Energy that stays in a store beyond what its owner is owed is worth LEFTOVER_FRACTION of what it is
settled at, so that nothing is charged to be credited for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.exact import exact_energy
from vpp_pipeline.dispatch.formulation import (
    FleetVariables,
    daily_cycles,
    declare_fleet,
    energy_commitments,
    inverter_and_export_limits,
    reserve_backing,
    solar_surplus,
    stored_energy_balance,
)
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet

LEFTOVER_FRACTION = 0.9
LATE_USD_PER_MW = 10_000.0  # of a request: more than any price of energy
BOTH_WAYS_KW = 1e-6
MOST_PASSES = 20
MOST_AT_ONCE = 500  # prosumers in one linear program


@dataclass(frozen=True)
class Deals:
    """What may be called and for what, by product, prosumer, and hour (products, N, T); no power without a deal."""

    most_kw: Array
    price: Array  # $/MWh, for reserves $ per MW held for one hour

    def of(self, chosen: Indices) -> Deals:
        """Those of ``chosen`` prosumers (n,)."""
        return Deals(self.most_kw[:, chosen], self.price[:, chosen])


@dataclass(frozen=True)
class Cleared:
    """What the day-ahead market left: MW and prices by hour."""

    position_mw: Array  # (T,) net export sold; negative: bought
    reserve_mw: Array  # (reserves, T) awarded
    owed_mw: Array  # (T,) energy awarded to requests, part of the position, that may not be bought back
    price: Array  # (products, T)
    imbalance_factor: float  # at least 1
    leftover_usd_per_mwh: float  # what a MWh left in a store is settled at, before it was charged


def dispatch_after_awards(fleet: Fleet, deals: Deals, cleared: Cleared, call_hours: float) -> DaySchedule:
    """The dispatch (N, T) of ``fleet``, all of which is there, that earns most of what is cleared.

    Raises SolveError where HiGHS has no answer. No store charges and discharges at once: where the linear program does
    so with energy of the grid (a lost MWh earns at a price below zero), the smaller of the two is ruled out and the day
    solved again.
    """
    charge_kw, discharge_kw = fleet.max_charge_kw.copy(), fleet.max_discharge_kw.copy()
    for _ in range(MOST_PASSES):
        one_way = replace(fleet, max_charge_kw=charge_kw)
        schedule = exact_energy(fleet, _sun_first(fleet, _solve(one_way, discharge_kw, deals, cleared, call_hours)))
        both = np.minimum(schedule.charge_kw, schedule.discharge_kw) > BOTH_WAYS_KW
        if not both.any():
            return schedule
        charges_less = schedule.charge_kw < schedule.discharge_kw
        charge_kw[both & charges_less] = 0.0
        discharge_kw[both & ~charges_less] = 0.0
    raise SolveError(f"stores still charge and discharge at once after {MOST_PASSES} passes")


def best_dispatch(
    fleet: Fleet, deals: Deals, price: Array, leftover_usd_per_mwh: float, call_hours: float
) -> DaySchedule:
    """The dispatch (N, T) that earns most where all is known and any quantity is bought at ``price`` (products, T).

    No position, no bid, and no limit but those of prosumers: what no dispatch of the same day can exceed. What stays in
    a store is worth all that it is settled at. Raises SolveError.
    """
    v = declare_fleet(fleet, list(deals.most_kw))
    net_mw = cp.sum(v.exported - v.grid_charge, axis=0) / 1000.0
    held_usd = (usd @ (cp.sum(kw, axis=0) / 1000.0) for usd, kw in zip(price[1:], v.held, strict=True))
    earned_usd = sum(held_usd, price[0] @ net_mw)
    left_usd = _leftover_usd(v, fleet, leftover_usd_per_mwh)
    problem = cp.Problem(
        cp.Maximize(earned_usd - _paid_usd(v, deals) + left_usd),
        [v.discharge <= fleet.max_discharge_kw, *_limits(v, fleet, deals, call_hours)],
    )
    return exact_energy(fleet, _answer(problem, v))


def _sun_first(fleet: Fleet, schedule: DaySchedule) -> DaySchedule:
    """The same exports and stored energy, but sun that a store takes while it discharges is sold beside it instead.

    Where sun is to spare the linear program is indifferent. Selling d directly saves d/(ηc ηd) ≥ d of the sun's way
    through the store, so every limit that held still holds.
    """
    kept = (fleet.charge_efficiency * fleet.discharge_efficiency)[:, None] * np.ones_like(schedule.discharge_kw)
    direct_kw = np.minimum(schedule.discharge_kw, schedule.solar_charge_kw * kept)
    spared_kw = np.divide(direct_kw, kept, out=np.zeros_like(kept), where=direct_kw > 0.0)
    return replace(
        schedule,
        solar_charge_kw=np.maximum(schedule.solar_charge_kw - spared_kw, 0.0),
        discharge_kw=schedule.discharge_kw - direct_kw,
        solar_sold_kw=schedule.solar_sold_kw + direct_kw,
    )


def _solve(fleet: Fleet, discharge_kw: Array, deals: Deals, cleared: Cleared, call_hours: float) -> DaySchedule:
    v = declare_fleet(fleet, list(deals.most_kw))
    most_bought_mw = fleet.max_charge_kw.sum(axis=0) / 1000.0
    hours = len(cleared.position_mw)
    up, down = cp.Variable(hours, nonneg=True), cp.Variable(hours, nonneg=True)
    price, factor = cleared.price[0], cleared.imbalance_factor
    worse, unpaid = (factor - 1.0) * np.abs(price), factor * np.maximum(cleared.price[1:], 0.0)
    held_mw = [cp.sum(kw, axis=0) / 1000.0 for kw in v.held]
    short_mw, late_mw = cp.Variable((len(held_mw), hours), nonneg=True), cp.Variable(hours, nonneg=True)
    net_mw = cp.sum(v.exported - v.grid_charge, axis=0) / 1000.0
    earned_usd = (price - worse) @ up - (price + worse) @ down - cp.sum(cp.multiply(unpaid, short_mw))
    left_usd = _leftover_usd(v, fleet, LEFTOVER_FRACTION * cleared.leftover_usd_per_mwh)
    problem = cp.Problem(
        cp.Maximize(earned_usd - LATE_USD_PER_MW * cp.sum(late_mw) - _paid_usd(v, deals) + left_usd),
        [
            v.discharge <= discharge_kw,
            *_limits(v, fleet, deals, call_hours),
            net_mw == cleared.position_mw + up - down,
            net_mw >= np.where(cleared.owed_mw > 0.0, cleared.owed_mw, -most_bought_mw) - late_mw,
            *(held_mw[r] == cleared.reserve_mw[r] - short_mw[r] for r in range(len(held_mw))),
        ],
    )
    return _answer(problem, v)


def _limits(v: FleetVariables, fleet: Fleet, deals: Deals, call_hours: float) -> list[cp.Constraint]:
    """Every limit on a prosumer itself, but for its power of discharge."""
    return [
        stored_energy_balance(v, fleet),
        v.charge <= fleet.max_charge_kw,
        *inverter_and_export_limits(v, fleet),
        solar_surplus(v, fleet),
        energy_commitments(v, list(deals.most_kw)),
        daily_cycles(v, fleet),
        *reserve_backing(v, fleet, call_hours),
    ]


def _answer(problem: cp.Problem, v: FleetVariables) -> DaySchedule:
    try:
        problem.solve(solver="HIGHS")
    except cp.SolverError as error:
        raise SolveError(f"HIGHS: {error}") from error
    if v.stored.value is None:
        raise SolveError(f"HIGHS says {problem.status} of the dispatch after awards")
    return v.schedule()


def _paid_usd(v: FleetVariables, deals: Deals) -> cp.Expression:
    """What owners are paid, $."""
    return sum(cp.sum(cp.multiply(price / 1000.0, kw)) for price, kw in zip(deals.price, v.sold, strict=True))


def _leftover_usd(v: FleetVariables, fleet: Fleet, usd_per_mwh: float) -> cp.Expression:
    """Worth of the stored energy beyond what owners are owed, $, but for a constant."""
    per_kwh = np.where(fleet.has_store, usd_per_mwh / fleet.charge_efficiency, 0.0) / 1000.0
    return per_kwh @ v.stored[:, -1]


def in_parts(count: int) -> Iterator[Indices]:
    """Places of ``count`` prosumers, dealt out to parts of at most MOST_AT_ONCE that are alike."""
    parts = max(1, -(-count // MOST_AT_ONCE))
    for first in range(parts):
        yield np.arange(first, count, parts)
