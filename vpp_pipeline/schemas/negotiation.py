"""Tables of the negotiation: messages, agreements, summaries, and questions to a language model."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PROSUMER,
    amount,
    choice,
    column,
    count,
    fraction,
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
    """Messages of the negotiation: asks, offers, acceptances, withdrawals, rejections."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    sender = choice("Side that sends the message.", ("prosumer", "aggregator"))
    kind = choice("Kind of the message.", ("ask", "offer", "accept", "reject", "withdraw"), primary_key=True)
    capacity_kw = amount("Capacity that the message is about.")
    price_usd_per_mwh = number("Price of the message; $/MWh, for reserves $/MW per hour.")
    reason = text("Reason for the message, in one sentence.")


class Segments(dy.Schema):
    """Sums of the negotiation by segment of prosumers and round."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    segment = text("Segment of prosumers: site type and store, such as `home battery`.", primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    prosumers = count("Number of prosumers that negotiate in the round.")
    capacity_kw = amount("Capacity of their asks.")
    mean_ask_usd_per_mwh = number("Mean ask, weighted by capacity; $/MWh, for reserves $/MW per hour.")
    mean_offer_usd_per_mwh = number("Mean offer to them, weighted by capacity; null without an offer.", nullable=True)
    accepted = count("Number of deals that closed in the round.")
    accepted_kw = amount("Capacity of these deals.")
    left = count("Number of prosumers that withdrew or were rejected in the round.")


class Agreements(dy.Schema):
    """Outcome for each prosumer and opportunity: the option with capacity and price, or why there is none."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    holds_option = column(dy.Bool, "Whether the deal closed, so that the prosumer may be called.")
    committed_capacity_kw = amount("Largest power that may be called; 0 without an option.")
    reservation_price_usd_per_mwh = number("Reservation price of the owner; $/MWh, for reserves $/MW per hour.")
    agreed_price_usd_per_mwh = number(
        "Price that would be paid at the forecast, or the fixed price; null without an option.", nullable=True
    )
    floor_price_usd_per_mwh = number(
        "Lowest price of a delivery, at which bids and dispatch reckon; null without an option.", nullable=True
    )
    cap_price_usd_per_mwh = number("Highest price of a delivery; null without an option.", nullable=True)
    reference_price_usd_per_mwh = number(
        "Index price beyond which the owner gets a share; null without a share.", nullable=True
    )
    share_fraction = fraction("Owner's share of the index price beyond the reference; null without one.", nullable=True)
    recharge_factor = column(
        dy.Float64,
        "Energy bought to recharge each MWh, by which the index price is below the clearing price; null without an "
        "option.",
        min=0.0,
        nullable=True,
    )
    expected_satisfaction_score = number(
        "Satisfaction if fully dispatched, 0-10; null without an option.", min=0.0, max=10.0, nullable=True
    )
    rank = column(
        dy.Int32,
        "Rank among the closed deals, from 1, by the policy's rule; null without a deal.",
        min=1,
        nullable=True,
    )
    closed_round = column(
        dy.Int32, "Round in which the deal closed; null without a deal.", min=1, max=10, nullable=True
    )
    reason = text("Why the prosumer is in or out and at this price, in one sentence.")


class Summary(dy.Schema):
    """Outcome of the negotiation of each opportunity."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    status = choice("Outcome: `agreed` reaches R, `relaxed` reaches 80% of it.", ("agreed", "relaxed", "no_bid"))
    reason = text("Why the outcome came about, in one sentence.")
    rounds = count("Number of rounds held.")
    asked = count("Number of prosumers that were called.")
    bids = count("Number of prosumers that answered with an ask.")
    members = count("Number of prosumers that hold an option.")
    committed_capacity_mw = amount("Total capacity under option.")
    required_capacity_mw = amount("Required capacity (R) of the opportunity.")
    engine = text("Negotiation engine of the deals.")
    fingerprint = text("Hash of the negotiation's inputs, its policy, and the code version.")
    seconds = amount("Time that the negotiation took (its share of a joint run).")


class LLMCalls(dy.Schema):
    """Questions to a language model: model, outcome, tokens, and cost, without the text of question or answer."""

    market_date = market_day()
    call_id = column(dy.Int64, "Number of the question in its store.", min=1, primary_key=True)
    at_utc = moment("Moment at which the question ended.")
    run_id = text("Run that asked the question.")
    purpose = text("Purpose of the question, such as `counter_offer`.")
    subject = text("Subject of the question: an opportunity, a prosumer, or the day.")
    prompt_hash = text("Hash of prompt, schema, model, and sampling; equal questions have equal hashes.")
    mode = choice("Mode of the run.", ("live", "replay", "refresh"))
    provider = text("SDK that sent the question, or had sent it for a stored answer; empty if none was sent.")
    model = text("Model that the settings name.")
    model_version = text(
        "Model version that the answer states, as services re-route silently; empty without an answer."
    )
    outcome = choice("Outcome: `ok`, or the kind of failure, after which the rule replaced the answer.", OUTCOMES)
    is_stored_answer = column(dy.Bool, "Whether the answer came from the store, without a request or a cost.")
    attempts = count("Number of requests sent.")
    input_tokens = column(
        dy.Int64,
        "Tokens of the question over all attempts; the largest possible number where the service states none.",
        min=0,
    )
    output_tokens = column(
        dy.Int64, "Tokens of answer and reasoning; the largest possible number where the service states none.", min=0
    )
    cost_usd = amount("Cost of the tokens at the settings' prices.")
    seconds = amount("Wall time from question to outcome, with waits.")
