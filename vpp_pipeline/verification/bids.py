"""Checks of the bids: the 80% rule, coalitions, curves, money, top-ups, and the deadline."""

from __future__ import annotations

import math
from datetime import datetime

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.tables import Day, optional_table, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline.verification.certificate import coalitions_of_storage, hours_of_storage
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.terms import (
    bids_of,
    block_hours,
    resources_of_prosumers,
    storage_pools,
    table_or_none,
    with_expected,
)

HALF_CENT = 0.005
MW_TOLERANCE = 1e-9
MONEY = ["expected_revenue_usd", "payments_usd", "charging_cost_usd", "expected_profit_usd"]
CENT = 0.01
SHARE_TOLERANCE_USD = 1e-3


def _stated(rules: MarketRules, setting: dict[str, str], unknown: float) -> pl.Expr:
    """The setting of each row's product, by the setting's name; ``unknown`` for a product that the market lacks."""
    stated = rules.model_dump()
    by_product = {product: stated[name] for product, name in setting.items()}
    return pl.col("product").replace_strict(by_product, default=unknown, return_dtype=pl.Float64)


def bids_meet_80_percent_of_required_capacity(day: Day, settings: Settings) -> CheckResult:
    """Every bid offers 80-100% of R as scheduled, in steps and above the market's minimum; no-bids offer nothing.

    Energy of a storage resource may offer no discharge: then it is bid to charge, to sell sun, or to cover reserve. Its
    minimum is what the devices of all its members can discharge. What may not be offered is not.
    """
    rules = settings.rules
    asked = with_missing(day["market.opportunities"], closed_reason=None, resource_id=DESK).select(
        "opportunity_id",
        "required_capacity_mw",
        "resource_id",
        is_closed=pl.col("closed_reason").is_not_null(),
    )
    power = day["fleet.availability"].group_by("prosumer_id").agg(kw=pl.col("max_discharge_kw").max())
    of_resource = power.join(resources_of_prosumers(day), on="prosumer_id").group_by("resource_id")
    asked = asked.join(of_resource.agg(size_mw=pl.col("kw").sum() / 1000.0), on="resource_id", how="left")
    asked = asked.drop("resource_id")
    bids = bids_of(day).join(asked.drop("required_capacity_mw"), on="opportunity_id", how="left")
    quantity, is_storage = pl.col("total_capacity_mw"), pl.col("is_storage")
    minimum = _stated(rules, {product.name: product.minimum for product in CAISO.products}, math.inf)
    least = pl.max_horizontal(
        rules.required_fraction * pl.col("required_capacity_mw"), pl.when(is_storage).then(0.0).otherwise(minimum)
    )
    steps = quantity / pl.when(is_storage).then(rules.storage_step_mw).otherwise(rules.quantity_step_mw)
    sells_nothing = is_storage & (pl.col("product") == "energy") & (quantity == 0.0)
    too_small = is_storage & (pl.col("size_mw").fill_null(0.0) < rules.energy_minimum_mw - MW_TOLERANCE)
    broken = bids.filter(
        ((quantity < least - MW_TOLERANCE) & ~sells_nothing)
        | (quantity > pl.col("required_capacity_mw") + MW_TOLERANCE)
        | ((steps - steps.round()).abs() > 1e-6)
        | (is_storage & pl.col("is_closed") & (quantity > 0.0))
        | (too_small & (quantity > 0.0))
    )
    nothing = pl.any_horizontal(quantity != 0, pl.col(MONEY) != 0, pl.col("expected_mw") != 0)
    told = with_expected(day["bids.final_bids"], "total_capacity_mw")
    idle = told.filter((pl.col("status") == "no_bid") & (nothing | pl.col("bid_price_usd_per_mwh").is_not_null()))
    selling = bids.filter(quantity > 0.0)
    share = float((selling["total_capacity_mw"] / selling["required_capacity_mw"]).to_numpy().min(initial=1.0))
    held = f"{bids.height} bids, the smallest offers {percent(share)} of its R"
    misstated = told.join(asked, on=["opportunity_id", "required_capacity_mw"], how="anti")
    decided = with_expected(day["dispatch.positions"], "quantity_mw")
    decided = decided.select("opportunity_id", "expected_mw", total_capacity_mw="quantity_mw")
    changed = told.join(decided, on=decided.columns, how="anti")
    forgotten = asked.join(told, on="opportunity_id", how="anti").select(
        bid_id="opportunity_id", total_capacity_mw=pl.lit(None, pl.Float64), required_capacity_mw="required_capacity_mw"
    )
    named = ["bid_id", "total_capacity_mw", "required_capacity_mw"]
    rows = pl.concat([frame.select(named) for frame in (broken, idle, misstated, changed)])
    rows = pl.concat([rows, forgotten]).unique("bid_id", keep="first", maintain_order=True)
    return count_violations(rows, "bids outside 80-100% of R", held, share)


