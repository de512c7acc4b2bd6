"""Checks of the money: each bid's, the day's sums, charging, and top-ups."""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.tables import Day, in_parts, rows_where, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.terms import (
    bids_of,
    block_hours,
    is_of_storage,
    resources_of_prosumers,
    table_or_none,
)

HALF_CENT = 0.005
CENT = 0.01
MW_TOLERANCE = 1e-9
SHARE_TOLERANCE_USD = 1e-3


def money_adds_up(day: Day, settings: Settings) -> CheckResult:
    """Each bid's money follows from MW, price, and payments; the bid profits and the unallocated amount add up to the
    objective, to the cent."""
    bids, payments = bids_of(day), day["dispatch.payments"]
    owed = payments.group_by("opportunity_id").agg(
        pl.col("payment_usd").sum(), recovered=pl.col("charging_cost_usd").sum()
    )
    rows = bids.join(owed, on="opportunity_id", how="left")
    at_least = pl.when("is_storage").then(0.0)  # whose bid may call no member: it charges, or covers reserve
    rows = rows.with_columns(pl.coalesce(name, at_least).alias(name) for name in ("payment_usd", "recovered"))
    cleared_mw = pl.when("is_storage").then("expected_mw").otherwise("total_capacity_mw")
    revenue = pl.col("forecast_price") * cleared_mw * pl.col("duration_hours")
    profit = pl.col("expected_revenue_usd") - pl.col("payments_usd") - pl.col("charging_cost_usd")
    cent = HALF_CENT + 1e-6
    faults = {
        "revenue": (revenue - pl.col("expected_revenue_usd")).abs() > cent,
        "MW expected": (pl.col("expected_mw") - cleared_mw).abs() > MW_TOLERANCE,
        "payments": (pl.col("payment_usd") - pl.col("payments_usd")).abs() > cent,
        "charging": (pl.col("recovered") - pl.col("charging_cost_usd")).abs() > cent,
        "profit": (profit - pl.col("expected_profit_usd")).abs() > 1e-6,
        "margin": pl.when(pl.col("expected_revenue_usd") <= 0.0)
        .then(pl.col("profit_margin_fraction").is_not_null())  # a share of nothing, or of a cost
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
    for part in in_parts(day["dispatch.payments"].lazy(), "opportunity_id"):
        deals = rows_where(day, "negotiation.agreements", part, ["opportunity_id", *terms])
        payments = rows_where(day, "dispatch.payments", part, paid)
        rows = payments.join(deals, on=["opportunity_id", "prosumer_id"], how="left", suffix="_of_deal")
        faulty = rows.filter(~same.fill_null(False))
        broken.append(faulty.select(bid_id="opportunity_id", fault=pl.lit("a price of no deal")))
    return pl.concat(broken)


def _is_cautious(day: Day) -> bool:
    """Whether the objective weighs profit against risk; False for days without the column `aversion`."""
    proof = day["dispatch.proof"]
    return "aversion" in proof.columns and bool(proof["aversion"][0] > 0.0)


def _charging_faults(day: Day, settings: Settings) -> list[pl.DataFrame]:
    """Faults of charging costs: not those of schedule and forecast, or not recovered from owners with paying sales."""
    bought = _bought(day, settings.optimiser.charging_adder_usd_per_mwh)
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
        day["dispatch.charging"].join(bought, on="prosumer_id", how="left").join(shares, on="prosumer_id", how="left")
    )
    rows = rows.with_columns(pl.col("bought_usd", "recovered", "earned").fill_null(0.0))
    owed = pl.when(pl.col("earned") > 0.0).then(pl.col("to_recover_usd").clip(lower_bound=0.0)).otherwise(0.0)
    caused = pl.col("charging_usd") - pl.col("no_sale_charging_usd")
    faults = {
        "charging cost is not that of the schedule": (pl.col("charging_usd") - pl.col("bought_usd")).abs() > 1e-6,
        "charging without sales is not that of the baseline": (
            pl.col("no_sale_charging_usd") - pl.col("baseline_usd")
        ).abs()
        > 1e-6,
        "charging to recover": (caused - pl.col("to_recover_usd")).abs() > 1e-6,
        "recovered charging is not what its sales caused": (pl.col("recovered") - owed).abs() > 1e-6,
    }
    return [rows.filter(fault).select(bid_id="prosumer_id", fault=pl.lit(name)) for name, fault in faults.items()]


def _bought(day: Day, adder_usd: float) -> pl.DataFrame:
    """What each prosumer's charging costs beside the bids: prosumer_id, bought_usd; baseline_usd of members of storage
    resources.

    In hours with an energy bid a resource delivers its charging itself. Charging beyond the baseline of a member of a
    storage resource is in the revenue of its hour, all but the adder.
    """
    trading = day["dispatch.positions"].filter("is_bid").select("opportunity_id")
    opportunities = with_missing(day["market.opportunities"], resource_id=DESK)
    is_energy = (pl.col("product") == "energy") & ~is_of_storage(day)
    energy = opportunities.filter(is_energy).join(trading, on="opportunity_id")
    hours = block_hours(energy).join(energy.select("opportunity_id", "resource_id"), on="opportunity_id")
    charged = day["dispatch.schedule"].select("prosumer_id", "start_utc", "grid_charge_kw")
    charged = charged.join(resources_of_prosumers(day), on="prosumer_id")
    own = table_or_none(day, "fleet.baseline").select("prosumer_id", "start_utc", own_kw="grid_charge_kw")
    bought = charged.join(hours, on=["resource_id", "start_utc"], how="anti").join(
        own, on=["prosumer_id", "start_utc"], how="left"
    )
    bought = bought.join(day["market.price_forecast"].select("start_utc", "energy_usd_per_mwh"), on="start_utc")
    price, own_kw = pl.col("energy_usd_per_mwh"), pl.col("own_kw")
    at_market_kw = pl.when(is_of_storage(day)).then(own_kw).otherwise("grid_charge_kw")
    return bought.group_by("prosumer_id").agg(
        bought_usd=(at_market_kw * price + pl.col("grid_charge_kw") * adder_usd).sum() / 1000.0,
        baseline_usd=pl.when(own_kw.is_not_null().all()).then((own_kw * (price + adder_usd)).sum() / 1000.0),
    )


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
