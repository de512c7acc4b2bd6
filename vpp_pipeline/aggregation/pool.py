"""A pool of owners cut into storage resources, as tables: its classes, kept from day to day, and what they offer.

Classes, shares, baseline, and limits follow from devices, preferences, forecast, and what kinds of owner typically ask,
before any deal is struck. `bound_offer` then leaves out whoever has no deal for its part, and prices the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.aggregation.boxes import Baseline, Boxes, baseline_of, boxes_of
from vpp_pipeline.aggregation.classes import NO_CLASS, Classes, for_the_day, joined, make_classes
from vpp_pipeline.aggregation.clearing import Clearing, StorageBids, bids_at_floors
from vpp_pipeline.aggregation.offer import StorageOffer, outlook_of
from vpp_pipeline.aggregation.resources import StorageResources, composed, resources_of
from vpp_pipeline.core.arrays import Array, Flags, round_down
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.tables import CLASSES_BEFORE, MEMBERS_BEFORE, Day, Tables
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.opportunities import Resource
from vpp_pipeline.schemas import (
    ENTRIES,
    BaselineHours,
    StorageClasses,
    StorageLimits,
    StorageMembers,
    StoragePlan,
    StorageShares,
    validate,
)
from vpp_pipeline.schemas import StorageResources as StorageResourceRows
from vpp_pipeline.settings import MarketRules, ResourceSettings

CLASSES, MEMBERS, BASELINE = "fleet.storage_classes", "fleet.storage_members", "fleet.baseline"
RESOURCES, SHARES = "dispatch.storage_resources", "dispatch.storage_shares"
LIMITS, PLAN = "dispatch.storage_limits", "dispatch.storage_plan"
SCHEDULE, BIDS, SEGMENTS = "dispatch.schedule", "bids.final_bids", "bids.bid_segments"
#: what a storage resource is once deals are struck
BOUND = {RESOURCES: StorageResourceRows, SHARES: StorageShares, LIMITS: StorageLimits, PLAN: StoragePlan}
IN_DAY = ("first", "last", "cycles")
KW_PER_MW = 1000.0
STEEPER = 2.0
DIGITS = 9  # of MW, as bids have them
SAME_MW = 1e-6  # where two segments meet


@dataclass(frozen=True)
class Kept:
    """The classes of a pool as they were made: names of the resources, shapes and members, and where they come from."""

    names: list[str]
    classes: Classes  # members in the order of today's fleet
    version: str
    made_for: date


def pool_tables(
    pool_id: str,
    market_date: date,
    fleet: Fleet,
    forecast: Array,
    floor: Array,
    hours: pl.Series,
    rules: MarketRules,
    settings: ResourceSettings,
    before: Day,
) -> Tables:
    """Rows of CLASSES, MEMBERS, and BASELINE of one pool, whose members are ``fleet``.

    ``forecast`` (3, T); ``floor`` (3, N, T): what owners typically ask; ``hours`` (T,): starts of the day's hours.
    ``before``: CLASSES_BEFORE and MEMBERS_BEFORE, if there are any. Raises SolveError where an owner's own limits
    cannot be kept.
    """
    baseline = baseline_of(fleet, forecast[0], floor[0])
    boxes, call_hours = boxes_of(fleet, baseline), rules.backing_hours
    outlook, energy_floor = outlook_of(fleet, floor, forecast[None], call_hours), floor[0].mean(axis=1)
    kept = _kept_from(before, pool_id, fleet, forecast.shape[1], settings)
    if kept is None:
        least_kwh = 1000.0 * settings.storage_least_mw
        typical = outlook_of(fleet, floor, np.stack([forecast, _steeper(forecast)]), call_hours)
        classes = make_classes(boxes, energy_floor, typical, settings.storage_classes, least_kwh)
        kept = _made(pool_id, market_date, classes)
    else:
        kept = replace(kept, classes=joined(kept.classes, boxes, energy_floor, outlook))
    today = for_the_day(kept.classes, boxes, outlook)
    resources = resources_of(fleet, today, boxes, call_hours, fleet.availability_fraction)
    return {
        CLASSES: _class_rows(kept, resources, pool_id, market_date),
        MEMBERS: _member_rows(kept, resources, fleet, market_date),
        BASELINE: _baseline_rows(baseline, resources, fleet, market_date, hours),
    }


def _steeper(forecast: Array) -> Array:
    """A day (3, T) whose energy prices lie STEEPER times as far from their mean: classes are kept for other days too.

    On a day whose own spread pays for nothing, all owners would be alike.
    """
    mean = forecast[0].mean()
    return np.vstack([mean + STEEPER * (forecast[0] - mean), forecast[1:]])


def _made(pool_id: str, market_date: date, classes: Classes) -> Kept:
    """New classes; a pool too small for one is a single resource that offers nothing."""
    if not len(classes.shape):
        classes = Classes(np.zeros((1, classes.shape.shape[1])), classes.member)
    version = hashlib.sha256(np.ascontiguousarray(classes.shape).tobytes()).hexdigest()[:16]
    return Kept(_names(pool_id, len(classes.shape)), classes, version, market_date)


def _names(pool_id: str, count: int) -> list[str]:
    """Names of the storage resources of a pool: its own where there is one."""
    return [pool_id] if count == 1 else [f"{pool_id}-{k:02}" for k in range(1, count + 1)]


def _kept_from(before: Day, pool_id: str, fleet: Fleet, hours: int, settings: ResourceSettings) -> Kept | None:
    """The classes of the day before; None where there are none, too many, or too many owners have come or gone."""
    if CLASSES_BEFORE not in before or MEMBERS_BEFORE not in before:
        return None
    rows = before[CLASSES_BEFORE].filter(pool_id=pool_id)
    names = rows["resource_id"].unique().sort().to_list()
    members = before[MEMBERS_BEFORE].filter(pl.col("resource_id").is_in(names))
    if not 0 < len(names) <= settings.storage_classes:
        return None
    now = pl.DataFrame({"prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String)})
    place = pl.DataFrame({"resource_id": names}).with_row_index("k")
    held = now.join(members.join(place, on="resource_id"), on="prosumer_id", how="left", maintain_order="left")
    stay = held["k"].count()
    moved = (len(fleet) - stay) + (members.height - stay)
    if moved > settings.storage_remade_fraction * max(len(fleet), members.height):
        return None
    shape = np.stack([_entries(rows.filter(resource_id=name), "shape_kwh") for name in names])
    member = held["k"].cast(pl.Int64).fill_null(NO_CLASS).to_numpy()
    version, made_for = rows.select("version", "made_for_date").row(0)
    return Kept(names, Classes(shape, member).on_a_day_of(hours), version, made_for)


def _entries(rows: pl.DataFrame, column: str) -> Array:
    """One resource's limits (4 T + 3,) from its rows of CLASSES."""
    return np.concatenate([rows.filter(entry=entry).sort("hour_number")[column].to_numpy() for entry in ENTRIES])


