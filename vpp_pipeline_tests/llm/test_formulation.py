"""What a model may weigh: every specification is safe, a dear one is refused, and the books stay the desk's own."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.bidding.valid_bids import refusals_of
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.scenarios import expected_of
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import proof_table
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.llm.formulation import Formulated, FormulationSpec, compiled, formulate, formulation_question, judge
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.negotiation.agreements import options
from vpp_pipeline.pipeline import bid_solution, prepare_problem
from vpp_pipeline.schemas import Proof
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.llm.example_answers import EXAMPLE_DAY
from vpp_pipeline_tests.llm.spoken import Say, Spoken

#: at fixed prices, above what owners ask at least: a call at an indexed deal's floor has no surplus to be weighed
SETTINGS = Settings.model_validate(
    {
        "fleet": {"prosumers": 50},
        "negotiation": {"contract": "fixed"},
        "optimiser": {"node_limit": 40},
        "model_use": {"formulation": True},
        "resources": {"participation": "hourly"},
    }
)
PLAIN: dict[str, Any] = {
    "risk_aversion": 0.0,
    "tail_fraction": 0.1,
    "satisfaction_usd_per_mwh": 0.0,
    "charging_adder_usd_per_mwh": 0.0,
    "stricter": [],
}
GENTLE = PLAIN | {"satisfaction_usd_per_mwh": 0.5}
SEVERE = PLAIN | {
    "stricter": [{"kind": "hold_back", "fraction": 0.5}, {"kind": "fewer_cycles", "cycles_per_day": 0.25}]
}


@cache
def day() -> tuple[Tables, DayProblem]:
    """The example day's tables up to its negotiation, and its problem."""
    return prepare_problem(DayInputs(EXAMPLE_DAY, SETTINGS, None, None, None).tables(), SETTINGS)


def least_prices() -> np.ndarray:
    return options(day()[0]["negotiation.agreements"])["reservation_price_usd_per_mwh"].to_numpy()


@cache
def _solved(answer: str) -> Formulated:
    return formulate(day()[1], least_prices(), SETTINGS, Spoken(lambda _: json.loads(answer)))


def solved(answer: dict[str, Any]) -> Formulated:
    return _solved(json.dumps(answer))


# the list is closed


