"""Checks of a settled day: awards within what was bid, owners' limits, their pay by their deals, and the account.

Limits are those of `schedule.py`. Positions, deviations, and states of charge are computed again from the tables.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.tables import Day, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.schedule import (
    CENT,
    HOUR,
    ROW,
    TOLERANCE,
    limits_kept,
    sales_of,
)
from vpp_pipeline.verification.terms import DEAL, block_hours, is_of_storage, resources_of_prosumers, table_or_none

PRICE_TOLERANCE = 1e-6  # $/MWh between two ways of computing one price
STEP_MW = 1e-6  # MW or MWh of a storage resource: a watt
RESOURCES, LIMITS, AWARDS = "dispatch.storage_resources", "dispatch.storage_limits", "evaluation.storage_awards"
HELD_MW = [f"{reserve.name}_mw" for reserve in CAISO.reserves]
EARNED, SPENT = ("energy", "reserve", "leftover"), ("charging", "imbalance", "payments")
_GIVEN = pl.col("awarded_mw") - pl.col("shortfall_mw")
#: of rows of `evaluation.settlement`, those of energy of a storage resource with its `surplus_mw`
IS_DELIVERED_OTHERWISE = (
    pl.when(pl.col("surplus_mw").is_null())
    .then((pl.col("delivered_mw") - _GIVEN.clip(lower_bound=0.0)).abs() > TOLERANCE / 1000.0)
    .otherwise(
        ((pl.col("delivered_mw") - pl.col("awarded_mw") - pl.col("surplus_mw")).abs() > STEP_MW)
        | ((pl.col("shortfall_mw") + pl.col("surplus_mw").clip(upper_bound=0.0)).abs() > STEP_MW)
        | ((pl.col("imbalance_usd") - pl.col("imbalance_usd_right")).abs() > CENT + 1e-9)
    )
)
NET_KW = pl.col("discharge_kw") + pl.col("solar_sold_kw") - pl.col("grid_charge_kw")


def settled_dispatch_stays_within_limits(day: Day, settings: Settings) -> CheckResult:
    """Dispatch after awards and absences keeps the limits of `no_prosumer_is_pushed_past_its_limits`."""
    return limits_kept(day, settings, "evaluation.dispatched")


def storage_awards_stay_within_what_was_bid(day: Day, settings: Settings) -> CheckResult:
    """What a storage resource is awarded is within its curve, its certification, and its state of charge, which follows
    from the awards; and each of its bids is settled for that.
    """
    awards, resources, limits = (table_or_none(day, table) for table in (AWARDS, RESOURCES, LIMITS))
    limits = limits.join(_curves(day, limits), on=HOUR, how="left")
    rows = awards.drop("market_date").join(limits.drop("market_date"), on=HOUR, how="full", coalesce=True)
    rows = rows.join(resources.drop("market_date"), on="resource_id", how="left").sort(HOUR)
    charge, discharge, stored = pl.col("charge_mw"), pl.col("discharge_mw"), pl.col("stored_mwh")
    low, high, reserve = pl.col("lowest_stored_mwh"), pl.col("highest_stored_mwh"), reduce(add, map(pl.col, HELD_MW))
    out_mwh = discharge / pl.col("discharge_efficiency")
    begins = pl.col("initial_stored_mwh")
    before = stored.shift(1).over("resource_id").fill_null(begins)
    backs_first = pl.when(pl.int_range(pl.len()).over("resource_id") == 0).then("first_backing_mwh")
    backed_before = pl.coalesce(backs_first, before - low.shift(1).over("resource_id"))
    called_mwh = pl.when(reserve > STEP_MW).then(pl.col("call_hours") * reserve / pl.col("discharge_efficiency"))
    excess = {
        "an award below zero": -pl.min_horizontal("charge_mw", "discharge_mw", *HELD_MW),
        "charging beyond its curve": charge - pl.col("charges_mw"),
        "discharge beyond its curve": discharge - pl.col("sells_mw"),
        **{f"{name} beyond its bid": pl.col(f"{name}_mw") - pl.col(f"{name}_bid_mw") for name in CAISO.names[1:]},
        "energy and reserve beyond its curve": discharge + reserve - pl.col("spans_mw"),
        "charging and discharging at once": pl.min_horizontal("charge_mw", "discharge_mw"),
        "another state of charge": (stored - before - pl.col("charge_efficiency") * charge + out_mwh).abs(),
        "a state of charge below the lowest": low - stored,
        "a state of charge above the highest": stored - high,
        "reserve that is not backed after": (called_mwh - (stored - low)).fill_null(0.0),
        "reserve that is not backed before": (called_mwh - backed_before).fill_null(0.0),
    }
    apart = [
        rows.select(*HOUR, fault=pl.lit(name), by=value.fill_null(float("inf"))).filter(pl.col("by") > STEP_MW)
        for name, value in excess.items()
    ]
    final, daily = pl.col("final_stored_mwh").first(), pl.col("daily_discharge_mwh").first()
    days = rows.group_by("resource_id").agg(
        pl.col("start_utc").last(), owed=final - stored.last(), cycled=out_mwh.sum() - daily
    )
    apart += [
        days.select(*HOUR, fault=pl.lit(name), by=pl.col(value)).filter(pl.col("by") > STEP_MW)
        for name, value in (("a final state of charge too low", "owed"), ("more than the day's discharge", "cycled"))
    ]
    apart.append(_settled_otherwise(day, rows))
    count = f"{rows.height} hours of {resources.height} storage resources"
    words = f"faults in the awards of {count}"
    sold_mwh = float(rows["discharge_mw"].fill_null(0.0).sum())
    return count_violations(pl.concat(apart), words, f"{count} within their bids; {sold_mwh:.3f} MWh sold", sold_mwh)


def _curves(day: Day, limits: pl.DataFrame) -> pl.DataFrame:
    """What each storage resource bids in each hour: charges_mw, sells_mw, and spans_mw of its energy curve, and each
    reserve; ``limits``: rows of LIMITS, whose self-schedule the curve begins at.
    """
    bids = with_missing(day["bids.final_bids"], resource_id=DESK).filter(status="bid")
    spans = day["bids.bid_segments"].join(bids.select("bid_id", "product", *HOUR), on="bid_id")
    spans = limits.select(*HOUR, "self_schedule_mw", "max_discharge_mw").join(spans, on=HOUR, how="left")
    width, is_energy = pl.col("to_mw") - pl.col("from_mw"), pl.col("product") == "energy"
    low, high = (pl.col(end) - pl.col("self_schedule_mw") for end in ("from_mw", "to_mw"))
    is_sold = (low >= -STEP_MW) & (high <= pl.col("max_discharge_mw") + STEP_MW)
    return spans.group_by(HOUR).agg(
        charges_mw=width.filter(is_energy & (high <= STEP_MW)).sum(),
        sells_mw=width.filter(is_energy & is_sold).sum(),
        spans_mw=width.filter(is_energy & (low >= -STEP_MW)).sum(),
        **{f"{name}_bid_mw": width.filter(pl.col("product") == name).sum() for name in CAISO.names[1:]},
    )


def _settled_otherwise(day: Day, awards: pl.DataFrame) -> pl.DataFrame:
    """Bids of storage resources that are settled for another award: resource_id, start_utc, fault, by."""
    net_mw = pl.col("self_schedule_mw") + pl.col("discharge_mw") - pl.col("charge_mw")
    won = awards.select(*HOUR, energy=net_mw, **{one.name: pl.col(f"{one.name}_mw") for one in CAISO.reserves})
    won = won.unpivot(on=CAISO.names, index=HOUR, variable_name="product", value_name="won_mw")
    starts = day["market.opportunities"].select("opportunity_id", "start_utc")
    settled = day["evaluation.settlement"].join(starts, on="opportunity_id").drop("market_date")
    both = settled.join(won, on=["product", *HOUR])
    by = (pl.col("awarded_mw") - pl.col("won_mw")).abs().fill_null(float("inf"))
    unlike = both.select(*HOUR, fault=pl.format("another award of {}", "product"), by=by)
    return unlike.filter(pl.col("by") > STEP_MW)


def owners_are_paid_by_their_deals(day: Day, settings: Settings) -> CheckResult:
    """Every delivery is paid by its deal, at the clearing price: never below the floor nor above the cap, more than
    its index price only where it was called below its floor, and every kWh delivered to an award is paid once.
    """
    cheapest = _cheapest_usd_per_mwh(day)
    deals = _deals(day)
    market = day["evaluation.settlement"].select("opportunity_id", "clearing_price")
    rows = day["evaluation.deliveries"].join(deals, on=DEAL, how="left", suffix="_of_deal")
    rows = rows.join(market, on="opportunity_id", how="left")
    floor, cap = pl.col("floor_price_usd_per_mwh_of_deal"), pl.col("cap_price_usd_per_mwh_of_deal")
    reference, share = pl.col("reference_price_usd_per_mwh"), pl.col("share_fraction")
    index = pl.col("clearing_price") - pl.col("recharge_factor") * cheapest
    worth = pl.min_horizontal(index, reference + share * (index - reference))  # empty: no share
    call = pl.when(reference < floor).then(reference + (floor - reference) / share).otherwise(floor)
    is_forced = index < call - PRICE_TOLERANCE
    due = pl.when(is_forced).then(cap).otherwise(pl.min_horizontal(pl.max_horizontal(worth, floor), cap))
    paid, mwh = pl.col("paid_price_usd_per_mwh"), pl.col("delivered_kwh") / 1000.0
    least = pl.col("reservation_price_usd_per_mwh_of_deal")
    gain = pl.when(paid > 0.0).then(((paid - least) / paid).clip(0.0, 1.0)).otherwise(0.0)
    full_kwh = pl.col("committed_capacity_kw") * pl.col("hours")
    score = 5.0 + 5.0 * gain * (pl.col("delivered_kwh") / full_kwh).clip(0.0, 1.0)
    hours = day["market.opportunities"].select("opportunity_id", hours="duration_hours")
    rows = rows.join(hours, on="opportunity_id", how="left")

    def apart(one: pl.Expr, other: pl.Expr) -> pl.Expr:
        return ~((one - other).abs() <= PRICE_TOLERANCE).fill_null(False)

    faults = {
        "no such deal": floor.is_null() | index.is_null(),
        "paid below its floor": paid < pl.max_horizontal(floor, least) - PRICE_TOLERANCE,
        "paid above its floor and its index price": ~is_forced
        & (paid > pl.max_horizontal(floor, index) + PRICE_TOLERANCE),
        "paid another price than its deal's": apart(paid, due),
        "another index price": apart(pl.col("index_price_usd_per_mwh"), index),
        "another floor or cap": apart(pl.col("floor_price_usd_per_mwh"), floor)
        | apart(pl.col("cap_price_usd_per_mwh"), cap),
        "forced, or not": (pl.col("is_forced") != is_forced).fill_null(True),
        "another payment": apart(pl.col("payment_usd"), paid * mwh),
        "another satisfaction": (pl.col("satisfaction_score") > 0.0) & apart(pl.col("satisfaction_score"), score),
    }
    broken = [rows.filter(fault).select(*DEAL, fault=pl.lit(words)) for words, fault in faults.items()]
    broken.append(_paid_once(day))
    forced, count = int(rows["is_forced"].sum()), rows.height
    total_usd = float(rows["payment_usd"].sum())
    held = f"{count} deliveries paid {usd(total_usd)} by their deals, {forced} of them called below their floor"
    return count_violations(pl.concat(broken), "deliveries not paid by their deals", held, total_usd)


def _cheapest_usd_per_mwh(day: Day) -> float:
    return max(0.0, float(day["market.prices"]["energy_usd_per_mwh"].sort().to_numpy()[:4].mean()))


def _deals(day: Day) -> pl.DataFrame:
    """The deals' terms; one that older code made has one fixed price."""
    held = day["negotiation.agreements"].filter("holds_option")
    indexed = [f"{name}_price_usd_per_mwh" for name in ("floor", "cap", "reference")] + ["share_fraction"]
    unknown = [name for name in (*indexed, "recharge_factor") if name not in held.columns]
    held = held.with_columns(pl.lit(None, pl.Float64).alias(name) for name in unknown)
    fixed = [pl.coalesce(name, "agreed_price_usd_per_mwh").alias(name) for name in indexed[:2]]
    held = held.with_columns(*fixed, pl.col("recharge_factor").fill_null(0.0))
    terms = ("committed_capacity_kw", "reservation_price_usd_per_mwh", "recharge_factor")
    return held.select(*DEAL, *terms, *indexed)


