"""How a day goes once awards and those who are there are known: what each store still does, within its limits."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet

TOLERANCE = 1e-3  # kW, kWh: a watt


def redispatch(fleet: Fleet, planned: DaySchedule, sells: Array, call_hours: float) -> DaySchedule:
    """The ``planned`` day as it goes, where ``sells`` (3, N, T) is the share of each sale that takes place.

    A store charges as planned, but not what it no longer needs for its later sales, its backing of reserve
    (``call_hours`` of it) and the stored energy with which the plan ends. Where a plan orders more than a store holds,
    it runs empty and the rest is missing: physics, not the owner's limits, has the last word.
    """
    discharge, solar_sold = planned.discharge_kw * sells[0], planned.solar_sold_kw * sells[0]
    spin, nonspin = planned.spin_kw * sells[1], planned.nonspin_kw * sells[2]
    need = _needed_kwh(fleet, planned, discharge, spin + nonspin, call_hours)
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


def _needed_kwh(fleet: Fleet, planned: DaySchedule, discharge_kw: Array, reserve_kw: Array, call_hours: float) -> Array:
    """Least stored energy (N, T) at each hour's end from which the rest of the day can go as it should."""
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


def limits_broken(own: Fleet, done: DaySchedule) -> dict[str, Flags]:
    """Where ``done`` is past what owners (``own``) allow, by kind: (N, T), or (N,) for what holds of a whole day."""
    cycled = (done.discharge_kw / own.discharge_efficiency[:, None]).sum(axis=1)
    return {
        "discharge": past(done.discharge_kw, own.max_discharge_kw),
        "export": past(done.exported_kw, own.export_room_kw),
        "charge": past(done.charge_kw, own.max_charge_kw),
        "stored": past(own.min_stored_kwh, done.stored_kwh),
        "owed": past(own.terminal_stored_kwh, done.stored_kwh[:, -1]),
        "cycles": past(cycled, own.maximum_cycles_per_day * own.capacity_kwh),
    }


def past(value: Array, limit: Array) -> Flags:
    """Whether ``value`` is more than ``limit`` by more than a watt."""
    return np.asarray(value > limit + TOLERANCE)
