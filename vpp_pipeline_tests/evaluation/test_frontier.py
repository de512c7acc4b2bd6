"""Bids under uncertainty, from prices to the published rules; and the frontier that shows what caution costs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.cli.main import main
from vpp_pipeline.evaluation.frontier import risk_frontier, satisfaction_frontier
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import bid
from vpp_pipeline.reporting.pictures import Panel, draw
from vpp_pipeline.schemas import PriceScenarios
from vpp_pipeline.settings import FleetSettings, OptimiserSettings, ResourceSettings, RiskSettings, Settings
from vpp_pipeline.verification.registry import GUARDS
from vpp_pipeline_tests.conftest import DAY

STAMP = Stamp("fingerprint", "0.1.0", 1, "run", datetime(2023, 8, 14, 12, tzinfo=UTC))
CENT = 0.011
#: rules of the schedule and of the bids; those of the file of the fleet need tables that the chain does not make
RULES = [check for check, table in GUARDS.items() if table.split(".")[0] in ("dispatch", "bids")]


def settings(scenarios: int, aversion: float = 0.0, seed: int = 7) -> Settings:
    return Settings(
        fleet=FleetSettings(prosumers=20),
        optimiser=OptimiserSettings(time_limit_seconds=4.0),
        risk=RiskSettings(scenarios=scenarios, aversion=aversion, seed=seed),
        resources=ResourceSettings(participation="hourly"),
    )


@cache
def tables(scenarios: int, aversion: float = 0.0, seed: int = 7) -> dict[str, pl.DataFrame]:
    chosen = settings(scenarios, aversion, seed)
    return bid(DayInputs(DAY, chosen, None, None, None).tables(), chosen, STAMP)


def proof(*case: Any) -> dict[str, float]:
    return tables(*case)["dispatch.proof"].row(0, named=True)


def test_without_aversion_scenarios_change_no_quantity_and_no_money():
    certain, uncertain = tables(1), tables(15)
    for table in ("dispatch.positions", "dispatch.schedule", "dispatch.payments", "dispatch.reconciliation"):
        assert certain[table].equals(uncertain[table]), table
    assert proof(1)["objective_usd"] == pytest.approx(proof(15)["objective_usd"], abs=1e-9)
    assert proof(15)["risk_adjusted_usd"] == pytest.approx(proof(15)["objective_usd"], abs=1e-9)


def test_a_single_scenario_says_so_and_leaves_the_merit_order():
    assert (proof(1)["scenarios"], proof(1)["cvar_usd"], proof(1)["aversion"]) == (1, None, 0.0)
    assert tables(1)["dispatch.scenario_quantities"].is_empty()
    assert tables(1)["market.price_scenarios"].is_empty()


@pytest.mark.parametrize("aversion", [0.0, 0.6])
def test_a_day_held_against_scenarios_keeps_every_rule(aversion: float):
    day, chosen = tables(15, aversion), settings(15, aversion)
    results = {check.__name__: check(day, chosen) for check in RULES}
    assert {name: result.description for name, result in results.items() if not result.passed} == {}
    assert results


def test_caution_gives_up_profit_for_a_better_tail():
    bold, cautious = proof(15), proof(15, 0.6)
    assert cautious["objective_usd"] <= bold["objective_usd"] + CENT
    assert cautious["cvar_usd"] >= bold["cvar_usd"] - CENT
    assert cautious["worst_usd"] <= cautious["cvar_usd"] <= cautious["mean_usd"] <= cautious["objective_usd"]
    weighed = 0.4 * cautious["objective_usd"] + 0.6 * cautious["cvar_usd"]
    assert cautious["risk_adjusted_usd"] == pytest.approx(weighed, abs=1e-6)
    assert cautious["bound_usd"] >= cautious["risk_adjusted_usd"]


def test_energy_curves_rest_on_a_quantity_for_each_scenario_and_the_forecast():
    day = tables(15)
    wanted, bids = day["dispatch.scenario_quantities"], day["bids.final_bids"].filter(pl.col("status") == "bid")
    energy = bids.filter(pl.col("product") == "energy")
    assert energy.height > 0
    assert set(wanted["opportunity_id"]) == set(energy["opportunity_id"])
    assert wanted.height == 16 * energy.height
    most = wanted.join(energy.select("opportunity_id", "total_capacity_mw"), on="opportunity_id")
    assert (most["quantity_mw"] <= most["total_capacity_mw"] + 1e-9).all()


def test_the_same_seed_makes_the_same_bids_and_another_seed_another_tail():
    again = bid(DayInputs(DAY, settings(15), None, None, None).tables(), settings(15), STAMP)
    assert again["bids.bid_segments"].equals(tables(15)["bids.bid_segments"])
    assert again["dispatch.proof"].drop("seconds").equals(tables(15)["dispatch.proof"].drop("seconds"))
    assert proof(15, 0.0, 8)["cvar_usd"] != proof(15)["cvar_usd"]


@pytest.mark.slow
def test_the_frontier_is_monotone():
    chosen = settings(15)
    inputs = DayInputs(DAY, chosen, None, None, None).tables()
    risk = risk_frontier(inputs, chosen, 4)
    assert risk["aversion"].to_list() == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert np.diff(risk["expected_usd"]).max() <= 1e-9
    assert np.diff(risk["cvar_usd"]).min() >= -1e-9
    assert risk["open_usd"].min() >= 0.0
    assert risk["expected_usd"][0] == pytest.approx(proof(1)["objective_usd"], rel=1e-3)

    content = satisfaction_frontier(inputs, chosen, 3)
    assert content["weight_usd_per_mwh"].to_list() == [0.0, 5.0, 10.0]
    assert content["profit_usd"][0] == content["profit_usd"].max()
    assert content["satisfaction"].is_between(5.0, 10.0).all()


def test_a_frontier_of_risk_needs_scenarios():
    inputs = DayInputs(DAY, settings(15), None, None, None).tables()
    with pytest.raises(ValueError, match="price_scenarios"):
        risk_frontier(inputs | {"market.price_scenarios": PriceScenarios.create_empty()}, settings(15), 2)


def test_the_command_prints_both_tables_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "pictures" / "frontier.svg"
    few = ["--prosumers", "12", "--points", "2", "--output", str(picture), "--set", "risk.scenarios=10"]
    quick = ["--set", "optimiser.time_limit_seconds=2"]
    assert main(["frontier", "--date", DAY.isoformat(), "--data", str(tmp_path), *few, *quick]) == 0
    shown = capsys.readouterr().out
    for words in (
        "profit against risk, 10 scenarios",
        "CVaR, worst 10%",
        "profit against satisfaction",
        str(picture),
    ):
        assert words in shown
    assert [file.name for file in tmp_path.iterdir()] == ["pictures"]  # nothing else is written
    drawn = ET.fromstring(picture.read_text())
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "Profit, risk, and satisfaction on Tuesday 15 August 2023" in words
    assert any(word is not None and word.startswith("λ 0") for word in words)


@pytest.mark.slow
def test_both_frontiers_are_printed_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ["--prosumers", "15", "--points", "2", "--set", "risk.scenarios=5", "--set", "optimiser.time_limit_seconds=1"]
    assert main(["frontier", "--date", DAY.isoformat(), "--data", str(tmp_path), *few, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["aversion"] for row in printed["risk"]] == [0.0, 1.0]
    assert [row["weight_usd_per_mwh"] for row in printed["satisfaction"]] == [0.0, 10.0]
    assert Path(printed["picture"]).is_file()


def test_a_picture_places_points_by_their_values_and_shares_a_label_where_they_meet():
    points = [(0.0, 10.0), (10.0, 10.0), (10.0, 10.0)]
    drawn = ET.fromstring(draw("a < b", "note", [Panel("p", "x", "y", points, ["one", "two", "three"])]))
    dots = [
        (float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in drawn.iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert len(dots) == 2
    assert dots[0][0] < dots[1][0]
    assert dots[0][1] == dots[1][1]
    assert "two, three" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