def _paid_once(day: Day) -> pl.DataFrame:
    """Deliveries to awards in `evaluation.dispatched` that are paid for other kWh: the deal, and the fault."""
    is_storage = is_of_storage(day)  # awarded a whole day
    settled = with_missing(day["evaluation.settlement"], resource_id=DESK)
    won = settled.filter((pl.col("awarded_mw") > 0.0) | is_storage).select("opportunity_id")
    hours = block_hours(day["market.opportunities"].join(won, on="opportunity_id", how="semi"))
    sold = {product: sales_of(day["evaluation.dispatched"], product) for product in CAISO.names}
    every = pl.concat([sales.with_columns(product=pl.lit(product)) for product, sales in sold.items()])
    of_resource = with_missing(day["market.opportunities"], resource_id=DESK).select("opportunity_id", "resource_id")
    hours = hours.join(of_resource, on="opportunity_id")
    every = every.join(resources_of_prosumers(day), on="prosumer_id")
    given = hours.join(every, on=["product", *HOUR]).group_by(DEAL).agg(given_kwh=pl.col("sold_kw").sum())
    both = given.join(day["evaluation.deliveries"].select(*DEAL, "delivered_kwh"), on=DEAL, how="full", coalesce=True)
    missed = (pl.col("given_kwh").fill_null(0.0) - pl.col("delivered_kwh").fill_null(0.0)).abs() > TOLERANCE
    return both.filter(missed).select(*DEAL, fault=pl.lit("delivered and paid kWh differ"))


