"""The certificate of storage resources: members can deliver whatever the market awards.

What each member has left around its baseline is computed anew from devices, preferences, and forecast, entry by entry
(docs/method.md, section 11b). If an owner's share of the limits of its resource lies within, so does its share of any
award within them. Who may be called, and the limits that are bid, are told here for the checks of `storage.py` as well.
"""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.tables import Day, rows_where, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations, parts_of
from vpp_pipeline.verification.terms import DEAL, is_of_storage, storage_pools, table_or_none, with_expected

ROW, HOUR = ["prosumer_id", "start_utc"], ["resource_id", "start_utc"]
LIMITS, PLAN, RESOURCES = "dispatch.storage_limits", "dispatch.storage_plan", "dispatch.storage_resources"
SHARES, CLASSES, MEMBERS = "dispatch.storage_shares", "fleet.storage_classes", "fleet.storage_members"
BASELINE = "fleet.baseline"
RESERVES = CAISO.reserves
OFFERED = {name: f"{name}_offered_mw" for name in CAISO.names}
NO_HOUR = pl.lit(None, pl.Datetime("us", "UTC")).alias("start_utc")  # of a fault of the day
MW_TOLERANCE = 1e-8  # of limits, which are not rounded twice
KWH_TOLERANCE = 1e-6
STATE_TOLERANCE = 1e-4  # kWh of a baseline
SHARE_TOLERANCE = 1e-9
DUST_KW = 1e-6  # less of a member is no part
#: what is limited, as columns of kWh: `below_before` at an hour's start, `last` and `cycles` over the day
KEPT = ("charge", "discharge", "below", "below_before", "above", "last", "cycles")


def call_hours_of(rules: MarketRules) -> float:
    """Hours that reserve must last when it is called."""
    stated = rules.model_dump()
    return max(float(stated[reserve.call_hours]) for reserve in RESERVES)


def hours_of_storage(day: Day) -> pl.DataFrame:
    """`dispatch.storage_limits` beside the day's limits of the resource, its plan, what it offers of each product
    (`<product>_offered_mw`), and which of them it bids (`<product>_is_bid`).

    `reserve_mw`: the most that all its reserves may be awarded together; `power_mw`: that they and discharge may be.
    Beside all discharge there is room for the reserve that members hold beyond that power.
    """
    asked = with_missing(day["market.opportunities"], resource_id=DESK).filter(is_of_storage(day))
    placed = (
        with_expected(day["dispatch.positions"], "quantity_mw").drop("market_date").join(asked, on="opportunity_id")
    )
    of_product = {name: pl.col("product") == name for name in CAISO.names}
    offers = placed.group_by(HOUR).agg(
        **{OFFERED[name]: pl.col("quantity_mw").filter(mine).sum() for name, mine in of_product.items()},
        **{f"{name}_is_bid": pl.col("is_bid").filter(mine).any() for name, mine in of_product.items()},
        **{f"{name}_expected_mw": pl.col("expected_mw").filter(mine).sum() for name, mine in of_product.items()},
    )
    whole = table_or_none(day, RESOURCES).drop("market_date", "members", "bound_members")
    plan = table_or_none(day, PLAN).drop("market_date", "stored_value_usd_per_mwh")
    rows = table_or_none(day, LIMITS).drop("market_date")
    prices = {"discharge_price_usd_per_mwh": "energy_price"}
    rows = rows.rename(prices | {one.price_column: f"{one.name}_price" for one in RESERVES})
    rows = rows.join(whole, on="resource_id", how="left").join(plan, on=HOUR, how="left")
    rows = rows.join(offers, on=HOUR, how="left").sort(HOUR)
    first = pl.col("start_utc") == pl.col("start_utc").min().over("resource_id")
    before = pl.col("stored_mwh").shift(1).over("resource_id")
    floor_before = pl.col("lowest_stored_mwh").shift(1).over("resource_id")
    rows = rows.with_columns(
        pl.col(*OFFERED.values()).fill_null(0.0),
        pl.col(*(f"{name}_is_bid" for name in CAISO.names)).fill_null(False),
        reserve_mw=pl.sum_horizontal(*(OFFERED[one.name] for one in RESERVES)),
        before_mwh=pl.when(first).then("initial_stored_mwh").otherwise(before),
        backing_before_mwh=pl.when(first).then("first_backing_mwh").otherwise(before - floor_before),
    )
    beside_mw = pl.min_horizontal("reserve_beyond_mw", "reserve_mw")
    power_mw = pl.max_horizontal(
        pl.col("max_discharge_mw") + beside_mw, *(OFFERED[reserve.name] for reserve in RESERVES)
    )
    return rows.with_columns(power_mw=power_mw, reserve_mw=pl.min_horizontal("reserve_mw", power_mw))


