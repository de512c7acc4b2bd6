"""A day's bids in one run: what it makes, that a repetition makes the same, and what changes when something does."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.price_intake import materialisation_of
from vpp_pipeline.schemas import TABLES, sentence
from vpp_pipeline.verification.registry import GUARDS, WARNINGS
from vpp_pipeline.warehouse.day import BY_RUN, LakeNegotiations
from vpp_pipeline_tests.defs.desk import (
    DAY,
    EXAMPLE,
    EXAMPLE_SLOT,
    GRAPH,
    TradingDesk,
    differences,
    evaluations,
    example_run,
    failures,
    made,
    negotiated,
    new_desk,
    small_desk,
)

#: what is made once the day's prices are known
BESIDE = ("negotiation.messages", "negotiation.segments")  # what `negotiation/rounds` and `summary` write
LATER = {f"evaluation.{name}" for name in ("dispatched", "deliveries", "settlement", "settled_days", "benchmark")} | {
    "evaluation.storage_awards"
}
ROUNDS_KEY = key_of("negotiation.rounds")
PRICES_FILE = project_folder() / "data" / "example_prices_2023-08.csv"
REQUESTS = """product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh
energy,2023-08-15T12:00,1,2.0,{price}
"""


@pytest.fixture(scope="module")
def small() -> TradingDesk:
    """A small fleet's desk with the day's bids made once."""
    desk = new_desk()
    assert desk.run().success
    return desk


# what one run makes


def test_one_run_makes_every_table_and_every_check_passes():
    _, result = example_run()
    assert result.success
    assert not failures(result)
    by_hand = {*BESIDE, *BY_RUN, *LATER}
    assert made(result) == (set(TABLES) - by_hand) | {
        "negotiation.rounds",
        "market.price_history",
        "warehouse.published",
    }
    found = evaluations(result)
    assert found.pop("the_forecast_rests_on_the_whole_week").passed
    assert set(found) == {check.__name__ for check in GUARDS}
    assert all(check.passed for check in found.values() if check.severity == dg.AssetCheckSeverity.ERROR)
    assert [name for name, check in found.items() if not check.passed] == [
        "every_note_is_understood"
    ]  # "call me first"
    assert {name for name, check in found.items() if not check.blocking} == {check.__name__ for check in WARNINGS}
    assert found["no_prosumer_is_pushed_past_its_limits"].metadata["violations"].value == 0


def test_each_opportunity_is_a_partition_of_the_rounds(small: TradingDesk):
    slots = small.day()["market.opportunities"]["slot"].to_list()
    assert len(slots) == 72
    assert small.instance.get_materialized_partitions(ROUNDS_KEY) == {f"{DAY}|{slot}" for slot in slots}
    desk, result = example_run()  # of 8 resources: one partition per product and hour all the same
    assert negotiated(result) == (8 * 72, 0)
    assert set(desk.day()["market.opportunities"]["slot"]) == set(slots)


def test_the_week_before_is_recorded_as_ingested(small: TradingDesk):
    week = {f"2023-08-{day:02d}" for day in range(8, 15)}
    assert small.instance.get_materialized_partitions(key_of("market.prices")) == week


def test_the_warehouse_answers():
    desk, _ = example_run()
    assert desk.sql(
        "select participation, count(distinct resource_id), count(*) from market.opportunities group by 1 order by 1"
    ) == [
        ("hourly", 1, 72),
        ("storage", 7, 7 * 72),
    ]
    assert len(desk.sql("select * from bids.final_bids")) == 8 * 72
    ((status, wanted, offered, mw, reason),) = desk.sql(f"""
        select status, required_capacity_mw, forecast_price, total_capacity_mw, reason
        from bids.final_bids where opportunity_id = '{EXAMPLE}'
    """)
    assert (status, wanted, offered) == ("bid", 2.0, 85.0)
    assert 1.6 <= mw <= 2.0
    assert reason
    assert desk.sql("select count(*) from bids.final_bids where status = 'no_bid'") != [(0,)]


def test_every_table_and_column_of_the_warehouse_is_there_and_described():
    desk, _ = example_run()
    tables = dict(
        desk.sql("select schema_name || '.' || table_name, comment from duckdb_tables() where database_name = 'vpp'")
    )
    assert tables == {table: " ".join(sentence(schema).split()) for table, schema in TABLES.items()}
    counts = dict(desk.sql(" union all ".join(f"select '{table}', count(*) from {table}" for table in TABLES)))
    assert {table for table, count in counts.items() if not count} == {
        "market.metered_hours",  # no source of meters
        "market.meter_quarantine",
        "market.request_quarantine",
        "market.price_scenarios",  # a single scenario is the forecast
        "negotiation.llm_calls",  # no model was asked
        "dispatch.owen_shares",  # no top-ups
        "fleet.quarantine",
        "dispatch.infeasibilities",
        "dispatch.scenario_quantities",
        *LATER,
    }
    mute = "select count(*) from duckdb_columns() where database_name = 'vpp' and coalesce(comment, '') = ''"
    assert desk.sql(mute) == [(0,)]


def test_what_made_a_bid_is_stored_with_it():
    desk, result = example_run()
    stamps = "select distinct seed, run_id, length(fingerprint), code_version != '' from bids.final_bids"
    assert desk.sql(stamps) == [(20230815, result.run_id, 64, True)]


# the same again, and what changes when something does


def statuses(desk: TradingDesk, day: str = DAY) -> dict[str, StaleStatus]:
    """What Dagster's pages say of every asset of the day, and of each negotiation."""
    resolver = CachingStaleStatusResolver(desk.instance, GRAPH, LoadingContextForTest(desk.instance))
    found = {
        ".".join(key.path): resolver.get_status(key, day) for key in GRAPH.get_all_asset_keys() if key != ROUNDS_KEY
    }
    slots = desk.day(day)["market.opportunities"]["slot"]
    return found | {slot: resolver.get_status(ROUNDS_KEY, f"{day}|{slot}") for slot in slots}


