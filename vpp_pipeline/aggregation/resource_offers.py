"""What storage resources offer: before any deal, bound by deals, as it is published, and read back from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.aggregation.boxes import Baseline, Boxes
from vpp_pipeline.aggregation.clearing import Clearing, StorageBids, bids_at_floors
from vpp_pipeline.aggregation.coordinator import backed_kwh, deliverable
from vpp_pipeline.aggregation.offer import StorageOffer
from vpp_pipeline.aggregation.pool import BASELINE, CLASSES, MEMBERS, entries_of
from vpp_pipeline.aggregation.resources import StorageResources, composed
from vpp_pipeline.aggregation.storage_day import Gains, StorageDay
from vpp_pipeline.core.arrays import Array, Flags, round_down
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import BOUND, Day, Tables
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.opportunities import Resource
from vpp_pipeline.schemas import TABLES, StoragePlan, validate
from vpp_pipeline.settings import MarketRules

RESOURCES, SHARES, LIMITS, PLAN = BOUND
SCHEDULE, BIDS, SEGMENTS = "dispatch.schedule", "bids.final_bids", "bids.bid_segments"
KW_PER_MW = 1000.0
DIGITS = 9  # of MW, as bids have them
SAME_MW = 1e-6  # where two segments meet


def storage_resources(pools: Sequence[Resource], day: Day, fleet: Fleet, rules: MarketRules) -> list[Resource]:
    """The storage resources of ``pools``, with what each offers before any deal.

    ``fleet``: all prosumers, each of its storage resource. What a pool is certified for, and its Pmin and Pmax, are
    shared out by the most that its resources discharge or hold.
    """
    energy_price = day["market.price_forecast"].sort("start_utc")[PRICE_COLUMN["energy"]].to_numpy()
    found = []
    for pool in pools:
        names = day[CLASSES].filter(pool_id=pool.resource_id)["resource_id"].unique().sort().to_list()
        parts = {name: fleet.part(np.flatnonzero(fleet.resource_id == name)) for name in names}
        offers = {name: _offered_before_deals(_members_of(name, of, day), rules) for name, of in parts.items()}
        size = {name: float(offer.resources.most_kw.max(initial=0.0)) for name, offer in offers.items()}
        for name, offer in offers.items():
            part = size[name] / max(sum(size.values()), 1e-9)
            own = replace(
                pool,
                resource_id=name,
                pool_id=pool.resource_id,
                minimum_mw=_part_of(pool.minimum_mw, part),
                maximum_mw=_part_of(pool.maximum_mw, part),
                certified_mw={
                    reserve: float(round_down(_part_of(mw, part), rules.storage_step_mw))
                    for reserve, mw in pool.certified_mw.items()
                },
            )
            limited = _limited(offer, own, energy_price, rules)
            offers_mw = dict(zip(PRODUCTS, limited.offered_mw, strict=True))
            size_mw = float(parts[name].max_discharge_kw.max(axis=1, initial=0.0).sum()) / KW_PER_MW
            sun_mw = limited.self_schedule_kw / KW_PER_MW
            found.append(replace(own, offers_mw=offers_mw, sun_mw=sun_mw, size_mw=size_mw))
    return found


def _part_of(mw: float, part: float) -> float:
    """``part`` of a limit; an infinite one is none of any part."""
    return part * mw if np.isfinite(mw) else mw


def bound_offer(
    resource: Resource,
    fleet: Fleet,
    day: Day,
    floor: Array,
    may_offer: Flags,
    forecast: Array,
    rules: MarketRules,
) -> tuple[StorageOffer, Flags]:
    """What ``resource`` offers once deals are struck, and who of its members (n,) is bound by them.

    ``floor`` (3, n, T): call prices, infinite without a deal. ``may_offer`` (3, T). A member without a deal for all
    that its part could be asked for is left out: it only charges what it needs. What is left is offered where it is at
    least 80% of R. Sun is sold where the ``forecast`` (3, T) reaches its owner's floor. Everything is rounded to steps
    that the market takes, downward.
    """
    members = _members_of(resource.resource_id, fleet, day)
    of_award = np.outer(members.share, Boxes(members.box[None]).discharge[0]) > 0.0
    gives = np.stack([of_award] + [of_award | (members.spare_kw > 0.0)] * len(CAISO.reserves))
    is_bound = np.asarray((np.isfinite(floor) | ~gives | ~may_offer[:, None, :]).all(axis=(0, 2)))
    offer = _offer(members, floor, is_bound, rules)
    sells = np.isfinite(floor[0]) & (floor[0] <= forecast[0])
    sun = replace(members.baseline, solar_sold_kw=np.where(sells, members.baseline.solar_sold_kw, 0.0))
    # sun that is not sold leaves its part of Pmax unused: R was found with it
    limited = replace(_limited(offer, resource, forecast[0], rules), baseline=_sun_in_steps(sun, resource, rules))
    required_mw = np.stack(list((resource.offers_mw or {}).values()))
    is_enough = may_offer & (limited.offered_mw >= rules.required_fraction * required_mw - 1e-9)
    reserve_kw = np.minimum(limited.bids.reserve_kw, KW_PER_MW * required_mw[1:, None, :])
    bids = replace(
        limited.bids,
        discharge_kw=np.where(is_enough[0][None, :, None], limited.bids.discharge_kw, 0.0),
        reserve_kw=np.where(is_enough[1:, None, :], reserve_kw, 0.0),
    )
    return replace(limited, bids=bids, resources=_within_bids(limited.resources, bids)), is_bound


def _within_bids(resources: StorageResources, bids: StorageBids) -> StorageResources:
    """``resources`` with no more power than their ``bids``: where no discharge is offered, that of the largest reserve.

    Energy and all reserves of an hour are awarded within it, and the bid's curve spans no more.
    """
    hours, rows = resources.box.hours, resources.box.rows.copy()
    held_kw = bids.reserve_kw.max(axis=0) - resources.spare_kw
    power_kw = np.maximum(bids.discharge_kw.sum(axis=2), np.maximum(held_kw, 0.0))
    rows[:, hours : 2 * hours] = power_kw / resources.discharge_efficiency[:, None]
    return replace(resources, box=Boxes(rows))


@dataclass(frozen=True)
class _Members:
    """The n members of one storage resource, and what they can do together before any deal."""

    fleet: Fleet
    baseline: Baseline  # with the sun that is expected of those who come
    spare_kw: Array  # (n, T) reserve that each holds beyond its part
    share: Array  # (n,)
    box: Array  # (4 T + 3,)


def _members_of(name: str, fleet: Fleet, day: Day) -> _Members:
    baseline, spare_kw = _baseline(fleet, day)
    expected = fleet.availability_fraction[:, None] * baseline.solar_sold_kw
    share = _rows_of(fleet, day[MEMBERS])["share_fraction"].to_numpy()
    box = entries_of(day[CLASSES].filter(resource_id=name), "limit_kwh")
    return _Members(fleet, replace(baseline, solar_sold_kw=expected), spare_kw, share, box)


def _offered_before_deals(members: _Members, rules: MarketRules) -> StorageOffer:
    """The offer if all ``members`` have deals, whatever their prices."""
    count, hours = members.spare_kw.shape
    return _offer(members, np.zeros((len(PRODUCTS), count, hours)), np.ones(count, dtype=bool), rules)


def _offer(members: _Members, floor: Array, is_bound: Flags, rules: MarketRules) -> StorageOffer:
    """The offer of those ``members`` who are ``is_bound`` (n,), at ``floor`` (3, n, T)."""
    resources = composed(
        members.fleet,
        np.zeros(len(is_bound), dtype=np.int64),
        members.share * is_bound,
        members.box[None],
        members.spare_kw * is_bound[:, None],
        rules.backing_hours,
    )
    return StorageOffer(
        members.fleet, members.baseline, resources, bids_at_floors(resources, floor), rules.backing_hours
    )


def _limited(offer: StorageOffer, resource: Resource, energy_price: Array, rules: MarketRules) -> StorageOffer:
    """``offer`` of one resource within its Pmin, Pmax, and certification, in steps and with limits that the market
    takes."""
    step_kw = KW_PER_MW * rules.storage_step_mw
    found = replace(offer.resources, box=_taken_by_the_market(offer.resources.box, energy_price, rules))
    sells = offer.bids.discharge_kw > 0.0
    if rules.storage_kept_by == "market" and not rules.storage_limit_of_day:
        sells &= ~((found.box.charge > 0.0) & _is_for_charging(energy_price))[:, :, None]
    baseline = _sun_in_steps(offer.baseline, resource, rules)
    left_kw = np.maximum(KW_PER_MW * resource.maximum_mw - baseline.solar_sold_kw.sum(axis=0), 0.0)
    discharge_kw = round_down(np.minimum(found.reachable_discharge_kw, left_kw), step_kw)
    charge_kw = round_down(np.minimum(found.max_charge_kw, -KW_PER_MW * resource.minimum_mw), step_kw)
    spare_kw = round_down(np.minimum(found.spare_kw, left_kw - discharge_kw), step_kw)
    rows, hours = found.box.rows.copy(), found.box.hours
    out = found.discharge_efficiency[:, None]
    rows[:, :hours] = charge_kw * found.charge_efficiency[:, None]
    if rules.storage_kept_by == "coordinator":
        discharge_kw = round_down(out * deliverable(rows[:, :hours], discharge_kw / out, found.box), step_kw)
        backed_kw = out * backed_kwh(rows[:, :hours], discharge_kw / out, found.box) / offer.call_hours
    else:
        backed_kw = found.backed_kw(offer.call_hours)
    rows[:, hours : 2 * hours] = discharge_kw / out
    resources = replace(found, box=Boxes(rows), spare=found.spare * _ratio(spare_kw, found.spare_kw))
    held_kw = np.minimum(discharge_kw, round_down(backed_kw, step_kw)) + spare_kw
    certified_kw = [KW_PER_MW * resource.certified_mw.get(reserve.name, np.inf) for reserve in CAISO.reserves]
    reserve_kw = np.where(
        offer.bids.reserve_kw > 0.0, np.minimum(held_kw[None], np.array(certified_kw)[:, None, None]), 0.0
    )
    sold_kw = np.where(sells, discharge_kw[:, :, None], 0.0)
    if rules.storage_kept_by == "coordinator":  # the market may award all reserves: the first has what is backed
        most_kw = np.where(backed_kw < discharge_kw, held_kw, np.inf)
        taken_kw = np.minimum(np.cumsum(reserve_kw, axis=0), most_kw)
        reserve_kw = np.diff(taken_kw, axis=0, prepend=0.0)
    bids = replace(offer.bids, discharge_kw=sold_kw, reserve_kw=reserve_kw)
    return replace(offer, baseline=baseline, resources=resources, bids=bids)


def _taken_by_the_market(box: Boxes, energy_price: Array, rules: MarketRules) -> Boxes:
    """``box`` of one resource such that limits which the market does not take hold by themselves.

    Without limits by hour, one range of stored energy holds for the day: the narrowest of all hours, that the day must
    begin and end in included. Without a limit of the day, charging is offered so that the other limits keep it.
    """
    rows, hours = box.rows.copy(), box.hours
    if rules.storage_kept_by == "coordinator":  # then none of them is the market's
        return box
    if not rules.storage_limits_by_hour:
        rows[:, 2 * hours : 3 * hours] = min(box.below.min(), rows[0, -3:].min())
        rows[:, 3 * hours : 4 * hours] = box.above.min()
        rows[:, -3:-1] = rows[0, 2 * hours]
    if not rules.storage_limit_of_day:
        rows[:, -2] = np.minimum(rows[:, -2], rows[:, -1])
        rows[0, :hours] = charging_within_the_day(Boxes(rows), energy_price)
    return Boxes(rows)


def _is_for_charging(energy_price: Array) -> Flags:
    """Hours (T,) in which no owner would sell at the forecast: there a resource that charges sells no energy."""
    return energy_price <= 0.0


def charging_within_the_day(box: Boxes, energy_price: Array) -> Array:
    """Charging (T,) of one resource with which no award that keeps its other limits discharges more than the day may.

    What is discharged is at most what is charged and what the day may end below its start, Σq = Σc − S_T ≤ Σc + last.
    Hours are taken as they are cheapest at ``energy_price`` (T,) while that is within the limit; then while the most
    that any award discharges, a linear program, still is. Where a resource does not sell in the hours in which it
    charges, it can charge no more than it has room for, however many they are: so those below zero are all open.
    """
    hours, nothing, limit = box.hours, np.zeros(box.hours), float(box.cycles[0])
    program, row = StorageDay(hours, 1.0), np.append(box.rows[0, :-1], np.inf)
    program.earn(Gains(nothing, np.ones((hours, 1)), nothing, nothing))

    def most_discharged(charge: Array, sells: Flags) -> float:
        program.limit(row, charge, np.where(sells, box.discharge[0], 0.0)[:, None])
        return float(program.solve().sold.sum())

    charge, sells, most = nothing.copy(), np.ones(hours, dtype=bool), float(box.last[0])
    for t in np.argsort(energy_price, kind="stable"):
        before, kwh = charge.copy(), float(box.charge[0, t])
        if kwh <= 0.0:
            continue
        charge[t], sells[t] = kwh, not _is_for_charging(energy_price)[t]
        most = most + kwh if most + kwh <= limit else most_discharged(charge, sells)
        if most > limit:
            charge[t] = min(kwh, max(limit - most_discharged(before, sells), 0.0))
            break
    return charge


def _sun_in_steps(baseline: Baseline, resource: Resource, rules: MarketRules) -> Baseline:
    """``baseline`` of which no more sun is sold together than the resource's Pmax, in steps that the market takes."""
    sun_kw = baseline.solar_sold_kw.sum(axis=0)
    most_kw = np.minimum(sun_kw, KW_PER_MW * resource.maximum_mw)
    part = _ratio(round_down(most_kw, KW_PER_MW * rules.storage_step_mw), sun_kw)
    return replace(baseline, solar_sold_kw=part * baseline.solar_sold_kw)


