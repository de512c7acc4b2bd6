"""Pages of the day's optimisation, its proof, and the money that follows from it."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, pacific_hour, total, where

SOLD_KW = pl.sum_horizontal("discharge_kw", "solar_sold_kw")
HELD_KW = pl.sum_horizontal("spin_kw", "nonspin_kw")
TRADES = pl.col("is_bid")
SELL = "sell_usd_per_mwh"

SOLVED = {
    "dispatch.infeasibilities": Page(
        says="{prosumers} prosumers have limits that no schedule can keep; {shortfall_kwh:.2f} kWh are missing.",
        nothing="0 limits are out of reach: every prosumer's day can be scheduled.",
        figures={"prosumers": kinds("prosumer_id"), "violations": pl.len(), "shortfall_kwh": total("shortfall_kwh")},
        line=Line("kWh missing by hour", total("shortfall_kwh"), by="start_utc"),
        columns={"prosumer": "prosumer_id", "hour": "start_utc", "limit": "limit_name", "kWh": "shortfall_kwh"},
        first="shortfall_kwh",
    ),
    "dispatch.starts": Page(
        says="{prosumers} prosumers begin with {stored_mwh:.3f} MWh in their stores; {carried_over} of these "
        "amounts come from the schedule of the day before.",
        figures={
            "prosumers": pl.len(),
            "stored_mwh": total("initial_stored_kwh") / 1000.0,
            "carried_over": pl.col("carried_from").is_not_null().sum(),
        },
        line=Line("stored energy at the start, fullest first, kWh", pl.col("initial_stored_kwh")),
        columns={"prosumer": "prosumer_id", "kWh": "initial_stored_kwh", "from": "carried_from"},
        first="initial_stored_kwh",
    ),
    "dispatch.schedule": Page(
        says="The fleet exports {sold_mwh:.2f} MWh, holds {held_mw_h:.2f} MW-hours of reserve and charges "
        "{charged_mwh:.2f} MWh; it exports most at {most_at_pacific} Pacific ({highest_mw:.2f} MW).",
        figures={
            "sold_mwh": SOLD_KW.sum() / 1000.0,
            "held_mw_h": HELD_KW.sum() / 1000.0,
            "charged_mwh": total("charge_kw") / 1000.0,
            "highest_mw": SOLD_KW.sum().over("start_utc").max() / 1000.0,
            "most_at_pacific": pl.col("start_utc")
            .sort_by(SOLD_KW.sum().over("start_utc"))
            .last()
            .dt.convert_time_zone("America/Los_Angeles")
            .dt.strftime("%H:%M"),
            "stored_mwh_at_end": pl.col("stored_kwh").filter(pl.col("start_utc") == pl.col("start_utc").max()).sum()
            / 1000.0,
        },
        line=Line("MW sold and held by hour", (SOLD_KW + HELD_KW).sum() / 1000.0, by="start_utc"),
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
        says="{bids} of {opportunities} opportunities trade, {bid_mw:.2f} MW in all; one more MW is worth at "
        "most {highest_shadow_price:.2f} $.",
        figures={
            "opportunities": pl.len(),
            "bids": where(TRADES),
            "bid_mw": total("quantity_mw"),
            "highest_shadow_price": pl.col("shadow_price_usd_per_mwh").max(),
        },
        line=Line("MW of each opportunity, largest first", pl.col("quantity_mw")),
        columns={
            "opportunity": "opportunity_id",
            "bid": "is_bid",
            "MW": "quantity_mw",
            "worth of 1 MW": "shadow_price_usd_per_mwh",
        },
        first="quantity_mw",
    ),
    "dispatch.charging": Page(
        says="Charging costs {charging_usd:.2f} $, {no_sale_charging_usd:.2f} $ of it in any case; sales have "
        "to recover {to_recover_usd:.2f} $.",
        figures={
            "prosumers": pl.len(),
            **{name: total(name) for name in ("charging_usd", "no_sale_charging_usd", "to_recover_usd")},
        },
        line=Line("cost of charging by prosumer, dearest first, $", pl.col("charging_usd")),
        columns={
            "prosumer": "prosumer_id",
            "$": "charging_usd",
            "in any case $": "no_sale_charging_usd",
            "to recover $": "to_recover_usd",
        },
        first="charging_usd",
    ),
    "dispatch.internal_prices": Page(
        says="One more MWh from a prosumer is worth {mean_sell_usd_per_mwh:.2f} $ on average and up to "
        "{highest_sell_usd_per_mwh:.2f} $, at {highest_at_pacific} Pacific.",
        figures={
            "mean_sell_usd_per_mwh": mean(SELL),
            "highest_sell_usd_per_mwh": pl.col(SELL).max(),
            "mean_buy_usd_per_mwh": mean("buy_usd_per_mwh"),
            "highest_spin_usd_per_mw_h": pl.col("spin_usd_per_mw_h").max(),
            "highest_at_pacific": pacific_hour(SELL),
        },
        line=Line("worth of one more MWh by hour, $/MWh", mean(SELL), by="start_utc"),
        columns={"hour": "start_utc", "sell $/MWh": SELL, "buy $/MWh": "buy_usd_per_mwh", "spin": "spin_usd_per_mw_h"},
        first=SELL,
    ),
    "dispatch.owen_shares": Page(
        says="{prosumers} prosumers add {owen_shares_usd:.2f} $ to the day; {top_ups_usd:.2f} $ of it are "
        "paid on top of agreed prices.",
        nothing="0 top-ups: owners are paid the agreed price alone (payments.rule = agreed).",
        figures={
            "prosumers": pl.len(),
            "owen_shares_usd": total("owen_share_usd"),
            "top_ups_usd": total("top_up_usd"),
        },
        line=Line("what each prosumer adds, most first, $", pl.col("owen_share_usd")),
        columns={
            "prosumer": "prosumer_id",
            "energy $": "from_energy_usd",
            "reserve $": "from_reserve_usd",
            "share $": "owen_share_usd",
            "top-up $": "top_up_usd",
        },
        first="owen_share_usd",
    ),
    "dispatch.proof": Page(
        says="{objective_usd:.2f} $ by {method}; no schedule can earn more than {bound_usd:.2f} $ (gap "
        "{gap_fraction:.3%}), in {solve_seconds:.1f} s.",
        figures={
            **{name: total(name) for name in ("objective_usd", "bound_usd", "gap_fraction")},
            "solve_seconds": total("seconds"),
            "prosumers": total("prosumers"),
            "bids": total("bids"),
            "method": pl.col("method").first(),
        },
        line=Line("gap of this day and of those before it, as a fraction", mean("gap_fraction"), by="market_date"),
        columns={
            "solver": "solver",
            "$": "objective_usd",
            "at most $": "bound_usd",
            "gap": "gap_fraction",
            "s": "seconds",
        },
        days=True,
    ),
    "dispatch.scenario_quantities": Page(
        says="What the fleet would sell in {opportunities} energy bids if any of {scenarios} scenarios came: "
        "{mean_mw:.2f} MW on average.",
        nothing="0 scenarios: the day is solved for its forecast alone (risk.scenarios = 1).",
        figures={
            "opportunities": kinds("opportunity_id"),
            "scenarios": kinds("scenario"),
            "mean_mw": mean("quantity_mw"),
        },
        line=Line("MW that would be sold, by scenario", total("quantity_mw"), by="scenario"),
        columns={
            "opportunity": "opportunity_id",
            "scenario": "scenario",
            "$/MWh": "price_usd_per_mwh",
            "MW": "quantity_mw",
        },
        first="price_usd_per_mwh",
    ),
}

MONEY = {
    "dispatch.payments": Page(
        says="{prosumers} prosumers are paid {paid_usd:.2f} $ for {deliveries} deliveries of "
        "{delivered_mwh:.2f} MWh (reserve: MW-hours); a delivery satisfies by "
        "{mean_satisfaction_score:.2f} of 10 on average.",
        nothing="0 payments: nothing trades.",
        figures={
            "prosumers": kinds("prosumer_id"),
            "deliveries": pl.len(),
            "paid_usd": total("payment_usd"),
            "delivered_mwh": total("dispatched_kwh") / 1000.0,
            "charging_cost_usd": total("charging_cost_usd"),
            "mean_satisfaction_score": mean("satisfaction_score"),
        },
        line=Line("paid to each prosumer, most first, $", total("payment_usd"), by="prosumer_id", is_ranked=True),
        columns={"opportunity": "opportunity_id", "prosumer": "prosumer_id", "kW": "dispatched_kw", "$": "payment_usd"},
        first="payment_usd",
    ),
    "dispatch.reconciliation": Page(
        says="Bids earn {sum_bid_profit_usd:.2f} $, {kept_profit_usd:.2f} $ of it after top-ups; with what no "
        "bid carries ({unallocated_usd:.2f} $) the books give the optimiser's {objective_usd:.2f} $.",
        figures={
            name: total(name)
            for name in (
                *("sum_bid_profit_usd", "unallocated_usd", "rounding_usd", "satisfaction_term_usd"),
                *("no_sale_value_usd", "objective_usd", "top_ups_usd", "kept_profit_usd"),
            )
        },
        line=Line("profit of this day and of those before it, $", total("kept_profit_usd"), by="market_date"),
        columns={
            "bids $": "sum_bid_profit_usd",
            "no bid $": "unallocated_usd",
            "no sale $": "no_sale_value_usd",
            "in all $": "objective_usd",
        },
        days=True,
    ),
}
PAGES = SOLVED | MONEY
