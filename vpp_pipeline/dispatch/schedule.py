"""What a fleet does and sells hour by hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.caiso import CAISO

COLUMNS = (
    "grid_charge_kw",
    "solar_charge_kw",
    "discharge_kw",
    "solar_sold_kw",
    *(reserve.held_column for reserve in CAISO.reserves),
    "stored_kwh",
)

#: kW or kWh: what tolerances of solvers and sums of rounded powers leave below zero. Less than the 1e-4 of
#: verification, which rebuilds stored energy from powers: what is more than dust stays, and is refused
DUST = 9e-5
SOLD = {
    "energy": pl.col("discharge_kw") + pl.col("solar_sold_kw"),
    **{reserve.name: pl.col(reserve.held_column) for reserve in CAISO.reserves},
}


def without_dust_below_zero(values: Array) -> Array:
    """``values``, with those that lie below zero by no more than :data:`DUST` at zero."""
    return np.where((values < 0.0) & (values >= -DUST), 0.0, values)


@dataclass(frozen=True)
class DaySchedule:
    """Powers (N, T) in kW and stored energy (N, T) in kWh, end of hour: a field for each of COLUMNS."""

    grid_charge_kw: Array
    solar_charge_kw: Array
    discharge_kw: Array
    solar_sold_kw: Array
    spin_kw: Array
    nonspin_kw: Array
    stored_kwh: Array

    def of(self, chosen: Indices) -> DaySchedule:
        """That of ``chosen`` prosumers (n,)."""
        return DaySchedule(**{name: values[chosen] for name, values in vars(self).items()})

    @property
    def charge_kw(self) -> Array:
        """All charging (N, T)."""
        return self.grid_charge_kw + self.solar_charge_kw

    @property
    def exported_kw(self) -> Array:
        """Energy sold: discharge and own solar."""
        return self.discharge_kw + self.solar_sold_kw

    @property
    def held_kw(self) -> tuple[Array, ...]:
        """Each reserve that is held (N, T), in the order of the market's."""
        return tuple(getattr(self, reserve.held_column) for reserve in CAISO.reserves)

    def sold_kw(self, product: int) -> Array:
        """Sales of a product (N, T), kW."""
        return (self.exported_kw, *self.held_kw)[product]


def held_by_column(held: Iterable[Array]) -> dict[str, Array]:
    """``held`` of each reserve, in the order of the market's, by the fields of :class:`DaySchedule`."""
    return {reserve.held_column: kw for reserve, kw in zip(CAISO.reserves, held, strict=True)}


def schedule_arrays(schedule: pl.DataFrame) -> DaySchedule:
    """Rows of `dispatch.schedule` of one day as arrays, prosumers in the order of their id."""
    rows = schedule.sort("prosumer_id", "start_utc")
    count = rows["prosumer_id"].n_unique()
    return DaySchedule(**{name: rows[name].to_numpy().reshape(count, -1) for name in COLUMNS})


def schedule_rows(done: DaySchedule, like: pl.DataFrame) -> pl.DataFrame:
    """``done`` as rows, with the keys of ``like``: rows of `dispatch.schedule` of the same day."""
    keys = like.sort("prosumer_id", "start_utc").select("market_date", "prosumer_id", "start_utc")
    return keys.with_columns(
        pl.Series(name, without_dust_below_zero(getattr(done, name).ravel())) for name in (*COLUMNS, "charge_kw")
    )


def sold_by_hour(schedule: pl.DataFrame) -> pl.DataFrame:
    """What each prosumer sells of each product, by hour with a sale: prosumer_id, start_utc, product, sold_kw."""
    keys = ["prosumer_id", "start_utc"]
    return pl.concat(
        [
            schedule.lazy().filter(sold != 0.0).select(*keys, product=pl.lit(product), sold_kw=sold)
            for product, sold in SOLD.items()
        ]
    ).collect()
