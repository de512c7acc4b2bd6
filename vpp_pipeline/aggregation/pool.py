"""A pool of owners cut into storage resources, as tables: classes that are kept from day to day, and their limits.

All of it follows from devices, preferences, forecast, and what kinds of owner typically ask, before any deal is struck;
`resource_offers.py` has what is offered then, and after the deals.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.aggregation.boxes import Baseline, baseline_of, boxes_of
from vpp_pipeline.aggregation.classes import NO_CLASS, Classes, for_the_day, joined, make_classes
from vpp_pipeline.aggregation.coordinator import kept_by_coordinator
from vpp_pipeline.aggregation.offer import outlook_of
from vpp_pipeline.aggregation.resources import StorageResources, resources_of
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.tables import AGGREGATED, CLASSES_BEFORE, MEMBERS_BEFORE, Day, Tables
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.schemas import ENTRIES, BaselineHours, StorageClasses, StorageMembers, validate
from vpp_pipeline.settings import MarketRules, ResourceSettings

CLASSES, MEMBERS, BASELINE = AGGREGATED
IN_DAY = ("first", "last", "cycles")
STEEPER = 2.0  # of 1, 2, 3, and 5, by what the plans of four days of 2024 expect


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
    charging_adder: float,
) -> Tables:
    """Rows of CLASSES, MEMBERS, and BASELINE of one pool, whose members are ``fleet``.

    ``forecast`` (3, T); ``floor`` (3, N, T): what owners typically ask; ``hours`` (T,): starts of the day's hours.
    ``before``: CLASSES_BEFORE and MEMBERS_BEFORE, if there are any. ``charging_adder``: what every MWh charged costs
    more. Raises SolveError where an owner's own limits cannot be kept.
    """
    baseline = baseline_of(fleet, forecast[0], floor[0], charging_adder)
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
    if rules.storage_kept_by == "coordinator":
        today = kept_by_coordinator(today, outlook)
    resources = resources_of(fleet, today, boxes, call_hours)
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
    shape = np.stack([entries_of(rows.filter(resource_id=name), "shape_kwh") for name in names])
    member = held["k"].cast(pl.Int64).fill_null(NO_CLASS).to_numpy()
    version, made_for = rows.select("version", "made_for_date").row(0)
    return Kept(names, Classes(shape, member).on_a_day_of(hours), version, made_for)


def entries_of(rows: pl.DataFrame, column: str) -> Array:
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
