"""Small days to put before the optimiser: built by hand, or drawn at random."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, round_up
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.agreements import satisfaction_worth
from vpp_pipeline.settings import MarketRules, OptimiserSettings

RULES = MarketRules()
STARTS = datetime(2023, 8, 15, 7, tzinfo=UTC)
HOURLY = (
    "max_charge_kw",
    "max_discharge_kw",
    "min_stored_kwh",
    "max_stored_kwh",
    "solar_kw",
    "load_kw",
    "drive_kwh",
    "export_limit_kw",
)


def fleet(prosumers: int, hours: int, **given: object) -> Fleet:
    """Lossless empty stores with no power, unless ``given`` says otherwise: numbers, (N,) or (N, T) arrays."""
    defaults: dict[str, object] = {
        "has_store": 1.0,
        "charge_efficiency": 1.0,
        "discharge_efficiency": 1.0,
        "initial_stored_kwh": 0.0,
        "terminal_stored_kwh": 0.0,
        "capacity_kwh": 1e4,
        "maximum_cycles_per_day": 10.0,
        "willingness_fraction": 1.0,
        "minimum_compensation_usd_per_kwh": 0.0,
        "wear_usd_per_mwh": 5.0,
        "patience": 1.0,
        "availability_fraction": 1.0,
        "max_charge_kw": 0.0,
        "max_discharge_kw": 0.0,
        "min_stored_kwh": 0.0,
        "max_stored_kwh": 1e4,
        "solar_kw": 0.0,
        "load_kw": 0.0,
        "drive_kwh": 0.0,
        "export_limit_kw": 1e4,
    }
    assert set(given) <= set(defaults), set(given) - set(defaults)
    arrays: dict[str, Any] = {
        name: np.array(
            np.broadcast_to(np.asarray(value, float), (prosumers, hours) if name in HOURLY else (prosumers,))
        )
        for name, value in (defaults | given).items()
    }
    arrays["has_store"] = arrays["has_store"] > 0.0
    return Fleet(
        prosumer_id=np.array([f"p{i}" for i in range(prosumers)]),
        segment=np.array(["home battery"] * prosumers),
        resource_id=np.array(["vpp"] * prosumers),
        limited_by=np.full((prosumers, hours), -1, dtype=np.int8),
        **arrays,
    )


def deal(
    product: str, hours: list[int], price: float, required_mw: float, kw: object, agreed: object
) -> dict[str, Any]:
    """An opportunity and its agreements: ``kw`` and ``agreed`` are numbers or (N,); 0 kW is no agreement."""
    return {"product": product, "hours": hours, "price": price, "required_mw": required_mw, "kw": kw, "agreed": agreed}


def small_day(
    fleet: Fleet,
    market_price: object,
    deals: list[dict[str, Any]],
    *,
    credit: float = 0.0,
    rules: MarketRules = RULES,
) -> DayProblem:
    """The day's problem of ``deals``; ``credit`` is the satisfaction weight; reservations are half the agreed price."""
    n, prices = len(fleet), np.asarray(market_price, float)
    covers = np.zeros((len(deals), len(prices)), dtype=bool)
    for o, one in enumerate(deals):
        covers[o, one["hours"]] = True
    kw = np.array([np.broadcast_to(np.asarray(one["kw"], float), (n,)) for one in deals]).reshape(len(deals), n)
    agreed = np.array([np.broadcast_to(np.asarray(one["agreed"], float), (n,)) for one in deals]).reshape(len(deals), n)
    o, i = np.nonzero(kw)
    required_mw = np.array([float(one["required_mw"]) for one in deals])
    floor_mw = np.array([rules.minimum_mw(str(one["product"])) for one in deals])
    return DayProblem(
        market_date=date(2023, 8, 15),
        fleet=fleet,
        start_utc=pl.Series("start_utc", [STARTS + timedelta(hours=k) for k in range(len(prices))]),
        market_price=prices,
        opportunity_id=np.array([f"{one['product']}_{k}" for k, one in enumerate(deals)]),
        product=np.array([PRODUCTS.index(str(one["product"])) for one in deals], dtype=np.int64),
        covers=covers,
        price=np.array([float(one["price"]) for one in deals]),
        required_mw=required_mw,
        minimum_mw=round_up(np.maximum(rules.required_fraction * required_mw, floor_mw), rules.quantity_step_mw),
        may_bid=kw.sum(axis=1) / 1000.0 >= rules.required_fraction * required_mw,
        agreement_opportunity=o,
        agreement_prosumer=i,
        committed_kw=kw[o, i],
        call_price=agreed[o, i],
        premium=np.zeros(len(o)),
        satisfaction_worth=satisfaction_worth(agreed[o, i], agreed[o, i] / 2.0, credit),
        call_hours=rules.reserve_call_hours,
        charging_adder=0.0,
    )


