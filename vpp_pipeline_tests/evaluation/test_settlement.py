"""Awards by segment and money at the prices that cleared."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.evaluation.settlement import Delivery, draw_available, imbalance_usd, same_source, settle
from vpp_pipeline.negotiation.contract import COLUMNS
from vpp_pipeline.settings import SettlementSettings

NOON = "energy_20230815_1200"
EVENING = "energy_20230815_1900"


def settled(day, name: str, price: float) -> dict[str, float]:
    """One bid's settlement when ``price`` clears in every hour of its product."""
    tables = day.tables
    prices = tables["market.price_forecast"].with_columns(energy_usd_per_mwh=pl.lit(price))
    rows = settle(tables["market.opportunities"], tables["bids.final_bids"], tables["bids.bid_segments"], prices)
    return rows.row(by_predicate=pl.col("opportunity_id") == name, named=True)


def curve_of(day, name: str) -> pl.DataFrame:
    bid = day.tables["bids.final_bids"].row(by_predicate=pl.col("opportunity_id") == name, named=True)
    return day.tables["bids.bid_segments"].filter(pl.col("bid_id") == bid["bid_id"])


def test_a_price_above_the_curve_awards_all_of_it(solved_day):
    day = solved_day()
    row = settled(day, EVENING, 500.0)
    assert row["awarded_mw"] == pytest.approx(row["bid_mw"])
    assert row["revenue_usd"] == pytest.approx(500.0 * row["bid_mw"], abs=0.005)
    assert row["profit_usd"] == pytest.approx(row["revenue_usd"] - row["payments_usd"] - row["charging_cost_usd"])


def test_a_price_at_the_first_segment_awards_just_that(solved_day):
    day = solved_day()
    curve = curve_of(day, EVENING)
    first = curve.row(0, named=True)
    assert curve.height > 1
    row = settled(day, EVENING, first["price_usd_per_mwh"])
    wanted = curve.filter(pl.col("price_usd_per_mwh") <= first["price_usd_per_mwh"])["to_mw"].max()
    assert row["awarded_mw"] == pytest.approx(wanted)
    assert row["payments_usd"] < settled(day, EVENING, 500.0)["payments_usd"]


def test_a_cent_less_awards_nothing_and_costs_nothing(solved_day):
    day = solved_day()
    least = curve_of(day, EVENING)["price_usd_per_mwh"][0]
    row = settled(day, EVENING, least - 0.01)
    assert [row[name] for name in ("awarded_mw", "revenue_usd", "payments_usd", "charging_cost_usd")] == [0, 0, 0, 0]


def test_a_request_is_paid_its_offered_price_whatever_clears(solved_day):
    row = settled(solved_day(), NOON, -20.0)
    assert row["clearing_price"] == 85.0
    assert row["revenue_usd"] == pytest.approx(85.0 * row["bid_mw"])


@pytest.mark.parametrize("change", [{"source": "caiso file"}, {"node": "TH_NP15_GEN-APND"}])
def test_bids_are_not_settled_at_the_prices_of_another_source(solved_day, change: dict[str, str]):
    forecast = solved_day().tables["market.price_forecast"]
    same_source(forecast, forecast)
    with pytest.raises(InputError, match="rest on other prices"):
        same_source(forecast, forecast.with_columns(**{name: pl.lit(value) for name, value in change.items()}))


START, DAY = datetime(2023, 8, 15, 19, tzinfo=UTC), date(2023, 8, 15)


def two_members(
    product: str, price: float, away: str, awarded: float = 1.0, factor: float = 1.25, **indexed: float
) -> dict[str, float]:
    """A bid of 1 MW for one hour: 0.6 MW of `a` and 0.4 MW of `b`, paid 30 $/MWh, wear 10; curve at 40 and 60 $.

    Their deals are at that fixed price, or ``indexed`` (:data:`~vpp_pipeline.negotiation.contract.COLUMNS`).
    """
    opportunities = pl.DataFrame(
        {
            "opportunity_id": ["o"],
            "market_date": [DAY],
            "product": [product],
            "start_utc": [START],
            "duration_hours": [1],
            "forecast_price": [70.0],
            "origin": ["policy"],
        }
    )
    bids = opportunities.select(
        "opportunity_id",
        "market_date",
        "product",
        "duration_hours",
        "forecast_price",
        bid_id=pl.lit("b1"),
        status=pl.lit("bid"),
        total_capacity_mw=pl.lit(1.0),
        payments_usd=pl.lit(30.0),
        charging_cost_usd=pl.lit(5.0),
    )
    segments = pl.DataFrame(
        {
            "bid_id": ["b1", "b1"],
            "from_mw": [0.0, awarded],
            "to_mw": [awarded, 1.0],
            "price_usd_per_mwh": [40.0, 60.0],
        }
    ).filter(pl.col("to_mw") > pl.col("from_mw"))
    prices = pl.DataFrame(
        {
            "start_utc": [START],
            "energy_usd_per_mwh": [price],
            "spin_usd_per_mw_h": [price],
            "nonspin_usd_per_mw_h": [price],
        }
    )
    payments = pl.DataFrame(
        {
            "opportunity_id": ["o", "o"],
            "prosumer_id": ["a", "b"],
            "dispatched_kw": [600.0, 400.0],
            "payment_usd": [18.0, 12.0],
        }
    )
    comes = [0.0 if name in away else 1.0 for name in "ab"]
    share = awarded if price < 60.0 else 1.0
    kw = [share * there * planned for there, planned in zip(comes, (600.0, 400.0), strict=True)]
    powers = ("grid_charge_kw", "discharge_kw", "solar_sold_kw", "spin_kw", "nonspin_kw")
    nothing = {name: [0.0, 0.0] for name in powers}
    sold = nothing | {"discharge_kw" if product == "energy" else f"{product}_kw": kw}
    done = pl.DataFrame({"prosumer_id": ["a", "b"], "start_utc": [START, START], **sold}).with_columns(
        pl.col("start_utc").cast(opportunities.schema["start_utc"])
    )
    members = pl.DataFrame(
        {
            "prosumer_id": ["a", "b"],
            "is_there": ["a" not in away, "b" not in away],
            "is_let_down": [False, False],
            "wear_usd_per_mwh": [10.0, 10.0],
        }
    )
    deals = payments.select(
        "opportunity_id",
        "prosumer_id",
        market_date=pl.lit(DAY),
        agreed_price_usd_per_mwh=pl.lit(30.0),
        reservation_price_usd_per_mwh=pl.lit(20.0),
        committed_capacity_kw=pl.lit(600.0),
        **{COLUMNS[name]: pl.lit(value) for name, value in indexed.items()},
    )
    rows = settle(opportunities, bids, segments, prices, Delivery(deals, payments, done, members, factor))
    return rows.row(0, named=True)


