"""Pages of storage resources: their classes and members, limits, planned and cleared awards."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, pacific_hour, total, where

NONE = "0 storage resources: no resource takes part as storage (docs/fleet.md)."
RESERVE_MW = pl.sum_horizontal(f"{reserve.name}_mw" for reserve in CAISO.reserves)
NET_MW = pl.col("discharge_mw") - pl.col("charge_mw")


def _awards(what: str) -> Page:
    return Page(
        text="{resources} storage resources "
        + what
        + " charge {charge_mwh:.2f} MWh, discharge {discharge_mwh:.2f} MWh, "
        "and hold {held_mw_h:.2f} MW·h of reserve; most discharge {highest_mw:.2f} MW at {most_at_pacific} PT.",
        empty=NONE,
        figures={
            "resources": kinds("resource_id"),
            "charge_mwh": total("charge_mw"),
            "discharge_mwh": total("discharge_mw"),
            "held_mw_h": RESERVE_MW.sum(),
            "highest_mw": pl.col("discharge_mw").sum().over("start_utc").max(),
            "most_at_pacific": pacific_hour(pl.col("discharge_mw").sum().over("start_utc")),
        },
        line=Line("state of charge by hour, all resources", total("stored_mwh"), "MWh", by="start_utc"),
        columns={
            "resource": "resource_id",
            "hour": "start_utc",
            "charge MW": "charge_mw",
            "discharge MW": "discharge_mw",
            "MWh": "stored_mwh",
        },
        first="discharge_mw",
    )


PAGES = {
    "fleet.storage_classes": Page(
        text="{resources} storage resources of {pools} pools, made for {made_for}; the largest may discharge "
        "{discharge_mwh:.2f} MWh in an hour.",
        empty=NONE,
        figures={
            "resources": kinds("resource_id"),
            "pools": kinds("pool_id"),
            "made_for": pl.col("made_for_date").max().cast(pl.String),
            "discharge_mwh": pl.col("limit_kwh").filter(pl.col("entry") == "discharge").max() / 1000.0,
        },
        line=Line("limit of discharge by hour", total("limit_kwh") / 1000.0, "MWh", by="hour_number"),
        columns={"resource": "resource_id", "entry": "entry", "hour": "hour_number", "kWh": "limit_kwh"},
        first="limit_kwh",
    ),
    "fleet.storage_members": Page(
        text="{members} owners in {resources} storage resources; {sharing} of them share in the stored energy.",
        empty=NONE,
        figures={
            "members": pl.len(),
            "resources": kinds("resource_id"),
            "sharing": where(pl.col("share_fraction") > 0.0),
        },
        line=Line("owners by resource", pl.len(), "owners", by="resource_id"),
        columns={"prosumer": "prosumer_id", "resource": "resource_id", "share": "share_fraction"},
        first="share_fraction",
    ),
    "fleet.baseline": Page(
        text="{prosumers} owners charge {charged_mwh:.2f} MWh and have {sold_mwh:.2f} MWh of sun to sell whatever the "
        "market awards.",
        empty=NONE,
        figures={
            "prosumers": kinds("prosumer_id"),
            "charged_mwh": (pl.col("grid_charge_kw") + pl.col("solar_charge_kw")).sum() / 1000.0,
            "sold_mwh": total("solar_sold_kw") / 1000.0,
        },
        line=Line("charging by hour", total("grid_charge_kw") / 1000.0, "MW", by="start_utc"),
        columns={
            "prosumer": "prosumer_id",
            "hour": "start_utc",
            "charge kW": "grid_charge_kw",
            "sun kW": "solar_sold_kw",
            "kWh": "stored_kwh",
        },
        first="grid_charge_kw",
    ),
    "dispatch.storage_resources": Page(
        text="{resources} storage resources with {bound} of {members} owners bound by deals; they may discharge "
        "{daily_mwh:.2f} MWh in the day.",
        empty=NONE,
        figures={
            "resources": pl.len(),
            "members": total("members"),
            "bound": total("bound_members"),
            "daily_mwh": total("daily_discharge_mwh"),
            "mean_charge_efficiency": mean("charge_efficiency"),
        },
        line=Line("daily discharge by resource, highest first", pl.col("daily_discharge_mwh"), "MWh"),
        columns={
            "resource": "resource_id",
            "owners": "members",
            "initial MWh": "initial_stored_mwh",
            "daily MWh": "daily_discharge_mwh",
        },
        first="daily_discharge_mwh",
    ),
    "dispatch.storage_shares": Page(
        text="{bound} of {members} owners are bound by deals for their part of a storage resource.",
        empty=NONE,
        figures={"members": pl.len(), "bound": where(pl.col("is_bound"))},
        line=Line("owners by resource", pl.len(), "owners", by="resource_id"),
        columns={"prosumer": "prosumer_id", "resource": "resource_id", "share": "share_fraction"},
        first="share_fraction",
    ),
    "dispatch.storage_limits": Page(
        text="{resources} storage resources offer to discharge up to {discharge_mw:.2f} MW and to charge up to "
        "{charge_mw:.2f} MW in an hour; {sun_mwh:.2f} MWh of sun are self-scheduled.",
        empty=NONE,
        figures={
            "resources": kinds("resource_id"),
            "discharge_mw": pl.col("max_discharge_mw").sum().over("start_utc").max(),
            "charge_mw": pl.col("max_charge_mw").sum().over("start_utc").max(),
            "sun_mwh": total("self_schedule_mw"),
        },
        line=Line("discharge offered by hour", total("max_discharge_mw"), "MW", by="start_utc"),
        columns={
            "resource": "resource_id",
            "hour": "start_utc",
            "charge MW": "max_charge_mw",
            "discharge MW": "max_discharge_mw",
            "price": "discharge_price_usd_per_mwh",
        },
        first="max_discharge_mw",
    ),
    "dispatch.storage_plan": _awards("are expected to"),
    "evaluation.storage_awards": _awards("were awarded to"),
}
