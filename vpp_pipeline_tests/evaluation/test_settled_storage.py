"""A day of storage resources settled: awards as the market clears them over the day, and money that adds up."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.optimize import linprog

from vpp_pipeline.aggregation.resource_offers import (
    BOUND,
    LIMITS,
    PLAN,
    RESOURCES,
    SHARES,
    bound_tables,
    offer_of_tables,
)
from vpp_pipeline.cli.console import settlement_tables
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN
from vpp_pipeline.core.display import terminal
from vpp_pipeline.core.tables import Day
from vpp_pipeline.evaluation.backtest.run import replay
from vpp_pipeline.evaluation.settle_day import OF_STORAGE, settle_day
from vpp_pipeline.fleet.arrays import begin_with
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.negotiation.opportunities import Resource
from vpp_pipeline.pipeline import fleet_of
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import FleetSettings, ResourceSettings, Settings, SettlementSettings
from vpp_pipeline.verification.settled_days import (
    SETTLED,
    owners_are_paid_by_their_deals,
    storage_awards_stay_within_what_was_bid,
    the_settled_account_adds_up,
)
from vpp_pipeline_tests.conftest import DAY, SolvedDay

AWARDS = "evaluation.storage_awards"
EVERYONE = SettlementSettings(availability="fixed", availability_fraction=1.0, imbalance_factor=1.25)
FLEET = FleetSettings(prosumers=60, business_sites=40, note_share=0.0)
STORAGE = Settings(fleet=FLEET, resources=ResourceSettings(participation="storage", storage_classes=3))
ONE = Settings(fleet=FLEET, resources=ResourceSettings(participation="storage", storage_classes=1))
CERTIFIED = Settings(
    fleet=FLEET,
    resources=ResourceSettings(
        participation="storage", storage_classes=2, certified_spin_mw=0.8, certified_nonspin_mw=0.6
    ),
)
ENERGY, SPIN = "energy_usd_per_mwh", "spin_usd_per_mw_h"
PRICES: dict[str, dict[str, pl.Expr]] = {
    "as forecast": {},
    "dearer": {ENERGY: pl.col(ENERGY) * 1.5, SPIN: pl.col(SPIN) * 4.0},
    "turned round": {ENERGY: pl.col(ENERGY).reverse(), SPIN: pl.col(SPIN).reverse()},
    "below zero at noon": {ENERGY: pl.when(pl.col(ENERGY).rank() < 9.0).then(-30.0 - pl.col(ENERGY)).otherwise(ENERGY)},
}


def cleared(day: Day, **prices: pl.Expr) -> pl.DataFrame:
    """The forecast as the prices that cleared, but for those given."""
    published = pl.lit(datetime(2023, 8, 14, 20, tzinfo=UTC))
    return day["market.price_forecast"].with_columns(published_utc=published, **prices)


_settled: dict[str, ChainMap[str, pl.DataFrame]] = {}


def settled(day: SolvedDay, settings: SettlementSettings = EVERYONE, **prices: pl.Expr) -> ChainMap[str, pl.DataFrame]:
    """The day at other prices, settled once for all tests that ask for the same."""
    key = repr((day.settings, settings, prices))
    if key not in _settled:
        tables = {**day.tables, "market.prices": cleared(day.tables, **prices)}
        _settled[key] = ChainMap(settle_day(tables, day.settings.rules, settings), tables)
    return _settled[key]


def with_factor(day: SolvedDay, settings: SettlementSettings = EVERYONE) -> Settings:
    return day.settings.model_copy(update={"settlement": settings})


def account(tables: Day) -> dict[str, float]:
    return tables["evaluation.settled_days"].row(0, named=True)


@pytest.fixture(params=["storage", "certified"])
def day(request: pytest.FixtureRequest, solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    return solved_day(settings={"storage": STORAGE, "certified": CERTIFIED}[request.param], requests=())


def members(tables: Day, name: str):
    """The fleet of one storage resource."""
    fleet = begin_with(fleet_of(tables), tables["dispatch.starts"])
    return fleet.part(np.flatnonzero(fleet.resource_id == name))


def test_the_offer_read_from_the_published_tables_is_the_one_that_was_published(day: SolvedDay):
    """Tables -> offer -> tables gives every row again; prices are those of the bids, whole cents."""
    tables = day.tables
    forecast = tables["market.price_forecast"].sort("start_utc")
    price = np.stack([forecast[column].to_numpy() for column in PRICE_COLUMN.values()])
    for whole in tables[RESOURCES].iter_rows(named=True):
        name = whole["resource_id"]
        offer = offer_of_tables(name, members(tables, name), tables)
        is_bound = tables[SHARES].filter(resource_id=name).sort("prosumer_id")["is_bound"].to_numpy()
        certified = {one.name: whole[one.certified_column] for one in CAISO.reserves}
        size_mw = max(certified.values())
        resource = Resource(name, "storage", certified_mw=certified, pool_id=whole["pool_id"], size_mw=size_mw)
        again = bound_tables(resource, DAY, forecast["start_utc"], offer, is_bound, offer.awards(price))
        for table in BOUND:
            before = tables[table].filter(resource_id=name)
            dollars = [column for column in before.columns if "_usd_" in column]
            numbers = again[table].drop(dollars)
            assert_frame_equal(numbers, before.drop(dollars), abs_tol=1e-9, rel_tol=1e-9, check_row_order=False)
            if table == LIMITS:
                assert_frame_equal(again[table].select(dollars), before.select(dollars), abs_tol=0.0101, rel_tol=0.0)


def test_at_the_forecast_the_plan_is_awarded_and_earns_what_was_expected(day: SolvedDay):
    """Where a deviation costs three times the price there is none, and every line is the expected one but pay, which
    deals split otherwise once somebody else delivers."""
    tables = settled(day, EVERYONE.model_copy(update={"imbalance_factor": 3.0}))
    awarded, planned = (rows.drop("stored_value_usd_per_mwh") for rows in (tables[AWARDS], day.tables[PLAN]))
    assert_frame_equal(awarded, planned, abs_tol=1e-6)
    bids, found = tables["evaluation.settlement"], account(tables)
    expected = day.tables["bids.final_bids"].filter(status="bid").sort("bid_id")
    assert bids.sort("bid_id")["awarded_mw"].to_numpy() == pytest.approx(expected["expected_mw"].to_numpy(), abs=1e-6)
    assert found["expected_energy_usd"] == pytest.approx(found["energy_usd"], abs=0.02)
    assert found["expected_reserve_usd"] == pytest.approx(found["reserve_usd"], rel=2e-3)
    assert found["imbalance_usd"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("fraction", [0.0, 0.6, 1.0])
def test_whoever_comes_no_limit_is_broken_and_the_account_adds_up(day: SolvedDay, fraction: float, prices: str):
    some = SettlementSettings(availability="fixed", availability_fraction=fraction)
    tables = settled(day, some, **PRICES[prices])
    assert account(tables)["limits_broken"] == 0
    for check in SETTLED:
        result = check(tables, with_factor(day, some))
        assert result.passed, result.description
    if fraction == 0.0:
        assert account(tables)["payments_usd"] == 0.0


@pytest.mark.parametrize("prices", ["as forecast", "dearer"])
def test_a_back_test_tells_the_account_of_the_settled_day(solved_day: Callable[..., SolvedDay], prices: str):
    """Two ways to the same money; members of one resource do not make up for absent ones of another in either."""
    some = SettlementSettings(availability="fixed", availability_fraction=0.6)
    day = solved_day(settings=STORAGE, requests=())
    tables = settled(day, some, **PRICES[prices])
    hourly = STORAGE.resources.model_copy(update={"participation": "hourly"})
    settings = day.settings.model_copy(update={"settlement": some, "resources": hourly})
    inputs = DayInputs(DAY, settings, None, None, None).tables()
    row = replay(inputs, tables["market.prices"], settings, ["storage"]).row(0, named=True)
    told = account(tables)
    for one in (row, told):  # a back-test counts charging that was awarded among charging, not among energy
        one["traded_usd"] = one["energy_usd"] - one["charging_usd"]
    for line in ("traded_usd", "reserve_usd", "imbalance_usd", "leftover_usd", "payments_usd"):
        assert row[line] == pytest.approx(told[line], abs=0.5), line
    assert row["net_usd"] + row["no_sale_usd"] == pytest.approx(told["net_usd"], abs=0.5)


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("settings", [STORAGE, CERTIFIED, ONE], ids=["storage", "certified", "one resource"])
def test_no_other_award_within_the_published_limits_is_worth_more(
    solved_day: Callable[..., SolvedDay], settings: Settings, prices: str
):
    """The award against a linear program written anew from the published tables alone, at the meter, in MW."""
    tables = settled(solved_day(settings=settings, requests=()), **PRICES[prices])
    if settings is ONE:
        assert tables[RESOURCES]["resource_id"].to_list() == [DESK]
    for name in tables[RESOURCES]["resource_id"]:
        bid = Bid(tables, name)
        awards = tables[AWARDS].filter(resource_id=name).sort("start_utc")
        moves = awards.select("charge_mw", "discharge_mw", "spin_mw", "nonspin_mw").to_numpy().T
        own = float((bid.gain * moves).sum())
        best = best_worth(bid)
        assert own <= best + 1e-6
        # only where burning energy pays is the market's award, which does one of both, worth less than the program's
        assert own >= best - (1e-6 if prices != "below zero at noon" else np.inf)


class Bid:
    """One resource's bid by hour, from the published tables alone: limits in MW and MWh, and worth of a MW, $."""

    def __init__(self, tables: Day, name: str) -> None:
        self.whole = tables[RESOURCES].row(by_predicate=pl.col("resource_id") == name, named=True)
        self.limits = tables[LIMITS].filter(resource_id=name).sort("start_utc")
        prices = tables["market.prices"].sort("start_utc")
        bids = tables["bids.final_bids"].filter(resource_id=name, status="bid")
        spans = tables["bids.bid_segments"].join(bids.select("bid_id", "product", "start_utc"), on="bid_id")
        hours = self.limits.height
        self.most, self.asked, self.spans = np.zeros((4, hours)), np.zeros((4, hours)), np.zeros(hours)
        for t, start in enumerate(self.limits["start_utc"]):
            sun = self.limits["self_schedule_mw"][t]
            for span in spans.filter(start_utc=start).sort("segment").iter_rows(named=True):
                low, high = span["from_mw"], span["to_mw"]
                if span["product"] != "energy":
                    k = 2 + [one.name for one in CAISO.reserves].index(span["product"])
                elif high <= sun + 1e-9:
                    k = 0
                else:
                    self.spans[t] = high - sun
                    k = 1 if high <= sun + self.limits["max_discharge_mw"][t] + 1e-9 else None
                if k is not None:
                    self.most[k, t], self.asked[k, t] = high - low, span["price_usd_per_mwh"]
        price = np.stack([prices[column].to_numpy() for column in PRICE_COLUMN.values()])
        self.gain = np.stack([self.asked[0] - price[0], price[0] - self.asked[1], *(price[1:] - self.asked[2:])])


