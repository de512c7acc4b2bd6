"""The aggregator's money of a day by two settlements: the position at the day-ahead price, and what differs from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.domain.settlement import imbalance_usd
from vpp_pipeline.fleet.arrays import Fleet

CHEAPEST_HOURS = 4  # stored energy is worth what it costs to buy in so many hours, as the negotiation takes it


@dataclass(frozen=True)
class Money:
    """A day's money of the aggregator, $; costs are positive and subtracted."""

    energy_usd: float  # awarded energy at the price it is paid
    reserve_usd: float  # reserve held, at the price it is paid; what is not held is not paid
    charging_usd: float  # charging scheduled in hours without an award
    imbalance_usd: float  # what the difference to the position costs; negative where a surplus earned
    leftover_usd: float  # worth of stored energy beyond what owners are owed at the day's end
    payments_usd: float

    @property
    def market_usd(self) -> float:
        """What market and stores bring before owners are paid."""
        return self.energy_usd + self.reserve_usd - self.charging_usd - self.imbalance_usd + self.leftover_usd

    @property
    def net_usd(self) -> float:
        """What is left when they are."""
        return self.market_usd - self.payments_usd


@dataclass(frozen=True)
class Awards:
    """MW (T,) of energy bid and won in each hour, and what is paid for each product in each hour (3, T)."""

    bid_mw: Array
    won_mw: Array
    paid_price: Array


def money_of(
    fleet: Fleet,
    planned: DaySchedule,
    done: DaySchedule,
    awards: Awards,
    energy_price: Array,
    payments_usd: float,
    owed_kwh: Array,
    imbalance_factor: float,
) -> Money:
    """What the day ``done`` came to, where ``energy_price`` (T,) cleared.

    The position of an hour is the plan's net export less the energy that was bid and not won. ``owed_kwh`` (N,):
    stored energy that owners are to find at the day's end.
    """
    position = _net_export_mw(planned) - (awards.bid_mw - awards.won_mw)
    held = np.stack([done.spin_kw.sum(axis=0), done.nonspin_kw.sum(axis=0)]) / 1000.0
    surplus = _net_export_mw(done) - position
    return Money(
        energy_usd=float(awards.paid_price[0] @ awards.won_mw),
        reserve_usd=float((awards.paid_price[1:] * held).sum()),
        charging_usd=float(energy_price @ (awards.won_mw - position)),
        imbalance_usd=-float(imbalance_usd(energy_price, surplus, imbalance_factor).sum()),
        leftover_usd=leftover_usd(fleet, done, energy_price, owed_kwh),
        payments_usd=payments_usd,
    )


def leftover_usd(fleet: Fleet, done: DaySchedule, energy_price: Array, owed_kwh: Array) -> float:
    """What the stored energy beyond ``owed_kwh`` (N,) would cost to buy in the cheapest hours; negative if it lacks."""
    cheapest = max(0.0, float(np.sort(energy_price)[:CHEAPEST_HOURS].mean()))
    beyond = (done.stored_kwh[:, -1] - owed_kwh) / fleet.charge_efficiency
    return cheapest * float(np.where(fleet.has_store, beyond, 0.0).sum()) / 1000.0


def _net_export_mw(schedule: DaySchedule) -> Array:
    return np.asarray((schedule.exported_kw - schedule.grid_charge_kw).sum(axis=0) / 1000.0)
