"""Settlement of a day: available prosumers, dispatch after awards, what each bid earned, and the day's account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import BOUND, Tables, optional_table, with_missing
from vpp_pipeline.dispatch.schedule import DaySchedule, held_by_column, schedule_arrays, schedule_rows
from vpp_pipeline.evaluation.settlement import (
    Awards,
    Delivery,
    Money,
    account_of,
    awarded_bids,
    deliveries_of,
    draw_available,
    given_of,
    money_of,
    net_export_mw,
    position_mw,
    same_source,
    storage_bids,
)
from vpp_pipeline.fleet.arrays import Fleet, begin_with, fleet_arrays
from vpp_pipeline.negotiation.agreements import options
from vpp_pipeline.negotiation.contract import cheapest_usd_per_mwh, prices_of
from vpp_pipeline.negotiation.opportunities import covered_hours, hours_of
from vpp_pipeline.schemas import DESK, TABLES, StorageAwards, validate
from vpp_pipeline.settings import MarketRules, SettlementSettings

if TYPE_CHECKING:
    from vpp_pipeline.dispatch.after_awards import Cleared, Deals

RESOURCES, SHARES, LIMITS, _ = BOUND
#: tables of storage resources that a settlement reads; days that older code published lack them
OF_STORAGE = ("fleet.baseline", RESOURCES, SHARES, LIMITS)
#: tables that a settlement reads
READS = (
    "market.prices",
    "market.price_forecast",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "negotiation.agreements",
    "dispatch.starts",
    "dispatch.schedule",
    "dispatch.payments",
    "bids.final_bids",
    "bids.bid_segments",
    *OF_STORAGE,
)
MONEY = ("energy_usd", "reserve_usd", "charging_usd", "imbalance_usd", "leftover_usd", "payments_usd", "net_usd")
TOLERANCE = 1e-3  # kW, kWh: a watt
KW_PER_MW = 1000.0


def settle_day(
    tables: Mapping[str, pl.DataFrame], rules: MarketRules, settings: SettlementSettings, before: int = 0
) -> dict[str, pl.DataFrame]:
    """`evaluation.dispatched`, `.deliveries`, `.settlement`, `.storage_awards`, and `.settled_days` of one day, from
    :data:`READS`.

    Awards by segment, of a storage resource by the market's clearing over the day; available prosumers (drawn, as
    ``settings`` say) are dispatched anew for them, each within its deals, and paid by them. Money is that of two
    settlements: the position at the clearing price, the difference to it at that price made worse by
    `imbalance_factor`.

    Of several resources each is settled by itself, and `evaluation.settled_days` is their sum. ``before``: prosumers of
    the parts before, where ``tables`` are of one part of a day, so that no two parts have the same absences.

    Raises InputError where bids and prices are of different sources.
    """
    same_source(tables["market.price_forecast"], tables["market.prices"])
    found = {table: tables[table] for table in READS if table not in OF_STORAGE}
    for table in OF_STORAGE:
        rows = optional_table(tables, table)
        found[table] = TABLES[table].create_empty() if rows is None else rows
    rows = _bid_with(found)
    is_there = draw_available(rows["availability_fraction"].to_numpy(), rows["market_date"][0], settings, before)
    names = rows["resource_id"].unique().sort().to_list()
    of_prosumer = rows["resource_id"].to_numpy()
    settled = [
        _settle_resource(
            found if len(names) == 1 else _of_resource(found, rows, name),
            rules,
            settings,
            is_there[of_prosumer == name],
        )
        for name in names
    ]
    every = {table: pl.concat((one[table] for one in settled), how="vertical_relaxed") for table in settled[0]}
    account = every["evaluation.settled_days"].group_by("market_date").agg(pl.all().sum())
    every["evaluation.settled_days"] = account.with_columns(pl.selectors.ends_with("_usd").round(2))
    return {table: validate(TABLES[table], rows) for table, rows in every.items()}


def _bid_with(tables: Tables) -> pl.DataFrame:
    """Rows of `fleet.prosumers` by their id, each with the resource that it was bid with."""
    rows = with_missing(tables["fleet.prosumers"].sort("prosumer_id"), resource_id=DESK)
    of_storage = tables[SHARES].select("prosumer_id", bid_with="resource_id")
    rows = rows.join(of_storage, on="prosumer_id", how="left", maintain_order="left")
    return rows.with_columns(resource_id=pl.coalesce("bid_with", "resource_id")).drop("bid_with")


def _of_resource(tables: Tables, prosumers: pl.DataFrame, resource_id: str) -> Tables:
    """The tables of one resource: its ``prosumers``, its opportunities, and what is of them."""
    found = dict(tables)
    mine = {
        "prosumer_id": prosumers.filter(resource_id=resource_id)["prosumer_id"],
        "opportunity_id": found["market.opportunities"].filter(resource_id=resource_id)["opportunity_id"],
        "bid_id": found["bids.final_bids"].filter(resource_id=resource_id)["bid_id"],
    }
    for table, rows in found.items():
        for key in mine.keys() & set(rows.columns):
            found[table] = found[table].filter(pl.col(key).is_in(mine[key].implode()))
    return found | {table: found[table].filter(resource_id=resource_id) for table in (RESOURCES, LIMITS)}


@dataclass(frozen=True)
class _Sold:
    """What a resource was awarded, and how its owners were to deliver it."""

    bids: pl.DataFrame  # of `awarded_bids` or `storage_bids`
    called: pl.DataFrame  # those of them for which owners may be called
    planned: DaySchedule
    payments: pl.DataFrame  # opportunity_id, prosumer_id, dispatched_kw: who was to deliver how much
    storage_awards: pl.DataFrame
    bid_mw: str  # column of ``bids`` that ``planned`` delivers


def _hour_by_hour(tables: Tables) -> _Sold:
    """Of a resource that is bid hour by hour: segments at or below the clearing price."""
    opportunities, final_bids = tables["market.opportunities"], tables["bids.final_bids"]
    bids = awarded_bids(opportunities, final_bids, tables["bids.bid_segments"], tables["market.prices"])
    called, planned = bids.filter(pl.col("awarded_mw") > 0.0), schedule_arrays(tables["dispatch.schedule"])
    return _Sold(bids, called, planned, tables["dispatch.payments"], StorageAwards.create_empty(), "bid_mw")


def _over_the_day(tables: Tables, fleet: Fleet) -> _Sold:
    """Of a storage resource: what the market clears of its bid over the whole day, and each member's part of it.

    Whoever has a deal may be called in every hour in which the resource bids, for the market awards the day as a whole.
    """
    from vpp_pipeline.aggregation.resource_offers import award_rows, offer_of_tables  # with HiGHS

    prices, opportunities = tables["market.prices"].sort("start_utc"), tables["market.opportunities"]
    whole, hours = tables[RESOURCES].row(0, named=True), prices["start_utc"]
    offer = offer_of_tables(whole["resource_id"], fleet, tables)
    awards = offer.awards(np.stack([prices[column].to_numpy() for column in PRICE_COLUMN.values()]))
    planned = offer.schedule(awards)
    energy_kw = offer.self_schedule_kw + awards.discharge_kw[0] - awards.charge_kw[0]
    won_kw = zip(PRODUCTS, (energy_kw, *(kw[0] for kw in awards.held_kw)), strict=True)
    won = pl.concat(
        pl.DataFrame({"product": name, "start_utc": hours, "awarded_mw": kw / KW_PER_MW}) for name, kw in won_kw
    )
    own_mw = offer.baseline.grid_charge_kw.sum(axis=0) / KW_PER_MW
    own = pl.DataFrame({"product": "energy", "start_utc": hours, "own_charging_mw": own_mw})
    bids = storage_bids(opportunities, tables["bids.final_bids"], prices, won.join(own, on=own.columns[:2], how="left"))
    payments = given_of(opportunities, bids, schedule_rows(planned, tables["dispatch.schedule"]))
    begins_kwh = KW_PER_MW * whole["initial_stored_mwh"]
    cleared = award_rows(whole["resource_id"], prices["market_date"][0], hours, awards, begins_kwh)
    return _Sold(bids, bids, planned, payments.rename({"mean_kw": "dispatched_kw"}), cleared, "awarded_mw")


def _settle_resource(
    tables: Tables, rules: MarketRules, settings: SettlementSettings, is_there: Flags
) -> dict[str, pl.DataFrame]:
    """The settlement of one resource, whose prosumers are available where ``is_there`` (N,), not yet validated."""
    from vpp_pipeline.dispatch.after_awards import Cleared  # with CVXPY, which takes two seconds to import

    prices, opportunities = tables["market.prices"].sort("start_utc"), tables["market.opportunities"]
    rows, schedule = tables["fleet.prosumers"].sort("prosumer_id"), tables["dispatch.schedule"]
    fleet = begin_with(fleet_arrays(rows, tables["fleet.availability"]), tables["dispatch.starts"])
    sold = _hour_by_hour(tables) if tables[RESOURCES].is_empty() else _over_the_day(tables, fleet)
    bids, planned = sold.bids, sold.planned

    def by_hour(column: str) -> Array:
        return _by_product_and_hour(bids, opportunities, prices["start_utc"], column)

    won = Awards(by_hour(sold.bid_mw)[0], by_hour("awarded_mw")[0], by_hour("clearing_price"))
    factor, held = settings.imbalance_factor, options(tables["negotiation.agreements"])
    deals = deals_of(held, sold.called, opportunities, rows["prosumer_id"], prices["start_utc"])
    prices_of_hours = np.stack([prices[column].to_numpy() for column in PRICE_COLUMN.values()])
    energy_price = prices_of_hours[0]
    leftover = cheapest_usd_per_mwh(energy_price)
    is_request = pl.col("origin") == "request"
    owed_mw = _by_product_and_hour(bids.filter(is_request), opportunities, prices["start_utc"], "awarded_mw")[0]
    awarded_mw = by_hour("awarded_mw")
    market = Cleared(position_mw(planned, won), awarded_mw[1:], owed_mw, prices_of_hours, factor, leftover)
    done = dispatched_anew(fleet, planned, deals, market, is_there, rules.backing_hours)
    dispatched = schedule_rows(done, schedule)
    broken = limits_broken(fleet, done)
    is_let_down = np.any([where.reshape(len(fleet), -1).any(axis=1) for where in broken.values()], axis=0)
    presence = {"is_there": pl.Series(is_there), "is_let_down": pl.Series(is_let_down)}
    members = rows.select("prosumer_id", "wear_usd_per_mwh", **presence)
    delivery = Delivery(held, sold.payments, dispatched, members, factor)
    deliveries = deliveries_of(opportunities, bids, prices, delivery)
    settlement = account_of(opportunities, bids, delivery, deliveries)

    paid_usd, owed_kwh = float(settlement["payments_usd"].sum()), fleet.terminal_stored_kwh
    money = money_of(fleet, planned, done, won, energy_price, paid_usd, owed_kwh, factor)
    account = {
        "market_date": prices["market_date"][0],
        "bids": bids.height,
        "awarded_bids": int((bids["awarded_mw"].abs() > TOLERANCE / KW_PER_MW).sum()),
        "present": int(is_there.sum()),
        "absent": int((~is_there).sum()),
        "awarded_mwh": float(np.maximum(won.won_mw, 0.0).sum()),
        "exported_mwh": float(done.exported_kw.sum()) / 1000.0,
        "reserve_awarded_mw_h": float(by_hour("awarded_mw")[1:].sum()),
        "reserve_held_mw_h": float(np.sum(done.held_kw, axis=0).sum()) / 1000.0,
        "limits_broken": sum(int(where.sum()) for where in broken.values()),
        "expected_profit_usd": float(bids["expected_profit_usd"].sum()),
        **_in_cents(money, settlement),
        **_expected(tables, fleet, factor),
    }
    return {
        "evaluation.dispatched": dispatched,
        "evaluation.deliveries": deliveries,
        "evaluation.settlement": settlement,
        "evaluation.settled_days": pl.DataFrame([account]),
        "evaluation.storage_awards": sold.storage_awards,
    }


def _expected(tables: Tables, fleet: Fleet, factor: float) -> dict[str, float]:
    """The account's lines at forecast prices if the day goes as it was planned: what settled lines compare with."""
    forecast, opportunities = tables["market.price_forecast"].sort("start_utc"), tables["market.opportunities"]
    bids = tables["bids.final_bids"].filter(status="bid")
    if "expected_mw" not in bids.columns:  # of a day that older code published
        bids = bids.with_columns(expected_mw=pl.lit(None, pl.Float64))
    bids = bids.with_columns(pl.coalesce("expected_mw", "total_capacity_mw").alias("expected_mw"))
    cleared_mw, price = (
        _by_product_and_hour(bids, opportunities, forecast["start_utc"], column)
        for column in ("expected_mw", "forecast_price")
    )
    planned, energy_price = schedule_arrays(tables["dispatch.schedule"]), forecast[PRICE_COLUMN["energy"]].to_numpy()
    clears, paid_usd = Awards(cleared_mw[0], cleared_mw[0], price), float(bids["payments_usd"].sum())
    money = money_of(fleet, planned, planned, clears, energy_price, paid_usd, fleet.terminal_stored_kwh, factor)
    lines = _in_cents(money, bids.with_columns(revenue_usd="expected_revenue_usd", no_pay_usd=pl.lit(0.0)))
    del lines["imbalance_usd"]  # none of a plan
    return {f"expected_{name}": usd for name, usd in lines.items()}