def coalitions_have_enough_members(day: Day, settings: Settings) -> CheckResult:
    """Every bid has a coalition of at least three prosumers, counted from the payments.

    Of a storage resource those count who may be called, and the pool that it is cut from must have three for each
    product and hour.
    """
    least_members, bids = settings.rules.minimum_members, bids_of(day)
    members = day["dispatch.payments"].group_by("opportunity_id").agg(found=pl.col("prosumer_id").n_unique())
    hourly = bids.filter(~pl.col("is_storage")).join(members, on="opportunity_id", how="left")
    hourly = hourly.with_columns(pl.col("found").fill_null(0))
    broken = [hourly.filter((pl.col("found") < least_members) | (pl.col("found") != pl.col("coalition_size")))]

    storage = bids.filter("is_storage").join(coalitions_of_storage(day), on="opportunity_id", how="left")
    storage = storage.with_columns(pl.col("found", "at_most").fill_null(0)).join(storage_pools(day), on="resource_id")
    counted = pl.col("coalition_size").is_between(pl.col("found"), pl.col("at_most"))
    selling = storage.filter(pl.col("total_capacity_mw") > 0.0)
    pooled = selling.with_columns(pl.col("found").sum().over("pool_id", "product", "start_utc"))
    broken += [storage.filter(~counted), pooled.filter(counted & (pl.col("found") < least_members))]

    found = pl.concat([hourly["found"].cast(pl.Int64), pooled["found"].cast(pl.Int64)])
    least = int(found.to_numpy().min(initial=10**6)) if len(found) else 0
    rows = pl.concat([frame.select("bid_id", "coalition_size", pl.col("found").cast(pl.Int64)) for frame in broken])
    held = f"{bids.height} bids, the smallest coalition has {least} members"
    return count_violations(rows, "coalitions too small or miscounted", held, least)


def resources_bid_within_their_limits(day: Day, settings: Settings) -> CheckResult:
    """Each bid is of a known resource that takes part, with its own members alone; in each hour a resource offers no
    more reserve than it is certified for, no spin as proxy demand, and no more than its Pmax in all.

    Storage resources are parts of the one whose members they are cut from, and its limits hold for their sum: each
    reserve, and from Pmin to Pmax all that the market may award, energy and reserve over the same MW.
    """
    table = optional_table(day, "market.resources")
    if table is None:
        return CheckResult(0, "0 resources are stored with this day", 0.0)
    bids = bids_of(day)
    hours = block_hours(bids).join(bids.drop("product", "start_utc"), on="opportunity_id")
    mw = {name: pl.col("total_capacity_mw").filter(product=name).sum() for name in CAISO.names}
    hourly = hours.filter(~pl.col("is_storage")).group_by("resource_id", "start_utc").agg(**mw)
    hourly = hourly.with_columns(lowest_mw=pl.lit(0.0), highest_mw=pl.sum_horizontal(*mw), is_pool=pl.lit(False))
    offered = pl.concat([hourly, _offered_by_pools(day).select(hourly.columns)])
    offered = offered.join(table.drop("market_date"), on="resource_id", how="left").sort("resource_id", "start_utc")
    kind = pl.col("participation")
    faults = {
        "no such resource": kind.is_null(),
        "a resource that takes no part": kind == "none",
        "a resource of storage that is bid hour by hour": (kind == "storage") & ~pl.col("is_pool"),
        **{
            f"{reserve.name} beyond its certification": pl.col(reserve.name)
            > pl.col(reserve.certified_column) + MW_TOLERANCE
            for reserve in CAISO.reserves
        },
        "spin of proxy demand": (kind == "proxy_demand") & (pl.col("spin") > 0.0),
        "more than its Pmax": pl.col("highest_mw") > pl.col("maximum_mw") + MW_TOLERANCE,
        "less than its Pmin": pl.col("lowest_mw") < pl.col("minimum_mw") - MW_TOLERANCE,
    }
    broken = [
        offered.filter(fault.fill_null(False)).select("resource_id", "start_utc", fault=pl.lit(words))
        for words, fault in faults.items()
    ]
    paid = day["dispatch.payments"].select("opportunity_id", "prosumer_id")
    paid = paid.join(bids.select("opportunity_id", "resource_id", "start_utc"), on="opportunity_id")
    strangers = paid.join(resources_of_prosumers(day), on=["prosumer_id", "resource_id"], how="anti")
    broken.append(strangers.select("resource_id", "start_utc", fault=pl.format("{} is no member of it", "prosumer_id")))
    broken.append(_otherwise_than_stated(day, table))
    most = float(
        offered.select(pl.max_horizontal(reserve.name for reserve in CAISO.reserves))
        .to_series()
        .to_numpy()
        .max(initial=0.0)
    )
    held = f"{table.height} resources bid at most {most:.2f} MW of a reserve, within certification and Pmax"
    return count_violations(pl.concat(broken), "bids beyond the limits of their resource", held, most)


