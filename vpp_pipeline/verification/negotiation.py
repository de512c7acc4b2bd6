"""Checks of the negotiation and of a language model's advice, against limits computed in `terms.py`.

The check of the advice compares model versions and counts fallbacks to the rule; its failure is a warning. The
negotiation that used the advice is checked like any other.
"""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.tables import LLM_CALLS_BEFORE, Day, rows_where, with_missing
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations
from vpp_pipeline.verification.terms import DEAL, Negotiations, Pairs, is_of_storage, negotiations_of

MESSAGES, AGREEMENTS = "negotiation.messages", "negotiation.agreements"
TOLERANCE = 1e-9
PRICE_TOLERANCE = 1e-6  # $/MWh between two ways of computing one price
KW_TOLERANCE = 1e-6
ADVICE = "counter_offer"  # purpose of the questions about negotiations


def negotiations_follow_the_protocol(day: Day, settings: Settings) -> CheckResult:
    """Every rule of the negotiation holds: it terminates, asks never rise, offers never fall, no message follows
    the end, deals lie between both sides' limits and within the envelope, and coalitions and summary add up.
    """
    rounds = rows_where(day, MESSAGES, pl.lit(True), ["round"])["round"].to_numpy()
    deals = rows_where(day, AGREEMENTS, pl.col("holds_option"), ["holds_option"]).height
    most = int(rounds.max(initial=0))
    held = f"{len(rounds)} messages in at most {most} rounds, {deals} deals: no violation"
    return count_violations(check_negotiation(day, settings), "violations of the protocol", held, deals)


def check_negotiation(day: Day, settings: Settings) -> pl.DataFrame:
    """Every violation of the negotiation's rules: opportunity_id, prosumer_id, fault.

    Shares nothing with the engines, and is the same for each of them. ``day`` needs market.price_forecast,
    market.opportunities, fleet.prosumers, fleet.availability and the tables of the negotiation.
    """
    sample = _sample(day, settings.negotiation)
    found = [_faults_of(talks, sample, settings) for talks in negotiations_of(day, settings)]
    of_each_rule: list[pl.DataFrame] = [pl.concat(faults) for faults in zip(*found, strict=True)]
    return pl.concat([*of_each_rule, *_summary_faults(day, settings.rules), *_segment_faults(day)])


