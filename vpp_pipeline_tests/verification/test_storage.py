"""Storage resources: every breach of curve, reserve, state of charge, and of the certificate is found out."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.tables import AGGREGATED, BOUND, Tables
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.negotiation.requests import Requests
from vpp_pipeline.pipeline import aggregate, bid, find_opportunities
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.bids import (
    bid_curves_are_valid_for_caiso,
)
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import DAY
from vpp_pipeline_tests.verification.storage_faults import (
    BID,
    CERTIFICATE,
    COVERED,
    CURVES,
    ENERGY,
    FAULTS,
    LIMITS,
    MEMBERS,
    OF_OTHER_RULES,
    SHARES,
    STATES,
    WHOLE,
    with_larger_share,
)
from vpp_pipeline_tests.verification.tampering import (
    BIDS,
    CALLS,
    POSITIONS,
    SEGMENTS,
    Fault,
    added,
    assert_caught,
)


@pytest.mark.parametrize("fault", FAULTS + OF_OTHER_RULES, ids=str)
def test_the_fault_is_caught(storage_day: SolvedDay, fault: Fault) -> None:
    assert_caught(storage_day, fault)


ENERGY_USD, IS_NOON = pl.col("energy_usd_per_mwh"), pl.int_range(pl.len()).is_between(9, 15)
#: faults that no other rule catches
ALONE = {
    CURVES: ["pays for charging", "two cents above the members' price", "twelve segments"],
    COVERED: ["certified for less", "a shorter call", "an empty store"],
    CERTIFICATE: ["a member that comes less often", "fewer cycles"],
    STATES: ["energy from nowhere", "ends too low", "more discharge in the day than it may"],
}


@pytest.mark.parametrize("check", ALONE, ids=lambda check: check.__name__)
def test_no_other_rule_catches_it(storage_day: SolvedDay, check: object) -> None:
    for fault in (fault for fault in FAULTS if fault.check is check and fault.name in ALONE[check]):
        tampered = storage_day.with_table(fault.table, fault.tamper(storage_day.tables))
        results = verify(tampered, storage_day.settings)
        failed = [name for name, result in results.items() if not (result.passed or result.is_warning)]
        assert failed == [fault.check.__name__], fault.name


def test_every_rule_holds_on_the_storage_day(storage_day: SolvedDay) -> None:
    assert_every_rule_holds(dict(storage_day.tables), storage_day.settings)
    assert storage_day.tables[WHOLE].height == 4
    assert CERTIFICATE(storage_day.tables, storage_day.settings).value == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("part", [0.01, -0.01])
def test_shares_of_one_percent_more_break_an_owners_limit(storage_day: SolvedDay, part: float) -> None:
    """Class and bids say the same shares, which add up to 1: only what owners have left can tell."""
    changed = {table: with_larger_share(storage_day.tables, table, part) for table in (MEMBERS, SHARES)}
    result = CERTIFICATE({**storage_day.tables, **changed}, storage_day.settings)
    assert not result.passed
    assert "asked for" in result.description
    assert result.value > 1.0


def taking(day: SolvedDay, **limits: bool) -> Settings:
    """The day's settings, for a market that takes other limits."""
    return day.settings.model_copy(update={"rules": day.settings.rules.model_copy(update=limits)})


def test_offers_to_a_market_that_takes_no_limits_by_hour_are_found_out(storage_day: SolvedDay) -> None:
    result = STATES(storage_day.tables, taking(storage_day, storage_limits_by_hour=False))
    assert not result.passed
    assert re.search("another range than in other hours|may end below|may begin below", result.description)


def test_more_charging_than_a_day_may_discharge_is_found_out(storage_day: SolvedDay) -> None:
    """A cycle limit a thousandth lower: where the market takes it the plan still holds it, and may be awarded so."""
    fewer = storage_day.tables[WHOLE].with_columns(pl.col("daily_discharge_mwh") * 0.999)
    tables = {**storage_day.tables, WHOLE: fewer}
    unknown, known = (taking(storage_day, storage_limit_of_day=taken) for taken in (False, True))
    assert "may discharge more than in a day it may" in STATES(tables, unknown).description
    assert STATES(storage_day.tables, unknown).passed
    assert "may discharge more than in a day it may" not in STATES(tables, known).description


