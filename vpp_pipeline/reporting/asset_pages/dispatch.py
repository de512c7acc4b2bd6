"""Pages of the day's optimization, its proof, and the payments."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.reporting.asset_pages.layout import SHARE, Line, Page, kinds, mean, pacific_hour, total, where

SOLD_KW = pl.sum_horizontal("discharge_kw", "solar_sold_kw")
HELD_KW = pl.sum_horizontal(reserve.held_column for reserve in CAISO.reserves)
TRADES = pl.col("is_bid")
SELL = "sell_usd_per_mwh"

SOLVED = {
    "dispatch.infeasibilities": Page(
        text="{prosumers} prosumers are infeasible: {shortfall_kwh:.2f} kWh short of their limits.",
        empty="0 infeasible limits: every prosumer's day can be scheduled.",
        figures={"prosumers": kinds("prosumer_id"), "violations": pl.len(), "shortfall_kwh": total("shortfall_kwh")},
        line=Line("shortfall by hour", total("shortfall_kwh"), "kWh", by="start_utc"),
        columns={"prosumer": "prosumer_id", "hour": "start_utc", "limit": "limit_name", "kWh": "shortfall_kwh"},
        first="shortfall_kwh",
    ),
    "dispatch.starts": Page(
        text="Initial state of charge of {prosumers} prosumers: {stored_mwh:.3f} MWh; {carried_over} carried over from "
        "the schedule of the day before.",
        figures={
            "prosumers": pl.len(),
            "stored_mwh": total("initial_stored_kwh") / 1000.0,
            "carried_over": pl.col("carried_from").is_not_null().sum(),
        },
        line=Line("initial state of charge, highest first", pl.col("initial_stored_kwh"), "kWh"),
        columns={"prosumer": "prosumer_id", "kWh": "initial_stored_kwh", "carried from": "carried_from"},
        first="initial_stored_kwh",
    ),
    "dispatch.schedule": Page(
        text="Export {sold_mwh:.2f} MWh, reserve {held_mw_h:.2f} MW·h, charging {charged_mwh:.2f} MWh; peak export "
        "{highest_mw:.2f} MW at {most_at_pacific} PT.",
        figures={
            "sold_mwh": SOLD_KW.sum() / 1000.0,
            "held_mw_h": HELD_KW.sum() / 1000.0,
            "charged_mwh": total("charge_kw") / 1000.0,
            "highest_mw": SOLD_KW.sum().over("start_utc").max() / 1000.0,
            "most_at_pacific": pacific_hour(SOLD_KW.sum().over("start_utc")),
            "stored_mwh_at_end": pl.col("stored_kwh").filter(pl.col("start_utc") == pl.col("start_utc").max()).sum()
            / 1000.0,
        },
        line=Line("export and reserve by hour", (SOLD_KW + HELD_KW).sum() / 1000.0, "MW", by="start_utc"),
        columns={
            "prosumer": "prosumer_id",
            "hour": "start_utc",
            "discharge kW": "discharge_kw",
            "spin kW": "spin_kw",
            "kWh": "stored_kwh",
        },
        first="discharge_kw",
    ),
    "dispatch.positions": Page(
        text="Positions in {bids} of {opportunities} opportunities, the largest {largest_mw:.2f} MW; highest shadow "
        "price {highest_shadow_price:usd} per MW.",
        figures={
            "opportunities": pl.len(),
            "bids": where(TRADES),
            "largest_mw": pl.col("quantity_mw").max(),
            "highest_shadow_price": pl.col("shadow_price_usd_per_mwh").max(),
        },
        line=Line("position by opportunity, highest first", pl.col("quantity_mw"), "MW"),
        columns={
            "opportunity": "opportunity_id",
            "bid": "is_bid",
            "MW": "quantity_mw",
            "shadow price": "shadow_price_usd_per_mwh",
        },
        first="quantity_mw",
    ),
    "dispatch.charging": Page(
        text="Charging costs {charging_usd:usd}, {no_sale_charging_usd:usd} of it also without sales; sales have to "
        "recover {to_recover_usd:usd}.",
        figures={
            "prosumers": pl.len(),
            **{name: total(name) for name in ("charging_usd", "no_sale_charging_usd", "to_recover_usd")},
        },
        line=Line("cost of charging by prosumer, highest first", pl.col("charging_usd"), "$"),
        columns={
            "prosumer": "prosumer_id",
            "charging": "charging_usd",
            "without sales": "no_sale_charging_usd",
            "to recover": "to_recover_usd",
        },
        first="charging_usd",
    ),
    "dispatch.internal_prices": Page(
        text="Internal price of energy {mean_sell_usd_per_mwh:usd}/MWh on average, highest "
        "{highest_sell_usd_per_mwh:usd} at {highest_at_pacific} PT.",
        figures={
            "mean_sell_usd_per_mwh": mean(SELL),
            "highest_sell_usd_per_mwh": pl.col(SELL).max(),
            "mean_buy_usd_per_mwh": mean("buy_usd_per_mwh"),
            "highest_spin_usd_per_mw_h": pl.col("spin_usd_per_mw_h").max(),
            "highest_at_pacific": pacific_hour(SELL),
        },
        line=Line("internal price of energy by hour", mean(SELL), "$/MWh", by="start_utc"),
        columns={"hour": "start_utc", "sell": SELL, "buy": "buy_usd_per_mwh", "spin": "spin_usd_per_mw_h"},
        first=SELL,
    ),
    "dispatch.owen_shares": Page(
        text="Owen shares of {prosumers} prosumers {owen_shares_usd:usd}; top-ups above agreed prices "
        "{top_ups_usd:usd}.",
        empty="0 top-ups: payments are the agreed prices alone (payments.rule = agreed).",
        figures={
            "prosumers": pl.len(),
            "owen_shares_usd": total("owen_share_usd"),
            "top_ups_usd": total("top_up_usd"),
        },
        line=Line("Owen share by prosumer, highest first", pl.col("owen_share_usd"), "$"),
        columns={
            "prosumer": "prosumer_id",
            "energy": "from_energy_usd",
            "reserve": "from_reserve_usd",
            "share": "owen_share_usd",
            "top-up": "top_up_usd",
        },
        first="owen_share_usd",
    ),
    "dispatch.proof": Page(
        text="Objective {objective_usd:usd}, dual bound {bound_usd:usd} (gap {gap_fraction:percent.3}), in "
        "{solve_seconds:.1f} s; method: {method}.",
        figures={
            **{name: total(name) for name in ("objective_usd", "bound_usd", "gap_fraction")},
            "solve_seconds": total("seconds"),
            "prosumers": total("prosumers"),
            "bids": total("bids"),
            "method": pl.col("method").first(),
        },
        line=Line("gap by day", mean("gap_fraction"), SHARE, by="market_date"),
        columns={
            "solver": "solver",
            "objective": "objective_usd",
            "bound": "bound_usd",
            "gap": "gap_fraction",
            "s": "seconds",
        },
        is_daily=True,
    ),
    "dispatch.scenario_quantities": Page(
        text="Quantities of {opportunities} energy bids at the prices of {scenarios} scenarios: {mean_mw:.2f} MW on "
        "average.",
        empty="0 scenarios: the day is solved for its forecast alone (risk.scenarios = 1).",
        figures={
            "opportunities": kinds("opportunity_id"),
            "scenarios": kinds("scenario"),
            "mean_mw": mean("quantity_mw"),
        },
        line=Line("quantity by scenario", total("quantity_mw"), "MW", by="scenario"),
        columns={
            "opportunity": "opportunity_id",
            "scenario": "scenario",
            "price": "price_usd_per_mwh",
            "MW": "quantity_mw",
        },
        first="price_usd_per_mwh",
    ),
}

MONEY = {
    "dispatch.payments": Page(
        text="Payments of {paid_usd:usd} to {prosumers} prosumers for {deliveries} deliveries of {delivered_mwh:.2f} "
        "MWh (reserve: MW·h); mean satisfaction {mean_satisfaction_score:.2f} of 10.",
        empty="0 payments: no bids.",
        figures={
            "prosumers": kinds("prosumer_id"),
            "deliveries": pl.len(),
            "paid_usd": total("payment_usd"),
            "delivered_mwh": total("dispatched_kwh") / 1000.0,
            "charging_cost_usd": total("charging_cost_usd"),
            "mean_satisfaction_score": mean("satisfaction_score"),
        },
        line=Line("payment by prosumer, highest first", total("payment_usd"), "$", by="prosumer_id", is_ranked=True),
        columns={
            "opportunity": "opportunity_id",
            "prosumer": "prosumer_id",
            "kW": "dispatched_kw",
            "payment": "payment_usd",
        },
        first="payment_usd",
    ),
    "dispatch.reconciliation": Page(
        text="Profit of the bids {sum_bid_profit_usd:usd}, after top-ups {kept_profit_usd:usd}; not allocated to bids "
        "{unallocated_usd:usd}; reconciled with the optimizer's objective {objective_usd:usd}.",
        figures={
            name: total(name)
            for name in (
                *("sum_bid_profit_usd", "unallocated_usd", "rounding_usd", "satisfaction_term_usd"),
                *("no_sale_value_usd", "objective_usd", "top_ups_usd", "kept_profit_usd"),
            )
        },
        line=Line("profit by day", total("kept_profit_usd"), "$", by="market_date"),
        columns={
            "bids": "sum_bid_profit_usd",
            "not allocated": "unallocated_usd",
            "without sales": "no_sale_value_usd",
            "objective": "objective_usd",
        },
        is_daily=True,
    ),
}
PAGES = SOLVED | MONEY
