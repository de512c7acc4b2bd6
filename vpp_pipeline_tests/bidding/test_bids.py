"""Final bids: money to the cent, names that stay, and a day whose sums close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest

from vpp_pipeline.bidding.bids import Stamp, form_bids, reconcile
from vpp_pipeline.core.calendar import pacific_moment_utc
from vpp_pipeline.settings import FleetSettings, MarketRules, NegotiationPolicy, OptimiserSettings, Settings
from vpp_pipeline.verification.bids import bid_curves_are_valid_for_caiso
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import AUTUMN, DAY, SPRING

NOON = pacific_moment_utc(DAY, 12)
STAMP = Stamp("f1", "0.1.0", 7, "run", datetime(2023, 8, 14, 15, tzinfo=UTC))
MONEY = ["expected_revenue_usd", "payments_usd", "charging_cost_usd", "expected_profit_usd"]


def by_hand(
    is_bid: bool = True, status: str = "agreed", stamp: Stamp = STAMP, called: float = 50.0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """0.12 MW at 80 $/MWh: three members deliver 40 kW each at 50 $/MWh and recover 0.40 $ of charging each.

    They are ``called`` for that price too, or for a lower floor.
    """
    key = pl.DataFrame({"opportunity_id": ["energy_20230815_1200"], "market_date": [DAY]})
    who = pl.DataFrame({"prosumer_id": ["a", "b", "c"]})
    opportunity = key.with_columns(
        product=pl.lit("energy"), start_utc=NOON, duration_hours=1, required_capacity_mw=0.12, forecast_price=80.0
    )
    summary = key.with_columns(status=pl.lit(status), reason=pl.lit("because"))
    positions = key.with_columns(
        is_bid=pl.lit(is_bid), quantity_mw=0.12 if is_bid else 0.0, shadow_price_usd_per_mwh=5.0
    )
    options = key.join(who, how="cross").with_columns(committed_capacity_kw=pl.Series([40.0, 40.0, 80.0]))
    payments = options.with_columns(
        dispatched_kw=40.0,
        dispatched_kwh=40.0,
        agreed_price_usd_per_mwh=50.0,
        call_price_usd_per_mwh=pl.lit(called),
        payment_usd=2.0,
        charging_cost_usd=0.4,
        satisfaction_score=pl.Series([6.0, 6.0, 8.0]),
    )
    fleet = who.with_columns(discharge_efficiency=0.9, availability_fraction=0.9)
    paid = payments if is_bid else payments.clear()
    return form_bids(opportunity, summary, options, positions, paid, fleet, MarketRules(), stamp)


def test_a_bid_by_hand() -> None:
    bid = by_hand()[0].row(0, named=True)
    # revenue 80 x 0.12 = 9.60; payments 3 x 2.00; charging 3 x 0.40; profit 2.40, a quarter of the revenue
    assert [bid[column] for column in MONEY] == [9.60, 6.00, 1.20, 2.40]
    assert bid["profit_margin_fraction"] == 0.25
    assert (bid["status"], bid["total_capacity_mw"], bid["coalition_size"]) == ("bid", 0.12, 3)
    assert bid["bid_price_usd_per_mwh"] == 60.0  # average cost 7.20 / 0.12 = 60; merit order 50 + 9 / 0.9 = 60
    assert bid["reliability_score"] == pytest.approx(0.9**3)  # 96 of 120 kW need all three
    assert bid["satisfaction_score"] == pytest.approx(7.0)  # (40 x 6 + 40 x 6 + 80 x 8) / 160
    assert bid["reason"] == "because; 0.12 MW delivered by 3 of them"
    assert (bid["seed"], bid["code_version"], bid["run_id"], bid["fingerprint"]) == (7, "0.1.0", "run", "f1")


def test_a_bid_asks_what_its_members_are_called_for_and_expects_to_pay_what_the_forecast_pays() -> None:
    bids, segments = by_hand(called=20.0)
    bid = bids.row(0, named=True)
    assert [bid[column] for column in MONEY] == [9.60, 6.00, 1.20, 2.40]
    assert bid["bid_price_usd_per_mwh"] == 30.0  # (3 x 20 x 0.04 + 3 x 0.40) / 0.12
    assert segments["price_usd_per_mwh"].unique().to_list() == [30.0]


@pytest.mark.parametrize(("status", "reason"), [("no_bid", "because"), ("agreed", "the day earns more without it")])
def test_a_row_without_a_bid_has_no_money_and_no_price(status: str, reason: str) -> None:
    bids, segments = by_hand(is_bid=False, status=status)
    row = bids.row(0, named=True)
    assert segments.is_empty()
    assert (row["status"], row["total_capacity_mw"], row["coalition_size"]) == ("no_bid", 0.0, 0)
    assert [row[column] for column in MONEY] == [0.0] * 4
    for column in ("bid_price_usd_per_mwh", "profit_margin_fraction", "reliability_score", "satisfaction_score"):
        assert row[column] is None
    assert row["reason"].startswith(reason)


def test_the_same_inputs_give_the_same_name_and_others_another() -> None:
    def name(stamp: Stamp) -> str:
        return by_hand(stamp=stamp)[0]["bid_id"][0]

    later = Stamp("f1", "0.1.0", 7, "another run", datetime(2023, 8, 14, 16, tzinfo=UTC))
    assert name(STAMP) == name(later)
    assert name(STAMP) != name(Stamp("f2", "0.1.0", 7, "run", STAMP.created_utc))
    assert name(STAMP).startswith("vpp_bid_energy_20230815_1200_")


def test_the_books_by_hand() -> None:
    bids = pl.DataFrame(
        {
            "status": ["bid", "bid", "no_bid"],
            "forecast_price": [80.0, 10.004, 50.0],
            "expected_mw": [0.12, 1.0, 0.0],
            "duration_hours": [1, 1, 1],
            "expected_profit_usd": [3.60, 2.00, 0.0],  # 9.60 - 6.00; 10.00 - 8.00
        }
    )
    payments = pl.DataFrame(
        {
            "opportunity_id": ["o", "p"],
            "prosumer_id": ["a", "b"],
            "payment_usd": [6.0, 8.0],
            "charging_cost_usd": [0.0, 0.0],
            "agreed_price_usd_per_mwh": [50.0, 8.0],
            "call_price_usd_per_mwh": [45.0, 8.0],
            "dispatched_kwh": [120.0, 1000.0],
        }
    )
    least = payments.select("opportunity_id", "prosumer_id", reservation_price_usd_per_mwh=pl.Series([40.0, 8.0]))
    charging = pl.DataFrame({"no_sale_charging_usd": [1.0, 2.0]})
    proof = pl.DataFrame({"market_date": [DAY], "objective_usd": [2.90]})
    top_ups = pl.DataFrame({"top_up_usd": [0.401, 0.602]})
    books = reconcile(bids, payments, least, charging, proof, top_ups, 10.0).row(0, named=True)
    assert books["sum_bid_profit_usd"] == 5.60
    assert books["rounding_usd"] == pytest.approx(0.004)  # 10.004 was shown as 10.00
    assert books["satisfaction_term_usd"] == 0.13  # 10 $/MWh x (45 - 40) / 45 x 0.12 MWh
    assert books["premium_usd"] == 0.60  # (50 - 45) $/MWh x 0.12 MWh
    assert books["no_sale_value_usd"] == -3.0
    assert books["unallocated_usd"] == pytest.approx(2.90 - 0.13 - 0.60 + 3.00 - 5.60)  # -0.43
    assert (books["top_ups_usd"], books["kept_profit_usd"]) == (1.00, pytest.approx(5.17 - 1.00))


# --- whole days ----------------------------------------------------------------------------------------------------

DAYS: list[tuple[date, int, Settings]] = [
    (DAY, 200, Settings()),
    (
        DAY,
        30,
        Settings(
            optimiser=OptimiserSettings(satisfaction_weight_usd_per_mwh=8.0),
            negotiation=NegotiationPolicy(contract="fixed"),
        ),
    ),
    (DAY, 30, Settings(optimiser=OptimiserSettings(charging_adder_usd_per_mwh=4.0))),
    (DAY, 30, Settings(fleet=FleetSettings(initial_stored_fraction=0.4))),  # EVs must charge to be ready
    (
        SPRING,
        30,
        Settings(optimiser=OptimiserSettings(node_limit=50)),
    ),  # many bids are nearly alike: the search is long
    (AUTUMN, 30, Settings()),
    (DAY, 30, Settings(negotiation=NegotiationPolicy(engine="uniform_clearing", posted="half_share"))),
]
NAMES = ["default", "fixed, satisfaction", "charging adder", "EVs need charging", "23 hours", "25 hours", "half share"]
whole_days = pytest.mark.parametrize("arguments", DAYS, ids=NAMES)


def cents(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)


@whole_days
def test_every_claim_holds_on_an_honest_day(
    solved_day: Callable[..., SolvedDay], arguments: tuple[object, ...]
) -> None:
    day = solved_day(*arguments)
    broken = {
        name: result.description
        for name, result in verify(day.tables, day.settings).items()
        if not (result.passed or result.is_warning)
    }
    assert broken == {}
    assert (day.tables["bids.final_bids"]["status"] == "bid").sum() > 3


@whole_days
def test_the_days_sums_close_to_the_cent(solved_day: Callable[..., SolvedDay], arguments: tuple[object, ...]) -> None:
    day = solved_day(*arguments)
    books = {k: v for k, v in day.tables["dispatch.reconciliation"].row(0, named=True).items() if k != "market_date"}
    exact = {name: Decimal(repr(value)) for name, value in books.items()}
    left = exact["sum_bid_profit_usd"] + exact["unallocated_usd"]
    right = exact["objective_usd"] - exact["satisfaction_term_usd"] - exact["premium_usd"] - exact["no_sale_value_usd"]
    assert left == right
    assert cents(day.solution.objective_usd) == exact["objective_usd"]
    profits = day.tables["bids.final_bids"]["expected_profit_usd"]
    assert sum((Decimal(repr(profit)) for profit in profits), Decimal(0)) == exact["sum_bid_profit_usd"]


@whole_days
def test_unallocated_is_charging_that_no_bid_carries(
    solved_day: Callable[..., SolvedDay], arguments: tuple[object, ...]
) -> None:
    day = solved_day(*arguments)
    books = day.tables["dispatch.reconciliation"].row(0, named=True)
    carried = day.tables["dispatch.payments"]["charging_cost_usd"].sum()
    unallocated = carried - day.tables["dispatch.charging"]["to_recover_usd"].sum() + books["rounding_usd"]
    assert books["unallocated_usd"] == pytest.approx(unallocated, abs=0.0151)  # three figures are rounded to cents


def test_satisfaction_and_charging_really_occur_in_these_days(solved_day: Callable[..., SolvedDay]) -> None:
    books = [solved_day(*arguments).tables["dispatch.reconciliation"].row(0, named=True) for arguments in DAYS]
    assert books[1]["satisfaction_term_usd"] > 0.1
    assert books[3]["no_sale_value_usd"] < -1.0
    assert any(abs(row["unallocated_usd"]) > 0.05 for row in books)  # charging that no bid carries
    assert books[0]["premium_usd"] > 1.0
    assert books[1]["premium_usd"] == 0.0


@whole_days
def test_each_bids_money_is_exact_arithmetic_of_cents(
    solved_day: Callable[..., SolvedDay], arguments: tuple[object, ...]
) -> None:
    for bid in solved_day(*arguments).tables["bids.final_bids"].iter_rows(named=True):
        revenue, payments, charging, profit = (Decimal(repr(bid[column])) for column in MONEY)
        assert all(amount == cents(float(amount)) for amount in (revenue, payments, charging, profit))
        assert profit == revenue - payments - charging
        due = bid["forecast_price"] * bid["total_capacity_mw"] * bid["duration_hours"]
        assert float(revenue) == pytest.approx(due, abs=0.0050001)


def test_the_requested_noon_trades_at_its_offered_price(solved_day: Callable[..., SolvedDay]) -> None:
    bids = solved_day(DAY, 200).tables["bids.final_bids"]
    noon = bids.row(by_predicate=pl.col("opportunity_id") == "energy_20230815_1200", named=True)
    assert (noon["status"], noon["forecast_price"], noon["required_capacity_mw"]) == ("bid", 85.0, 2.0)
    assert noon["expected_revenue_usd"] == round(85.0 * noon["total_capacity_mw"], 2)


def test_every_opportunity_has_one_row(solved_day: Callable[..., SolvedDay]) -> None:
    day = solved_day(DAY, 200)
    assert sorted(day.tables["bids.final_bids"]["opportunity_id"]) == sorted(
        day.tables["market.opportunities"]["opportunity_id"]
    )


def test_no_bid_asks_more_than_the_market_allows(solved_day):
    """A cap of 50 $/MWh: where the last MW would be worth more, the bid asks the cap."""
    low = Settings.model_validate({"rules": {"energy_price_cap_usd_per_mwh": 50.0}})
    day = solved_day(prosumers=30, settings=low, requests=())
    dearest = day.tables["bids.bid_segments"]["price_usd_per_mwh"].max()
    assert dearest == 50.0
    assert bid_curves_are_valid_for_caiso(day.tables, day.settings).passed
