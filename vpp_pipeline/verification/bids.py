"""Checks of the bids: the 80% rule, coalitions, curves, money, top-ups, and the deadline."""

from __future__ import annotations

import math
from datetime import datetime
from functools import reduce
from operator import add

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.tables import Day, optional_table, rows_where, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.schedule import resources_of_prosumers
from vpp_pipeline.verification.terms import block_hours

HALF_CENT = 0.005
MW_TOLERANCE = 1e-9
MONEY = ["expected_revenue_usd", "payments_usd", "charging_cost_usd", "expected_profit_usd"]
CENT = 0.01
SHARE_TOLERANCE_USD = 1e-3


def _trading(day: Day) -> pl.DataFrame:
    return day["bids.final_bids"].filter(pl.col("status") == "bid")


def _stated(rules: MarketRules, setting: dict[str, str], unknown: float) -> pl.Expr:
    """The setting of each row's product, by the setting's name; ``unknown`` for a product that the market lacks."""
    stated = rules.model_dump()
    by_product = {product: stated[name] for product, name in setting.items()}
    return pl.col("product").replace_strict(by_product, default=unknown, return_dtype=pl.Float64)


def bids_meet_80_percent_of_required_capacity(day: Day, settings: Settings) -> CheckResult:
    """Every bid offers 80-100% of R as scheduled, in steps and above the market's minimum; no-bids offer nothing."""
    rules, bids = settings.rules, _trading(day)
    least = pl.max_horizontal(
        rules.required_fraction * pl.col("required_capacity_mw"),
        _stated(rules, {product.name: product.minimum for product in CAISO.products}, math.inf),
    )
    quantity = pl.col("total_capacity_mw")
    steps = quantity / rules.quantity_step_mw
    broken = bids.filter(
        (quantity < least - MW_TOLERANCE)
        | (quantity > pl.col("required_capacity_mw") + MW_TOLERANCE)
        | ((steps - steps.round()).abs() > 1e-6)
    )
    idle = day["bids.final_bids"].filter(
        (pl.col("status") == "no_bid")
        & (pl.any_horizontal(quantity != 0, pl.col(MONEY) != 0) | pl.col("bid_price_usd_per_mwh").is_not_null())
    )
    share = float((bids["total_capacity_mw"] / bids["required_capacity_mw"]).to_numpy().min(initial=1.0))
    held = f"{bids.height} bids, the smallest offers {percent(share)} of its R"
    asked = day["market.opportunities"].select("opportunity_id", "required_capacity_mw")
    misstated = day["bids.final_bids"].join(asked, on=["opportunity_id", "required_capacity_mw"], how="anti")
    decided = day["dispatch.positions"].select("opportunity_id", total_capacity_mw="quantity_mw")
    changed = day["bids.final_bids"].join(decided, on=["opportunity_id", "total_capacity_mw"], how="anti")
    forgotten = asked.join(day["bids.final_bids"], on="opportunity_id", how="anti").select(
        bid_id="opportunity_id", total_capacity_mw=pl.lit(None, pl.Float64), required_capacity_mw="required_capacity_mw"
    )
    rows = pl.concat([broken, idle, misstated, changed]).select("bid_id", "total_capacity_mw", "required_capacity_mw")
    rows = pl.concat([rows, forgotten]).unique("bid_id", keep="first", maintain_order=True)
    return count_violations(rows, "bids outside 80-100% of R", held, share)


def coalitions_have_enough_members(day: Day, settings: Settings) -> CheckResult:
    """Every bid has a coalition of at least three prosumers, counted from the payments."""
    members = day["dispatch.payments"].group_by("opportunity_id").agg(found=pl.col("prosumer_id").n_unique())
    bids = _trading(day).join(members, on="opportunity_id", how="left").with_columns(pl.col("found").fill_null(0))
    broken = bids.filter(
        (pl.col("found") < settings.rules.minimum_members) | (pl.col("found") != pl.col("coalition_size"))
    )
    least = int(bids["found"].to_numpy().min(initial=10**6)) if bids.height else 0
    held = f"{bids.height} bids, the smallest coalition has {least} members"
    return count_violations(
        broken.select("bid_id", "coalition_size", "found"), "coalitions too small or miscounted", held, least
    )


