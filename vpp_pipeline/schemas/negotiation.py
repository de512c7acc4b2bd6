"""What was said, what was agreed, and what a language model was asked."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PROSUMER,
    amount,
    choice,
    column,
    count,
    market_day,
    moment,
    number,
    text,
)

OUTCOMES = (
    "ok",
    "rate_limit",
    "server",
    "timeout",
    "transport",
    "auth",
    "bad_request",
    "blocked",
    "truncated",
    "invalid_output",
    "too_large",
    "budget",
    "circuit_open",
    "deadline",
    "replay_miss",
    "store",
)


class Messages(dy.Schema):
    """Every word of the negotiation: asks, offers, acceptances, withdrawals, rejections."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    sender = choice("Who speaks.", ("prosumer", "aggregator"))
    kind = choice("What is said.", ("ask", "offer", "accept", "reject", "withdraw"), primary_key=True)
    capacity_kw = amount("Capacity spoken of.")
    price_usd_per_mwh = number("Price spoken of; $/MWh, for reserves $/MW per hour.")
    reason = text("Why.")


class Segments(dy.Schema):
    """The negotiation at a glance: each kind of prosumer, round by round."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    segment = text("Kind of prosumer: site and store, e.g. `home battery`.", primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    prosumers = count("Prosumers that spoke in the round.")
    capacity_kw = amount("Capacity they spoke of.")
    mean_ask_usd_per_mwh = number("Their mean ask, weighted by capacity; $/MWh, for reserves $/MW per hour.")
    mean_offer_usd_per_mwh = number("Mean offer to them, weighted by capacity.", nullable=True)
    accepted = count("Deals that closed in the round.")
    accepted_kw = amount("Capacity of those deals.")
    left = count("Prosumers that withdrew or were rejected in the round.")


class Agreements(dy.Schema):
    """Who may be asked to deliver, how much and at what price, and why everyone else is out."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    holds_option = column(dy.Bool, "Whether the prosumer is in: its deal closed and it may be asked to deliver.")
    committed_capacity_kw = amount("Most the prosumer may be asked for; 0 for who is out.")
    reservation_price_usd_per_mwh = number("Least the owner must be paid.")
    agreed_price_usd_per_mwh = number("What the owner is paid when dispatched; empty for who is out.", nullable=True)
    expected_satisfaction_score = number(
        "Satisfaction if fully dispatched, 0-10; empty for who is out.", min=0.0, max=10.0, nullable=True
    )
    rank = column(
        dy.Int32,
        "Rank among the deals that closed, from 1, by the policy's rule; empty without one.",
        min=1,
        nullable=True,
    )
    closed_round = column(dy.Int32, "Round in which the deal closed; empty without one.", min=1, max=10, nullable=True)
    reason = text("One sentence: why this prosumer is in or out, and why at this price.")


class Summary(dy.Schema):
    """How each opportunity's negotiation went."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    status = choice("Outcome: `agreed` reaches R, `relaxed` reaches 80 % of it.", ("agreed", "relaxed", "no_bid"))
    reason = text("Why, in a sentence.")
    rounds = count("Rounds held.")
    asked = count("Prosumers called.")
    bids = count("Prosumers that answered with an ask.")
    members = count("Prosumers that hold an option.")
    committed_capacity_mw = amount("Capacity under option.")
    required_capacity_mw = amount("R.")
    engine = text("Negotiation engine.")
    fingerprint = text("Hash of all inputs of this negotiation, its policy and the code version.")
    seconds = amount("Time the negotiation took (its share of a joint run).")


class LLMCalls(dy.Schema):
    """Every question to a language model: who answered, how it ended, what it cost; no word of question or answer."""

    market_date = market_day()
    call_id = column(dy.Int64, "Number of the question in its store.", min=1, primary_key=True)
    at_utc = moment("When the question was done with.")
    run_id = text("Run that asked.")
    purpose = text("What for, e.g. `counter_offer`.")
    subject = text("What about: an opportunity, a prosumer, or the day.")
    prompt_hash = text("Hash of prompt, schema, model and sampling; equal questions have equal hashes.")
    mode = choice("Mode of the run.", ("live", "replay", "refresh"))
    provider = text("SDK that asked, or had asked for a stored answer; empty where nobody did.")
    model = text("Model that was asked for.")
    model_version = text("Who answered, by its own word; models are re-routed silently. Empty without an answer.")
    outcome = choice("How it ended: `ok`, or the kind of failure, after which a rule stood in.", OUTCOMES)
    is_stored_answer = column(dy.Bool, "Whether the answer came from the store: nothing was sent or paid.")
    attempts = count("Requests sent.")
    input_tokens = column(dy.Int64, "Tokens of the question, all attempts; the most possible where untold.", min=0)
    output_tokens = column(dy.Int64, "Tokens of the answer and of thought; the most possible where untold.", min=0)
    cost_usd = amount("What the tokens cost, $ at the settings' prices.")
    seconds = amount("Wall time from question to outcome, waits included.")
