"""What prosumers are paid, and who carries the charging: by hand."""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest

from vpp_pipeline.core.calendar import pacific_moment_utc
from vpp_pipeline.dispatch.payments import payments_of
from vpp_pipeline.dispatch.schedule import sold_by_hour
from vpp_pipeline.negotiation.contract import COLUMNS
from vpp_pipeline.negotiation.opportunities import hours_covered
from vpp_pipeline_tests.examples import DAY

NOON = pacific_moment_utc(DAY, 12)
POWERS = ["discharge_kw", "solar_sold_kw", "spin_kw", "nonspin_kw"]


def opportunity(name: str, product: str, price: float, hour: int = 0, duration: int = 1) -> dict[str, object]:
    start = NOON + timedelta(hours=hour)
    return {
        "opportunity_id": name,
        "product": product,
        "start_utc": start,
        "duration_hours": duration,
        "forecast_price": price,
    }


def option(
    name: str, prosumer: str, agreed: float, kw: float = 10.0, least: float = 20.0, **prices: float
) -> dict[str, object]:
    """A deal at a fixed price; with other ``prices`` an indexed one, agreed at what the forecast pays."""
    fixed = {"floor": agreed, "cap": agreed, "reference": math.nan, "share": math.nan, "recharge_factor": 0.0}
    return {
        "market_date": DAY,
        "opportunity_id": name,
        "prosumer_id": prosumer,
        "holds_option": True,
        "committed_capacity_kw": kw,
        "agreed_price_usd_per_mwh": agreed,
        "reservation_price_usd_per_mwh": least,
        **{COLUMNS[name]: value for name, value in (fixed | prices).items()},
    }


def delivery(prosumer: str, hour: int = 0, **kw: float) -> dict[str, object]:
    powers = {name: float(kw.get(name, 0.0)) for name in POWERS}
    state = {"charge_kw": 0.0, "stored_kwh": kw.get("stored_kwh", 5.0)}
    return {"prosumer_id": prosumer, "start_utc": NOON + timedelta(hours=hour)} | powers | state


def envelope(deliveries: list[dict[str, object]]) -> pl.DataFrame:
    """Owners who keep 5 kWh and let 100 kW in and out."""
    limits = {"max_charge_kw": 100.0, "max_discharge_kw": 100.0, "min_stored_kwh": 5.0}
    return pl.DataFrame([{k: row[k] for k in ("prosumer_id", "start_utc")} | limits for row in deliveries])


def paid(
    opportunities: list[dict[str, object]],
    options: list[dict[str, object]],
    deliveries: list[dict[str, object]],
    recover: dict[str, float] | None = None,
    idle: tuple[str, ...] = (),
) -> dict[tuple[str, str], dict[str, float]]:
    """Payments by opportunity and prosumer."""
    names = [str(row["opportunity_id"]) for row in opportunities]
    charging = dict.fromkeys((str(row["prosumer_id"]) for row in deliveries), 0.0) | (recover or {})
    table = payments_of(
        pl.DataFrame(opportunities),
        pl.DataFrame(options),
        pl.DataFrame(deliveries),
        pl.DataFrame({"opportunity_id": names, "is_bid": [name not in idle for name in names]}),
        pl.DataFrame({"prosumer_id": list(charging), "to_recover_usd": list(charging.values())}),
        envelope(deliveries),
    )
    return {(row["opportunity_id"], row["prosumer_id"]): row for row in table.iter_rows(named=True)}


def test_a_payment_is_the_agreed_price_times_what_was_delivered() -> None:
    row = paid(
        [opportunity("o", "energy", 80)], [option("o", "a", 50.0)], [delivery("a", discharge_kw=6, solar_sold_kw=2)]
    )["o", "a"]
    assert row["dispatched_kwh"] == row["dispatched_kw"] == 8.0
    assert row["payment_usd"] == pytest.approx(0.40)  # 50 $/MWh x 8 kWh
    assert row["satisfaction_score"] == pytest.approx(5 + 5 * 0.8 * 0.6)  # 8 of 10 kW; (50 - 20) / 50


def test_reserve_is_paid_for_the_capacity_held() -> None:
    calls = [opportunity("s", "spin", 4), opportunity("n", "nonspin", 2)]
    rows = paid(calls, [option("s", "a", 3.0), option("n", "a", 1.0)], [delivery("a", spin_kw=6, nonspin_kw=4)])
    assert rows["s", "a"]["payment_usd"] == pytest.approx(0.018)
    assert rows["n", "a"]["payment_usd"] == pytest.approx(0.004)


def test_a_block_is_paid_for_all_its_hours_though_members_rotate() -> None:
    calls, options = [opportunity("o", "energy", 80, duration=2)], [option("o", "a", 50.0), option("o", "b", 40.0)]
    rows = paid(
        calls,
        options,
        [delivery("a", 0, discharge_kw=10), delivery("b", 0, discharge_kw=2), delivery("b", 1, discharge_kw=10)],
    )
    assert (rows["o", "a"]["dispatched_kwh"], rows["o", "a"]["dispatched_kw"]) == (10.0, 5.0)
    assert (rows["o", "b"]["dispatched_kwh"], rows["o", "b"]["dispatched_kw"]) == (12.0, 6.0)
    assert rows["o", "b"]["payment_usd"] == pytest.approx(0.48)


