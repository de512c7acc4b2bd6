"""What was said, and what was agreed."""

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
    number,
    price,
    text,
)


class Messages(dy.Schema):
    """Every word of the negotiation, in order: asks, offers, acceptances, withdrawals."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    sender = choice("Who speaks.", ("prosumer", "aggregator"))
    kind = choice("What is said.", ("ask", "offer", "accept", "reject", "withdraw"), primary_key=True)
    capacity_kw = amount("Capacity spoken of.")
    price_usd_per_mwh = price("Price spoken of; $/MWh, for reserves $/MW per hour.")
    reason = text("Why.")


class Agreements(dy.Schema):
    """Options on prosumers' capacity: what each may be asked to deliver, and at what price."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    committed_capacity_kw = number("Most the prosumer may be asked for.", min_exclusive=0.0)
    reservation_price_usd_per_mwh = price("Least the owner must be paid.")
    agreed_price_usd_per_mwh = price("What the owner is paid when dispatched.")
    expected_satisfaction_score = number("Satisfaction if fully dispatched, 0-10.", min=0.0, max=10.0)
    rank = column(dy.Int32, "Rank by cost-effectiveness within the opportunity, from 1.", min=1)
    closed_round = column(dy.Int32, "Round in which the deal closed.", min=1, max=10)
    reason = text("Why this prosumer is in, and got this price.")


class Summary(dy.Schema):
    """How each opportunity's negotiation went."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    status = choice("Outcome: `agreed` reaches R, `relaxed` reaches 80 % of it.", ("agreed", "relaxed", "no_bid"))
    reason = text("Why, in a sentence.")
    rounds = count("Rounds held.")
    asked = count("Prosumers called.")
    bids = count("Prosumers that answered with an ask.")
    members = count("Deals that closed.")
    committed_capacity_mw = amount("Capacity under option.")
    required_capacity_mw = amount("R.")
    engine = text("Negotiation engine.")
    fingerprint = text("Hash of all inputs of this negotiation, its policy and the code version.")
    seconds = amount("Time the negotiation took (its share of a joint run).")
