"""Pages of market data, meters, forecasts and opportunities."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, pacific_hour, total

ENERGY, SPIN = "energy_usd_per_mwh", "spin_usd_per_mw_h"
PRICES = {"hour ending": "hour_ending", "hour": "start_utc", "energy": ENERGY, "spin": SPIN}
DAY_OF_PRICES = {
    "mean_energy_usd_per_mwh": mean(ENERGY),
    "lowest_energy_usd_per_mwh": pl.col(ENERGY).min(),
    "highest_energy_usd_per_mwh": pl.col(ENERGY).max(),
    "highest_at_pacific": pacific_hour(ENERGY),
    **{f"mean_{reserve.price_column}": mean(reserve.price_column) for reserve in CAISO.reserves},
}

PAGES = {
    "market.prices": Page(
        text="Energy cleared at {mean_energy_usd_per_mwh:usd}/MWh on average, from {lowest_energy_usd_per_mwh:usd} to "
        "{highest_energy_usd_per_mwh:usd} at {highest_at_pacific} PT; spin at {mean_spin_usd_per_mw_h:usd}/MW per "
        "hour. Source: {source}, node {node}.",
        figures=DAY_OF_PRICES | {"source": pl.col("source").first(), "node": pl.col("node").first()},
        line=Line("energy price by hour", mean(ENERGY), "$/MWh", by="start_utc"),
        columns=PRICES,
        first=ENERGY,
    ),
    "market.price_history": Page(
        text="{history_days} days of {source} prices at node {node}: energy cleared at "
        "{mean_energy_usd_per_mwh:usd}/MWh on average, from {lowest_energy_usd_per_mwh:usd} to "
        "{highest_energy_usd_per_mwh:usd}.",
        figures=DAY_OF_PRICES
        | {
            "history_days": kinds("market_date"),
            "source": pl.col("source").first(),
            "node": pl.col("node").first(),
        },
        line=Line("mean energy price by day", mean(ENERGY), "$/MWh", by="market_date"),
        columns={"day": "market_date", **PRICES},
        first=ENERGY,
    ),
    "market.price_forecast": Page(
        text="Expected energy price {mean_energy_usd_per_mwh:usd}/MWh on average, from "
        "{lowest_energy_usd_per_mwh:usd} to {highest_energy_usd_per_mwh:usd} at {highest_at_pacific} PT; method "
        "{method}, from {history_days} days of history of {source} prices.",
        figures=DAY_OF_PRICES
        | {
            "method": pl.col("method").first(),
            "history_days": pl.col("history_days").max(),
            "source": pl.col("source").first(),
        },
        line=Line("expected energy price by hour", mean(ENERGY), "$/MWh", by="start_utc"),
        columns=PRICES,
        first=ENERGY,
    ),
    "market.price_scenarios": Page(
        text="{scenarios} price scenarios from the forecast errors of {days_of_errors} past days: energy from "
        "{lowest_energy_usd_per_mwh:usd} to {highest_energy_usd_per_mwh:usd}/MWh.",
        empty="0 scenarios: the day is solved for its forecast alone (risk.scenarios = 1).",
        figures={
            "scenarios": kinds("scenario"),
            "days_of_errors": kinds("error_date"),
            "lowest_energy_usd_per_mwh": pl.col(ENERGY).min(),
            "highest_energy_usd_per_mwh": pl.col(ENERGY).max(),
        },
        line=Line(
            "spread of the energy price over the scenarios by hour",
            pl.col(ENERGY).max() - pl.col(ENERGY).min(),
            "$/MWh",
            by="start_utc",
        ),
        columns={"scenario": "scenario", "errors of": "error_date", "hour": "start_utc", "energy": ENERGY},
        first=ENERGY,
    ),
    "market.solar_forecast": Page(
        text="Expected yield {kwh_per_kw:.2f} kWh per kW of panels, highest at {most_at_pacific} PT "
        "({highest_kw_per_kw:.2f} kW); method {method}.",
        figures={
            "kwh_per_kw": total("solar_kw_per_kw"),
            "highest_kw_per_kw": pl.col("solar_kw_per_kw").max(),
            "most_at_pacific": pacific_hour("solar_kw_per_kw"),
            "method": pl.col("method").first(),
        },
        line=Line("solar output by hour", mean("solar_kw_per_kw"), "kW per kW installed", by="start_utc"),
        columns={"hour ending": "hour_ending", "hour": "start_utc", "kW per kW": "solar_kw_per_kw"},
        first="solar_kw_per_kw",
    ),
    "market.load_forecast": Page(
        text="{site_types} site types; load is highest at {most_at_pacific} PT, {highest_per_mean:.2f} times a "
        "site's mean; method {method}.",
        figures={
            "site_types": kinds("site_type"),
            "highest_per_mean": pl.col("load_per_mean").max(),
            "lowest_per_mean": pl.col("load_per_mean").min(),
            "most_at_pacific": pacific_hour("load_per_mean"),
            "method": pl.col("method").first(),
        },
        line=Line("load by hour", mean("load_per_mean"), "times a site's mean", by="start_utc"),
        columns={"hour ending": "hour_ending", "hour": "start_utc", "site": "site_type", "of mean": "load_per_mean"},
        first="load_per_mean",
    ),
    "market.resources": Page(
        text="{resources} resources of {source}, certified for {certified_spin_mw:.2f} MW of spin and "
        "{certified_nonspin_mw:.2f} MW of nonspin; certifications that are assumed: {assumed}.",
        figures={
            "resources": pl.len(),
            "source": pl.col("source").first(),
            "certified_spin_mw": total("certified_spin_mw"),
            "certified_nonspin_mw": total("certified_nonspin_mw"),
            "assumed": pl.col("certified_spin_mw").is_null().sum() + pl.col("certified_nonspin_mw").is_null().sum(),
        },
        line=Line("certified reserve by resource", total("certified_spin_mw"), "MW of spin", by="resource_id"),
        columns={
            "resource": "resource_id",
            "takes part": "participation",
            "spin MW": "certified_spin_mw",
            "nonspin MW": "certified_nonspin_mw",
        },
        first="certified_spin_mw",
    ),
    "market.opportunities": Page(
        text="{opportunities} opportunities ({requests} by request), {required_mw:.2f} MW in all, of "
        "{offerable_mw:.2f} MW that the fleet can offer; highest expected price {highest_price:usd}.",
        figures={
            "opportunities": pl.len(),
            "requests": (pl.col("origin") == "request").sum(),
            "required_mw": total("required_capacity_mw"),
            "offerable_mw": total("offerable_capacity_mw"),
            "highest_price": pl.col("forecast_price").max(),
        },
        line=Line("required capacity by hour, all products", total("required_capacity_mw"), "MW", by="start_utc"),
        columns={
            "opportunity": "opportunity_id",
            "MW": "required_capacity_mw",
            "of MW": "offerable_capacity_mw",
            "price": "forecast_price",
        },
        first="forecast_price",
    ),
    "market.request_quarantine": Page(
        text="{requests} requests in quarantine for {rows} faults; the others are offered.",
        empty="0 rows in quarantine: every request for the day is offered.",
        figures={"requests": kinds("file_row"), "rows": pl.len()},
        line=Line("faults by row of the file", pl.len(), "faults", by="file_row"),
        columns={"row": "file_row", "column": "column_name", "value": "value", "problem": "problem"},
        first="file_row",
    ),
}
METER_PAGES = {
    "market.metered_hours": Page(
        text="{hours} hours of {quantities} quantities, from {first_date} to {last_date}, of up to {meters} meters; "
        "source {source}.",
        empty="0 metered hours: no source of meters is configured (docs/meters.md).",
        figures={
            "hours": pl.len(),
            "quantities": kinds("quantity"),
            "first_date": pl.col("metered_date").min().cast(pl.String),
            "last_date": pl.col("metered_date").max().cast(pl.String),
            "meters": pl.col("meters").max(),
            "source": pl.col("source").first(),
        },
        line=Line("meters behind each day's hours", pl.col("meters").max(), "meters", by="metered_date"),
        columns={"quantity": "quantity", "site": "site_type", "hour": "start_utc", "per unit": "metered_per_unit"},
        first="start_utc",
    ),
    "market.meter_quarantine": Page(
        text="{meter_days} days of {meters} meters in quarantine, for {reasons} reasons.",
        empty="0 meters in quarantine.",
        figures={"reasons": pl.len(), "meters": kinds("meter_id"), "meter_days": total("days")},
        line=Line("days in quarantine by reason, highest first", pl.col("days"), "days"),
        columns={"meter": "meter_id", "column": "column_name", "days": "days", "row": "file_row"},
        first="days",
    ),
    "market.charging_forecast": Page(
        text="Expected EV charging {mean_per_mean:.2f} times the energy of a mean day; method {method}.",
        figures={
            "mean_per_mean": mean("charging_per_mean"),
            "highest_per_mean": pl.col("charging_per_mean").max(),
            "method": pl.col("method").first(),
        },
        line=Line("charging by hour", mean("charging_per_mean"), "times the mean hour", by="start_utc"),
        columns={"HE": "hour_ending", "start": "start_utc", "of mean": "charging_per_mean"},
        first="charging_per_mean",
    ),
}