def best_worth(bid: Bid) -> float:
    """Largest worth of charge, discharge, spin, and nonspin (4 T), $."""
    whole, limits, hours = bid.whole, bid.limits, bid.limits.height
    into, out, tau = whole["charge_efficiency"], whole["discharge_efficiency"], whole["call_hours"]
    low, high = limits["lowest_stored_mwh"].to_numpy(), limits["highest_stored_mwh"].to_numpy()
    begins, one, none = whole["initial_stored_mwh"], np.eye(hours), np.zeros((hours, hours))
    sums, before = np.tril(np.ones((hours, hours))), np.tril(np.ones((hours, hours)), -1)
    stored = np.hstack([into * sums, -sums / out, none, none])
    stored_before = np.hstack([into * before, -before / out, none, none])
    called = np.hstack([none, none, tau / out * one, tau / out * one])
    floor = low.copy()
    floor[-1] = max(floor[-1], whole["final_stored_mwh"])
    low_before = np.append(begins - whole["first_backing_mwh"], low[:-1])
    rows = [stored, -stored, np.hstack([none, one, one, one]), called - stored, called - stored_before]
    sides = [high - begins, begins - floor, bid.spans, begins - low, begins - low_before]
    rows.append(np.hstack([none[:1], np.ones((1, hours)) / out, none[:1], none[:1]]))
    sides.append([whole["daily_discharge_mwh"]])
    found = linprog(
        -bid.gain.ravel(), np.vstack(rows), np.concatenate(sides), bounds=[(0.0, most) for most in bid.most.ravel()]
    )
    assert found.success, found.message
    return -float(found.fun)


