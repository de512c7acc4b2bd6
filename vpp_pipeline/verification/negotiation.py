"""Checks of the negotiation and of a language model's advice, from limits computed a second time.

A check of a language model's advice: who gave it, and how often a rule stood in. It warns; bids may go out.

What the advice led to is checked like any other negotiation.
"""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, Day
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, Settings
from vpp_pipeline.verification.terms import DEAL, Pairs, Talks, talks_of
from vpp_pipeline.verification.verdict import Verdict, judge

TOLERANCE = 1e-9
PRICE_TOLERANCE = 1e-6  # $/MWh between two ways of computing one price
KW_TOLERANCE = 1e-6
ADVICE = "counter_offer"  # purpose of the questions about negotiations


def negotiations_follow_the_protocol(day: Day, settings: Settings) -> Verdict:
    """Every rule of the negotiation holds: it terminates, asks never rise, offers never fall, nobody speaks after the
    end, deals lie between both sides' limits and within the envelope, and coalitions and summary add up.
    """
    messages, agreements = day["negotiation.messages"], day["negotiation.agreements"]
    rounds, deals = int(messages["round"].to_numpy().max(initial=0)), int(agreements["holds_option"].sum())
    held = f"{messages.height} messages in at most {rounds} rounds, {deals} deals: every rule holds"
    return judge(check_negotiation(day, settings), "breaches of the protocol", held, deals)


def check_negotiation(day: Day, settings: Settings) -> pl.DataFrame:
    """Every breach of the negotiation's rules: opportunity_id, prosumer_id, fault; no rows where all hold.

    Shares nothing with the engines, and is the same for each of them. ``day`` needs market.price_forecast,
    market.opportunities, fleet.prosumers, fleet.availability and the tables of the negotiation.
    """
    sample = _sample(day, settings.negotiation)
    found = [_faults_of(talks, sample, settings) for talks in talks_of(day, settings)]
    of_each_rule: list[pl.DataFrame] = [pl.concat(faults) for faults in zip(*found, strict=True)]
    return pl.concat([*of_each_rule, *_summary_faults(day, settings.rules), *_segment_faults(day)])


