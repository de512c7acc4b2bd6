"""Checks of storage resources: their curves, their reserve, and their states of charge.

That members can deliver what these allow is the check of `certificate.py`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.tables import Day
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline.verification.certificate import (
    BASELINE,
    HOUR,
    KEPT,
    KWH_TOLERANCE,
    LIMITS,
    MEMBERS,
    MW_TOLERANCE,
    NO_HOUR,
    OFFERED,
    PLAN,
    RESERVES,
    RESOURCES,
    ROW,
    SHARE_TOLERANCE,
    SHARES,
    bid_limits,
    call_hours_of,
    class_hours,
    class_limits,
    deals_of_storage,
    hours_of_storage,
    parts_of_members,
)
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.terms import DEAL, is_of_storage, resources_of_prosumers, storage_pools, table_or_none

PLAN_TOLERANCE = 1e-6  # MW or MWh that a solver leaves open
SUM_TOLERANCE = 1e-5  # MW or MWh between a resource and the sum of its members
CENT = 0.01
_LIMITS_OF_AWARDS = [
    "max_charge_mw",
    "max_discharge_mw",
    "lowest_stored_mwh",
    "highest_stored_mwh",
    "initial_stored_mwh",
    "final_stored_mwh",
    "charge_efficiency",
    "discharge_efficiency",
]


def _orphans(day: Day, *tables: str) -> list[pl.DataFrame]:
    """Rows of resources that are no storage resource: resource_id, start_utc, fault."""
    return [
        table_or_none(day, table)
        .filter(~is_of_storage(day))
        .select("resource_id", NO_HOUR, fault=pl.lit(f"{table}: no such one"))
        for table in tables
    ]


def _broken(rows: pl.DataFrame, faults: dict[str, pl.Expr]) -> list[pl.DataFrame]:
    """Rows with a fault, or of which it cannot be told: resource_id, start_utc, fault."""
    return [rows.filter(fault.fill_null(True)).select(*HOUR, fault=pl.lit(words)) for words, fault in faults.items()]


def storage_curves_span_their_resource(day: Day, settings: Settings) -> CheckResult:
    """Each storage resource has one curve an hour, from its self-schedule less all that it charges to all that it
    discharges, and further to cover its reserve: at most ten segments without gaps, rising in price, charging at what
    it pays, discharge at the mean call price of the members, cover at the market's cap; and one segment for each
    reserve, at its members' mean price."""
    rules, hours = settings.rules, hours_of_storage(day)
    floor, cap = rules.price_limits("energy")
    sun, discharge = pl.col("self_schedule_mw"), pl.col("max_discharge_mw")
    hours = hours.with_columns(
        low_mw=sun - pl.col("max_charge_mw"),
        zero_mw=sun,
        sold_mw=sun + discharge,
        high_mw=sun + pl.col("power_mw"),
    )
    bids = day["bids.final_bids"].filter(pl.col("status") == "bid", is_of_storage(day))
    of_bids = ["bid_id", "product", "total_capacity_mw", "bid_price_usd_per_mwh", "duration_hours"]
    placed = hours.join(bids.select(*HOUR, *of_bids), on=HOUR, how="left")
    segments = day["bids.bid_segments"].select("bid_id", "segment", "from_mw", "to_mw", "price_usd_per_mwh")
    rows = placed.join(segments, on="bid_id", how="inner").sort("bid_id", "segment")
    start, end, asked = pl.col("from_mw"), pl.col("to_mw"), pl.col("price_usd_per_mwh")
    after = end.shift(1).over("bid_id")
    energy = rows.filter(product="energy")
    charge_usd = pl.col("charge_price_usd_per_mwh")
    is_charge, is_cover = end <= pl.col("zero_mw") + MW_TOLERANCE, start >= pl.col("sold_mw") - MW_TOLERANCE
    is_sale = ~is_charge & ~is_cover
    least = pl.max_horizontal("energy_price", charge_usd).clip(floor, cap)
    curve_faults = {
        "too many segments": pl.col("segment") > rules.maximum_segments,
        "segments not numbered from 1": pl.col("segment") != pl.int_range(1, pl.len() + 1).over("bid_id"),
        "MW do not rise": end <= start,
        "a gap in MW": (start - after.fill_null(pl.col("low_mw"))).abs() > MW_TOLERANCE,
        "price falls": asked < asked.shift(1).over("bid_id").fill_null(floor) - 1e-9,
        "price outside the limits": (asked < floor) | (asked > cap),
        "curve does not span the resource": (end.max().over("bid_id") - pl.col("high_mw")).abs() > MW_TOLERANCE,
        "a segment of charging and discharging": is_sale
        & ((start < pl.col("zero_mw") - MW_TOLERANCE) | (end > pl.col("sold_mw") + MW_TOLERANCE)),
        "another price of charging": is_charge & ~_as_asked(asked, charge_usd.clip(floor, cap) - CENT),
        "another price of discharge": is_sale & ~_as_asked(asked, least),
        "cover below the market's cap": is_cover & (asked != cap),
    }
    spans = pl.col("high_mw") - pl.col("low_mw") > MW_TOLERANCE
    due_usd = pl.lit(-settings.optimiser.charging_adder_usd_per_mwh)
    if rules.storage_kept_by == "coordinator":  # what is sold later must be charged, so it is bought at any price
        due_usd = pl.when(pl.col("max_charge_mw") > 0.0).then(cap).otherwise(due_usd)
    curves = energy.group_by(HOUR).agg(curves=pl.col("bid_id").n_unique())
    of_hours = hours.join(curves, on=HOUR, how="left").with_columns(pl.col("curves").fill_null(0))
    hour_faults = {
        "not one curve": pl.col("curves") != spans.cast(pl.UInt32),
        "an energy bid without a use, or none": pl.col("energy_is_bid") != (spans | (sun > MW_TOLERANCE)),
        "offers another discharge than its limit": (pl.col(OFFERED["energy"]) - discharge).abs() > MW_TOLERANCE,
        "pays another price for charging": (charge_usd - due_usd).abs() > 1e-9,
    }
    first = asked.filter(start >= pl.col("begins") - MW_TOLERANCE).first()
    begins = pl.when(pl.col("product") == "energy").then("zero_mw").otherwise(0.0)
    selling = rows.with_columns(begins=begins).group_by("bid_id", maintain_order=True).agg(first_usd=first)
    priced = placed.filter(pl.col("bid_id").is_not_null()).join(selling, on="bid_id", how="left")
    first_usd = pl.when(pl.col("total_capacity_mw") > 0.0).then("first_usd")
    bid_faults = {
        "a block of hours": pl.col("duration_hours") != 1,
        "bid price is not that of the first MW sold": ~first_usd.eq_missing(pl.col("bid_price_usd_per_mwh")),
    }
    strangers = bids.join(hours, on=HOUR, how="anti").select(*HOUR, fault=pl.lit("a bid without limits"))
    broken = [
        *_orphans(day, LIMITS),
        strangers,
        *_broken(energy, curve_faults),
        *_reserve_segments(placed, rows, rules),
        *_broken(of_hours, hour_faults),
        *_broken(priced, bid_faults),
        _mean_price_faults(day, hours),
    ]
    widest = float((hours["high_mw"] - hours["low_mw"]).to_numpy().max(initial=0.0))
    count = energy["bid_id"].n_unique()
    held = f"{count} curves of storage resources with {energy.height} segments, up to {widest:.3f} MW wide"
    return count_violations(pl.concat(broken), "faults in curves of storage resources", held, widest)


