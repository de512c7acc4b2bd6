"""Pages of what meters told, and of what they could not be used for."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.pages.page import Line, Page, kinds, mean, total

PAGES = {
    "market.metered_hours": Page(
        says="{hours} hours of {quantities} quantities, from {first_date} to {last_date}, of up to {meters} meters; "
        "source {source}.",
        nothing="0 metered hours: no source of meters is named (docs/meters.md).",
        figures={
            "hours": pl.len(),
            "quantities": kinds("quantity"),
            "first_date": pl.col("metered_date").min().cast(pl.String),
            "last_date": pl.col("metered_date").max().cast(pl.String),
            "meters": pl.col("meters").max(),
            "source": pl.col("source").first(),
        },
        line=Line("meters behind each day's hours", pl.col("meters").max(), by="metered_date"),
        columns={"what": "quantity", "site": "site_type", "hour": "start_utc", "per unit": "metered_per_unit"},
        first="start_utc",
    ),
    "market.meter_quarantine": Page(
        says="{reasons} reasons to set aside {meter_days} days of {meters} meters.",
        nothing="0 meters set aside.",
        figures={"reasons": pl.len(), "meters": kinds("meter_id"), "meter_days": total("days")},
        line=Line("days set aside for each reason, most first", pl.col("days")),
        columns={"meter": "meter_id", "column": "column_name", "days": "days", "row": "file_row"},
        first="days",
    ),
    "market.charging_forecast": Page(
        says="EVs are expected to charge {mean_per_mean:.2f} times their mean day's energy; {method}.",
        figures={
            "mean_per_mean": mean("charging_per_mean"),
            "highest_per_mean": pl.col("charging_per_mean").max(),
            "method": pl.col("method").first(),
        },
        line=Line("charging by hour, multiple of the mean hour", mean("charging_per_mean"), by="start_utc"),
        columns={"HE": "hour_ending", "start": "start_utc", "of mean": "charging_per_mean"},
        first="charging_per_mean",
    ),
}
