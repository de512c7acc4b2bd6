"""What devices can do, and what their owners must be paid: by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.fleet.arrays import fleet_arrays, reservation_price
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import BATTERY, EV, envelope, fleet_of, fleet_table

POLICY = NegotiationPolicy()
TWO_BATTERIES = fleet_of(BATTERY, BATTERY)


def test_a_store_can_reach_what_it_may_charge() -> None:
    # 5 kWh + 0.9 x 5 kW = 9.5 kWh, then full at 10
    assert fleet_of(BATTERY).reachable_kwh[0, :4].tolist() == [5.0, 9.5, 10.0, 10.0]


def test_energy_capacity_is_what_the_store_can_deliver_above_its_floor() -> None:
    # first hour (5 - 2) x 0.8 = 2.4 kW; then (9.5 - 2) x 0.8 = 6 kW, but the inverter gives 5
    assert fleet_of(BATTERY).energy_capacity_kw[0, :3].tolist() == pytest.approx([2.4, 5.0, 5.0])


def test_surplus_solar_adds_to_energy_up_to_the_export_limit() -> None:
    # surplus 4 - 1 = 3 kW: 2.4 + 3 = 5.4 kW, then 5 + 3 = 8 kW, but the site exports at most 6
    fleet = fleet_of({**BATTERY, "solar_size_kw": 8.0, "mean_load_kw": 1.0}, solar=0.5, load=1.0)
    assert fleet.surplus_kw[0, 0] == 3.0
    assert fleet.energy_capacity_kw[0, :2].tolist() == pytest.approx([5.4, 6.0])


def test_load_above_solar_leaves_no_surplus() -> None:
    fleet = fleet_of({**BATTERY, "solar_size_kw": 2.0, "mean_load_kw": 5.0}, solar=0.5, load=1.0)
    assert fleet.surplus_kw.max() == 0.0


def test_reserve_is_backed_by_stored_energy_before_and_after_the_hour() -> None:
    fleet = fleet_of(BATTERY)
    # one hour's call: before the first hour (5 - 2) x 0.8 = 2.4 kW; before the second (9.5 - 2) x 0.8 = 6, inverter 5
    assert fleet.reserve_capacity_kw(1.0)[0, :2].tolist() == pytest.approx([2.4, 5.0])
    assert fleet.reserve_capacity_kw(0.5)[0, :2].tolist() == pytest.approx(
        [4.8, 5.0]
    )  # half an hour needs half as much
    assert fleet.reserve_capacity_kw(3.0)[0, :2].tolist() == pytest.approx([0.8, 2.0])


def test_solar_backs_no_reserve() -> None:
    fleet = fleet_of({**BATTERY, "solar_size_kw": 8.0}, solar=0.5)
    assert fleet.reserve_capacity_kw(1.0)[0, 0] == pytest.approx(2.4)


def test_an_ev_offers_nothing_while_away_and_no_reserve_that_its_ready_charge_needs() -> None:
    fleet = fleet_of(EV)
    assert fleet.energy_capacity_kw[0, 8:17].max() == 0.0
    assert fleet.reserve_capacity_kw(1.0)[0, 8:17].max() == 0.0
    # at 7:00 it is full at 50 kWh; 40 are owed at the end of the hour, which leaves 10 x 0.8
    assert fleet.energy_capacity_kw[0, 7] == pytest.approx(8.0)
    assert fleet.reserve_capacity_kw(1.0)[0, 7] == pytest.approx(8.0)


def test_capacity_is_named_by_product() -> None:
    fleet = fleet_of(BATTERY)
    assert fleet.capacity_kw("energy", 1.0) is fleet.energy_capacity_kw
    for product in ("spin", "nonspin"):
        np.testing.assert_array_equal(fleet.capacity_kw(product, 2.0), fleet.reserve_capacity_kw(2.0))


@pytest.mark.parametrize(
    ("product", "least"),
    [
        ("energy", 35.0),  # wear 10 + compensation 20 + inconvenience 20 x (1 - 0.75)
        ("spin", 0.85),  # 0.50 held + 1 % of 35
        ("nonspin", 0.425),  # 0.25 held + 0.5 % of 35
    ],
)
def test_the_least_price_of_an_owner(product: str, least: float) -> None:
    assert reservation_price(fleet_of(BATTERY), product, POLICY).tolist() == pytest.approx([least])


@given(st.floats(0, 1), st.floats(0, 1))
@tries(50)
def test_less_willingness_never_asks_for_less(one: float, other: float) -> None:
    fleet = replace(TWO_BATTERIES, willingness_fraction=np.array(sorted((one, other))))
    for product in ("energy", "spin", "nonspin"):
        reluctant, willing = reservation_price(fleet, product, POLICY)
        assert reluctant >= willing


def test_arrays_stand_in_the_order_of_ids_whatever_the_order_of_rows() -> None:
    prosumers, hours = fleet_table(BATTERY, EV), envelope(BATTERY, EV)
    straight, shuffled = fleet_arrays(prosumers, hours), fleet_arrays(prosumers.reverse(), hours.reverse())
    assert shuffled.prosumer_id.tolist() == ["prosumer_1", "prosumer_2"]
    np.testing.assert_array_equal(shuffled.max_charge_kw, straight.max_charge_kw)
    np.testing.assert_array_equal(shuffled.capacity_kwh, [10.0, 50.0])


def test_an_envelope_of_other_prosumers_is_refused() -> None:
    with pytest.raises(ValueError, match="do not hold the same prosumers"):
        fleet_arrays(fleet_table(BATTERY), envelope(BATTERY, EV))
