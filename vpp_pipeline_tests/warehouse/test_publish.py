from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from vpp_pipeline.errors import InputError, NoDataError
from vpp_pipeline.schemas import TABLES, sentence
from vpp_pipeline.warehouse.day import BY_SLOT
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.publish import open_warehouse, publish
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY, fill, rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake it's [1]")
    fill(lake)
    return lake


@pytest.fixture
def warehouse(lake: Lake) -> Path:
    return lake.root.parent / "the warehouse's" / "vpp.duckdb"


def days(warehouse: Path, table: str = "bids.final_bids") -> dict[date, int]:
    with open_warehouse(warehouse) as connection:
        found = connection.execute(f"select market_date, count(*) from {table} group by all order by all").fetchall()
    return dict(found)


def beside(warehouse: Path) -> set[str]:
    return {path.name for path in warehouse.parent.iterdir()}


@contextmanager
def session(program: str) -> Iterator[subprocess.Popen[str]]:
    """Another process; it may read its standard input, which ends when the block does."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
    assert process.returncode == 0


def answer(process: subprocess.Popen[str], question: str = "") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question)
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_every_table_is_published(lake: Lake, warehouse: Path):
    written = publish(lake, warehouse, DAY)
    assert written == dict.fromkeys(TABLES, 3) | {"market.opportunities": 2} | dict.fromkeys(BY_SLOT, 6)
    for table, count in written.items():
        assert days(warehouse, table) == {DAY: count}
    with open_warehouse(warehouse) as connection:
        prices = connection.execute("select * from market.prices order by start_utc").fetchall()
    assert tuple(map(str, prices[0][:4])) == ("2023-08-15", "2023-08-15 07:00:00+00:00", "1", "row_0")


def test_tables_without_a_file_are_there_and_empty(warehouse: Path, tmp_path: Path):
    assert set(publish(Lake(tmp_path / "empty"), warehouse, DAY).values()) == {0}
    with open_warehouse(warehouse) as connection:
        for table in TABLES:
            assert connection.execute(f"select count(*) from {table}").fetchall() == [(0,)]


def test_publishing_again_replaces_the_day_and_keeps_the_others(lake: Lake, warehouse: Path):
    fill(lake, NEXT_DAY)
    publish(lake, warehouse, DAY)
    publish(lake, warehouse, NEXT_DAY)
    lake.write("bids.final_bids", DAY.isoformat(), rows("bids.final_bids", n=1))
    lake.path("bids.bid_segments", DAY.isoformat()).unlink()
    publish(lake, warehouse, DAY)
    publish(lake, warehouse, DAY)
    assert days(warehouse) == {DAY: 1, NEXT_DAY: 3}
    assert days(warehouse, "bids.bid_segments") == {NEXT_DAY: 3}


def test_prices_of_the_week_before_come_along(lake: Lake, warehouse: Path):
    week = [DAY - timedelta(days=k) for k in range(9)]
    for day in week:
        lake.write("market.prices", day.isoformat(), rows("market.prices", day))
    lake.path("market.prices", DAY.isoformat()).unlink()
    lake.path("market.prices", week[3].isoformat()).unlink()
    publish(lake, warehouse, DAY)
    assert set(days(warehouse, "market.prices")) == {week[k] for k in (1, 2, 4, 5, 6, 7)}


def test_words_of_slots_no_longer_traded_are_left_out(lake: Lake, warehouse: Path):
    lake.write("negotiation.rounds", f"{DAY}|energy_he14", rows("negotiation.messages"))
    assert publish(lake, warehouse, DAY)["negotiation.messages"] == 6
    lake.path("market.opportunities", DAY.isoformat()).unlink()
    assert publish(lake, warehouse, DAY)["negotiation.messages"] == 9


def test_every_table_and_column_is_described(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    with open_warehouse(warehouse) as connection:
        tables = "select schema_name || '.' || table_name, comment from duckdb_tables() where database_name = 'vpp'"
        assert dict(connection.execute(tables).fetchall()) == {
            table: " ".join(sentence(schema).split()) for table, schema in TABLES.items()
        }
        columns = """
            select schema_name || '.' || table_name, column_name, comment, is_nullable, data_type
            from duckdb_columns() where database_name = 'vpp'
        """
        found = {(table, name): rest for table, name, *rest in connection.execute(columns).fetchall()}
    views = {key: rest[0] for key, rest in found.items() if key[0] not in TABLES}
    assert {table for table, _ in views} == {"fleet.sites", "dispatch.site_hours", "dispatch.site_earnings"}
    assert all(views.values())
    declared = {(table, name): column for table, schema in TABLES.items() for name, column in schema.columns().items()}
    assert {key: rest[:2] for key, rest in found.items() if key not in views} == {
        key: [column.description, column.nullable] for key, column in declared.items()
    }
    assert {rest[2] for (_, name), rest in found.items() if name.endswith("_utc")} == {"TIMESTAMP WITH TIME ZONE"}


def test_released_1x_tools_can_open_it(lake: Lake, warehouse: Path):
    for _ in range(2):  # a new file and a copied one
        publish(lake, warehouse, DAY)
        with open_warehouse(warehouse) as connection:
            query = "select tags['storage_version'] from duckdb_databases() where database_name = 'vpp'"
            assert connection.execute(query).fetchall()[0][0].startswith("v1.2")


@pytest.mark.parametrize("read_only", [True, False])  # the DuckDB shell opens for writing unless told otherwise
def test_an_open_session_keeps_its_snapshot(lake: Lake, warehouse: Path, read_only: bool):
    publish(lake, warehouse, DAY)
    fill(lake, NEXT_DAY)
    count_when_asked = f"""
