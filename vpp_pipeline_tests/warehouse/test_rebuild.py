"""Lake and warehouse made again from each other, and what is swept from both."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.data_settings import RetentionSettings
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import APART, BIDS, SETTLED
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline.warehouse.rebuild import damaged_days, rebuild_warehouse, restore_days
from vpp_pipeline.warehouse.retention import FOR_GOOD, sweep
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY, beside, days, fill, rows

TODAY = datetime.now(UTC).date()
KEPT = RetentionSettings(detail_days=8, unpublished_hours=1.0)


@pytest.fixture
def both(lake: Lake, warehouse: Path) -> tuple[Lake, Path]:
    """Two days in lake and warehouse."""
    fill(lake, NEXT_DAY)
    for day in (DAY, NEXT_DAY):
        publish(lake, warehouse, day)
    return lake, warehouse


def content(warehouse: Path) -> dict[str, list[tuple[object, ...]]]:
    with open_warehouse(warehouse) as connection:
        return {table: connection.execute(f"from {table} order by all").fetchall() for table in TABLES}


def published_at(lake: Lake, day: date, when: date) -> None:
    """As if the day had last been committed then."""
    file = lake.store.path(lake.manifest(day).key)
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"committed_utc": f"{when}T16:00:00Z"}))


def age(lake: Lake, hours: float) -> None:
    """As if nothing had been written for so long."""
    then = time.time() - hours * 3600.0
    for file in lake.root.rglob("*"):
        os.utime(file, (then, then))


@pytest.mark.parametrize("share", [None, 0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_the_warehouse_is_made_from_the_lake_as_it_was(both: tuple[Lake, Path], share: float | None):
    lake, warehouse = both
    before = content(warehouse)
    if share is None:
        warehouse.unlink()
    else:
        os.truncate(warehouse, int(warehouse.stat().st_size * share))
        with pytest.raises(InputError, match=r"warehouse is damaged.*vpp-pipeline rebuild"), open_warehouse(warehouse):
            pass
    counts, faults = rebuild_warehouse(lake, warehouse)
    assert (counts, faults) == (dict.fromkeys(TABLES, 6), [])
    assert content(warehouse) == before
    assert ("vpp.duckdb.damaged" in beside(warehouse)) == (share is not None)


@pytest.mark.parametrize("share", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_publication_that_finds_the_warehouse_damaged_makes_it_again(
    both: tuple[Lake, Path], share: float, caplog: pytest.LogCaptureFixture
):
    lake, warehouse = both
    os.truncate(warehouse, int(warehouse.stat().st_size * share))
    publish(lake, warehouse, NEXT_DAY, {BIDS: lake.put(BIDS, NEXT_DAY, rows(BIDS, NEXT_DAY, 2))})
    assert days(warehouse) == {DAY: 3, NEXT_DAY: 2}
    assert "the warehouse is damaged" in caplog.text
    assert {"vpp.duckdb.damaged", "vpp.duckdb"} <= beside(warehouse)


def test_a_publication_without_a_warehouse_brings_every_published_day(both: tuple[Lake, Path]):
    """As where the file was removed, or one that was damaged could not be made again because the disk was full."""
    lake, warehouse = both
    before = content(warehouse)
    warehouse.unlink()
    publish(lake, warehouse, NEXT_DAY)
    assert content(warehouse) == before


def test_a_damaged_warehouse_stays_where_it_cannot_be_made_again(
    both: tuple[Lake, Path], monkeypatch: pytest.MonkeyPatch
):
    lake, warehouse = both
    os.truncate(warehouse, 0)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("vpp_pipeline.warehouse.draft.fill_all", full_disk)
    with pytest.raises(OSError, match="No space"):
        publish(lake, warehouse, NEXT_DAY)
    assert beside(warehouse) == {"vpp.duckdb", "vpp.duckdb.lock"}


def test_what_the_lake_cannot_give_is_named_and_left_out(both: tuple[Lake, Path]):
    lake, warehouse = both
    lake.path(lake.day(DAY).present("dispatch.schedule")).write_bytes(b"")
    lake.store.path(lake.manifest(NEXT_DAY).key).write_bytes(b"")
    with pytest.raises(InputError, match=r"the lake lacks 1 days.*rebuild --lake"):
        rebuild_warehouse(lake, warehouse)
    warehouse.unlink()
    _, faults = rebuild_warehouse(lake, warehouse)
    size = lake.manifest(DAY).files["dispatch.schedule"].bytes
    assert [words.split(" (")[0] for words in faults] == [
        f"dispatch.schedule of {DAY} cannot be read: it has 0 of {size:,} bytes",
        f"the manifest of {NEXT_DAY} is damaged: Expecting value: line 1 column 1",
    ]
    assert days(warehouse) == {DAY: 3}
    assert days(warehouse, "dispatch.schedule") == {}


def test_damaged_days_of_the_lake_and_those_of_an_older_version_are_taken_from_the_warehouse(
    both: tuple[Lake, Path], tmp_path: Path
):
    lake, warehouse = both
    before = content(warehouse)
    lake.path(lake.every("bids.runs", DAY)[0]).write_bytes(b"")
    lake.store.path(lake.manifest(NEXT_DAY).key).write_bytes(b"")
    older = Lake(tmp_path / "older")
    for one, expected in ((lake, [DAY, NEXT_DAY]), (older, [DAY, NEXT_DAY])):
        assert damaged_days(one, warehouse) == expected
        restore_days(one, warehouse, expected)
        assert damaged_days(one, warehouse) == []
        for table in TABLES:
            found = pl.concat([one.day(day).read(table) for day in expected])
            assert found.sort(pl.all()).equals(pl.concat([rows(table), rows(table, NEXT_DAY)]).sort(pl.all())), table
        again = tmp_path / f"{one.root.name}.duckdb"
        rebuild_warehouse(one, again)
        assert content(again) == before
    third = NEXT_DAY + timedelta(days=1)
    with pytest.raises(InputError, match=rf"no bids of {third}.*bids --date {third}"):
        restore_days(lake, warehouse, [third])


def test_a_damaged_manifest_of_a_day_with_prices_alone_is_taken_from_the_warehouse_too(both: tuple[Lake, Path]):
    lake, warehouse = both
    before = DAY - timedelta(days=1)
    lake.write("market.prices", before, rows("market.prices", before))
    publish(lake, warehouse, DAY)  # with the prices of the week before
    lake.store.path(lake.manifest(before).key).write_bytes(b"")
    restore_days(lake, warehouse, [before])
    assert lake.day(before).read("market.prices").equals(rows("market.prices", before))
    assert list(lake.manifest(before).files) == ["market.prices"]


def test_an_old_day_keeps_bids_prices_and_settlement_in_lake_and_warehouse(both: tuple[Lake, Path]):
    lake, warehouse = both
    assert {*APART, BIDS} - {"evaluation.dispatched"} <= set(FOR_GOOD)
    assert sweep(lake, warehouse, KEPT, TODAY).days == 0  # years old, and published today
    published_at(lake, DAY, TODAY - timedelta(days=9))
    published_at(lake, NEXT_DAY, TODAY - timedelta(days=8))
    swept = sweep(lake, warehouse, KEPT, TODAY)
    assert (swept.days, swept.files) == (1, 0)
    assert set(lake.manifest(DAY).files) == set(FOR_GOOD)
    assert set(lake.manifest(NEXT_DAY).files) == set(TABLES)
    for table in TABLES:
        assert days(warehouse, table) == ({DAY: 3} if table in FOR_GOOD else {}) | {NEXT_DAY: 3}
    age(lake, 2.0)
    again = sweep(lake, warehouse, KEPT, TODAY)
    assert (again.days, again.files) == (0, len(TABLES) - len(FOR_GOOD))
    before = content(warehouse)
    rebuild_warehouse(lake, warehouse)
    assert content(warehouse) == before


def test_what_was_never_published_goes_after_its_hours_and_bids_of_replaced_runs_stay(both: tuple[Lake, Path]):
    lake, warehouse = both
    first = lake.day(DAY).present(BIDS)
    replaced = {table: lake.put(table, DAY, rows(table, n=2)) for table in (BIDS, "dispatch.schedule")}
    publish(lake, warehouse, DAY, replaced)
    lake.day(DAY, "killed").write("dispatch.schedule", rows("dispatch.schedule"))
    draft = lake.path(first).with_name(".x.parquet.1-ab.tmp")
    draft.write_bytes(b"half")
    nothing = sweep(lake, warehouse, KEPT, NEXT_DAY)
    assert (nothing.files, nothing.runs, draft.exists()) == (0, 0, True)
    age(lake, 2.0)
    lake.day(NEXT_DAY, "alive").write("dispatch.schedule", rows("dispatch.schedule", NEXT_DAY))
    swept = sweep(lake, warehouse, KEPT, NEXT_DAY)
    # the first schedule, the killed run's, and the settlement that went with its bids
    assert (swept.files, swept.runs, draft.exists()) == (2 + len(SETTLED), 1, False)
    assert lake.path(first).is_file()
    assert list(lake.owners(NEXT_DAY)) == ["alive"]
    assert lake.day(NEXT_DAY, "alive").read("dispatch.schedule").height == 3
    assert lake.owners(DAY) == {}
    assert lake.day(DAY).read("dispatch.schedule").height == 2


def test_a_dry_run_removes_nothing_and_says_what_the_sweep_then_removes(both: tuple[Lake, Path]):
    lake, warehouse = both
    replaced = {table: lake.put(table, NEXT_DAY, rows(table, NEXT_DAY, n=2)) for table in (BIDS, "dispatch.schedule")}
    publish(lake, warehouse, NEXT_DAY, replaced)
    lake.day(DAY, "killed").write("dispatch.schedule", rows("dispatch.schedule"))
    for day in (DAY, NEXT_DAY):
        published_at(lake, day, TODAY - timedelta(days=9 if day == DAY else 8))
    age(lake, 2.0)
    before, files = content(warehouse), {file: file.stat().st_size for file in lake.root.rglob("*.*")}
    told = sweep(lake, warehouse, KEPT, TODAY, is_dry=True)
    assert content(warehouse) == before
    assert {file: file.stat().st_size for file in lake.root.rglob("*.*")} == files
    assert told == sweep(lake, warehouse, KEPT, TODAY)
    assert (told.days, told.runs) == (1, 1)
    assert told.files > len(TABLES) - len(FOR_GOOD)


def test_a_damaged_manifest_keeps_its_day_from_being_swept(both: tuple[Lake, Path]):
    lake, warehouse = both
    lake.store.path(lake.manifest(DAY).key).write_bytes(b"")
    age(lake, 2.0)
    swept = sweep(lake, warehouse, KEPT, TODAY + timedelta(days=400))
    assert swept.days == 1  # the other
    assert len(list(lake.root.glob(f"*/*/{DAY}/*.parquet"))) == len(TABLES)
    assert days(warehouse, "dispatch.schedule") == {DAY: 3}