def _offered_by_pools(day: Day) -> pl.DataFrame:
    """What the storage resources of each pool offer together in each hour, from the most charging to the most sold."""
    rows = hours_of_storage(day).join(storage_pools(day), on="resource_id")
    return rows.group_by("start_utc", resource_id="pool_id").agg(
        **{name: pl.col(f"{name}_offered_mw").sum() for name in CAISO.names},
        lowest_mw=(pl.col("self_schedule_mw") - pl.col("max_charge_mw")).sum(),
        highest_mw=(pl.col("self_schedule_mw") + pl.col("power_mw")).sum(),
        is_pool=pl.lit(True),
    )


def _otherwise_than_stated(day: Day, table: pl.DataFrame) -> pl.DataFrame:
    """Opportunities that take part otherwise than their resource, and storage resources of no pool or of another's
    name: resource_id, start_utc, fault."""
    pools = storage_pools(day)
    kinds = pl.concat(
        [
            table.select("resource_id", kind="participation"),
            pools.filter(pl.col("resource_id") != pl.col("pool_id")).select("resource_id", kind=pl.lit("storage")),
        ]
    )
    asked = with_missing(day["market.opportunities"], resource_id=DESK, participation=None)
    asked = asked.filter(pl.col("participation").is_not_null()).join(kinds, on="resource_id", how="left")
    otherwise = asked.filter(~(pl.col("participation") == pl.col("kind")).fill_null(False))
    classes = table_or_none(day, "fleet.storage_classes").select("resource_id", "pool_id").unique()
    unknown = classes.join(pools, on=["resource_id", "pool_id"], how="anti")
    twice = kinds.filter(pl.col("resource_id").is_duplicated()).unique()
    no_hour = pl.lit(None, asked.schema["start_utc"])
    return pl.concat(
        [
            otherwise.select("resource_id", "start_utc", fault=pl.lit("takes part otherwise than it is bid")),
            unknown.select("resource_id", no_hour.alias("start_utc"), fault=pl.lit("cut from no resource of storage")),
            twice.select("resource_id", no_hour.alias("start_utc"), fault=pl.lit("two resources of one name")),
        ]
    )


def bid_curves_are_valid_for_caiso(day: Day, settings: Settings) -> CheckResult:
    """Segments from 0 to the bid's MW without gaps, rising in MW and price, within price limits and number; the first
    spans at least 80% of R at no less than the average cost of a MWh delivered, every other has the cost of its dearest
    member; reserve has one segment. Cost is the call price and the charging to be recovered. Curves of storage
    resources, from charging to discharging, have a check of their own."""
    rules, trading = settings.rules, bids_of(day)
    of_storage = trading.filter("is_storage")
    segments = day["bids.bid_segments"].join(of_storage, on="bid_id", how="anti").sort("bid_id", "segment")
    bids = trading.filter(~pl.col("is_storage")).select(
        "bid_id",
        "opportunity_id",
        "product",
        "total_capacity_mw",
        "required_capacity_mw",
        "bid_price_usd_per_mwh",
        "duration_hours",
    )
    delivered = (
        day["dispatch.payments"]
        .group_by("opportunity_id")
        .agg(
            delivered_mwh=pl.col("dispatched_kwh").sum() / 1000.0,
            cost_usd=(
                pl.col("call_price_usd_per_mwh") * pl.col("dispatched_kwh") / 1000.0 + pl.col("charging_cost_usd")
            ).sum(),
        )
    )
    bids = bids.join(delivered, on="opportunity_id", how="left")
    curve = segments.join(bids, on="bid_id", how="full", coalesce=True)
    energy = pl.col("product") == "energy"
    low = _stated(rules, {product.name: product.price_floor for product in CAISO.products}, math.inf)
    high = _stated(rules, {product.name: product.price_cap for product in CAISO.products}, -math.inf)
    before = pl.col("to_mw").shift(1).over("bid_id").fill_null(0.0)
    price = pl.col("price_usd_per_mwh")
    average = (pl.col("cost_usd") - 2 * HALF_CENT) / (
        pl.max_horizontal(pl.col("total_capacity_mw") * pl.col("duration_hours"), "delivered_mwh")
    )
    first = pl.col("segment") == 1
    is_last = pl.col("segment") == pl.col("segment").max().over("bid_id")
    faults = {
        "no curve, or no bid": pl.col("segment").is_null() | pl.col("product").is_null(),
        "a gap in MW": (pl.col("from_mw") - before).abs() > MW_TOLERANCE,
        "MW do not rise": pl.col("to_mw") <= pl.col("from_mw"),
        "price falls": price < price.shift(1).over("bid_id") - 1e-9,
        "price outside the limits": (price < low) | (price > high),
        "too many segments": pl.col("segment") > pl.when(energy).then(rules.maximum_segments).otherwise(1),
        "curve does not end at the bid's MW": is_last
        & ((pl.col("to_mw") - pl.col("total_capacity_mw")).abs() > MW_TOLERANCE),
        "first segment below 80% of R": first
        & (pl.col("to_mw") < rules.required_fraction * pl.col("required_capacity_mw") - MW_TOLERANCE),
        "first price below average cost": first & (price < average),
        "bid price is not the first price": first & ((price - pl.col("bid_price_usd_per_mwh")).abs() > 1e-9),
    }
    broken = pl.concat(
        [curve.filter(fault).select("bid_id", "segment", fault=pl.lit(name)) for name, fault in faults.items()]
        + [_dearest_faults(day, curve, low, high)]
    )
    highest = float(segments["price_usd_per_mwh"].to_numpy().max(initial=0.0))
    held = f"{bids.height} curves with {segments.height} segments are valid; the highest price is {usd(highest)}"
    return count_violations(broken, "faults in bid curves", held, highest)