def _in_cents(money: Money, bids: pl.DataFrame) -> dict[str, float]:
    """The account's lines and their sum, in cents. What market and owners are paid is the sum over ``bids``, rows of
    `evaluation.settlement`, so that both tables tell one account.
    """
    lines = {name: round(float(getattr(money, name)), 2) for name in MONEY[:-1]}
    of_energy = pl.col("product") == "energy"
    earned = bids.select(
        energy_usd=pl.col("revenue_usd").filter(of_energy).sum(),
        reserve_usd=(pl.col("revenue_usd") - pl.col("no_pay_usd")).filter(~of_energy).sum(),
    )
    lines |= {name: round(usd, 2) for name, usd in earned.row(0, named=True).items()}
    costs = lines["charging_usd"] + lines["imbalance_usd"] + lines["payments_usd"]
    return lines | {"net_usd": round(lines["energy_usd"] + lines["reserve_usd"] + lines["leftover_usd"] - costs, 2)}


def _by_product_and_hour(bids: pl.DataFrame, opportunities: pl.DataFrame, starts: pl.Series, column: str) -> Array:
    """A column of the bids spread over (products, T); 0 where nothing is bid."""
    spread, value = np.zeros((len(PRODUCTS), len(starts))), dict(bids.select("opportunity_id", column).iter_rows())
    names, products = opportunities["opportunity_id"], opportunities["product"]
    for name, product, block in zip(names, products, hours_of(opportunities, starts), strict=True):
        spread[PRODUCTS.index(product), block] = value.get(name, 0.0)
    return spread