import duckdb, sys
connection = duckdb.connect({str(warehouse)!r}, read_only={read_only})
for _ in range(2):
    print(connection.execute("select count(*) from bids.final_bids").fetchall(), flush=True)
    sys.stdin.readline()
"""
    with session(count_when_asked) as analyst:
        assert answer(analyst) == "[(3,)]"
        publish(lake, warehouse, NEXT_DAY)
        assert days(warehouse) == {DAY: 3, NEXT_DAY: 3}
        assert answer(analyst, "\n") == "[(3,)]"
    assert days(warehouse) == {DAY: 3, NEXT_DAY: 3}


def test_a_reader_in_this_process_keeps_its_snapshot_and_the_next_sees_the_new_day(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    fill(lake, NEXT_DAY)
    with open_warehouse(warehouse) as reader:
        publish(lake, warehouse, NEXT_DAY)
        assert reader.execute("select count(*) from bids.final_bids").fetchall() == [(3,)]
        assert days(warehouse) == {DAY: 3, NEXT_DAY: 3}


def test_views_of_an_analyst_survive(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    with duckdb.connect(str(warehouse)) as analyst:
        analyst.execute("create view bids.mine as select bid_id from bids.final_bids")
    publish(lake, warehouse, DAY)
    with open_warehouse(warehouse) as connection:
        assert len(connection.execute("from bids.mine").fetchall()) == 3


def test_unsaved_changes_of_another_session_are_not_lost(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    write_and_wait = f"""
import duckdb, os, sys
connection = duckdb.connect({str(warehouse)!r})
connection.execute("create view bids.mine as select bid_id from bids.final_bids")
print("written", flush=True)
sys.stdin.read()
os._exit(0)  # as if killed: the change is in the write-ahead log only
"""
    with session(write_and_wait) as analyst:
        assert answer(analyst) == "written"
        with pytest.raises(InputError, match="unsaved changes of another session"):
            publish(lake, warehouse, DAY)
        with pytest.raises(InputError, match="open for writing"), open_warehouse(warehouse):
            pass
    publish(lake, warehouse, DAY)
    with open_warehouse(warehouse) as connection:
        assert len(connection.execute("from bids.mine").fetchall()) == 3


@pytest.mark.parametrize("moment", ["duckdb.connect", "shutil.copyfile", "os.replace"])
def test_a_killed_publication_changes_nothing(lake: Lake, warehouse: Path, moment: str):
    publish(lake, warehouse, DAY)
    fill(lake, NEXT_DAY)
    module, function = moment.split(".")
    killed_there = f"""
import datetime, os, signal
from pathlib import Path
import {module}
from vpp_pipeline.warehouse.day import BY_SLOT
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.publish import publish
def killed(*arguments, **_):
    if {moment!r} == "shutil.copyfile":  # half way through the copy
        Path(arguments[1]).write_bytes(Path(arguments[0]).read_bytes()[:20_000])
    os.kill(os.getpid(), signal.SIGKILL)
{module}.{function} = killed
publish(Lake(Path({str(lake.root)!r})), Path({str(warehouse)!r}), datetime.date({NEXT_DAY:%Y, %-m, %-d}))
"""
    finished = subprocess.run([sys.executable, "-c", killed_there], check=False)
    assert finished.returncode == -9
    assert "vpp.duckdb.draft" in beside(warehouse)
    assert days(warehouse) == {DAY: 3}
    publish(lake, warehouse, NEXT_DAY)
    assert days(warehouse) == {DAY: 3, NEXT_DAY: 3}
    assert beside(warehouse) == {"vpp.duckdb", "vpp.duckdb.lock"}


def test_two_publications_at_once_both_land(lake: Lake, warehouse: Path):
    market_days = [DAY + timedelta(days=k) for k in range(4)]
    for day in market_days:
        fill(lake, day)
    program = """
