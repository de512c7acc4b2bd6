"""The fleet of one day as whole arrays, and the stored energy that it begins with."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Codes, Flags, Indices, Texts
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.fleet.envelope import LIMITED_BY, highest_reachable_kwh
from vpp_pipeline.schemas import DESK, Starts, is_in_order, validate
from vpp_pipeline.settings import NegotiationPolicy

SHARE_OF_R = "the largest share of R that one prosumer may commit"
CLOSED = "its resource, which may not offer it"
#: what bounds the capacity that a prosumer can offer in an hour, in words that follow "bound by"
BOUNDS = (
    "its EV being away",
    "its opt-out day",
    "its hours without export",
    "its quiet hours",
    "its state of charge, below its floor",
    "a store that may not discharge, with no sun to spare",
    "its site's export limit",
    "the stored energy above what it must keep",
    "the power of its devices",
    SHARE_OF_R,
    CLOSED,
)
TOLERANCE_KWH = 1e-4  # that of the schedule's verification


@dataclass(frozen=True)
class Fleet:
    """N prosumers over T hours of one market day. Arrays are (N,) or (N, T); step 1 h."""

    prosumer_id: Texts
    segment: Texts  # site and store, e.g. `home battery`
    resource_id: Texts
    has_store: Flags
    charge_efficiency: Array
    discharge_efficiency: Array
    initial_stored_kwh: Array
    terminal_stored_kwh: Array
    capacity_kwh: Array
    maximum_cycles_per_day: Array
    willingness_fraction: Array
    minimum_compensation_usd_per_kwh: Array
    wear_usd_per_mwh: Array
    patience: Array
    availability_fraction: Array
    max_charge_kw: Array
    max_discharge_kw: Array
    min_stored_kwh: Array
    max_stored_kwh: Array
    solar_kw: Array
    load_kw: Array
    drive_kwh: Array
    export_limit_kw: Array
    limited_by: Codes  # (N, T) why the store may not discharge: index into LIMITED_BY, or -1

    def __len__(self) -> int:
        return len(self.prosumer_id)

    def part(self, chosen: Indices) -> Fleet:
        """The ``chosen`` prosumers (n,) alone."""
        return Fleet(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @cached_property
    def surplus_kw(self) -> Array:
        """Solar left after the home's own load (N, T)."""
        return np.maximum(self.solar_kw - self.load_kw, 0.0)

    @cached_property
    def export_room_kw(self) -> Array:
        """Most a prosumer may sell and hold ready (N, T): its export limit, and the load that its own solar leaves."""
        return self.export_limit_kw + np.maximum(self.load_kw - self.solar_kw, 0.0)

    @cached_property
    def reachable_kwh(self) -> Array:
        """Highest stored energy (N, T+1), column 0 at the day's start."""
        return highest_reachable_kwh(
            self.initial_stored_kwh, self.charge_efficiency, self.max_charge_kw, self.max_stored_kwh, self.drive_kwh
        )

    @cached_property
    def energy_capacity_kw(self) -> Array:
        """Most each prosumer can export in an hour (N, T): store and surplus solar, within its site's export."""
        above_floor_kwh = np.maximum(self.reachable_kwh[:, :-1] - self.drive_kwh - self.min_stored_kwh, 0.0)
        store_kw = np.minimum(self.max_discharge_kw, above_floor_kwh * self.discharge_efficiency[:, None])
        return np.minimum(store_kw + self.surplus_kw, self.export_room_kw)

    def reserve_capacity_kw(self, call_hours: float) -> Array:
        """Most each prosumer can hold as reserve (N, T), backed by ``call_hours`` of energy before and after."""
        floor_before = np.column_stack(
            [np.minimum(self.initial_stored_kwh, self.min_stored_kwh[:, 0]), self.min_stored_kwh]
        )[:, :-1]
        before_kwh = self.reachable_kwh[:, :-1] - floor_before
        after_kwh = self.reachable_kwh[:, 1:] - self.min_stored_kwh
        backed_kw = np.maximum(np.minimum(before_kwh, after_kwh), 0.0) * self.discharge_efficiency[:, None] / call_hours
        held_kw: Array = np.minimum(np.minimum(self.max_discharge_kw, backed_kw), self.export_room_kw)
        return held_kw

    def capacity_kw(self, product: str, call_hours: float) -> Array:
        """Most each prosumer can offer of ``product`` (N, T)."""
        return self.energy_capacity_kw if CAISO.product(product).is_energy else self.reserve_capacity_kw(call_hours)

    def bounds_of(self, product: str, capacity_kw: Array) -> Codes:
        """What bounds ``capacity_kw`` of :meth:`capacity_kw` (N, T): index into BOUNDS, the cause that comes first."""
        offered_kw = self.max_discharge_kw + (0.0 if CAISO.product(product).needs_store else self.surplus_kw)
        return np.select(
            [
                (self.max_discharge_kw <= 0.0) & (self.limited_by >= 0),
                offered_kw <= 0.0,
                (capacity_kw < offered_kw) & (capacity_kw >= self.export_room_kw),
                capacity_kw < offered_kw,
            ],
            [self.limited_by, *(np.int8(len(LIMITED_BY) + k) for k in range(3))],
            default=np.int8(len(LIMITED_BY) + 3),
        ).astype(np.int8)


