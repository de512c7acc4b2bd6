"""Storage resources as the market sees them, and the owners behind every award.

A class of `classes.py` with total weight W = Σ w_i is one store: its box is W copies of the shape, its efficiencies are
means that keep the sums exact, η_c = W/Σ(w_i/ηc_i) and η_d = Σ(w_i ηd_i)/W. An award is shared by *stored* energy:
owner i takes w_i/W of what goes into and out of the store, so that unlike efficiencies cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vpp_pipeline.aggregation.boxes import Baseline, Boxes, spare_reserve
from vpp_pipeline.aggregation.classes import NO_CLASS, Classes
from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet

INSIDE = 1.0 - 1e-9  # of a weight: rounding never leads past a limit


@dataclass(frozen=True)
class StorageResources:
    """K resources over T hours and the shares of N owners in them."""

    member: Indices  # (N,) resource of each owner; NO_CLASS without one
    share: Array  # (N,) of its resource's stored energy; the shares of a resource add up to 1
    box: Boxes  # (K, 4 T + 3) on the stored side
    spare: Array  # (N, T) reserve beyond it that each owner backs by itself, kW at the meter
    charge_efficiency: Array  # (K,)
    discharge_efficiency: Array  # (K,)

    def __len__(self) -> int:
        return len(self.charge_efficiency)

    @cached_property
    def spare_kw(self) -> Array:
        """Reserve beyond the box (K, T), kW at the meter."""
        return self._summed(self.spare)

    @property
    def max_charge_kw(self) -> Array:
        """Most that each resource charges at the meter (K, T)."""
        return self.box.charge / self.charge_efficiency[:, None]

    @property
    def max_discharge_kw(self) -> Array:
        """Most that it discharges or holds as reserve at the meter (K, T), within the box."""
        return self.box.discharge * self.discharge_efficiency[:, None]

    @property
    def most_kw(self) -> Array:
        """The same with the reserve that its owners hold beyond the box, which may be all that it has."""
        return self.max_discharge_kw + self.spare_kw

    @cached_property
    def _reachable_kwh(self) -> Array:
        """Highest stored energy around the baseline (K, T + 1) from the day's start on."""
        reached = np.zeros((len(self), self.box.hours + 1))
        for t in range(self.box.hours):
            reached[:, t + 1] = np.minimum(reached[:, t] + self.box.charge[:, t], self.box.above[:, t])
        return reached

    @property
    def reachable_discharge_kw(self) -> Array:
        """Most that it can discharge (K, T) by then: within its power, and from what it can hold before."""
        held_kwh = np.maximum(self._reachable_kwh[:, :-1] + self.box.below, 0.0)
        return np.asarray(np.minimum(self.box.discharge, held_kwh) * self.discharge_efficiency[:, None])

    def backed_kw(self, call_hours: float) -> Array:
        """Most reserve within the box (K, T) that what it can hold backs for ``call_hours``, before and after."""
        before = np.column_stack([self.box.first, self._reachable_kwh[:, 1:-1] + self.box.below[:, :-1]])
        after = self._reachable_kwh[:, 1:] + self.box.below
        return np.asarray(np.maximum(np.minimum(before, after), 0.0) * self.discharge_efficiency[:, None] / call_hours)

    def mean_of(self, by_owner: Array, *, reserve: bool = False) -> Array:
        """Mean (K, T) of ``by_owner`` (N, T) over what each owner gives of a MWh discharged, or of ``reserve``.

        Owners who give nothing in an hour do not count; 0 where none gives anything.
        """
        given_kw = self.by_owner(self.max_discharge_kw) + (self.spare if reserve else 0.0)
        worth = np.multiply(given_kw, by_owner, out=np.zeros_like(given_kw), where=given_kw > 0.0)
        sums, of_all = self._summed(worth), self._summed(given_kw)
        return np.divide(sums, of_all, out=np.zeros_like(sums), where=of_all > 0.0)

    def _summed(self, by_owner: Array) -> Array:
        """Sums (K, T) of ``by_owner`` (N, T) over the owners of each resource."""
        sums, held = np.zeros((len(self), by_owner.shape[1])), self.member != NO_CLASS
        np.add.at(sums, self.member[held], by_owner[held])
        return sums

    def by_owner(self, of_resource: Array) -> Array:
        """Each owner's part (N, T) of stored-side amounts (K, T)."""
        held = self.member != NO_CLASS
        spread = np.zeros((len(self.member), of_resource.shape[1]))
        spread[held] = self.share[held, None] * of_resource[self.member[held]]
        return spread


