"""The market's clearing of a storage resource against brute force, and against every other award it might have had."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.aggregation.boxes import Boxes
from vpp_pipeline.aggregation.clearing import StorageBids, clear
from vpp_pipeline.aggregation.resources import StorageAwards, StorageResources
from vpp_pipeline.core.arrays import Array
from vpp_pipeline_tests.cases import tries

HOURS = 3


def resource(power: float, below: float, above: float, cycles: float, last: float = 0.0) -> StorageResources:
    """One lossless store of one owner, kW and kWh."""
    each = np.ones(HOURS)
    row = np.concatenate([power * each, power * each, below * each, above * each, [below, last, cycles]])
    member = np.zeros(1, dtype=np.int64)
    return StorageResources(member, np.ones(1), Boxes(row[None]), np.zeros((1, HOURS)), np.ones(1), np.ones(1))


def bids(discharge_price: float, power: float, charge_price: float = 0.0, reserve_price: float = 0.0) -> StorageBids:
    """The same price in every hour."""
    one = np.ones((1, HOURS))
    return StorageBids(
        charge_price * one,
        power * one[:, :, None],
        discharge_price * one[:, :, None],
        power * np.stack([one, one]),
        reserve_price * np.stack([one, one]),
    )


def earned(awards: StorageAwards, price: Array, offered: StorageBids) -> float:
    """What an award earns by the resource's own bid, $."""
    sold = (price[0] - offered.discharge_price[0, :, 0]) @ awards.discharge_kw[0]
    bought = (price[0] - offered.charge_price[0]) @ awards.charge_kw[0]
    spin = (price[1] - offered.reserve_price[0, 0]) @ awards.spin_kw[0]
    return float(sold - bought + spin + (price[2] - offered.reserve_price[1, 0]) @ awards.nonspin_kw[0]) / 1000.0


def test_it_charges_before_the_dear_hour_though_that_hour_alone_would_lose():
    """4 kW, 4 kWh of room: bought at $10, sold at $90 less a floor of $20; the middle hour stays idle."""
    offered = bids(20.0, 4.0)
    awards = clear(resource(4.0, 0.0, 4.0, 8.0), offered, np.array([[10.0, 50.0, 90.0], [0.0] * 3, [0.0] * 3]), 1.0)
    assert awards.charge_kw[0] == pytest.approx([4.0, 0.0, 0.0])
    assert awards.discharge_kw[0] == pytest.approx([0.0, 0.0, 4.0])
    assert awards.stored_kwh[0] == pytest.approx([4.0, 4.0, 0.0])


def test_energy_and_reserve_share_the_same_power():
    """With 4 kWh below, 4 kW of power, and $30 for spin in the dear hour: energy earns 90 − 20, which is more."""
    price = np.array([[50.0, 50.0, 90.0], [0.0, 30.0, 30.0], [0.0, 0.0, 0.0]])
    awards = clear(resource(4.0, 4.0, 0.0, 4.0, last=4.0), bids(20.0, 4.0), price, 1.0)
    assert awards.discharge_kw[0] == pytest.approx([0.0, 0.0, 4.0])
    assert awards.spin_kw[0] == pytest.approx([0.0, 4.0, 0.0])
    assert (awards.discharge_kw + awards.spin_kw + awards.nonspin_kw <= 4.0 + 1e-9).all()


def test_burning_energy_at_prices_below_zero_is_no_award():
    """At −$100 a lossy store would charge and discharge at once; the market awards one net MW."""
    lossy = resource(4.0, 2.0, 2.0, 100.0)
    lossy = StorageResources(lossy.member, lossy.share, lossy.box, lossy.spare, np.full(1, 0.5), np.full(1, 0.5))
    awards = clear(lossy, bids(5.0, 4.0), np.array([[-100.0] * 3, [0.0] * 3, [0.0] * 3]), 1.0)
    assert (np.minimum(awards.charge_kw, awards.discharge_kw) < 1e-6).all()
    assert awards.charge_kw.sum() > 0.0


@given(st.integers(0, 10_000))
@tries(40)
def test_no_award_on_a_grid_earns_more(seed: int):
    """Brute force over whole kW of charge, discharge, and spin in three hours, at prices and limits drawn at random."""
    rng = np.random.default_rng(seed)
    power, below, above = 2.0, float(rng.integers(0, 4)), float(rng.integers(0, 4))
    cycles, last = float(rng.integers(1, 6)), 0.0
    price = np.stack([rng.normal(40.0, 60.0, HOURS), rng.uniform(0.0, 60.0, HOURS), np.zeros(HOURS)])
    offered = bids(float(rng.integers(0, 30)), power)
    awards = clear(resource(power, below, above, cycles, last), offered, price, 1.0)
    best = -np.inf
    for moves in product((-2.0, -1.0, 0.0, 1.0, 2.0), repeat=HOURS):
        charge, discharge = -np.minimum(moves, 0.0), np.maximum(moves, 0.0)
        stored = np.cumsum(charge - discharge)
        if (stored > above).any() or (stored < -below).any() or stored[-1] < -last or discharge.sum() > cycles:
            continue
        backed = np.minimum(np.concatenate([[below], (stored + below)[:-1]]), stored + below)
        spin = np.where(price[1] > 0.0, np.minimum(power - discharge, backed), 0.0)
        nothing = np.zeros((1, HOURS))
        other = StorageAwards(charge[None], discharge[None], spin[None], nothing, stored[None])
        best = max(best, earned(other, price, offered))
    assert earned(awards, price, offered) >= best - 1e-9
    # all limits are whole numbers, so corners of the linear program lie on the grid unless reserve splits them
    assert (awards.stored_kwh <= above + 1e-6).all()
    assert (awards.stored_kwh >= -below - 1e-6).all()
    assert awards.stored_kwh[0, -1] >= -last - 1e-6
    assert awards.discharge_kw.sum() <= cycles + 1e-6


def test_segments_are_awarded_in_the_order_of_their_prices():
    """Two segments at $20 and $60: at $40 only the cheap one is sold."""
    one = np.ones((1, HOURS, 2))
    offered = StorageBids(
        np.zeros((1, HOURS)), 2.0 * one, np.array([20.0, 60.0]) * one, np.zeros((2, 1, HOURS)), np.zeros((2, 1, HOURS))
    )
    awards = clear(
        resource(4.0, 12.0, 0.0, 12.0, last=12.0), offered, np.array([[40.0] * 3, [0.0] * 3, [0.0] * 3]), 1.0
    )
    assert awards.discharge_kw[0] == pytest.approx([2.0, 2.0, 2.0])
