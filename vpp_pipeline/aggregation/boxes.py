"""What each owner can lend to a storage resource: a baseline that it keeps, and a box of freedom around it.

    baseline    b_t = cheapest charging that the owner needs anyway,  v_t = own sun that is sold,  e_t = stored energy
                (an owner who can never discharge also charges where it is paid to)
    charge      pc_t    = ηc (Pc_t − b_t)
    discharge   pd_t    = min(Pd_t, X_t − v_t)/ηd, and 0 where b_t > 0
    below       below_t = e_t − floor_t,   above_t = cap_t − e_t,   first = E_0 − min(E_0, floor_1)
    last        last    = e_T − target,    cycles = cycle limit · capacity

All of a box is on the stored side (kWh into and out of the store, kWh around the baseline), so owners with unlike
efficiencies add up. A path c, q, S of stored energy around the baseline with 0 ≤ c ≤ pc, 0 ≤ q ≤ pd,
−below ≤ S ≤ above, S_T ≥ −last and Σ q ≤ cycles keeps every limit of the owner (docs/method.md has the proof), and a
share w of a path that lies in another box keeps it wherever w times that box lies in this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.fleet.arrays import TOLERANCE_KWH, Fleet

NOTHING_KWH = 1e-9


@dataclass(frozen=True)
class Baseline:
    """What N owners do whatever the market awards: powers (N, T) in kW, stored energy (N, T) in kWh, end of hour."""

    grid_charge_kw: Array
    solar_charge_kw: Array
    solar_sold_kw: Array
    stored_kwh: Array

    @property
    def charge_kw(self) -> Array:
        """All charging (N, T)."""
        return self.grid_charge_kw + self.solar_charge_kw


def baseline_of(fleet: Fleet, energy_price: Array, sun_floor: Array, charging_adder: float = 0.0) -> Baseline:
    """The charging that each owner needs, in the cheapest hours at ``energy_price`` (T,), and the sun that it sells;
    whoever can never discharge has no other use of its room, and also charges where it is paid to.

    Charging costs ``charging_adder`` more than the price, $/MWh. Sun is sold where the price reaches ``sun_floor``
    (N, T), its owner's floor; infinite where there is no deal. Raises SolveError where an owner's own limits cannot be
    kept.
    """
    needed_kw = cheapest_charging(fleet, energy_price)
    charge_kw = needed_kw + paid_charging(fleet, needed_kw, energy_price + charging_adder)
    stored_kwh = _stored_kwh(fleet, charge_kw)
    solar_charge_kw = np.minimum(needed_kw, fleet.surplus_kw)
    spare_kw = np.minimum(fleet.surplus_kw - solar_charge_kw, fleet.export_room_kw)
    sold_kw = np.where(energy_price[None, :] >= sun_floor, np.maximum(spare_kw, 0.0), 0.0)
    return Baseline(charge_kw - solar_charge_kw, solar_charge_kw, sold_kw, stored_kwh)


def cheapest_charging(fleet: Fleet, energy_price: Array) -> Array:
    """Cheapest charging (N, T) in kW at ``energy_price`` (T,) that keeps every floor, driving included, and no more.

    Hour by hour, what a floor lacks is charged in the cheapest hours up to it that have power and room to spare. With
    floors alone (nested prefixes of the day) no other choice costs less, by exchange; among equal prices the earlier
    hour is taken. Raises SolveError where a floor is out of reach.
    """
    count, hours = fleet.max_charge_kw.shape
    low = fleet.min_stored_kwh.copy()
    low[:, -1] = np.maximum(low[:, -1], fleet.terminal_stored_kwh)
    charge_kw = np.zeros((count, hours))
    stored = fleet.initial_stored_kwh[:, None] - np.cumsum(fleet.drive_kwh, axis=1)
    wants = np.flatnonzero(fleet.has_store & (stored < low - NOTHING_KWH).any(axis=1))
    part, e, mine = fleet.part(wants), stored[wants], charge_kw[wants]
    efficiency, by_price = part.charge_efficiency, np.argsort(energy_price, kind="stable")
    for t in range(hours):
        lacks = low[wants, t] - e[:, t]
        if not (lacks > NOTHING_KWH).any():
            continue
        for h in by_price[by_price <= t]:
            room = (part.max_stored_kwh[:, h:] - e[:, h:]).min(axis=1)
            power = efficiency * (part.max_charge_kw[:, h] - mine[:, h])
            added = np.clip(np.minimum(np.minimum(lacks, power), room), 0.0, None)
            mine[:, h] += added / efficiency
            e[:, h:] += added[:, None]
            lacks = lacks - added
        if (lacks > TOLERANCE_KWH).any():
            who = part.prosumer_id[int(np.argmax(lacks))]
            raise SolveError(f"{who} cannot charge what its own limits ask for by hour {t + 1}")
    charge_kw[wants] = mine
    return charge_kw


def paid_charging(fleet: Fleet, needed_kw: Array, charge_price: Array) -> Array:
    """What owners charge (N, T) beyond ``needed_kw`` (N, T), in kW of the grid, who can never discharge: at a
    ``charge_price`` (T,) below zero all that they have power and room for, the lowest price first.
    """
    added_kw = np.zeros(needed_kw.shape)
    mine = np.flatnonzero(fleet.has_store & (fleet.max_discharge_kw <= 0.0).all(axis=1))
    part, left_kw = fleet.part(mine), (fleet.max_charge_kw - needed_kw)[mine]
    stored, efficiency = _stored_kwh(fleet, needed_kw)[mine], part.charge_efficiency
    for h in np.argsort(charge_price, kind="stable"):
        if charge_price[h] >= 0.0:
            break
        room = (part.max_stored_kwh[:, h:] - stored[:, h:]).min(axis=1)
        added = np.clip(np.minimum(efficiency * left_kw[:, h], room), 0.0, None)
        added_kw[mine, h] = added / efficiency
        stored[:, h:] += added[:, None]
    return added_kw


def _stored_kwh(fleet: Fleet, charge_kw: Array) -> Array:
    """Stored energy (N, T) at each hour's end."""
    into = fleet.charge_efficiency[:, None] * charge_kw
    return np.asarray(fleet.initial_stored_kwh[:, None] + np.cumsum(into - fleet.drive_kwh, axis=1))