@dataclass(frozen=True)
class StorageAwards:
    """What the market awards K resources, at the meter: powers (K, T) in kW, and their stored energy, kWh."""

    charge_kw: Array
    discharge_kw: Array
    spin_kw: Array
    nonspin_kw: Array
    stored_kwh: Array  # around the baseline, end of hour

    @property
    def held_kw(self) -> tuple[Array, ...]:
        """Each reserve that is awarded (K, T), in the order of the market's."""
        return tuple(getattr(self, reserve.held_column) for reserve in CAISO.reserves)


def resources_of(fleet: Fleet, classes: Classes, boxes: Boxes, call_hours: float) -> StorageResources:
    """The resources of ``classes``, each owner with all that it can give if it comes.

    An absent owner's part is delivered by the others of its resource as far as they can, or bought back. To offer less
    for that, by each owner's availability, earned less: what is not offered is lost on every day that it comes.
    """
    weight = classes.weights(boxes) * INSIDE
    spare = np.zeros(fleet.max_charge_kw.shape)
    for k, shape in enumerate(classes.shape):
        mine = np.flatnonzero(classes.member == k)
        of_mine = spare_reserve(Boxes(boxes.rows[mine]), weight[mine], shape, call_hours)
        spare[mine] = fleet.discharge_efficiency[mine, None] * of_mine
    return composed(fleet, classes.member, weight, classes.shape, spare, call_hours)


def composed(
    fleet: Fleet, member: Indices, weight: Array, shape: Array, spare: Array, call_hours: float
) -> StorageResources:
    """The resources that owners make together: ``weight`` (N,) copies each of the ``shape`` of its class (K, 4 T + 3),
    and ``spare`` reserve (N, T) beyond it.
    """
    held = (weight > 0.0) & (member != NO_CLASS)
    total = np.bincount(member[held], weight[held], minlength=len(shape))
    share = np.zeros(len(member))
    share[held] = weight[held] / total[member[held]]

    def mean(values: Array) -> Array:
        summed = np.bincount(member[held], (share * values)[held], minlength=len(shape))
        return np.where(total > 0.0, summed, 1.0)

    found = StorageResources(
        member,
        share,
        Boxes(total[:, None] * shape),
        np.where((member != NO_CLASS)[:, None], spare, 0.0),
        charge_efficiency=1.0 / mean(1.0 / fleet.charge_efficiency),
        discharge_efficiency=mean(fleet.discharge_efficiency),
    )
    return _backed(found, total <= 0.0, call_hours)


def _backed(resources: StorageResources, alone: Flags, call_hours: float) -> StorageResources:
    """``resources`` of which those that hold reserve ``alone`` (K,), no energy, show the market energy that backs it.

    Nothing goes into or out of them, so the energy that they show never changes: each owner's own backs its reserve.
    """
    rows, hours = resources.box.rows.copy(), resources.box.hours
    backing = call_hours * resources.spare_kw.max(axis=1, initial=0.0)
    rows[alone, 2 * hours : 3 * hours] = backing[alone, None]
    rows[alone, 4 * hours] = backing[alone]
    return replace(resources, box=Boxes(rows))


def disaggregated(fleet: Fleet, baseline: Baseline, resources: StorageResources, awards: StorageAwards) -> DaySchedule:
    """What each owner does for ``awards`` on top of its ``baseline``: a day within all its limits.

    Awarded charging is of the grid, so that the meters of all owners show what the market awarded.
    """
    into, out = fleet.charge_efficiency[:, None], fleet.discharge_efficiency[:, None]
    of_charge, of_discharge = resources.charge_efficiency[:, None], resources.discharge_efficiency[:, None]
    spare_kw, reserve_kw = resources.spare_kw, awards.spin_kw + awards.nonspin_kw
    # what owners hold beyond the box first: the rest is within the box, whatever the energy
    beyond_kw = np.minimum(reserve_kw, spare_kw)
    by_spare = np.divide(beyond_kw, reserve_kw, out=np.zeros_like(reserve_kw), where=reserve_kw > 0.0)
    held = resources.member != NO_CLASS

    def held_kw(award_kw: Array) -> Array:
        part = np.divide(by_spare * award_kw, spare_kw, out=np.zeros_like(award_kw), where=spare_kw > 0.0)
        within_kw = resources.by_owner((1.0 - by_spare) * award_kw / of_discharge) * out
        within_kw[held] += resources.spare[held] * part[resources.member[held]]
        return within_kw

    return DaySchedule(
        grid_charge_kw=baseline.grid_charge_kw + resources.by_owner(awards.charge_kw * of_charge) / into,
        solar_charge_kw=baseline.solar_charge_kw.copy(),
        discharge_kw=resources.by_owner(awards.discharge_kw / of_discharge) * out,
        solar_sold_kw=baseline.solar_sold_kw.copy(),
        spin_kw=held_kw(awards.spin_kw),
        nonspin_kw=held_kw(awards.nonspin_kw),
        stored_kwh=baseline.stored_kwh + resources.by_owner(awards.stored_kwh),
    )