def resources_bid_within_their_limits(day: Day, settings: Settings) -> CheckResult:
    """Each bid is of a known resource that takes part, with its own members alone; in each hour a resource offers no
    more reserve than it is certified for, no spin as proxy demand, and no more than its Pmax in all."""
    table = optional_table(day, "market.resources")
    if table is None:
        return CheckResult(0, "0 resources are stored with this day", 0.0)
    bids = with_missing(_trading(day), resource_id=DESK).join(table.drop("market_date"), on="resource_id", how="left")
    hours = block_hours(bids).join(bids.drop("product", "start_utc"), on="opportunity_id")
    mw = {name: pl.col("total_capacity_mw").filter(product=name).sum() for name in CAISO.names}
    limits = pl.col("participation", "maximum_mw", *(reserve.certified_column for reserve in CAISO.reserves)).first()
    offered = hours.group_by("resource_id", "start_utc").agg(limits, **mw).sort("resource_id", "start_utc")
    kind = pl.col("participation")
    faults = {
        "no such resource": kind.is_null(),
        "a resource that takes no part": kind == "none",
        **{
            f"{reserve.name} beyond its certification": pl.col(reserve.name)
            > pl.col(reserve.certified_column) + MW_TOLERANCE
            for reserve in CAISO.reserves
        },
        "spin of proxy demand": (kind == "proxy_demand") & (pl.col("spin") > 0.0),
        "more than its Pmax": pl.sum_horizontal(*mw) > pl.col("maximum_mw") + MW_TOLERANCE,
    }
    broken = [
        offered.filter(fault.fill_null(False)).select("resource_id", "start_utc", fault=pl.lit(words))
        for words, fault in faults.items()
    ]
    paid = day["dispatch.payments"].select("opportunity_id", "prosumer_id")
    paid = paid.join(bids.select("opportunity_id", "resource_id", "start_utc"), on="opportunity_id")
    strangers = paid.join(resources_of_prosumers(day), on=["prosumer_id", "resource_id"], how="anti")
    broken.append(strangers.select("resource_id", "start_utc", fault=pl.format("{} is no member of it", "prosumer_id")))
    most = float(
        offered.select(pl.max_horizontal(reserve.name for reserve in CAISO.reserves))
        .to_series()
        .to_numpy()
        .max(initial=0.0)
    )
    held = f"{table.height} resources bid at most {most:.2f} MW of a reserve, within certification and Pmax"
    return count_violations(pl.concat(broken), "bids beyond the limits of their resource", held, most)