def storage_members_can_deliver_every_award(day: Day, settings: Settings) -> CheckResult:
    """The share of every member in its storage resource's limits, hour by hour and over the day, lies within what its
    devices and preferences leave around its baseline, and what it holds beside that as reserve too; it has deals for
    all of it. Each owner is in one resource, and the shares of a resource add up to 1.
    """
    hours, rules = hours_of_storage(day), settings.rules
    limits = {
        "as a class": (table_or_none(day, MEMBERS), class_limits(day)),
        "as it is bid": (table_or_none(day, SHARES), bid_limits(hours)),
    }
    broken, members, used = [*_share_faults(day), _spare_faults(day)], 0, 0.0
    for part in parts_of(day["fleet.prosumers"]):
        boxes = _boxes(day, part)
        members += boxes["prosumer_id"].n_unique()
        broken.append(_baseline_faults(day, boxes, part))
        for words, (shares, of_resource) in limits.items():
            beyond, most = _beyond_boxes(boxes, shares.filter(part), of_resource, call_hours_of(rules))
            broken.append(beyond.with_columns(pl.format("{}, {}", "fault", pl.lit(words)).alias("fault")))
            used = max(used, most)
    broken.append(_without_deals(day, hours))
    count = storage_pools(day).height
    held = f"{members} members of {count} storage resources give at most {used:.4f} of what they have left"
    return count_violations(pl.concat(broken), "members who cannot deliver every award", held, used)


def _boxes(day: Day, part: pl.Expr) -> pl.DataFrame:
    """What devices and preferences leave each member around its baseline, in every hour, kWh into and out of the store.

    The baseline's state of charge is integrated anew: `rebuilt_kwh`. Where it charges, nothing is discharged: a store
    that did both would end above its path.
    """
    devices = day["fleet.prosumers"].filter(part).drop("market_date", "max_charge_kw", "max_discharge_kw")
    devices = devices.drop("initial_stored_kwh", "export_limit_kw", "resource_id", strict=False)
    starts = day["dispatch.starts"].select("prosumer_id", "initial_stored_kwh")
    rows = table_or_none(day, BASELINE).drop("market_date").filter(part)
    rows = rows.join(day["fleet.availability"].filter(part).drop("market_date"), on=ROW, how="left")
    rows = rows.join(devices, on="prosumer_id", how="left").join(starts, on="prosumer_id", how="left").sort(ROW)
    into, out, alone = pl.col("charge_efficiency"), pl.col("discharge_efficiency"), "prosumer_id"
    charged_kw = pl.col("grid_charge_kw") + pl.col("solar_charge_kw")
    after = pl.col("initial_stored_kwh") + (into * charged_kw - pl.col("drive_kwh")).cum_sum().over(alone)
    rows = rows.with_columns(charged_kw=charged_kw, rebuilt_kwh=after)
    room_kw = pl.col("export_limit_kw") + (pl.col("load_kw") - pl.col("solar_kw")).clip(lower_bound=0.0)
    sold_kw = pl.min_horizontal("max_discharge_kw", room_kw - pl.col("solar_sold_kw"))
    below = pl.col("rebuilt_kwh") - pl.col("min_stored_kwh")
    start = pl.col("initial_stored_kwh")
    left = {
        "charge": into * (pl.col("max_charge_kw") - pl.col("charged_kw")),
        "discharge": pl.when(pl.col("charged_kw") > 0.0).then(0.0).otherwise(sold_kw / out),
        "below": below,
        "below_before": below.shift(1).over(alone).fill_null(start - pl.min_horizontal(start, "min_stored_kwh")),
        "above": pl.col("max_stored_kwh") - pl.col("rebuilt_kwh"),
        "last": pl.col("rebuilt_kwh").last().over(alone) - pl.col("terminal_stored_kwh"),
        "cycles": pl.col("maximum_cycles_per_day") * pl.col("capacity_kwh"),
    }
    has_store = (pl.col("store") != "none").cast(pl.Float64)
    boxes = {f"{name}_left": has_store * value.clip(lower_bound=0.0) for name, value in left.items()}
    return rows.with_columns(room_kw=room_kw, **boxes)