def bound_tables(
    resource: Resource,
    market_date: date,
    hours: pl.Series,
    offer: StorageOffer,
    is_bound: Flags,
    awards: Clearing,
) -> Tables:
    """Rows of BOUND of one resource. States of charge are counted from the lowest that any hour allows."""
    found, box, bids = offer.resources, offer.resources.box, offer.bids
    initial_kwh = float(max(box.below.max(initial=0.0), box.first.max(initial=0.0)))
    most_mw = float(found.most_kw.max(initial=0.0)) / KW_PER_MW
    if np.isfinite(resource.size_mw):  # as it is registered, whatever the day leaves
        most_mw = max(most_mw, resource.size_mw)
    whole = {
        "pool_id": resource.pool_id or resource.resource_id,
        "members": len(is_bound),
        "bound_members": int(is_bound.sum()),
        "charge_efficiency": float(found.charge_efficiency[0]),
        "discharge_efficiency": float(found.discharge_efficiency[0]),
        "initial_stored_mwh": initial_kwh / KW_PER_MW,
        "first_backing_mwh": float(box.first[0]) / KW_PER_MW,
        "final_stored_mwh": (initial_kwh - float(box.last[0])) / KW_PER_MW,
        "daily_discharge_mwh": float(box.cycles[0]) / KW_PER_MW,
        **{one.certified_column: min(resource.certified_mw.get(one.name, np.inf), most_mw) for one in CAISO.reserves},
        "call_hours": offer.call_hours,
    }
    shares = {
        "prosumer_id": pl.Series(offer.fleet.prosumer_id, dtype=pl.String),
        "is_bound": is_bound,
        "share_fraction": found.share,
    }
    sold_kw = bids.discharge_kw[0].sum(axis=1)
    priced = {
        "discharge_price_usd_per_mwh": (sold_kw, bids.discharge_price[0, :, 0]),
        **{one.price_column: (bids.reserve_kw[r, 0], bids.reserve_price[r, 0]) for r, one in enumerate(CAISO.reserves)},
    }
    limits = {
        "start_utc": hours,
        "self_schedule_mw": np.round(offer.self_schedule_kw / KW_PER_MW, DIGITS),
        "own_charging_mw": offer.baseline.grid_charge_kw.sum(axis=0) / KW_PER_MW,
        "max_charge_mw": found.max_charge_kw[0] / KW_PER_MW,
        "max_discharge_mw": sold_kw / KW_PER_MW,
        "reserve_beyond_mw": found.spare_kw[0] / KW_PER_MW,
        "lowest_stored_mwh": (initial_kwh - box.below[0]) / KW_PER_MW,
        "highest_stored_mwh": (initial_kwh + box.above[0]) / KW_PER_MW,
        "charge_price_usd_per_mwh": bids.charge_price[0],
        **{name: pl.Series(np.where(kw > 0.0, usd, np.nan)).fill_nan(None) for name, (kw, usd) in priced.items()},
    }
    rows = {RESOURCES: pl.DataFrame([whole]), SHARES: pl.DataFrame(shares), LIMITS: pl.DataFrame(limits)}
    key = {"market_date": pl.lit(market_date), "resource_id": pl.lit(resource.resource_id)}
    made = {table: validate(TABLES[table], of.with_columns(**key)) for table, of in rows.items()}
    return made | {PLAN: award_rows(resource.resource_id, market_date, hours, awards, initial_kwh)}


