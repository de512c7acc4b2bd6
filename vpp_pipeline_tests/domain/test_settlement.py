"""Awards by segment and money at the prices that cleared."""

import polars as pl
import pytest

from vpp_pipeline.domain.settlement import same_source, settle
from vpp_pipeline.errors import InputError

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
