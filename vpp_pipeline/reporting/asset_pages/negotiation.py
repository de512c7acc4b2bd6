"""Pages of the fleet, of its owners' notes, and of the negotiation."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.reporting.asset_pages.layout import Line, Page, kinds, mean, total, where

IN = pl.col("holds_option")
FAILED = pl.col("outcome") != "ok"
MW = pl.col("max_discharge_kw").sum() / 1000.0

FLEET_PAGES = {
    "fleet.prosumers": Page(
        text="{prosumers} prosumers at {sites} sites: {batteries} batteries, {evs} EVs, {solar} with solar; "
        "{store_mw:.2f} MW and {store_mwh:.2f} MWh of storage.",
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
        line=Line("storage capacity, highest first", pl.col("capacity_kwh"), "kWh"),
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
        text="{parts} parts in the notes of {prosumers} owners: {applied} tighten a limit, {not_understood} are not "
        "understood and have no effect.",
        empty="0 notes of owners.",
        figures={
            "prosumers": kinds("prosumer_id"),
            "parts": pl.len(),
            "applied": where(pl.col("status") == "applied"),
            "not_understood": where(pl.col("status") == "not understood"),
        },
        line=Line("parts of notes by preference, highest first", pl.len(), "parts", by="preference", is_ranked=True),
        columns={"prosumer": "prosumer_id", "quote": "quote", "preference": "preference", "status": "status"},
    ),
    "fleet.quarantine": Page(
        text="{prosumers} prosumers in quarantine for {rows} faults; the others take part.",
        empty="0 rows in quarantine: every prosumer takes part.",
        figures={"rows": pl.len(), "prosumers": kinds("prosumer_id")},
        line=Line("faults by column, highest first", pl.len(), "faults", by="column_name", is_ranked=True),
        columns={"row": "file_row", "column": "column_name", "value": "value", "problem": "problem"},
    ),
    "fleet.availability": Page(
        text="Discharge limit of the fleet: at most {highest_mw:.2f} MW in an hour, {mean_mw:.2f} MW on average; "
        "{limited} of {hours} prosumer-hours limited by an owner preference or an EV away.",
        figures={
            "hours": pl.len(),
            "limited": pl.col("limited_by").is_not_null().sum(),
            "highest_mw": pl.col("max_discharge_kw").sum().over("start_utc").max() / 1000.0,
            "mean_mw": MW / pl.col("start_utc").n_unique(),
            "solar_mwh": total("solar_kw") / 1000.0,
            "load_mwh": total("load_kw") / 1000.0,
        },
        line=Line("discharge limit by hour", MW, "MW", by="start_utc"),
        columns={
            "prosumer": "prosumer_id",
            "hour": "start_utc",
            "discharge kW": "max_discharge_kw",
            "kWh": "max_stored_kwh",
        },
        first="max_discharge_kw",
    ),
}


def _is(*kind: str) -> pl.Expr:
    return pl.col("kind").is_in(kind)


PAGES = {
    "negotiation.rounds": Page(
        text="{prosumers} prosumers, {rounds} rounds, {words} messages: {accepted} deals closed for "
        "{accepted_mw:.3f} MW; mean ask {mean_ask_usd_per_mwh:usd} per MWh (reserve: per MW and hour).",
        empty="0 messages: no prosumer was contacted.",
        figures={
            "words": pl.len(),
            "prosumers": kinds("prosumer_id"),
            "rounds": pl.col("round").max(),
            "accepted": where(_is("accept")),
            "accepted_mw": pl.col("capacity_kw").filter(_is("accept")).sum() / 1000.0,
            "withdrawn": where(_is("withdraw", "reject")),
            "mean_ask_usd_per_mwh": pl.col("price_usd_per_mwh").filter(_is("ask")).mean(),
            "mean_offer_usd_per_mwh": pl.col("price_usd_per_mwh").filter(_is("offer")).mean(),
        },
        line=Line("prices of all messages, highest first", pl.col("price_usd_per_mwh"), "$"),
        columns={
            "prosumer": "prosumer_id",
            "round": "round",
            "message": "kind",
            "kW": "capacity_kw",
            "price": "price_usd_per_mwh",
        },
    ),
    "negotiation.summary": Page(
        text="{feasible} of {opportunities} opportunities can be met: {committed_mw:.2f} MW under option of "
        "{required_mw:.2f} MW required, in {seconds:.1f} s.",
        figures={
            "opportunities": pl.len(),
            "feasible": where(pl.col("status") != "no_bid"),
            "committed_mw": total("committed_capacity_mw"),
            "required_mw": total("required_capacity_mw"),
            "mean_members": mean("members"),
            "most_rounds": pl.col("rounds").max(),
            "seconds": total("seconds"),
        },
        line=Line("capacity under option by opportunity, highest first", pl.col("committed_capacity_mw"), "MW"),
        columns={
            "opportunity": "opportunity_id",
            "members": "members",
            "MW": "committed_capacity_mw",
            "of R": "required_capacity_mw",
        },
        first="committed_capacity_mw",
    ),
    "negotiation.agreements": Page(
        text="{deals} deals with {prosumers} prosumers for {committed_mw:.2f} MW; expected satisfaction "
        "{mean_satisfaction_score:.2f} of 10, prices at the forecast {mean_above_least_usd_per_mwh:usd} per MWh above "
        "reservation prices.",
        empty="0 deals: no prosumer was contacted.",
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
            "expected satisfaction of deals, highest first", pl.col("expected_satisfaction_score").filter(IN), "of 10"
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
        text="{questions} questions to a language model, {failed} of them without a usable answer; cost "
        "{cost_usd:usd.4}, {seconds:.1f} s.",
        empty="0 questions: negotiation by rules, without a language model.",
        figures={
            "questions": pl.len(),
            "failed": where(FAILED),
            "tokens": total("input_tokens") + total("output_tokens"),
            "cost_usd": total("cost_usd"),
            "seconds": total("seconds"),
        },
        line=Line("time to answer, in the order of the questions", total("seconds"), "s", by="at_utc"),
        columns={"time": "at_utc", "purpose": "purpose", "outcome": "outcome", "s": "seconds", "cost": "cost_usd"},
    ),
}
