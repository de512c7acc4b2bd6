"""What the market can buy: sizes by the policy, and requests that replace them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours, pacific_moment_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.negotiation.opportunities import find_opportunities, hours_of
from vpp_pipeline.settings import MarketRules, OpportunityPolicy
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
    tomorrow = DAY + timedelta(days=1)
    assert opportunities(("energy", at(12, tomorrow), 1, 2.0, 85.0)).equals(opportunities())


def test_a_request_for_the_repeated_autumn_hour_ends_in_r() -> None:
    repeated = market_hours(AUTUMN)["start_utc"][2]
    rows = opportunities(("energy", repeated, 2, 2.0, 85.0), day=AUTUMN)
    request = rows.filter(origin="request").row(0, named=True)
    assert (request["opportunity_id"], request["slot"]) == ("energy_20241103_0100r", "energy_he25")
    assert "energy_20241103_0100" in rows["opportunity_id"].to_list()
    assert "energy_20241103_0200" not in rows["opportunity_id"].to_list()


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([("heat", 12, 1)], "unknown product in a request .*value heat.* Use one of energy, spin, nonspin"),
        ([("energy", 23, 2)], "the energy request from 2023-08-16 06:00 UTC leaves its market day .*value 2"),
        ([("energy", 12, 3), ("energy", 14, 1)], "two energy requests cover the hour from 2023-08-15 21:00 UTC"),
        ([("spin", 12, 1), ("spin", 12, 1)], "two spin requests cover the hour"),
    ],
)
def test_a_request_that_cannot_be_placed_is_refused(requests: list[tuple[str, int, int]], words: str) -> None:
    rows = [(product, at(hour), duration, 1.0, 85.0) for product, hour, duration in requests]
    with pytest.raises(InputError, match=words):
        opportunities(*rows)


@pytest.mark.parametrize(("product", "least_mw"), [("energy", 0.1), ("spin", 0.5)])
def test_a_request_below_the_markets_minimum_is_refused(product: str, least_mw: float) -> None:
    assert only(opportunities((product, at(12), 1, least_mw, 9.0)), f"{product}_20230815_1200")["origin"] == "request"
    with pytest.raises(InputError, match=f"{product} request .* too small .*Ask for at least {least_mw} MW"):
        opportunities((product, at(12), 1, least_mw - 0.01, 9.0))


def test_the_last_hour_may_be_requested() -> None:
    assert only(opportunities(("energy", at(23), 1, 1.0, 85.0)), "energy_20230815_2300")["origin"] == "request"


def test_an_opportunity_knows_its_hours() -> None:
    rows = opportunities(("energy", at(12), 3, 2.0, 85.0))
    blocks = dict(zip(rows["opportunity_id"], hours_of(rows, forecast_of()["start_utc"]), strict=True))
    assert blocks["energy_20230815_1200"] == slice(12, 15)
    assert blocks["spin_20230815_2300"] == slice(23, 24)