def money(row: dict[str, float]) -> list[float]:
    names = ("revenue_usd", "no_pay_usd", "imbalance_usd", "payments_usd", "charging_cost_usd", "profit_usd")
    return [row[name] for name in names]


def test_with_everyone_there_all_is_delivered():
    """1 MWh at 50 $: 50 − 30 − 5 = 15."""
    row = two_members("energy", 50.0, away="")
    assert money(row) == [50.0, 0.0, 0.0, 30.0, 5.0, 15.0]
    assert (row["delivered_mw"], row["shortfall_mw"], row["absent_members"], row["wear_usd"]) == (1.0, 0.0, 0, 10.0)


def test_missing_energy_is_bought_back_at_the_price_times_the_factor():
    """0.4 MWh at 50 · 1.25 = 25 $; only `a` is paid, 18 $: 50 − 25 − 18 − 5 = 2."""
    row = two_members("energy", 50.0, away="b")
    assert money(row) == [50.0, 0.0, 25.0, 18.0, 5.0, 2.0]
    assert (row["delivered_mw"], row["absent_members"], row["wear_usd"]) == (0.6, 1, 6.0)


def test_missing_reserve_is_not_paid_and_costs_no_more():
    """0.4 MW at 50 $ are taken back: 50 − 20 − 18 − 5 = 7."""
    assert money(two_members("spin", 50.0, away="b")) == [50.0, 20.0, 0.0, 18.0, 5.0, 7.0]


def test_a_partial_award_takes_its_part_of_everything():
    """50 $ buys 0.8 MW: 40 − 0.32 · 62.5 − 0.8 · 18 − 0.8 · 5 = 1.6."""
    assert money(two_members("energy", 50.0, away="b", awarded=0.8)) == [40.0, 0.0, 20.0, 14.4, 4.0, 1.6]


def test_a_request_that_nobody_meets_costs_its_whole_energy():
    assert money(two_members("energy", 100.0, away="ab")) == [100.0, 0.0, 125.0, 0.0, 5.0, -30.0]


@pytest.mark.parametrize(
    ("price", "floor", "paid_usd"),
    [
        (48.0, 30.0, 36.0),  # 48 less a quarter of it for recharging, between floor and cap
        (200.0, 30.0, 45.0),  # the cap
        (40.0, 30.0, 30.0),  # the floor, just
        (40.0, 31.0, 45.0),  # called below its floor: forced, and paid the cap
    ],
)
def test_an_indexed_delivery_is_paid_by_what_clears(price: float, floor: float, paid_usd: float):
    """1 MWh, for which 0.25 MWh are bought at the price of the only hour."""
    row = two_members("energy", price, away="", floor=floor, cap=45.0, recharge_factor=0.25)
    assert row["payments_usd"] == pytest.approx(paid_usd)


@given(st.floats(-100.0, 500.0), st.floats(-10.0, 10.0), st.floats(1.0, 3.0))
def test_an_imbalance_is_never_better_than_the_price(price: float, surplus_mwh: float, factor: float):
    paid = imbalance_usd(np.array([price]), np.array([surplus_mwh]), factor)[0]
    assert paid <= price * surplus_mwh + 1e-9
    assert paid == pytest.approx(price * surplus_mwh - (factor - 1.0) * abs(price * surplus_mwh), abs=1e-6)


def test_draw_available_is_drawn_once_per_day_and_seed():
    chance, settings = np.full(2_000, 0.95), SettlementSettings()
    found = draw_available(chance, DAY, settings)
    np.testing.assert_array_equal(found, draw_available(chance, DAY, settings))
    assert (found != draw_available(chance, date(2023, 8, 16), settings)).any()
    assert found.mean() == pytest.approx(0.95, abs=0.02)
    fixed = draw_available(chance, DAY, SettlementSettings(availability="fixed"))
    assert fixed.mean() == pytest.approx(0.8, abs=0.03)
    assert not (fixed & ~found).any()  # who is there at 80 % is there at 95 % as well