@dataclass(frozen=True)
class Boxes:
    """N boxes over T hours as rows (N, 4 T + 3) of kWh: charge, discharge, below, above; then first, last, cycles."""

    rows: Array

    @property
    def hours(self) -> int:
        """T."""
        return int(self.rows.shape[1] - 3) // 4

    def _of(self, place: int) -> Array:
        return self.rows[:, place * self.hours : (place + 1) * self.hours]

    @property
    def charge(self) -> Array:
        """Most that goes into the store in an hour (N, T), kWh."""
        return self._of(0)

    @property
    def discharge(self) -> Array:
        """Most that goes out of it (N, T)."""
        return self._of(1)

    @property
    def below(self) -> Array:
        """How far stored energy may fall below the baseline (N, T)."""
        return self._of(2)

    @property
    def above(self) -> Array:
        """How far it may rise above (N, T)."""
        return self._of(3)

    @property
    def first(self) -> Array:
        """Energy above the floor at the day's start (N,), which backs reserve of the first hour."""
        return self.rows[:, -3]

    @property
    def last(self) -> Array:
        """How far below the baseline the day may end (N,)."""
        return self.rows[:, -2]

    @property
    def cycles(self) -> Array:
        """Most that goes out of the store in the day (N,)."""
        return self.rows[:, -1]


def boxes_of(fleet: Fleet, baseline: Baseline) -> Boxes:
    """What each owner has left around its ``baseline``.

    Where the baseline charges, nothing is discharged: a store that did both would net them, save the double loss, and
    end above its path. Prosumers without a store have empty boxes.
    """
    into, out = fleet.charge_efficiency[:, None], fleet.discharge_efficiency[:, None]
    charges = baseline.charge_kw > 0.0
    room_kw = np.minimum(fleet.max_discharge_kw, fleet.export_room_kw - baseline.solar_sold_kw)
    start = fleet.initial_stored_kwh
    parts = (
        into * (fleet.max_charge_kw - baseline.charge_kw),
        np.where(charges, 0.0, room_kw / out),
        baseline.stored_kwh - fleet.min_stored_kwh,
        fleet.max_stored_kwh - baseline.stored_kwh,
        (start - np.minimum(start, fleet.min_stored_kwh[:, 0]))[:, None],
        (baseline.stored_kwh[:, -1] - fleet.terminal_stored_kwh)[:, None],
        (fleet.maximum_cycles_per_day * fleet.capacity_kwh)[:, None],
    )
    rows = np.maximum(np.concatenate(parts, axis=1), 0.0)
    return Boxes(np.where(fleet.has_store[:, None], rows, 0.0))


def weights_in(boxes: Boxes, shape: Array) -> Array:
    """How often ``shape`` (4 T + 3,) fits into each box (N,): the least ratio of entries; 0 for an empty shape."""
    asked = shape > NOTHING_KWH
    if not asked.any():
        return np.zeros(len(boxes.rows))
    return np.asarray((boxes.rows[:, asked] / shape[asked]).min(axis=1))


def binding_entry(boxes: Boxes, shape: Array) -> Indices:
    """The entry (N,) of ``shape`` that binds in :func:`weights_in`."""
    ratio = np.full(boxes.rows.shape, np.inf)
    asked: Flags = shape > NOTHING_KWH
    ratio[:, asked] = boxes.rows[:, asked] / shape[asked]
    return np.asarray(ratio.argmin(axis=1))


def spare_reserve(boxes: Boxes, weight: Array, shape: Array, call_hours: float) -> Array:
    """Reserve (N, T) that each box can hold beyond ``weight`` (N,) copies of ``shape``, kWh stored in an hour.

    Power and energy that no award of the copies can use, so both can be held at once: energy of other hours never
    enters, and boxes of unlike shape add up.
    """
    left = Boxes(np.maximum(boxes.rows - weight[:, None] * shape, 0.0))
    below_before = np.column_stack([left.first, left.below[:, :-1]])
    return np.asarray(np.minimum(left.discharge, np.minimum(left.below, below_before) / call_hours))