def _dearest_faults(day: Day, curve: pl.DataFrame, low: pl.Expr, high: pl.Expr) -> pl.DataFrame:
    """Segments of energy after the first that ask another price than the cost of the member that delivers their last
    MW, cheapest members first, or the first segment's price where that is higher: bid_id, segment, fault.

    Curves that rest on scenarios are left out: they ask what the fleet is worth in each of them.
    """
    told = day["dispatch.scenario_quantities"].select("opportunity_id").unique()
    rows = curve.filter(pl.col("product") == "energy").join(told, on="opportunity_id", how="anti")
    members = day["dispatch.payments"].with_columns(
        cost=pl.col("call_price_usd_per_mwh") + pl.col("charging_cost_usd") / (pl.col("dispatched_kwh") / 1000.0)
    )
    members = members.sort("opportunity_id", "cost").select(
        "opportunity_id",
        "cost",
        part=(pl.col("dispatched_kw").cum_sum() / pl.col("dispatched_kw").sum()).over("opportunity_id"),
    )
    later = rows.filter(pl.col("segment") > 1).with_columns(
        needed=pl.col("to_mw") / pl.col("total_capacity_mw") - MW_TOLERANCE,
        first=pl.col("bid_price_usd_per_mwh"),
        low=low,
        high=high,
    )
    last = later.sort("opportunity_id", "needed").join_asof(
        members.sort("opportunity_id", "part"),
        left_on="needed",
        right_on="part",
        by="opportunity_id",
        strategy="forward",
        check_sortedness=False,
    )
    asked = pl.max_horizontal((pl.col("cost") * 100.0 - 1e-6).ceil() / 100.0, "first").clip("low", "high")
    wrong = last.filter(~((pl.col("price_usd_per_mwh") - asked).abs() <= HALF_CENT).fill_null(False))
    return wrong.select("bid_id", "segment", fault=pl.lit("price is not that of the dearest member"))


def bids_were_ready_before_the_deadline(day: Day, settings: Settings, is_scheduled: bool = False) -> CheckResult:
    """Bids of a scheduled run are earlier than the deadline, and so are the inputs of every run."""
    forecast, bids = day["market.price_forecast"], day["bids.final_bids"]
    deadline = bid_deadline_utc(forecast["market_date"][0])
    latest: datetime = max(forecast["latest_input_utc"])
    inputs_late = forecast.filter(pl.col("latest_input_utc") >= deadline).select(
        "start_utc", late_utc="latest_input_utc"
    )
    bids_late = bids.filter(pl.lit(is_scheduled) & (pl.col("created_utc") > deadline)).select(
        "start_utc", late_utc="created_utc"
    )
    hours_early = (deadline - latest).total_seconds() / 3600.0
    held = (
        f"latest input published {latest:%Y-%m-%d %H:%M} UTC, deadline {deadline:%Y-%m-%d %H:%M} UTC, "
        f"{hours_early:.0f} hours later"
    )
    return count_violations(pl.concat([inputs_late, bids_late]), "hours or bids after the deadline", held, hours_early)