def test_selling_in_an_hour_below_zero_that_charges_is_found_out(tmp_path: Path) -> None:
    """More charging is open there than the day may discharge: with a sale in between it could be charged twice."""
    three: dict[str, dict[str, object]] = {"resources": {"storage_classes": 3}}
    tables, settings = day_of(tmp_path, 40, three, [], energy=pl.when(IS_NOON).then(-20.0).otherwise(ENERGY_USD))
    assert_every_rule_holds(tables, settings)
    one_way = tables["fleet.prosumers"].filter(store="ev", max_discharge_kw=0.0)["prosumer_id"]
    paid = tables["dispatch.charging"].filter(pl.col("no_sale_charging_usd") < 0.0)
    assert set(paid["prosumer_id"]) & set(one_way)  # an EV that can only charge is paid for it
    charges = (pl.col("max_charge_mw") > 0.0) & (pl.col("charge_price_usd_per_mwh") == 0.0)
    noon = tables["market.price_forecast"].filter(ENERGY_USD < 0.0)["start_utc"]
    alone = charges & pl.col("start_utc").is_in(noon.implode())
    assert tables[LIMITS].filter(alone).height
    assert tables[LIMITS].filter(alone)["max_discharge_mw"].max() == 0.0
    sold = pl.when(alone).then("max_charge_mw").otherwise("max_discharge_mw")
    changed = {**tables, LIMITS: tables[LIMITS].with_columns(max_discharge_mw=sold)}
    assert "may discharge more than in a day it may" in STATES(changed, settings).description


@pytest.fixture(scope="module")
def coordinator_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, Settings]:
    rules: dict[str, object] = {"storage_kept_by": "coordinator"}
    return day_of(tmp_path_factory.mktemp("day"), 40, {"rules": rules, "resources": {"storage_classes": 3}}, [])


def test_every_rule_holds_where_the_coordinator_keeps_the_state_of_charge(
    coordinator_day: tuple[Tables, Settings],
) -> None:
    tables, settings = coordinator_day
    assert_every_rule_holds(tables, settings)
    sold = tables[LIMITS].filter(pl.col("max_discharge_mw") > 0.0)
    assert sold.height
    assert (sold["max_charge_mw"] == 0.0).all()


_SELLS = pl.col("max_discharge_mw") > 0.0
#: table, column, its value, and what the rule says
OF_COORDINATORS: list[tuple[str, str, pl.Expr, str]] = [
    (LIMITS, "max_charge_mw", pl.when(_SELLS).then(0.01).otherwise("max_charge_mw"), "may discharge in one hour"),
    (LIMITS, "max_charge_mw", pl.col("max_charge_mw") * 1.01, "may rise above the highest"),
    (LIMITS, "max_discharge_mw", pl.col("max_discharge_mw") * 1.01, "may fall below the lowest"),
    (WHOLE, "final_stored_mwh", pl.col("final_stored_mwh") + 0.002, "below the least"),
    (WHOLE, "daily_discharge_mwh", pl.col("daily_discharge_mwh") * 0.99, "more than in a day it may"),
    (LIMITS, "reserve_beyond_mw", pl.col("reserve_beyond_mw") * 0.5, "called for reserve that nothing backs"),
]


@pytest.mark.parametrize(
    ("table", "column", "value", "words"), OF_COORDINATORS, ids=[one[3] for one in OF_COORDINATORS]
)
def test_awards_that_a_coordinator_could_not_deliver_are_found_out(
    coordinator_day: tuple[Tables, Settings], table: str, column: str, value: pl.Expr, words: str
) -> None:
    tables, settings = coordinator_day
    changed = {**tables, table: tables[table].with_columns(value.alias(column))}
    assert words in STATES(changed, settings).description


def test_charging_below_the_cap_could_leave_a_coordinator_short(coordinator_day: tuple[Tables, Settings]) -> None:
    tables, settings = coordinator_day
    cheaper = pl.when(pl.col("max_charge_mw") > 0.0).then(0.0).otherwise("charge_price_usd_per_mwh")
    changed = {**tables, LIMITS: tables[LIMITS].with_columns(charge_price_usd_per_mwh=cheaper)}
    charging = tables[BIDS].join(tables[LIMITS].filter(pl.col("max_charge_mw") > 0.0), on=["resource_id", "start_utc"])
    is_charging = ENERGY & pl.col("bid_id").is_in(charging["bid_id"].implode()) & (pl.col("segment") == 1)
    asked = pl.when(is_charging).then(0.0).otherwise("price_usd_per_mwh")
    changed[SEGMENTS] = tables[SEGMENTS].with_columns(price_usd_per_mwh=asked)
    assert "pays another price for charging" in CURVES(changed, settings).description


def test_hourly_curves_are_no_business_of_storage(storage_day: SolvedDay) -> None:
    """A curve of no bid at all is found by the rule of hourly curves."""
    stray = added(SEGMENTS, ENERGY, bid_id="vpp_bid_of_none")(storage_day.tables)
    result = bid_curves_are_valid_for_caiso(storage_day.with_table(SEGMENTS, stray), storage_day.settings)
    assert "no curve, or no bid" in result.description


