"""A fleet above `fleet.part_prosumers` is made, bid, verified, and settled in parts, with the result of the whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import content_of
from vpp_pipeline.data_settings import RetentionSettings
from vpp_pipeline.day_parts import over_parts, results_of_parts, sum_of
from vpp_pipeline.defs.dispatch import SOLVED as DISPATCH
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.settings import FleetSettings, Settings, read_settings
from vpp_pipeline.verification.check_result import CheckResult, of_all_parts
from vpp_pipeline.verification.registry import GUARDS, verify
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice, no_prosumer_is_in_two_parts
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline.warehouse.day import FLEET, PartDay, parts_in, published_day
from vpp_pipeline.warehouse.rebuild import rebuild_warehouse, restore_days
from vpp_pipeline.warehouse.retention import sweep
from vpp_pipeline_tests.defs.desk import (
    DAY,
    TradingDesk,
    differences,
    failures,
    made,
    metadata_of,
    negotiated,
    new_desk,
)
from vpp_pipeline_tests.shared import shared

NAMES = ["demand", "north", "pool"]
RESOURCES = """resource_id,participation,maximum_mw,certified_spin_mw,certified_nonspin_mw
demand,proxy_demand,2,0,0.5
empty,hourly,2,0,0
north,hourly,4,1.5,1.5
pool,storage,9,2,2
"""
MARKET_DATE, NEXT = date.fromisoformat(DAY), "2023-08-16"
#: told of each part, of sums that are rounded there, or of how the day was set
WHEN_AND_WHO = ("seconds", "run_id", "created_utc", "fingerprint", "bid_id")
OTHERWISE = ("bids.checks", "bids.runs", "dispatch.proof", "dispatch.reconciliation")


@cache
def files() -> tuple[Path, Path]:
    """A fleet that names its resources, each prosumer beside others of the two others, and the file of these."""

    def make(folder: Path) -> None:
        settings = FleetSettings(prosumers=90, business_sites=60)
        generate_fleet(settings, MARKET_DATE, NAMES).drop("market_date").write_parquet(folder / "fleet.parquet")
        (folder / "resources.csv").write_text(RESOURCES)

    folder = shared("fleet_of_three", make)
    return folder / "fleet.parquet", folder / "resources.csv"


def settings_of(part_prosumers: int, **more: Any) -> dict[str, Any]:
    fleet, resources = files()
    return {
        "fleet": {"path": str(fleet), "part_prosumers": part_prosumers, **more},
        "resources": {"path": str(resources)},
    }


def desk_of(name: str, part_prosumers: int) -> TradingDesk:
    """A desk with the day, bid and settled."""
    settings = settings_of(part_prosumers)

    def make(folder: Path) -> None:
        for job in ("bid_day", "settle_day"):
            result = new_desk(folder, settings).run(job)
            assert result.success, failures(result)

    return new_desk(shared(name, make), settings)


@pytest.fixture(scope="module")
def whole() -> TradingDesk:
    return desk_of("day_of_three_whole", 1_000)


@pytest.fixture(scope="module")
def parted() -> TradingDesk:
    return desk_of("day_of_three_in_parts", 10)


def test_bids_and_all_that_they_rest_on_are_those_of_the_whole_day(whole: TradingDesk, parted: TradingDesk):
    one, other = published_day(whole.lake, MARKET_DATE), published_day(parted.lake, MARKET_DATE)
    assert (parts_in(one.kept), parts_in(other.kept)) == (0, 3)
    bid = other["bids.final_bids"].filter(status="bid")
    assert set(bid["resource_id"].str.head(4)) >= {"nort", "pool"}
    for table in TABLES:
        if table in OTHERWISE or table.startswith("evaluation."):
            continue
        ours, theirs = (day[table].drop(WHEN_AND_WHO, strict=False).sort(pl.all()) for day in (one, other))
        assert ours.equals(theirs), table


def test_sums_of_the_day_are_those_of_its_parts(whole: TradingDesk, parted: TradingDesk):
    one, other = published_day(whole.lake, MARKET_DATE), published_day(parted.lake, MARKET_DATE)
    for table in ("dispatch.proof", "dispatch.reconciliation"):
        ours, theirs = (day[table].row(0, named=True) for day in (one, other))
        for name, value in ours.items():
            if isinstance(value, float) and name != "seconds":
                assert theirs[name] == pytest.approx(value, abs=0.03), name  # cents of three parts


def test_every_rule_was_checked_in_every_part_and_of_the_whole_day(parted: TradingDesk):
    checks = published_day(parted.lake, MARKET_DATE)["bids.checks"]
    assert set(checks["check_name"]) == {check.__name__ for check in GUARDS}
    assert checks.filter(~pl.col("passed") & ~pl.col("is_warning")).is_empty()
    of_parts = checks.filter(pl.col("description").str.contains("parts of the fleet"))
    assert of_parts.height == len(GUARDS) - 8 - 2  # those of prices, forecasts, requests, and of what is asked and when
    results = verify(published_day(parted.lake, MARKET_DATE), Settings.model_validate(settings_of(10)))
    assert [name for name, result in results.items() if not (result.passed or result.is_warning)] == []


def test_the_settlement_is_verified_and_adds_up(parted: TradingDesk):
    day = published_day(parted.lake, MARKET_DATE)
    account, settlement = day["evaluation.settled_days"].row(0, named=True), day["evaluation.settlement"]
    assert day["evaluation.settled_days"].height == 1
    assert account["present"] + account["absent"] == day["fleet.prosumers"].height == 90
    assert account["payments_usd"] == pytest.approx(settlement["payments_usd"].sum(), abs=0.03)
    results = results_of_parts(day, Settings.model_validate(settings_of(10)), SETTLED)
    assert {name: result.description for name, result in results.items() if not result.passed} == {}


def test_parts_have_absences_of_their_own(parted: TradingDesk):
    """Of three like fleets no two would be absent alike."""
    from vpp_pipeline.evaluation.settlement import draw_available
    from vpp_pipeline.settings import SettlementSettings

    chance, settings = pl.Series([0.5] * 60).to_numpy(), SettlementSettings(availability="fleet")
    every = draw_available(chance, MARKET_DATE, settings)
    assert every[20:].tolist() == draw_available(chance[20:], MARKET_DATE, settings, 20).tolist()
    assert every[:40].tolist() != draw_available(chance[:40], MARKET_DATE, settings, 20).tolist()


@pytest.mark.slow
def test_a_day_made_again_reuses_every_negotiation_and_is_the_same(parted: TradingDesk):
    desk = parted.copy()
    before, day = desk.tables(), desk.lake.day(DAY)
    schedule = day.present("dispatch.schedule")
    result = desk.run()
    assert result.success, failures(result)
    assert negotiated(result) == (0, desk.day()["market.opportunities"].height)
    again = desk.lake.day(DAY)  # the same rows in new files have the same hash
    assert again.present("dispatch.schedule").version != schedule.version
    assert all(part.content for part in schedule.parts)
    assert again.hash("dispatch.schedule") == day.hash("dispatch.schedule") == content_of(schedule.parts)
    assert metadata_of(result, "fleet.prosumers")["parts"] == 3
    assert [name for name in differences(before, desk.tables()) if not name.startswith("bids.run")] == []


@pytest.mark.slow
def test_the_next_day_begins_where_each_part_ended_and_keeps_its_classes(parted: TradingDesk):
    desk = parted.copy()
    result = desk.run(day=NEXT, settings=settings_of(10, carry_over=True))
    assert result.success, failures(result)
    before, after = desk.day(DAY), desk.day(NEXT)
    assert parts_in(after.kept) == 3
    ends = before["dispatch.schedule"].sort("prosumer_id", "start_utc").group_by("prosumer_id", maintain_order=True)
    stored = ends.agg(pl.col("stored_kwh").last())
    starts = after["dispatch.starts"].join(stored, on="prosumer_id", validate="1:1")
    assert starts["carried_from"].cast(pl.String).unique().to_list() == [DAY]
    assert (starts["initial_stored_kwh"] - starts["stored_kwh"]).abs().max() < 1e-9
    members = [day["fleet.storage_members"].select("prosumer_id", "resource_id") for day in (before, after)]
    assert members[0].height > 10
    assert members[0].equals(members[1])


def test_a_part_that_no_schedule_can_keep_stops_the_day_and_is_told(parted: TradingDesk):
    """One battery of the last part owes more than its size; the others are solved, and nothing of them is kept."""
    desk = parted.copy()
    kept = desk.by_hand()
    file = kept.present("fleet.availability")
    hourly = pl.read_parquet(desk.lake.path(file.parts[2]))
    victim = desk.day()["fleet.prosumers"].filter(store="battery", resource_id="pool").row(0, named=True)
    is_last = (pl.col("prosumer_id") == victim["prosumer_id"]) & (pl.col("start_utc") == hourly["start_utc"].max())
    owed = pl.when(is_last).then(victim["capacity_kwh"] + 2.5).otherwise("min_stored_kwh")
    changed = desk.lake.put("fleet.availability", DAY, hourly.with_columns(min_stored_kwh=owed))
    kept.point("fleet.availability", desk.lake.put_together((*file.parts[:2], changed)))
    bids = desk.sql("from bids.final_bids order by all")
    stopped = desk.materialise(*DISPATCH.values(), checks=False)
    words = failures(stopped)["day_solution"]
    assert f"1 prosumer cannot keep its limits even if nothing is bid: {victim['prosumer_id']} min_stored_kwh" in words
    assert made(stopped) == {"dispatch.infeasibilities"}
    assert desk.sql("select prosumer_id from dispatch.infeasibilities") == [(victim["prosumer_id"],)]
    assert desk.sql("from bids.final_bids order by all") == bids


def test_one_opportunity_negotiated_by_hand_keeps_those_of_all_parts(parted: TradingDesk):
    desk = parted.copy()
    count = desk.day()["market.opportunities"].height
    assert desk.materialise("negotiation.rounds", partition=f"{DAY}|energy_he20", checks=False).success
    result = desk.materialise("negotiation.summary", checks=False)
    assert result.success, failures(result)
    assert negotiated(result) == (0, count)


def test_a_warehouse_made_anew_has_every_part_and_a_sweep_takes_none(parted: TradingDesk):
    desk = parted.copy()
    questions = [f"select * from {table} order by all" for table in ("fleet.prosumers", "bids.final_bids")]
    before = list(map(desk.sql, questions))
    for file in desk.lake.root.rglob("*.parquet"):
        os.utime(file, (0.0, 0.0))
    sweep(desk.lake, desk.warehouse, RetentionSettings(), MARKET_DATE)
    desk.warehouse.unlink()
    rebuild_warehouse(desk.lake, desk.warehouse)
    assert list(map(desk.sql, questions)) == before
    restore_days(desk.lake, desk.warehouse, [MARKET_DATE])
    day = published_day(desk.lake, MARKET_DATE)
    assert parts_in(day.kept) == 0  # as the warehouse has it, in one
    assert day["fleet.prosumers"].height == 90


def test_a_part_that_is_lost_is_named_with_its_remedy(parted: TradingDesk):
    desk = parted.copy()
    day = published_day(desk.lake, MARKET_DATE)
    part = day.kept.present("dispatch.schedule").parts[1]
    desk.lake.path(part).unlink()
    with pytest.raises(InputError, match=rf"dispatch.schedule of {DAY} cannot be read: it is gone.*{part.version}"):
        published_day(desk.lake, MARKET_DATE)["dispatch.schedule"]


def _tampered(day: Any, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], part: int) -> Any:
    """The day with the rows of one part changed."""
    file = day.kept.present(table)
    parts = list(file.parts)
    rows = day.lake.put(table, MARKET_DATE, change(pl.read_parquet(day.lake.path(parts[part]))))
    parts[part] = rows
    return day.holding({}, {table: day.lake.put_together(parts)})


def test_a_limit_broken_in_one_part_alone_is_found(parted: TradingDesk):
    desk = parted.copy()
    settings, day = Settings.model_validate(settings_of(10)), published_day(desk.lake, MARKET_DATE)

    def beyond(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.col("discharge_kw") + 50.0)

    for part in range(3):
        faulty = _tampered(day, "dispatch.schedule", beyond, part)
        (result,) = results_of_parts(faulty, settings, [_check("no_prosumer_is_pushed_past_its_limits")]).values()
        assert not result.passed
        assert f"in 1 of 3 parts of the fleet; of part {part + 1}: " in result.description


def test_a_prosumer_in_two_parts_is_sold_twice(parted: TradingDesk):
    """Each part alone is in order."""
    desk = parted.copy()
    settings, day = Settings.model_validate(settings_of(10)), published_day(desk.lake, MARKET_DATE)
    first = day["fleet.prosumers"].filter(resource_id="north")
    twin = first.head(1).with_columns(resource_id=pl.lit("pool"))
    file = day.kept.present(FLEET)
    pool = pl.concat([pl.read_parquet(desk.lake.path(file.parts[2])), twin])
    parts = (*file.parts[:2], desk.lake.put(FLEET, MARKET_DATE, pool))
    files = {**day.kept.committed.files, FLEET: desk.lake.put_together(parts)}
    day.kept.committed = replace(day.kept.committed, files=files)
    day = day.afresh()
    result = no_prosumer_is_in_two_parts(day, settings)
    assert result.violations == 2  # the prosumer, and its site
    assert f"name {twin['prosumer_id'][0]}" in result.description
    (found,) = results_of_parts(day, settings, [no_kilowatt_hour_is_sold_twice]).values()
    assert not found.passed


def _check(name: str) -> Any:
    return next(check for check in GUARDS if check.__name__ == name)


def test_a_generated_fleet_is_made_part_by_part_without_the_others():
    settings = FleetSettings(prosumers=250, part_prosumers=100, seed=7)
    names = ["vpp1", "vpp2", "vpp3"]
    parts = [generate_fleet(settings, MARKET_DATE, names, part) for part in range(3)]
    assert [part.height for part in parts] == [84, 83, 83]
    every = pl.concat(parts)
    assert every["prosumer_id"].n_unique() == 250
    assert every.group_by("site_id").agg(pl.col("resource_id").n_unique())["resource_id"].max() == 1
    first = generate_fleet(FleetSettings(prosumers=84, seed=7), MARKET_DATE)
    assert_frame_equal(parts[0].drop("resource_id"), first.drop("resource_id"))
    like = ("capacity_kwh", "patience", "wear_usd_per_mwh")
    assert not parts[1].select(like).equals(parts[2].select(like))
    inputs = DayInputs(MARKET_DATE, Settings(fleet=settings), None, None, None)
    assert inputs.resources["resource_id"].to_list() == names
    assert inputs.parts == names
    assert inputs.fleet.prosumers["prosumer_id"].n_unique() == inputs.fleet.prosumers.height


def test_a_certification_of_the_whole_is_shared_by_the_parts():
    groups = {"fleet": {"prosumers": 40, "part_prosumers": 10}, "resources": {"certified_spin_mw": 2.0}}
    resources = DayInputs(MARKET_DATE, read_settings(groups), None, None, None).resources
    assert resources["certified_spin_mw"].to_list() == [0.5] * 4
    assert resources["certified_nonspin_mw"].null_count() == 4


def test_a_resource_with_the_name_of_another_ones_class_is_refused_though_no_part_sees_both(parted: TradingDesk):
    desk = new_desk(settings=settings_of(10))
    file = desk.data / "resources.csv"
    desk.data.mkdir(exist_ok=True)
    file.write_text(RESOURCES.replace("north,", "pool-01,"))
    fleet = pl.read_parquet(files()[0]).with_columns(pl.col("resource_id").replace("north", "pool-01"))
    fleet.write_parquet(desk.data / "fleet.parquet")
    settings = {
        "fleet": {"path": str(desk.data / "fleet.parquet"), "part_prosumers": 10},
        "resources": {"path": str(file)},
    }
    result = desk.make("fleet.storage_classes", settings=settings)
    assert not result.success
    assert "resource pool-01 has the name of a class of another" in failures(result)["fleet_in_storage"]


def test_a_language_model_does_not_speak_for_a_fleet_in_parts():
    groups = {"fleet": {"prosumers": 40, "part_prosumers": 10}, "negotiation": {"engine": "llm"}}
    with pytest.raises(InputError, match=r"40 prosumers are 4 .*negotiation\.engine.*fleet\.part_prosumers"):
        _ = DayInputs(MARKET_DATE, read_settings(groups), None, None, None).parts
    groups["fleet"]["part_prosumers"] = 40
    assert DayInputs(MARKET_DATE, read_settings(groups), None, None, None).parts == []


def test_what_a_part_reads_and_writes_is_its_own(parted: TradingDesk):
    settings, day = Settings.model_validate(settings_of(10)), published_day(parted.lake, MARKET_DATE)

    def told(part: PartDay) -> tuple[list[str], list[str], int]:
        fleet, resources = part["fleet.prosumers"], part["market.resources"]
        return fleet["resource_id"].unique().to_list(), resources["resource_id"].to_list(), part["market.prices"].height

    assert over_parts(day, settings, told) == [([name], [name], 24) for name in NAMES]
    assert day.rests_on.keys() == {"fleet.prosumers", "market.resources", "market.prices"}


def test_results_of_parts_are_one_result():
    passed, failed = CheckResult(0, "all well", 3.0), CheckResult(2, "two are not", 1.0)
    warned = CheckResult(1, "one is late", 2.0, is_warning=True)
    assert of_all_parts([passed, passed], "sold_kwh") == CheckResult(
        0, "in each of 2 parts of the fleet; of the first: all well", 6.0
    )
    found = of_all_parts([warned, failed, passed], "smallest_coalition_count")
    assert found == CheckResult(3, "in 2 of 3 parts of the fleet; of part 2: two are not", 1.0)
    assert of_all_parts([passed, warned], "largest_export_kw") == CheckResult(
        1, "in 1 of 2 parts of the fleet; of part 2: one is late", 3.0, is_warning=True
    )


def test_amounts_add_up_words_are_named_once_and_the_gap_is_that_of_the_sums():
    """Two parts earn 8 of at most 10, and 30 of 30, where not bidding earns 0 and 10: 2 of 30 is open."""
    rows = pl.DataFrame(
        {
            "market_date": [MARKET_DATE] * 2,
            "method": ["exact", "exact"],
            "risk_adjusted_usd": [8.0, 30.0],
            "bound_usd": [10.0, 30.0],
            "no_bid_usd": [0.0, 10.0],
            "gap_fraction": [0.2, 0.0],
            "hours": [24, 24],
            "worst_usd": pl.Series([None, None], dtype=pl.Float64),
        }
    )
    (row,) = sum_of(rows).iter_rows(named=True)
    assert row == {
        "market_date": MARKET_DATE,
        "method": "exact",
        "risk_adjusted_usd": 38.0,
        "bound_usd": 40.0,
        "no_bid_usd": 10.0,
        "gap_fraction": pytest.approx(2.0 / 30.0),
        "hours": 24,
        "worst_usd": None,
    }