def the_settled_account_adds_up(day: Day, settings: Settings) -> CheckResult:
    """The net is the sum of its lines, the lines are sums over bids, hours, and stores, and each bid is paid and
    delivered as its members were.
    """
    account, bids = day["evaluation.settled_days"].row(0, named=True), day["evaluation.settlement"]
    hours = _deviations(day, settings.settlement.imbalance_factor)
    energy, reserve = (bids.filter((pl.col("product") == "energy") == is_energy) for is_energy in (True, False))
    charged_usd = hours.select((pl.col("price") * pl.col("charged_mw")).sum()).item()
    apart = {
        "net": _net_usd(account) - account["net_usd"],
        "expected net": _net_usd(account, "expected_") - account["expected_net_usd"],
        "payments": float(bids["payments_usd"].sum()) - account["payments_usd"],
        "energy": float(energy["revenue_usd"].sum()) - account["energy_usd"],
        "reserve": float(reserve["revenue_usd"].sum()) - float(reserve["no_pay_usd"].sum()) - account["reserve_usd"],
        "charging": charged_usd - account["charging_usd"],
        "imbalance": float(hours["imbalance_usd"].sum()) - account["imbalance_usd"],
        "terminal state of charge": _leftover_usd(day) - account["leftover_usd"],
    }
    allowed = CENT * hours["resource_id"].n_unique() + 1e-6  # each resource is rounded to a cent
    broken = {name: value for name, value in apart.items() if abs(value) > allowed}
    owed = day["evaluation.deliveries"].group_by("opportunity_id").agg(owed_usd=pl.col("payment_usd").sum())
    starts = day["market.opportunities"].select("opportunity_id", "start_utc")
    due = bids.join(owed, on="opportunity_id", how="left").with_columns(pl.col("owed_usd").fill_null(0.0))
    due = with_missing(due, resource_id=DESK).join(starts, on="opportunity_id")
    due = due.join(hours.filter("is_storage").with_columns(product=pl.lit("energy")), on=["product", *HOUR], how="left")
    other = ((pl.col("payments_usd") - pl.col("owed_usd")).abs() > CENT + 1e-9) | IS_DELIVERED_OTHERWISE
    unearned = due.filter(other.fill_null(True)).height
    worst = max(abs(value) for value in apart.values())
    return CheckResult(
        violations=len(broken) + unearned,
        value=worst,
        description=f"net {usd(account['net_usd'])} of {bids.height} bids; lines and bids differ by at most "
        f"{usd(worst, 3)} (rounding allows {usd(allowed, 3)}){' in ' + ', '.join(broken) if broken else ''}; "
        f"{unearned} bids paid or delivered otherwise than their members",
    )


