"""What a plan comes to on the day: awards, who is there, what each store can still do, and the money of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpp_pipeline.backtest.plan import ENERGY, Plan
from vpp_pipeline.domain.arrays import Array, Flags
from vpp_pipeline.domain.settlement import imbalance_usd
from vpp_pipeline.optimisation.problem import DaySchedule

CHEAPEST_HOURS = 4  # stored energy is worth what it costs to buy in so many hours, as the negotiation takes it


@dataclass(frozen=True)
class Money:
    """A day's money of the aggregator, $; costs are positive and subtracted."""

    energy_usd: float  # awarded energy at the clearing price
    reserve_usd: float  # reserve held, at the clearing price; what is not held is not paid
    charging_usd: float  # charging scheduled in hours without an award
    imbalance_usd: float  # what the difference to the position costs; negative where a surplus earned
    leftover_usd: float  # worth of stored energy beyond what owners are owed at the day's end
    payments_usd: float

    @property
    def market_usd(self) -> float:
        """What market and stores bring before owners are paid."""
        return self.energy_usd + self.reserve_usd - self.charging_usd - self.imbalance_usd + self.leftover_usd


def realise(plan: Plan, share: Array, is_there: Flags, call_hours: float) -> DaySchedule:
    """The day as it goes, with ``share`` (O,) of each bid awarded and ``is_there`` (N,).

    Sales shrink to the award; who is away sells nothing. A store charges as planned, but not what it no longer needs
    for its later sales, its backing of reserve and the stored energy with which the plan ends. Where a plan orders more
    than a store holds, it runs empty and the rest is missing: physics, not the owner's limits, has the last word.
    """
    fleet, planned = plan.fleet, plan.schedule
    sells = plan.by_product_and_hour(share)[:, None, :] * is_there[None, :, None]  # (3, N, T)
    discharge, solar_sold = planned.discharge_kw * sells[0], planned.solar_sold_kw * sells[0]
    spin, nonspin = planned.spin_kw * sells[1], planned.nonspin_kw * sells[2]
    need = _needed_kwh(plan, discharge, spin + nonspin, call_hours)
    eta_c, eta_d = fleet.charge_efficiency, fleet.discharge_efficiency
    stored, charged = np.empty_like(discharge), np.empty_like(discharge)
    before = fleet.initial_stored_kwh
    for t in range(discharge.shape[1]):
        gone = discharge[:, t] / eta_d + fleet.drive_kwh[:, t]
        missing = np.maximum(need[:, t] - before + gone, 0.0) / eta_c
        charged[:, t] = np.minimum(planned.charge_kw[:, t], missing)
        holds = np.maximum(before + eta_c * charged[:, t] - fleet.drive_kwh[:, t], 0.0)
        discharge[:, t] = np.minimum(discharge[:, t], holds * eta_d)
        stored[:, t] = holds - discharge[:, t] / eta_d
        backed = np.minimum(before, stored[:, t]) * eta_d / call_hours
        spin[:, t] = np.minimum(spin[:, t], backed)
        nonspin[:, t] = np.minimum(nonspin[:, t], backed - spin[:, t])
        before = stored[:, t]
    grid = np.maximum(charged - planned.solar_charge_kw, 0.0)
    return DaySchedule(grid, charged - grid, discharge, solar_sold, spin, nonspin, stored)


def _needed_kwh(plan: Plan, discharge_kw: Array, reserve_kw: Array, call_hours: float) -> Array:
    """Least stored energy (N, T) at each hour's end from which the rest of the day can go as it should."""
    fleet, planned = plan.fleet, plan.schedule
    held = np.column_stack([reserve_kw, np.zeros(len(fleet))])
    backing = np.maximum(held[:, :-1], held[:, 1:]) * call_hours / fleet.discharge_efficiency[:, None]
    need = fleet.min_stored_kwh + backing
    need[:, -1] = np.maximum(need[:, -1], planned.stored_kwh[:, -1])
    for t in range(need.shape[1] - 1, 0, -1):
        gone = discharge_kw[:, t] / fleet.discharge_efficiency + fleet.drive_kwh[:, t]
        need[:, t - 1] = np.maximum(
            need[:, t - 1], need[:, t] + gone - fleet.charge_efficiency * planned.charge_kw[:, t]
        )
    return need


def money_of(
    plan: Plan, done: DaySchedule, awarded_mw: Array, price: Array, owed_kwh: Array, imbalance_factor: float
) -> Money:
    """Two settlements at ``price`` (3, T): the position that the awards leave, and the difference to what was done.

    The position of an hour is the plan's net export less the energy that was bid and not awarded. ``owed_kwh`` (N,):
    stored energy that owners are to find at the day's end.
    """
    planned = plan.schedule
    bid, won = (plan.by_product_and_hour(mw)[ENERGY] for mw in (plan.quantity_mw, awarded_mw))
    position = (planned.exported_kw - planned.grid_charge_kw).sum(axis=0) / 1000.0 - (bid - won)
    net = (done.exported_kw - done.grid_charge_kw).sum(axis=0) / 1000.0
    held = np.stack([done.spin_kw.sum(axis=0), done.nonspin_kw.sum(axis=0)]) / 1000.0
    sold, paid = plan.sold_kw(done), np.nan_to_num(plan.agreed_price)
    return Money(
        energy_usd=float(price[ENERGY] @ won),
        reserve_usd=float((price[1:] * held).sum()),
        charging_usd=float(price[ENERGY] @ (won - position)),
        imbalance_usd=-float(imbalance_usd(price[ENERGY], net - position, imbalance_factor).sum()),
        leftover_usd=leftover_usd(plan, done, price[ENERGY], owed_kwh),
        payments_usd=float((paid * sold).sum()) / 1000.0,
    )


def leftover_usd(plan: Plan, done: DaySchedule, energy_price: Array, owed_kwh: Array) -> float:
    """What the stored energy beyond ``owed_kwh`` (N,) would cost to buy in the cheapest hours; negative if it lacks."""
    cheapest = max(0.0, float(np.sort(energy_price)[:CHEAPEST_HOURS].mean()))
    beyond = (done.stored_kwh[:, -1] - owed_kwh) / plan.fleet.charge_efficiency
    return cheapest * float(np.where(plan.fleet.has_store, beyond, 0.0).sum()) / 1000.0
