"""One opportunity in a single call: the original project's example, and what it says to input it cannot use."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import vpp_pipeline
from vpp_pipeline.cli.main import main
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.schemas.documents import CycleResult, MarketOpportunity
from vpp_pipeline.settings import FleetSettings, NegotiationPolicy, PaymentSettings, Settings

DAY = date(2023, 8, 15)
NOON = datetime(2023, 8, 15, 12)
FLEET = generate_fleet(FleetSettings(), DAY)
MARKET = pl.DataFrame(
    {
        "timestamp": [NOON + timedelta(hours=k) for k in range(3)],
        "lmp": [40.0, 44.0, 48.0],
        "spin_price": [3.0, 3.0, 3.0],
        "nonspin_price": [1.0, 1.0, 1.0],
    }
)
EXAMPLE = MarketOpportunity(
    opportunity_id="energy_20230815_1200",
    market_type="energy",
    timestamp=NOON,
    duration_hours=1.0,
    required_capacity_mw=2.0,
    market_price_mwh=85.0,
    deadline=datetime(2023, 8, 15, 11, 45),
)


FIXED = NegotiationPolicy(contract="fixed")


def run_cycle(settings: Settings | None = None, **changes: object) -> CycleResult:
    return vpp_pipeline.run_cycle(EXAMPLE.model_copy(update=changes), FLEET, MARKET, settings or Settings())


def test_the_originals_example_is_met_and_its_money_adds_up():
    result = run_cycle()
    bid, plan = result.final_bid, result.optimization
    assert bid is not None
    assert bid.total_capacity_mw == pytest.approx(sum(plan.dispatch_schedule.values()) / 1000.0, abs=1e-5) == 2.0
    paid = sum(plan.prosumer_payments.values())
    assert bid.expected_profit == pytest.approx(2.0 * 85.0 - paid, abs=0.011)
    assert bid.profit_margin == pytest.approx(bid.expected_profit / 170.0)
    assert 0.0 < bid.bid_price_mwh <= paid / 2.0  # calls at floors; what the forecast pays is no less
    assert bid.coalition_size == len(plan.dispatch_schedule) >= 3


def test_the_readmes_example_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    stated = re.search(r"the bid is then `(.+?)`", text, re.DOTALL)
    assert code
    assert stated
    monkeypatch.chdir(tmp_path)
    assert main(["make-fleet", "--out", "my_fleet.csv"]) == 0
    exec(code[1], {})
    printed = capsys.readouterr().out.split()
    assert [word for word in stated[1].split() if word not in (*printed, "…")] == []


def test_owners_share_the_profit_where_the_desk_wants_it():
    settings = Settings(payments=PaymentSettings(rule="owen"), negotiation=FIXED)
    plain, shared = run_cycle(Settings(negotiation=FIXED)), vpp_pipeline.run_cycle(EXAMPLE, FLEET, MARKET, settings)
    assert plain.prosumer_top_ups == {}
    assert shared.final_bid == plain.final_bid.model_copy(update={"bid_id": shared.final_bid.bid_id})
    assert min(shared.prosumer_top_ups.values()) == 0.0
    assert 1.0 < sum(shared.prosumer_top_ups.values()) <= 0.9 * shared.final_bid.expected_profit + 0.01


def test_an_ev_is_not_emptied_before_it_leaves():
    """Nothing recharges it in a single opportunity, so it keeps its ready charge, and more than that it may sell."""
    ev = FLEET.filter(pl.col("has_v2g")).head(1).with_columns(
        capacity_kwh=pl.lit(75.0), max_discharge_kw=pl.lit(10.0), export_limit_kw=pl.lit(10.0), ev_ready_hour=None,
        ev_departure_hour=pl.lit(17, pl.Int32), ev_arrival_hour=pl.lit(19, pl.Int32), ev_ready_fraction=pl.lit(0.8),
    )  # fmt: skip
    cars = pl.concat(
        [ev.with_columns(prosumer_id=pl.lit(f"car_{k}"), site_id=pl.lit(f"site_{k}")) for k in range(1, 31)]
    )
    full, ready = (cars.with_columns(initial_stored_kwh=pl.lit(kwh)) for kwh in (75.0, 60.0))
    wanted = EXAMPLE.model_copy(update={"required_capacity_mw": 0.2})
    bids = [vpp_pipeline.run_cycle(wanted, fleet, MARKET).final_bid for fleet in (full, ready)]
    assert bids[0] is not None
    assert bids[1] is None


def test_a_single_opportunity_dispatches_the_cheapest_options_first():
    """With one hour and no charging the best plan is the merit order of fixed prices: solved here by sorting."""
    result = run_cycle(Settings(negotiation=FIXED))
    members = sorted(result.negotiation.coalition_members, key=lambda member: member.agreed_price_per_mwh)
    left_kw, cost_usd = 2000.0, 0.0
    for member in members:
        taken_kw = min(member.committed_capacity_kw, left_kw)
        cost_usd += taken_kw * member.agreed_price_per_mwh / 1000.0
        left_kw -= taken_kw
    assert sum(result.optimization.prosumer_payments.values()) == pytest.approx(cost_usd, abs=1e-4)


def test_pandas_and_polars_give_the_same_answer():
    pandas = vpp_pipeline.run_cycle(EXAMPLE, FLEET.to_pandas(), MARKET.to_pandas())
    assert isinstance(MARKET.to_pandas(), pd.DataFrame)
    assert pandas.model_dump(exclude={"created"}) == run_cycle().model_dump(exclude={"created"})


def test_without_an_offered_price_the_markets_own_is_taken():
    block = run_cycle(market_price_mwh=None, duration_hours=3.0, required_capacity_mw=0.5)
    assert block.final_bid is not None
    mwh = 3 * block.final_bid.total_capacity_mw
    paid = sum(block.optimization.prosumer_payments.values())
    assert block.optimization.expected_profit == pytest.approx(np.mean([40.0, 44.0, 48.0]) * mwh - paid, abs=0.011)


def test_too_much_and_too_cheap_are_no_bid_with_a_reason():
    large, cheap = run_cycle(required_capacity_mw=50.0), run_cycle(Settings(negotiation=FIXED), market_price_mwh=5.0)
    assert large.final_bid is None
    assert "below 80% of 50.0 MW" in large.negotiation.reason
    assert cheap.final_bid is None
    assert "no deal" in cheap.negotiation.reason
    assert cheap.optimization.dispatch_schedule == {}
    assert cheap.reason == cheap.negotiation.reason


def test_rounds_follow_the_settings_and_reserve_is_held_not_sold():
    settings = Settings(negotiation=NegotiationPolicy(rounds=1))
    spin = EXAMPLE.model_copy(update={"market_type": "spin", "market_price_mwh": None, "required_capacity_mw": 0.6})
    result = vpp_pipeline.run_cycle(spin, FLEET, MARKET, settings)
    assert result.negotiation.negotiation_rounds == 1
    assert result.final_bid is not None
    assert result.optimization.expected_profit < 3.0 * 0.6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"required_capacity_mw": 0.05}, "too small for the market"),
        ({"market_type": "spin", "required_capacity_mw": 0.3}, "too small for the market"),
        ({"timestamp": datetime(2023, 8, 15, 12, 30)}, "whole hours of one market day"),
        ({"duration_hours": 1.5}, "whole hours of one market day"),
        ({"timestamp": datetime(2023, 8, 15, 23), "duration_hours": 2.0}, "whole hours of one market day"),
        ({"timestamp": datetime(2023, 8, 15, 18), "market_price_mwh": None}, "no price for an hour of the block"),
    ],
)
def test_an_opportunity_that_cannot_be_used_says_why(changes: dict[str, object], words: str):
    with pytest.raises(InputError, match=words):
        run_cycle(**changes)


def test_a_broken_fleet_row_and_a_missing_price_column_are_named():
    broken = FLEET.with_columns(capacity_kwh=pl.when(pl.int_range(pl.len()) == 2).then(-1.0).otherwise("capacity_kwh"))
    with pytest.raises(InputError, match="capacity_kwh") as error:
        vpp_pipeline.run_cycle(EXAMPLE, broken, MARKET)
    assert "row 4" in str(error.value)
    with pytest.raises(InputError, match="lmp"):
        vpp_pipeline.run_cycle(EXAMPLE, FLEET, MARKET.drop("lmp"))


def test_documents_keep_the_name_by_which_callers_import_them():
    from vpp_pipeline import messages

    assert messages.MarketOpportunity is vpp_pipeline.MarketOpportunity is MarketOpportunity
    assert {name for name in messages.__all__ if not hasattr(messages, name)} == set()