def _as_asked(asked: pl.Expr, least: pl.Expr) -> pl.Expr:
    """Whether a price is ``least`` or up to a cent more."""
    return (asked >= least - 1e-6) & (asked <= least + CENT + 1e-6)


def _reserve_segments(placed: pl.DataFrame, rows: pl.DataFrame, rules: MarketRules) -> list[pl.DataFrame]:
    """Reserve bids of other than one segment from 0 to their MW, or at another price than that of the limits."""
    broken = []
    for reserve in RESERVES:
        floor, cap = rules.price_limits(reserve.name)
        mine = rows.filter(product=reserve.name)
        faults = {
            f"{reserve.name} in another segment than its MW": (pl.col("from_mw") != 0.0)
            | ((pl.col("to_mw") - pl.col("total_capacity_mw")).abs() > MW_TOLERANCE)
            | (pl.col("segment") != 1),
            f"another price of {reserve.name}": ~_as_asked(
                pl.col("price_usd_per_mwh"), pl.col(f"{reserve.name}_price").clip(floor, cap)
            )
            | ~pl.col("price_usd_per_mwh").is_between(floor, cap),
        }
        broken += _broken(mine, faults)
        missing = placed.filter(product=reserve.name).join(mine, on="bid_id", how="anti")
        broken.append(missing.select(*HOUR, fault=pl.lit(f"{reserve.name} without a segment")))
    return broken