def _net_usd(account: dict[str, float], which: str = "") -> float:
    """Net of the lines of ``account`` whose names begin with ``which``."""
    lines = {line: account.get(f"{which}{line}_usd", 0.0) for line in (*EARNED, *SPENT)}
    return sum(lines[line] for line in EARNED) - sum(lines[line] for line in SPENT)


def _deviations(day: Day, imbalance_factor: float) -> pl.DataFrame:
    """Each resource in each hour: what its fleet did beyond its position (surplus_mw), what that costs (imbalance_usd),
    charging beside its award (charged_mw), and the price of energy.

    The position is the plan's net export less the energy that was bid and not won; of a storage resource, which is
    awarded its charging, what it won less the charging that its members need in any case.
    """
    bids = with_missing(day["evaluation.settlement"].filter(product="energy"), resource_id=DESK)
    of_bids = day["market.opportunities"].join(bids, on="opportunity_id", how="semi")
    sold = bids.select("opportunity_id", "resource_id", "bid_mw", "awarded_mw")
    sold = block_hours(of_bids).join(sold, on="opportunity_id").group_by(HOUR).agg(pl.col("bid_mw", "awarded_mw").sum())
    own = table_or_none(day, LIMITS).select(*HOUR, "own_charging_mw")
    prices = day["market.prices"].select("start_utc", price="energy_usd_per_mwh")
    done, planned = _net_mw(day, "evaluation.dispatched", "done_mw"), _net_mw(day, "dispatch.schedule", "planned_mw")
    rows = done.join(planned, on=HOUR).join(sold, on=HOUR, how="left").join(own, on=HOUR, how="left")
    rows = rows.join(prices, on="start_utc", how="left").with_columns(pl.col("bid_mw", "awarded_mw").fill_null(0.0))
    awarded, is_storage = pl.col("awarded_mw"), pl.col("own_charging_mw").is_not_null()
    hour_by_hour = pl.col("planned_mw") - (pl.col("bid_mw") - awarded)
    position = pl.when(is_storage).then(awarded - pl.col("own_charging_mw")).otherwise(hour_by_hour)
    surplus, price = pl.col("done_mw") - position, pl.col("price")
    costs_usd = (imbalance_factor - 1.0) * price.abs() * surplus.abs() - price * surplus
    found = {"surplus_mw": surplus, "charged_mw": awarded - position, "imbalance_usd": costs_usd}
    return rows.select(*HOUR, "price", is_storage=is_storage, **found)