def not_fresh(desk: TradingDesk) -> set[str]:
    later = LATER | {"market.prices"}  # prices of the day itself: other jobs
    return {name for name, status in statuses(desk).items() if status != StaleStatus.FRESH} - later


def test_a_fresh_folder_gives_the_same_tables_and_everything_is_fresh(small: TradingDesk):
    assert differences(small_desk().tables(), small.tables()) == []
    assert not_fresh(small) == set()


def test_a_forecast_is_fresh_on_the_day_that_takes_in_one_more_day_of_prices():
    """Six days of its week have a version when the run begins, and the seventh comes during it."""
    desk = new_desk()
    first, then = DAY, "2023-08-16"
    for day in (first, then):
        assert desk.make("market.price_forecast", day=day).success
    resolver = CachingStaleStatusResolver(desk.instance, GRAPH, LoadingContextForTest(desk.instance))
    found = [resolver.get_status(key_of("market.price_forecast"), day) for day in (first, then)]
    assert found == [StaleStatus.FRESH, StaleStatus.FRESH]
    # a correction of the week still counts
    desk.instance.report_runless_asset_event(materialisation_of(date(2023, 8, 14), prices(desk, "2023-08-13")))
    resolver = CachingStaleStatusResolver(desk.instance, GRAPH, LoadingContextForTest(desk.instance))
    assert resolver.get_status(key_of("market.price_forecast"), then) == StaleStatus.STALE


def prices(desk: TradingDesk, day: str) -> pl.DataFrame:
    return desk.lake.day(day).read("market.prices")


def test_a_second_run_negotiates_nothing_and_changes_nothing(small: TradingDesk):
    before = small.tables()
    again = small.run()
    assert again.success
    assert negotiated(again) == (0, 72)
    assert differences(before, small.tables()) == []
    assert not_fresh(small) == set()


def test_one_negotiation_alone_is_reused_by_the_next_run(small: TradingDesk):
    before = small.tables()
    alone = small.materialise("negotiation.rounds", partition=f"{DAY}|{EXAMPLE_SLOT}")
    assert alone.success
    assert made(alone) == {"negotiation.rounds"}
    assert not_fresh(small) == {"negotiation.agreements"}
    again = small.materialise("negotiation.summary", "negotiation.agreements")
    assert negotiated(again) == (0, 72)
    assert differences(before, small.tables()) == []


