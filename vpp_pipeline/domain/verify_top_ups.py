"""Top-ups beyond agreed prices, held against what each prosumer's schedule is worth at the day's internal prices."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict, judge
from vpp_pipeline.settings import Settings

CENT = 0.01
SHARE_TOLERANCE_USD = 1e-3


def top_ups_are_a_fair_part_of_the_profit(day: Day, settings: Settings) -> Verdict:
    """Only where `payments.rule` is owen: everybody gets the same part of its share, all together at most the profit
    less the margin; each share is at least what the prosumer's schedule earns at the day's internal prices."""
    shares, books = day["dispatch.owen_shares"], day["dispatch.reconciliation"].row(0, named=True)
    profit_usd = books["sum_bid_profit_usd"] + books["unallocated_usd"]
    paid_usd = float(shares["top_up_usd"].sum())
    owed_usd = float(shares["owen_share_usd"].clip(lower_bound=0.0).sum())
    statements = {
        "books hold the sum of top-ups": abs(paid_usd - books["top_ups_usd"]) < CENT / 2 + 1e-6,
        "kept profit = bid profits + unallocated - top-ups": abs(
            profit_usd - books["top_ups_usd"] - books["kept_profit_usd"]
        )
        < 1e-6,
        "the margin is kept": paid_usd
        <= (1.0 - settings.negotiation.minimum_margin_fraction) * max(profit_usd, 0.0) + 2 * CENT,
    }
    broken = [
        pl.DataFrame({"prosumer_id": ["all"], "fault": [name]}) for name, holds in statements.items() if not holds
    ]
    broken += _rows_of_another_rule(day, settings) if settings.payments.rule == "agreed" else _unfair(day, owed_usd)
    held = (
        f"{paid_usd:.2f} $ of top-ups for {shares.height} prosumers, of shares of {owed_usd:.2f} $; "
        f"{books['kept_profit_usd']:.2f} $ of profit are kept"
    )
    return judge(pl.concat(broken) if broken else shares.clear(), "top-ups out of place", held, paid_usd)


def _rows_of_another_rule(day: Day, settings: Settings) -> list[pl.DataFrame]:
    rows = day["dispatch.owen_shares"]
    return [rows.select("prosumer_id", fault=pl.lit(f"a share, though payments.rule is {settings.payments.rule}"))]


def _unfair(day: Day, owed_usd: float) -> list[pl.DataFrame]:
    """Prosumers that are forgotten, or topped up by another part of their share, or whose share is too small."""
    shares = day["dispatch.owen_shares"]
    part = float(shares["top_up_usd"].sum()) / max(owed_usd, 1e-9)
    due = part * pl.col("owen_share_usd").clip(lower_bound=0.0)
    rows = day["fleet.prosumers"].select("prosumer_id").join(shares, on="prosumer_id", how="full", coalesce=True)
    rows = rows.join(_earned(day), on="prosumer_id", how="left")
    faults = {
        "not told": pl.col("owen_share_usd").is_null() | pl.col("earned_usd").is_null(),
        "topped up by another part of its share": (pl.col("top_up_usd") - due).abs() > 1e-6,
        "share below what its schedule earns": pl.col("owen_share_usd") < pl.col("earned_usd") - SHARE_TOLERANCE_USD,
        "sources do not add up to what its schedule earns": (
            pl.sum_horizontal("from_energy_usd", "from_reserve_usd", "from_charging_usd") - pl.col("earned_usd")
        ).abs()
        > SHARE_TOLERANCE_USD,
    }
    return [rows.filter(fault).select("prosumer_id", fault=pl.lit(name)) for name, fault in faults.items()]


def _earned(day: Day) -> pl.DataFrame:
    """What each prosumer's schedule earns at internal prices beyond its payments and its charging with no sales."""
    prices = day["dispatch.internal_prices"].drop("market_date").with_columns(pl.col("sell_usd_per_mwh").fill_null(0.0))
    worth = (
        (pl.col("discharge_kw") + pl.col("solar_sold_kw")) * pl.col("sell_usd_per_mwh")
        + pl.col("spin_kw") * pl.col("spin_usd_per_mw_h")
        + pl.col("nonspin_kw") * pl.col("nonspin_usd_per_mw_h")
        - pl.col("grid_charge_kw") * pl.col("buy_usd_per_mwh")
    ) / 1000.0
    sold = day["dispatch.schedule"].join(prices, on="start_utc").group_by("prosumer_id").agg(worth_usd=worth.sum())
    paid = day["dispatch.payments"].group_by("prosumer_id").agg(pl.col("payment_usd").sum())
    return (
        sold.join(paid, on="prosumer_id", how="left")
        .join(day["dispatch.charging"], on="prosumer_id")
        .select(
            "prosumer_id",
            earned_usd=pl.col("worth_usd") - pl.col("payment_usd").fill_null(0.0) + pl.col("no_sale_charging_usd"),
        )
    )
