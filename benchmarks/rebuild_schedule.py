"""A schedule judged from its powers alone, by numpy that shares nothing with the optimiser: limits and money."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.schedule import DaySchedule

SLICE = 50_000
POWERS = ("grid_charge_kw", "solar_charge_kw", "discharge_kw", "solar_sold_kw", "spin_kw", "nonspin_kw")


@dataclass(frozen=True)
class Rebuilt:
    """What a schedule breaks at most (kW or kWh, by name of the limit) and what it earns."""

    excess: dict[str, float]
    over_required_mw: float  # by how much the fleet delivers more than R, at most
    objective_usd: float

    @property
    def worst(self) -> float:
        return max(self.excess.values())


def rebuild(day: DayProblem, schedule: DaySchedule) -> Rebuilt:
    """Every limit of every prosumer and hour, and the objective with bids of any size up to R.

    Opportunities must be of one hour each and at the market's price, as the policy's are: what is sold on balance in an
    hour is bid, up to R and no more is paid, what is bought on balance is bought at that price.
    """
    excess: dict[str, float] = {}
    sold_mw, owners_usd = np.zeros((3, len(day.market_price))), 0.0
    for first in range(0, len(day.fleet), SLICE):
        found, sold_kw, paid_usd = _judge(day, schedule, first, min(first + SLICE, len(day.fleet)))
        excess = {name: max(excess.get(name, 0.0), value) for name, value in found.items()}
        sold_mw += sold_kw / 1000.0
        owners_usd += paid_usd
    hour = day.covers.argmax(axis=1)
    position_mw = sold_mw[day.product, hour]
    paid_mw = np.minimum(position_mw, day.required_mw)
    is_energy = day.product == 0
    market_usd = (day.price * np.where(is_energy, paid_mw, np.maximum(paid_mw, 0.0))).sum()
    without_bid = ~day.covers[is_energy].any(axis=0)
    market_usd += ((day.market_price + day.charging_adder) * np.minimum(sold_mw[0], 0.0))[without_bid].sum()
    over_mw = np.maximum(position_mw - day.required_mw, 0.0).max()
    return Rebuilt(excess, float(over_mw), float(market_usd - owners_usd))


def _judge(day: DayProblem, schedule: DaySchedule, first: int, last: int) -> tuple[dict[str, float], Array, float]:
    fleet, part = day.fleet, slice(first, last)

    def of(values: Array) -> Array:
        return np.asarray(values[part], dtype=np.float64)

    grid, solar, discharge, sun_sold, spin, nonspin = (of(getattr(schedule, name)) for name in POWERS)
    eta_c, eta_d = of(fleet.charge_efficiency)[:, None], of(fleet.discharge_efficiency)[:, None]
    sun, load, initial = of(fleet.solar_kw), of(fleet.load_kw), of(fleet.initial_stored_kwh)[:, None]
    stored = initial + np.cumsum(eta_c * (grid + solar) - discharge / eta_d - of(fleet.drive_kwh), axis=1)
    before = np.column_stack([initial, stored[:, :-1]])
    floor = of(fleet.min_stored_kwh)
    floor_before = np.column_stack([np.minimum(initial, floor[:, :1]), floor[:, :-1]])
    held, exported = spin + nonspin, discharge + sun_sold
    backing = held * day.call_hours / eta_d
    drawn = (discharge / eta_d).sum(axis=1)
    committed, paid = _deals(day, first, last)
    sold = np.stack([exported, spin, nonspin])
    excess = {
        "below zero": -min(power.min() for power in (grid, solar, discharge, sun_sold, spin, nonspin)),
        "charging": (grid + solar - of(fleet.max_charge_kw)).max(),
        "discharging": (discharge + held - of(fleet.max_discharge_kw)).max(),
        "both at once": np.minimum(grid + solar, discharge).max(),
        "export": (exported + held - of(fleet.export_limit_kw) - np.maximum(load - sun, 0.0)).max(),
        "sun": (solar + sun_sold - np.maximum(sun - load, 0.0)).max(),
        "floor": (floor - stored).max(),
        "ceiling": (stored - of(fleet.max_stored_kwh)).max(),
        "day's end": (of(fleet.terminal_stored_kwh) - stored[:, -1]).max(),
        "backing after": (backing - np.where(held > 1e-6, stored - floor, np.inf)).max(),
        "backing before": (backing - np.where(held > 1e-6, before - floor_before, np.inf)).max(),
        "cycles": (drawn - of(fleet.maximum_cycles_per_day) * of(fleet.capacity_kwh)).max(),
        "commitments": (sold - committed).max(),
        "energy as stated": np.abs(stored - of(schedule.stored_kwh)).max(),
    }
    position = np.stack([(exported - grid).sum(axis=0), spin.sum(axis=0), nonspin.sum(axis=0)])
    return {name: max(float(value), 0.0) for name, value in excess.items()}, position, float((sold * paid).sum())


def _deals(day: DayProblem, first: int, last: int) -> tuple[Array, Array]:
    """Commitments in kW and what is paid for them in $ per kW (3, n, T)."""
    mine = np.flatnonzero((day.agreement_prosumer >= first) & (day.agreement_prosumer < last))
    place, hour = day.agreement_prosumer[mine] - first, day.agreement_opportunity[mine]
    committed = np.zeros((3, last - first, len(day.market_price)))
    paid = np.zeros_like(committed)
    at = day.product[hour], place, day.covers.argmax(axis=1)[hour]
    committed[at] = day.committed_kw[mine]
    paid[at] = (day.call_price[mine] - day.satisfaction_worth[mine]) / 1000.0
    return committed, paid