def award_rows(
    resource_id: str, market_date: date, hours: pl.Series, awards: Clearing, initial_kwh: float
) -> pl.DataFrame:
    """The awards of one resource as rows of PLAN."""
    columns = {
        "start_utc": hours,
        "charge_mw": awards.charge_kw[0] / KW_PER_MW,
        "discharge_mw": awards.discharge_kw[0] / KW_PER_MW,
        **{f"{one.name}_mw": kw[0] / KW_PER_MW for one, kw in zip(CAISO.reserves, awards.held_kw, strict=True)},
        "stored_mwh": (initial_kwh + awards.stored_kwh[0]) / KW_PER_MW,
        "stored_value_usd_per_mwh": KW_PER_MW * awards.stored_value[0],
    }
    rows = pl.DataFrame(columns).with_columns(pl.exclude("start_utc").round(DIGITS))
    key = {"market_date": pl.lit(market_date), "resource_id": pl.lit(resource_id)}
    return validate(StoragePlan, rows.with_columns(**key))


def offer_of_tables(resource_id: str, fleet: Fleet, day: Day) -> StorageOffer:
    """The offer of one resource as it was published: the way back from :func:`bound_tables` and its bids.

    ``fleet``: its members. ``day``: BOUND but PLAN, BASELINE, SCHEDULE, BIDS, and SEGMENTS, which set quantities and
    prices. The sun that each member sells is that of the schedule: no award changes it.
    """
    whole = day[RESOURCES].row(by_predicate=pl.col("resource_id") == resource_id, named=True)
    limits = day[LIMITS].filter(resource_id=resource_id).sort("start_utc")
    bids, charge_kw = _published_bids(resource_id, limits, day)
    members, (baseline, spare_kw) = _rows_of(fleet, day[SHARES]), _baseline(fleet, day)
    (sold_kw,) = _by_hour(fleet, day[SCHEDULE], ["solar_sold_kw"])
    spare_kw = spare_kw * members["is_bound"].to_numpy()[:, None]
    beyond_kw = KW_PER_MW * limits["reserve_beyond_mw"].to_numpy()
    begins, edges = whole["initial_stored_mwh"], [f"{edge}_stored_mwh" for edge in ("lowest", "highest")]
    lowest, highest = (limits[edge].to_numpy() for edge in edges)
    of_day = [whole["first_backing_mwh"], begins - whole["final_stored_mwh"], whole["daily_discharge_mwh"]]
    stored_kwh = KW_PER_MW * np.concatenate([begins - lowest, highest - begins, of_day])
    into, out = (np.array([whole[f"{way}_efficiency"]]) for way in ("charge", "discharge"))
    row = np.concatenate([into * charge_kw, np.zeros_like(charge_kw), np.maximum(stored_kwh, 0.0)])
    resources = StorageResources(
        np.zeros(len(fleet), dtype=np.int64),
        members["share_fraction"].to_numpy(),
        Boxes(row[None]),
        spare_kw * _ratio(beyond_kw, spare_kw.sum(axis=0)),
        into,
        out,
    )
    sells = replace(baseline, solar_sold_kw=sold_kw)
    return StorageOffer(fleet, sells, _within_bids(resources, bids), bids, whole["call_hours"])


