"""Answers as a model might give them, made by our own rules for the local server: no language model is behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Question = dict[str, Any]
Answer = dict[str, Any]


def _answer(question: Question, counter: Callable[[Question], float], final: Callable[[Question], float]) -> Answer:
    entries = []
    for each in question["segments"]:
        told = question | {"segment": each}
        low, high = (min(1.0, max(0.0, fraction(told))) for fraction in (counter, final))
        entries.append({"segment": each["segment"], "counter_fraction": low, "final_fraction": high})
    return {"segments": entries}


def chance(question: Question, salt: str) -> np.random.Generator:
    """Random numbers that depend on the question and a salt alone, so that a repetition gives the same answer."""
    text = json.dumps([salt, question], sort_keys=True)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def seeded(question: Question, seed: int = 20230815) -> Answer:
    """Near the rule, a little to one side or the other: what the example answers hold."""
    draw = chance(question, f"seeded {seed}")
    return _answer(
        question,
        lambda told: round(told["rule"] + float(draw.uniform(-0.1, 0.1)), 2),
        lambda _: round(1.0 - float(draw.uniform(0.0, 0.05)), 2),
    )


def random(question: Question) -> Answer:
    """Any fractions at all."""
    draw = chance(question, "random")
    return _answer(question, lambda _: float(draw.uniform()), lambda _: float(draw.uniform()))


def hostile(question: Question) -> Answer:
    """Nothing at all is conceded: every deal is lost, as far as it is let."""
    return _answer(question, lambda _: 0.0, lambda _: 0.0)


def spendthrift(question: Question) -> Answer:
    """Everything is conceded at once: every deal is as dear as it is let."""
    return _answer(question, lambda _: 1.0, lambda _: 1.0)


def good(question: Question) -> Answer:
    """Patient where supply is ample: gives way late, and in the end all the way, so that no deal is lost by it."""
    return _answer(question, lambda told: told["rule"] - told["may_differ_by"], lambda _: 1.0)


def anything(question: Question) -> Answer:
    """An answer to whichever of our questions it is: advice, a formulation, or limits in a note."""
    if "segments" in question:
        return seeded(question)
    if "note" not in question:
        weights = {name: question["weights"][name] for name in ("risk_aversion", "tail_fraction")}
        return {**weights, "satisfaction_usd_per_mwh": 0.1, "charging_adder_usd_per_mwh": 0.0, "stricter": []}
    quote = "I want 60 % left"
    found = {"preference": "backup_reserve_fraction", "number": 0.6, "text": None, "device": None, "quote": quote}
    return {"limits": [found] if quote in question["note"] else []}
