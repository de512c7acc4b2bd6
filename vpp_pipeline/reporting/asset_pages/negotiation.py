"""Pages of the fleet, of its owners' notes, and of the negotiation."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, total, where

IN = pl.col("holds_option")
FAILED = pl.col("outcome") != "ok"
MW = pl.col("max_discharge_kw").sum() / 1000.0

FLEET_PAGES = {
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


def _said(*kind: str) -> pl.Expr:
    return pl.col("kind").is_in(kind)


PAGES = {
    "negotiation.rounds": Page(
        says="{prosumers} prosumers, {rounds} rounds, {words} messages: {accepted} deals closed for "
        "{accepted_mw:.3f} MW; asks of {mean_ask_usd_per_mwh:.2f} met offers of "
        "{mean_offer_usd_per_mwh:.2f} on average ($/MWh, reserve: $/MW per hour).",
        nothing="0 messages: nobody was asked.",
        figures={
            "words": pl.len(),
            "prosumers": kinds("prosumer_id"),
            "rounds": pl.col("round").max(),
            "accepted": where(_said("accept")),
            "accepted_mw": pl.col("capacity_kw").filter(_said("accept")).sum() / 1000.0,
            "withdrawn": where(_said("withdraw", "reject")),
            "mean_ask_usd_per_mwh": pl.col("price_usd_per_mwh").filter(_said("ask")).mean(),
            "mean_offer_usd_per_mwh": pl.col("price_usd_per_mwh").filter(_said("offer")).mean(),
        },
        line=Line("prices asked, offered and closed at, highest first", pl.col("price_usd_per_mwh")),
        columns={
            "prosumer": "prosumer_id",
            "round": "round",
            "says": "kind",
            "kW": "capacity_kw",
            "price": "price_usd_per_mwh",
        },
    ),
    "negotiation.summary": Page(
        says="{feasible} of {opportunities} opportunities can be met: {committed_mw:.2f} MW under option for "
        "{required_mw:.2f} MW wanted, in {seconds:.1f} s.",
        figures={
            "opportunities": pl.len(),
            "feasible": where(pl.col("status") != "no_bid"),
            "committed_mw": total("committed_capacity_mw"),
            "required_mw": total("required_capacity_mw"),
            "mean_members": mean("members"),
            "most_rounds": pl.col("rounds").max(),
            "seconds": total("seconds"),
        },
        line=Line("MW under option, largest opportunity first", pl.col("committed_capacity_mw")),
        columns={
            "opportunity": "opportunity_id",
            "members": "members",
            "MW": "committed_capacity_mw",
            "of R": "required_capacity_mw",
        },
        first="committed_capacity_mw",
    ),
    "negotiation.agreements": Page(
        says="{deals} deals with {prosumers} prosumers for {committed_mw:.2f} MW; expected satisfaction "
        "{mean_satisfaction_score:.2f} of 10, paid {mean_above_least_usd_per_mwh:.2f} $ per MWh above "
        "the least price.",
        nothing="0 deals: nobody was asked.",
        figures={
            "deals": where(IN),
            "out": where(~IN),
            "prosumers": pl.col("prosumer_id").filter(IN).n_unique(),
            "committed_mw": total("committed_capacity_kw") / 1000.0,
            "mean_satisfaction_score": pl.col("expected_satisfaction_score").filter(IN).mean(),
            "mean_above_least_usd_per_mwh": (
                pl.col("agreed_price_usd_per_mwh") - pl.col("reservation_price_usd_per_mwh")
            ).mean(),
        },
        line=Line(
            "expected satisfaction of those in, 0-10, best first", pl.col("expected_satisfaction_score").filter(IN)
        ),
        columns={
            "opportunity": "opportunity_id",
            "prosumer": "prosumer_id",
            "kW": "committed_capacity_kw",
            "price": "agreed_price_usd_per_mwh",
        },
        first="committed_capacity_kw",
    ),
    "negotiation.llm_calls": Page(
        says="{questions} questions to a language model, {failed} of them without a usable answer, for "
        "{cost_usd:.4f} $ and {seconds:.1f} s.",
        nothing="0 questions: no language model was asked; the rules decide.",
        figures={
            "questions": pl.len(),
            "failed": where(FAILED),
            "tokens": total("input_tokens") + total("output_tokens"),
            "cost_usd": total("cost_usd"),
            "seconds": total("seconds"),
        },
        line=Line("seconds of an answer, in the order of the questions", total("seconds"), by="at_utc"),
        columns={"asked": "at_utc", "purpose": "purpose", "outcome": "outcome", "s": "seconds", "$": "cost_usd"},
    ),
}
