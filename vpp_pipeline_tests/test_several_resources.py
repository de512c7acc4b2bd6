"""A day of several resources: each bids and settles as if it were alone, and proxy demand exports nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.evaluation.backtest.metrics import measure, outcome
from vpp_pipeline.evaluation.backtest.plans import as_storage, no_sale_plan
from vpp_pipeline.evaluation.backtest.run import PastDays, of_resource, replay
from vpp_pipeline.evaluation.backtest.strategies import PastDay, plan_by
from vpp_pipeline.evaluation.settle_day import settle_day
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.negotiation.requests import Requests
from vpp_pipeline.pipeline import bid, find_opportunities
from vpp_pipeline.settings import FleetSettings, OpportunityPolicy, ResourceSettings, Settings, read_settings
from vpp_pipeline.verification.bids import resources_bid_within_their_limits
from vpp_pipeline.verification.money import money_adds_up
from vpp_pipeline.verification.negotiation import negotiations_follow_the_protocol
from vpp_pipeline.verification.registry import verify
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice, proxy_demand_exports_nothing
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import DAY

HEADER = "resource_id,participation,maximum_mw,certified_spin_mw,certified_nonspin_mw"
ROWS = ("demand,proxy_demand,2,0,0.5", "idle,none,2,2,2", "north,hourly,2.5,1,0", "south,hourly,3,1,1")
NAMES = ["demand", "idle", "north", "south"]
STAMP = Stamp("fingerprint", "0.1.0", 1, "run", bid_deadline_utc(DAY) - timedelta(hours=2))


def settings_of_fleet() -> FleetSettings:
    return FleetSettings(prosumers=90, business_sites=60, note_share=0.0)  # so many that reserve reaches its minimum


def settings_of(folder: Path, *rows: str, **groups: object) -> Settings:
    file = folder / "resources.csv"
    file.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    return Settings(fleet=settings_of_fleet(), resources=ResourceSettings(path=file, storage_classes=4), **groups)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(tmp_path_factory.mktemp("resources"), *ROWS)


@pytest.fixture(scope="module")
def day(settings: Settings) -> Tables:
    """The day with bids, settled at the clearing prices of the generator."""
    made = bid(DayInputs(DAY, settings, None, None, None, stated=Requests()).tables(), settings, STAMP)
    made["market.prices"] = open_source().day(DAY)
    return made | settle_day(made, settings.rules, settings.settlement)


def alone(day: Tables, settings: Settings, name: str) -> Tables:
    """The same day of one resource's members, and nothing else."""
    inputs = {table: day[table] for table in DayInputs(DAY, settings, None, None, None, stated=Requests()).tables()}
    mine = day["fleet.prosumers"].filter(resource_id=name)
    inputs["fleet.prosumers"] = mine
    inputs["fleet.availability"] = day["fleet.availability"].join(mine, on="prosumer_id", how="semi")
    inputs |= find_opportunities(inputs, settings, Requests())
    made = bid(inputs, settings, STAMP)
    made["market.prices"] = day["market.prices"]
    return made


def test_every_rule_holds(day: Tables, settings: Settings):
    results = verify(day, settings)
    assert [(name, result.description) for name, result in results.items() if not result.passed] == []
    settled = {check.__name__: check(day, settings) for check in SETTLED}
    assert [(name, result.description) for name, result in settled.items() if not result.passed] == []


def test_each_resource_has_opportunities_of_its_own(day: Tables):
    counts = dict(day["market.opportunities"].group_by("resource_id").len().iter_rows())
    assert counts == dict.fromkeys(NAMES, 72)
    assert day["market.opportunities"]["slot"].n_unique() == 72
    bids = dict(day["bids.final_bids"].filter(status="bid").group_by("resource_id").len().iter_rows())
    assert {"north", "south"} <= bids.keys() <= {"demand", "north", "south"}
    idle = day["bids.final_bids"].filter(resource_id="idle")
    assert idle["reason"].unique().to_list() == ["resource idle takes no part in the market"]
    reserve = day["bids.final_bids"].filter(pl.col("product") == "spin", status="bid")
    assert set(reserve["resource_id"]) <= {"north", "south"}
    assert reserve.filter(resource_id="north")["total_capacity_mw"].to_list()
    assert max(reserve.filter(resource_id="north")["total_capacity_mw"]) <= 1.0