def _published_bids(resource_id: str, limits: pl.DataFrame, day: Day) -> tuple[StorageBids, Array]:
    """What one resource bid, and the charging (T,) in kW; ``limits``: its rows of LIMITS.

    Segments below the self-schedule charge, those within the discharge sell, and the rest only cover reserve.
    """
    mine = day[BIDS].filter(resource_id=resource_id, status="bid").select("bid_id", "product", "start_utc")
    hours = limits.select("start_utc", "self_schedule_mw", "max_discharge_mw").with_row_index("t")
    spans = day[SEGMENTS].join(mine, on="bid_id").join(hours, on="start_utc").sort("t", "segment")
    spans = spans.with_columns(kw=KW_PER_MW * (pl.col("to_mw") - pl.col("from_mw")))
    low, high = (pl.col(end) - pl.col("self_schedule_mw") for end in ("from_mw", "to_mw"))
    of_energy = spans.filter(product="energy")
    charging = of_energy.filter(high <= SAME_MW)
    selling = of_energy.filter(low >= -SAME_MW, high <= pl.col("max_discharge_mw") + SAME_MW)
    selling = selling.with_columns(j=pl.int_range(pl.len()).over("t"))
    shape, most = (1, limits.height), 1 + int(selling["j"].to_numpy().max(initial=0))
    charge_kw, charge_price = np.zeros((2, *shape))
    sold_kw, sold_price = np.zeros((2, *shape, most))
    held_kw, held_price = np.zeros((2, len(CAISO.reserves), *shape))
    t = charging["t"].to_numpy()
    charge_kw[0, t], charge_price[0, t] = charging["kw"], charging["price_usd_per_mwh"]
    at = selling["t"].to_numpy(), selling["j"].to_numpy()
    sold_kw[0][at], sold_price[0][at] = selling["kw"], selling["price_usd_per_mwh"]
    for r, reserve in enumerate(CAISO.reserves):
        of_reserve = spans.filter(product=reserve.name)
        t = of_reserve["t"].to_numpy()
        held_kw[r, 0, t], held_price[r, 0, t] = of_reserve["kw"], of_reserve["price_usd_per_mwh"]
    return StorageBids(charge_price, sold_kw, sold_price, held_kw, held_price), charge_kw[0]


def _baseline(fleet: Fleet, day: Day) -> tuple[Baseline, Array]:
    """What members do whatever the market awards, and the reserve (n, T) that each holds beyond its part."""
    columns = [*(one.name for one in fields(Baseline)), "spare_reserve_kw"]
    *of_baseline, spare_kw = _by_hour(fleet, day[BASELINE], columns)
    return Baseline(*of_baseline), spare_kw


def _by_hour(fleet: Fleet, rows: pl.DataFrame, columns: list[str]) -> list[Array]:
    """``columns`` (n, T) of the members' ``rows``, which are of every prosumer and hour."""
    ids = pl.Series(fleet.prosumer_id, dtype=pl.String)
    mine = rows.filter(pl.col("prosumer_id").is_in(ids.implode())).sort("prosumer_id", "start_utc")
    return [mine[column].to_numpy().reshape(len(fleet), -1) for column in columns]


def _rows_of(fleet: Fleet, rows: pl.DataFrame) -> pl.DataFrame:
    """One row of each member, in the order of ``fleet``."""
    ids = pl.DataFrame({"prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String)})
    return ids.join(rows, on="prosumer_id", how="left", maintain_order="left")


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0.0)
