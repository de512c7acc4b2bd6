"""Views of storage resources: on a day written by hand, and on one that the chain made.

By hand: the pool `vpp` is cut into `vpp-01` (a and b) and `vpp-02` (c); `east` is bid hour by hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.published import STORAGE, published
from vpp_pipeline_tests.warehouse.made import Made
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY

NOON, ONE = (datetime(2023, 8, 15, hour, tzinfo=UTC) for hour in (19, 20))
BOTH = ["vpp-01", "vpp-01"]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path)
    made.table(
        "market.resources",
        resource_id=["vpp", "east"],
        participation=["storage", "hourly"],
        node=["N", "N"],
        maximum_mw=[9.0, 3.0],
        certified_spin_mw=[None, 1.0],
        certified_nonspin_mw=[0.0, 1.0],
    )
    made.table(
        "fleet.prosumers",
        prosumer_id=["a", "b", "c", "d"],
        site_id=["home", "home", "shop", "barn"],
        resource_id=["vpp", "vpp", "vpp", "east"],
    )
    made.table("fleet.storage_members", prosumer_id=["a", "b", "c"], resource_id=["vpp-01", "vpp-01", "vpp-02"])
    made.table(
        "dispatch.storage_resources",
        resource_id=["vpp-01", "vpp-02"],
        pool_id=["vpp", "vpp"],
        bound_members=[1, 1],
        initial_stored_mwh=[0.5, 0.0],
        certified_spin_mw=[0.4, 0.2],
        certified_nonspin_mw=[0.0, 0.0],
    )
    made.table(
        "dispatch.storage_limits",
        resource_id=BOTH,
        start_utc=[NOON, ONE],
        self_schedule_mw=[0.0, 0.1],
        max_charge_mw=[0.6, 0.0],
        max_discharge_mw=[0.0, 0.5],
        charge_price_usd_per_mwh=[-0.0, -0.0],
        discharge_price_usd_per_mwh=[None, 33.333],
        lowest_stored_mwh=[0.0, 0.0],
        highest_stored_mwh=[1.0, 1.0],
    )
    made.table(
        "dispatch.storage_plan",
        resource_id=BOTH,
        start_utc=[NOON, ONE],
        charge_mw=[0.4, 0.0],
        discharge_mw=[0.0, 0.3],
        spin_mw=[0.2, 0.1],
        nonspin_mw=[0.0, 0.0],
        stored_mwh=[0.86, 0.53],
        stored_value_usd_per_mwh=[40.0, 41.0],
    )
    made.table(
        "market.price_forecast",
        start_utc=[NOON, ONE],
        hour_ending=[13, 14],
        energy_usd_per_mwh=[20.0, 60.0],
        spin_usd_per_mw_h=[5.0, 6.0],
        nonspin_usd_per_mw_h=[1.0, 1.0],
    )
    bids = ["charge", "sell", "spin", "nonspin", "east"]
    made.table(
        "bids.final_bids",
        bid_id=bids,
        opportunity_id=bids,
        resource_id=[*BOTH, *BOTH, "east"],
        product=["energy", "energy", "spin", "nonspin", "energy"],
        status=["bid"] * 5,
        start_utc=[NOON, ONE, ONE, ONE, ONE],
        duration_hours=[1] * 5,
        total_capacity_mw=[0.0, 0.5, 0.6, 0.6, 2.0],
        required_capacity_mw=[0.001, 0.5, 0.7, 0.7, 2.0],
        expected_mw=[-0.4, 0.4, 0.1, 0.0, 2.0],
        forecast_price=[20.0, 60.0, 6.0, 1.0, 60.0],
        bid_price_usd_per_mwh=[None, 33.34, 2.0, 1.0, 50.0],
        coalition_size=[0, 1, 1, 1, 1],
        expected_revenue_usd=[-8.0, 24.0, 0.6, 0.0, 120.0],
        expected_profit_usd=[-8.0, 14.0, 0.4, 0.0, 20.0],
        payments_usd=[0.0, 10.0, 0.2, 0.0, 100.0],
        reason=["charges", "sells", "holds", "holds", "sells"],
    )
    made.table("market.opportunities", opportunity_id=bids, closed_reason=[None] * 5)
    made.table("dispatch.positions", opportunity_id=bids, shadow_price_usd_per_mwh=[0.0] * 5, refusal=[None] * 5)
    made.table("negotiation.summary", opportunity_id=bids, status=["agreed"] * 5)
    made.table(
        "bids.bid_segments",
        bid_id=["charge", "sell", "sell", "spin", "nonspin", "east"],
        segment=[1, 1, 2, 1, 1, 1],
        from_mw=[-0.6, 0.1, 0.6, 0.0, 0.0, 0.0],
        to_mw=[0.0, 0.6, 0.725, 0.6, 0.6, 2.0],
        price_usd_per_mwh=[-0.0, 33.34, 1000.0, 2.0, 1.0, 50.0],
    )
    return made


def test_an_hour_has_its_range_its_plan_and_its_state_of_charge_before_and_after(made: Made):
    answer = made.ask(
        """select pacific, pool_id, offered_spin_mw, charge_price_usd_per_mwh, forecast_energy_usd_per_mwh,
                  round(planned_net_mw, 6), planned_opening_mwh, planned_stored_mwh, awarded_net_mw
           from dispatch.storage_by_hour order by start_utc"""
    )
    assert answer == [
        ("12:00", "vpp", 0.0, 0.0, 20.0, -0.4, 0.5, 0.86, None),
        ("13:00", "vpp", 0.6, 0.0, 60.0, 0.4, 0.86, 0.53, None),
    ]


def test_a_settled_hour_has_the_award_beside_the_plan(made: Made):
    columns = {"charge_mw": [0.0, 0.0], "discharge_mw": [0.0, 0.5], "stored_mwh": [0.5, -0.05]}
    made.table("evaluation.storage_awards", resource_id=BOTH, start_utc=[NOON, ONE], **columns)
    asked = "select round(awarded_net_mw, 6), awarded_stored_mwh from dispatch.storage_by_hour order by start_utc"
    assert made.ask(asked) == [(0.0, 0.5), (0.6, -0.05)]


def test_a_pool_has_a_row_for_each_storage_resource_that_bids(made: Made):
    answer = made.ask(
        """select resource_id, pool_id, participation, prosumers, bound_members, maximum_mw, max_charge_mw,
                  certified_spin_mw, is_assumed, bids, energy_mwh, charge_mwh, reserve_mw_h, expected_profit_usd
           from bids.by_resource order by resource_id"""
    )
    assert answer == [
        ("east", None, "hourly", 1, None, 3.0, 0.0, 1.0, False, 1, 2.0, 0.0, 0.0, 20.0),
        # sun and reserve share Pmax; both reserves are offered over the same MW and count once
        ("vpp-01", "vpp", "storage", 2, 1, 0.7, 0.6, 0.4, True, 4, 0.5, 0.6, 0.6, 6.4),
    ]


def test_a_curve_in_words_begins_at_its_charging(made: Made):
    answer = made.ask("select opportunity_id, curve, expected_mwh from bids.bids_of_day where product = 'energy'")
    assert sorted(answer) == [
        ("charge", "-0.60 to 0.00 MW from $0.00", -0.4),
        ("east", "2.00 MW from $50.00", 2.0),
        ("sell", "0.10 to 0.60 MW from $33.34, 0.725 MW from $1,000.00", 0.4),
    ]


def test_oasis_has_negative_points_and_the_sun_as_a_row_of_its_own(made: Made):
    answer = made.ask(
        """select PRODUCTBID_DESC, RESOURCE_TYPE, SELFSCHEDMW, SCH_BID_XAXISDATA, SCH_BID_Y1AXISDATA, SCH_BID_CURVETYPE,
                  TIMEINTERVALSTART, SCH_BID_TIMEINTERVALSTART
           from bids.oasis where MARKETPRODUCTTYPE = 'EN' and PRODUCTBID_DESC != 'east'"""
    )
    noon, one, kind = "2023-08-15 12:00:00", "2023-08-15 13:00:00", "GENERATOR"
    assert answer == [
        ("charge", kind, None, -0.6, 0.0, "BIDPRICE", None, noon),
        ("charge", kind, None, 0.0, 0.0, "BIDPRICE", None, noon),
        ("sell", kind, 0.1, None, None, None, one, None),
        ("sell", kind, None, 0.1, 33.34, "BIDPRICE", None, one),
        ("sell", kind, None, 0.6, 1000.0, "BIDPRICE", None, one),
        ("sell", kind, None, 0.725, 1000.0, "BIDPRICE", None, one),
    ]
    asked = "select count(MINEOHSTATEOFCHARGE), count(MAXEOHSTATEOFCHARGE), count(SELFSCHEDMW) from bids.oasis"
    assert made.ask(asked) == [(0, 0, 1)]


def test_a_position_tells_what_is_offered_and_what_clears(made: Made):
    answer = made.ask(
        """select pacific, bid_mw, charge_bid_mw, expected_mw from dispatch.position_by_hour
           where product = 'energy' order by start_utc"""
    )
    assert answer == [("12:00", 0.0, 0.6, -0.4), ("13:00", 2.5, 0.0, 2.4)]


def test_more_charging_at_the_same_discharge_is_a_change(made: Made):
    later = datetime(2023, 8, 16, 19, tzinfo=UTC)
    made.table("market.price_forecast", NEXT_DAY, start_utc=[later], hour_ending=[13])
    made.table("dispatch.storage_limits", NEXT_DAY, resource_id=["vpp-01"], start_utc=[later], max_charge_mw=[0.7])
    made.table(
        "bids.final_bids",
        NEXT_DAY,
        bid_id=["next"],
        resource_id=["vpp-01"],
        product=["energy"],
        status=["bid"],
        start_utc=[later],
        total_capacity_mw=[0.0],
        bid_price_usd_per_mwh=[None],
    )
    asked = "select day_before, mw_now, charge_mw_before, charge_mw_now, what from bids.changes where hour_ending = 13"
    assert made.ask(asked) == [(DAY, 0.0, 0.6, 0.7, "changed")]


def test_a_site_names_the_storage_resources_of_its_devices(made: Made):
    asked = "select site_id, resource_id, storage_resources from fleet.sites order by site_id"
    assert made.ask(asked) == [("barn", "east", None), ("home", "vpp", "vpp-01"), ("shop", "vpp", "vpp-02")]


def test_a_storage_bid_is_explained_segment_by_segment(made: Made):
    why = dict(made.ask("select opportunity_id, why from explain.bid"))
    assert why["charge"] == (
        "No discharge is bid in this hour. "
        "Charging of up to 0.600 MW is bid at $0.00/MWh, as it costs nothing beyond the market's price; what the "
        "energy earns later is the market's to weigh. "
        "At the forecast of $20.00/MWh it charges 0.400 MW; state of charge 0.500 to 0.860 MWh of 0.000 to 1.000, a "
        "stored MWh then worth $40.00."
    )
    assert why["sell"] == (
        "Discharge of up to 0.500 MW, R is 0.500 MW, is bid from $33.34/MWh, the mean floor of 1 member. "
        "0.100 MW of the members' sun is a self-schedule, sold whatever the price: the forecast reaches their floors. "
        "The last 0.125 MW, at the market's cap of $1,000.00/MWh, cover reserve that members hold beyond this power: "
        "reserve needs an energy bid over its range. "
        "At the forecast of $60.00/MWh it discharges 0.300 MW; state of charge 0.860 to 0.530 MWh of 0.000 to 1.000, a "
        "stored MWh then worth $41.00."
    )
    assert why["spin"] == (
        "0.600 of 0.700 MW from $2.00/MW per hour, the mean floor of 1 member; the market awards energy and reserve "
        "over the same MW. At the forecast of $6.00/MW per hour 0.100 MW of it clear; state of charge 0.860 to 0.530 "
        "MWh of 0.000 to 1.000, a stored MWh then worth $41.00."
    )
    binding = dict(made.ask("select opportunity_id, binding from explain.bid"))
    assert binding == {
        "charge": "energy: charging, sun, or cover of reserve alone",
        "sell": "R: required capacity is reached",
        "spin": "deals: members without one for all that their part may be asked for are left out",
        "nonspin": "deals: members without one for all that their part may be asked for are left out",
        "east": "R: required capacity is reached",
    }


def test_a_member_gives_its_part_or_is_left_out(made: Made):
    made.table(
        "negotiation.agreements",
        opportunity_id=["sell"] * 2,
        prosumer_id=["a", "b"],
        holds_option=[True, True],
        committed_capacity_kw=[400.0, 300.0],
        agreed_price_usd_per_mwh=[33.0, 34.0],
    )
    made.table(
        "dispatch.storage_shares",
        prosumer_id=["a", "b"],
        resource_id=BOTH,
        is_bound=[True, False],
        share_fraction=[0.625, 0.0],
    )
    made.table(
        "dispatch.payments", opportunity_id=["sell"], prosumer_id=["a"], dispatched_kw=[187.5], payment_usd=[6.2]
    )
    ((why,),) = made.ask("select why from explain.bid where opportunity_id = 'sell'")
    assert " 1 member delivers, from a mean floor of $" in why
    asked = "select prosumer_id, limit_name, share_fraction from explain.member order by prosumer_id"
    assert made.ask(asked) == [
        ("a", "its part (62.5%) of the award to its storage resource", 0.625),
        ("b", "left out: no deal for all that its part may be asked for", 0.0),
    ]


@pytest.fixture(scope="module")
def day(solved_day) -> SolvedDay:
    return solved_day(settings=STORAGE, requests=())


@pytest.fixture(scope="module")
def warehouse(day: SolvedDay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(day, tmp_path_factory.mktemp("storage"), is_settled=False) / "vpp.duckdb"


def ask(warehouse: Path, question: str) -> list[tuple]:
    with open_warehouse(warehouse) as connection:
        return connection.execute(question).fetchall()


def test_what_clears_at_the_forecast_adds_up_in_every_view(day: SolvedDay, warehouse: Path):
    """Plan by hour, bids, and position of the same day."""
    plan = ask(
        warehouse,
        "select sum(planned_net_mw), sum(planned_spin_mw + planned_nonspin_mw), sum(max_charge_mw) "
        "from dispatch.storage_by_hour",
    )
    assert plan[0][2] > 0.0
    is_energy = "product = 'energy'"
    sums = f"sum(expected_mwh) filter ({is_energy}), sum(expected_mwh) filter (not {is_energy})"
    bids = f"select {sums} from bids.bids_of_day"
    position = "select sum(charge_bid_mw), sum(expected_mw) from dispatch.position_by_hour"
    assert ask(warehouse, bids)[0] == pytest.approx(plan[0][:2], abs=1e-6)
    assert ask(warehouse, position)[0] == pytest.approx((plan[0][2], plan[0][0] + plan[0][1]), abs=1e-6)
    assert ask(
        warehouse, "select count(*) from bids.by_resource where participation = 'storage' and prosumers > 0"
    ) == [(day.tables["dispatch.storage_resources"].height,)]
    assert ask(warehouse, "select sum(prosumers) from bids.by_resource") == [(60,)]


def test_every_storage_bid_is_explained(warehouse: Path):
    asked = "select count(*), count(why) filter (why like '%state of charge%') from explain.bid where status = 'bid'"
    ((bids, explained),) = ask(warehouse, asked)
    assert bids == explained > 500


def test_oasis_curves_rise_and_reserve_is_covered(warehouse: Path):
    falls = """
        select count(*) from (
            select SCH_BID_Y1AXISDATA - lag(SCH_BID_Y1AXISDATA) over curve as step
            from bids.oasis where MARKETPRODUCTTYPE = 'EN' and SELFSCHEDMW is null
            window curve as (partition by PRODUCTBID_MRID order by SCH_BID_XAXISDATA, SCH_BID_Y1AXISDATA)
        ) where step < 0"""
    assert ask(warehouse, falls) == [(0,)]
    asked = "select count(*) filter (SCH_BID_XAXISDATA < 0), count(SELFSCHEDMW) from bids.oasis"
    ((negative, sun),) = ask(warehouse, asked)
    assert negative > 0
    assert sun > 0
