"""Terms: what each side may accept, worked by hand, and the fingerprint that names all of it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import pacific_moment_utc
from vpp_pipeline.fleet.arrays import BOUNDS
from vpp_pipeline.negotiation.negotiate import negotiate
from vpp_pipeline.negotiation.opportunities import find_opportunities
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, OpportunityPolicy
from vpp_pipeline.verification.terms import limits_of_deals
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.conftest import request_table
from vpp_pipeline_tests.examples import BATTERY, DAY, EV, fleet_of, forecast_of
from vpp_pipeline_tests.negotiation.random_days import random_days

RULES, POLICY = MarketRules(energy_minimum_mw=0.0), NegotiationPolicy()  # small requests suit two small homes
FIXED = NegotiationPolicy(contract="fixed")
SOLAR_HOME = {
    **BATTERY,
    "store": "none",
    "capacity_kwh": 0.0,
    "max_charge_kw": 0.0,
    "max_discharge_kw": 0.0,
    "initial_stored_kwh": 0.0,
    "terminal_stored_kwh": 0.0,
    "solar_size_kw": 8.0,
    "wear_usd_per_mwh": 0.0,
}
FLEET = fleet_of(BATTERY, SOLAR_HOME, solar=0.5)
# recharging costs 18 / (0.9 x 0.8) = 25 $/MWh; 20:00 is worth 100, all other hours 18
PRICES = forecast_of([18.0] * 20 + [100.0] + [18.0] * 3)


def terms_of(
    *requests: tuple[object, ...], forecast: pl.DataFrame = PRICES, policy: NegotiationPolicy = POLICY, only: str = ""
) -> tuple[list[str], Terms]:
    found = find_opportunities(
        DAY, forecast, FLEET, OpportunityPolicy(sizing="fixed_mw"), RULES, request_table(*requests)
    )
    rows = found.filter(pl.col("opportunity_id").str.contains(only))
    return rows["opportunity_id"].to_list(), prepare_terms(rows, forecast, FLEET, policy, RULES)


def one(name: str, values: str, *requests: tuple[object, ...], **changes: object) -> list[float]:
    """One opportunity's row of the named array."""
    ids, terms = terms_of(*requests, **changes)
    return getattr(terms, values)[ids.index(f"{name}00")].tolist()


def test_the_ceiling_of_energy_leaves_recharging_and_the_margin() -> None:
    # (100 - 25) x 0.9 with a store; without one nothing is recharged: 100 x 0.9
    assert one("energy_20230815_20", "ceiling") == pytest.approx([67.5, 90.0])
    assert one("energy_20230815_12", "ceiling") == pytest.approx([(18 - 25) * 0.9, 16.2])


def test_the_ceiling_of_reserve_leaves_the_margin() -> None:
    assert one("spin_20230815_12", "ceiling") == pytest.approx([1.8, 1.8])  # 2 x 0.9
    assert one("nonspin_20230815_12", "ceiling") == pytest.approx([0.9, 0.9])


def test_negative_prices_do_not_make_recharging_a_gift() -> None:
    cheap = forecast_of([-40.0] * 20 + [100.0] * 4)
    assert one("energy_20230815_20", "ceiling", forecast=cheap) == pytest.approx([90.0, 90.0])


def test_the_cheapest_four_hours_count_not_the_cheapest_one() -> None:
    mixed = forecast_of([0.0, 20.0, 20.0, 32.0] + [100.0] * 20)  # mean 18
    assert one("energy_20230815_20", "ceiling", forecast=mixed)[0] == pytest.approx(67.5)


def test_an_offered_price_replaces_the_forecast() -> None:
    request = ("energy", pacific_moment_utc(DAY, 12), 1, 1.0, 85.0)
    assert one("energy_20230815_12", "ceiling", request) == pytest.approx([54.0, 76.5])  # (85 - 25) x 0.9, 85 x 0.9


def test_nobody_commits_more_than_39_percent_of_the_requirement() -> None:
    # 0.01 MW: 3.9 kW of the battery's 5 and of the roof's 4
    small = ("energy", pacific_moment_utc(DAY, 20), 1, 0.01, 100.0)
    assert one("energy_20230815_20", "capacity_kw", small) == pytest.approx([3.9, 3.9])
    assert one("energy_20230815_20", "capacity_kw") == pytest.approx([5.0, 4.0])


def test_a_block_commits_the_least_of_its_hours() -> None:
    block = ("energy", pacific_moment_utc(DAY, 0), 3, 1.0, 100.0)
    assert one("energy_20230815_00", "capacity_kw", block) == pytest.approx([2.4, 4.0])  # the first hour of the battery