def _class_rows(kept: Kept, resources: StorageResources, pool_id: str, market_date: date) -> pl.DataFrame:
    hours, count = resources.box.hours, len(kept.names)
    entry = [name for name in ENTRIES for _ in range(1 if name in IN_DAY else hours)]
    number = [hour for name in ENTRIES for hour in ([0] if name in IN_DAY else range(1, hours + 1))]
    return validate(
        StorageClasses,
        pl.DataFrame(
            {
                "resource_id": np.repeat(kept.names, len(entry)),
                "entry": entry * count,
                "hour_number": number * count,
                "shape_kwh": kept.classes.shape.ravel(),
                "limit_kwh": resources.box.rows.ravel(),
            }
        ).with_columns(
            market_date=pl.lit(market_date),
            pool_id=pl.lit(pool_id),
            version=pl.lit(kept.version),
            made_for_date=pl.lit(kept.made_for),
        ),
    )


def _member_rows(kept: Kept, resources: StorageResources, fleet: Fleet, market_date: date) -> pl.DataFrame:
    """Whoever can discharge nothing is a member of the first, with no share."""
    place = np.where(resources.member == NO_CLASS, 0, resources.member)
    return validate(
        StorageMembers,
        pl.DataFrame(
            {
                "prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String),
                "resource_id": pl.Series(kept.names).gather(place),
                "share_fraction": resources.share,
            }
        ).with_columns(market_date=pl.lit(market_date)),
    )


