"""What the market can buy: sizes by the policy, and requests that replace them."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours, pacific_moment_utc
from vpp_pipeline.negotiation.opportunities import Resource, find_opportunities, hours_of
from vpp_pipeline.negotiation.requests import REQUEST_SCHEMA, Requests, offerable_mw, place_requests
from vpp_pipeline.settings import MarketRules, OpportunityPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.conftest import request_table
from vpp_pipeline_tests.examples import AUTUMN, BATTERY, DAY, SPRING, fleet_of, forecast_of


def battery_of(power_kw: float) -> dict[str, object]:
    """A store so large that only its inverter limits it."""
    large = {"capacity_kwh": 1e6, "initial_stored_kwh": 5e5, "terminal_stored_kwh": 5e5}
    return {**BATTERY, **large, "max_discharge_kw": power_kw, "export_limit_kw": power_kw}


def opportunities(
    *requests: tuple[object, ...],
    mw: float = 10.0,
    day: date = DAY,
    energy: list[float] | float = 50.0,
    **policy: object,
) -> pl.DataFrame:
    """The opportunities of a fleet that offers ``mw`` of every product in every hour."""
    fleet = fleet_of(battery_of(1000.0 * mw), day=day)
    forecast = forecast_of(energy, day=day)
    chosen = OpportunityPolicy(**{"sizing": "fraction", **policy})
    return find_opportunities(day, forecast, fleet, chosen, MarketRules(), request_table(*requests))


def only(rows: pl.DataFrame, opportunity_id: str) -> dict[str, object]:
    return rows.row(by_predicate=pl.col("opportunity_id") == opportunity_id, named=True)


def at(hour: int, day: date = DAY) -> object:
    return pacific_moment_utc(day, hour)


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (SPRING, 23), (AUTUMN, 25)])
def test_the_policy_offers_every_product_in_every_hour(day: date, hours: int) -> None:
    rows = opportunities(day=day)
    assert rows.height == rows["slot"].n_unique() == 3 * hours
    assert rows["origin"].unique().to_list() == ["policy"]
    assert rows["deadline_utc"].unique().to_list() == [bid_deadline_utc(day)]


@pytest.mark.parametrize(
    ("mw", "energy_mw", "spin_mw"),
    [
        (10.0, 1.0, 1.0),
        (12.34, 1.23, 1.23),  # 10 % to the nearest 0.01 MW
        (12.36, 1.24, 1.24),
        (3.0, 0.3, 0.5),  # reserve has a minimum of 0.5 MW
        (0.5, 0.1, 0.5),  # energy of 0.1 MW
    ],
)
def test_required_capacity_is_a_tenth_of_what_can_be_offered(mw: float, energy_mw: float, spin_mw: float) -> None:
    rows = opportunities(mw=mw)
    for product, wanted in (("energy", energy_mw), ("spin", spin_mw), ("nonspin", spin_mw)):
        noon = only(rows, f"{product}_20230815_1200")
        assert noon["required_capacity_mw"] == pytest.approx(wanted)
        assert noon["offerable_capacity_mw"] == pytest.approx(mw)


def test_required_capacity_can_be_fixed() -> None:
    rows = opportunities(sizing="fixed_mw", fixed_mw=0.777)
    assert rows["required_capacity_mw"].unique().to_list() == [0.78]


def test_planned_sizes_are_taken_to_the_step_and_to_the_markets_minimum() -> None:
    fleet, planned = fleet_of(battery_of(10_000.0)), OpportunityPolicy(sizing="planned")
    sizes_mw = np.full((3, 24), 1.234)
    sizes_mw[:, 0] = 0.0
    rows = find_opportunities(DAY, forecast_of(), fleet, planned, MarketRules(), request_table(), sizes_mw)
    assert rows["required_capacity_mw"].unique().sort().to_list() == [0.1, 0.5, 1.23]
    with pytest.raises(ValueError, match="give the planned sizes"):
        find_opportunities(DAY, forecast_of(), fleet, planned, MarketRules(), request_table())


def test_hours_of_energy_below_the_threshold_are_not_offered_and_reserve_always_is() -> None:
    rows = opportunities(energy=[20.0] * 23 + [40.0], minimum_price_usd_per_mwh=40.0)
    energy = rows.filter(pl.col("product") == "energy")
    assert energy["opportunity_id"].to_list() == ["energy_20230815_2300"]
    assert rows.height == 1 + 2 * 24


def test_a_request_replaces_the_policys_hours_of_its_product_and_takes_its_first_slot() -> None:
    prices = [30.0] * 12 + [40.0, 50.0, 90.0] + [30.0] * 9
    rows = opportunities(("energy", at(12), 3, 2.0, 85.0), energy=prices)
    assert rows.height == 72 - 3 + 1
    request = only(rows, "energy_20230815_1200")
    assert (request["slot"], request["duration_hours"], request["origin"]) == ("energy_he13", 3, "request")
    assert (request["required_capacity_mw"], request["forecast_price"]) == (2.0, 85.0)
    assert request["market_price"] == pytest.approx(60.0)  # mean of 40, 50, 90
    ids = rows["opportunity_id"].to_list()
    assert not {"energy_20230815_1300", "energy_20230815_1400"} & set(ids)
    assert {"energy_20230815_1100", "energy_20230815_1500", "spin_20230815_1300"} <= set(ids)


def test_a_block_can_be_offered_only_as_far_as_its_weakest_hour() -> None:
    ev = {**BATTERY, "store": "ev", "ev_departure_hour": 13, "ev_arrival_hour": 15, "ev_ready_fraction": 0.2}
    fleet = fleet_of(ev, battery_of(2_000.0))
    requests = request_table(("energy", at(12), 3, 1.0, 85.0), ("spin", at(12), 1, 1.0, 5.0))
    rows = find_opportunities(DAY, forecast_of(), fleet, OpportunityPolicy(sizing="fraction"), MarketRules(), requests)
    assert only(rows, "energy_20230815_1200")["offerable_capacity_mw"] == pytest.approx(2.0)
    assert only(rows, "energy_20230815_1100")["offerable_capacity_mw"] > 2.0


def test_two_requests_may_touch_and_products_may_share_hours() -> None:
    rows = opportunities(
        ("energy", at(14), 1, 1.0, 85.0), ("energy", at(12), 2, 1.0, 85.0), ("spin", at(12), 2, 1.0, 5.0)
    )
    requested = rows.filter(origin="request")["opportunity_id"].to_list()
    assert requested == ["energy_20230815_1200", "energy_20230815_1400", "spin_20230815_1200"]


def test_requests_of_other_days_are_left_alone() -> None:
    tomorrow = ("energy", at(12, DAY + timedelta(days=1)), 1, 2.0, 85.0)
    assert opportunities(tomorrow).equals(opportunities())
    assert rows_of(placed(tomorrow, GOOD)) == ([3], [])


def test_a_request_for_the_repeated_autumn_hour_ends_in_r() -> None:
    repeated = market_hours(AUTUMN)["start_utc"][2]
    rows = opportunities(("energy", repeated, 2, 2.0, 85.0), day=AUTUMN)
    request = rows.filter(origin="request").row(0, named=True)
    assert (request["opportunity_id"], request["slot"]) == ("energy_20241103_0100r", "energy_he25")
    assert "energy_20241103_0100" in rows["opportunity_id"].to_list()
    assert "energy_20241103_0200" not in rows["opportunity_id"].to_list()


def placed(
    *requests: tuple[object, ...], mw: float = 10.0, day: date = DAY, rules: MarketRules | None = None
) -> Requests:
    """What becomes of requests for ``day`` to a fleet that offers ``mw`` of every product in every hour."""
    fleet, forecast = fleet_of(battery_of(1000.0 * mw), day=day), forecast_of(day=day)
    asked, rules = Requests(request_table(*requests)), rules or MarketRules()
    return place_requests(asked, forecast, offerable_mw(asked, {Resource(): fleet}, rules), rules)


def rows_of(requests: Requests) -> tuple[list[int], list[int]]:
    """Rows of the file that are offered, and rows that are set aside."""
    return requests.rows["file_row"].to_list(), requests.quarantine["file_row"].to_list()


GOOD = ("energy", at(8), 1, 1.0, 85.0)
FAULTS: dict[str, tuple[tuple[object, ...], str, str, str, str]] = {
    "leaves the day": (
        ("energy", at(23), 2, 1.0, 85.0),
        *(
            "duration_hours",
            "2",
            "leaves its market day, which ends 1 h after the start",
            "split it at Pacific midnight",
        ),
    ),
    "energy below the minimum": (
        ("energy", at(12), 1, 0.09, 85.0),
        *("required_capacity_mw", "0.09", "below the market's minimum of 0.1 MW", "Ask for at least 0.1 MW"),
    ),
    "reserve below the minimum": (
        ("spin", at(12), 1, 0.49, 5.0),
        *("required_capacity_mw", "0.49", "below the market's minimum of 0.5 MW", "Ask for at least 0.5 MW"),
    ),
    "no power": (
        ("nonspin", at(12), 1, -2.0, 5.0),
        *("required_capacity_mw", "-2.0", "below the market's minimum of 0.5 MW", "Ask for at least 0.5 MW"),
    ),
    "more than the fleet has": (
        ("energy", at(12), 1, 12.51, 85.0),  # 80% of it are 10.008 MW of 10
        *("required_capacity_mw", "12.51", "the fleet has 10.000 MW of energy", "Ask for at most 12.5 MW"),
    ),
    "energy above the cap": (
        ("energy", at(12), 1, 1.0, 1000.01),
        *("offered_price_usd_per_mwh", "1000.01", "above the market's cap of $1,000.00/MWh", "and $1,000.00/MWh"),
    ),
    "energy below the floor": (
        ("energy", at(12), 1, 1.0, -150.01),
        *("offered_price_usd_per_mwh", "-150.01", "below the market's floor of -$150.00/MWh", "Offer between -$150"),
    ),
    "reserve above the cap": (
        ("spin", at(12), 1, 1.0, 250.01),
        *("offered_price_usd_per_mwh", "250.01", "above the market's cap of $250.00/MW per hour", "and $250.00/MW"),
    ),
    "reserve below the floor": (
        ("nonspin", at(12), 1, 1.0, -0.01),
        *("offered_price_usd_per_mwh", "-0.01", "below the market's floor of $0.00/MW per hour", "Offer between $0.00"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_that_cannot_be_offered_is_set_aside_and_the_others_are_offered(fault: str) -> None:
    request, column, value, problem, remedy = FAULTS[fault]
    found = placed(GOOD, request, ("spin", at(20), 2, 1.0, 5.0))
    assert rows_of(found) == ([2, 4], [3])
    told = found.quarantine.row(0, named=True)
    assert (told["market_date"], told["column_name"], told["value"], told["file"]) == (
        DAY,
        column,
        value,
        "requests.csv",
    )
    assert problem in told["problem"]
    assert remedy in told["remedy"]
    assert json.loads(told["row_json"])["product"] == request[0]


def test_limits_themselves_are_offered_and_so_are_prices_of_nothing_and_less() -> None:
    limits = (
        ("energy", at(8), 1, 0.1, 0.0),
        ("energy", at(9), 1, 1.0, -150.0),
        ("energy", at(10), 1, 12.5, 1000.0),
        ("spin", at(8), 1, 0.5, 0.0),
        ("nonspin", at(22), 2, 1.0, 250.0),
    )
    found = placed(*limits)
    assert rows_of(found) == ([2, 3, 4, 5, 6], [])
    rows = opportunities(*limits)
    assert only(rows, "energy_20230815_0900")["forecast_price"] == -150.0
    assert only(rows, "spin_20230815_0800")["forecast_price"] == 0.0


def test_a_fleet_below_the_markets_minimum_can_offer_no_request() -> None:
    found = placed(("spin", at(12), 1, 0.5, 5.0), mw=0.45)  # 80% of R would fit, the minimum does not
    assert rows_of(found) == ([], [2])
    assert found.quarantine["remedy"].to_list() == ["Ask for other hours"]


def test_a_price_that_no_table_takes_is_set_aside_whatever_the_cap() -> None:
    wide = MarketRules(energy_price_cap_usd_per_mwh=1e9)
    assert rows_of(placed(("energy", at(12), 1, 1.0, 4_999.0), ("energy", at(13), 1, 1.0, 1e6), rules=wide)) == (
        [2],
        [3],
    )


def test_all_that_is_wrong_with_a_request_is_told() -> None:
    found = placed(("spin", at(22), 3, 0.1, 999.0))
    columns = ["duration_hours", "offered_price_usd_per_mwh", "required_capacity_mw"]
    assert found.quarantine["column_name"].to_list() == columns


@pytest.mark.parametrize(
    ("requests", "offered", "aside"),
    [
        # of rows that say the same, the first counts
        ([("spin", 12, 1, 5.0), ("spin", 12, 1, 5.0), ("spin", 12, 1, 5.0)], [2], [3, 4]),
        # of others that share an hour, which is meant is not ours to guess
        ([("spin", 12, 1, 5.0), ("spin", 12, 1, 6.0), ("spin", 13, 1, 6.0)], [4], [2, 3]),
        ([("energy", 12, 3, 85.0), ("energy", 14, 1, 85.0)], [], [2, 3]),
        ([("energy", 14, 2, 85.0), ("energy", 12, 3, 85.0), ("energy", 15, 2, 85.0)], [], [2, 3, 4]),
        # a row that is wrong by itself takes no hour from another
        ([("energy", 12, 3, 85.0), ("energy", 14, 1, 1e4)], [2], [3]),
        ([("energy", 12, 1, 85.0), ("spin", 12, 1, 5.0), ("nonspin", 12, 1, 5.0)], [2, 3, 4], []),
    ],
)
def test_requests_for_one_hour_are_never_offered_twice(
    requests: list[tuple[str, int, int, float]], offered: list[int], aside: list[int]
) -> None:
    found = placed(*((product, at(hour), hours, 1.0, price) for product, hour, hours, price in requests))
    assert rows_of(found) == (offered, aside)
    if offered == []:
        assert (found.quarantine["column_name"] == "start").all()
        assert found.quarantine["problem"][0] == "shares an hour of energy with row 3; neither is offered"


@pytest.mark.parametrize("day", [AUTUMN, *(pytest.param(day, marks=pytest.mark.slow) for day in (DAY, SPRING))])
@tries(60)
@given(data=st.data())
def test_whatever_is_asked_for_every_hour_is_offered_once_and_the_order_of_rows_decides_nothing(
    day: date, data: st.DataObject
) -> None:
    hours = market_hours(day)["start_utc"].to_list()
    request = st.tuples(
        st.sampled_from(["energy", "spin", "nonspin"]),
        st.sampled_from(hours),
        st.integers(1, 25),
        st.sampled_from([0.0, 0.1, 0.5, 2.0, 12.5, 13.0, 1e300]),
        st.sampled_from([-1e6, -150.0, 0.0, 5.0, 250.0, 1e3, 1e6]),
    )
    drawn = data.draw(st.lists(request, max_size=12))
    found = placed(*drawn, day=day)
    offered, aside = rows_of(found)
    assert sorted([*offered, *set(aside)]) == list(range(2, 2 + len(drawn)))
    asked = [
        (p, start + timedelta(hours=h))
        for p, start, n in found.rows.select("product", "start_utc", "duration_hours").iter_rows()
        for h in range(n)
    ]
    assert len(asked) == len(set(asked))
    assert set(asked) <= {(product, hour) for product in ("energy", "spin", "nonspin") for hour in hours}
    fleet, policy = fleet_of(battery_of(10_000.0), day=day), OpportunityPolicy(sizing="fraction")
    rows = find_opportunities(day, forecast_of(day=day), fleet, policy, MarketRules(), found.rows)
    assert int(rows["duration_hours"].sum()) == 3 * len(hours)
    backwards = placed(*reversed(drawn), day=day)
    contents = list(REQUEST_SCHEMA)
    assert backwards.rows.select(contents).sort(contents).equals(found.rows.select(contents).sort(contents))


def test_opportunities_are_found_of_placed_requests_alone() -> None:
    with pytest.raises(ValueError, match="leaves the day or meets another"):
        opportunities(("energy", at(12), 3, 1.0, 85.0), ("energy", at(14), 1, 1.0, 85.0))
    with pytest.raises(ValueError, match="leaves the day or meets another"):
        opportunities(("energy", at(23), 2, 1.0, 85.0))


def test_the_last_hour_may_be_requested() -> None:
    assert only(opportunities(("energy", at(23), 1, 1.0, 85.0)), "energy_20230815_2300")["origin"] == "request"


def test_an_opportunity_knows_its_hours() -> None:
    rows = opportunities(("energy", at(12), 3, 2.0, 85.0))
    blocks = dict(zip(rows["opportunity_id"], hours_of(rows, forecast_of()["start_utc"]), strict=True))
    assert blocks["energy_20230815_1200"] == slice(12, 15)
    assert blocks["spin_20230815_2300"] == slice(23, 24)