def _net_mw(day: Day, done: str, name: str) -> pl.DataFrame:
    """Net export of each resource in each hour by the table ``done``, as column ``name``."""
    of_resource = resources_of_prosumers(day).lazy()
    rows = day[done].lazy().select(*ROW, net_kw=NET_KW).join(of_resource, on="prosumer_id")
    return rows.group_by(HOUR).agg((pl.col("net_kw").sum() / 1000.0).alias(name)).sort(HOUR).collect()


def _leftover_usd(day: Day) -> float:
    """What the stored energy beyond what owners are owed would cost to buy in the four cheapest hours."""
    stores = day["fleet.prosumers"].filter(pl.col("capacity_kwh") > 0.0)
    ends = day["evaluation.dispatched"].sort(ROW).group_by("prosumer_id").agg(pl.col("stored_kwh").last())
    beyond_kwh = (pl.col("stored_kwh") - pl.col("terminal_stored_kwh")) / pl.col("charge_efficiency")
    left_kwh = stores.join(ends, on="prosumer_id").select(beyond_kwh.sum()).item()
    return _cheapest_usd_per_mwh(day) * float(left_kwh) / 1000.0


#: check -> table of the settlement that it guards
SETTLED = {
    settled_dispatch_stays_within_limits: "evaluation.dispatched",
    storage_awards_stay_within_what_was_bid: AWARDS,
    owners_are_paid_by_their_deals: "evaluation.deliveries",
    the_settled_account_adds_up: "evaluation.settled_days",
}