def _baseline_faults(day: Day, boxes: pl.DataFrame, part: pl.Expr) -> pl.DataFrame:
    """Baselines that are incomplete, that a limit of their owner forbids, or of which more sun is sold than expected:
    resource_id (the prosumer), start_utc, fault."""
    own_kw, sold = pl.col("solar_kw") - pl.col("load_kw"), pl.col("solar_sold_kw")
    sun_kw = pl.col("solar_charge_kw") + sold
    powers = ("grid_charge_kw", "solar_charge_kw", "solar_sold_kw", "spare_reserve_kw")
    stored, is_last = pl.col("rebuilt_kwh"), pl.col("start_utc") == pl.col("start_utc").max()
    planned = day["dispatch.schedule"].filter(part).select(*ROW, planned_kw="solar_sold_kw")
    rows = boxes.join(planned, on=ROW, how="left")
    faults = {
        "negative power": pl.min_horizontal(powers) < 0.0,
        "charges beyond its power": pl.col("charged_kw") > pl.col("max_charge_kw") + STATE_TOLERANCE,
        "sells and stores more sun than it has": sun_kw > own_kw.clip(lower_bound=0.0) + STATE_TOLERANCE,
        "sells more sun than it may export": sold > pl.col("room_kw") + STATE_TOLERANCE,
        "falls below its floor": stored < pl.col("min_stored_kwh") - STATE_TOLERANCE,
        "rises above its ceiling": stored > pl.col("max_stored_kwh") + STATE_TOLERANCE,
        "ends below what it must keep": is_last & (stored < pl.col("terminal_stored_kwh") - STATE_TOLERANCE),
        "states another state of charge": (stored - pl.col("stored_kwh")).abs() > STATE_TOLERANCE,
        "plans more sun than is expected of it": pl.col("planned_kw")
        > pl.col("availability_fraction") * sold + KWH_TOLERANCE,
    }
    broken = [
        rows.filter(fault.fill_null(True)).select(
            resource_id="prosumer_id", start_utc="start_utc", fault=pl.lit(f"baseline {words}")
        )
        for words, fault in faults.items()
    ]
    hours = market_hours(day["market.price_forecast"]["market_date"][0])["start_utc"]
    members = table_or_none(day, MEMBERS).filter(part).select("prosumer_id")
    due = members.join(hours.to_frame(), how="cross")
    missing = [due.join(boxes, on=ROW, how="anti"), boxes.select(ROW).join(due, on=ROW, how="anti")]
    missing.append(boxes.filter(pl.struct(ROW).is_duplicated()).select(ROW))
    words = "baseline of another hour or owner, or none"
    return pl.concat(
        broken
        + [rows.select(resource_id="prosumer_id", start_utc="start_utc", fault=pl.lit(words)) for rows in missing]
    )