HEADER = "resource_id,participation,minimum_mw,maximum_mw,certified_spin_mw,certified_nonspin_mw"
HOURLY = "south,hourly,-3,3,1,1"
UNKNOWN: dict[str, object] = {"storage_limits_by_hour": False, "storage_limit_of_day": False}
#: days at the edge: prosumers, settings, and rows of a file of resources
EDGES: dict[str, tuple[int, dict[str, dict[str, object]], list[str]]] = {
    "one class, of the pool's name": (12, {"resources": {"storage_classes": 1}}, []),
    "a pool too small to bid": (4, {"fleet": {"business_sites": 0}}, []),
    "certified for less than it can hold": (
        20,
        {"resources": {"certified_spin_mw": 0.3, "certified_nonspin_mw": 0.6, "storage_classes": 2}},
        [],
    ),
    "members without a deal": (20, {"negotiation": {"contract": "fixed"}, "resources": {"storage_classes": 3}}, []),
    "a market without limits by hour or of the day": (20, {"rules": UNKNOWN, "resources": {"storage_classes": 3}}, []),
    "beside an hourly resource, below its Pmax": (30, {}, ["north,storage,-0.7,1.1,0.3,0.35", HOURLY]),
    "two owners behind a reserve": (
        30,
        {"resources": {"storage_classes": 6}},
        ["north,storage,-3,3,0.35,0.12", HOURLY],
    ),
}
SLOW_EDGES: dict[str, tuple[int, dict[str, dict[str, object]], list[str]]] = {
    "posted caps": (30, {"negotiation": {"engine": "uniform_clearing"}}, []),
    "a share beyond a reference": (30, {"negotiation": {"engine": "uniform_clearing", "posted": "half_share"}}, []),
    "charging taxed": (30, {"optimiser": {"charging_adder_usd_per_mwh": 200.0}}, []),
    "no spin": (30, {"resources": {"certified_spin_mw": 0.0}}, []),
    "calls of half an hour": (30, {"rules": {"reserve_call_hours": 0.5}}, []),
    "homes alone": (60, {"fleet": {"business_sites": 0}}, []),
    "a thousand": (1_000, {}, []),
}


def day_of(
    folder: Path,
    prosumers: int,
    groups: dict[str, dict[str, object]],
    rows: list[str],
    market_date: date = DAY,
    energy: pl.Expr | None = None,
) -> tuple[Tables, Settings]:
    """A day of storage resources; those of a file with ``rows``, if there are any. ``energy``: another forecast."""
    resources: dict[str, object] = {"participation": "storage"}
    if rows:
        file = folder / "resources.csv"
        file.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
        resources = {"path": file}
    own = {"fleet": {"prosumers": prosumers}, "resources": resources}
    merged = {group: own.get(group, {}) | groups.get(group, {}) for group in {*own, *groups}}
    settings = Settings.model_validate(merged)
    stamp = Stamp("fingerprint", "0.1.0", 1, "run", bid_deadline_utc(market_date) - timedelta(hours=2))
    day = DayInputs(market_date, settings, None, None, None, stated=Requests()).tables()
    if energy is not None:
        day["market.price_forecast"] = day["market.price_forecast"].with_columns(energy.alias("energy_usd_per_mwh"))
        day |= aggregate(day, settings)
        day |= find_opportunities(day, settings, Requests())
    return bid(day, settings, stamp), settings


def assert_every_rule_holds(tables: Tables, settings: Settings) -> None:
    results = verify(tables, settings)
    assert [(name, one.description) for name, one in results.items() if not (one.passed or one.is_warning)] == []


@pytest.mark.parametrize(
    "name", [*EDGES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_EDGES)]
)  # a whole day each
def test_every_rule_holds_at_the_edge(tmp_path: Path, name: str) -> None:
    tables, settings = day_of(tmp_path, *(EDGES | SLOW_EDGES)[name])
    assert_every_rule_holds(tables, settings)
    bids = tables[BIDS].filter(BID)
    if name == "a pool too small to bid":
        assert bids.is_empty()
    elif name == "two owners behind a reserve":
        refused = tables[BIDS].filter(pl.col("reason").str.contains("fewer than 3 owners of resource north"))
        assert refused["product"].unique().to_list() == ["spin"]
        assert bids.filter(pl.col("resource_id").str.starts_with("north-")).height == 6 * 24
    else:
        assert bids.height


@pytest.mark.slow  # two whole days
@pytest.mark.parametrize(("market_date", "hours"), [(date(2024, 3, 10), 23), (date(2023, 11, 5), 25)])
def test_every_rule_holds_where_the_clock_changes(tmp_path: Path, market_date: date, hours: int) -> None:
    tables, settings = day_of(tmp_path, 30, {}, [], market_date)
    assert tables[LIMITS]["start_utc"].n_unique() == hours
    assert_every_rule_holds(tables, settings)


def test_a_day_before_there_were_storage_resources_holds_the_rules(honest: SolvedDay) -> None:
    old = {name: rows for name, rows in honest.tables.items() if name not in (*AGGREGATED, *BOUND)}
    for table, column in ((BIDS, "expected_mw"), (POSITIONS, "expected_mw"), (CALLS, "participation")):
        old[table] = old[table].drop(column)
    assert_every_rule_holds(old, honest.settings)