def _sample(day: Day, policy: NegotiationPolicy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prosumers with any message, and prosumers whose messages and outcomes must be complete: prosumer_id each.

    Of a fleet above ``transcript_prosumers`` only a sample is published: prosumers with a message or an outcome "out".
    """
    heard = rows_where(day, MESSAGES, pl.lit(True), ["prosumer_id"]).unique()
    fleet = day["fleet.prosumers"].select("prosumer_id")
    if fleet.height <= policy.transcript_prosumers:
        return heard, fleet
    is_out = ~pl.col("holds_option") & pl.col("rank").is_null()  # published for the sample only
    return heard, pl.concat([heard, rows_where(day, AGREEMENTS, is_out, ["prosumer_id"])]).unique()


def _faults_of(
    talks: Negotiations, sample: tuple[pl.DataFrame, pl.DataFrame], settings: Settings
) -> list[pl.DataFrame]:
    """One table for each rule about messages and deals; ``sample``: see :func:`_sample`."""
    heard, wanted = sample
    return (
        _speech_faults(talks.messages, settings.negotiation.rounds)
        + _limit_faults(talks, settings.negotiation)
        + _contract_faults(talks.agreements, settings.negotiation)
        + _deal_faults(talks, heard, settings.negotiation)
        + _coalition_faults(talks.agreements, settings.negotiation)
        + _silence_faults(talks, wanted)
    )


def _fault(rows: pl.DataFrame, words: str) -> pl.DataFrame:
    return rows.select(*DEAL, fault=pl.lit(words))


def _speech_faults(messages: pl.DataFrame, rounds: int) -> list[pl.DataFrame]:
    """Messages out of order, or that take back a price."""
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
        _fault(told.filter(pl.col("round") > pl.col("end")), "message after the end"),
        _fault(ends.filter(pl.col("ends") > 1), "ended twice"),
        _fault(told.filter(pl.col("end").is_null()).unique(DEAL), "never ended"),
        _fault(asks.filter(pl.col("asked") < pl.col("end")), "a round without an ask"),
        _fault(messages.filter(by_prosumer != (pl.col("sender") == "prosumer")), "message by the wrong side"),
    ]


def _limit_faults(talks: Negotiations, policy: NegotiationPolicy) -> list[pl.DataFrame]:
    """Messages and deals beyond the price limits of a side or the power limits of a device."""
    said, agreed = talks.messages, talks.agreements
    held = agreed.filter("holds_option")
    price, kind = pl.col("price_usd_per_mwh"), pl.col("kind")
    stated, agreed_price = pl.col("reservation_price_usd_per_mwh"), pl.col("agreed_price_usd_per_mwh")
    gain = pl.when(agreed_price > 0.0).then((agreed_price - pl.col("reservation")) / agreed_price).otherwise(0.0)
    score = 5.0 + 5.0 * gain
    same_score = (pl.col("expected_satisfaction_score") - score).abs() <= PRICE_TOLERANCE
    ceiling = pl.lit(float("inf")) if is_posted(policy) else pl.col("ceiling")  # a posted cap heeds no forecast
    is_indexed, posted = pl.lit(policy.contract == "indexed"), pl.lit(is_posted(policy))
    reaches = ~posted | (pl.col("posted") >= pl.col("reservation") + PRICE_TOLERANCE).fill_null(False)
    same_cap = ((price - pl.col("posted")).abs() <= PRICE_TOLERANCE).fill_null(False)
    return [
        _fault(
            said.filter((kind == "ask") & (price < pl.col("reservation") - PRICE_TOLERANCE)),
            "ask below the reservation price",
        ),
        _fault(said.filter((kind == "offer") & (price > ceiling + PRICE_TOLERANCE)), "offer above the ceiling"),
        _fault(said.filter(posted & (kind == "offer") & ~same_cap), "offer is not the posted cap"),
        _fault(said.filter(is_indexed & kind.is_in(["withdraw", "reject"]) & reaches), "left, though its floor stands"),
        _fault(said.filter(_above("capacity_kw", "most_kw")), "capacity beyond the envelope"),
        _fault(
            agreed.filter(~((stated - pl.col("reservation")).abs() <= PRICE_TOLERANCE).fill_null(False)),
            "another reservation price",
        ),
        _fault(
            held.filter(~(agreed_price >= pl.col("reservation") - PRICE_TOLERANCE).fill_null(False)),
            "price below the reservation price",
        ),
        _fault(
            held.filter(
                (agreed_price > ceiling + PRICE_TOLERANCE)
                & ~(is_indexed & (agreed_price <= pl.col("reservation") + PRICE_TOLERANCE))
            ),
            "price above the ceiling",
        ),
        _fault(held.filter(~same_score.fill_null(False)), "another satisfaction"),
        _fault(held.filter(_above("committed_capacity_kw", "share_kw")), "commitment above its share of R"),
        _fault(held.filter(_above("committed_capacity_kw", "allowed_kw")), "commitment beyond the envelope"),
    ]


def is_posted(policy: NegotiationPolicy) -> bool:
    """Whether deals are offered at posted caps."""
    return policy.engine == "uniform_clearing" and policy.contract == "indexed"


def _contract_faults(agreements: pl.DataFrame, policy: NegotiationPolicy) -> list[pl.DataFrame]:
    """Deals whose floor, cap, share, or recharging are not the contract's, or not what is paid at the forecast."""
    held = agreements.filter("holds_option")
    floor, cap, agreed = (pl.col(f"{name}_price_usd_per_mwh") for name in ("floor", "cap", "agreed"))
    reference, share, factor = (
        pl.col("reference_price_usd_per_mwh"),
        pl.col("share_fraction"),
        pl.col("recharge_factor"),
    )
    index = pl.col("index")
    indexed = pl.min_horizontal(index, reference + share * (index - reference))  # empty: no share
    paid = pl.min_horizontal(pl.max_horizontal(indexed, floor), cap)
    is_indexed, has_share = policy.contract == "indexed", is_posted(policy) and policy.posted == "half_share"

    def apart(one: pl.Expr, other: pl.Expr) -> pl.Expr:
        return ~((one - other).abs() <= PRICE_TOLERANCE).fill_null(False)

    no_share = reference.is_not_null() | share.is_not_null()
    of_others = apart(reference, pl.col("reference")) | apart(share, pl.lit(0.5)) if has_share else no_share
    faults = {
        "floor below the reservation price": ~(floor >= pl.col("reservation") - PRICE_TOLERANCE).fill_null(False),
        "cap below the floor": ~(cap >= floor - PRICE_TOLERANCE).fill_null(False),
        "share of another reference": of_others,
        "agreed price is not what the forecast pays": apart(agreed, paid),
        "recharging of another device": apart(factor, pl.col("factor") if is_indexed else pl.lit(0.0)),
    }
    if is_indexed:
        faults["floor is not the reservation price"] = apart(floor, pl.col("reservation"))
    else:
        faults["a fixed price with a cap"] = apart(floor, cap)
    if is_posted(policy):
        faults["posted cap rests on the owner's own word"] = apart(cap, pl.col("posted"))
    left = agreements.filter(~pl.col("holds_option"))
    told = pl.any_horizontal(each.is_not_null() for each in (floor, cap, reference, share, factor))
    return [_fault(held.filter(fault), words) for words, fault in faults.items()] + [
        _fault(left.filter(told), "out, but with a floor or a cap")
    ]


def _above(found: str, most: str) -> pl.Expr:
    """Whether a power exceeds its limit; also where there is no limit, because the pair does not exist."""
    return (pl.col(found) > pl.col(most) * (1 + TOLERANCE) + KW_TOLERANCE).fill_null(True)


def _deal_faults(talks: Negotiations, heard: pl.DataFrame, policy: NegotiationPolicy) -> list[pl.DataFrame]:
    """Deals outside ask and offer, and agreements that differ from their deal.

    ``heard``: prosumers with any message; only their deals can be compared with messages.
    """
    messages, agreements = talks.messages, talks.agreements
    said = {
        kind: messages.filter(pl.col("kind") == kind).select(
            *DEAL, "round", "reservation", **{kind: "price_usd_per_mwh", f"{kind}_kw": "capacity_kw"}
        )
        for kind in ("ask", "offer", "accept")
    }
    deals = said["accept"]
    for kind in ("ask", "offer"):
        deals = deals.join(said[kind].drop("reservation"), on=[*DEAL, "round"], how="left")
    inside = (pl.col("accept") >= pl.col("ask") - TOLERANCE) & (pl.col("accept") <= pl.col("offer") + TOLERANCE)
    held = agreements.filter("holds_option").join(heard, on="prosumer_id", how="semi")
    held = held.join(deals.drop("reservation"), on=DEAL, how="left")
    if policy.contract == "indexed":  # a floor stands where no offer reaches it
        inside |= (pl.col("accept") - pl.col("reservation")).abs() <= TOLERANCE
    same_price = (pl.col("cap_price_usd_per_mwh") - pl.col("accept")).abs() <= TOLERANCE
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
        _fault(out.filter((pl.col("committed_capacity_kw") != 0) | is_priced), "out, but committed"),
        _fault(agreements.filter(~told.fill_null(False)), "reason contradicts the outcome"),
    ]