@pytest.mark.parametrize("name", ["north", "south"])
def test_a_resource_bids_as_if_it_were_alone(day: Tables, settings: Settings, name: str):
    single = alone(day, settings, name)
    columns = [
        "opportunity_id",
        "status",
        "total_capacity_mw",
        "bid_price_usd_per_mwh",
        "expected_profit_usd",
        "reason",
    ]
    mine = day["bids.final_bids"].filter(resource_id=name).select(columns)
    assert_frame_equal(mine, single["bids.final_bids"].select(columns))
    prices = day["dispatch.internal_prices"].filter(resource_id=name)
    assert_frame_equal(prices, single["dispatch.internal_prices"])


def test_the_day_is_the_sum_of_its_resources(day: Tables, settings: Settings):
    parts = [alone(day, settings, name)["dispatch.proof"].row(0, named=True) for name in NAMES]
    whole = day["dispatch.proof"].row(0, named=True)
    for column in ("objective_usd", "bound_usd", "no_bid_usd"):
        assert whole[column] == pytest.approx(sum(part[column] for part in parts), abs=1e-6)


def test_settlement_adds_up_over_resources(day: Tables):
    account, bids = day["evaluation.settled_days"].row(0, named=True), day["evaluation.settlement"]
    assert account["present"] + account["absent"] == 90
    assert account["bids"] == bids.height == day["bids.final_bids"].filter(status="bid").height
    energy = bids.filter(product="energy")["revenue_usd"].sum()
    assert account["energy_usd"] == pytest.approx(energy, abs=0.01 * bids.height)
    assert set(bids["resource_id"]) == set(day["bids.final_bids"].filter(status="bid")["resource_id"])
    assert account["limits_broken"] == 0


def test_proxy_demand_exports_nothing_and_others_may(day: Tables, settings: Settings):
    assert proxy_demand_exports_nothing(day, settings).passed
    everyone = day["market.resources"].with_columns(participation=pl.lit("proxy_demand"))
    found = proxy_demand_exports_nothing({**day, "market.resources": everyone}, settings)
    assert found.violations > 0
    limits = day["fleet.availability"].join(
        day["fleet.prosumers"].filter(resource_id="demand"), on="prosumer_id", how="semi"
    )
    assert limits["export_limit_kw"].max() == 0.0
    assert limits["max_discharge_kw"].max() > 0.0  # for its own load


def changed(rows: pl.DataFrame, column: str, value: object, where: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(pl.when(where).then(pl.lit(value)).otherwise(column).alias(column))


@pytest.mark.parametrize(
    ("column", "value", "name", "words"),
    [
        ("certified_spin_mw", 0.4, "north", "spin beyond its certification"),
        ("certified_nonspin_mw", 0.4, "south", "nonspin beyond its certification"),
        ("maximum_mw", 0.2, "north", "more than its Pmax"),
        ("participation", "none", "south", "a resource that takes no part"),
        ("participation", "proxy_demand", "north", "spin of proxy demand"),
        ("resource_id", "west", "north", "no such resource"),
    ],
)
def test_bids_beyond_the_limits_of_a_resource_are_found(
    day: Mapping[str, pl.DataFrame], settings: Settings, column: str, value: object, name: str, words: str
):
    assert resources_bid_within_their_limits(day, settings).passed
    table = changed(day["market.resources"], column, value, pl.col("resource_id") == name)
    found = resources_bid_within_their_limits({**day, "market.resources": table}, settings)
    assert not found.passed
    assert words in found.description


def test_members_of_another_resource_are_found(day: Tables, settings: Settings):
    """A prosumer that delivers for ``north`` is of ``south`` by the fleet's table: four rules notice."""
    who = day["dispatch.payments"].filter(pl.col("opportunity_id").str.ends_with("north"))["prosumer_id"][0]
    moved = changed(day["fleet.prosumers"], "resource_id", "south", pl.col("prosumer_id") == who)
    wrong = {**day, "fleet.prosumers": moved}
    for rule in (
        resources_bid_within_their_limits,
        negotiations_follow_the_protocol,
        no_kilowatt_hour_is_sold_twice,
    ):
        assert rule(day, settings).passed
        assert not rule(wrong, settings).passed, rule.__name__


def test_charging_in_an_hour_that_another_resource_sells_is_bought(day: Tables, settings: Settings):
    """Netted against another resource's bid it would be delivered twice: the costs of charging then do not add up."""
    assert money_adds_up(day, settings).passed
    one = changed(day["market.opportunities"], "resource_id", "north", pl.col("product") == "energy")
    assert not money_adds_up({**day, "market.opportunities": one}, settings).passed


@pytest.mark.parametrize(
    "groups",
    [{"risk": {"scenarios": 3}}, {"payments": {"rule": "owen"}}, {"model_use": {"formulation": True}}],
)
def test_what_is_solved_for_one_resource_is_refused_for_several(tmp_path: Path, groups: dict[str, dict[str, object]]):
    ((group, setting),) = ((group, next(iter(values))) for group, values in groups.items())
    several = read_settings(groups | {"resources": {"path": settings_of(tmp_path, *ROWS).resources.path}})
    words = rf"4 resources cannot be bid with {group}\.{setting}: .*--set resources.participation=hourly"
    with pytest.raises(InputError, match=words):
        _ = DayInputs(DAY, several, None, None, None).resources
    alone = read_settings(groups | {"resources": {"path": settings_of(tmp_path, ROWS[-1]).resources.path}})
    assert DayInputs(DAY, alone, None, None, None).resources.height == 1


REPLAYED = ["indexed", "storage", "perfect_foresight"]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, pl.DataFrame, Settings]:
    """The day as a back-test reads it, whoever is called being there; north takes part as storage."""
    rows = [row.replace("north,hourly", "north,storage") for row in ROWS]
    settings = settings_of(tmp_path_factory.mktemp("past"), *rows)
    inputs, prices = PastDays(DayInputs(DAY, settings, None, None, None))(DAY)
    there = inputs["fleet.prosumers"].with_columns(availability_fraction=pl.lit(1.0))
    return inputs | {"fleet.prosumers": there}, prices, settings


