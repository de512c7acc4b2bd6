"""Days to measure the optimiser with: the prototype's reference model, and negotiated days at any size."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date

import numpy as np
from days import prepare_day, real_prices

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.pipeline import prepare_problem
from vpp_pipeline.settings import FleetSettings, OpportunityPolicy, Settings

DAY = date(2023, 8, 15)
OFFERED_FRACTION = 0.1  # R as a share of what the fleet can offer
EFFICIENCY, CALL_HOURS, HOURS = 0.95, 0.5, 24  # of the reference model
ENERGY_USD = (38, 35, 33, 32, 34, 42, 55, 48, 25, 8, 2, -4, -6, -2, 6, 18, 40, 72, 105, 98, 78, 62, 50, 43)
SPIN_USD = (3, 3, 3, 3, 3.5, 5, 8, 6, 3, 2, 1.5, 1.2, 1.2, 1.5, 2, 4, 8, 16, 24, 20, 13, 8, 5, 4)


def reference_prices() -> Array:
    """Energy, spin and nonspin (3, T), $ per MWh or MW and hour, as the prototype draws them."""
    rng = np.random.default_rng(0)
    energy = np.array(ENERGY_USD, float) * rng.normal(1.0, 0.08) + rng.normal(0.0, 3.0, HOURS)
    spin = np.array(SPIN_USD) * rng.lognormal(0.0, 0.15, HOURS)
    return np.stack([energy, spin, spin * rng.uniform(0.25, 0.7, HOURS)])


def reference_fleet(prosumers: int) -> dict[str, Array]:
    """Stores as the prototype draws them: 30% EVs, away from 08 to 17; stored energy is counted above the backup."""
    n, rng = prosumers, np.random.default_rng(1)
    is_ev = rng.random(n) < 0.30
    battery = rng.choice(5, n, p=[0.15, 0.35, 0.25, 0.15, 0.10])
    ev = rng.choice(5, n, p=[0.25, 0.2, 0.3, 0.15, 0.1])
    capacity = np.where(is_ev, np.array([40, 64, 75, 82, 100.0])[ev], np.array([5, 10, 13.5, 16, 20.0])[battery])
    power = np.where(is_ev, np.array([7.2, 11, 11.5, 11.5, 11.5])[ev], np.array([3, 5, 7, 8, 10.0])[battery])
    capacity = capacity * rng.uniform(0.85, 1.0, n)
    above_backup = capacity * (1.0 - np.where(is_ev, rng.uniform(0.4, 0.7, n), rng.uniform(0.1, 0.6, n)))
    stored = rng.uniform(0.0, 0.8, n) * above_backup
    paid_usd_per_kwh = rng.uniform(0.005, 0.05, n)
    at_home = np.ones((2, HOURS), np.float32)
    at_home[1, 8:17] = 0.0
    hourly = power.astype(np.float32)[:, None] * at_home[is_ev.astype(int)]
    return {"power": power, "hourly": hourly, "capacity": above_backup, "stored": stored, "paid": paid_usd_per_kwh}


def reference_day(prosumers: int) -> DayProblem:
    """The prototype's model: every prosumer may sell all three products in every hour, at its own cost per kWh.

    Commitments are the device's power, so that they do not bind; no sun, no load, no driving, no cycle limit, no least
    quantity of a bid. The prototype's spin and nonspin share one limit, as ours do (d + s + n ≤ P). One difference: it
    lets the fleet sell in an hour in which it buys on balance; here an hour is one or the other, to the degree that
    z is whole. Single precision where numbers are many.
    """
    drawn = reference_fleet(prosumers)
    price, hours = reference_prices(), market_hours(DAY)
    rng, total_mw = np.random.default_rng(2), drawn["power"].sum() / 1000.0
    energy = total_mw * rng.uniform(0.03, 0.12, HOURS)
    energy[17:22] = total_mw * rng.uniform(0.10, 0.30, 5)
    required = np.concatenate([energy, *(total_mw * rng.uniform(0.03, 0.20, HOURS) for _ in range(2))])
    where, who = (axis.astype(np.int32) for axis in np.nonzero(drawn["hourly"].T > 0.0))
    committed, paid = drawn["hourly"].T[where, who], drawn["paid"][who].astype(np.float32) * 1000.0
    opportunities, nothing = np.arange(3 * HOURS, dtype=np.int32), np.zeros(1, np.float32)
    return DayProblem(
        market_date=DAY,
        fleet=_reference_stores(drawn),
        start_utc=hours["start_utc"],
        market_price=price[0],
        opportunity_id=np.array([f"{product}_{t:02d}" for product in ("e", "s", "n") for t in range(HOURS)]),
        product=opportunities.astype(np.int64) // HOURS,
        covers=np.tile(np.eye(HOURS, dtype=bool), (3, 1)),
        price=price.ravel(),
        required_mw=required,
        minimum_mw=np.zeros(3 * HOURS),
        may_bid=np.ones(3 * HOURS, dtype=bool),
        agreement_opportunity=np.concatenate([where + HOURS * product for product in range(3)], dtype=np.int32),
        agreement_prosumer=np.tile(who, 3),
        committed_kw=np.tile(committed, 3),
        call_price=np.concatenate([paid, np.zeros(2 * len(paid), np.float32)]),
        premium=np.broadcast_to(nothing, 3 * len(paid)),
        satisfaction_worth=np.broadcast_to(nothing, 3 * len(paid)),
        call_hours=CALL_HOURS,
        charging_adder=0.0,
    )


def _reference_stores(drawn: dict[str, Array]) -> Fleet:
    n = len(drawn["power"])
    shape, one, nothing = (n, HOURS), np.ones(1, np.float32), np.zeros(1, np.float32)
    empty, each = np.broadcast_to(nothing, shape), np.broadcast_to(one, n)
    return Fleet(
        prosumer_id=np.arange(n),
        segment=np.broadcast_to(np.array(["home battery"]), n),
        resource_id=np.broadcast_to(np.array(["vpp"]), n),
        has_store=np.broadcast_to(np.ones(1, dtype=bool), n),
        charge_efficiency=np.broadcast_to(np.array([EFFICIENCY]), n),
        discharge_efficiency=np.broadcast_to(np.array([EFFICIENCY]), n),
        initial_stored_kwh=drawn["stored"],
        terminal_stored_kwh=drawn["stored"],
        capacity_kwh=drawn["capacity"],
        maximum_cycles_per_day=np.broadcast_to(np.array([100.0]), n),
        willingness_fraction=each,
        minimum_compensation_usd_per_kwh=each,
        wear_usd_per_mwh=each,
        patience=each,
        availability_fraction=each,
        max_charge_kw=drawn["hourly"],
        max_discharge_kw=drawn["hourly"],
        min_stored_kwh=empty,
        max_stored_kwh=np.broadcast_to(drawn["capacity"][:, None], shape),
        solar_kw=empty,
        load_kw=empty,
        drive_kwh=empty,
        export_limit_kw=np.broadcast_to(np.array([[1000.0]]), shape),
        limited_by=np.broadcast_to(np.full(1, -1, np.int8), shape),
    )


def negotiated_day(prosumers: int, market_date: date = DAY) -> DayProblem:
    """A real day of the project's own generator and negotiation: SP15 prices, R = 10% of what the fleet can offer."""
    policy = OpportunityPolicy(sizing="fraction", fraction=OFFERED_FRACTION)
    settings = Settings(fleet=FleetSettings(prosumers=prosumers), opportunities=policy)
    _, problem = prepare_problem(prepare_day(market_date, real_prices(), settings), settings)
    return problem


