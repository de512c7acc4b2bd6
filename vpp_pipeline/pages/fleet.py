"""Pages of the fleet, its owners' notes and what it can do."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.pages.page import Line, Page, kinds, mean, total, where

MW = pl.col("max_discharge_kw").sum() / 1000.0

PAGES = {
    "fleet.prosumers": Page(
        says="{prosumers} prosumers at {sites} sites: {batteries} batteries, {evs} EVs, {solar} with solar; "
        "{store_mw:.2f} MW and {store_mwh:.2f} MWh of stores.",
        figures={
            "prosumers": pl.len(),
            "sites": kinds("site_id"),
            "batteries": where(pl.col("store") == "battery"),
            "evs": where(pl.col("store") == "ev"),
            "solar": where(pl.col("has_solar")),
            "store_mw": MW,
            "store_mwh": total("capacity_kwh") / 1000.0,
            "mean_willingness_fraction": mean("participation_willingness_fraction"),
        },
        line=Line("capacity of the stores, largest first, kWh", pl.col("capacity_kwh")),
        columns={
            "prosumer": "prosumer_id",
            "kind": "archetype",
            "store": "store",
            "kWh": "capacity_kwh",
            "kW": "max_discharge_kw",
        },
        first="capacity_kwh",
    ),
    "fleet.notes": Page(
        says="{prosumers} owners left notes of {parts} parts: {applied} tighten a limit, {not_understood} "
        "were not understood and limit nothing.",
        nothing="0 notes: no owner left words.",
        figures={
            "prosumers": kinds("prosumer_id"),
            "parts": pl.len(),
            "applied": where(pl.col("status") == "applied"),
            "not_understood": where(pl.col("status") == "not understood"),
        },
        line=Line(
            "parts of notes by what they tighten, most frequent first", pl.len(), by="preference", is_ranked=True
        ),
        columns={"prosumer": "prosumer_id", "quote": "quote", "tightens": "preference", "status": "status"},
    ),
    "fleet.quarantine": Page(
        says="{rows} faults set {prosumers} prosumers aside for today; the others bid.",
        nothing="0 rows set aside: everyone can take part.",
        figures={"rows": pl.len(), "prosumers": kinds("prosumer_id")},
        line=Line("faults by column, most frequent first", pl.len(), by="column_name", is_ranked=True),
        columns={"row": "file_row", "column": "column_name", "value": "value", "problem": "problem"},
    ),
    "fleet.availability": Page(
        says="At most {highest_mw:.2f} MW can be discharged in an hour, {mean_mw:.2f} MW on average; "
        "{limited} of {hours} prosumer-hours may not discharge by a wish or because the EV is away.",
        figures={
            "hours": pl.len(),
            "limited": pl.col("limited_by").is_not_null().sum(),
            "highest_mw": pl.col("max_discharge_kw").sum().over("start_utc").max() / 1000.0,
            "mean_mw": MW / pl.col("start_utc").n_unique(),
            "solar_mwh": total("solar_kw") / 1000.0,
            "load_mwh": total("load_kw") / 1000.0,
        },
        line=Line("MW that can be discharged, by hour", MW, by="start_utc"),
        columns={
            "prosumer": "prosumer_id",
            "hour": "start_utc",
            "discharge kW": "max_discharge_kw",
            "kWh": "max_stored_kwh",
        },
        first="max_discharge_kw",
    ),
}