def test_what_bounds_each_capacity_is_named() -> None:
    def bounds(name: str, *requests: tuple[object, ...]) -> list[str]:
        return [BOUNDS[int(code)] for code in one(name, "bound_by", *requests)]

    small = ("energy", pacific_moment_utc(DAY, 20), 1, 0.01, 100.0)
    block = ("energy", pacific_moment_utc(DAY, 0), 3, 1.0, 100.0)
    assert bounds("energy_20230815_20") == ["the power of its devices"] * 2
    assert bounds("energy_20230815_20", small) == ["the largest share of R that one prosumer may commit"] * 2
    # of the block's hours, the one that offers least: the battery's first, with 3 kWh above its floor
    assert bounds("energy_20230815_00", block)[0] == "the stored energy above what it must keep"
    assert bounds("spin_20230815_20")[1] == "a store that may not discharge, with no sun to spare"


def test_a_block_is_bound_by_the_hour_in_which_it_is_away() -> None:
    # at home at 17:00 with energy to sell, away at 16:00
    block = ("energy", pacific_moment_utc(DAY, 16), 2, 1.0, 100.0)
    found = find_opportunities(
        DAY, PRICES, fleet_of(EV), OpportunityPolicy(sizing="fixed_mw"), RULES, request_table(block)
    ).filter(origin="request")
    terms = prepare_terms(found, PRICES, fleet_of(EV), POLICY, RULES)
    assert (terms.capacity_kw[0, 0], BOUNDS[terms.bound_by[0, 0]]) == (0.0, "its EV being away")


def test_an_opening_ask_for_a_cap_is_the_premium_above_the_floor() -> None:
    # whatever another hour would pay: dispatch goes by floors, and finds the best use by itself
    assert one("energy_20230815_12", "opening_ask")[0] == pytest.approx(35.0 * 2.0)
    assert one("spin_20230815_20", "opening_ask")[0] == pytest.approx(0.85 * 2.0)
    some = NegotiationPolicy(opening_premium_fraction=0.2, opening_markup_fraction=9.0)
    assert one("energy_20230815_20", "opening_ask", policy=some)[0] == pytest.approx(35.0 * 1.2)


def test_the_index_price_is_what_is_left_after_recharging() -> None:
    # recharging takes 18 / (0.9 x 0.8) of a store's energy, nothing of sun, nothing of reserve
    ids, terms = terms_of()
    for name, index in (("energy_20230815_20", [75.0, 100.0]), ("spin_20230815_20", [2.0, 2.0])):
        assert terms.index_price[ids.index(f"{name}00")].tolist() == pytest.approx(index)
    assert (terms.recharge_factor.tolist(), terms.cheapest_usd_per_mwh) == (pytest.approx([1 / 0.72, 0.0]), 18.0)


def test_an_opening_ask_for_a_fixed_price_carries_the_best_other_use() -> None:
    # in an hour of 18 the same MWh could bring 67.5 - 35 = 32.5 above the reservation at 20:00
    assert one("energy_20230815_12", "opening_ask", policy=FIXED)[0] == pytest.approx(35.0 + 32.5)
    # at 20:00 no other hour pays: the markup of 25 % stands
    assert one("energy_20230815_20", "opening_ask", policy=FIXED)[0] == pytest.approx(35.0 * 1.25)
    # holding reserve at 20:00 competes with selling energy at 20:00: 0.85 + 32.5; at 12:00 nothing does
    assert one("spin_20230815_20", "opening_ask", policy=FIXED)[0] == pytest.approx(0.85 + 32.5)
    assert one("spin_20230815_12", "opening_ask", policy=FIXED)[0] == pytest.approx(0.85 * 1.25)


@pytest.mark.parametrize("contract", ["indexed", "fixed"])
def test_an_opening_ask_is_never_below_the_reservation(contract: str) -> None:
    least = NegotiationPolicy(contract=contract, opening_markup_fraction=0.0, opening_premium_fraction=0.0)
    _, terms = terms_of(policy=least)
    assert (terms.opening_ask >= terms.reservation).all()
    assert (terms.opening_ask == terms.reservation).any()


