"""Publication: what of the lake the warehouse holds then, of this day and of earlier ones."""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.manifest import File, Manifest
from vpp_pipeline.core.provenance import PACKAGE
from vpp_pipeline.schemas import TABLES, sentence
from vpp_pipeline.schemas.bids import RENAMED_CHECKS
from vpp_pipeline.warehouse.day import BIDS, BY_RUN, SETTLED
from vpp_pipeline.warehouse.publish import SETTLES, publish, publish_settlement
from vpp_pipeline.warehouse.tables import LAYOUT, open_warehouse
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY, RUN, beside, days, fill, rows

NOW = datetime(2023, 8, 14, 16, tzinfo=UTC)


def test_every_table_is_published(lake: Lake, warehouse: Path):
    written = publish(lake, warehouse, DAY)
    # without a warehouse, what the lake has published is there before: runs are only added once
    assert written == dict.fromkeys(TABLES, 3) | dict.fromkeys(BY_RUN, 0)
    for table in TABLES:
        assert days(warehouse, table) == {DAY: 3}
    with open_warehouse(warehouse) as connection:
        prices = connection.execute("select * from market.prices order by start_utc").fetchall()
    assert tuple(map(str, prices[0][:4])) == ("2023-08-15", "2023-08-15 07:00:00+00:00", "1", "row_0")


def test_a_settlement_of_other_bids_than_those_published_is_refused(lake: Lake, warehouse: Path):
    """As where bids are published while the earlier ones are settled."""
    publish(lake, warehouse, DAY)
    before, bids = warehouse.read_bytes(), lake.day(DAY).present(BIDS)

    def settled(version: str) -> dict[str, File]:
        told = {SETTLES: json.dumps(version)}
        return {table: lake.put(table, DAY, rows(table, n=2), told) for table in SETTLED}

    with pytest.raises(InputError, match=f"vpp-pipeline settle --date {DAY}"):
        publish_settlement(lake, warehouse, DAY, settled("of others"))
    assert (warehouse.read_bytes(), lake.manifest(DAY).number) == (before, 1)

    lake.day(DAY, "killed").write("fleet.prosumers", rows("fleet.prosumers", n=1))
    written = publish_settlement(lake, warehouse, DAY, settled(bids.version))
    assert written == {"market.prices": 3, **dict.fromkeys(SETTLED, 2)}
    assert days(warehouse, "fleet.prosumers") == {DAY: 3}


