"""Versions that never change, commits that happen whole or not at all, and what a run sees before it commits.

`cluster/test_lake_on_object_store.py` holds a lake in a bucket to the same tests.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake, read_days
from vpp_pipeline.core.manifest import File, Manifest

FRAME = pl.DataFrame({"start_utc": ["a", "b"], "power_mw": [1.0, 2.0]})
OTHER = FRAME.with_columns(pl.col("power_mw") * 2.0)
DAY, PRICES, BIDS = "2023-08-15", "market.prices", "bids.final_bids"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "a lake [1]")


def damage(lake: Lake, key: str, content: bytes | None) -> None:
    """Let the object have other bytes, or be gone."""
    lake.store.remove(key)
    if content is not None:
        lake.store.put(key, content)


def test_a_version_is_committed_read_and_never_written_to_again(lake: Lake):
    first = lake.write(PRICES, DAY, FRAME, metadata={"fingerprint": "abc"})
    held, content = lake.day(DAY), lake.path(first).read_bytes()
    assert_frame_equal(held.read(PRICES), FRAME)
    second = lake.write(PRICES, DAY, OTHER)
    assert_frame_equal(lake.day(DAY).read(PRICES), OTHER)
    assert_frame_equal(held.read(PRICES), FRAME)  # a reader keeps what it began with
    assert (held.metadata(PRICES), lake.path(first).read_bytes()) == ({"fingerprint": "abc"}, content)
    assert first.version != second.version
    assert lake.every(PRICES, DAY) == [first, second]
    assert [manifest.number for manifest in lake.manifests(DAY)] == [1, 2]
    with pytest.raises(FileExistsError):
        lake.store.create(first.key, lambda draft: draft.write_bytes(b"other"))
    assert lake.path(first).read_bytes() == content


def test_what_a_run_writes_it_alone_sees_until_it_commits(lake: Lake):
    lake.write(PRICES, DAY, FRAME)
    run, other, published = lake.day(DAY, "run-1"), lake.day(DAY, "run-2"), lake.day(DAY)
    run.write(BIDS, FRAME)
    run.write(PRICES, OTHER)
    assert_frame_equal(run.read(PRICES), OTHER)
    for one in (other, published, lake.day(DAY)):
        assert_frame_equal(one.read(PRICES), FRAME)
        assert not one.exists(BIDS)
    assert list(lake.owners(DAY)) == ["run-1"]
    lake.commit(DAY, "bids", lambda _: run.own(), run_id="run-1")
    run.forget()
    assert lake.owners(DAY) == {}
    assert_frame_equal(lake.day(DAY).read(PRICES), OTHER)
    assert_frame_equal(published.read(PRICES), FRAME)
    assert lake.manifest(DAY).run_id == "run-1"
    lake.write(PRICES, DAY, FRAME)
    assert lake.manifest(DAY).run_id == "run-1"  # of the bids, which have not changed


def test_a_commit_is_all_or_nothing_and_may_be_refused(lake: Lake):
    lake.write(PRICES, DAY, FRAME)

    def refuse(last: Manifest) -> dict[str, File | None]:
        raise InputError("no", remedy=f"{last.number}")

    with pytest.raises(InputError, match="1"):
        lake.commit(DAY, "bids", refuse)
    assert lake.manifest(DAY).number == 1
    lake.commit(DAY, "gone", lambda _: {PRICES: None})
    assert lake.manifest(DAY).files == {}
    with pytest.raises(NoDataError, match=rf"market\.prices has no {DAY} .*ingest --from {DAY} --to {DAY}"):
        lake.day(DAY).read(PRICES)


def test_of_commits_at_once_each_rests_on_the_one_before(lake: Lake):
    """A commit that loses the race for its number sees the winner's manifest, so that nothing of it is lost."""
    tables = [f"market.table_{k}" for k in range(8)]
    files = {table: lake.put(table, DAY, FRAME) for table in tables}
    start = threading.Barrier(len(tables))

    def commit(table: str) -> None:
        start.wait()
        lake.commit(DAY, table, lambda _: {table: files[table]})

    threads = [threading.Thread(target=commit, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lake.manifest(DAY).files == files
    assert [manifest.number for manifest in lake.manifests(DAY)] == list(range(1, 9))


def test_several_days_come_in_the_order_asked_for(lake: Lake):
    lake.write(PRICES, DAY, FRAME)
    lake.write(PRICES, "2023-08-16", FRAME.with_columns(node=pl.lit("SP15")))
    assert read_days(lake, PRICES, ["2023-08-16", DAY])["node"].to_list() == ["SP15", "SP15", None, None]
    assert lake.days_of(PRICES) == lake.days() == [DAY, "2023-08-16"]
    with pytest.raises(NoDataError):
        read_days(lake, PRICES, [])


@pytest.mark.parametrize("table", ["prices", "../x.y", "Market.prices", "a.b.c"])
def test_a_table_has_a_schema_and_a_name(lake: Lake, table: str):
    with pytest.raises(InputError, match=r"not a table name .*schema\.table"):
        lake.put(table, DAY, FRAME)


@pytest.mark.parametrize("day", ["../2023-08-15", "", "2023-02-30", "a/b"])
def test_a_day_and_a_run_cannot_leave_their_folders(lake: Lake, day: str):
    with pytest.raises(InputError, match="not a market day"):
        lake.put(PRICES, day, FRAME)
    with pytest.raises(InputError, match="not a name of a run"):
        lake.day(DAY, "../other")


def test_a_version_that_is_short_gone_or_no_parquet_is_named_with_its_remedy(lake: Lake):
    file = lake.write(BIDS, DAY, FRAME)
    content = lake.path(file).read_bytes()
    scrambled = content[:4] + bytes(len(content) - 8) + content[-4:]
    for damaged, words in ((content[:99], "has 99 of"), (b"", "has 0 of"), (scrambled, "cannot be read")):
        damage(lake, file.key, damaged)
        for ask in (lake.day(DAY).read, lake.day(DAY).metadata, lake.day(DAY).schema):
            with pytest.raises(InputError, match=f"{words}.*rebuild --lake --date {DAY}"):
                ask(BIDS)
    damage(lake, file.key, None)
    with pytest.raises(InputError, match=f"it is gone.*rebuild --lake --date {DAY}"):
        lake.day(DAY).read(BIDS)


def test_a_damaged_manifest_stops_what_would_rest_on_it_and_not_a_commit_of_bids(
    lake: Lake, caplog: pytest.LogCaptureFixture
):
    lake.write(PRICES, DAY, FRAME)
    lake.write(BIDS, DAY, FRAME)
    last = lake.manifest(DAY).key
    for damaged in (b"", (lake.store.get(last) or b"")[:40], b"[]", b"{}"):
        damage(lake, last, damaged)
        with pytest.raises(InputError, match=f"manifest of {DAY} is damaged.*rebuild --lake --date {DAY}"):
            lake.write(PRICES, DAY, OTHER)
    with caplog.at_level(logging.WARNING):
        bids = lake.put(BIDS, DAY, OTHER)
        lake.commit(DAY, "bids", lambda _: {BIDS: bids}, passes_damaged=True)
    assert "is damaged" in caplog.text
    assert lake.manifest(DAY).number == 3
    assert set(lake.manifest(DAY).files) == {PRICES, BIDS}
    assert [manifest.number for manifest in lake.manifests(DAY)] == [1, 3]


def test_objects_are_listed_by_folder_with_size_and_age_and_removed(lake: Lake):
    store = lake.store
    for key in ("a/b/1.json", "a/b/2.json", "a/bc/3.json", "d.json"):
        store.put(key, key.encode())
    assert list(store.keys("a/b")) == ["a/b/1.json", "a/b/2.json"]
    assert list(store.keys("nothing")) == []
    (found,) = [entry for entry in store.entries("") if entry.key == "d.json"]
    assert (found.bytes, store.size("d.json"), store.size("e.json")) == (6, 6, None)
    assert -5.0 < found.age_s < 60.0
    store.remove("a/b")
    store.remove("d.json")
    store.remove("never.json")
    assert [key for key in store.keys("") if key != "lake.json"] == ["a/bc/3.json"]


def test_a_pointer_that_was_lost_with_the_power_is_none(lake: Lake):
    run = lake.day(DAY, "run")
    run.write(BIDS, FRAME)
    (pointer,) = lake.store.keys("working")
    lake.store.put(pointer, b"")
    assert (run.own(), run.exists(BIDS), lake.owners(DAY)) == ({}, False, {})