def _mean_price_faults(day: Day, hours: pl.DataFrame) -> pl.DataFrame:
    """Prices of `dispatch.storage_limits` that are not the mean call price of the members, weighted by what each gives,
    or that are stated of what is not offered: resource_id, start_utc, fault."""
    deals, broken = deals_of_storage(day), []
    shares = table_or_none(day, SHARES).filter("is_bound").select("prosumer_id")
    classes, hour = class_hours(day), market_hours(day["market.price_forecast"]["market_date"][0])["start_utc"]
    bound = table_or_none(day, MEMBERS).join(shares, on="prosumer_id", how="semi").group_by("resource_id")
    whole = classes.join(bound.agg(bound=pl.col("share_fraction").sum()), on="resource_id", how="left")
    power = whole.select(
        "resource_id",
        pl.col("hour_number").replace_strict(range(1, len(hour) + 1), hour, default=None).alias("start_utc"),
        power_kwh=pl.col("discharge") * pl.col("bound").fill_null(0.0),
    )
    efficiency = table_or_none(day, RESOURCES).select("resource_id", "discharge_efficiency")
    power = power.join(efficiency, on="resource_id", how="left")
    for product in CAISO.names:
        gives = pl.col("share_fraction") * pl.col("power_kwh") * pl.col("discharge_efficiency")
        parts = parts_of_members(day, hours, product).join(power, on=HOUR, how="left").join(deals, on=DEAL, how="left")
        parts = parts.with_columns(gives=gives + pl.col("spare_reserve_kw")).filter(pl.col("gives") > 0.0)
        mean = parts.group_by(HOUR).agg(
            mean_usd=(pl.col("gives") * pl.col("call_usd")).sum() / pl.col("gives").sum(),
            without=pl.col("call_usd").null_count(),
        )
        price = pl.col(f"{product}_price")
        rows = hours.select(*HOUR, OFFERED[product], price.alias("stated")).join(mean, on=HOUR, how="left")
        rows = rows.with_columns(pl.col("without").fill_null(0))
        same = (pl.col("stated") - pl.col("mean_usd")).abs() <= 1e-6
        is_offered = pl.col(OFFERED[product]) > 0.0
        wrong = rows.filter(
            (is_offered & ~(same & (pl.col("without") == 0)).fill_null(False))
            | (~is_offered & pl.col("stated").is_not_null())
        )
        words = f"price of {product} is not the mean call price of the members"
        broken.append(wrong.select(*HOUR, fault=pl.lit(words)))
    return pl.concat(broken)


