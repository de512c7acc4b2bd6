"""What a resource may offer: certification, Pmax, participation, and which resource a request goes to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import pacific_moment_utc
from vpp_pipeline.fleet.arrays import BOUNDS, CLOSED, Fleet
from vpp_pipeline.negotiation.negotiate import negotiate
from vpp_pipeline.negotiation.opportunities import Resource, find_opportunities
from vpp_pipeline.negotiation.requests import Requests, offerable_mw, place_requests, who_serves
from vpp_pipeline.negotiation.terms import terms_by_resource
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, OpportunityPolicy
from vpp_pipeline_tests.conftest import request_table
from vpp_pipeline_tests.examples import DAY, fleet_of, forecast_of
from vpp_pipeline_tests.negotiation.test_opportunities import battery_of

RULES = MarketRules()
NOON = pacific_moment_utc(DAY, 12)
LARGE = fleet_of(battery_of(10_000.0))


def opportunities(
    resource: Resource, *requests: tuple[object, ...], wanted_mw: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> pl.DataFrame:
    """The opportunities of ``resource``: energy at 50, spin at 2, nonspin at 1; R before limits is ``wanted_mw``."""
    fleet, planned = fleet_of(battery_of(10_000.0)), OpportunityPolicy(sizing="planned")
    sizes_mw = np.repeat(np.array(wanted_mw)[:, None], 24, axis=1)
    return find_opportunities(DAY, forecast_of(), fleet, planned, RULES, request_table(*requests), sizes_mw, resource)


def placed(parts: Mapping[Resource, Fleet], *requests: tuple[object, ...]) -> Requests:
    """What becomes of requests to resources with these members."""
    asked = Requests(request_table(*requests))
    return place_requests(asked, forecast_of(), offerable_mw(asked, parts, RULES), RULES)


def sizes(rows: pl.DataFrame, hour: int = 3) -> dict[str, float | None]:
    """R of each product in one hour; None where it is closed."""
    mine = rows.filter(pl.col("start_utc") == pacific_moment_utc(DAY, hour))
    return {
        product: mw if reason is None else None
        for product, mw, reason in mine.select("product", "required_capacity_mw", "closed_reason").iter_rows()
    }


def reasons(rows: pl.DataFrame) -> set[str]:
    return set(rows["closed_reason"].drop_nulls())


def test_without_limits_every_product_is_offered_under_its_old_name():
    rows = opportunities(Resource())
    assert sizes(rows) == {"energy": 1.0, "spin": 1.0, "nonspin": 1.0}
    assert "energy_20230815_1200" in rows["opportunity_id"].to_list()
    assert rows["resource_id"].unique().to_list() == ["vpp"]


def test_another_resource_ends_the_name():
    rows = opportunities(Resource("north"))
    assert all(name.endswith("_north") for name in rows["opportunity_id"])
    assert rows["slot"].n_unique() == 72


def test_reserve_is_sized_to_its_certification_down_to_the_step():
    rows = opportunities(Resource(certified_mw={"spin": 0.789, "nonspin": 5.0}))
    assert sizes(rows) == {"energy": 1.0, "spin": 0.78, "nonspin": 1.0}


@pytest.mark.parametrize("certified_mw", [0.0, 0.49])
def test_reserve_that_is_not_certified_for_the_minimum_is_closed_with_the_reason(certified_mw: float):
    rows = opportunities(Resource(certified_mw={"spin": certified_mw}))
    assert sizes(rows) == {"energy": 1.0, "spin": None, "nonspin": 1.0}
    assert reasons(rows) == {f"resource vpp is certified for {certified_mw:g} MW, the minimum is 0.5 MW"}
    assert set(rows.filter(product="spin")["required_capacity_mw"]) == {0.5}


def test_proxy_demand_offers_no_spin_whatever_is_certified():
    assert sizes(opportunities(Resource(participation="proxy_demand"))) == {"energy": 1.0, "spin": None, "nonspin": 1.0}


def test_a_resource_that_takes_no_part_offers_nothing():
    rows = opportunities(Resource("north", participation="none"))
    assert sizes(rows) == {"energy": None, "spin": None, "nonspin": None}
    assert reasons(rows) == {"resource north takes no part in the market"}


def test_what_earns_most_takes_pmax_first():
    """Energy at 50 takes 1 of 1.6 MW; spin at 2 what is left, 0.6; nonspin would get less than its minimum."""
    rows = opportunities(Resource(maximum_mw=1.6))
    assert sizes(rows) == {"energy": 1.0, "spin": 0.6, "nonspin": None}
    assert "taken by products that earn more" in reasons(rows).pop()
    assert sizes(opportunities(Resource(maximum_mw=0.4))) == {"energy": 0.4, "spin": None, "nonspin": None}
    assert sizes(opportunities(Resource(maximum_mw=0.05))) == {"energy": None, "spin": None, "nonspin": None}


def test_a_request_comes_before_what_the_policy_offers():
    rows = opportunities(Resource(maximum_mw=1.6), ("nonspin", NOON, 1, 1.2, 3.0))
    assert sizes(rows, 12) == {"energy": 0.4, "spin": None, "nonspin": 1.2}
    assert sizes(rows, 13) == {"energy": 1.0, "spin": 0.6, "nonspin": None}


@pytest.mark.parametrize(
    ("resource", "request_", "words"),
    [
        (Resource(certified_mw={"spin": 1.0}), ("spin", NOON, 1, 1.2, 3.0), "may offer 1 MW of"),
        (Resource(certified_mw={"spin": 0.0}), ("spin", NOON, 1, 1.2, 3.0), "certified for 0 MW"),
        (Resource(participation="proxy_demand"), ("spin", NOON, 1, 1.2, 3.0), "offers no spin"),
        (Resource(participation="none"), ("energy", NOON, 1, 1.2, 99.0), "takes no part"),
        (Resource(maximum_mw=1.0), ("energy", NOON, 1, 1.2, 99.0), "may offer 1 MW of"),
    ],
)
def test_a_request_beyond_the_limits_is_set_aside(resource: Resource, request_: tuple[object, ...], words: str):
    found = placed({resource: LARGE}, request_)
    assert found.rows.is_empty()
    assert words in found.quarantine["problem"][0]


def test_requests_of_an_hour_share_pmax_in_the_order_of_the_file():
    both = (("energy", NOON, 1, 1.0, 99.0), ("spin", NOON, 1, 1.0, 9.0))
    assert sizes(opportunities(Resource(maximum_mw=2.0), *both), 12)["spin"] == 1.0
    found = placed({Resource(maximum_mw=1.9): LARGE}, *both)
    assert found.rows["product"].to_list() == ["energy"]
    assert found.quarantine["problem"].to_list() == ["the rows before it leave 0.9 MW of the Pmax of resource vpp"]


def test_of_several_resources_a_request_goes_to_the_largest_that_may_offer_it():
    small, large = (fleet_of(battery_of(kw)) for kw in (2_000.0, 5_000.0))
    certified = {"spin": 0.5, "nonspin": 0.5}
    parts = {Resource("a", certified_mw={"spin": 2.0}): small, Resource("b", certified_mw=certified): large}
    requests = (("energy", NOON, 1, 1.0, 85.0), ("spin", NOON, 1, 1.0, 5.0))
    found = placed(parts, *requests, ("spin", NOON.replace(year=2022), 1, 1.0, 5.0))
    assert found.quarantine.is_empty()
    assert found.rows.select("product", "resource_id").rows() == [("energy", "b"), ("spin", "a")]
    assert "may offer 0.5 MW of spin" in placed(parts, ("spin", NOON, 1, 3.0, 5.0)).quarantine["problem"][0]


def test_only_members_are_asked_and_only_for_what_their_resource_may_offer():
    one, other = (battery_of(400.0) | {"resource_id": name} for name in ("north", "south"))
    fleet = fleet_of(*[one] * 3, *[other] * 4)
    policy = NegotiationPolicy()
    fixed = OpportunityPolicy(sizing="fixed_mw", fixed_mw=1.0)
    rows = pl.concat(
        find_opportunities(DAY, forecast_of(), fleet.part(np.array(mine)), fixed, RULES, request_table(), None, one)
        for one, mine in (
            (Resource("north", certified_mw={"spin": 0.0}), range(3)),
            (Resource("south"), range(3, 7)),
        )
    ).sort("opportunity_id")
    north, south = terms_by_resource(rows, forecast_of(), fleet, policy, RULES)
    place = {name: o for one in (north, south) for o, name in enumerate(one.opportunity_id)}
    energy, spin = place["energy_20230815_1200_north"], place["spin_20230815_1200_north"]
    assert (north.capacity_kw[energy] > 0.0).tolist() == [True] * 3
    assert not north.capacity_kw[spin].any()
    assert [BOUNDS[code] for code in north.bound_by[spin]] == [CLOSED] * 3
    assert (north.asked[energy], north.asked[spin], south.asked[place["spin_20230815_1200_south"]]) == (3, 0, 4)
    deals = pl.concat([negotiate(one, policy).agreements for one in (north, south)])
    members = deals.group_by("opportunity_id").agg(pl.col("prosumer_id").sort())
    found = dict(members.iter_rows())
    assert found["energy_20230815_1200_north"] == ["prosumer_1", "prosumer_2", "prosumer_3"]
    assert len(found["energy_20230815_1200_south"]) == 4
    (why,) = deals.filter(opportunity_id="spin_20230815_1200_north")["reason"].unique()
    assert why == "Out: it has nothing to offer then, because of its resource, which may not offer it."


FOUR = fleet_of(*(battery_of(kw) for kw in (4_000.0, 3_000.0, 2_000.0, 1_000.0)))  # p0 to p3
#: one owner may commit 0.79 R: of 1.2 MW 0.948, of 0.5 MW 0.395
TWO_DO = MarketRules(maximum_commitment_fraction=0.79, minimum_members=2, required_fraction=0.8)
ENERGY, SPIN = ("energy", NOON, 1, 1.2, 85.0), ("spin", NOON, 1, 0.5, 5.0)


def serving(*requests: tuple[object, ...], floor_usd: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> list[bool]:
    """Who of FOUR serves the requests, where each typically asks ``floor_usd`` of every product."""
    floor = np.broadcast_to(np.array(floor_usd)[None, :, None], (3, 4, 24))
    return who_serves(Requests(request_table(*requests)), forecast_of(), FOUR, floor, TWO_DO).tolist()


def test_the_fewest_owners_serve_a_request_and_each_counts_as_what_it_may_commit():
    """Twice 1.2 MW: 0.948 of each of the two largest are less, with the third they are not."""
    assert serving(ENERGY) == [True, True, True, False]


def test_who_asks_less_than_is_offered_goes_first():
    assert serving(ENERGY, floor_usd=(90.0, 30.0, 30.0, 30.0)) == [False, True, True, True]


def test_of_two_requests_the_second_takes_owners_that_are_left():
    """Alone it would take the three largest, as the first does; after it there is one."""
    assert serving(SPIN) == [True, True, True, False]
    assert serving(ENERGY, SPIN) == [True, True, True, True]


@pytest.mark.parametrize(
    "request_row",
    [
        ("energy", NOON, 1, 20.0, 85.0),  # more than all can offer
        ("energy", NOON, 1, 0.05, 85.0),  # less than the market takes
        ("energy", NOON, 1, 2.0, 5_000.0),  # above the cap
        ("energy", NOON, 13, 2.0, 85.0),  # into the next day
    ],
)
def test_nobody_leaves_storage_for_a_request_that_is_set_aside(request_row: tuple[object, ...]):
    assert serving(request_row) == [False] * 4