def _sample(day: Day, policy: NegotiationPolicy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of whom any word is kept, and of whom every word and outcome must be: prosumer_id each.

    Of a fleet above ``transcript_prosumers`` a sample is kept: those of whom any word is, or who are told to be out.
    """
    heard = day["negotiation.messages"].select("prosumer_id").unique()
    fleet, agreements = day["fleet.prosumers"].select("prosumer_id"), day["negotiation.agreements"]
    if fleet.height <= policy.transcript_prosumers:
        return heard, fleet
    out = agreements.filter(~pl.col("holds_option") & pl.col("rank").is_null())  # told of the sample alone
    return heard, pl.concat([heard, out.select("prosumer_id")]).unique()


def _faults_of(talks: Talks, sample: tuple[pl.DataFrame, pl.DataFrame], settings: Settings) -> list[pl.DataFrame]:
    """One table for each rule that looks at words and deals; ``sample``: see :func:`_sample`."""
    heard, wanted = sample
    return (
        _speech_faults(talks.messages, settings.negotiation.rounds)
        + _limit_faults(talks)
        + _deal_faults(talks, heard)
        + _coalition_faults(talks.agreements, settings.negotiation)
        + _silence_faults(talks, wanted)
    )


def _fault(rows: pl.DataFrame, words: str) -> pl.DataFrame:
    return rows.select(*DEAL, fault=pl.lit(words))


def _speech_faults(messages: pl.DataFrame, rounds: int) -> list[pl.DataFrame]:
    """Who spoke out of turn, or went back on a word."""
    step = pl.col("price_usd_per_mwh").diff().over([*DEAL, "kind"])
    steps = messages.sort(*DEAL, "round").with_columns(step=step)
    is_end, is_ask = pl.col("kind").is_in(["accept", "withdraw", "reject"]), pl.col("kind") == "ask"
    ends = messages.filter(is_end).group_by(DEAL).agg(end=pl.col("round").min(), ends=pl.len())
    told = messages.join(ends, on=DEAL, how="left")
    asks = told.group_by(DEAL).agg(pl.col("end").first(), asked=pl.col("round").filter(is_ask).n_unique())
    by_prosumer = pl.col("kind").is_in(["ask", "accept", "withdraw"])
    return [
        _fault(steps.filter((pl.col("kind") == "ask") & (pl.col("step") > TOLERANCE)), "ask rose"),
        _fault(steps.filter((pl.col("kind") == "offer") & (pl.col("step") < -TOLERANCE)), "offer fell"),
        _fault(messages.filter(pl.col("round") > rounds), "round beyond the last"),
        _fault(told.filter(pl.col("round") > pl.col("end")), "spoke after the end"),
        _fault(ends.filter(pl.col("ends") > 1), "ended twice"),
        _fault(told.filter(pl.col("end").is_null()).unique(DEAL), "never ended"),
        _fault(asks.filter(pl.col("asked") < pl.col("end")), "a round without an ask"),
        _fault(messages.filter(by_prosumer != (pl.col("sender") == "prosumer")), "spoken by the wrong side"),
    ]


def _limit_faults(talks: Talks) -> list[pl.DataFrame]:
    """Words and deals beyond what a side may accept, or a device can do."""
    said, agreed = talks.messages, talks.agreements
    held = agreed.filter("holds_option")
    price, kind = pl.col("price_usd_per_mwh"), pl.col("kind")
    stated, agreed_price = pl.col("reservation_price_usd_per_mwh"), pl.col("agreed_price_usd_per_mwh")
    gain = pl.when(agreed_price > 0.0).then((agreed_price - pl.col("least")) / agreed_price).otherwise(0.0)
    score = 5.0 + 5.0 * gain
    same_score = (pl.col("expected_satisfaction_score") - score).abs() <= PRICE_TOLERANCE
    return [
        _fault(said.filter((kind == "ask") & (price < pl.col("least") - PRICE_TOLERANCE)), "ask below the least price"),
        _fault(
            said.filter((kind == "offer") & (price > pl.col("ceiling") + PRICE_TOLERANCE)), "offer above the ceiling"
        ),
        _fault(said.filter(_above("capacity_kw", "most_kw")), "capacity beyond the envelope"),
        _fault(
            agreed.filter(~((stated - pl.col("least")).abs() <= PRICE_TOLERANCE).fill_null(False)),
            "another least price",
        ),
        _fault(
            held.filter(~(agreed_price >= pl.col("least") - PRICE_TOLERANCE).fill_null(False)),
            "price below the least price",
        ),
        _fault(
            held.filter(agreed_price > pl.col("ceiling") + PRICE_TOLERANCE),
            "price above the ceiling",
        ),
        _fault(held.filter(~same_score.fill_null(False)), "another satisfaction"),
        _fault(held.filter(_above("committed_capacity_kw", "share_kw")), "commitment above its share of R"),
        _fault(held.filter(_above("committed_capacity_kw", "allowed_kw")), "commitment beyond the envelope"),
    ]


def _above(found: str, most: str) -> pl.Expr:
    """Whether a power exceeds its limit; also where there is no limit, because the pair does not exist."""
    return (pl.col(found) > pl.col(most) * (1 + TOLERANCE) + KW_TOLERANCE).fill_null(True)


def _deal_faults(talks: Talks, heard: pl.DataFrame) -> list[pl.DataFrame]:
    """Deals outside ask and offer, and agreements that are not the deal that was struck.

    ``heard``: prosumers of whom any word is kept; only their deals can be held against what was said.
    """
    messages, agreements = talks.messages, talks.agreements
    said = {
        kind: messages.filter(pl.col("kind") == kind).select(
            *DEAL, "round", **{kind: "price_usd_per_mwh", f"{kind}_kw": "capacity_kw"}
        )
        for kind in ("ask", "offer", "accept")
    }
    deals = said["accept"]
    for kind in ("ask", "offer"):
        deals = deals.join(said[kind], on=[*DEAL, "round"], how="left")
    inside = (pl.col("accept") >= pl.col("ask") - TOLERANCE) & (pl.col("accept") <= pl.col("offer") + TOLERANCE)
    held = agreements.filter("holds_option").join(heard, on="prosumer_id", how="semi").join(deals, on=DEAL, how="left")
    same_price = (pl.col("agreed_price_usd_per_mwh") - pl.col("accept")).abs() <= TOLERANCE
    same_capacity = (pl.col("committed_capacity_kw") - pl.col("accept_kw")).abs() <= TOLERANCE
    same_round = pl.col("closed_round") == pl.col("round")
    out = agreements.filter(~pl.col("holds_option"))
    kept = agreements.filter(pl.col("holds_option") | pl.col("rank").is_not_null()).join(
        heard, on="prosumer_id", how="semi"
    )
    forgotten = deals.join(kept, on=DEAL, how="anti")
    no_deal = pl.col("rank").is_null() & pl.col("closed_round").is_not_null()
    is_priced = (
        pl.any_horizontal(pl.col("agreed_price_usd_per_mwh", "expected_satisfaction_score").is_not_null()) | no_deal
    )
    opening = pl.when("holds_option").then(pl.lit("In: ")).otherwise(pl.lit("Out: "))
    told = pl.col("reason").str.starts_with(opening) & pl.col("reason").str.ends_with(".")
    return [
        _fault(deals.filter(~inside.fill_null(False)), "price outside ask and offer"),
        _fault(held.filter(~(same_price & same_capacity & same_round).fill_null(False)), "agreement without the deal"),
        _fault(forgotten, "deal without an agreement"),
        _fault(out.filter((pl.col("committed_capacity_kw") != 0) | is_priced), "out, yet committed"),
        _fault(agreements.filter(~told.fill_null(False)), "a reason that does not fit"),
    ]


def _coalition_faults(agreements: pl.DataFrame, policy: NegotiationPolicy) -> list[pl.DataFrame]:
    """Ranks that are not 1, 2, 3, … by the policy's rule, and more options than the largest coalition."""
    ranked = agreements.drop("reason").filter(pl.col("rank").is_not_null()).sort("call", "rank")
    agreed, mw = pl.col("agreed_price_usd_per_mwh"), pl.col("committed_capacity_kw") / 1000.0
    merit = {
        "cost_effectiveness": agreed / pl.col("availability_fraction"),
        "original": -(1.0 / agreed.clip(lower_bound=1.0) + mw + 1.0 + (100.0 * mw).clip(upper_bound=2.0)),
    }[policy.ranking]
    counted = ranked.with_columns(
        place=pl.int_range(1, pl.len() + 1).over("opportunity_id"), step=merit.diff().over("opportunity_id")
    )
    most = policy.maximum_coalition or agreements.height
    is_in = pl.col("rank").is_not_null() & (pl.col("rank") <= most)
    return [
        _fault(counted.filter(pl.col("rank") != pl.col("place")), "ranks have a gap"),
        _fault(counted.filter(pl.col("step") < -PRICE_TOLERANCE), "ranked before a better deal"),
        _fault(agreements.filter(is_in != pl.col("holds_option")), "an option against the rank"),
    ]


def _silence_faults(talks: Talks, sample: pl.DataFrame) -> list[pl.DataFrame]:
    """Prosumers of ``sample`` that could offer something and were not heard, or whose outcome is not told."""
    wanted = talks.limits.join(sample, on="prosumer_id", how="semi")
    able = wanted.filter(pl.col("most_kw") > KW_TOLERANCE)
    return [
        _fault(able.join(talks.messages, on="deal", how="anti"), "could offer, and was not heard"),
        _fault(wanted.join(talks.agreements, on="deal", how="anti"), "its outcome is not told"),
    ]


def _summary_faults(day: Day, rules: MarketRules) -> list[pl.DataFrame]:
    """Summaries that are missing, or that the agreements and opportunities do not bear out."""
    both = ["opportunity_id"]
    members = (
        day["negotiation.agreements"]
        .filter("holds_option")
        .group_by(both)
        .agg(found=pl.len(), mw=pl.col("committed_capacity_kw").sum() / 1e3)
    )
    asked = day["market.opportunities"].select("opportunity_id", asked_mw="required_capacity_mw")
    rows = day["negotiation.summary"].join(asked, on=both, how="full", coalesce=True).join(members, on=both, how="left")
    rows = rows.with_columns(pl.col("found", "mw").fill_null(0.0))
    enough = pl.col("found") >= rules.minimum_members
    reaches = {
        share: enough & (pl.col("mw") >= share * pl.col("asked_mw") - 1e-9) for share in (1.0, rules.required_fraction)
    }
    status = (
        pl.when(reaches[1.0])
        .then(pl.lit("agreed"))
        .when(reaches[rules.required_fraction])
        .then(pl.lit("relaxed"))
        .otherwise(pl.lit("no_bid"))
    )
    same = (
        (pl.col("found") == pl.col("members"))
        & ((pl.col("mw") - pl.col("committed_capacity_mw")).abs() <= 1e-6)
        & ((pl.col("asked_mw") - pl.col("required_capacity_mw")).abs() <= TOLERANCE)
        & (pl.col("status") == status)
    )
    wrong = rows.filter(~same.fill_null(False)).with_columns(prosumer_id=pl.lit("all"))
    return [_fault(wrong, "summary does not match agreements")]


def _segment_faults(day: Day) -> list[pl.DataFrame]:
    """Segments, which hold every prosumer's words added up, that deals and summary do not bear out."""
    both = ["opportunity_id"]
    counted = (
        day["negotiation.segments"]
        .group_by(both)
        .agg(
            accepted=pl.col("accepted").sum(),
            held_rounds=pl.col("round").max(),
            heard=pl.col("prosumers").filter(pl.col("round") == 1).sum(),
            ended=pl.col("accepted").sum() + pl.col("left").sum(),
        )
    )
    closed = day["negotiation.agreements"].group_by(both).agg(deals=pl.col("rank").count())
    rows = day["negotiation.summary"].join(counted, on=both, how="left").join(closed, on=both, how="left")
    rows = rows.with_columns(pl.col("accepted", "held_rounds", "heard", "ended", "deals").fill_null(0))
    same = (
        (pl.col("accepted") == pl.col("deals"))
        & (pl.col("held_rounds") == pl.col("rounds"))
        & (pl.col("heard") == pl.col("bids"))
        & (pl.col("ended") == pl.col("heard"))
    )
    wrong = rows.filter(~same).with_columns(prosumer_id=pl.lit("all"))
    return [_fault(wrong, "segments do not match deals and summary")]


def nobody_is_paid_below_reservation(day: Day, settings: Settings) -> Verdict:
    """Every option's price and every payment reach the least price, from wear, compensation and willingness."""
    pairs = Pairs(day)
    held_options = day["negotiation.agreements"].filter("holds_option").select(*DEAL, "agreed_price_usd_per_mwh")
    options = pairs.with_least(held_options, settings.negotiation)
    agreed, least = pl.col("agreed_price_usd_per_mwh"), pl.col("least")
    low = options.filter(~(agreed >= least - PRICE_TOLERANCE).fill_null(False))
    owed = pairs.numbered(day["dispatch.payments"]).join(options.drop(DEAL), on="deal", how="left")
    underpaid = owed.filter(
        ~(pl.col("payment_usd") >= least * pl.col("dispatched_kwh") / 1000.0 - 1e-6).fill_null(False)
    )
    broken = pl.concat([frame.select(*DEAL) for frame in (low, underpaid)])
    closest = (
        float((options["agreed_price_usd_per_mwh"] - options["least"]).to_numpy().min()) if options.height else 0.0
    )
    held = (
        f"{options.height} agreements and {owed.height} payments at or above the least price; "
        f"the closest by {closest:.4f} $/MWh"
    )
    return judge(broken, "deals below the owner's least price", held, closest)


def advice_comes_from_the_model_that_was_asked(day: Day, settings: Settings) -> Verdict:
    """Where the engine is `llm`, a model gave the advice, the same one as on the last day that asked, and the rule
    stood in no more often than `model_use.fallback_limit_fraction`; warns otherwise."""
    engines = set(day["negotiation.summary"]["engine"])
    if "llm" not in engines:
        return Verdict(0, f"0 questions to a language model: negotiated by {', '.join(sorted(engines))}", 0.0)
    asked = _latest(day["negotiation.llm_calls"])
    answered = asked.filter(pl.col("outcome") == "ok")
    missing = 1.0 - answered.height / asked.height if asked.height else 1.0
    limit = settings.model_use.fallback_limit_fraction
    found, before = _versions(answered), _versions(_latest(day[LLM_CALLS_BEFORE])) if LLM_CALLS_BEFORE in day else []
    faults = []
    if missing > limit:
        why = asked.filter(pl.col("outcome") != "ok")["outcome"].value_counts(sort=True)
        kinds = ", ".join(f"{kind} {count}" for kind, count in why.rows()) or f"llm.mode is {settings.llm.mode}"
        faults.append(f"the rule stood in for {missing:.0%} of the advice, limit {limit:.0%} ({kinds})")
    if before and found and found != before:
        faults.append(f"answers are by {', '.join(found)}, on the last day by {', '.join(before)}")
    held = f"{answered.height} of {asked.height} questions answered, by {', '.join(found) or 'nobody'}"
    return judge(pl.DataFrame({"fault": faults}), "things to know of the advice", held, missing, is_warning=True)


def _latest(calls: pl.DataFrame) -> pl.DataFrame:
    """Questions about negotiations of the run that asked last."""
    advice = calls.filter(pl.col("purpose") == ADVICE).sort("call_id")
    return advice.filter(pl.col("run_id") == pl.col("run_id").last())


def _versions(calls: pl.DataFrame) -> list[str]:
    answered = calls.filter((pl.col("outcome") == "ok") & (pl.col("model_version") != ""))
    return sorted(answered["model_version"].unique().to_list())