def storage_reserve_is_covered(day: Day, settings: Settings) -> CheckResult:
    """Each reserve of a storage resource is within its certification, and the energy curve covers it; the planned award
    leaves room for it beside energy, and the state of charge before and after backs it as long as a call lasts."""
    hours, call_hours = hours_of_storage(day), call_hours_of(settings.rules)
    segments = day["bids.bid_segments"].group_by("bid_id").agg(curve_ends_mw=pl.col("to_mw").max())
    energy = day["bids.final_bids"].filter(is_of_storage(day), status="bid", product="energy")
    curves = energy.join(segments, on="bid_id").group_by(HOUR).agg(pl.col("curve_ends_mw").max())
    planned_mw = pl.sum_horizontal(f"{one.name}_mw" for one in RESERVES)
    rows = hours.join(curves, on=HOUR, how="left").with_columns(planned_mw=planned_mw)
    sun, called_mwh = pl.col("self_schedule_mw"), call_hours * pl.col("planned_mw") / pl.col("discharge_efficiency")
    end = pl.coalesce("curve_ends_mw", sun)
    is_held = pl.col("planned_mw") > PLAN_TOLERANCE
    faults = {
        "reserve without a curve that covers it": sun + pl.col("power_mw") > end + MW_TOLERANCE,
        "energy and reserve beyond the curve": sun + pl.col("discharge_mw") + pl.col("planned_mw")
        > end + PLAN_TOLERANCE,
        "call of another length": (pl.col("call_hours") - call_hours).abs() > 1e-9,
        "not backed after the hour": is_held
        & (called_mwh > pl.col("stored_mwh") - pl.col("lowest_stored_mwh") + PLAN_TOLERANCE),
        "not backed before the hour": is_held & (called_mwh > pl.col("backing_before_mwh") + PLAN_TOLERANCE),
    }
    for reserve in RESERVES:
        offered, planned = pl.col(OFFERED[reserve.name]), pl.col(f"{reserve.name}_mw")
        certified = pl.col(reserve.certified_column)
        faults |= {
            f"{reserve.name} beyond its certification": offered > certified + MW_TOLERANCE,
            f"{reserve.name} planned beyond its bid": planned > offered + PLAN_TOLERANCE,
            f"{reserve.name} of a certification below the minimum": (offered > 0.0)
            & (certified < settings.rules.storage_reserve_minimum_mw - MW_TOLERANCE),
            f"a bid of no {reserve.name}": pl.col(f"{reserve.name}_is_bid") != (offered > 0.0),
        }
    broken = [*_broken(rows, faults), _certified_twice(day), *_orphans(day, RESOURCES)]
    most = float(rows["planned_mw"].to_numpy().max(initial=0.0))
    count = rows.filter(is_held).height
    held = f"reserve in {count} hours of storage resources, up to {most:.3f} MW, is covered and backed"
    return count_violations(pl.concat(broken), "hours of reserve that is not covered", held, most)


def _certified_twice(day: Day) -> pl.DataFrame:
    """Pools whose storage resources are certified for more than the pool is: resource_id, start_utc, fault."""
    pools = table_or_none(day, "market.resources").select(
        *(pl.col(one.certified_column).alias(one.name) for one in RESERVES), pool_id="resource_id"
    )
    sums = table_or_none(day, RESOURCES).group_by("pool_id").agg(pl.col(one.certified_column).sum() for one in RESERVES)
    beyond = pl.any_horizontal(pl.col(one.certified_column) > pl.col(one.name) + MW_TOLERANCE for one in RESERVES)
    rows = sums.join(pools, on="pool_id").filter(beyond.fill_null(False))
    return rows.select(
        pl.col("pool_id").alias("resource_id"),
        NO_HOUR,
        fault=pl.lit("certified for more in parts than as a whole"),
    )