def past_day(past: tuple[Tables, pl.DataFrame, Settings], name: str) -> PastDay:
    inputs, prices, settings = past
    alone = of_resource(inputs, name)
    is_there = np.ones(alone["fleet.prosumers"].height, dtype=bool)
    return PastDay(alone, settings, prices, is_there, no_sale_plan(alone, settings))


@pytest.fixture(scope="module")
def replayed(past: tuple[Tables, pl.DataFrame, Settings]) -> pl.DataFrame:
    return replay(*past, REPLAYED)


def test_a_back_test_bids_storage_of_a_file_hour_by_hour_but_in_its_arms(past: tuple[Tables, pl.DataFrame, Settings]):
    inputs, _, _ = past
    kinds = dict(inputs["market.resources"].select("resource_id", "participation").iter_rows())
    assert kinds == {"demand": "proxy_demand", "idle": "none", "north": "hourly", "south": "hourly"}
    assert inputs["fleet.storage_members"].is_empty()
    made = as_storage(inputs, past[2], {})
    assert set(made["fleet.storage_classes"]["pool_id"]) == {"north", "south"}
    assert made["market.resources"]["minimum_mw"].to_list() == [0.0, 0.0, None, None]  # pools may charge
    prosumers = made["fleet.prosumers"].filter(pl.col("resource_id").is_in(["north", "south"]))
    assert set(made["fleet.storage_members"]["prosumer_id"]) == set(prosumers["prosumer_id"])


def test_a_replayed_day_is_the_sum_of_its_resources(
    past: tuple[Tables, pl.DataFrame, Settings], replayed: pl.DataFrame
):
    inputs, prices, settings = past
    alone = {name: replay(of_resource(inputs, name), prices, settings, ["storage"]) for name in NAMES}
    columns = [
        name
        for name in replayed.columns
        if name.endswith(("_usd", "_mwh", "_kw", "_mw_h")) or name.startswith(("violations", "feasible", "met"))
    ]
    columns += ["prosumers", "present", "homes", "dispatched", "let_down", "bids"]
    whole = replayed.row(by_predicate=pl.col("arm") == "storage", named=True)
    parts = [rows.row(0, named=True) for rows in alone.values()]
    for column in columns:
        values = [part[column] for part in parts if part[column] is not None]
        assert whole[column] == (pytest.approx(sum(values), abs=1e-6) if values else None), column
    for column in ("satisfaction", "fill_fraction"):
        values = [part[column] for part in parts if part[column] is not None]
        assert min(values) < whole[column] < max(values)
    assert alone["idle"]["bids"].item() == 0
    assert alone["idle"]["value_usd"].item() == pytest.approx(0.0, abs=1e-9)