def test_charging_is_split_by_what_each_bid_leaves_after_payment() -> None:
    # a delivers 10 kWh twice: (100 - 40) and (60 - 40) $/MWh leave 0.60 and 0.20 $; 0.40 $ of charging splits 3 : 1
    calls, options = (
        [opportunity("x", "energy", 100), opportunity("y", "energy", 60, 1)],
        [option("x", "a", 40.0), option("y", "a", 40.0)],
    )
    rows = paid(calls, options, [delivery("a", 0, discharge_kw=10), delivery("a", 1, discharge_kw=10)], {"a": 0.40})
    assert rows["x", "a"]["charging_cost_usd"] == pytest.approx(0.30)
    assert rows["y", "a"]["charging_cost_usd"] == pytest.approx(0.10)


def test_an_indexed_deal_is_paid_what_the_forecast_pays_and_called_for_its_floor() -> None:
    """Of 80 $ the owner gets 60; and a share of half beyond 10 reaches a floor of 30 at 50."""
    calls = [opportunity("o", "energy", 80), opportunity("s", "spin", 80)]
    shared = option("s", "a", 45.0, floor=30.0, cap=60.0, reference=10.0, share=0.5)
    rows = paid(
        calls, [option("o", "a", 60.0, floor=20.0, cap=60.0), shared], [delivery("a", discharge_kw=10, spin_kw=4)]
    )
    names = ("agreed_price_usd_per_mwh", "call_price_usd_per_mwh", "payment_usd", "satisfaction_score")
    assert [rows["o", "a"][name] for name in names] == pytest.approx([60.0, 20.0, 0.60, 5 + 5 * 40 / 60])
    assert [rows["s", "a"][name] for name in names] == pytest.approx([45.0, 50.0, 0.18, 5 + 5 * 0.4 * 25 / 45])


def test_charging_is_split_by_what_each_bid_leaves_after_its_call_price() -> None:
    # called for 40, whatever is paid: (100 - 40) and (60 - 40) $/MWh split 0.40 $ of charging 3 : 1
    calls = [opportunity("x", "energy", 100), opportunity("y", "energy", 60, 1)]
    options = [option("x", "a", 80.0, floor=40.0, cap=80.0), option("y", "a", 60.0, floor=40.0, cap=80.0)]
    rows = paid(calls, options, [delivery("a", 0, discharge_kw=10), delivery("a", 1, discharge_kw=10)], {"a": 0.40})
    assert [rows[name, "a"]["charging_cost_usd"] for name in "xy"] == pytest.approx([0.30, 0.10])


def test_a_bid_that_leaves_nothing_carries_no_charging() -> None:
    calls, options = (
        [opportunity("x", "energy", 100), opportunity("y", "energy", 30, 1)],
        [option("x", "a", 40.0), option("y", "a", 40.0)],
    )
    rows = paid(calls, options, [delivery("a", 0, discharge_kw=10), delivery("a", 1, discharge_kw=10)], {"a": 0.40})
    assert rows["x", "a"]["charging_cost_usd"] == pytest.approx(0.40)
    assert rows["y", "a"]["charging_cost_usd"] == 0.0


@pytest.mark.parametrize(("price", "to_recover"), [(30.0, 0.4), (100.0, -0.4), (100.0, 0.0)])
def test_charging_without_a_bearer_stays_unallocated(price: float, to_recover: float) -> None:
    # below the agreed price nothing is left to carry it; charging that sales have saved is no cost
    rows = paid(
        [opportunity("o", "energy", price)],
        [option("o", "a", 40.0)],
        [delivery("a", discharge_kw=10)],
        {"a": to_recover},
    )
    assert rows["o", "a"]["charging_cost_usd"] == 0.0


def test_each_prosumer_carries_only_its_own_charging() -> None:
    calls, options = [opportunity("o", "energy", 100)], [option("o", "a", 40.0), option("o", "b", 40.0)]
    rows = paid(calls, options, [delivery("a", discharge_kw=9), delivery("b", discharge_kw=1)], {"a": 0.1, "b": 0.05})
    assert [rows["o", who]["charging_cost_usd"] for who in "ab"] == pytest.approx([0.1, 0.05])


def test_dust_and_opportunities_without_a_bid_are_not_paid() -> None:
    calls, options = (
        [opportunity("o", "energy", 80), opportunity("s", "spin", 4)],
        [option("o", "a", 50.0), option("s", "a", 3.0)],
    )
    assert paid(calls, options, [delivery("a", discharge_kw=1e-7, spin_kw=5)], idle=("s",)) == {}


def test_sales_by_hour_name_their_product() -> None:
    sold = sold_by_hour(pl.DataFrame([delivery("a", discharge_kw=1, solar_sold_kw=2, spin_kw=4, nonspin_kw=8)]))
    assert dict(sold.select("product", "sold_kw").rows()) == {"energy": 3.0, "spin": 4.0, "nonspin": 8.0}


def test_a_block_covers_each_of_its_hours_once() -> None:
    hours = hours_covered(pl.DataFrame([opportunity("o", "energy", 80, duration=3)]))
    assert hours["start_utc"].to_list() == [NOON + timedelta(hours=k) for k in range(3)]


def test_who_is_let_down_is_content_with_nothing() -> None:
    kept, broken = (
        paid(
            [opportunity("o", "energy", 80)], [option("o", "a", 50.0)], [delivery("a", discharge_kw=10, stored_kwh=kwh)]
        )
        for kwh in (5.0, 4.9)  # the owner keeps 5 kWh
    )
    assert kept["o", "a"]["satisfaction_score"] == pytest.approx(5 + 5 * 30 / 50)
    assert broken["o", "a"]["satisfaction_score"] == 0.0
    assert broken["o", "a"]["payment_usd"] == kept["o", "a"]["payment_usd"]