def storage_state_of_charge_is_consistent(day: Day, settings: Settings) -> CheckResult:
    """The planned award follows the state of charge from its start, with the efficiencies of the members, within the
    limits of every hour and of the day, never charging and discharging at once; it is what the members' schedules add
    up to; and no limit is wider than that of the class for the members with deals. Limits that the market does not take
    (settings `rules.storage_limits_by_hour`, `.storage_limit_of_day`) follow from those that it takes; where the
    coordinator keeps the state of charge (`rules.storage_kept_by`), any awards leave it within them."""
    rows = hours_of_storage(day).join(_delivered(day), on=HOUR, how="left")
    into, out, stored = pl.col("charge_efficiency"), pl.col("discharge_efficiency"), pl.col("stored_mwh")
    change = into * pl.col("charge_mw") - pl.col("discharge_mw") / out
    is_last = pl.col("start_utc") == pl.col("start_utc").max()
    drawn = (pl.col("discharge_mw") / out).sum().over("resource_id")
    expected = {name: f"{name}_expected_mw" for name in CAISO.names}
    net_mw = pl.col("self_schedule_mw") + pl.col("discharge_mw") - pl.col("charge_mw")
    apart = {
        "does not follow from charge and discharge": stored - pl.col("before_mwh") - change,
        "expects another energy than is planned": pl.col(expected["energy"])
        - pl.when("energy_is_bid").then(net_mw).otherwise(0.0),
        **{
            f"expects other {one.name} than is planned": pl.col(expected[one.name]) - pl.col(f"{one.name}_mw")
            for one in RESERVES
        },
    }
    beyond = {
        "charges and discharges at once": pl.min_horizontal("charge_mw", "discharge_mw"),
        "negative award": -pl.min_horizontal("charge_mw", "discharge_mw", *(f"{one.name}_mw" for one in RESERVES)),
        "charges beyond its limit": pl.col("charge_mw") - pl.col("max_charge_mw"),
        "discharges beyond its limit": pl.col("discharge_mw") - pl.col("max_discharge_mw"),
        "below the lowest": pl.col("lowest_stored_mwh") - stored,
        "above the highest": stored - pl.col("highest_stored_mwh"),
        "ends below the least": pl.when(is_last).then(pl.col("final_stored_mwh") - stored).otherwise(0.0),
        "discharges more than in a day it may": drawn - pl.col("daily_discharge_mwh"),
        "counts from below 0": -pl.col("lowest_stored_mwh"),
        "begins below what it counts from": pl.col("first_backing_mwh") - pl.col("initial_stored_mwh"),
    }
    lowest, highest = pl.col("lowest_stored_mwh"), pl.col("highest_stored_mwh")
    if settings.rules.storage_kept_by == "coordinator":
        beyond |= _beyond_any_awards(rows)
    elif not settings.rules.storage_limits_by_hour:  # then the market keeps one range, and nothing else
        beyond |= {
            "another range than in other hours": pl.max_horizontal(
                lowest - lowest.min().over("resource_id"), highest.max().over("resource_id") - highest
            ),
            "may end below the least": pl.col("final_stored_mwh") - lowest,
            "may begin below what backs its reserve": pl.col("initial_stored_mwh")
            - lowest
            - pl.col("first_backing_mwh"),
        }
    if settings.rules.storage_kept_by == "market" and not settings.rules.storage_limit_of_day:
        rows = rows.join(_most_discharged(rows), on="resource_id", how="left")
        beyond["may discharge more than in a day it may"] = pl.col("most_mwh") - pl.col("daily_discharge_mwh")
    summed = {
        "members charge another quantity": pl.col("charge_mw") - pl.col("charged_mw"),
        "members discharge another quantity": pl.col("discharge_mw") - pl.col("discharged_mw"),
        "members sell other sun": pl.col("self_schedule_mw") - pl.col("sun_mw"),
        "members charge otherwise for themselves": pl.col("own_charging_mw") - pl.col("own_mw"),
        "members hold another state of charge": stored - pl.col("initial_stored_mwh") - pl.col("moved_mwh"),
        **{
            f"members hold other {one.name}": pl.col(f"{one.name}_mw") - pl.col(f"{one.name}_held_mw")
            for one in RESERVES
        },
    }
    differences = {
        **{words: (value, PLAN_TOLERANCE) for words, value in beyond.items()},
        **{words: (value.abs(), PLAN_TOLERANCE) for words, value in apart.items()},
        **{words: (value.abs(), SUM_TOLERANCE) for words, value in summed.items()},
    }
    faults = {words: value > tolerance for words, (value, tolerance) in differences.items()}
    broken = [
        *_orphans(day, PLAN),
        *_hour_faults(day),
        *_efficiency_faults(day),
        *_broken(rows, faults),
        *_wider_than_classes(day, rows, call_hours_of(settings.rules)),
    ]
    differs = rows.select(pl.max_horizontal(value for value, _ in differences.values())).to_series()
    largest = float(differs.to_numpy().max(initial=0.0))
    held = f"{rows.height} hours of {rows['resource_id'].n_unique()} storage resources follow their state of charge"
    return count_violations(pl.concat(broken), "states of charge or limits that do not hold", held, largest)