def _beyond_boxes(
    boxes: pl.DataFrame, shares: pl.DataFrame, limits: pl.DataFrame, call_hours: float
) -> tuple[pl.DataFrame, float]:
    """Members whose share of the resource's ``limits`` is more than they have left (resource_id: the prosumer,
    start_utc, fault), and the largest part that any of them gives of what it has left."""
    rows = boxes.drop("resource_id", strict=False).join(
        shares.select("prosumer_id", "resource_id", "share_fraction"), on="prosumer_id"
    )
    rows = rows.join(limits, on=HOUR, how="left")
    held_kwh = pl.col("spare_reserve_kw") / pl.col("discharge_efficiency")  # in an hour
    beside = {"discharge": held_kwh, "below": call_hours * held_kwh, "below_before": call_hours * held_kwh}
    broken, most = [], 0.0
    for name in KEPT:
        asked = pl.col("share_fraction") * pl.col(name) + beside.get(name, pl.lit(0.0))
        found = rows.select(*ROW, "share_fraction", asked=asked, left=pl.col(f"{name}_left"))
        found = found.filter(pl.col("asked").is_null() | (pl.col("asked") > KWH_TOLERANCE))
        beyond = found.filter(~(pl.col("asked") <= pl.col("left") + KWH_TOLERANCE).fill_null(False))
        words = pl.format("asked for {} kWh of {}, has {} left", "asked", pl.lit(name), "left")
        broken.append(beyond.select(resource_id="prosumer_id", start_utc="start_utc", fault=words))
        part = found.filter(pl.col("left") > 0.0).select(pl.col("asked") / pl.col("left")).to_series()
        most = max(most, float(part.to_numpy().max(initial=0.0)))
    return pl.concat(broken), most


def _share_faults(day: Day) -> list[pl.DataFrame]:
    """Owners in no resource, in two, or in one of another pool, and shares that do not add up or are not the class's:
    resource_id, start_utc, fault."""
    pools, members, shares = storage_pools(day), table_or_none(day, MEMBERS), table_or_none(day, SHARES)
    placed = with_missing(day["fleet.prosumers"], resource_id=DESK).select("prosumer_id", own_id="resource_id")
    known = table_or_none(day, "market.resources").filter(participation="storage")["resource_id"]
    due = placed.filter(pl.col("own_id").is_in(known.implode()))
    listed = members.join(pools, on="resource_id", how="left").join(placed, on="prosumer_id", how="left")
    bound = shares.filter("is_bound").join(members, on="prosumer_id", how="left", suffix="_of_class")
    whole = pl.col("share_fraction_of_class").sum().over("resource_id")
    due_share = pl.when(whole > 0.0).then(pl.col("share_fraction_of_class") / whole).otherwise(0.0)
    keys = ["prosumer_id", "resource_id"]
    sums = [
        rows.group_by("resource_id").agg(pl.col("share_fraction").sum(), count=pl.len()) for rows in (members, shares)
    ]
    no_sum = (pl.col("share_fraction") != 0.0) & (
        (pl.col("share_fraction") - 1.0).abs() > SHARE_TOLERANCE * pl.col("count")
    )
    counts = shares.group_by("resource_id").agg(counted=pl.len(), bound=pl.col("is_bound").sum())
    told = table_or_none(day, RESOURCES).join(counts, on="resource_id", how="full", coalesce=True)
    miscounted = ~((pl.col("members") == pl.col("counted")) & (pl.col("bound_members") == pl.col("bound"))).fill_null(
        False
    )
    found = {
        "in no storage resource": due.join(members, on="prosumer_id", how="anti"),
        "in a storage resource of another pool": listed.filter(
            ~(pl.col("pool_id") == pl.col("own_id")).fill_null(False)
        ),
        "in two storage resources": members.filter(pl.col("prosumer_id").is_duplicated()),
        "has two shares": shares.filter(pl.col("prosumer_id").is_duplicated()),
        "a share in a resource of others": shares.join(members, on=keys, how="anti"),
        "without its share": members.join(shares, on=keys, how="anti"),
        "a share without a deal": shares.filter(~pl.col("is_bound") & (pl.col("share_fraction") != 0.0)),
        "another share than its class's": bound.filter(
            ~((pl.col("share_fraction") - due_share).abs() <= SHARE_TOLERANCE).fill_null(False)
        ),
        **{f"shares that add up to another sum ({k + 1})": rows.filter(no_sum) for k, rows in enumerate(sums)},
        "members that are miscounted": told.filter(miscounted),
    }
    return [
        rows.select(
            pl.col("prosumer_id" if "prosumer_id" in rows.columns else "resource_id").alias("resource_id"),
            NO_HOUR,
            fault=pl.lit(words),
        )
        for words, rows in found.items()
    ]