def test_negative_awards_are_charging_that_is_bought_and_delivered(day: SolvedDay):
    tables = settled(day, **PRICES["dearer"])
    energy = tables["evaluation.settlement"].filter(product="energy")
    charging = energy.filter(pl.col("awarded_mw") < -1e-6)
    assert charging.height > 1
    assert (charging["revenue_usd"] < 0.0).any()
    assert (charging["delivered_mw"] < 0.0).any()
    nobody = settled(day, EVERYONE.model_copy(update={"availability_fraction": 0.0}), **PRICES["dearer"])
    absent = nobody["evaluation.settlement"].filter(product="energy").join(charging.select("bid_id"), on="bid_id")
    assert absent["delivered_mw"].to_numpy() == pytest.approx(0.0, abs=1e-6)  # bought, and not taken
    sold_back = absent.filter(pl.col("clearing_price") > 1.0)
    assert (sold_back["imbalance_usd"] < 0.0).all()
    assert (sold_back["imbalance_usd"] > sold_back["revenue_usd"]).all()  # for less than was paid


def test_bids_and_owners_charging_make_the_account(day: SolvedDay):
    """Every hour is bid, so revenue, deviations, and pay of the bids are all but charging and what is left."""
    tables = settled(day, SettlementSettings(availability="fixed", availability_fraction=0.7), **PRICES["turned round"])
    bids, found = tables["evaluation.settlement"], account(tables)
    energy = bids.filter(product="energy")
    assert energy.group_by("resource_id").len()["len"].to_list() == [24] * day.tables[RESOURCES].height
    assert found["imbalance_usd"] == pytest.approx(energy["imbalance_usd"].sum(), abs=0.005 * energy.height)
    own_mw = day.tables[LIMITS].join(tables["market.prices"], on="start_utc")
    own_usd = own_mw.select((pl.col("own_charging_mw") * pl.col(ENERGY)).sum()).item()
    assert found["charging_usd"] == pytest.approx(own_usd, abs=0.02)
    profit = bids["profit_usd"].sum() - found["charging_usd"] + found["leftover_usd"]
    assert found["net_usd"] == pytest.approx(profit, abs=0.005 * energy.height)


