"""The page of the published file: the day at a glance, and how many rows each table got."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from vpp_pipeline.pages.page import Line, Page, total, where

PAGE = Page(
    says="{rows:,} rows in {tables} tables were put in: {bids} bids of {bid_mw:.2f} MW, expected profit "
    "{expected_profit_usd:,.2f} $, gap {gap_fraction:.3%}, {violations} violations. The file has "
    "{file_mb:.1f} MB.",
    figures={"rows": total("rows"), "tables": where(pl.col("rows") > 0)},
    line=Line("rows of the day by table, most first", pl.col("rows")),
    columns={"table": "table", "rows": "rows", "says": "words"},
    first="rows",
)


def day_at_a_glance(day: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Profit, MW, satisfaction, gap and violations of a whole day."""
    final, checks, proof = day["bids.final_bids"], day["bids.checks"], day["dispatch.proof"]
    trading = final.filter(pl.col("status") == "bid")
    found = {
        "bids": trading.height,
        "bid_mw": round(float(trading["total_capacity_mw"].sum()), 2),
        "expected_profit_usd": round(float(trading["expected_profit_usd"].sum()), 2),
        "mean_satisfaction_score": trading["satisfaction_score"].mean(),
        "gap_fraction": proof["gap_fraction"][0],
        "violations": int(checks["violations"].filter(~checks["passed"] & ~checks["is_warning"]).sum()),
    }
    return {name: value for name, value in found.items() if value is not None}
