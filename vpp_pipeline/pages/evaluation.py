"""Pages of what the bids earned, and of what other ways to run the day would have."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.pages.page import Line, Page, mean, total, where

EXPORTED = pl.col("discharge_kw") + pl.col("solar_sold_kw")
OURS, BEST = pl.col("arm") == "concession", pl.col("arm") == "perfect_foresight"


def _of(arm: pl.Expr, column: str) -> pl.Expr:
    return pl.col(column).filter(arm).first()


PAGES = {
    "evaluation.dispatched": Page(
        says="{prosumers} prosumers delivered {exported_kwh:,.1f} kWh and charged {charged_kwh:,.1f} kWh; stores hold "
        "{stored_kwh:,.1f} kWh at the end.",
        figures={
            "prosumers": pl.col("prosumer_id")
            .filter(pl.col("discharge_kw") + pl.col("solar_sold_kw") > 0.0)
            .n_unique(),
            "exported_kwh": EXPORTED.sum(),
            "charged_kwh": total("charge_kw"),
            "reserve_held_kw_h": total("spin_kw") + total("nonspin_kw"),
            "stored_kwh": pl.col("stored_kwh").filter(pl.col("start_utc") == pl.col("start_utc").max()).sum(),
        },
        line=Line("stored energy of the fleet by hour, kWh", total("stored_kwh"), by="start_utc"),
        columns={"prosumer": "prosumer_id", "hour": "start_utc", "kW out": "discharge_kw", "kW in": "charge_kw"},
        first="discharge_kw",
    ),
    "evaluation.settlement": Page(
        says="{awards} of {bids} bids were awarded, {awarded_mw:.2f} MW, of which {delivered_mw:.2f} MW came; "
        "they earned {profit_usd:,.2f} $ after {payments_usd:,.2f} $ to prosumers.",
        nothing="0 bids to settle.",
        figures={
            "bids": pl.len(),
            "awards": where(pl.col("awarded_mw") > 0.0),
            **{
                name: total(name)
                for name in (
                    *("awarded_mw", "delivered_mw", "shortfall_mw", "revenue_usd", "imbalance_usd"),
                    *("payments_usd", "wear_usd", "profit_usd"),
                )
            },
            "mean_clearing_price": mean("clearing_price"),
        },
        line=Line("profit of each bid, highest first, $", pl.col("profit_usd")),
        columns={
            "opportunity": "opportunity_id",
            "MW": "awarded_mw",
            "came MW": "delivered_mw",
            "profit $": "profit_usd",
        },
        first="profit_usd",
    ),
    "evaluation.settled_days": Page(
        says="{awarded_bids} of {bids} bids won; energy {energy_usd:,.2f} $ and reserve {reserve_usd:,.2f} $, less "
        "{charging_usd:,.2f} $ of charging, {imbalance_usd:,.2f} $ of imbalance and {payments_usd:,.2f} $ to "
        "prosumers, left {net_usd:,.2f} $. {limits_broken} limits broken, {absent} prosumers away.",
        figures={
            name: pl.col(name).first()
            for name in (
                *("bids", "awarded_bids", "absent", "limits_broken", "awarded_mwh", "exported_mwh"),
                *("reserve_awarded_mw_h", "reserve_held_mw_h", "expected_profit_usd", "energy_usd", "reserve_usd"),
                *("charging_usd", "imbalance_usd", "leftover_usd", "payments_usd", "net_usd"),
            )
        },
        line=Line("what a day left, $", total("net_usd"), by="market_date"),
        columns={"day": "market_date", "won": "awarded_bids", "MWh": "awarded_mwh", "net $": "net_usd"},
        days=True,
    ),
    "evaluation.benchmark": Page(
        says="Ours nets {ours_net_usd:,.2f} $ and leaves owners {ours_surplus_usd:,.2f} $ above their least prices; "
        "perfect foresight nets {best_net_usd:,.2f} $. {arms} ways to run the day.",
        figures={
            "arms": pl.len(),
            "ours_net_usd": _of(OURS, "net_usd"),
            "ours_surplus_usd": _of(OURS, "surplus_usd"),
            "ours_satisfaction_score": _of(OURS, "satisfaction"),
            "ours_violations": _of(OURS, "violations"),
            "best_net_usd": _of(BEST, "net_usd"),
            "seconds": total("seconds"),
        },
        line=Line("net of each way, highest first, $", mean("net_usd"), by="arm", is_ranked=True),
        columns={"arm": "arm", "net $": "net_usd", "owners $": "surplus_usd", "content": "satisfaction"},
        first="net_usd",
    ),
}
