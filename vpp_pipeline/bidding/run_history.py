"""What is kept of every run that publishes: one row on the run, and its bids in short."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.tables import Day
from vpp_pipeline.schemas import RunBids, Runs, validate
from vpp_pipeline.settings import Settings

REQUESTS = "requests"  # the part of the opportunities that requests asked for
#: column of `bids.runs` -> the inputs whose hashes it joins
VERSIONS = {
    "prices_version": ("market.price_forecast", "market.price_scenarios"),
    "fleet_version": ("fleet.prosumers", "fleet.availability", "dispatch.starts"),
    "requests_version": (REQUESTS,),
    "deals_version": ("negotiation.agreements",),
}


@dataclass(frozen=True)
class Launch:
    """When a run began and published, and what started it; what is not known any more is None."""

    published_utc: datetime
    begun_utc: datetime | None = None
    started_by: str | None = None


def requests_among(opportunities: pl.DataFrame) -> pl.DataFrame:
    """The opportunities that somebody asked for."""
    return opportunities.filter(pl.col("origin") == "request")


def changed_settings(settings: Settings) -> dict[str, Any]:
    """Settings that differ from the defaults, by ``group.name``."""
    return {
        f"{group}.{name}": value
        for group, values in settings.model_dump(mode="json", exclude_defaults=True).items()
        for name, value in values.items()
    }


def run_tables(day: Day, settings: Settings, hashes: Mapping[str, str], launch: Launch) -> dict[str, pl.DataFrame]:
    """`bids.runs` and `bids.run_bids` of the run that made the day's bids.

    ``hashes``: those of the inputs that the bids were made from, by table; without them versions are empty.
    """
    return {"bids.runs": _run(day, settings, hashes, launch), "bids.run_bids": _bids(day)}


def _run(day: Day, settings: Settings, hashes: Mapping[str, str], launch: Launch) -> pl.DataFrame:
    final, proof, checks = day["bids.final_bids"], day["dispatch.proof"].row(0, named=True), day["bids.checks"]
    prices, stamp = day["market.price_forecast"].row(0, named=True), final.row(0, named=True)
    begun, broken = launch.begun_utc, checks.filter(~pl.col("passed"))
    row = {
        **{name: stamp[name] for name in ("market_date", "run_id", "code_version", "fingerprint")},
        "published_utc": launch.published_utc,
        "started_by": launch.started_by,
        "seconds": (launch.published_utc - begun).total_seconds() if begun else None,
        "engine": ", ".join(day["negotiation.summary"]["engine"].unique().sort()),
        "settings": json.dumps(changed_settings(settings), sort_keys=True),
        "price_source": prices["source"],
        "node": prices["node"],
        **{name: _version(hashes, tables) for name, tables in VERSIONS.items()},
        "prosumers": proof["prosumers"],
        "bids": final.filter(pl.col("status") == "bid").height,
        **{name: _sold(final, product) for product, name in SOLD.items()},
        **{name: float(final[name].sum()) for name in ("expected_revenue_usd", "payments_usd", "expected_profit_usd")},
        **{name: proof[name] for name in ("objective_usd", "bound_usd", "gap_fraction")},
        "violations": int(broken.filter(~pl.col("is_warning"))["violations"].sum()),
        "warnings": broken.filter("is_warning").height,
    }
    return validate(Runs, pl.DataFrame([row], schema_overrides={"seconds": pl.Float64}))


SOLD = {product.name: product.total_column for product in CAISO.products}


def _sold(final: pl.DataFrame, product: str) -> float:
    """MW times hours of the product's bids; those of storage resources count as they clear, charging as none."""
    hours = pl.coalesce("expected_mw", "total_capacity_mw").clip(0.0) * pl.col("duration_hours")
    return float(final.filter(pl.col("product") == product).select(hours.sum()).item())


def _version(hashes: Mapping[str, str], tables: tuple[str, ...]) -> str | None:
    """One short hash of several tables'; None where one of them is not known."""
    if not hashes.keys() >= set(tables):
        return None
    return hashlib.sha256("\n".join(hashes[table] for table in tables).encode()).hexdigest()[:12]


def _bids(day: Day) -> pl.DataFrame:
    curves: dict[str, list[str]] = {}
    for segment in day["bids.bid_segments"].sort("bid_id", "segment").iter_rows(named=True):
        words, price = curves.setdefault(segment["bid_id"], []), segment["price_usd_per_mwh"]
        begins = "" if words or not segment["from_mw"] else f"{_mw(segment['from_mw'])} to "
        words.append(f"{begins}{_mw(segment['to_mw'])} MW from {usd(price)}")
    final = day["bids.final_bids"]
    curve = pl.Series("curve", [", ".join(curves.get(bid, [])) or None for bid in final["bid_id"]], dtype=pl.String)
    return validate(RunBids, final.with_columns(curve))


def _mw(value: float) -> str:
    """Steps of 0.01 MW; those of storage resources are kW."""
    return f"{value:.3f}".removesuffix("0")