AWARD_FAULTS = {
    "more charging": {"charge_mw": pl.col("charge_mw") + 0.01},
    "more discharge": {"discharge_mw": pl.col("discharge_mw") + 0.01},
    "both at once": {"charge_mw": pl.col("charge_mw") + 1e-4, "discharge_mw": pl.col("discharge_mw") + 1e-4},
    "another state of charge": {"stored_mwh": pl.col("stored_mwh") + 1e-4},
    "below zero": {"spin_mw": pl.col("spin_mw") - 1.0},
    "more than is certified or backed": {"nonspin_mw": pl.col("nonspin_mw") + 5.0},
    "an empty store": {"stored_mwh": pl.lit(-5.0)},
    "a store too full": {"stored_mwh": pl.lit(500.0)},
}


@pytest.mark.parametrize("fault", AWARD_FAULTS)
def test_an_award_beyond_its_bid_is_found(day: SolvedDay, fault: str):
    tables = settled(day)
    check = storage_awards_stay_within_what_was_bid
    assert check(tables, day.settings).passed
    assert not check(
        ChainMap({AWARDS: tables[AWARDS].with_columns(**AWARD_FAULTS[fault])}, tables), day.settings
    ).passed


LIMIT_FAULTS = {
    "a final state of charge too low": (RESOURCES, {"final_stored_mwh": pl.lit(500.0)}),
    "more than the day's discharge": (RESOURCES, {"daily_discharge_mwh": pl.lit(0.0)}),
    "reserve that is not backed before": (RESOURCES, {"first_backing_mwh": pl.lit(0.0)}),
    "a state of charge below the lowest": (LIMITS, {"lowest_stored_mwh": pl.col("highest_stored_mwh") + 1.0}),
    "discharge beyond its curve": (LIMITS, {"max_discharge_mw": pl.lit(0.0)}),
}