def test_a_slot_without_an_opportunity_negotiates_nothing(small: TradingDesk):
    assert small.materialise("negotiation.rounds", partition=f"{DAY}|energy_he25").success
    bases = LakeNegotiations(small.by_hand()).bases()
    assert bases
    assert "energy_he25" not in {basis["slot"] for basis in bases.values()}


@pytest.mark.slow  # two runs; negotiation/test_store.py has what is negotiated again, and that damaged files are
def test_a_changed_price_negotiates_only_what_it_changes_again_and_damaged_files_are_made_again(
    small: TradingDesk, tmp_path: Path
):
    desk = small_desk()
    requests = tmp_path / "requests.csv"
    requests.write_text(REQUESTS.format(price="95.0"))
    other = desk.run(settings={"opportunities": {"requests": str(requests)}})
    before, now = (made.day()["market.opportunities"] for made in (small, desk))
    anew = now.join(before, on=["opportunity_id", "forecast_price", "required_capacity_mw"], how="anti").height
    assert 1 <= anew < 10  # the request, and where it leaves another R to others
    assert negotiated(other) == (anew, 72 - anew)
    changed = desk.day()["bids.final_bids"].filter(pl.col("opportunity_id") == EXAMPLE)
    assert changed["forecast_price"].to_list() == [95.0]
    assert not_fresh(desk) == set()
    withdrawn = desk.run(settings={"opportunities": {"requests": None}})
    assert negotiated(withdrawn) == (anew, 72 - anew)  # back to 85 $
    assert differences(small.tables(), desk.tables()) == []
    for table, day in (("market.prices", "2023-08-14"), ("negotiation.messages", DAY)):
        damaged = desk.lake.path(desk.lake.day(day).present(table))
        damaged.write_bytes(damaged.read_bytes()[:-20])
    assert negotiated(desk.run(settings={"opportunities": {"requests": None}})) == (72, 0)
    assert differences(small.tables(), desk.tables()) == []


def test_another_fleet_makes_stale_what_rests_on_it(small: TradingDesk):
    other = replace(small.copy(), settings={"fleet": {"prosumers": 31}})
    assert other.materialise("fleet.prosumers", "fleet.notes", "fleet.quarantine").success
    assert {"fleet.availability", "market.opportunities", "dispatch.schedule"} <= not_fresh(other)


# the information rule


def with_prices(path: Path, first: str, last: str) -> Path:
    """The example prices with those of Pacific days ``first`` to ``last`` raised by 30 $."""
    lines = PRICES_FILE.read_text().splitlines()
    header = next(k for k, line in enumerate(lines) if line.startswith("start_utc"))
    moved = []
    for line in lines[header + 1 :]:
        start, node, *prices = line.split(",")
        is_moved = f"{first}T07" <= start < f"{date.fromisoformat(last) + timedelta(days=1)}T07"
        moved.append(",".join([start, node, *(f"{float(price) + 30.0 * is_moved:.5f}" for price in prices)]))
    assert moved != lines[header + 1 :]
    path.write_text("\n".join([*lines[: header + 1], *moved]) + "\n")
    return path


def test_prices_of_the_day_change_no_bid_and_prices_of_the_day_before_the_forecast(tmp_path: Path):
    later = replace(small_desk(), prices={"path": str(with_prices(tmp_path / "later.csv", DAY, "2023-08-31"))})
    known = later.tables()  # the file holds the generator's prices
    assert later.make("bids.final_bids").success
    columns = ["opportunity_id", "status", "total_capacity_mw", "bid_price_usd_per_mwh", "expected_profit_usd"]
    found = later.tables()["bids.final_bids"].select(columns)
    assert found.equals(known["bids.final_bids"].select(columns))
    earlier = new_desk(prices={"path": str(with_prices(tmp_path / "earlier.csv", "2023-08-14", "2023-08-14"))})
    assert earlier.materialise("market.price_forecast").success
    forecast = earlier.day()["market.price_forecast"]["energy_usd_per_mwh"]
    assert not forecast.equals(known["market.price_forecast"]["energy_usd_per_mwh"])
