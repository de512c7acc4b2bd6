"""How the market clears a storage resource: one linear program over the day at the prices that clear.

A price taker's part of CAISO's integrated forward market: energy, spin, and nonspin of one resource over the same MW
and over 24 hours, within its state of charge, so that what it bids is worth most (`storage_day.py` has the program).
The bid is one monotone curve per hour from charge to discharge; the price of a charging segment is the most that the
resource pays. A store does one of both in an hour: where burning energy would pay (at prices below zero), the smaller
of the two is ruled out and the resource cleared again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpp_pipeline.aggregation.resources import StorageAwards, StorageResources
from vpp_pipeline.aggregation.storage_day import Gains, StorageDay
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError

BOTH_WAYS_KWH = 1e-6
MOST_PASSES = 40


@dataclass(frozen=True)
class StorageBids:
    """Bids of K resources by hour: J segments of discharge and one of charge, prices at the meter, $/MWh.

    Segments of discharge rise in price; reserves have one quantity and one price each, $ per MW held for one hour.
    """

    charge_price: Array  # (K, T) most that is paid for charging
    discharge_kw: Array  # (K, T, J)
    discharge_price: Array  # (K, T, J)
    reserve_kw: Array  # (reserves, K, T)
    reserve_price: Array  # (reserves, K, T)


@dataclass(frozen=True)
class Clearing(StorageAwards):
    """Awards with what they are worth."""

    stored_value: Array  # (K, T) what one more kWh in the store at the end of the hour would add, $
    worth_usd: Array  # (K,) by the resource's own bid


def clear(resources: StorageResources, bids: StorageBids, price: Array, call_hours: float) -> Clearing:
    """Awards at ``price`` (3, T) of energy, spin, and nonspin. Raises SolveError."""
    hours, segments = price.shape[1], bids.discharge_kw.shape[2]
    program = StorageDay(hours, call_hours, sells=segments)
    found = [_cleared(program, resources, bids, price, k) for k in range(len(resources))]
    rows = np.stack([of for of, _ in found]) if found else np.zeros((0, 6, hours))
    charge_kw, discharge_kw, spin_kw, nonspin_kw, stored_kwh, value = np.moveaxis(rows, 1, 0)
    worth_usd = np.array([usd for _, usd in found])
    return Clearing(charge_kw, discharge_kw, spin_kw, nonspin_kw, stored_kwh, value, worth_usd)


def _cleared(
    program: StorageDay, resources: StorageResources, bids: StorageBids, price: Array, k: int
) -> tuple[Array, float]:
    """Awards (6, T) of one resource, as fields of Clearing, and what they are worth, $."""
    into, out = float(resources.charge_efficiency[k]), float(resources.discharge_efficiency[k])
    gains = Gains(
        buy=(price[0] - bids.charge_price[k]) / into / 1000.0,
        sell=(price[0][:, None] - bids.discharge_price[k]) * out / 1000.0,
        spin=(price[1] - bids.reserve_price[0, k]) * out / 1000.0,
        nonspin=(price[2] - bids.reserve_price[1, k]) * out / 1000.0,
    )
    charge, discharge = resources.box.charge[k].copy(), bids.discharge_kw[k] / out
    program.earn(gains)
    spare = resources.spare_kw[k] / out
    for _ in range(MOST_PASSES):
        program.limit(resources.box.rows[k], charge, discharge, spare, bids.reserve_kw[:, k] / out)
        answer = program.solve()
        bought, sold = answer.bought, answer.sold.sum(axis=1)
        both = np.minimum(bought, sold) > BOTH_WAYS_KWH
        if not both.any():
            held = (answer.spin * out, answer.nonspin * out)
            return np.stack([bought / into, sold * out, *held, answer.stored, answer.stored_value]), answer.worth
        charge[both & (bought < sold)] = 0.0
        discharge[both & (bought >= sold)] = 0.0
    raise SolveError(f"a storage resource still charges and discharges at once after {MOST_PASSES} passes")


def bids_at_floors(resources: StorageResources, floor: Array, charge_price: float = 0.0) -> StorageBids:
    """Bids at cost: discharge and reserves at the owners' mean ``floor`` (3, N, T), charging at ``charge_price``.

    The market weighs the whole day, so the price of charging is no threshold: the award is what earns most of prices
    less floors. An owner without a deal in an hour (an infinite floor) keeps its resource from selling then.
    """
    energy = resources.mean_of(floor[0])
    reserve = np.stack([resources.mean_of(of_product, reserve=True) for of_product in floor[1:]])
    most_kw = resources.max_discharge_kw
    return StorageBids(
        charge_price=np.full(energy.shape, charge_price),
        discharge_kw=np.where(np.isfinite(energy), most_kw, 0.0)[:, :, None],
        discharge_price=np.where(np.isfinite(energy), energy, 0.0)[:, :, None],
        reserve_kw=np.where(np.isfinite(reserve), most_kw + resources.spare_kw, 0.0),
        reserve_price=np.where(np.isfinite(reserve), reserve, 0.0),
    )
