"""Random terms and policies, with the boundaries that floating point makes interesting."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.examples import terms_of

PRICE = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 20.0, 35.0, 50.0]), st.floats(0, 200))
CEILING = st.one_of(PRICE, st.floats(-50, 0))
MARKUP = st.one_of(st.just(0.0), PRICE)
KW = st.one_of(st.just(0.0), st.floats(0.001, 500))
ENGINE = st.sampled_from(["concession", "uniform_clearing"])
CONTRACT = st.sampled_from(["indexed", "fixed"])
FIXED = st.just("fixed")


@st.composite
def cases(
    draw: st.DrawFn, engine: st.SearchStrategy[str] = ENGINE, contract: st.SearchStrategy[str] = CONTRACT
) -> tuple[Terms, NegotiationPolicy]:
    """Terms of 1-3 opportunities and 1-4 prosumers, and the policy they are negotiated under."""
    count, members = draw(st.integers(1, 3)), draw(st.integers(1, 4))

    def array(values: st.SearchStrategy[float]) -> list[list[float]]:
        return draw(st.lists(st.lists(values, min_size=members, max_size=members), min_size=count, max_size=count))

    reservation = array(PRICE)
    asks = (np.array(reservation) + np.array(array(MARKUP))).tolist()
    patience = draw(st.lists(st.floats(0.1, 8), min_size=members, max_size=members))
    required_kw = draw(st.lists(st.floats(1, 1000), min_size=count, max_size=count))
    policy = NegotiationPolicy(
        engine=draw(engine),
        contract=draw(contract),
        posted=draw(st.sampled_from(["cap", "half_share"])),
        posted_multiple=draw(st.sampled_from([1.0, 1.5, 4.0])),
        rounds=draw(st.integers(1, 10)),
        opening_offer_fraction=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        auction_depth=draw(st.sampled_from([1.0, 3.0, 50.0])),
    )
    more = {
        "segment": draw(st.lists(st.sampled_from(["home ev", "shop"]), min_size=members, max_size=members)),
        "expected_price": draw(st.lists(CEILING, min_size=count, max_size=count)),
        "recharge_factor": draw(st.lists(st.sampled_from([0.0, 1.25]), min_size=members, max_size=members)),
        "cheapest": draw(st.sampled_from([0.0, 18.0])),
    }
    return terms_of(array(KW), reservation, asks, array(CEILING), required_kw, patience, **more), policy
