"""Every limit of every prosumer: the schedule pushed past each of them is found out."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.schedule import (
    no_kilowatt_hour_is_sold_twice,
    no_prosumer_is_pushed_past_its_limits,
    proxy_demand_exports_nothing,
    rebuilt,
)
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.verification.tampering import (
    ENVELOPE,
    FLEET,
    RESOURCES,
    ROW,
    SCHEDULE,
    Fault,
    Tamper,
    added,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

LIMITS = no_prosumer_is_pushed_past_its_limits
SOLD = no_kilowatt_hour_is_sold_twice
RESERVE = pl.col("spin_kw") + pl.col("nonspin_kw")
EXPORT = (
    pl.col("discharge_kw")
    + pl.col("solar_sold_kw")
    + RESERVE
    - (pl.col("load_kw") - pl.col("solar_kw")).clip(lower_bound=0.0)  # the home's own use never reaches the meter
)
NEXT_RESERVE = RESERVE.shift(-1).over("prosumer_id").fill_null(0.0)
BACKING = RESERVE / pl.col("discharge_efficiency")  # call of one hour
NEXT_BACKING = NEXT_RESERVE / pl.col("discharge_efficiency")


IDLE = (RESERVE == 0) & (pl.col("charge_kw") == 0) & (pl.col("discharge_kw") == 0) & (pl.col("solar_sold_kw") == 0)
QUIET_NOW_AND_NEXT = (RESERVE < 1e-6) & (NEXT_RESERVE < 1e-6)


def beside(day: Day) -> pl.DataFrame:
    """The schedule beside the envelope and the devices, with stored energy integrated anew."""
    return rebuilt(day).sort(ROW)


def limit(column: str, value: pl.Expr, where: pl.Expr) -> Tamper:
    """Set one limit of the envelope in the first prosumer and hour that satisfy ``where``."""

    def lower(day: Day) -> pl.DataFrame:
        rows = beside(day).with_columns(_new=value, _found=where).filter("_found").head(1)
        assert rows.height, f"no hour to tamper with where {where}"
        news = rows.select(*ROW, "_new")
        changed = day["fleet.availability"].join(news, on=ROW, how="left", maintain_order="left")
        return changed.with_columns(pl.coalesce("_new", column).alias(column)).drop("_new")

    return lower


def push(where: pl.Expr, **changes: pl.Expr | float) -> Tamper:
    """Change the schedule in the first prosumer and hour that satisfy ``where``, a condition on `beside`."""

    def pushed(day: Day) -> pl.DataFrame:
        rows = beside(day).filter(where).select(ROW).head(1)
        assert rows.height, f"no hour to push where {where}"
        chosen = (pl.col("prosumer_id") == rows["prosumer_id"][0]) & (pl.col("start_utc") == rows["start_utc"][0])
        return edited(day["dispatch.schedule"], chosen, **changes)

    return pushed


def with_slack(column: str) -> pl.Expr:
    return pl.col(column) > 3.0


def busiest(day: Day) -> str:
    """The prosumer that discharges most."""
    total = day[SCHEDULE].group_by("prosumer_id").agg(pl.col("discharge_kw").sum()).sort("discharge_kw")
    return str(total["prosumer_id"][-1])


def both_ways(day: Day, kw: float) -> pl.DataFrame:
    """A schedule in which a store that charges also discharges ``kw``, and charges the more for it."""
    room = (pl.col("max_charge_kw") - pl.col("charge_kw") > 2) & (pl.col("max_discharge_kw") > kw)
    rows = beside(day).filter(room & (pl.col("charge_kw") > 1) & (RESERVE == 0) & (pl.col("discharge_kw") == 0))
    row = rows.row(0, named=True)
    more = kw / row["discharge_efficiency"] / row["charge_efficiency"]
    here = (pl.col("prosumer_id") == row["prosumer_id"]) & (pl.col("start_utc") == row["start_utc"])
    return edited(
        day[SCHEDULE],
        here,
        discharge_kw=kw,
        charge_kw=sees("charge_kw", more),
        grid_charge_kw=sees("grid_charge_kw", more),
    )


FAULTS = [
    Fault(
        proxy_demand_exports_nothing,
        "sells more than its own load",
        RESOURCES,
        edit(RESOURCES, participation="proxy_demand"),
        "hours in which proxy demand is exported",
        None,
    ),
    Fault(
        LIMITS,
        "charges above the inverter",
        ENVELOPE,
        limit("max_charge_kw", sees("charge_kw", -2), with_slack("charge_kw")),
        r"limit charging power, by (2\.0|1\.99)",
    ),
    Fault(
        LIMITS,
        "discharges above the inverter",
        ENVELOPE,
        limit("max_discharge_kw", pl.col("discharge_kw") + RESERVE - 2, with_slack("discharge_kw")),
        r"limit discharging power, by (2\.0|1\.99)",
    ),
    Fault(
        LIMITS,
        "holds reserve above the inverter",
        ENVELOPE,
        limit("max_discharge_kw", pl.col("discharge_kw") + RESERVE - 2, with_slack("spin_kw")),
        r"limit discharging power, by (2\.0|1\.99)",
    ),
    Fault(
        LIMITS,
        "exports above the site's limit",
        ENVELOPE,
        limit("export_limit_kw", EXPORT - 2, EXPORT > 3),
        r"limit export limit, by (2\.0|1\.99)",
    ),
    Fault(
        LIMITS,
        "sells solar that is not there",
        ENVELOPE,
        limit(
            "solar_kw",
            pl.col("load_kw") + pl.col("solar_charge_kw") + pl.col("solar_sold_kw") - 1,
            pl.col("solar_sold_kw") > 2,
        ),
        r"limit solar surplus, by (1\.0|0\.99)",
    ),
    Fault(
        LIMITS,
        "sells solar at night",
        SCHEDULE,
        push(
            (pl.col("solar_kw") == 0) & (pl.col("export_limit_kw") - EXPORT > 2), solar_sold_kw=sees("solar_sold_kw", 1)
        ),
        r"limit solar surplus, by (1\.0|0\.99)",
    ),
    Fault(
        LIMITS,
        "falls below its floor",
        ENVELOPE,
        limit("min_stored_kwh", sees("rebuilt_kwh", 1.5), QUIET_NOW_AND_NEXT & (pl.col("max_stored_kwh") > 0)),
        r"limit floor of the state of charge, by 1\.5|limit floor of the state of charge, by 1\.49",
    ),
    Fault(
        LIMITS,
        "rises above its ceiling",
        ENVELOPE,
        limit("max_stored_kwh", sees("rebuilt_kwh", -1.5), pl.col("rebuilt_kwh") > 3),
        r"limit ceiling of the state of charge, by 1\.(5|49)",
    ),
    Fault(
        LIMITS,
        "reserve is not backed after the hour",
        ENVELOPE,
        limit("min_stored_kwh", pl.col("rebuilt_kwh") - BACKING + 1, (BACKING > 2) & (NEXT_RESERVE < 1e-6)),
        r"limit reserve backing after, by (1\.0|0\.99)",
    ),
    Fault(
        LIMITS,
        "reserve is not backed before the hour",
        ENVELOPE,
        limit("min_stored_kwh", pl.col("rebuilt_kwh") - NEXT_BACKING + 1, (NEXT_BACKING > 2) & (RESERVE < 1e-6)),
        r"limit reserve backing before, by (1\.0|0\.99)",
    ),
    Fault(
        LIMITS,
        "an empty store holds reserve",
        SCHEDULE,
        push(
            QUIET_NOW_AND_NEXT
            & (pl.col("rebuilt_kwh") - pl.col("min_stored_kwh") < 0.1)
            & (pl.col("max_discharge_kw") - pl.col("discharge_kw") > 2),
            spin_kw=sees("spin_kw", 1),
        ),
        "limit reserve backing",
        None,
    ),
    Fault(
        LIMITS,
        "owes energy at the end of the day",
        FLEET,
        edit(FLEET, pl.col("store") == "battery", terminal_stored_kwh=sees("terminal_stored_kwh", 500)),
        "limit terminal state of charge, by",
    ),
    Fault(
        LIMITS,
        "cycles more than its owner allows",
        FLEET,
        lambda day: edited(day[FLEET], pl.col("prosumer_id") == busiest(day), maximum_cycles_per_day=0.001),
        "limit cycles, by",
    ),
    Fault(LIMITS, "has negative power", SCHEDULE, push(IDLE, spin_kw=-1.0), r"limit negative power, by 1\.0"),
    Fault(
        LIMITS,
        "charging is not grid plus solar",
        SCHEDULE,
        push(IDLE, grid_charge_kw=0.5),
        r"limit charging split, by 0\.5",
    ),
    Fault(
        LIMITS,
        "states other stored energy",
        SCHEDULE,
        push(IDLE, stored_kwh=sees("stored_kwh", 0.5)),
        r"limit state of charge as published, by (0\.5|0\.49)",
    ),
    Fault(
        LIMITS,
        "discharges energy that stays on the books",
        SCHEDULE,
        push(IDLE & (pl.col("max_discharge_kw") > 1), discharge_kw=1.0),
        "limit state of charge as published",
        None,
    ),
    Fault(
        LIMITS,
        "charges and discharges at once",
        SCHEDULE,
        lambda day: both_ways(day, 0.5),
        r"limit charging and discharging at once, by 0\.499",
    ),
    Fault(
        LIMITS, "an hour is missing", SCHEDULE, dropped(SCHEDULE, pl.col("start_utc").dt.hour() == 19), "by inf", None
    ),
    Fault(
        LIMITS,
        "a prosumer is missing",
        SCHEDULE,
        lambda day: day[SCHEDULE].filter(pl.col("prosumer_id") != "prosumer_005"),
        "prosumer_id prosumer_005.* by inf",
        None,
    ),
    Fault(LIMITS, "an hour is stated twice", SCHEDULE, added(SCHEDULE, pl.col("charge_kw") > 1), "limit", None),
    Fault(
        LIMITS,
        "a prosumer that the fleet does not know charges",
        SCHEDULE,
        added(SCHEDULE, IDLE, prosumer_id="stranger", grid_charge_kw=9.0, charge_kw=9.0),
        "prosumer_id stranger",
        None,
    ),
    Fault(
        LIMITS,
        "a prosumer without an envelope is scheduled",
        ENVELOPE,
        lambda day: day[ENVELOPE].filter(pl.col("prosumer_id") != "prosumer_005"),
        "prosumer_id prosumer_005",
        None,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("row", [0, 1_234, 2_500, 4_799])
@pytest.mark.parametrize(
    "column",
    [
        "grid_charge_kw",
        "solar_charge_kw",
        "charge_kw",
        "discharge_kw",
        "solar_sold_kw",
        "spin_kw",
        "nonspin_kw",
        "stored_kwh",
    ],
)
def test_no_cell_of_the_schedule_changes_unnoticed(honest: SolvedDay, column: str, row: int) -> None:
    here = pl.col("_row") == row
    tables = honest.with_table(SCHEDULE, edited(honest.tables[SCHEDULE], here, **{column: sees(column, 1.0)}))
    assert not (LIMITS(tables, honest.settings).passed and SOLD(tables, honest.settings).passed)