def _spare_faults(day: Day) -> pl.DataFrame:
    """Hours in which more reserve is offered beside a resource's power than its bound members hold beside their shares:
    resource_id, start_utc, fault."""
    bound = table_or_none(day, SHARES).filter("is_bound").select("prosumer_id", "resource_id")
    held = table_or_none(day, BASELINE).join(bound, on="prosumer_id").group_by(HOUR)
    rows = table_or_none(day, LIMITS).join(
        held.agg(spare_mw=pl.col("spare_reserve_kw").sum() / 1000.0), on=HOUR, how="left"
    )
    wrong = rows.filter(pl.col("reserve_beyond_mw") > pl.col("spare_mw").fill_null(0.0) + MW_TOLERANCE)
    return wrong.select(*HOUR, fault=pl.lit("more reserve beside its power than members hold"))


def _without_deals(day: Day, hours: pl.DataFrame) -> pl.DataFrame:
    """Bound members without a deal for all that they may be called for, their sun included: resource_id (the
    prosumer), start_utc, fault."""
    deals, broken = deals_of_storage(day), []
    sun = day["dispatch.schedule"].select(*ROW, "solar_sold_kw")
    for product in CAISO.names:
        rows = parts_of_members(day, hours, product).join(deals, on=DEAL, how="left")
        asked = pl.col("part_kw")
        if CAISO.product(product).is_energy:
            rows = rows.join(sun, on=ROW, how="left")
            asked = asked + pl.col("solar_sold_kw").fill_null(0.0)
        is_short = asked > pl.col("committed_capacity_kw").fill_null(0.0) + KWH_TOLERANCE
        words = pl.format("may be called for {} kW of {}, more than its deal", asked, pl.lit(product))
        broken.append(rows.filter(is_short).select(resource_id="prosumer_id", start_utc="start_utc", fault=words))
    return pl.concat(broken)


def parts_of_members(day: Day, hours: pl.DataFrame, product: str) -> pl.DataFrame:
    """Most that each bound member may be called for of ``product``: opportunity_id, prosumer_id, resource_id,
    start_utc, share_fraction, part_kw, and of a reserve spare_reserve_kw, what it holds beyond its share.

    Of reserve members give first what they hold beyond their shares.
    """
    opportunities = day["market.opportunities"].filter(is_of_storage(day), pl.col("product") == product)
    offered, is_energy = OFFERED[product], product == "energy"
    selling = hours.filter(pl.col(offered) > 0.0).join(opportunities.select("opportunity_id", *HOUR), on=HOUR)
    within_mw = pl.col("max_discharge_mw") if is_energy else pl.col("reserve_mw") - pl.col("reserve_beyond_mw")
    selling = selling.select(
        "opportunity_id",
        *HOUR,
        within_kwh=1000.0 * within_mw.clip(lower_bound=0.0) / pl.col("discharge_efficiency"),
        has_beside=pl.col("reserve_beyond_mw") > 0.0,
    )
    members = table_or_none(day, SHARES).filter("is_bound").select("prosumer_id", "resource_id", "share_fraction")
    out = day["fleet.prosumers"].select("prosumer_id", out="discharge_efficiency")
    spare = table_or_none(day, BASELINE).select(*ROW, "spare_reserve_kw")
    rows = selling.join(members.join(out, on="prosumer_id"), on="resource_id").join(spare, on=ROW, how="left")
    if is_energy:
        rows = rows.with_columns(spare_reserve_kw=0.0)
    beside_kw = pl.when("has_beside").then("spare_reserve_kw").otherwise(0.0)
    part = pl.col("share_fraction") * pl.col("within_kwh") * pl.col("out") + beside_kw
    return rows.with_columns(part_kw=part).drop("within_kwh", "out", "has_beside")