@cache
def random_day(seed: int) -> DayProblem:
    """3-5 prosumers (batteries, EVs, solar alone) over 23-25 hours, up to 6 opportunities, blocks among them."""
    rng = np.random.default_rng(seed)
    n, t = int(rng.integers(3, 6)), int(rng.choice([23, 24, 25]))
    kind = rng.choice(["battery", "ev", "solar"], n, p=[0.6, 0.25, 0.15])
    kind[0] = "battery"
    store = kind != "solar"
    power = np.where(store, rng.uniform(150.0, 500.0, n), 0.0)
    capacity = power * rng.choice([2.0, 4.0], n)
    eta_c, eta_d = rng.uniform(0.8, 1.0, n), rng.uniform(0.8, 1.0, n)
    reserve = rng.uniform(0.05, 0.3, n) * capacity
    initial = np.maximum(0.5 * capacity, reserve)
    clock = np.arange(t)[None, :]
    away = (kind == "ev")[:, None] & (clock >= 8) & (clock < 16)
    floor = np.repeat(reserve[:, None], t, axis=1)
    floor[kind == "ev", 7] = 0.8 * capacity[kind == "ev"]
    sun = np.clip(np.sin((clock - 6.0) / 12.0 * np.pi), 0.0, None)
    size = np.where(rng.random(n) < 0.5, rng.uniform(100.0, 300.0, n), 0.0) + np.where(store, 0.0, 200.0)
    members = fleet(
        n,
        t,
        has_store=store,
        charge_efficiency=eta_c,
        discharge_efficiency=eta_d,
        initial_stored_kwh=initial,
        terminal_stored_kwh=initial,
        capacity_kwh=capacity,
        maximum_cycles_per_day=rng.choice([0.5, 1.0, 2.0], n),
        max_charge_kw=np.where(away, 0.0, power[:, None]),
        max_discharge_kw=np.where(away, 0.0, power[:, None]),
        min_stored_kwh=floor,
        max_stored_kwh=np.repeat(capacity[:, None], t, axis=1),
        solar_kw=size[:, None] * sun,
        load_kw=rng.uniform(0.0, 40.0, n)[:, None],
        drive_kwh=np.where(away, 0.02 * capacity[:, None], 0.0),
        export_limit_kw=np.repeat((np.maximum(power, size) * rng.uniform(0.7, 1.2, n))[:, None], t, axis=1),
    )
    price = 40.0 + 40.0 * np.sin((clock[0] - 12.0) / 24.0 * 4.0 * np.pi) + rng.normal(0.0, 10.0, t)
    if seed % 3 == 0:
        price[10:14] = rng.uniform(-150.0, -5.0)
    deals, taken = [], np.zeros((3, t), dtype=bool)
    for _ in range(int(rng.integers(3, 7))):
        product = int(rng.choice(3, p=[0.6, 0.2, 0.2]))
        length = int(rng.choice([1, 1, 2, 3]))
        first = int(rng.integers(0, t - length + 1))
        block = list(range(first, first + length))
        if taken[product, block].any():
            continue
        taken[product, block] = True
        kw = np.where(rng.random(n) < 0.85, rng.uniform(0.3, 1.0, n) * np.maximum(power, size), 0.0)
        required = max(round(float(rng.uniform(0.4, 1.1)) * kw.sum() / 1000.0, 2), RULES.minimum_mw(PRODUCTS[product]))
        mean = float(np.maximum(price[block].mean(), 20.0)) if product == 0 else float(rng.uniform(1.0, 30.0))
        worth = mean * float(rng.uniform(0.9, 1.6))
        deals.append(deal(PRODUCTS[product], block, worth, required, kw, worth * rng.uniform(0.2, 0.95, n)))
    return small_day(members, price, deals, credit=float(rng.choice([0.0, 0.0, 10.0])))


def with_fleet(day: DayProblem, **changed: Array) -> DayProblem:
    """The same day with other arrays of the fleet."""
    return replace(day, fleet=replace(day.fleet, **changed))


@cache
def random_answer(seed: int) -> DaySolution:
    """The solution of that random day by default settings."""
    return solve_day(random_day(seed), RULES, OptimiserSettings())
