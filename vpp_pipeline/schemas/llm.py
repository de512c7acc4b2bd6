"""What a language model was asked, and what that cost."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import amount, choice, column, count, market_day, moment, text

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