def _most_discharged(rows: pl.DataFrame) -> pl.DataFrame:
    """resource_id, most_mwh: the most that leaves the store in a day, whichever awards within its limits of charging,
    discharging, and state of charge the market gives; null where a limit is missing or they leave no award at all.
    A linear program for each resource of ``rows``.
    """
    from scipy.optimize import linprog  # a third of a second, which no other command should wait for

    found: list[tuple[str, float | None]] = []
    for (name,), hours in rows.sort(HOUR).group_by("resource_id", maintain_order=True):
        if hours.select(_LIMITS_OF_AWARDS).null_count().sum_horizontal().item():
            found.append((name, None))
            continue
        whole = hours.row(0, named=True)
        most = [
            hours["max_charge_mw"].to_numpy() * whole["charge_efficiency"],
            hours["max_discharge_mw"].to_numpy() / whole["discharge_efficiency"],
        ]
        low = hours["lowest_stored_mwh"].to_numpy().copy()
        low[-1] = max(low[-1], whole["final_stored_mwh"])
        summed, begins = np.tri(hours.height), whole["initial_stored_mwh"]
        stored = np.hstack([summed, -summed])
        answer = linprog(
            np.repeat([0.0, -1.0], hours.height),
            A_ub=np.vstack([stored, -stored]),
            b_ub=np.concatenate([hours["highest_stored_mwh"].to_numpy() - begins, begins - low]),
            bounds=[(0.0, mwh) for mwh in np.concatenate(most)],
        )
        found.append((name, -answer.fun if answer.success else None))
    return pl.DataFrame(found, schema={"resource_id": pl.String, "most_mwh": pl.Float64}, orient="row")