@pytest.mark.parametrize(
    "change",
    [
        {"minimum_backup_fraction": 0.0},
        {"risk_aversion": 1.5},
        {"risk_aversion": float("nan")},
        {"risk_aversion": "0.5"},
        {"tail_fraction": 0.0},
        {"satisfaction_usd_per_mwh": 50.0},
        {"charging_adder_usd_per_mwh": -5.0},
        {"stricter": [{"kind": "export_limit", "factor": 2.0}]},
        {"stricter": [{"kind": "hold_back", "fraction": -0.5}]},
        {"stricter": [{"kind": "hold_back", "fraction": 0.1}, {"kind": "hold_back", "fraction": 0.2}]},
        {"stricter": [{"kind": "fewer_cycles", "cycles_per_day": 100.0}]},
        {"stricter": [{"kind": "longer_calls", "hours": 2.0, "floor_kwh": 0.0}]},
        {"code": "import os"},
    ],
    ids=str,
)
def test_what_is_not_in_the_list_cannot_be_named(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FormulationSpec.model_validate(PLAIN | change)


STRICTER = st.lists(
    st.one_of(
        st.builds(lambda x: {"kind": "hold_back", "fraction": x}, st.floats(0, 0.5)),
        st.builds(lambda x: {"kind": "fewer_cycles", "cycles_per_day": x}, st.floats(0.25, 4)),
        st.builds(lambda x: {"kind": "longer_calls", "hours": x}, st.floats(0.5, 4)),
    ),
    max_size=3,
    unique_by=lambda limit: limit["kind"],
)


@given(st.floats(0, 1), st.floats(0.05, 1), st.floats(0, 10), st.floats(0, 20), STRICTER)
@tries(100)
def test_every_specification_keeps_or_tightens_each_limit(
    aversion: float, tail: float, weight: float, adder: float, stricter: list[dict[str, Any]]
) -> None:
    spec = FormulationSpec(
        risk_aversion=aversion,
        tail_fraction=tail,
        satisfaction_usd_per_mwh=weight,
        charging_adder_usd_per_mwh=adder,
        stricter=stricter,  # type: ignore[arg-type]
    )
    plain = day()[1]
    found = compiled(spec, plain, least_prices())
    assert (found.committed_kw <= plain.committed_kw).all()
    assert (found.fleet.maximum_cycles_per_day <= plain.fleet.maximum_cycles_per_day).all()
    assert found.call_hours >= plain.call_hours
    assert found.charging_adder >= plain.charging_adder
    changeable = {"committed_kw", "fleet", "call_hours", "charging_adder", "satisfaction_worth", "scenarios"}
    assert all(vars(found)[name] is vars(plain)[name] for name in vars(plain) if name not in changeable)
    mine, theirs = vars(found.fleet), vars(plain.fleet)
    assert all(mine[name] is theirs[name] for name in theirs if name != "maximum_cycles_per_day" and name in mine)


# the shadow solve


def test_a_cheap_specification_is_accepted_and_booked_in_the_desks_own_terms() -> None:
    found, problem = solved(GENTLE), day()[1]
    assert found.is_accepted, found.verdict
    solution = found.solution
    assert solution.objective_usd == pytest.approx(expected_of(problem, solution))
    assert solution.bound_usd >= solution.objective_usd
    assert "weighed by a language model" in solution.method
    assert found.plain_profit_usd is not None
    assert found.formulated_profit_usd is not None
    assert found.formulated_profit_usd >= 0.98 * found.plain_profit_usd - 1.0
    assert found.formulated_objective_usd != found.plain_objective_usd


def test_an_accepted_day_passes_every_check_by_the_desks_settings() -> None:
    (negotiated, problem), found = day(), solved(GENTLE)
    stamp = Stamp("f", "0.1.0", 1, "run", bid_deadline_utc(problem.market_date))
    verdicts = verify(bid_solution(negotiated, problem, found.solution, SETTINGS, stamp), SETTINGS)
    assert [name for name, verdict in verdicts.items() if not (verdict.passed or verdict.is_warning)] == []


def test_bids_that_the_market_would_not_take_stay_out_of_both_formulations() -> None:
    rules = SETTINGS.rules.model_copy(update={"reserve_price_cap_usd_per_mw_h": 5.0})
    capped = SETTINGS.model_copy(update={"rules": rules})
    found = formulate(day()[1], least_prices(), capped, Spoken(lambda _: GENTLE))
    assert found.is_accepted, found.verdict
    assert found.solution.refusals
    assert refusals_of(day()[1], found.solution, rules) == {}
    is_refused = np.isin(day()[1].opportunity_id.astype(str), list(found.solution.refusals))
    assert not found.solution.is_bid[is_refused].any()


def test_a_formulation_that_makes_a_bid_too_dear_is_refused() -> None:
    """The cap lies between what the bids of the plain schedule cost and those of the model's."""
    problem, plain, rare = day()[1], solved(PLAIN).solution, PLAIN | {"stricter": [SEVERE["stricter"][1]]}
    spec = FormulationSpec.model_validate(rare)
    model = solve_day(compiled(spec, problem, least_prices()), SETTINGS.rules, SETTINGS.optimiser)

    def capped(cap: float) -> Settings:
        rules = SETTINGS.rules.model_copy(update={"reserve_price_cap_usd_per_mw_h": cap})
        use = SETTINGS.model_use.model_copy(update={"formulation_loss_fraction": 1.0})
        return SETTINGS.model_copy(update={"rules": rules, "model_use": use})

    def refused_at(cap: float, solution: DaySolution) -> dict[str, str]:
        return refusals_of(problem, solution, capped(cap).rules)

    caps = [cap for cap in np.linspace(5.0, 40.0, 71) if not refused_at(cap, plain) and refused_at(cap, model)]
    assert caps, "the model's limits make no reserve dearer here: choose others"
    found = formulate(problem, least_prices(), capped(caps[0]), Spoken(lambda _: rare))
    assert not found.is_accepted
    assert found.verdict.startswith("refused: the market would not take ")
    assert found.solution.refusals == {}


def test_a_dear_specification_is_refused_and_both_figures_are_kept() -> None:
    found = solved(SEVERE)
    assert not found.is_accepted
    assert "refused" in found.verdict
    assert found.formulated_profit_usd is not None
    assert found.plain_profit_usd is not None
    assert found.formulated_profit_usd < 0.98 * found.plain_profit_usd
    assert found.solution.objective_usd == pytest.approx(found.plain_objective_usd)
    proof = Proof.validate(found.told_in(proof_table(day()[1], found.solution)), cast=True)
    told = proof.row(0, named=True)
    assert json.loads(told["formulation"]) == SEVERE
    assert told["formulation_verdict"] == found.verdict
    assert (told["plain_profit_usd"], told["formulated_profit_usd"]) == (
        found.plain_profit_usd,
        found.formulated_profit_usd,
    )


@pytest.mark.parametrize("loss", [0.0, 0.3, 1.0])
@pytest.mark.slow
def test_what_may_be_lost_is_a_setting(loss: float) -> None:
    plain, shadow = solved(PLAIN), solved(SEVERE)
    problem = day()[1]
    severe = FormulationSpec.model_validate(SEVERE)
    dear = solve_day(compiled(severe, problem, least_prices()), SETTINGS.rules, SETTINGS.optimiser)
    gained = (plain.plain_profit_usd or 0.0) + float(plain.solution.no_sale_charging_usd.sum())
    lost = ((shadow.plain_profit_usd or 0.0) - (shadow.formulated_profit_usd or 0.0)) / gained
    verdict = judge(problem, plain.solution, dear, severe, loss)
    assert verdict.is_accepted == (lost <= loss)


@pytest.mark.parametrize(
    "say",
    [
        lambda _: LLMError(FailKind.SERVER),
        lambda _: LLMError(FailKind.INVALID_OUTPUT),
    ],
)
def test_without_an_answer_the_plain_formulation_stands(say: Say) -> None:
    found = formulate(day()[1], least_prices(), SETTINGS, Spoken(say))
    assert not found.is_accepted
    assert found.verdict.startswith("no answer: ")
    assert found.spec is None
    proof = Proof.validate(found.told_in(proof_table(day()[1], found.solution)), cast=True)
    assert proof["formulation"][0] is None


def test_with_top_ups_no_formulation_is_asked_for() -> None:
    gateway = Spoken(lambda _: GENTLE)
    owen = SETTINGS.model_copy(update={"payments": SETTINGS.payments.model_copy(update={"rule": "owen"})})
    assert not formulate(day()[1], least_prices(), owen, gateway).is_accepted
    assert gateway.asked == []


def test_a_question_holds_sums_and_weights_and_nobody() -> None:
    asked = formulation_question(day()[1], SETTINGS)
    told = json.loads(asked.user)
    assert set(told) == {"products", "prosumers", "scenarios", "weights", "largest_loss_fraction"}
    assert "prosumer_" not in asked.user


def test_a_schedule_worse_than_no_bid_is_never_accepted() -> None:
    found, problem = solved(GENTLE), day()[1]
    idle = replace(found.solution, no_sale_charging_usd=found.solution.no_sale_charging_usd - 1e6)
    spec = FormulationSpec.model_validate(GENTLE)
    assert not judge(problem, idle, found.solution, spec, 1.0).is_accepted