def fleet_arrays(prosumers: pl.DataFrame, availability: pl.DataFrame) -> Fleet:
    """``fleet.prosumers`` and ``fleet.availability`` of one day as arrays, prosumers in the order of their id."""
    rows, key = prosumers.sort("prosumer_id"), ["prosumer_id", "start_utc"]
    hourly = availability if is_in_order(availability, key) else availability.sort(key)
    shape = (rows.height, hourly.height // rows.height)
    if not hourly["prosumer_id"].unique(maintain_order=True).equals(rows["prosumer_id"]):
        raise ValueError(
            "fleet.availability and fleet.prosumers do not hold the same prosumers: materialise both for this day"
        )

    def per_prosumer(name: str) -> Array:
        return rows[name].to_numpy()

    def per_hour(name: str) -> Array:
        return hourly[name].to_numpy().reshape(shape)

    return Fleet(
        prosumer_id=per_prosumer("prosumer_id"),
        segment=rows.select(pl.format("{} {}", "site_type", "store")).to_series().to_numpy(),
        resource_id=_shared_texts(with_missing(rows, resource_id=DESK)["resource_id"]),
        has_store=(rows["store"] != "none").to_numpy(),
        charge_efficiency=per_prosumer("charge_efficiency"),
        discharge_efficiency=per_prosumer("discharge_efficiency"),
        initial_stored_kwh=per_prosumer("initial_stored_kwh"),
        terminal_stored_kwh=per_prosumer("terminal_stored_kwh"),
        capacity_kwh=per_prosumer("capacity_kwh"),
        maximum_cycles_per_day=per_prosumer("maximum_cycles_per_day"),
        willingness_fraction=per_prosumer("participation_willingness_fraction"),
        minimum_compensation_usd_per_kwh=per_prosumer("minimum_compensation_usd_per_kwh"),
        wear_usd_per_mwh=per_prosumer("wear_usd_per_mwh"),
        patience=per_prosumer("patience"),
        availability_fraction=per_prosumer("availability_fraction"),
        max_charge_kw=per_hour("max_charge_kw"),
        max_discharge_kw=per_hour("max_discharge_kw"),
        min_stored_kwh=per_hour("min_stored_kwh"),
        max_stored_kwh=per_hour("max_stored_kwh"),
        solar_kw=per_hour("solar_kw"),
        load_kw=per_hour("load_kw"),
        drive_kwh=per_hour("drive_kwh"),
        export_limit_kw=per_hour("export_limit_kw"),
        limited_by=hourly["limited_by"]
        .replace_strict(list(LIMITED_BY), list(range(len(LIMITED_BY))), default=-1, return_dtype=pl.Int8)
        .to_numpy()
        .reshape(shape),
    )


def _shared_texts(column: pl.Series) -> Texts:
    """A column of a few texts as an array that holds each of them once."""
    known = column.unique().sort()
    texts: Texts = np.array(known.to_list(), dtype=object)
    return np.asarray(texts[known.search_sorted(column).to_numpy()])


def reservation_price(fleet: Fleet, product: str, policy: NegotiationPolicy) -> Array:
    """Least each owner (N,) must be paid: $/MWh delivered, for reserves $ per MW held for one hour.

    Energy: wear + minimum compensation + inconvenience x (1 - willingness). Reserve: a holding premium plus the chance
    of being called times the energy reservation. Charging is not in it: the optimiser buys that at the market price.
    """
    energy = (
        fleet.wear_usd_per_mwh
        + 1000.0 * fleet.minimum_compensation_usd_per_kwh
        + policy.inconvenience_usd_per_mwh * (1.0 - fleet.willingness_fraction)
    )
    return reservation_by_energy(energy, product, policy)


def reservation_by_energy(energy: Array, product: str, policy: NegotiationPolicy) -> Array:
    """Reservation price of ``product`` for owners who ask ``energy``, $/MWh, for a MWh delivered."""
    if CAISO.product(product).is_energy:
        return energy
    return policy.holding_usd_per_mw_h(product) + policy.call_probability(product) * energy


def starts_of(prosumers: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Starts`: what each prosumer begins the day with.

    ``before``: `dispatch.schedule` of the day before, whose last stored energy is carried over; None, or a prosumer
    that it does not hold: as `fleet.prosumers` says. A device that holds less than before begins full.

    Deals are struck from the stated start, so a carried start must be no lower: a schedule ends with at least the
    energy owed, and :func:`carries_less_than_stated` finds those whose stated start has risen since.
    """
    stated = prosumers.select("market_date", "prosumer_id", "capacity_kwh", stated="initial_stored_kwh")
    if before is None:
        day = pl.lit(None, pl.Date)
        return validate(Starts, stated.with_columns(initial_stored_kwh=pl.col("stated"), carried_from=day))
    rows = stated.join(_ends(before), on="prosumer_id", how="left")
    kwh = pl.min_horizontal(pl.col("carried"), "capacity_kwh")
    begins = pl.when(pl.col("carried").is_null()).then("stated").otherwise(kwh)
    return validate(Starts, rows.with_columns(initial_stored_kwh=begins))


def _ends(schedule: pl.DataFrame) -> pl.DataFrame:
    """What a day's schedule leaves in each store: prosumer_id, carried (kWh), carried_from."""
    return (
        schedule.sort("prosumer_id", "start_utc")
        .group_by("prosumer_id")
        .agg(carried=pl.col("stored_kwh").last(), carried_from=pl.col("market_date").last())
    )


def in_storage(fleet: Fleet, members: pl.DataFrame | None) -> Fleet:
    """``fleet`` with the storage resources of ``members``, rows of `fleet.storage_members`, if there are any."""
    if members is None or members.is_empty():
        return fleet
    ids = pl.DataFrame({"prosumer_id": pl.Series(fleet.prosumer_id, dtype=pl.String)})
    known = members.select("prosumer_id", "resource_id")
    found = ids.join(known, on="prosumer_id", how="left", maintain_order="left")["resource_id"]
    return replace(fleet, resource_id=_shared_texts(found.fill_null(pl.Series(fleet.resource_id, dtype=pl.String))))


def begin_with(fleet: Fleet, starts: pl.DataFrame) -> Fleet:
    """``fleet`` with the stored energy of ``starts`` at the day's beginning."""
    return replace(fleet, initial_stored_kwh=starts.sort("prosumer_id")["initial_stored_kwh"].to_numpy())


def owes_less_than_it_starts_with(prosumers: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """Who cannot carry over: prosumer_id, column_name, problem, remedy (see :func:`starts_of`)."""
    less = prosumers.filter(pl.col("terminal_stored_kwh") < pl.col("initial_stored_kwh") - TOLERANCE_KWH)
    return less.select(
        "prosumer_id",
        column_name=pl.lit("terminal_stored_kwh"),
        problem=pl.format(
            "with fleet.carry_over it would begin the day after {} with less than {} kWh",
            pl.lit(market_date.isoformat()),
            pl.col("initial_stored_kwh").round(2),
        ),
        remedy=pl.lit("Let terminal_stored_kwh be at least initial_stored_kwh"),
    )


def carries_less_than_stated(prosumers: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """Who begins the day with less than `fleet.prosumers` states: prosumer_id, column_name, problem, remedy.

    ``before``: as for :func:`starts_of`. It happens where the file, or a setting, states more than the day before.
    """
    nothing = pl.DataFrame(schema={"prosumer_id": pl.String, "carried": pl.Float64})
    rows = prosumers.join(nothing if before is None else _ends(before), on="prosumer_id")
    less = rows.filter(pl.col("carried") < pl.col("initial_stored_kwh") - TOLERANCE_KWH)
    return less.select(
        "prosumer_id",
        column_name=pl.lit("initial_stored_kwh"),
        problem=pl.format(
            "with fleet.carry_over it begins with {} kWh, less than the {} kWh that the fleet states",
            pl.col("carried").round(2),
            pl.col("initial_stored_kwh").round(2),
        ),
        remedy=pl.lit("State the initial state of charge, or leave fleet.carry_over out for this day"),
    )