def bid_curves_are_valid_for_caiso(day: Day, settings: Settings) -> CheckResult:
    """Segments from 0 to the bid's MW without gaps, rising in MW and price, within price limits and number; the first
    spans at least 80% of R at no less than the average cost of a MWh delivered, every other has the cost of its dearest
    member; reserve has one segment. Cost is the call price and the charging to be recovered."""
    rules = settings.rules
    segments = day["bids.bid_segments"].sort("bid_id", "segment")
    bids = _trading(day).select(
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


def money_adds_up(day: Day, settings: Settings) -> CheckResult:
    """Each bid's money follows from MW, price, and payments; the bid profits and the unallocated amount add up to the
    objective, to the cent."""
    bids, payments = _trading(day), day["dispatch.payments"]
    owed = payments.group_by("opportunity_id").agg(
        pl.col("payment_usd").sum(), recovered=pl.col("charging_cost_usd").sum()
    )
    rows = bids.join(owed, on="opportunity_id", how="left")
    revenue = pl.col("forecast_price") * pl.col("total_capacity_mw") * pl.col("duration_hours")
    profit = pl.col("expected_revenue_usd") - pl.col("payments_usd") - pl.col("charging_cost_usd")
    cent = HALF_CENT + 1e-6
    faults = {
        "revenue": (revenue - pl.col("expected_revenue_usd")).abs() > cent,
        "payments": (pl.col("payment_usd") - pl.col("payments_usd")).abs() > cent,
        "charging": (pl.col("recovered") - pl.col("charging_cost_usd")).abs() > cent,
        "profit": (profit - pl.col("expected_profit_usd")).abs() > 1e-6,
        "margin": pl.when(pl.col("expected_revenue_usd") == 0.0)
        .then(pl.col("profit_margin_fraction").is_not_null())  # a share of 0
        .otherwise(
            (pl.col("expected_profit_usd") / pl.col("expected_revenue_usd") - pl.col("profit_margin_fraction")).abs()
            > 1e-6
        ),
    }
    broken = [rows.filter(fault.fill_null(True)).select("bid_id", fault=pl.lit(name)) for name, fault in faults.items()]
    amount = pl.col("agreed_price_usd_per_mwh") * pl.col("dispatched_kwh") / 1000.0
    broken.append(
        payments.filter((amount - pl.col("payment_usd")).abs() > 1e-6).select(
            bid_id="opportunity_id", fault=pl.lit("a payment")
        )
    )
    broken.append(_call_price_faults(day))

    broken += _charging_faults(day, settings)

    books = day["dispatch.reconciliation"].row(0, named=True)
    left = books["sum_bid_profit_usd"] + books["unallocated_usd"]
    right = books["objective_usd"] - books["satisfaction_term_usd"] - books["no_sale_value_usd"] - books["premium_usd"]
    called_usd = (
        float(payments.select((pl.col("call_price_usd_per_mwh") * pl.col("dispatched_kwh")).sum()).item()) / 1e3
    )
    unrecovered = float(payments["charging_cost_usd"].sum()) - float(day["dispatch.charging"]["to_recover_usd"].sum())
    exact_profit = float(rows.select((revenue - pl.col("payment_usd") - pl.col("recovered")).sum()).item())
    no_sale_charging = float(day["dispatch.charging"]["no_sale_charging_usd"].sum())
    statements = {
        "bid profits + unallocated = objective - satisfaction - premium - no-sale value": abs(left - right)
        < 0.01 - 1e-6,
        "premium = payments - calls": abs(float(payments["payment_usd"].sum()) - called_usd - books["premium_usd"])
        < cent,
        "sum of bid profits": abs(float(bids["expected_profit_usd"].sum()) - books["sum_bid_profit_usd"]) < HALF_CENT,
        "objective": abs(float(day["dispatch.proof"]["objective_usd"][0]) - books["objective_usd"]) < cent,
        "unallocated = charging not recovered + rounding": abs(
            books["unallocated_usd"] - unrecovered - books["rounding_usd"]
        )
        < 0.03,
        "rounding is at most half a cent a figure": abs(books["rounding_usd"]) <= cent * 3 * max(1, bids.height),
        "no-sale value": abs(books["no_sale_value_usd"] + no_sale_charging) < cent,
        "rounding": abs(books["rounding_usd"] - (exact_profit - books["sum_bid_profit_usd"])) < 1e-3,
        "the day does not lose against no bid": _is_cautious(day)
        or books["objective_usd"] >= books["no_sale_value_usd"] - 0.01,
    }
    broken += [pl.DataFrame({"bid_id": ["day"], "fault": [name]}) for name, holds in statements.items() if not holds]
    held = (
        f"{usd(books['sum_bid_profit_usd'])} of bid profit + {usd(books['unallocated_usd'])} unallocated "
        f"= {usd(right)}, to the cent"
    )
    return count_violations(pl.concat(broken), "sums that do not add up", held, books["sum_bid_profit_usd"])


def _call_price_faults(day: Day) -> pl.DataFrame:
    """Payments at another price than their deal's, or called for another: bid_id, fault.

    A deal is called for its floor; one with a share beyond a reference below the floor, for the price whose share
    reaches the floor.
    """
    prices = [f"{name}_price_usd_per_mwh" for name in ("floor", "reference", "agreed")]
    terms = ["prosumer_id", "share_fraction", *prices]
    paid = ["opportunity_id", "prosumer_id", "call_price_usd_per_mwh", prices[2]]
    floor, reference = (pl.col(name) for name in prices[:2])
    beyond = reference + (floor - reference) / pl.col("share_fraction")
    call = pl.when(reference < floor).then(beyond).otherwise(floor)
    same = ((pl.col("call_price_usd_per_mwh") - call).abs() <= 1e-6) & (
        (pl.col("agreed_price_usd_per_mwh") - pl.col("agreed_price_usd_per_mwh_of_deal")).abs() <= 1e-6
    )
    broken = [pl.DataFrame(schema={"bid_id": pl.String, "fault": pl.String})]
    for name in day["dispatch.payments"]["opportunity_id"].unique().sort():  # one at a time: there are millions
        of_opportunity = pl.col("opportunity_id") == name
        deals = rows_where(day, "negotiation.agreements", of_opportunity, terms)
        payments = rows_where(day, "dispatch.payments", of_opportunity, paid)
        rows = payments.join(deals, on="prosumer_id", how="left", suffix="_of_deal")
        faulty = rows.filter(~same.fill_null(False))
        broken.append(faulty.select(bid_id="opportunity_id", fault=pl.lit("a price of no deal")))
    return pl.concat(broken)


def _is_cautious(day: Day) -> bool:
    """Whether the objective weighs profit against risk; False for days without the column `aversion`."""
    proof = day["dispatch.proof"]
    return "aversion" in proof.columns and bool(proof["aversion"][0] > 0.0)


def _charging_faults(day: Day, settings: Settings) -> list[pl.DataFrame]:
    """Faults of charging costs: not those of schedule and forecast, or not recovered from owners with paying sales."""
    trading = day["dispatch.positions"].filter("is_bid").select("opportunity_id")
    opportunities = with_missing(day["market.opportunities"], resource_id=DESK)
    energy = opportunities.filter(pl.col("product") == "energy").join(trading, on="opportunity_id")
    hours = block_hours(energy).join(energy.select("opportunity_id", "resource_id"), on="opportunity_id")
    charged = day["dispatch.schedule"].select("prosumer_id", "start_utc", "grid_charge_kw")
    charged = charged.join(resources_of_prosumers(day), on="prosumer_id")
    bought = charged.join(hours, on=["resource_id", "start_utc"], how="anti")
    price = pl.col("energy_usd_per_mwh") + settings.optimiser.charging_adder_usd_per_mwh
    rebuilt = (
        bought.join(day["market.price_forecast"].select("start_utc", "energy_usd_per_mwh"), on="start_utc")
        .group_by("prosumer_id")
        .agg(bought_usd=(pl.col("grid_charge_kw") * price).sum() / 1000.0)
    )
    worth = day["market.opportunities"].select("opportunity_id", "forecast_price")
    earned = (pl.col("forecast_price") - pl.col("call_price_usd_per_mwh")) * pl.col("dispatched_kwh") / 1000.0
    shares = (
        day["dispatch.payments"]
        .lazy()  # so that columns of no use are not joined
        .join(worth.lazy(), on="opportunity_id")
        .group_by("prosumer_id")
        .agg(recovered=pl.col("charging_cost_usd").sum(), earned=earned.clip(lower_bound=0.0).sum())
        .collect()
    )
    rows = (
        day["dispatch.charging"].join(rebuilt, on="prosumer_id", how="left").join(shares, on="prosumer_id", how="left")
    )
    rows = rows.with_columns(pl.col("bought_usd", "recovered", "earned").fill_null(0.0))
    owed = pl.when(pl.col("earned") > 0.0).then(pl.col("to_recover_usd").clip(lower_bound=0.0)).otherwise(0.0)
    caused = pl.col("charging_usd") - pl.col("no_sale_charging_usd")
    faults = {
        "charging cost is not that of the schedule": (pl.col("charging_usd") - pl.col("bought_usd")).abs() > 1e-6,
        "charging to recover": (caused - pl.col("to_recover_usd")).abs() > 1e-6,
        "recovered charging is not what its sales caused": (pl.col("recovered") - owed).abs() > 1e-6,
    }
    return [rows.filter(fault).select(bid_id="prosumer_id", fault=pl.lit(name)) for name, fault in faults.items()]


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


def top_ups_are_a_fair_part_of_the_profit(day: Day, settings: Settings) -> CheckResult:
    """Under `payments.rule` = owen, top-ups are one fraction of every prosumer's Owen share and leave the margin.

    Each Owen share is at least what the prosumer's schedule earns at the day's internal prices.
    """
    shares, books = day["dispatch.owen_shares"], day["dispatch.reconciliation"].row(0, named=True)
    profit_usd = books["sum_bid_profit_usd"] + books["unallocated_usd"]
    paid_usd = float(shares["top_up_usd"].sum())
    owed_usd = float(shares["owen_share_usd"].clip(lower_bound=0.0).sum())
    statements = {
        "books hold the sum of top-ups": abs(paid_usd - books["top_ups_usd"]) < CENT / 2 + 1e-6,
        "kept profit = bid profits + unallocated - top-ups": abs(
            profit_usd - books["top_ups_usd"] - books["kept_profit_usd"]
        )
        < 1e-6,
        "the margin is kept": paid_usd
        <= (1.0 - settings.negotiation.minimum_margin_fraction) * max(profit_usd, 0.0) + 2 * CENT,
    }
    broken = [
        pl.DataFrame({"prosumer_id": ["all"], "fault": [name]}) for name, holds in statements.items() if not holds
    ]
    broken += _rows_of_another_rule(day, settings) if settings.payments.rule == "agreed" else _unfair(day, owed_usd)
    held = (
        f"{usd(paid_usd)} of top-ups for {shares.height} prosumers, of Owen shares of {usd(owed_usd)}; "
        f"profit after top-ups {usd(books['kept_profit_usd'])}"
    )
    return count_violations(pl.concat(broken) if broken else shares.clear(), "faults in top-ups", held, paid_usd)


def _rows_of_another_rule(day: Day, settings: Settings) -> list[pl.DataFrame]:
    rows = day["dispatch.owen_shares"]
    return [rows.select("prosumer_id", fault=pl.lit(f"a share, though payments.rule is {settings.payments.rule}"))]


def _unfair(day: Day, owed_usd: float) -> list[pl.DataFrame]:
    """Prosumers without a share, with another fraction of it as top-up, or with a share that is too small."""
    shares = day["dispatch.owen_shares"]
    part = float(shares["top_up_usd"].sum()) / max(owed_usd, 1e-9)
    due = part * pl.col("owen_share_usd").clip(lower_bound=0.0)
    rows = day["fleet.prosumers"].select("prosumer_id").join(shares, on="prosumer_id", how="full", coalesce=True)
    rows = rows.join(_earned(day), on="prosumer_id", how="left")
    faults = {
        "no Owen share": pl.col("owen_share_usd").is_null() | pl.col("earned_usd").is_null(),
        "top-up is another fraction of the share": (pl.col("top_up_usd") - due).abs() > 1e-6,
        "share below what its schedule earns": pl.col("owen_share_usd") < pl.col("earned_usd") - SHARE_TOLERANCE_USD,
        "sources do not add up to what its schedule earns": (
            pl.sum_horizontal("from_energy_usd", "from_reserve_usd", "from_charging_usd") - pl.col("earned_usd")
        ).abs()
        > SHARE_TOLERANCE_USD,
    }
    return [rows.filter(fault).select("prosumer_id", fault=pl.lit(name)) for name, fault in faults.items()]


def _earned(day: Day) -> pl.DataFrame:
    """Earnings of each prosumer's schedule at internal prices, less payments and charging without sales."""
    prices = with_missing(day["dispatch.internal_prices"].drop("market_date"), resource_id=DESK)
    prices = prices.with_columns(pl.col("sell_usd_per_mwh").fill_null(0.0))
    worth = (
        (pl.col("discharge_kw") + pl.col("solar_sold_kw")) * pl.col("sell_usd_per_mwh")
        + reduce(add, (pl.col(one.held_column) * pl.col(one.price_column) for one in CAISO.reserves))
        - pl.col("grid_charge_kw") * pl.col("buy_usd_per_mwh")
    ) / 1000.0
    done = day["dispatch.schedule"].join(resources_of_prosumers(day), on="prosumer_id")
    sold = done.join(prices, on=["resource_id", "start_utc"]).group_by("prosumer_id").agg(worth_usd=worth.sum())
    paid = day["dispatch.payments"].group_by("prosumer_id").agg(pl.col("payment_usd").sum())
    return (
        sold.join(paid, on="prosumer_id", how="left")
        .join(day["dispatch.charging"], on="prosumer_id")
        .select(
            "prosumer_id",
            earned_usd=pl.col("worth_usd") - pl.col("payment_usd").fill_null(0.0) + pl.col("no_sale_charging_usd"),
        )
    )