@pytest.mark.parametrize(
    "name", ["energy_20230815_12", "energy_20230815_20", "spin_20230815_20", "nonspin_20230815_03"]
)
def test_terms_never_depend_on_other_negotiations(name: str) -> None:
    ids, together = terms_of()
    row = ids.index(f"{name}00")
    _, alone = terms_of(only=f"^{name}")
    for array in ("capacity_kw", "bound_by", "reservation", "opening_ask", "ceiling", "required_kw"):
        np.testing.assert_array_equal(getattr(alone, array)[0], getattr(together, array)[row])
    assert alone.fingerprints("v1") == [together.fingerprints("v1")[row]]


def test_equal_terms_have_equal_fingerprints() -> None:
    assert terms_of()[1].fingerprints("v1") == terms_of()[1].fingerprints("v1")
    assert len(set(terms_of()[1].fingerprints("v1"))) == 72


def test_the_fingerprint_changes_with_its_context() -> None:
    _, terms = terms_of()
    assert not set(terms.fingerprints("v1")) & set(terms.fingerprints("v2"))


def nudged(values: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
    """A copy with one entry changed by the least possible amount."""
    changed = values.copy()
    kind = changed.dtype.kind
    changed[at] = (
        "x"
        if kind in "OU"
        else changed[at] + 1
        if kind == "i"
        else not changed[at]
        if kind == "b"
        else np.nextafter(changed[at], np.inf)
    )
    return changed


def test_the_fingerprint_changes_with_what_recharging_costs() -> None:
    _, terms = terms_of(only="_20230815_12")
    dearer = replace(terms, cheapest_usd_per_mwh=float(np.nextafter(terms.cheapest_usd_per_mwh, np.inf)))
    assert not set(terms.fingerprints("v1")) & set(dearer.fingerprints("v1"))


# the day is part of every opportunity's name
@pytest.mark.parametrize(
    "array",
    [
        field.name
        for field in fields(Terms)
        if field.name not in ("market_date", "cheapest_usd_per_mwh", "heard", "of_others", "is_storage")
    ],
)
def test_the_fingerprint_changes_with_each_input_and_only_where_it_is_used(array: str) -> None:
    _, terms = terms_of(only="_20230815_12")  # three opportunities
    values = getattr(terms, array)
    is_shared = array in ("prosumer_id", "segment", "patience", "availability_fraction", "recharge_factor")
    changed = replace(terms, **{array: nudged(values, (1,) if values.ndim == 1 else (1, 0))})
    differs = [a != b for a, b in zip(terms.fingerprints("v1"), changed.fingerprints("v1"), strict=True)]
    assert differs == ([True] * 3 if is_shared else [False, True, False])


def test_the_fingerprint_changes_with_what_the_whole_fleet_decides() -> None:
    _, terms = terms_of(only="_20230815_12")
    heard = np.ones(len(terms.prosumer_id), dtype=bool)
    given = replace(terms, heard=heard, of_others={0.5: terms.reservation})
    others = replace(given, of_others={0.5: nudged(terms.reservation, (1, 0))})
    assert not set(given.fingerprints("v1")) & set(replace(given, heard=nudged(heard, (0,))).fingerprints("v1"))
    differs = [a != b for a, b in zip(given.fingerprints("v1"), others.fingerprints("v1"), strict=True)]
    assert differs == [False, True, False]


def test_the_names_of_opportunities_carry_the_day() -> None:
    ids, terms = terms_of()
    assert terms.market_date == DAY
    assert all(f"{DAY:%Y%m%d}" in name for name in ids)


@given(st.data())
@tries(60)
def test_the_checks_find_the_same_limits(data: st.DataObject) -> None:
    """`verify_terms` computes them from the published tables, apart from `prepare_terms`."""
    day = data.draw(random_days("concession", "cost_effectiveness"))
    limits = limits_of_deals(day.tables, day.settings).sort("opportunity_id", "prosumer_id")
    for name, array in (("reservation", "reservation"), ("ceiling", "ceiling"), ("most_kw", "capacity_kw")):
        expected = getattr(day.terms, array).ravel()
        np.testing.assert_allclose(limits[name].to_numpy(), expected, rtol=1e-12, atol=1e-9)


def test_an_owner_who_asks_for_a_fortune_does_not_stop_the_others() -> None:
    fortune = {
        **BATTERY,
        "minimum_compensation_usd_per_kwh": 2.0,
        "wear_usd_per_mwh": 2000.0,
    }  # as much as the table takes
    fleet = fleet_of(BATTERY, fortune)
    found = find_opportunities(DAY, PRICES, fleet, OpportunityPolicy(sizing="fixed_mw"), RULES, request_table())
    struck = negotiate(prepare_terms(found, PRICES, fleet, POLICY, RULES), POLICY)
    assert struck.agreements["holds_option"].any()
