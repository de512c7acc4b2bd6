"""Checks of what goes in: prices and prosumers."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict, judge
from vpp_pipeline.domain.verify_envelope import broken_wishes
from vpp_pipeline.fleet.device_rules import device_faults
from vpp_pipeline.settings import Settings


def prices_are_complete_and_ordered(day: Day, settings: Settings, table: str = "market.price_forecast") -> Verdict:
    """Every hour of the market day once, in order of time; warns where spin is cheaper than nonspin."""
    prices = day[table]
    expected = market_hours(prices["market_date"][0])
    if prices["start_utc"].to_list() != expected["start_utc"].to_list():
        wanted, found = set(expected["start_utc"].to_list()), set(prices["start_utc"].to_list())
        missing, alien = len(wanted - found), len(found - wanted)
        return Verdict(
            max(1, missing + alien),
            f"{prices.height} rows for {expected.height} hours: {missing} missing, {alien} alien",
            prices.height,
        )
    inverted = prices.filter(pl.col("spin_usd_per_mw_h") < pl.col("nonspin_usd_per_mw_h") - 1e-9)
    if inverted.height:
        columns = inverted.select("start_utc", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")
        return judge(columns, "hours with spin below nonspin", "", prices.height, is_warning=True)
    return Verdict(0, f"{prices.height} hours, each once and in order; spin is never below nonspin", prices.height)


def every_prosumer_is_physical(day: Day, settings: Settings) -> Verdict:
    """Sizes, efficiencies and limits that a device can have, and an envelope that honours every wish of its owner."""
    fleet = day["fleet.prosumers"]
    unphysical = pl.concat(
        [fleet.filter(broken).select("prosumer_id", fault=pl.lit(fault)) for fault, broken in device_faults().items()]
    )
    hours = day["market.price_forecast"].height
    short = (
        fleet.select("prosumer_id")
        .join(day["fleet.availability"].group_by("prosumer_id").len(), on="prosumer_id", how="left")
        .with_columns(pl.col("len").fill_null(0))
        .filter(pl.col("len") != hours)
        .select("prosumer_id", fault=pl.format("{} hours", "len"))
    )
    power_mw = float(fleet["max_discharge_kw"].sum()) / 1000.0
    energy_mwh = float(fleet["capacity_kwh"].sum()) / 1000.0
    held = f"{fleet.height} prosumers, {energy_mwh:.1f} MWh, {power_mw:.1f} MW: all physical"
    return judge(pl.concat([unphysical, broken_wishes(day), short]), "faults in the fleet", held, power_mw)