@pytest.mark.parametrize("fault", LIMIT_FAULTS)
def test_an_award_beyond_another_limit_is_found(day: SolvedDay, fault: str):
    tables, (table, change) = settled(day, **PRICES["dearer"]), LIMIT_FAULTS[fault]
    stricter = ChainMap({table: tables[table].with_columns(**change)}, tables)
    result = storage_awards_stay_within_what_was_bid(stricter, day.settings)
    assert not result.passed


def test_awards_and_bids_that_are_missing_or_unlike_are_found(day: SolvedDay):
    tables, check = settled(day), storage_awards_stay_within_what_was_bid
    fewer = ChainMap({AWARDS: tables[AWARDS].slice(1)}, tables)
    assert not check(fewer, day.settings).passed
    other = tables["evaluation.settlement"].with_columns(pl.col("awarded_mw") + 0.001)
    assert "another award of" in check(ChainMap({"evaluation.settlement": other}, tables), day.settings).description


ACCOUNT_FAULTS = {
    "net by a dollar": ("settled_days", {"net_usd": pl.col("net_usd") + 1.0}),
    "expected net by a dollar": ("settled_days", {"expected_net_usd": pl.col("expected_net_usd") + 1.0}),
    "charging and net by a dollar": (
        "settled_days",
        {"charging_usd": pl.col("charging_usd") + 1.0, "net_usd": pl.col("net_usd") - 1.0},
    ),
    "imbalance and net by a dollar": (
        "settled_days",
        {"imbalance_usd": pl.col("imbalance_usd") + 1.0, "net_usd": pl.col("net_usd") - 1.0},
    ),
    "leftover and net by a dollar": (
        "settled_days",
        {"leftover_usd": pl.col("leftover_usd") + 1.0, "net_usd": pl.col("net_usd") + 1.0},
    ),
    "delivered as awarded": ("settlement", {"delivered_mw": pl.col("awarded_mw")}),
    "no shortfall": ("settlement", {"shortfall_mw": pl.lit(0.0)}),
    "no imbalance": ("settlement", {"imbalance_usd": pl.lit(0.0)}),
    "one paid a dollar more": ("settlement", {"payments_usd": pl.col("payments_usd") + 1.0}),
}


@pytest.mark.parametrize("fault", ACCOUNT_FAULTS)
def test_money_that_does_not_add_up_is_found(day: SolvedDay, fault: str):
    some = SettlementSettings(availability="fixed", availability_fraction=0.5)
    tables, (name, change) = settled(day, some, **PRICES["dearer"]), ACCOUNT_FAULTS[fault]
    assert the_settled_account_adds_up(tables, with_factor(day, some)).passed
    faulty = ChainMap({f"evaluation.{name}": tables[f"evaluation.{name}"].with_columns(**change)}, tables)
    assert not the_settled_account_adds_up(faulty, with_factor(day, some)).passed


def test_a_delivery_in_an_hour_of_charging_is_paid_once(day: SolvedDay):
    """A storage resource may call a member in any hour that it bids; a delivery left out is found there too."""
    tables = settled(day, **PRICES["dearer"])
    assert owners_are_paid_by_their_deals(tables, day.settings).passed
    paid = tables["evaluation.deliveries"]
    fewer = ChainMap({"evaluation.deliveries": paid.slice(1)}, tables)
    assert "delivered and paid kWh differ" in owners_are_paid_by_their_deals(fewer, day.settings).description