def _coalition_faults(agreements: pl.DataFrame, policy: NegotiationPolicy) -> list[pl.DataFrame]:
    """Ranks that are not 1, 2, 3, … by the policy's rule, and more options than the largest coalition."""
    used = [*DEAL, "call", "rank", "agreed_price_usd_per_mwh", "committed_capacity_kw", "availability_fraction"]
    ranked = agreements.select(used).filter(pl.col("rank").is_not_null()).sort("call", "rank")
    agreed, mw = pl.col("agreed_price_usd_per_mwh"), pl.col("committed_capacity_kw") / 1000.0
    merit = {
        "cost_effectiveness": agreed / pl.col("availability_fraction"),
        "original": -(1.0 / agreed.clip(lower_bound=1.0) + mw + 1.0 + (100.0 * mw).clip(upper_bound=2.0)),
    }[policy.ranking]
    counted = ranked.with_columns(place=pl.int_range(1, pl.len() + 1).over("call"), step=merit.diff().over("call"))
    most = policy.maximum_coalition or agreements.height
    is_in = pl.col("rank").is_not_null() & (pl.col("rank") <= most)
    return [
        _fault(counted.filter(pl.col("rank") != pl.col("place")), "ranks have a gap"),
        _fault(counted.filter(pl.col("step") < -PRICE_TOLERANCE), "ranked before a better deal"),
        _fault(agreements.filter(is_in != pl.col("holds_option")), "option contradicts the rank"),
    ]


def _silence_faults(talks: Negotiations, sample: pl.DataFrame) -> list[pl.DataFrame]:
    """Members of ``sample`` that could offer something and have no message, or have no outcome; others that have."""
    wanted = talks.limits.filter("is_member").join(sample, on="prosumer_id", how="semi")
    strangers = [rows.filter(~pl.col("is_member")) for rows in (talks.messages, talks.agreements)]
    able = wanted.filter(pl.col("most_kw") > KW_TOLERANCE)
    return [
        _fault(able.join(talks.messages, on="deal", how="anti"), "could offer and has no message"),
        _fault(wanted.join(talks.agreements, on="deal", how="anti"), "no outcome"),
        *(_fault(rows, "negotiated with another resource's member") for rows in strangers),
    ]