def _beyond_any_awards(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """By how much a coordinator's limits could be passed if all charging and any discharge and reserve were awarded,
    each hour by itself, MW or MWh: all of ``rows``, in the order of resources and hours.
    """
    alone, start = "resource_id", pl.col("initial_stored_mwh")
    into = pl.col("charge_efficiency") * pl.col("max_charge_mw")
    drawn = pl.col("max_discharge_mw") / pl.col("discharge_efficiency")
    high, low = (start + change.cum_sum().over(alone) for change in (into, into - drawn))
    is_last = pl.col("start_utc") == pl.col("start_utc").max()
    above_floor = low - pl.col("lowest_stored_mwh")
    before = above_floor.shift(1).over(alone).fill_null(pl.col("first_backing_mwh"))
    within_mw = pl.col("reserve_mw") - pl.col("reserve_beyond_mw")
    called = pl.col("call_hours") * within_mw / pl.col("discharge_efficiency")
    return {
        "charges and may discharge in one hour": pl.min_horizontal("max_charge_mw", "max_discharge_mw"),
        "may rise above the highest": high - pl.col("highest_stored_mwh"),
        "may fall below the lowest": -above_floor,
        "may end below the least": pl.when(is_last).then(pl.col("final_stored_mwh") - low).otherwise(0.0),
        "may discharge more than in a day it may": drawn.sum().over(alone) - pl.col("daily_discharge_mwh"),
        "may be called for reserve that nothing backs": called - pl.min_horizontal(before, above_floor),
    }


def _delivered(day: Day) -> pl.DataFrame:
    """What members of each storage resource do in each hour beyond their baselines, MW and MWh."""
    own = table_or_none(day, BASELINE).select(*ROW, own_kw="grid_charge_kw", own_kwh="stored_kwh")
    done = day["dispatch.schedule"].join(own, on=ROW).join(resources_of_prosumers(day), on="prosumer_id")
    kw = {
        "charged_mw": pl.col("grid_charge_kw") - pl.col("own_kw"),
        "discharged_mw": pl.col("discharge_kw"),
        "sun_mw": pl.col("solar_sold_kw"),
        "own_mw": pl.col("own_kw"),
        "moved_mwh": pl.col("stored_kwh") - pl.col("own_kwh"),
        **{f"{one.name}_held_mw": pl.col(one.held_column) for one in RESERVES},
    }
    return done.group_by(HOUR).agg(**{name: value.sum() / 1000.0 for name, value in kw.items()})


def _wider_than_classes(day: Day, rows: pl.DataFrame, call_hours: float) -> list[pl.DataFrame]:
    """Limits beyond those of the class for the members with deals: resource_id, start_utc, fault.

    A resource whose members have no share holds reserve alone, each member for itself: it has no energy to move, and
    shows what backs the most that they hold.
    """
    bound = table_or_none(day, SHARES).filter("is_bound").select("prosumer_id")
    of_bound = table_or_none(day, MEMBERS).join(bound, on="prosumer_id").group_by("resource_id")
    both = bid_limits(rows).join(class_limits(day), on=HOUR, how="left", suffix="_of_class")
    both = both.join(of_bound.agg(bound=pl.col("share_fraction").sum()), on="resource_id", how="left")
    held = table_or_none(day, BASELINE).join(table_or_none(day, SHARES).filter("is_bound"), on="prosumer_id")
    spare = held.group_by(HOUR).agg(backing=pl.col("spare_reserve_kw").sum() * call_hours)
    shown = pl.col("backing").max().over("resource_id").fill_null(0.0)
    both = both.join(spare, on=HOUR, how="left").with_columns(pl.col("bound").fill_null(0.0))
    faults = {}
    for name in KEPT:
        of_class = pl.col("bound") * pl.col(f"{name}_of_class")
        if name in ("below", "below_before"):
            of_class = pl.when(pl.col("bound") > 0.0).then(of_class).otherwise(shown)
        faults[f"{name} wider than its class"] = pl.col(name) > of_class * (1.0 + SHARE_TOLERANCE) + KWH_TOLERANCE
    return _broken(both, faults)


def _efficiency_faults(day: Day) -> list[pl.DataFrame]:
    """Resources with other efficiencies than their members have together: resource_id, start_utc, fault."""
    devices = day["fleet.prosumers"].select("prosumer_id", "charge_efficiency", "discharge_efficiency")
    share = pl.col("share_fraction")
    means = (
        table_or_none(day, SHARES)
        .filter("is_bound", share > 0.0)
        .join(devices, on="prosumer_id")
        .group_by("resource_id")
        .agg(into=1.0 / (share / pl.col("charge_efficiency")).sum(), out=(share * pl.col("discharge_efficiency")).sum())
    )
    rows = table_or_none(day, RESOURCES).join(means, on="resource_id", how="left")
    apart = pl.max_horizontal(
        (pl.col("charge_efficiency") - pl.col("into").fill_null(1.0)).abs(),
        (pl.col("discharge_efficiency") - pl.col("out").fill_null(1.0)).abs(),
    )
    wrong = rows.filter((apart > KWH_TOLERANCE).fill_null(True))
    return [wrong.select("resource_id", NO_HOUR, fault=pl.lit("other efficiencies than its members"))]


def _hour_faults(day: Day) -> list[pl.DataFrame]:
    """Storage resources without limits or an award in an hour of the market day, or twice, and hours of another day:
    resource_id, start_utc, fault."""
    hours = market_hours(day["market.price_forecast"]["market_date"][0])["start_utc"].to_frame()
    due, broken = storage_pools(day).select("resource_id").join(hours, how="cross"), []
    for table in (LIMITS, PLAN):
        rows = table_or_none(day, table).select(HOUR)
        wrong = [due.join(rows, on=HOUR, how="anti"), rows.join(due, on=HOUR, how="anti")]
        wrong.append(rows.filter(pl.struct(HOUR).is_duplicated()))
        broken += [one.select(*HOUR, fault=pl.lit(f"{table} of another hour, or none")) for one in wrong]
    whole = table_or_none(day, RESOURCES)
    lacking = storage_pools(day).join(whole, on=["resource_id", "pool_id"], how="anti")
    twice = whole.filter(pl.col("resource_id").is_duplicated())
    return [
        *broken,
        lacking.select("resource_id", NO_HOUR, fault=pl.lit(f"not in {RESOURCES}")),
        twice.select("resource_id", NO_HOUR, fault=pl.lit(f"twice in {RESOURCES}")),
    ]
