"""Pages of the bids and of what they were held against."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.pages.page import Line, Page, kinds, total, where

TRADES = pl.col("status") == "bid"
BROKEN = ~pl.col("passed") & ~pl.col("is_warning")

PAGES = {
    "bids.final_bids": Page(
        says="{bids} bids of {bid_mw:.2f} MW expect {expected_profit_usd:,.2f} $ of profit: "
        "{expected_revenue_usd:,.2f} $ less {payments_usd:,.2f} $ to prosumers and charging; a bid "
        "satisfies by {mean_satisfaction_score:.2f} of 10.",
        figures={
            "opportunities": pl.len(),
            "bids": where(TRADES),
            "bid_mw": total("total_capacity_mw").round(2),
            "expected_revenue_usd": total("expected_revenue_usd").round(2),
            "payments_usd": total("payments_usd").round(2),
            "expected_profit_usd": total("expected_profit_usd").round(2),
            "mean_satisfaction_score": pl.col("satisfaction_score").filter(TRADES).mean(),
            "mean_reliability_score": pl.col("reliability_score").filter(TRADES).mean(),
            "smallest_coalition": pl.col("coalition_size").filter(TRADES).min(),
        },
        line=Line("MW bid by hour, all products", total("total_capacity_mw"), by="start_utc"),
        columns={
            "opportunity": "opportunity_id",
            "MW": "total_capacity_mw",
            "bid": "bid_price_usd_per_mwh",
            "profit $": "expected_profit_usd",
        },
        first="expected_profit_usd",
    ),
    "bids.bid_segments": Page(
        says="{bids} price curves of {segments} segments, {offered_mw:.2f} MW; asks from {lowest_price:.2f} "
        "to {highest_price:.2f} ($/MWh, reserve: $/MW per hour).",
        nothing="0 curves: nothing is bid.",
        figures={
            "bids": kinds("bid_id"),
            "segments": pl.len(),
            "offered_mw": (pl.col("to_mw") - pl.col("from_mw")).sum(),
            "lowest_price": pl.col("price_usd_per_mwh").min(),
            "highest_price": pl.col("price_usd_per_mwh").max(),
        },
        line=Line("asks of all segments, highest first", pl.col("price_usd_per_mwh")),
        columns={"bid": "bid_id", "segment": "segment", "to MW": "to_mw", "price": "price_usd_per_mwh"},
        first="price_usd_per_mwh",
    ),
    "bids.checks": Page(
        says="The day was held against {rules} rules: {violations} violations, {warnings} warnings.",
        figures={
            "rules": pl.len(),
            "violations": pl.col("violations").filter(BROKEN).sum(),
            "warnings": where(~pl.col("passed") & pl.col("is_warning")),
        },
        line=Line("rows against each rule, most first", pl.col("violations")),
        columns={"rule": "check_name", "holds": "passed", "rows": "violations"},
        first="violations",
    ),
}