import datetime, sys
from pathlib import Path
from vpp_pipeline.warehouse.day import BY_SLOT
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.publish import publish
root, warehouse, *days = sys.argv[1:]
for day in days:
    publish(Lake(Path(root)), Path(warehouse), datetime.date.fromisoformat(day))
"""
    command = [sys.executable, "-c", program, str(lake.root), str(warehouse)]
    both = [subprocess.Popen([*command, *map(str, part)]) for part in (market_days[:2], market_days[2:])]
    assert [process.wait() for process in both] == [0, 0]
    assert days(warehouse) == dict.fromkeys(market_days, 3)


def test_a_damaged_file_is_named_and_nothing_is_published(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    file = lake.path("dispatch.schedule", DAY.isoformat())
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"dispatch/schedule/2023-08-15\.parquet"):
        publish(lake, warehouse, DAY)
    assert days(warehouse, "dispatch.schedule") == {DAY: 3}
    assert beside(warehouse) == {"vpp.duckdb", "vpp.duckdb.lock"}


def test_a_file_that_does_not_fit_its_table_is_named(lake: Lake, warehouse: Path):
    lake.write("dispatch.proof", DAY.isoformat(), rows("dispatch.proof").drop("solver"))
    with pytest.raises(InputError, match=r"does not fit dispatch\.proof.*solver"):
        publish(lake, warehouse, DAY)
    assert not warehouse.exists()


def test_a_column_added_later_appears_in_an_older_warehouse(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    with duckdb.connect(str(warehouse)) as old:  # as an earlier version of schemas.py would have left it
        old.execute("alter table bids.final_bids drop column coalition_size")
        old.execute("alter table bids.final_bids alter column bid_price_usd_per_mwh set not null")
        old.execute("alter table dispatch.proof add column dropped_later varchar default 'x'")
        old.execute("alter table dispatch.proof alter column dropped_later drop default")
        old.execute("alter table dispatch.proof alter column dropped_later set not null")
        old.execute("comment on column bids.final_bids.bid_id is 'old words'")
    fill(lake, NEXT_DAY)
    without = rows("bids.final_bids", NEXT_DAY).with_columns(bid_price_usd_per_mwh=pl.lit(None, pl.Float64))
    lake.write("bids.final_bids", NEXT_DAY.isoformat(), without)
    publish(lake, warehouse, NEXT_DAY)
    with open_warehouse(warehouse) as connection:
        sizes = "select market_date, max(coalition_size) from bids.final_bids group by all order by all"
        assert connection.execute(sizes).fetchall() == [(DAY, None), (NEXT_DAY, 3)]
        kept = "select market_date, any_value(dropped_later) from dispatch.proof group by all order by all"
        assert connection.execute(kept).fetchall() == [(DAY, "x"), (NEXT_DAY, None)]
        words = "select comment from duckdb_columns() where column_name = 'bid_id' and table_name = 'final_bids'"
        assert connection.execute(words).fetchall() == [("Name of the bid; the same inputs give the same name.",)]


def test_a_lake_file_from_before_a_column_is_published_without_it(lake: Lake, warehouse: Path):
    before = rows("bids.final_bids").drop("satisfaction_score").with_columns(undeclared=pl.lit(1))
    lake.write("bids.final_bids", DAY.isoformat(), before)
    publish(lake, warehouse, DAY)
    with open_warehouse(warehouse) as connection:
        scores = connection.execute("select distinct satisfaction_score from bids.final_bids").fetchall()
    assert scores == [(None,)]


def test_republishing_does_not_make_the_file_grow(lake: Lake, warehouse: Path):
    for _ in range(3):
        publish(lake, warehouse, DAY)
    size = warehouse.stat().st_size
    for _ in range(10):
        publish(lake, warehouse, DAY)
    assert warehouse.stat().st_size <= 1.5 * size


def test_a_missing_warehouse_says_what_to_run(warehouse: Path):
    with pytest.raises(NoDataError, match="vpp-pipeline bids"), open_warehouse(warehouse):
        pass


def test_a_day_after_a_year_costs_no_more_than_the_copy(lake: Lake, warehouse: Path):
    def seconds() -> float:
        start = time.perf_counter()
        publish(lake, warehouse, DAY)
        return time.perf_counter() - start

    publish(lake, warehouse, DAY)
    early = min(seconds() for _ in range(3))
    with duckdb.connect(str(warehouse)) as history:  # a year of 200 prosumers
        history.execute("""
            insert into fleet.availability
            select availability.* replace (market_date + day::integer as market_date, random() as load_kw)
            from fleet.availability cross join range(1, 366) as days(day) cross join range(1600)
        """)
    late = min(seconds() for _ in range(3))
    assert sum(days(warehouse, "fleet.availability").values()) > 1_700_000
    assert late < early + 0.5 + warehouse.stat().st_size / 50e6  # copied at 50 MB/s at least