def _summary_faults(day: Day, rules: MarketRules) -> list[pl.DataFrame]:
    """Summaries that are missing or contradict agreements and opportunities.

    A storage resource may have deals with a single member; how many its pool must have is a rule of its bids.
    """
    both = ["opportunity_id"]
    members = (
        rows_where(day, AGREEMENTS, pl.col("holds_option"), ["opportunity_id", "committed_capacity_kw"])
        .group_by(both)
        .agg(found=pl.len(), mw=pl.col("committed_capacity_kw").sum() / 1e3)
    )
    asked = with_missing(day["market.opportunities"], resource_id=DESK).select(
        "opportunity_id", asked_mw="required_capacity_mw", is_storage=is_of_storage(day)
    )
    rows = day["negotiation.summary"].join(asked, on=both, how="full", coalesce=True).join(members, on=both, how="left")
    rows = rows.with_columns(pl.col("found", "mw").fill_null(0.0))
    enough = pl.col("found") >= pl.when("is_storage").then(1).otherwise(rules.minimum_members)
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
    """Segments, sums over all prosumers' messages, that contradict deals and summary."""
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
    ranked = rows_where(day, AGREEMENTS, pl.col("rank").is_not_null(), both)
    closed = ranked.group_by(both).agg(deals=pl.len())
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


def nobody_is_paid_below_reservation(day: Day, settings: Settings) -> CheckResult:
    """Every agreed price and every payment is at least the reservation price of wear, compensation, and willingness."""
    pairs = Pairs(day)
    held_options = rows_where(day, AGREEMENTS, pl.col("holds_option"), [*DEAL, "agreed_price_usd_per_mwh"])
    options = pairs.with_reservation(held_options, settings.negotiation)
    agreed, reservation = pl.col("agreed_price_usd_per_mwh"), pl.col("reservation")
    low = options.filter(~(agreed >= reservation - PRICE_TOLERANCE).fill_null(False))
    owed = pairs.numbered(day["dispatch.payments"]).join(options.drop(DEAL), on="deal", how="left")
    underpaid = owed.filter(
        ~(pl.col("payment_usd") >= reservation * pl.col("dispatched_kwh") / 1000.0 - 1e-6).fill_null(False)
    )
    broken = pl.concat([frame.select(*DEAL) for frame in (low, underpaid)])
    closest = (
        float((options["agreed_price_usd_per_mwh"] - options["reservation"]).to_numpy().min())
        if options.height
        else 0.0
    )
    held = (
        f"{options.height} agreements and {owed.height} payments at or above the reservation price; "
        f"the smallest surplus is {usd(closest, 4)}/MWh"
    )
    return count_violations(broken, "deals below the owner's reservation price", held, closest)


def advice_comes_from_the_model_that_was_asked(day: Day, settings: Settings) -> CheckResult:
    """With the engine `llm`, the model version is that of the last day with advice, and at most
    `model_use.fallback_limit_fraction` of the advice came from the rule; a warning otherwise."""
    engines = set(day["negotiation.summary"]["engine"])
    if "llm" not in engines:
        return CheckResult(0, f"0 questions to a language model: negotiated by {', '.join(sorted(engines))}", 0.0)
    asked = _latest(day["negotiation.llm_calls"])
    answered = asked.filter(pl.col("outcome") == "ok")
    missing = 1.0 - answered.height / asked.height if asked.height else 1.0
    limit = settings.model_use.fallback_limit_fraction
    found, before = _versions(answered), _versions(_latest(day[LLM_CALLS_BEFORE])) if LLM_CALLS_BEFORE in day else []
    faults = []
    if missing > limit:
        why = asked.filter(pl.col("outcome") != "ok")["outcome"].value_counts(sort=True)
        kinds = ", ".join(f"{kind} {count}" for kind, count in why.rows()) or f"llm.mode is {settings.llm.mode}"
        faults.append(f"the rule replaced {percent(missing, 0)} of the advice, limit {percent(limit, 0)} ({kinds})")
    if before and found and found != before:
        faults.append(f"answers came from {', '.join(found)}, on the last day from {', '.join(before)}")
    held = f"{answered.height} of {asked.height} questions answered, by {', '.join(found) or 'no model'}"
    return count_violations(pl.DataFrame({"fault": faults}), "problems of the advice", held, missing, is_warning=True)


def _latest(calls: pl.DataFrame) -> pl.DataFrame:
    """Questions about negotiations of the latest run."""
    advice = calls.filter(pl.col("purpose") == ADVICE).sort("call_id")
    return advice.filter(pl.col("run_id") == pl.col("run_id").last())


def _versions(calls: pl.DataFrame) -> list[str]:
    answered = calls.filter((pl.col("outcome") == "ok") & (pl.col("model_version") != ""))
    return sorted(answered["model_version"].unique().to_list())
