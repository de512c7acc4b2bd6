"""Pages of the bids, their settlement, the benchmark, and the published file."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, total, where

TRADES = pl.col("status") == "bid"
#: MW times hours that clear at the forecast; charging counts as energy does
CLEARED_MW_H = (pl.coalesce("expected_mw", "total_capacity_mw") * pl.col("duration_hours")).abs().sum()
BROKEN = ~pl.col("passed") & ~pl.col("is_warning")

PAGES = {
    "bids.final_bids": Page(
        text="{bids} bids of {bid_mw_h:.2f} MW·h, expected profit {expected_profit_usd:usd}: revenue "
        "{expected_revenue_usd:usd} less payments {payments_usd:usd} and charging; mean satisfaction "
        "{mean_satisfaction_score:.2f} of 10.",
        figures={
            "opportunities": pl.len(),
            "bids": where(TRADES),
            "bid_mw_h": CLEARED_MW_H.round(2),
            "expected_revenue_usd": total("expected_revenue_usd").round(2),
            "payments_usd": total("payments_usd").round(2),
            "expected_profit_usd": total("expected_profit_usd").round(2),
            "mean_satisfaction_score": pl.col("satisfaction_score").filter(TRADES).mean(),
            "mean_reliability_score": pl.col("reliability_score").filter(TRADES).mean(),
            "smallest_coalition": pl.col("coalition_size").filter(TRADES).min(),
        },
        line=Line("MW by hour that clear at the forecast, all products", CLEARED_MW_H, "MW·h", by="start_utc"),
        columns={
            "opportunity": "opportunity_id",
            "MW": "total_capacity_mw",
            "bid price": "bid_price_usd_per_mwh",
            "profit": "expected_profit_usd",
        },
        first="expected_profit_usd",
    ),
    "bids.bid_segments": Page(
        text="{bids} bid curves of {segments} segments; prices from {lowest_price:usd} to "
        "{highest_price:usd} per MWh (reserve: per MW and hour).",
        empty="0 bid curves: no bids.",
        figures={
            "bids": kinds("bid_id"),
            "segments": pl.len(),
            "lowest_price": pl.col("price_usd_per_mwh").min(),
            "highest_price": pl.col("price_usd_per_mwh").max(),
        },
        line=Line("prices of all segments, highest first", pl.col("price_usd_per_mwh"), "$"),
        columns={"bid": "bid_id", "segment": "segment", "to MW": "to_mw", "price": "price_usd_per_mwh"},
        first="price_usd_per_mwh",
    ),
    "bids.checks": Page(
        text="{rules} checks: {violations} violations, {warnings} warnings.",
        figures={
            "rules": pl.len(),
            "violations": pl.col("violations").filter(BROKEN).sum(),
            "warnings": where(~pl.col("passed") & pl.col("is_warning")),
        },
        line=Line("violations by check, highest first", pl.col("violations"), ""),
        columns={"check": "check_name", "passed": "passed", "violations": "violations"},
        first="violations",
    ),
}
EXPORTED = pl.col("discharge_kw") + pl.col("solar_sold_kw")
OURS, BEST = pl.col("arm") == "storage", pl.col("arm") == "perfect_foresight"
PAGE = Page(
    text="{rows:,} rows in {tables} tables published: {bids} bids of {bid_mw_h:.2f} MW·h, expected profit "
    "{expected_profit_usd:usd}, gap {gap_fraction:percent.3}, {violations} violations. File size {file_mb:.1f} MB.",
    figures={"rows": total("rows"), "tables": where(pl.col("rows") > 0)},
    line=Line("rows of the day by table, highest first", pl.col("rows"), "rows"),
    columns={"table": "table", "rows": "rows", "description": "description"},
    first="rows",
)


def _of(arm: pl.Expr, column: str) -> pl.Expr:
    return pl.col(column).filter(arm).first()


EVALUATION_PAGES = {
    "evaluation.dispatched": Page(
        text="{prosumers} prosumers delivered {exported_kwh:,.1f} kWh and charged {charged_kwh:,.1f} kWh; terminal "
        "state of charge {stored_kwh:,.1f} kWh.",
        figures={
            "prosumers": pl.col("prosumer_id")
            .filter(pl.col("discharge_kw") + pl.col("solar_sold_kw") > 0.0)
            .n_unique(),
            "exported_kwh": EXPORTED.sum(),
            "charged_kwh": total("charge_kw"),
            "reserve_held_kw_h": pl.sum_horizontal(total(reserve.held_column) for reserve in CAISO.reserves),
            "stored_kwh": pl.col("stored_kwh").filter(pl.col("start_utc") == pl.col("start_utc").max()).sum(),
        },
        line=Line("state of charge of the fleet by hour", total("stored_kwh"), "kWh", by="start_utc"),
        columns={
            "prosumer": "prosumer_id",
            "hour": "start_utc",
            "discharge kW": "discharge_kw",
            "charge kW": "charge_kw",
        },
        first="discharge_kw",
    ),
    "evaluation.deliveries": Page(
        text="{deliveries:,} deliveries of {prosumers} prosumers paid {payment_usd:usd}; {forced} of them called below "
        "their floor, {capped} paid their cap.",
        empty="0 deliveries.",
        figures={
            "deliveries": pl.len(),
            "prosumers": pl.col("prosumer_id").n_unique(),
            "forced": where(pl.col("is_forced")),
            "capped": where(pl.col("paid_price_usd_per_mwh") >= pl.col("cap_price_usd_per_mwh")),
            "payment_usd": total("payment_usd"),
            "delivered_kwh": total("delivered_kwh"),
        },
        line=Line("payment by prosumer, highest first", total("payment_usd"), "$", by="prosumer_id"),
        columns={
            "prosumer": "prosumer_id",
            "opportunity": "opportunity_id",
            "kWh": "delivered_kwh",
            "paid $/MWh": "paid_price_usd_per_mwh",
            "why": "reason",
        },
        first="payment_usd",
    ),
    "evaluation.settlement": Page(
        text="Awards for {awards} of {bids} bids; revenue {revenue_usd:usd}, profit {profit_usd:usd} after payments of "
        "{payments_usd:usd}.",
        empty="0 bids to settle.",
        figures={
            "bids": pl.len(),
            "awards": where(pl.col("awarded_mw").abs() > 1e-6),
            **{
                name: total(name)
                for name in (
                    *("awarded_mw", "delivered_mw", "shortfall_mw", "revenue_usd", "imbalance_usd"),
                    *("payments_usd", "wear_usd", "profit_usd"),
                )
            },
            "mean_clearing_price": mean("clearing_price"),
        },
        line=Line("profit by bid, highest first", pl.col("profit_usd"), "$"),
        columns={
            "opportunity": "opportunity_id",
            "MW": "awarded_mw",
            "delivered MW": "delivered_mw",
            "profit": "profit_usd",
        },
        first="profit_usd",
    ),
    "evaluation.settled_days": Page(
        text="Awards for {awarded_bids} of {bids} bids; net {net_usd:usd}: energy {energy_usd:usd} and reserve "
        "{reserve_usd:usd} and stored energy {leftover_usd:usd}, less charging {charging_usd:usd}, imbalance "
        "{imbalance_usd:usd}, and payments {payments_usd:usd}; {expected_net_usd:usd} was expected. {limits_broken} "
        "limit violations, {absent} unavailable prosumers.",
        figures={
            name: pl.col(name).first()
            for name in (
                *("bids", "awarded_bids", "absent", "limits_broken", "awarded_mwh", "exported_mwh"),
                *("reserve_awarded_mw_h", "reserve_held_mw_h", "expected_profit_usd", "energy_usd", "reserve_usd"),
                *("charging_usd", "imbalance_usd", "leftover_usd", "payments_usd", "net_usd", "expected_net_usd"),
            )
        },
        line=Line("net by day", total("net_usd"), "$", by="market_date"),
        columns={"day": "market_date", "awards": "awarded_bids", "MWh": "awarded_mwh", "net": "net_usd"},
        is_daily=True,
    ),
    "evaluation.benchmark": Page(
        text="Net {ours_net_usd:usd} and owner surplus {ours_surplus_usd:usd} as storage resources; net "
        "{best_net_usd:usd} with perfect foresight. {arms} arms in all.",
        figures={
            "arms": pl.len(),
            "ours_net_usd": _of(OURS, "net_usd"),
            "ours_surplus_usd": _of(OURS, "surplus_usd"),
            "ours_satisfaction_score": _of(OURS, "satisfaction"),
            "ours_violations": _of(OURS, "violations"),
            "best_net_usd": _of(BEST, "net_usd"),
            "seconds": total("seconds"),
        },
        line=Line("net by arm, highest first", mean("net_usd"), "$", by="arm", is_ranked=True),
        columns={"arm": "arm", "net": "net_usd", "surplus": "surplus_usd", "satisfaction": "satisfaction"},
        first="net_usd",
    ),
}


def day_at_a_glance(day: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Profit, MW·h, satisfaction, gap and violations of a whole day."""
    final, checks, proof = day["bids.final_bids"], day["bids.checks"], day["dispatch.proof"]
    trading = final.filter(pl.col("status") == "bid")
    if "expected_mw" not in trading.columns:  # of a day that was published before there was such a column
        trading = trading.with_columns(expected_mw="total_capacity_mw")
    found = {
        "bids": trading.height,
        "bid_mw_h": round(float(trading.select(CLEARED_MW_H).item()), 2),
        "expected_profit_usd": round(float(trading["expected_profit_usd"].sum()), 2),
        "mean_satisfaction_score": trading["satisfaction_score"].mean(),
        "gap_fraction": proof["gap_fraction"][0],
        "violations": int(checks["violations"].filter(~checks["passed"] & ~checks["is_warning"]).sum()),
    }
    return {name: value for name, value in found.items() if value is not None}