def deals_of(
    held: pl.DataFrame, called: pl.DataFrame, opportunities: pl.DataFrame, prosumer_id: pl.Series, starts: pl.Series
) -> Deals:
    """Who may be called, and for what: the options ``held`` in the opportunities of bids ``called``, at call prices."""
    from vpp_pipeline.dispatch.after_awards import Deals

    place = pl.DataFrame({"prosumer_id": prosumer_id}).with_row_index("i")
    wanted = opportunities.with_row_index("o").join(called, on="opportunity_id", how="semi")
    rows = held.join(wanted.select("o", "opportunity_id"), on="opportunity_id").join(place, on="prosumer_id")
    product = np.array([PRODUCTS.index(name) for name in opportunities["product"]], dtype=np.int64)
    o, i = (rows[name].cast(pl.Int64).to_numpy() for name in ("o", "i"))
    k, t = np.nonzero(covered_hours(opportunities, starts)[o])
    most_kw, price = np.zeros((2, len(PRODUCTS), len(prosumer_id), len(starts)))
    pair = (product[o[k]], i[k], t)
    most_kw[pair] = rows["committed_capacity_kw"].to_numpy()[k]
    price[pair] = prices_of(rows).call_price[k]
    return Deals(most_kw, price)


def dispatched_anew(
    fleet: Fleet, planned: DaySchedule, deals: Deals, market: Cleared, is_there: Flags, call_hours: float
) -> DaySchedule:
    """The day as it goes: prosumers that are available (``is_there`` (N,)) are dispatched anew, others only charge.

    A fleet above MOST_AT_ONCE is dispatched in parts: each for what its available prosumers were to do, and for its
    share of what is missing or no longer wanted.
    """
    from vpp_pipeline.dispatch.after_awards import dispatch_after_awards, in_parts

    done = redispatch(fleet, planned, np.zeros((len(PRODUCTS), *planned.stored_kwh.shape)), call_hours)
    everyone = planned.of(np.flatnonzero(is_there))
    changed_mw = market.position_mw - net_export_mw(done.of(np.flatnonzero(~is_there))) - net_export_mw(everyone)
    for part in in_parts(len(fleet)):
        here = part[is_there[part]]
        if not len(here):
            continue
        mine = planned.of(here)
        share = np.stack([_share_of(mine, everyone, product) for product in range(len(PRODUCTS))])
        own = replace(
            market,
            position_mw=net_export_mw(mine) + share[0] * changed_mw,
            reserve_mw=share[1:] * market.reserve_mw,
            owed_mw=share[0] * market.owed_mw,
        )
        for name, kw in vars(dispatch_after_awards(fleet.part(here), deals.of(here), own, call_hours)).items():
            getattr(done, name)[here] = kw
    return done


