"""What people see of a day on which the fleet takes part as storage: report, documents, and the command's table."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from vpp_pipeline.cli import console
from vpp_pipeline.core.calendar import pacific_moment_utc
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.llm.brief import facts_of
from vpp_pipeline.reporting.documents import documents_of
from vpp_pipeline.reporting.page import page, report_file, write_report
from vpp_pipeline.reporting.queries import read_facts
from vpp_pipeline.schemas.documents import FinalBid, StorageBid
from vpp_pipeline.warehouse.day import published_day
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.conftest import DAY, SolvedDay
from vpp_pipeline_tests.published import STORAGE, published
from vpp_pipeline_tests.reporting.reading import parse, tables, value, words

MOST_BYTES = 540 * 1024  # of 17 resources with 1,200 bids
RESOURCES = "Storage resources: members, most that each offers in an hour, plan, and expected profit"
PLAN, LIMITS = "dispatch.storage_plan", "dispatch.storage_limits"


@pytest.fixture(scope="module")
def day(solved_day) -> SolvedDay:
    return solved_day(settings=STORAGE, requests=())


@pytest.fixture(scope="module")
def data(day: SolvedDay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(day, tmp_path_factory.mktemp("storage"), is_settled=False)


@pytest.fixture(scope="module")
def root(data: Path) -> ET.Element:
    return parse(write_report(data, DAY).read_text(encoding="utf-8"))


def names(day: SolvedDay) -> list[str]:
    return day.tables["dispatch.storage_resources"]["resource_id"].sort().to_list()


def test_hundreds_of_bids_are_one_small_page(day: SolvedDay, data: Path, root: ET.Element):
    assert (day.tables["bids.final_bids"]["status"] == "bid").sum() > 500
    assert report_file(data, DAY).stat().st_size <= MOST_BYTES
    assert not list(root.iter("script"))
    found = tables(root)
    assert "Bids of the day; prices per MWh, for reserve per MW and hour" not in found
    assert "Expected earnings of each resource, with ancillary services and without" not in found
    assert "reasons of" in words(root)


def test_each_resource_has_a_row_with_its_members_and_its_money(day: SolvedDay, data: Path, root: ET.Element):
    rows = tables(root)[RESOURCES]
    assert [row[0] for row in rows] == names(day)
    assert all(", assumed" in cell for row in rows for cell in row[9:11])
    with open_warehouse(data / "vpp.duckdb") as connection:
        asked = """
            select prosumers, bound_members, energy_profit_usd, reserve_profit_usd, expected_profit_usd, payments_usd,
                   max_charge_mw, maximum_mw
            from bids.by_resource order by resource_id"""
        answer = connection.execute(asked).fetchall()
    for row, figures in zip(rows, answer, strict=True):
        assert [value(cell) for cell in row[1:9]] == pytest.approx([float(figure) for figure in figures], abs=0.00501)


def test_every_bid_is_in_the_hours_of_its_resource(day: SolvedDay, root: ET.Element):
    found = tables(root)
    bids = day.tables["bids.final_bids"].filter(pl.col("status") == "bid")
    plan = day.tables[PLAN].join(day.tables[LIMITS], on=["resource_id", "start_utc"])
    for name in names(day):
        rows = found[f"Bids of {name} by hour, in MW; prices per MWh, for reserve per MW and hour"]
        assert len(rows) == 24
        of_resource = bids.filter(resource_id=name)
        profit = sum(value(row[15]) for row in rows)
        assert profit == pytest.approx(of_resource["expected_profit_usd"].sum(), abs=0.006)
        hours = plan.filter(resource_id=name).sort("start_utc")
        net = hours["self_schedule_mw"] + hours["discharge_mw"] - hours["charge_mw"]
        assert [value(row[10]) for row in rows] == pytest.approx(net.to_list(), abs=0.000501)
        assert [value(row[13]) for row in rows] == pytest.approx(hours["stored_mwh"].to_list(), abs=0.000501)
        energy = of_resource.filter(product="energy").sort("start_utc")
        prices = [f"${usd:.2f}" if usd is not None else "" for usd in energy["bid_price_usd_per_mwh"]]
        assert [row[5] for row in rows] == prices
        for product, column in (("spin", 6), ("nonspin", 8)):
            offered = of_resource.filter(product=product)["total_capacity_mw"].sum()
            assert sum(value(row[column]) for row in rows) == pytest.approx(offered, abs=0.0121)


def test_megawatts_are_not_added_up_over_hours(day: SolvedDay, root: ET.Element):
    """The glance has MWh and MW·h that clear at the forecast, not the sum of all offers."""
    cards = {
        words(card.find("dt")): [words(dd) for dd in card.findall("dd")]  # type: ignore[arg-type]
        for card in root.iterfind(".//dl[@class='cards']/div")
    }
    bids = day.tables["bids.final_bids"]
    energy = bids.filter(product="energy")["expected_mw"]
    assert value(cards["Energy"][0].split()[0]) == pytest.approx(energy.clip(0.0).sum(), abs=0.00501)
    charged = -energy.clip(upper_bound=0.0).sum()
    assert charged > 0.1
    assert f"and {charged:.2f} MWh charged" in cards["Energy"][1]
    reserve = bids.filter(pl.col("product") != "energy")["expected_mw"].sum()
    assert value(cards["Reserve"][0].split()[0]) == pytest.approx(reserve, abs=0.00501)


def test_bids_of_one_hour_do_not_hide_each_other(data: Path, root: ET.Element):
    """One bar up to the lowest bid, and a lighter one up to the highest."""
    facts = read_facts(data / "vpp.duckdb", DAY)
    prices: dict[str, list[float]] = {}
    for bid in facts.trading:
        if bid["product"] == "energy" and bid["bid_price_usd_per_mwh"] is not None:
            prices.setdefault(bid["pacific"], []).append(bid["bid_price_usd_per_mwh"])
    bars = [bar for bar in root.iter("rect") if bar.get("class") == "energy spread"]
    assert len(bars) == sum(1 for of_hour in prices.values() if min(of_hour) < max(of_hour)) > 20
    told = words(bars[0])
    assert f"{len(prices['00:00'])} bids, " in told
    assert f"at ${min(prices['00:00']):.2f} to ${max(prices['00:00']):.2f}" in told


def test_an_hour_that_only_charges_is_shown(data: Path):
    """It has no price, no reliability, no satisfaction, and nobody who may be called."""
    facts = read_facts(data / "vpp.duckdb", DAY)
    empty = {"bid_price_usd_per_mwh": None, "reliability_score": None, "satisfaction_score": None, "coalition_size": 0}
    bids = [bid | empty if bid["product"] == "energy" else bid for bid in facts["bids"]]
    shown = parse(page(replace(facts, results={**facts.results, "bids": bids})))
    assert all(row[2] == "" for row in tables(shown)["Energy by hour"])


def test_a_settled_day_shows_the_award_beside_the_plan(day: SolvedDay, data: Path, root: ET.Element, tmp_path: Path):
    assert not [line for line in root.iter("path") if line.get("class") == "cleared" and line.get("d") != "M0 0"]
    awards = day.tables[PLAN].with_columns(discharge_mw=pl.col("charge_mw"), stored_mwh=pl.col("stored_mwh") + 0.001)
    copy = shutil.copytree(data, tmp_path / "data")
    lake, table = Lake(copy / "lake"), "evaluation.storage_awards"
    publish(lake, copy / "vpp.duckdb", DAY, {table: lake.put(table, DAY, awards)})
    shown = parse(write_report(copy, DAY).read_text(encoding="utf-8"))
    lines = [line for line in shown.iter("path") if line.get("class") == "cleared" and line.get("d") != "M0 0"]
    assert len(lines) == 2 * len(names(day))  # the curve and the state of charge of each
    first = names(day)[0]
    rows = tables(shown)[f"Bids of {first} by hour, in MW; prices per MWh, for reserve per MW and hour"]
    after = awards.filter(resource_id=first).sort("start_utc")["stored_mwh"]
    assert [value(row[17]) for row in rows] == pytest.approx(after.to_list(), abs=0.000501)


def test_a_day_without_storage_has_no_such_section(solved_day, tmp_path: Path):
    plain = published(solved_day(prosumers=30, requests=()), tmp_path)
    shown = parse(write_report(plain, DAY).read_text(encoding="utf-8"))
    assert not [section for section in shown.iter("section") if section.get("id") == "storage"]
    assert "#storage" not in {link.get("href") for link in shown.iter("a")}


def test_runs_and_bids_write_a_curve_alike(data: Path):
    asked = """
        select count(*), count(*) filter (r.curve = b.curve)
        from bids.run_bids r join bids.bids_of_day b using (opportunity_id) where b.status = 'bid'"""
    with open_warehouse(data / "vpp.duckdb") as connection:
        ((every, same),) = connection.execute(asked).fetchall()
    assert every == same > 500


def test_a_document_of_a_storage_bid_has_its_whole_curve(day: SolvedDay):
    limits = day.tables[LIMITS].select("resource_id", "start_utc", "self_schedule_mw", "max_charge_mw")
    bids = day.tables["bids.final_bids"].join(limits, on=["resource_id", "start_utc"])
    rows = {bid["opportunity_id"]: bid for bid in bids.iter_rows(named=True) if bid["status"] == "bid"}
    found = {document.opportunity_id: document for document in documents_of(day.tables) if document.final_bid}
    assert found.keys() == rows.keys()
    for name, bid in rows.items():
        final = found[name].final_bid
        assert isinstance(final, StorageBid)
        assert final.expected_mw == bid["expected_mw"]
        assert final.bid_price_mwh == bid["bid_price_usd_per_mwh"]
        is_energy = bid["product"] == "energy"
        begins_mw = bid["self_schedule_mw"] - bid["max_charge_mw"] if is_energy else 0.0
        assert final.curve[0].from_mw == pytest.approx(begins_mw, abs=1e-9)
        assert final.self_scheduled_mw == pytest.approx(bid["self_schedule_mw"] if is_energy else 0.0, abs=1e-9)
    charging = [one for one in found.values() if one.final_bid and one.final_bid.bid_price_mwh is None]
    assert charging
    begins_mw = [
        json.loads(one.model_dump_json())["final_bid"]["curve"][0]["from_mw"] for one in found.values() if one.final_bid
    ]
    assert min(begins_mw) < 0.0


def test_a_document_of_an_hourly_bid_is_as_it_was(solved_day):
    found = [document.final_bid for document in documents_of(solved_day().tables) if document.final_bid]
    assert {type(bid) for bid in found} == {FinalBid}


def printed(data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    written = StringIO()
    monkeypatch.setattr(console, "terminal", lambda: Console(file=written, width=160))
    console.show_bids(data, published_day(Lake(data / "lake"), DAY), {"in all": 1.0}, {})
    return written.getvalue()


@pytest.fixture
def with_proof(data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return printed(data, monkeypatch)


def test_the_command_prints_what_clears_of_all_storage_in_each_hour(day: SolvedDay, with_proof: str):
    rows = {line.split()[0]: line.split()[1:] for line in with_proof.splitlines() if re.match(r"\s+\d\d:00 ", line)}
    assert len(rows) == 24
    plan = day.tables["dispatch.storage_plan"].join(day.tables[LIMITS], on=["resource_id", "start_utc"])
    at_seven = plan.filter(pl.col("start_utc") == pacific_moment_utc(DAY, 19))
    sun, net = at_seven["self_schedule_mw"].sum(), (at_seven["discharge_mw"] - at_seven["charge_mw"]).sum()
    low, high = sun - at_seven["max_charge_mw"].sum(), sun + at_seven["max_discharge_mw"].sum()
    energy, first, _, last, clears, spin, held, nonspin, stored = rows["19:00"]
    sums = [at_seven[name].sum() for name in ("spin_mw", "nonspin_mw", "stored_mwh")]
    found = [value(cell) for cell in (first, last, clears, held, nonspin, stored)]
    assert found == pytest.approx([low, high, sun + net, *sums], abs=0.00501)
    forecast = day.tables["market.price_forecast"].filter(pl.col("start_utc") == pacific_moment_utc(DAY, 19))
    priced = forecast.select("energy_usd_per_mwh", "spin_usd_per_mw_h").row(0)
    assert [value(energy), value(spin)] == pytest.approx(priced, abs=0.00501)


def test_the_command_prints_a_row_for_each_resource_and_their_sum(day: SolvedDay, with_proof: str):
    lines = [line.split() for line in with_proof.splitlines() if line.strip()]
    cells = {first: others for first, *others in lines}
    limits = day.tables[LIMITS]
    for name in names(day):
        mine, bids = limits.filter(resource_id=name), day.tables["bids.final_bids"].filter(resource_id=name)
        assert [value(cell) for cell in cells[name][2:4]] == pytest.approx(
            [mine["max_charge_mw"].sum(), mine["max_discharge_mw"].sum()], abs=0.00501
        )
        money = ["expected_revenue_usd", "payments_usd", "expected_profit_usd"]
        assert [value(cell) for cell in cells[name][6:9]] == pytest.approx(_sums(bids, money), abs=0.00501)
    assert value(cells["all"][0]) == 60
    assert value(cells["all"][8]) == pytest.approx(
        day.tables["bids.final_bids"]["expected_profit_usd"].sum(), abs=0.00501
    )
    assert "energy_20230815" not in with_proof
    assert "select * from dispatch.storage_by_hour" in with_proof
    assert " MW of energy" not in with_proof
    assert "MWh of charging" in with_proof


def _sums(rows: pl.DataFrame, columns: list[str]) -> list[float]:
    return [rows[column].sum() for column in columns]


def test_a_brief_counts_what_clears_once(day: SolvedDay):
    """Offers of energy and of both reserves over the same MW; hours without deals, which only charge, are bids."""
    facts = facts_of(day.tables)
    bids, is_energy = day.tables["bids.final_bids"], pl.col("product") == "energy"
    cleared = [bids.filter(of_kind)["expected_mw"].clip(0.0).sum() for of_kind in (is_energy, ~is_energy)]
    assert [facts["energy_mw"].value, facts["reserve_mw"].value] == pytest.approx(cleared, abs=0.00501)
    assert facts["no_deals"].value == facts["worth_more_elsewhere"].value == facts["no_bids"].value == 0


def test_the_commands_json_has_every_bid(day: SolvedDay, data: Path):
    document: Mapping[str, pl.DataFrame] = console.bids_document(data, published_day(Lake(data / "lake"), DAY), {}, {})
    assert document["final_bids"].height == day.tables["bids.final_bids"].height