def test_an_hourly_day_settles_alike_with_empty_tables_of_storage_and_without_any(solved_day):
    day = solved_day()
    older = replace(day, tables={name: rows for name, rows in day.tables.items() if name not in {*OF_STORAGE, PLAN}})
    now, then = settled(day), settled(older)
    for table in ("dispatched", "deliveries", "settlement", "settled_days", "storage_awards"):
        assert_frame_equal(now[f"evaluation.{table}"], then[f"evaluation.{table}"])
    for check in SETTLED:
        assert check(then, Settings(settlement=EVERYONE)).passed
    assert then[AWARDS].is_empty()


@pytest.fixture
def mixed(tmp_path: Path, solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    """One resource that is bid as storage, and one hour by hour."""
    file = tmp_path / "resources.csv"
    header = "resource_id,participation,maximum_mw,certified_spin_mw,certified_nonspin_mw"
    file.write_text(f"{header}\nnorth,storage,3,1,1\nsouth,hourly,3,1,1\n", encoding="utf-8")
    fleet = FleetSettings(prosumers=90, business_sites=60, note_share=0.0)
    settings = Settings(fleet=fleet, resources=ResourceSettings(path=file, storage_classes=2))
    return solved_day(settings=settings, requests=())


def test_both_kinds_of_resources_are_settled_on_one_day(mixed: SolvedDay):
    some = SettlementSettings(availability="fixed", availability_fraction=0.8)
    tables = settled(mixed, some, **PRICES["dearer"])
    for check in SETTLED:
        result = check(tables, with_factor(mixed, some))
        assert result.passed, result.description
    bids = tables["evaluation.settlement"]
    assert set(bids["resource_id"]) == {"south", *tables[RESOURCES]["resource_id"]}
    assert tables["evaluation.dispatched"]["prosumer_id"].n_unique() == 90
    assert set(tables[AWARDS]["resource_id"]) == set(tables[RESOURCES]["resource_id"])
    hourly = bids.filter(resource_id="south", product="energy")
    assert (hourly["awarded_mw"] >= 0.0).all()


def test_the_printed_account_adds_up(day: SolvedDay, solved_day, capsys: pytest.CaptureFixture[str]):
    for one in (day, solved_day()):
        tables = settled(one, SettlementSettings(availability="fixed", availability_fraction=0.7), **PRICES["dearer"])
        terminal().print(*settlement_tables(tables, DAY))
        assert_adds_up(capsys.readouterr().out, account(tables))


def assert_adds_up(printed: str, found: Mapping[str, float]) -> None:
    """Every column of the printed account adds up to its net, and the table of awards to its lines, to the cent."""
    awards, lines = printed.split("Account of the day")
    by_product = {row.split()[0]: cents(row) for row in awards.splitlines() if "$" in row}
    rows = {row.strip().split("  ")[0]: cents(row) for row in lines.splitlines() if "$" in row}
    net = rows.pop("net")
    assert len(rows) == 6
    assert net == [sum(column) for column in zip(*rows.values(), strict=True)]
    assert all(settled - expected == difference for expected, settled, difference in [net, *rows.values()])
    assert [round(100 * found[name]) for name in ("expected_net_usd", "net_usd")] == net[:2]
    energy, reserve, payments = (
        next(row[1] for words, row in rows.items() if words.startswith(begins))
        for begins in ("energy awarded", "reserve held", "payments")
    )
    assert by_product["energy"][0] == energy
    assert sum(row[0] for product, row in by_product.items() if product != "energy") == reserve
    assert -sum(row[1] for row in by_product.values()) == payments


def cents(row: str) -> list[int]:
    """Every amount of a printed row."""
    return [round(float(text.replace("$", "").replace(",", "")) * 100) for text in re.findall(r"-?\$[\d,]+\.\d\d", row)]
