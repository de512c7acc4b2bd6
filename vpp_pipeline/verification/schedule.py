"""Checks of the schedule: every prosumer's limits, each kWh sold once, and the MIP gap.

States of charge are computed again from `dispatch.schedule`, `fleet.prosumers`, and `fleet.availability`, without the
solver. The dispatch of a settled day is checked against the same limits (`settled_days.py`).
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.tables import SCHEDULE_BEFORE, Day, optional_table, rows_where, side_by_side, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations, parts_of
from vpp_pipeline.verification.terms import (
    DEAL,
    Pairs,
    block_hours,
    is_of_storage,
    resources_of_prosumers,
    table_or_none,
    with_expected,
)

TOLERANCE = 1e-4  # kW or kWh: a tenth of a watt
BOTH_WAYS_KW = 1e-3
MW_TOLERANCE = 1e-5
ROW = ["prosumer_id", "start_utc"]
HELD = [reserve.held_column for reserve in CAISO.reserves]
HOUR = ["resource_id", "start_utc"]
CENT = 0.005
LEAST_WORTH_USD = 1.0  # for less than that no day is lost
EXACT_PROSUMERS = 1_000  # the exact method solves so many within minutes


def rebuilt(day: Day, done: str = "dispatch.schedule", part: pl.Expr | None = None) -> pl.DataFrame:
    """Dispatch with the envelope and the state of charge integrated from the powers: `rebuilt_kwh`, `before_kwh`.

    ``part``: of these prosumers alone.
    """
    part = pl.lit(True) if part is None else part
    schedule = day[done].drop("market_date", "stored_value_usd_per_mwh", strict=False).filter(part)
    limits = day["fleet.availability"].drop("market_date", "limited_by").filter(part)
    starts = day["dispatch.starts"].select("prosumer_id", "initial_stored_kwh")
    devices = (
        day["fleet.prosumers"]
        .select(
            "prosumer_id",
            "charge_efficiency",
            "discharge_efficiency",
            "terminal_stored_kwh",
            "capacity_kwh",
            "maximum_cycles_per_day",
        )
        .join(starts, on="prosumer_id", how="left")
    )
    rows = side_by_side(limits, schedule, ROW, how="full").join(devices, on="prosumer_id", how="left").sort(ROW)
    change = (
        pl.col("charge_efficiency") * pl.col("charge_kw")
        - pl.col("discharge_kw") / pl.col("discharge_efficiency")
        - pl.col("drive_kwh")
    )
    after = pl.col("initial_stored_kwh") + change.cum_sum().over("prosumer_id")
    return rows.with_columns(rebuilt_kwh=after, before_kwh=after - change)


def initial_state_of_charge_is_as_stated_or_carried_over(day: Day, settings: Settings) -> CheckResult:
    """The initial state of charge is that of `fleet.prosumers` or, if carried over, the last one of the day before.

    A warning where the schedule of the day before was replaced after this day's bids were computed from it.
    """
    starts = day["dispatch.starts"].join(
        day["fleet.prosumers"].select("prosumer_id", "capacity_kwh", stated="initial_stored_kwh"),
        on="prosumer_id",
        how="full",
        coalesce=True,
    )
    begins, stated = pl.col("initial_stored_kwh"), pl.col("stated")
    otherwise_stated = starts.filter(
        pl.col("carried_from").is_null() & ~((begins - stated).abs() <= TOLERANCE).fill_null(False)
    )
    carried = starts.filter(pl.col("carried_from").is_not_null())
    below = carried.filter(
        (begins < pl.min_horizontal(stated, "capacity_kwh") - TOLERANCE) | (begins > pl.col("capacity_kwh") + TOLERANCE)
    )
    faults = [
        otherwise_stated.select("prosumer_id", fault=pl.lit("initial state of charge is not the stated one")),
        below.select("prosumer_id", fault=pl.lit("initial state of charge is outside the limits")),
    ]
    held = (
        f"{starts.height - carried.height} stores begin at the stated state of charge, "
        f"{carried.height} at the last one of the day before"
    )
    result = count_violations(pl.concat(faults), "wrong initial states of charge", held, carried.height)
    if not result.passed or carried.is_empty():
        return result
    before = day.get(SCHEDULE_BEFORE, day["dispatch.schedule"].clear())
    ends = before.sort(ROW).group_by("prosumer_id").agg(left=pl.col("stored_kwh").last())
    moved = carried.join(ends, on="prosumer_id", how="left").filter(
        ~((begins - pl.min_horizontal("left", "capacity_kwh")).abs() <= TOLERANCE).fill_null(False)
    )
    words = "stores begin at the state of charge of a replaced schedule of the day before"
    return count_violations(moved.select("prosumer_id", "carried_from"), words, held, carried.height, is_warning=True)


def no_prosumer_is_pushed_past_its_limits(day: Day, settings: Settings) -> CheckResult:
    """No constraint is violated: power, state of charge (terminal too), reserve backing, solar, export, cycles."""
    return limits_kept(day, settings, "dispatch.schedule")


def limits_kept(day: Day, settings: Settings, done: str) -> CheckResult:
    """Whether the table ``done`` (rows as of `dispatch.schedule`) keeps every limit of every prosumer in every hour."""
    parts = [_beyond_limits(rebuilt(day, done, part), settings) for part in parts_of(day["fleet.prosumers"])]
    broken = pl.concat(rows for rows, _ in parts).sort("by", descending=True)
    held = f"0 of {sum(checked for _, checked in parts)} limits violated, tolerance {TOLERANCE} kW or kWh"
    return count_violations(broken, "limits violated", held, float(broken["by"].to_numpy().max(initial=0.0)))


def _beyond_limits(rows: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, int]:
    """Limits that :func:`rebuilt` ``rows`` exceed, by how much, and how many limits were checked."""
    power = ["grid_charge_kw", "solar_charge_kw", "discharge_kw", "solar_sold_kw", *HELD]
    reserve = reduce(add, map(pl.col, HELD))
    rules = settings.rules.model_dump()
    own_kw = pl.col("solar_kw") - pl.col("load_kw")  # what the site's sun leaves after its load, or lacks
    surplus, lacking = own_kw.clip(lower_bound=0.0), (-own_kw).clip(lower_bound=0.0)
    net_export = pl.col("discharge_kw") + pl.col("solar_sold_kw") + reserve - lacking
    called_kwh = (pl.col(one.held_column) * rules[one.call_hours] for one in CAISO.reserves)
    backing_kwh = reduce(add, called_kwh) / pl.col("discharge_efficiency")
    floor_before = pl.min_horizontal(
        pl.col("before_kwh"),
        pl.col("min_stored_kwh")
        .shift(1)
        .over("prosumer_id")
        .fill_null(pl.min_horizontal("initial_stored_kwh", "min_stored_kwh")),
    )
    excess = {
        "negative power": -pl.min_horizontal(power),
        "charging power": pl.col("charge_kw") - pl.col("max_charge_kw"),
        "charging split": (pl.col("charge_kw") - pl.col("grid_charge_kw") - pl.col("solar_charge_kw")).abs(),
        "discharging power": pl.col("discharge_kw") + reserve - pl.col("max_discharge_kw"),
        "export limit": net_export - pl.col("export_limit_kw"),
        "solar surplus": pl.col("solar_charge_kw") + pl.col("solar_sold_kw") - surplus,
        "floor of the state of charge": pl.col("min_stored_kwh") - pl.col("rebuilt_kwh"),
        "ceiling of the state of charge": pl.col("rebuilt_kwh") - pl.col("max_stored_kwh"),
        "state of charge as published": (pl.col("rebuilt_kwh") - pl.col("stored_kwh")).abs(),
        "reserve backing after": pl.when(reserve > TOLERANCE)
        .then(backing_kwh - (pl.col("rebuilt_kwh") - pl.col("min_stored_kwh")))
        .otherwise(0.0),
        "reserve backing before": pl.when(reserve > TOLERANCE)
        .then(backing_kwh - (pl.col("before_kwh") - floor_before))
        .otherwise(0.0),
        "charging and discharging at once": pl.min_horizontal("charge_kw", "discharge_kw") - BOTH_WAYS_KW,
    }
    hourly = pl.concat(
        [
            rows.select(*ROW, limit=pl.lit(name), by=value.fill_null(float("inf"))).filter(pl.col("by") > TOLERANCE)
            for name, value in excess.items()
        ]
    )
    days = rows.group_by("prosumer_id").agg(
        pl.col("start_utc").last(),
        owed=(pl.col("terminal_stored_kwh") - pl.col("rebuilt_kwh")).last(),
        cycled=(pl.col("discharge_kw") / pl.col("discharge_efficiency")).sum()
        - (pl.col("maximum_cycles_per_day") * pl.col("capacity_kwh")).first(),
    )
    daily = pl.concat(
        [
            days.select(*ROW, limit=pl.lit(name), by=value).filter(pl.col("by") > TOLERANCE)
            for name, value in (("terminal state of charge", "owed"), ("cycles", "cycled"))
        ]
    )
    return pl.concat([hourly, daily]), rows.height * len(excess) + 2 * days.height


def sales_of(schedule: pl.DataFrame, product: str) -> pl.DataFrame:
    """Sales of ``product`` of each prosumer by hour, without zeros: prosumer_id, start_utc, sold_kw."""
    kw = pl.sum_horizontal("discharge_kw", "solar_sold_kw") if product == "energy" else pl.col(f"{product}_kw")
    return schedule.lazy().select(*ROW, sold_kw=kw).filter(pl.col("sold_kw") != 0.0).collect()


def no_kilowatt_hour_is_sold_twice(day: Day, settings: Settings) -> CheckResult:
    """Prosumers' sales add up to the bids, each kWh once and within its commitment; nothing is sold without a bid.

    A storage resource bids the day as a whole: what its members sell less what they charge for it is what is expected
    to clear, in every hour.
    """
    opportunities = with_missing(day["market.opportunities"].drop("market_date"), resource_id=DESK)
    bids = with_expected(day["dispatch.positions"], "quantity_mw").join(opportunities, on="opportunity_id")
    bids = bids.with_columns(is_storage=is_of_storage(day))
    mine = ["opportunity_id", "is_bid", "is_storage", "quantity_mw", "expected_mw", "resource_id"]
    hours = block_hours(bids).join(bids.select(mine), on="opportunity_id")
    overlaps = hours.group_by("product", "start_utc", "resource_id").len().filter(pl.col("len") > 1)
    of_resource = resources_of_prosumers(day)
    faults = [overlaps.select("product", fault=pl.format("two opportunities share {}", "start_utc"))]
    paid, sold_kwh, deliveries = day["dispatch.payments"], 0.0, 0
    for product in CAISO.names:  # each by itself: a third of the memory
        sales, covered = sales_of(day["dispatch.schedule"], product), hours.filter(pl.col("product") == product)
        sales = sales.join(of_resource, on="prosumer_id", how="left")
        sold = sales.filter(pl.col("sold_kw") > TOLERANCE)
        sold_kwh, deliveries = sold_kwh + float(sold["sold_kw"].sum()), deliveries + sold.height
        faults += [
            *_faults_of_sales(day, bids, sold.join(covered.drop("product"), on=HOUR, how="left"), product),
            _unequal(day, covered.filter("is_bid", ~pl.col("is_storage")), sales, product),
            _unequal_storage(day, covered.filter("is_storage"), sales, product),
        ]
    strange = paid.join(bids, on="opportunity_id", how="anti")
    faults.append(strange.select(product="opportunity_id", fault=pl.format("{} is paid for nothing", "prosumer_id")))
    held = (
        f"{sold_kwh:.1f} kWh (and kW·h of reserve) sold in {deliveries} deliveries, "
        "each paid once and within its commitment"
    )
    return count_violations(pl.concat(faults), "quantities that do not add up", held, sold_kwh)


def _faults_of_sales(day: Day, bids: pl.DataFrame, sold: pl.DataFrame, product: str) -> list[pl.DataFrame]:
    """Sales beyond their commitment, and those that are not what is paid: product, fault.

    ``sold``: sales of ``product`` by prosumer and hour, with the bid of the hour, if any.
    """
    mine = bids.filter(pl.col("product") == product).select("opportunity_id", "duration_hours")
    is_held = pl.col("holds_option") & pl.col("opportunity_id").is_in(mine["opportunity_id"].implode())
    held, pairs = rows_where(day, "negotiation.agreements", is_held, [*DEAL, "committed_capacity_kw"]), Pairs(day)
    options = pairs.numbered(held)
    placed = pairs.numbered(sold).join(options.drop(*DEAL, "call"), on="deal", how="left")
    committed_kw = pl.col("committed_capacity_kw").fill_null(0.0)
    allowed_kw = pl.when(pl.col("is_bid").fill_null(False)).then(committed_kw).otherwise(0.0)
    beyond = placed.filter(pl.col("sold_kw") > allowed_kw + TOLERANCE)

    owed = placed.group_by(DEAL).agg(owed_kwh=pl.col("sold_kw").sum())
    paid = day["dispatch.payments"].join(mine, on="opportunity_id", how="semi")
    paid = paid.group_by(DEAL).agg(pl.col("dispatched_kwh", "dispatched_kw").sum())
    both = owed.join(paid, on=DEAL, how="full", coalesce=True).join(mine, on="opportunity_id", how="left")
    mean_kw = pl.col("dispatched_kwh") / pl.col("duration_hours")
    as_sold = (pl.col("owed_kwh") - pl.col("dispatched_kwh")).abs() <= TOLERANCE * pl.col("duration_hours")
    tiny = pl.max_horizontal("owed_kwh", "dispatched_kwh").fill_null(0.0) <= TOLERANCE * pl.col("duration_hours")
    as_stated = (mean_kw - pl.col("dispatched_kw")).abs() <= TOLERANCE
    unpaid = both.filter(~((as_sold & as_stated) | tiny).fill_null(False)).select(
        product="opportunity_id",
        fault=pl.format(
            "{}: {} kWh sold, {} kWh paid",
            "prosumer_id",
            pl.col("owed_kwh").fill_null(0.0),
            pl.col("dispatched_kwh").fill_null(0.0),
        ),
    )
    words = pl.format("{} sells {} kW beyond its commitment at {}", "prosumer_id", "sold_kw", "start_utc")
    return [beyond.select(product=pl.lit(product), fault=words), unpaid]


def _unequal(day: Day, hours: pl.DataFrame, sales: pl.DataFrame, product: str) -> pl.DataFrame:
    """Bids of ``product`` whose members deliver another quantity in one of their ``hours``: product, fault."""
    totals = sales.group_by(HOUR).agg(total_kw=pl.col("sold_kw").sum())
    charged = day["dispatch.schedule"].lazy().select(*ROW, "grid_charge_kw").filter(pl.col("grid_charge_kw") != 0.0)
    of_resource = resources_of_prosumers(day).lazy()
    netted = charged.join(of_resource, on="prosumer_id").group_by(HOUR).agg(grid_kw=pl.col("grid_charge_kw").sum())
    delivered = hours.join(totals, on=HOUR, how="left").join(netted.collect(), on=HOUR, how="left")
    delivered = delivered.with_columns(pl.col("grid_kw").fill_null(0.0))
    net_mw = (pl.col("total_kw") - (pl.col("grid_kw") if product == "energy" else 0.0)) / 1000.0
    unequal = delivered.filter(((net_mw - pl.col("quantity_mw")).abs() > MW_TOLERANCE).fill_null(True))
    return unequal.select("product", fault=pl.format("{}: members deliver a different quantity", "opportunity_id"))


def _unequal_storage(day: Day, hours: pl.DataFrame, sales: pl.DataFrame, product: str) -> pl.DataFrame:
    """Hours of storage resources in which members sell less charge another quantity than is expected: product, fault.

    Charging of the baseline is load beside the bids. Without a bid nothing is expected.
    """
    own = table_or_none(day, "fleet.baseline").select(*ROW, own_kw="grid_charge_kw")
    charged = day["dispatch.schedule"].lazy().select(*ROW, "grid_charge_kw").join(own.lazy(), on=ROW)
    for_bids = pl.col("grid_charge_kw") - pl.col("own_kw") if product == "energy" else pl.lit(0.0)
    of_resource = resources_of_prosumers(day).lazy()
    charging = charged.join(of_resource, on="prosumer_id").group_by(HOUR).agg(charged_kw=for_bids.sum()).collect()
    totals = sales.group_by(HOUR).agg(total_kw=pl.col("sold_kw").sum())
    expected = hours.select(*HOUR, expected_mw=pl.when("is_bid").then("expected_mw").otherwise(0.0))
    rows = charging.join(expected, on=HOUR, how="full", coalesce=True).join(totals, on=HOUR, how="left")
    net_mw = (pl.col("total_kw").fill_null(0.0) - pl.col("charged_kw")) / 1000.0
    unequal = rows.filter(((net_mw - pl.col("expected_mw").fill_null(0.0)).abs() > MW_TOLERANCE).fill_null(True))
    words = pl.format("{}: members deliver a different quantity at {}", *HOUR)
    return unequal.select(product=pl.lit(product), fault=words)


def no_prosumer_is_in_two_parts(day: Day, settings: Settings) -> CheckResult:
    """No prosumer, and no site, is of two resources: what a day that is verified part by part must be as a whole."""
    members = rows_where(day, "fleet.prosumers", pl.lit(value=True), ["prosumer_id", "site_id", "resource_id"])
    twice = members.filter(~pl.col("prosumer_id").is_first_distinct())
    sites = members.group_by("site_id").agg(pl.col("resource_id").unique().sort())
    split = sites.filter(pl.col("resource_id").list.len() > 1)
    broken = pl.concat(
        [
            twice.select(of=pl.lit("prosumer"), name="prosumer_id"),
            split.sort("site_id").select(of=pl.lit("site"), name="site_id"),
        ]
    )
    return count_violations(broken, "prosumers or sites in two parts", "no prosumer or site is in two parts", 0.0)


def proxy_demand_exports_nothing(day: Day, settings: Settings) -> CheckResult:
    """Members of a proxy demand resource sell and hold no more than the load that their own solar does not serve."""
    table = optional_table(day, "market.resources")
    kept_in = [] if table is None else table.filter(participation="proxy_demand")["resource_id"].to_list()
    members = resources_of_prosumers(day).filter(pl.col("resource_id").is_in(kept_in))
    limits = day["fleet.availability"].select(*ROW, "solar_kw", "load_kw").join(members, on="prosumer_id", how="semi")
    sold_kw = pl.sum_horizontal("discharge_kw", "solar_sold_kw", *HELD)
    own_load_kw = (pl.col("load_kw") - pl.col("solar_kw")).clip(lower_bound=0.0)
    rows = limits.join(day["dispatch.schedule"].select(*ROW, sold_kw=sold_kw), on=ROW, how="left")
    rows = rows.select(*ROW, "sold_kw", export_kw=pl.col("sold_kw") - own_load_kw)
    broken = rows.filter((pl.col("export_kw") > TOLERANCE).fill_null(True))
    largest = float(rows["export_kw"].to_numpy().max(initial=0.0))
    held = f"{members.height} members of {len(kept_in)} proxy demand resources export at most {largest:.3f} kW"
    return count_violations(broken, "hours in which proxy demand is exported", held, largest)


def the_schedule_is_proven_to_be_good(day: Day, settings: Settings) -> CheckResult:
    """No schedule earns more than this one by above `optimiser.gap_warning_fraction` of what bidding could add.

    A larger gap is a warning; above `optimiser.gap_failure_fraction` the check fails and nothing is published. The gap
    is relative to what bidding could add to the day without bids, (bound - objective) / (bound - value of no bid): the
    objective itself contains the charging of owners who sell nothing. Less than half a cent is no gap, and less than a
    dollar fails no day.
    """
    proof = day["dispatch.proof"].row(0, named=True)
    bound_usd, found_usd, no_bid_usd = proof["bound_usd"], proof["risk_adjusted_usd"], proof.get("no_bid_usd")
    warned, failed = settings.optimiser.gap_warning_fraction, settings.optimiser.gap_failure_fraction
    if no_bid_usd is None:  # a day older than this column; by its bound alone no day fails
        no_bid_usd, failed = bound_usd - abs(bound_usd), math.inf
    open_usd, added_usd = max(bound_usd - found_usd, 0.0), bound_usd - no_bid_usd
    gap = open_usd / added_usd if open_usd > CENT and added_usd > 0.0 else 0.0
    words = f"gap {percent(gap, 2)}: {usd(open_usd)} open of the {usd(added_usd)} that bidding could add"
    if gap <= min(warned, failed):
        return CheckResult(0, f"{words}; warning above {percent(warned, 2)}", gap)
    limit = "time_limit_seconds=600" if "of CPU time" in proof["method"] else "pivot_limit=400000"
    remedy = f"continue the search with --set optimiser.{limit}"
    if not proof["method"].startswith("exact") and proof["prosumers"] <= EXACT_PROSUMERS:
        remedy += ", or choose optimiser.method=exact"
    if gap <= failed or open_usd < LEAST_WORTH_USD:
        return CheckResult(
            1, f"{words}; warning above {percent(warned, 2)}; {proof['method']}; {remedy}", gap, is_warning=True
        )
    allow = "to publish such a day anyway, set optimiser.gap_failure_fraction=1"
    return CheckResult(
        1, f"{words}, more than the {percent(failed, 2)} allowed; {proof['method']}; {remedy}; {allow}", gap
    )