def _share_of(mine: DaySchedule, everyone: DaySchedule, product: int) -> Array:
    """Part (T,) of all planned sales that is of ``mine``; where none is planned, its part of the prosumers."""
    sold, of_all = (schedule.sold_kw(product).sum(axis=0) for schedule in (mine, everyone))
    heads = np.full(sold.shape, len(mine.stored_kwh) / len(everyone.stored_kwh))
    return np.asarray(np.divide(sold, of_all, out=heads, where=of_all > 0.0))


def redispatch(fleet: Fleet, planned: DaySchedule, sells: Array, call_hours: float) -> DaySchedule:
    """The ``planned`` day as it goes, where ``sells`` (products, N, T) is the share of each sale that takes place.

    A store charges as planned, but not what it no longer needs for its later sales, its backing of reserve
    (``call_hours`` of it) and the stored energy with which the plan ends. Where a plan orders more than a store holds,
    it runs empty and the rest is missing: physics, not the owner's limits, has the last word.
    """
    discharge, solar_sold = planned.discharge_kw * sells[0], planned.solar_sold_kw * sells[0]
    held = [kw * share for kw, share in zip(planned.held_kw, sells[1:], strict=True)]
    need = _needed_kwh(fleet, planned, discharge, np.sum(held, axis=0), call_hours)
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
        for kw in held:
            kw[:, t] = np.minimum(kw[:, t], backed)
            backed = backed - kw[:, t]
        before = stored[:, t]
    grid = np.maximum(charged - planned.solar_charge_kw, 0.0)
    return DaySchedule(
        grid_charge_kw=grid,
        solar_charge_kw=charged - grid,
        discharge_kw=discharge,
        solar_sold_kw=solar_sold,
        stored_kwh=stored,
        **held_by_column(held),
    )


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