def _baseline_rows(
    baseline: Baseline, resources: StorageResources, fleet: Fleet, market_date: date, hours: pl.Series
) -> pl.DataFrame:
    count, length = baseline.stored_kwh.shape
    return validate(
        BaselineHours,
        pl.DataFrame(
            {
                "prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String).gather(
                    np.repeat(np.arange(count), length)
                ),
                "start_utc": hours.gather(np.tile(np.arange(length), count)),
                **{name: values.ravel() for name, values in vars(baseline).items()},
                "spare_reserve_kw": resources.spare.ravel(),
            }
        ).with_columns(market_date=pl.lit(market_date)),
    )


def storage_resources(pools: Sequence[Resource], day: Day, fleet: Fleet, rules: MarketRules) -> list[Resource]:
    """The storage resources of ``pools``, with what each offers before any deal.

    ``fleet``: all prosumers, each of its storage resource. What a pool is certified for, and its Pmin and Pmax, are
    shared out by the most that its resources discharge.
    """
    found = []
    for pool in pools:
        names = day[CLASSES].filter(pool_id=pool.resource_id)["resource_id"].unique().sort().to_list()
        parts = {name: fleet.part(np.flatnonzero(fleet.resource_id == name)) for name in names}
        offers = {
            name: _offer(name, of, day, np.zeros((len(PRODUCTS), *of.load_kw.shape)), rules)
            for name, of in parts.items()
        }
        size = {name: float(offer.resources.max_discharge_kw.max(initial=0.0)) for name, offer in offers.items()}
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
            limited = _limited(offer, own, rules)
            offers_mw = dict(zip(PRODUCTS, limited.offered_mw, strict=True))
            size_mw = float(parts[name].max_discharge_kw.max(axis=1, initial=0.0).sum()) / KW_PER_MW
            sun_mw = limited.self_schedule_kw / KW_PER_MW
            found.append(replace(own, offers_mw=offers_mw, sun_mw=sun_mw, size_mw=size_mw))
    return found


def _part_of(mw: float, part: float) -> float:
    """``part`` of a limit, which may be infinite; nothing of any limit for no part."""
    return part * mw if part > 0.0 else 0.0


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
    before = _offer(resource.resource_id, fleet, day, np.zeros_like(floor), rules)
    of_award = (before.resources.share[:, None] * before.resources.max_discharge_kw) > 0.0
    gives = np.stack([of_award] + [of_award | (before.resources.spare > 0.0)] * len(CAISO.reserves))
    is_bound = np.asarray((np.isfinite(floor) | ~gives | ~may_offer[:, None, :]).all(axis=(0, 2)))
    offer = _offer(resource.resource_id, fleet, day, floor, rules, is_bound)
    sells = np.isfinite(floor[0]) & (floor[0] <= forecast[0])
    baseline = replace(offer.baseline, solar_sold_kw=np.where(sells, offer.baseline.solar_sold_kw, 0.0))
    # sun that is not sold leaves its part of Pmax unused: R was found with it
    sold = _limited(replace(offer, baseline=baseline), resource, rules).baseline
    limited = replace(_limited(offer, resource, rules), baseline=sold)
    required_mw = np.stack(list((resource.offers_mw or {}).values()))
    is_enough = may_offer & (limited.offered_mw >= rules.required_fraction * required_mw - 1e-9)
    reserve_kw = np.minimum(limited.bids.reserve_kw, 1000.0 * required_mw[1:, None, :])
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
    most_mw = float((found.max_discharge_kw + found.spare_kw).max(initial=0.0)) / KW_PER_MW
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
    made = {table: validate(BOUND[table], of.with_columns(**key)) for table, of in rows.items()}
    return made | {PLAN: award_rows(resource.resource_id, market_date, hours, awards, initial_kwh)}