def deals_of_storage(day: Day) -> pl.DataFrame:
    """Deals of storage resources: opportunity_id, prosumer_id, committed_capacity_kw, call_usd, the call price."""
    mine = day["market.opportunities"].filter(is_of_storage(day))["opportunity_id"]
    floor, reference = pl.col("floor_price_usd_per_mwh"), pl.col("reference_price_usd_per_mwh")
    columns = [*DEAL, "committed_capacity_kw", "floor_price_usd_per_mwh", "reference_price_usd_per_mwh"]
    held = pl.col("holds_option") & pl.col("opportunity_id").is_in(mine.implode())
    rows = rows_where(day, "negotiation.agreements", held, [*columns, "share_fraction"])
    beyond = reference + (floor - reference) / pl.col("share_fraction")
    call = pl.when(reference < floor).then(beyond).otherwise(floor)
    return rows.select(*DEAL, "committed_capacity_kw", call_usd=call)


def coalitions_of_storage(day: Day) -> pl.DataFrame:
    """Members with a deal who may be called for an opportunity: opportunity_id, found, at_most (with parts so small
    that rounding decides)."""
    hours, deals, counted = hours_of_storage(day), deals_of_storage(day).select(DEAL), []
    for product in CAISO.names:
        could = parts_of_members(day, hours, product).join(deals, on=DEAL)
        count = could.group_by("opportunity_id").agg(
            found=(pl.col("part_kw") > 2.0 * DUST_KW).sum().cast(pl.Int64),
            at_most=(pl.col("part_kw") > 0.5 * DUST_KW).sum().cast(pl.Int64),
        )
        counted.append(count)
    return pl.concat(counted)


def class_hours(day: Day) -> pl.DataFrame:
    """Limits of `fleet.storage_classes` by hour: resource_id, hour_number, and a column of kWh for each entry."""
    rows = table_or_none(day, CLASSES).select("resource_id", "entry", "hour_number", "limit_kwh")
    hourly, daily = rows.filter(pl.col("hour_number") > 0), rows.filter(hour_number=0)
    own = {name: pl.col("limit_kwh").filter(entry=name).first() for name in ("charge", "discharge", "below", "above")}
    of_day = {name: pl.col("limit_kwh").filter(entry=name).first() for name in ("first", "last", "cycles")}
    found = hourly.group_by("resource_id", "hour_number").agg(**own).sort("resource_id", "hour_number")
    found = found.join(daily.group_by("resource_id").agg(**of_day), on="resource_id", how="left")
    before = pl.col("below").shift(1).over("resource_id")
    return found.with_columns(below_before=pl.when(pl.col("hour_number") == 1).then("first").otherwise(before))


def class_limits(day: Day) -> pl.DataFrame:
    """Limits of each class, by hour, kWh: resource_id, start_utc, KEPT."""
    hours = market_hours(day["market.price_forecast"]["market_date"][0])["start_utc"]
    numbered = hours.to_frame().with_columns(hour_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))
    return class_hours(day).join(numbered, on="hour_number").select(*HOUR, *KEPT)


def bid_limits(hours: pl.DataFrame) -> pl.DataFrame:
    """Limits of each storage resource as it is bid, by hour, kWh: resource_id, start_utc, KEPT.

    Reserve beyond what members hold each for itself shares the power of discharge.
    """
    begins, within_mw = pl.col("initial_stored_mwh"), pl.col("power_mw") - pl.col("reserve_beyond_mw")
    mwh = {
        "charge": pl.col("max_charge_mw") * pl.col("charge_efficiency"),
        "discharge": pl.max_horizontal("max_discharge_mw", within_mw) / pl.col("discharge_efficiency"),
        "below": begins - pl.col("lowest_stored_mwh"),
        "above": pl.col("highest_stored_mwh") - begins,
        "last": begins - pl.col("final_stored_mwh"),
        "cycles": pl.col("daily_discharge_mwh"),
    }
    rows = hours.select(*HOUR, "first_backing_mwh", **{name: 1000.0 * value for name, value in mwh.items()})
    before = pl.col("below").shift(1).over("resource_id").fill_null(1000.0 * pl.col("first_backing_mwh"))
    return rows.with_columns(below_before=before).select(*HOUR, *KEPT)
