"""What a fleet offers through storage resources on one day: its baseline, its resources, and their bids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vpp_pipeline.aggregation.boxes import Baseline, baseline_of, boxes_of
from vpp_pipeline.aggregation.classes import Classes, Outlook, for_the_day, make_classes
from vpp_pipeline.aggregation.clearing import Clearing, StorageBids, bids_at_floors, clear
from vpp_pipeline.aggregation.resources import StorageAwards, StorageResources, disaggregated, resources_of
from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet

LEAST_SIZE_MW = 0.112  # of a class when it is made: a tenth above the market's minimum, for losses and smaller days


@dataclass(frozen=True)
class StorageOffer:
    """N owners in K resources over T hours."""

    fleet: Fleet
    baseline: Baseline  # as it is expected: sun of owners who may not come counts in part
    resources: StorageResources
    bids: StorageBids
    call_hours: float

    @property
    def self_schedule_kw(self) -> Array:
        """Sun that all owners sell (T,), whatever the price."""
        return np.asarray(self.baseline.solar_sold_kw.sum(axis=0))

    @property
    def offered_mw(self) -> Array:
        """What all resources offer (3, T): discharge, and each reserve."""
        return np.stack([self.bids.discharge_kw.sum(axis=(0, 2)), *self.bids.reserve_kw.sum(axis=1)]) / 1000.0

    @property
    def callable_members(self) -> Indices:
        """How many owners may be called (3, T) for what is offered of each product.

        Of reserve owners give first what they hold beyond the box.
        """
        found, spare_kw = self.resources, self.resources.spare_kw.sum(axis=0)
        discharge_mw, *reserve_mw = self.offered_mw
        summed_kw, most_kw = 1000.0 * sum(reserve_mw), 1000.0 * np.max(reserve_mw, axis=0)
        power_kw = np.maximum(1000.0 * discharge_mw + np.minimum(spare_kw, summed_kw), most_kw)
        is_within = np.minimum(summed_kw, power_kw) > spare_kw
        shares, spare = found.share[:, None] > 0.0, (found.spare > 0.0) & (spare_kw > 0.0)
        of_reserve = ((shares & is_within) | spare).sum(axis=0)
        of_energy = np.broadcast_to(shares, spare.shape).sum(axis=0)
        return np.where(self.offered_mw > 0.0, np.stack([of_energy] + [of_reserve] * len(reserve_mw)), 0)

    def awards(self, price: Array) -> Clearing:
        """What the market awards at ``price`` (3, T). Raises SolveError."""
        return clear(self.resources, self.bids, price, self.call_hours)

    def schedule(self, awards: StorageAwards) -> DaySchedule:
        """What each owner does for ``awards``, with its baseline: all that is sold and bought day ahead."""
        return disaggregated(self.fleet, self.baseline, self.resources, awards)


def classes_of(
    fleet: Fleet, floor: Array, prices: Array, call_hours: float, most: int, least_mw: float = LEAST_SIZE_MW
) -> Classes:
    """Classes of a fleet, made at ``prices`` (D, 3, T) of typical days; ``floor`` (3, N, T) as for :func:`offer_of`."""
    boxes = boxes_of(fleet, baseline_of(fleet, prices[:, 0].mean(axis=0), floor[0]))
    outlook = outlook_of(fleet, floor, prices, call_hours)
    return make_classes(boxes, floor[0].mean(axis=1), outlook, most, 1000.0 * least_mw)


def offer_of(fleet: Fleet, floor: Array, forecast: Array, classes: Classes, call_hours: float) -> StorageOffer:
    """The offer at ``forecast`` (3, T). ``floor`` (3, N, T): what each owner must be paid, infinite without a deal.

    Shapes are fitted to the day. Sun counts with its owner's availability.
    """
    baseline = baseline_of(fleet, forecast[0], floor[0])
    boxes = boxes_of(fleet, baseline)
    today = for_the_day(classes, boxes, outlook_of(fleet, floor, forecast[None], call_hours))
    resources = resources_of(fleet, today, boxes, call_hours)
    sold_kw = fleet.availability_fraction[:, None] * baseline.solar_sold_kw
    expected = replace(baseline, solar_sold_kw=sold_kw)
    return StorageOffer(fleet, expected, resources, bids_at_floors(resources, floor), call_hours)


def outlook_of(fleet: Fleet, floor: Array, prices: Array, call_hours: float) -> Outlook:
    """What a typical store of the fleet expects at ``prices`` (D, 3, T): means by power of discharge."""
    power = np.where(fleet.has_store, fleet.max_discharge_kw.max(axis=1), 0.0)
    of_all = max(float(power.sum()), 1e-9)

    def mean(values: Array) -> float:
        return float(power @ values) / of_all

    finite = np.where(np.isfinite(floor), floor, np.nan)
    with np.errstate(all="ignore"):
        typical = np.nan_to_num(np.array([np.nanmedian(np.where(power[:, None] > 0.0, of, np.nan)) for of in finite]))
    return Outlook(
        prices[:, 0],
        prices[:, 1],
        prices[:, 2],
        call_hours,
        charge_efficiency=mean(fleet.charge_efficiency) or 1.0,
        discharge_efficiency=mean(fleet.discharge_efficiency) or 1.0,
        floor=(float(typical[0]), float(typical[1]), float(typical[2])),
    )