def repeated_day(base: DayProblem, times: int, seed: int = 4) -> DayProblem:
    """``base`` with its fleet ``times`` over, in single precision, and ``times`` the opportunities.

    Each copy of a prosumer is scaled by a size of its own (0.8-1.2, all powers, energies and commitments) and has
    prices of its own (0.9-1.1 of those agreed): no two are alike, and deals fit their envelope as the original's do.
    """
    n, many, rng = len(base.fleet), len(base.fleet) * times, np.random.default_rng(seed)
    size = rng.uniform(0.8, 1.2, many).astype(np.float32)
    dear = rng.uniform(0.9, 1.1, many).astype(np.float32)
    arrays = {}
    for field in fields(base.fleet):
        value = getattr(base.fleet, field.name)
        is_amount = field.name.endswith(("_kw", "_kwh"))
        copies = _copies(value.astype(np.float32) if is_amount else value, times)
        if is_amount:
            copies *= size[:, None] if copies.ndim == 2 else size
        arrays[field.name] = copies
    arrays["prosumer_id"] = np.arange(many)
    shift = np.repeat(np.arange(times, dtype=np.int32) * n, len(base.agreement_prosumer))
    who = _copies(base.agreement_prosumer.astype(np.int32), times) + shift
    return replace(
        base,
        fleet=Fleet(**arrays),
        required_mw=base.required_mw * times,
        minimum_mw=base.minimum_mw * times,
        agreement_opportunity=_copies(base.agreement_opportunity.astype(np.int32), times),
        agreement_prosumer=who,
        committed_kw=_copies(base.committed_kw.astype(np.float32), times) * size[who],
        call_price=_copies(base.call_price.astype(np.float32), times) * dear[who],
        premium=np.broadcast_to(np.zeros(1, np.float32), len(who)),
        satisfaction_worth=np.broadcast_to(np.zeros(1, np.float32), len(who)),
    )


def _copies(values: Array, times: int) -> Array:
    return np.tile(values, (times, *[1] * (values.ndim - 1)))
