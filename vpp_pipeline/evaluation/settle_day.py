"""Settlement of a day: available prosumers, dispatch after awards, what each bid earned, and the day's account."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.dispatch.schedule import DaySchedule, schedule_arrays, schedule_rows
from vpp_pipeline.evaluation.settlement import (
    Awards,
    Delivery,
    Money,
    awarded_bids,
    draw_available,
    money_of,
    same_source,
    settle,
)
from vpp_pipeline.fleet.arrays import Fleet, begin_with, fleet_arrays
from vpp_pipeline.negotiation.opportunities import hours_of
from vpp_pipeline.schemas import Dispatched, SettledDays, validate
from vpp_pipeline.settings import MarketRules, SettlementSettings

#: tables that a settlement reads
READS = (
    "market.prices",
    "market.price_forecast",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "dispatch.starts",
    "dispatch.schedule",
    "dispatch.payments",
    "bids.final_bids",
    "bids.bid_segments",
)
MONEY = ("energy_usd", "reserve_usd", "charging_usd", "imbalance_usd", "leftover_usd", "payments_usd", "net_usd")
TOLERANCE = 1e-3  # kW, kWh: a watt


def settle_day(
    tables: Mapping[str, pl.DataFrame], rules: MarketRules, settings: SettlementSettings
) -> dict[str, pl.DataFrame]:
    """`evaluation.dispatched`, `evaluation.settlement` and `evaluation.settled_days` of one day, from :data:`READS`.

    Awards by segment; available prosumers (drawn, as ``settings`` say) deliver their part of the awards as far as their
    stores hold it, and no store charges more than that needs. Money is that of two settlements: the position at the
    clearing price, the difference to it at that price made worse by `imbalance_factor`.

    Raises InputError where bids and prices are of different sources.
    """
    prices, opportunities = tables["market.prices"].sort("start_utc"), tables["market.opportunities"]
    same_source(tables["market.price_forecast"], prices)
    rows, planned = tables["fleet.prosumers"].sort("prosumer_id"), schedule_arrays(tables["dispatch.schedule"])
    fleet = begin_with(fleet_arrays(rows, tables["fleet.availability"]), tables["dispatch.starts"])
    is_there = draw_available(rows["availability_fraction"].to_numpy(), rows["market_date"][0], settings)
    day = (opportunities, tables["bids.final_bids"], tables["bids.bid_segments"], prices)
    bids = awarded_bids(*day)

    def by_hour(column: str) -> Array:
        return _by_product_and_hour(bids, opportunities, prices["start_utc"], column)

    asked = by_hour("share")[:, None, :] * is_there[None, :, None]
    done = redispatch(fleet, planned, asked, rules.reserve_call_hours)
    dispatched = validate(Dispatched, schedule_rows(done, tables["dispatch.schedule"]))
    members = rows.select("prosumer_id", "wear_usd_per_mwh", is_there=pl.Series(is_there))
    factor = settings.imbalance_factor
    settlement = settle(*day, Delivery(tables["dispatch.payments"], dispatched, members, factor))

    cleared = np.stack([prices[PRICE_COLUMN[product]].to_numpy() for product in PRODUCTS])
    won = Awards(by_hour("bid_mw")[0], by_hour("awarded_mw")[0], by_hour("clearing_price"))
    paid_usd, owed_kwh = float(settlement["payments_usd"].sum()), fleet.terminal_stored_kwh
    money = money_of(fleet, planned, done, won, cleared[0], paid_usd, owed_kwh, factor)
    account = {
        "market_date": prices["market_date"][0],
        "bids": bids.height,
        "awarded_bids": int((bids["awarded_mw"] > 0.0).sum()),
        "present": int(is_there.sum()),
        "absent": int((~is_there).sum()),
        "awarded_mwh": float(won.won_mw.sum()),
        "exported_mwh": float(done.exported_kw.sum()) / 1000.0,
        "reserve_awarded_mw_h": float(by_hour("awarded_mw")[1:].sum()),
        "reserve_held_mw_h": float((done.spin_kw + done.nonspin_kw).sum()) / 1000.0,
        "limits_broken": sum(int(where.sum()) for where in limits_broken(fleet, done).values()),
        "expected_profit_usd": float(bids["expected_profit_usd"].sum()),
        **_in_cents(money),
    }
    return {
        "evaluation.dispatched": dispatched,
        "evaluation.settlement": settlement,
        "evaluation.settled_days": validate(SettledDays, pl.DataFrame([account])),
    }


def _in_cents(money: Money) -> dict[str, float]:
    """The account's lines, and their sum as it follows from the rounded lines."""
    lines = {name: round(float(getattr(money, name)), 2) for name in MONEY[:-1]}
    costs = lines["charging_usd"] + lines["imbalance_usd"] + lines["payments_usd"]
    return lines | {"net_usd": round(lines["energy_usd"] + lines["reserve_usd"] + lines["leftover_usd"] - costs, 2)}


def _by_product_and_hour(bids: pl.DataFrame, opportunities: pl.DataFrame, starts: pl.Series, column: str) -> Array:
    """A column of the bids spread over (3, T) hours; 0 where nothing is bid."""
    spread, value = np.zeros((len(PRODUCTS), len(starts))), dict(bids.select("opportunity_id", column).iter_rows())
    names, products = opportunities["opportunity_id"], opportunities["product"]
    for name, product, block in zip(names, products, hours_of(opportunities, starts), strict=True):
        spread[PRODUCTS.index(product), block] = value.get(name, 0.0)
    return spread


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