def test_a_settlement_goes_with_its_bids_and_stays_where_another_run_makes_the_same(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    stamped = rows("bids.final_bids").with_columns(run_id=pl.lit("again"), created_utc=pl.lit(NOW))
    publish(lake, warehouse, DAY, {BIDS: lake.put(BIDS, DAY, stamped)})
    assert days(warehouse, "evaluation.settlement") == {DAY: 3}
    other = stamped.with_columns(pl.col("total_capacity_mw") + 0.01)
    publish(lake, warehouse, DAY, {BIDS: lake.put(BIDS, DAY, other)})
    assert [days(warehouse, table) for table in SETTLED] == [{}] * len(SETTLED)
    assert not set(SETTLED) & set(lake.manifest(DAY).files)


class Overtaken(Lake):
    """A lake in which prices of the day come between the draft of a publication and its commit."""

    def commit(self, day: date | str, reason: str, *change: Any, **how: Any) -> Manifest:
        if reason == "bids":
            Lake(self.root, self.url).write("market.prices", day, rows("market.prices", n=5))
        return super().commit(day, reason, *change, **how)


def test_what_another_commit_brought_since_the_draft_is_in_the_warehouse_too(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY)
    publish(Overtaken(lake.root, lake.url), warehouse, DAY, {BIDS: lake.put(BIDS, DAY, rows(BIDS, n=4))})
    assert lake.day(DAY).read("market.prices").height == 5
    assert (days(warehouse, "market.prices"), days(warehouse)) == ({DAY: 5}, {DAY: 4})


def test_tables_without_a_file_are_there_and_empty(warehouse: Path, tmp_path: Path):
    assert set(publish(Lake(tmp_path / "empty"), warehouse, DAY).values()) == {0}
    with open_warehouse(warehouse) as connection:
        for table in TABLES:
            assert connection.execute(f"select count(*) from {table}").fetchall() == [(0,)]


def test_a_renamed_check_has_one_name_in_the_whole_history(lake: Lake, warehouse: Path):
    others = ["money_adds_up", "of_old"]
    names = [*RENAMED_CHECKS, *others]
    checks = rows("bids.checks", n=len(names)).with_columns(check_name=pl.Series(names))
    lake.write("bids.checks", DAY.isoformat(), checks.drop("metric", "metric_value"))
    publish(lake, warehouse, DAY)
    publish(lake, warehouse, NEXT_DAY)
    with open_warehouse(warehouse) as connection:
        found = connection.execute("select check_name, metric_value from bids.checks where market_date = $1", [DAY])
        assert sorted(found.fetchall()) == sorted((name, None) for name in [*RENAMED_CHECKS.values(), *others])


def test_curves_of_former_runs_are_written_like_those_of_today(lake: Lake, warehouse: Path):
    curves = ["1.60 MW from 68.81 $, 2.00 MW from 77.89 $", "0.50 MW from -3.00 $", None]
    lake.write("bids.run_bids", DAY, rows("bids.run_bids").with_columns(run_id=pl.lit(RUN), curve=pl.Series(curves)))
    publish(lake, warehouse, DAY)
    publish(lake, warehouse, NEXT_DAY)
    with open_warehouse(warehouse) as connection:
        found = connection.execute("select curve from bids.run_bids where run_id = $1", [RUN]).fetchall()
    assert set(found) == {("1.60 MW from $68.81, 2.00 MW from $77.89",), ("0.50 MW from -$3.00",), (None,)}


def test_publishing_again_replaces_the_day_and_keeps_the_others(lake: Lake, published: Path):
    fill(lake, NEXT_DAY)
    publish(lake, published, NEXT_DAY)
    lake.write("bids.final_bids", DAY.isoformat(), rows("bids.final_bids", n=1))
    lake.commit(DAY, "without", lambda _: {"bids.bid_segments": None})
    publish(lake, published, DAY)
    publish(lake, published, DAY)
    assert days(published) == {DAY: 1, NEXT_DAY: 3}
    assert days(published, "bids.bid_segments") == {NEXT_DAY: 3}


def test_runs_are_only_ever_added_and_each_once(lake: Lake, published: Path):
    other = {table: rows(table).with_columns(run_id=pl.lit("other")) for table in BY_RUN}
    for _ in range(2):
        publish(lake, published, DAY, run=other)
    later = {
        table: frame.with_columns(reason=pl.lit("later")) for table, frame in other.items() if table == "bids.run_bids"
    }
    publish(lake, published, DAY, run=later)
    for table, count in {"bids.runs": 4, "bids.run_bids": 6}.items():  # one row of a run, and one of each of its bids
        assert days(published, table) == {DAY: count}
        assert len(lake.every(table, DAY)) == 2
    with open_warehouse(published) as connection:
        assert connection.execute("select count(*) from bids.run_bids where reason = 'later'").fetchall() == [(0,)]


def test_a_new_warehouse_gets_the_runs_of_the_day_from_the_lake(lake: Lake, warehouse: Path):
    publish(lake, warehouse, DAY, run={table: rows(table).with_columns(run_id=pl.lit("other")) for table in BY_RUN})
    warehouse.unlink()
    publish(lake, warehouse, DAY)
    assert days(warehouse, "bids.run_bids") == {DAY: 6}


def test_a_run_whose_publication_fails_is_not_kept(lake: Lake, warehouse: Path):
    file = lake.path(lake.day(DAY).present("dispatch.schedule"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="dispatch/schedule"):
        publish(lake, warehouse, DAY, run={table: rows(table).with_columns(run_id=pl.lit("other")) for table in BY_RUN})
    assert (len(lake.every("bids.runs", DAY)), lake.manifest(DAY).number) == (1, 1)
    assert beside(warehouse) == {"vpp.duckdb.lock"}


def test_what_is_damaged_and_not_of_the_bids_does_not_cost_the_day(
    lake: Lake, published: Path, caplog: pytest.LogCaptureFixture
):
    """An earlier run's row, prices, a back-test: the warehouse keeps what it has of them, and a warning names each."""
    of_run = lake.every("bids.runs", DAY)[0]
    for table in ("market.prices", "evaluation.benchmark"):
        lake.path(lake.day(DAY).present(table)).write_bytes(b"")
    lake.path(of_run).write_bytes(b"")
    run = {table: rows(table).with_columns(run_id=pl.lit("other")) for table in BY_RUN}
    with caplog.at_level(logging.WARNING):
        publish(lake, published, DAY, {BIDS: lake.put(BIDS, DAY, rows(BIDS, n=2))}, run)
    assert days(published) == {DAY: 2}
    assert days(published, "bids.runs") == {DAY: 4}
    assert days(published, "market.prices") == days(published, "evaluation.benchmark") == {DAY: 3}
    for table in ("market.prices", "evaluation.benchmark", "bids.runs"):
        assert f"{table} of {DAY} cannot be read: it has 0 of" in caplog.text


def test_a_view_that_somebody_dropped_or_an_older_version_left_is_made_again(lake: Lake, published: Path):
    for damage in ("drop view bids.bids_of_day", f"create or replace macro {LAYOUT}() as 'older'"):
        with duckdb.connect(str(published)) as analyst:
            analyst.execute(damage)
            analyst.execute("create or replace view fleet.sites as select 1 as nothing")
        publish(lake, published, DAY)
        with open_warehouse(published) as connection:
            assert connection.execute("select count(*) from bids.bids_of_day").fetchall() == [(3,)]
            assert connection.execute("select prosumers from fleet.sites limit 1").fetchall() == [(1,)]


def test_prices_of_the_week_before_come_along(lake: Lake, warehouse: Path):
    week = [DAY - timedelta(days=k) for k in range(9)]
    for day in week:
        lake.write("market.prices", day, rows("market.prices", day))
    for day in (DAY, week[3]):
        lake.commit(day, "without", lambda _: {"market.prices": None})
    publish(lake, warehouse, DAY)
    assert set(days(warehouse, "market.prices")) == {week[k] for k in (1, 2, 4, 5, 6, 7)}


def test_every_table_and_column_is_described(lake: Lake, published: Path):
    with open_warehouse(published) as connection:
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
    files = (PACKAGE / "warehouse" / "sql").glob("*.sql")
    assert {table for table, _ in views} == {
        name for file in files for name in re.findall(r"create or replace view (\S+) as", file.read_text())
    }
    assert [key for key, words in views.items() if not words] == []
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


def test_a_damaged_file_is_named_and_nothing_is_published(lake: Lake, published: Path):
    file = lake.path(lake.day(DAY).present("dispatch.schedule"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"dispatch/schedule/2023-08-15/\S+\.parquet"):
        publish(lake, published, DAY)
    assert days(published, "dispatch.schedule") == {DAY: 3}
    assert beside(published) == {"vpp.duckdb", "vpp.duckdb.lock"}


def test_a_file_that_does_not_fit_its_table_is_named(lake: Lake, warehouse: Path):
    lake.write("dispatch.proof", DAY.isoformat(), rows("dispatch.proof").drop("solver"))
    with pytest.raises(InputError, match=r"dispatch\.proof of 2023-08-15 in the lake does not fit.*solver"):
        publish(lake, warehouse, DAY)
    assert not warehouse.exists()


def test_a_column_added_later_appears_in_an_older_warehouse(lake: Lake, published: Path):
    with duckdb.connect(str(published)) as old:  # as an earlier version of schemas.py would have left it
        old.execute("alter table bids.final_bids drop column coalition_size")
        old.execute("alter table bids.final_bids alter column bid_price_usd_per_mwh set not null")
        old.execute("alter table dispatch.proof add column dropped_later varchar default 'x'")
        old.execute("alter table dispatch.proof alter column dropped_later drop default")
        old.execute("alter table dispatch.proof alter column dropped_later set not null")
        old.execute("comment on column bids.final_bids.bid_id is 'old words'")
    fill(lake, NEXT_DAY)
    without = rows("bids.final_bids", NEXT_DAY).with_columns(bid_price_usd_per_mwh=pl.lit(None, pl.Float64))
    lake.write("bids.final_bids", NEXT_DAY.isoformat(), without)
    publish(lake, published, NEXT_DAY)
    with open_warehouse(published) as connection:
        sizes = "select market_date, max(coalition_size) from bids.final_bids group by all order by all"
        assert connection.execute(sizes).fetchall() == [(DAY, None), (NEXT_DAY, 3)]
        kept = "select market_date, any_value(dropped_later) from dispatch.proof group by all order by all"
        assert connection.execute(kept).fetchall() == [(DAY, "x"), (NEXT_DAY, None)]
        words = "select comment from duckdb_columns() where column_name = 'bid_id' and table_name = 'final_bids'"
        assert connection.execute(words).fetchall() == [("Name of the bid; equal inputs give equal names.",)]


def test_a_lake_file_from_before_a_column_is_published_without_it(lake: Lake, warehouse: Path):
    before = rows("bids.final_bids").drop("satisfaction_score").with_columns(undeclared=pl.lit(1))
    lake.write("bids.final_bids", DAY.isoformat(), before)
    publish(lake, warehouse, DAY)
    with open_warehouse(warehouse) as connection:
        scores = connection.execute("select distinct satisfaction_score from bids.final_bids").fetchall()
    assert scores == [(None,)]


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_republishing_does_not_make_the_file_grow(lake: Lake, published: Path, times: int):
    publish(lake, published, DAY)
    size = published.stat().st_size
    for _ in range(times):
        publish(lake, published, DAY)
    assert published.stat().st_size <= (1.0 + 0.05 * times) * size


def test_a_missing_warehouse_says_what_to_run(warehouse: Path):
    with pytest.raises(NoDataError, match="vpp-pipeline bids"), open_warehouse(warehouse):
        pass


@pytest.mark.slow
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