def offer_of_tables(resource_id: str, fleet: Fleet, day: Day) -> StorageOffer:
    """The offer of one resource as it was published: the way back from :func:`bound_tables` and its bids.

    ``fleet``: its members. ``day``: BOUND but PLAN, BASELINE, SCHEDULE, BIDS, and SEGMENTS, which set quantities and
    prices. The sun that each member sells is that of the schedule: no award changes it.
    """
    whole = day[RESOURCES].row(by_predicate=pl.col("resource_id") == resource_id, named=True)
    limits = day[LIMITS].filter(resource_id=resource_id).sort("start_utc")
    bids, charge_kw = _published_bids(resource_id, limits, day)
    members, (baseline, spare_kw) = _of_members(fleet, day[SHARES]), _baseline(fleet, day)
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
    shape, most = (1, limits.height), 1 + int(selling["j"].max() or 0)  # type: ignore[arg-type]
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


def _offer(
    name: str, fleet: Fleet, day: Day, floor: Array, rules: MarketRules, is_bound: Flags | None = None
) -> StorageOffer:
    """The offer of one resource by those members who are ``is_bound`` (n,), at ``floor`` (3, n, T); None: by all."""
    counts = np.ones(len(fleet)) if is_bound is None else is_bound.astype(float)
    baseline, spare_kw = _baseline(fleet, day)
    expected = fleet.availability_fraction[:, None] * baseline.solar_sold_kw
    box = _entries(day[CLASSES].filter(resource_id=name), "limit_kwh")
    members = _of_members(fleet, day[MEMBERS])
    resources = composed(
        fleet,
        np.zeros(len(fleet), dtype=np.int64),
        members["share_fraction"].to_numpy() * counts,
        box[None],
        spare_kw * counts[:, None],
        rules.backing_hours,
    )
    bids = bids_at_floors(resources, floor)
    return StorageOffer(fleet, replace(baseline, solar_sold_kw=expected), resources, bids, rules.backing_hours)


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


def _of_members(fleet: Fleet, rows: pl.DataFrame) -> pl.DataFrame:
    """One row of each member, in the order of ``fleet``."""
    ids = pl.DataFrame({"prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String)})
    return ids.join(rows, on="prosumer_id", how="left", maintain_order="left")


def _limited(offer: StorageOffer, resource: Resource, rules: MarketRules) -> StorageOffer:
    """``offer`` of one resource within its Pmin, Pmax, and certification, in steps that the market takes."""
    step_kw, found = 1000.0 * rules.storage_step_mw, offer.resources
    sun_kw = offer.baseline.solar_sold_kw.sum(axis=0)
    scaled = _ratio(round_down(np.minimum(sun_kw, 1000.0 * resource.maximum_mw), step_kw), sun_kw)
    baseline = replace(offer.baseline, solar_sold_kw=scaled * offer.baseline.solar_sold_kw)
    left_kw = np.maximum(1000.0 * resource.maximum_mw - scaled * sun_kw, 0.0)
    discharge_kw = round_down(np.minimum(found.reachable_discharge_kw, left_kw), step_kw)
    charge_kw = round_down(np.minimum(found.max_charge_kw, -1000.0 * resource.minimum_mw), step_kw)
    spare_kw = round_down(np.minimum(found.spare_kw, left_kw - discharge_kw), step_kw)
    rows, hours = found.box.rows.copy(), found.box.hours
    rows[:, :hours] = charge_kw * found.charge_efficiency[:, None]
    rows[:, hours : 2 * hours] = discharge_kw / found.discharge_efficiency[:, None]
    resources = replace(found, box=Boxes(rows), spare=found.spare * _ratio(spare_kw, found.spare_kw))
    held_kw = np.minimum(discharge_kw, round_down(found.backed_kw(offer.call_hours), step_kw)) + spare_kw
    certified_kw = [1000.0 * resource.certified_mw.get(reserve.name, np.inf) for reserve in CAISO.reserves]
    reserve_kw = np.where(
        offer.bids.reserve_kw > 0.0, np.minimum(held_kw[None], np.array(certified_kw)[:, None, None]), 0.0
    )
    sold_kw = np.where(offer.bids.discharge_kw > 0.0, discharge_kw[:, :, None], 0.0)
    bids = replace(offer.bids, discharge_kw=sold_kw, reserve_kw=reserve_kw)
    return replace(offer, baseline=baseline, resources=resources, bids=bids)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0.0)
