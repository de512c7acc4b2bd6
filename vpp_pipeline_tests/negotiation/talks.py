"""Negotiations in a form that a test can spell out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.negotiation.negotiate import Adviser, negotiate
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.examples import terms_of

DEAL = ["opportunity_id", "prosumer_id"]
ENDS = ["accept", "withdraw", "reject"]

#: supply (50 + 25) / R 50 = 1.5 makes the aggregator's patience 1: offers rise from half of 80 evenly, 40, 60, 80.
#: a falls from 70 to 30 in equal steps; b holds out (patience 1/2): a quarter of the way from 130 to 90 at half time.
TWO = terms_of([[50, 25]], [[30, 90]], [[70, 130]], [[80, 80]], required_kw=[50.0], patience=[1.0, 0.5])


def fixed(**policy: Any) -> NegotiationPolicy:
    """A policy of fixed prices."""
    return NegotiationPolicy(contract="fixed", **policy)


def talk(terms: Terms, adviser: Adviser | None = None, **policy: object) -> pl.DataFrame:
    """Every word about a fixed price."""
    return negotiate(terms, fixed(**policy), adviser).messages


def agreements(terms: Terms, adviser: Adviser | None = None, **policy: object) -> pl.DataFrame:
    """Who is in at a fixed price and who is out."""
    return negotiate(terms, fixed(**policy), adviser).agreements


def lines(messages: pl.DataFrame, prosumer: str) -> list[tuple[int, str, float]]:
    """What was said with one prosumer: round, kind, price, in order of speech."""
    order = pl.col("kind").replace_strict({"ask": 0, "offer": 1, "accept": 2, "withdraw": 2, "reject": 2})
    said = messages.filter(prosumer_id=prosumer).sort("round", order)
    return [(r, kind, round(price, 9)) for r, kind, price in said.select("round", "kind", "price_usd_per_mwh").rows()]


def prices(messages: pl.DataFrame, prosumer: str, kind: str) -> list[float]:
    """What one side said to or as one prosumer, round by round."""
    return messages.filter(prosumer_id=prosumer, kind=kind).sort("round")["price_usd_per_mwh"].to_list()


def asking(terms: Terms, reservation: Array) -> Terms:
    """The same terms with other reservation prices; opening asks keep their distance."""
    return replace(terms, reservation=reservation, opening_ask=terms.opening_ask - terms.reservation + reservation)


def every_pair(terms: Terms) -> list[tuple[int, int]]:
    """Places of all opportunities and prosumers."""
    return list(np.ndindex(terms.capacity_kw.shape))