def test_what_a_resource_may_not_offer_is_in_no_plan(past: tuple[Tables, pl.DataFrame, Settings]):
    """Proxy demand offers no spin, and is no storage in the arm of that name either."""
    day = past_day(past, "demand")
    is_closed = day.inputs["market.opportunities"]["closed_reason"].is_not_null().to_numpy()
    assert 24 <= is_closed.sum() < 72
    for arm in ("original", "storage"):
        plan = plan_by(arm, day)
        assert plan.quantity_mw[is_closed].max() == 0.0
        assert not plan.storage
    assert plan_by("original", past_day(past, "idle")).quantity_mw.max() == 0.0


def test_no_arm_that_keeps_preferences_breaks_any_for_several_resources(replayed: pl.DataFrame):
    ours = replayed.filter(pl.col("arm").is_in(["indexed", "storage"]))
    assert ours["violations"].to_list() == [0, 0]
    best = replayed.filter(arm="perfect_foresight")["net_usd"].item()
    assert all(0.0 < value <= best + 1e-6 for value in ours["value_usd"])


def test_the_gap_of_several_resources_is_a_share_of_what_bidding_adds_to_all(
    past: tuple[Tables, pl.DataFrame, Settings],
):
    """By hand: $1 of $10 and $3 of $10 are left open, of $20 in all."""
    inputs, prices, settings = past
    north = of_resource(inputs, "north")
    day = PastDay(
        north, settings, prices, np.ones(north["fleet.prosumers"].height, bool), no_sale_plan(north, settings)
    )
    one = outcome(day, day.no_sale)
    found = measure([replace(one, gap_usd=1.0, added_usd=10.0), replace(one, gap_usd=3.0, added_usd=10.0)])
    assert (found["gap_usd"], found["gap_fraction"]) == (4.0, 0.2)
    assert found["satisfaction"] is None
    assert measure([one])["gap_fraction"] is None


def test_a_single_resource_without_certification_bids_energy_alone():
    settings = Settings(
        fleet=FleetSettings(prosumers=40, business_sites=60),
        resources=ResourceSettings(certified_spin_mw=0.0, certified_nonspin_mw=0.0),
        opportunities=OpportunityPolicy(sizing="fraction"),
    )
    day = bid(DayInputs(DAY, settings, None, None, None, stated=Requests()).tables(), settings, STAMP)
    assert set(day["bids.final_bids"].filter(status="bid")["product"]) == {"energy"}
    assert resources_bid_within_their_limits(day, settings).passed
    asked = day["negotiation.summary"].filter(pl.col("opportunity_id").str.starts_with("spin"))
    assert asked["asked"].unique().to_list() == [0]


@pytest.fixture(scope="module")
def requested_day(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    """The example request, put to a fleet that takes part as storage and is certified for 2 MW of spin."""
    own = ResourceSettings(participation="storage", storage_classes=4, certified_spin_mw=2.0)
    return solved_day(prosumers=90, settings=Settings(resources=own, fleet=settings_of_fleet()))


def test_a_request_to_storage_is_served_by_owners_who_leave_it_for_the_day(requested_day: SolvedDay):
    day = requested_day.tables
    results = verify(day, requested_day.settings)
    assert [(name, result.description) for name, result in results.items() if not result.passed] == []
    assert day["market.request_quarantine"].is_empty()
    request = day["market.opportunities"].filter(origin="request")
    assert request["resource_id"].to_list() == ["vpp-requests"]
    bid = day["bids.final_bids"].join(request, on="opportunity_id", how="semi").row(0, named=True)
    assert bid["status"] == "bid"
    assert 0.8 * 2.0 <= bid["total_capacity_mw"] <= 2.0

    members = day["fleet.storage_members"]["prosumer_id"].to_list()
    prosumers = day["fleet.prosumers"]
    serves = prosumers.filter(resource_id="vpp-requests")
    assert not set(serves["prosumer_id"]) & set(members)
    assert set(serves["prosumer_id"]) | set(members) == set(prosumers["prosumer_id"])
    assert prosumers.group_by("site_id").agg(pl.col("resource_id").n_unique())["resource_id"].max() == 1

    rows = day["market.resources"].sort("resource_id")
    assert rows["participation"].to_list() == ["storage", "hourly"]
    assert rows["certified_spin_mw"].sum() == pytest.approx(2.0)
    assert rows["certified_spin_mw"].min() > 0.0
    assert rows["certified_nonspin_mw"].to_list() == [None, None]


def test_without_a_request_all_owners_are_storage(requested_day: SolvedDay):
    inputs = DayInputs(DAY, requested_day.settings, None, None, None, stated=Requests())
    assert inputs.resources["resource_id"].to_list() == ["vpp"]
    assert inputs.fleet.prosumers["resource_id"].unique().to_list() == ["vpp"]
