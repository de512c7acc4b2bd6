"""Publication while others read, write or publish, and when it is killed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import complete, publish
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY, beside, days, fill, rows


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


@pytest.mark.parametrize("read_only", [True, False])  # the DuckDB shell opens for writing unless told otherwise
def test_an_open_session_keeps_its_snapshot(lake: Lake, published: Path, read_only: bool):
    fill(lake, NEXT_DAY)
    count_when_asked = f"""
import duckdb, sys
connection = duckdb.connect({str(published)!r}, read_only={read_only})
for _ in range(2):
    print(connection.execute("select count(*) from bids.final_bids").fetchall(), flush=True)
    sys.stdin.readline()
"""
    with session(count_when_asked) as analyst:
        assert answer(analyst) == "[(3,)]"
        publish(lake, published, NEXT_DAY)
        assert days(published) == {DAY: 3, NEXT_DAY: 3}
        assert answer(analyst, "\n") == "[(3,)]"
    assert days(published) == {DAY: 3, NEXT_DAY: 3}


def test_an_open_transaction_waits_for_nobody_and_keeps_its_snapshot(lake: Lake, published: Path):
    fill(lake, NEXT_DAY)
    count_in_transaction = f"""
import duckdb, sys
connection = duckdb.connect({str(published)!r}, read_only=True)
connection.execute("begin")
count = "select count(*), (select count(*) from bids.bids_of_day) from bids.final_bids"
for _ in range(2):
    print(connection.execute(count).fetchall(), flush=True)
    sys.stdin.readline()
"""
    with session(count_in_transaction) as analyst, session(count_in_transaction) as other:
        assert answer(analyst) == answer(other) == "[(3, 3)]"
        publish(lake, published, NEXT_DAY)
        assert answer(analyst, "\n") == "[(3, 3)]"
        with session(count_in_transaction) as later:
            assert answer(later) == "[(6, 6)]"
            publish(lake, published, DAY)
            assert answer(later, "\n") == "[(6, 6)]"
        assert answer(other, "\n") == "[(3, 3)]"


def test_a_reader_in_this_process_keeps_its_snapshot_and_the_next_sees_the_new_day(lake: Lake, published: Path):
    fill(lake, NEXT_DAY)
    with open_warehouse(published) as reader:
        publish(lake, published, NEXT_DAY)
        assert reader.execute("select count(*) from bids.final_bids").fetchall() == [(3,)]
        assert days(published) == {DAY: 3, NEXT_DAY: 3}


def test_views_of_an_analyst_survive(lake: Lake, published: Path):
    with duckdb.connect(str(published)) as analyst:
        analyst.execute("create view bids.mine as select bid_id from bids.final_bids")
    publish(lake, published, DAY)
    with open_warehouse(published) as connection:
        assert len(connection.execute("from bids.mine").fetchall()) == 3


def test_unsaved_changes_of_another_session_are_not_lost(lake: Lake, published: Path):
    write_and_wait = f"""
import duckdb, os, sys
connection = duckdb.connect({str(published)!r})
connection.execute("create view bids.mine as select bid_id from bids.final_bids")
print("written", flush=True)
sys.stdin.read()
os._exit(0)  # as if killed: the change is in the write-ahead log only
"""
    with session(write_and_wait) as analyst:
        assert answer(analyst) == "written"
        with pytest.raises(InputError, match="unsaved changes of another session"):
            publish(lake, published, DAY)
        with pytest.raises(InputError, match="open for writing"), open_warehouse(published):
            pass
    publish(lake, published, DAY)
    with open_warehouse(published) as connection:
        assert len(connection.execute("from bids.mine").fetchall()) == 3


#: when the draft is whole, and not yet in its place; the others are in `make test-all`
OFTEN = "os.replace"


@pytest.mark.parametrize(
    "moment", [OFTEN, *(pytest.param(one, marks=pytest.mark.slow) for one in ("duckdb.connect", "shutil.copyfile"))]
)
def test_a_killed_publication_changes_nothing(lake: Lake, published: Path, moment: str):
    fill(lake, NEXT_DAY)
    module, function = moment.split(".")
    killed_there = f"""
import datetime, os, signal
from pathlib import Path
import {module}
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish
def killed(*arguments, **_):
    if {moment!r} == "shutil.copyfile":  # half way through the copy
        Path(arguments[1]).write_bytes(Path(arguments[0]).read_bytes()[:20_000])
    os.kill(os.getpid(), signal.SIGKILL)
{module}.{function} = killed
publish(Lake(Path({str(lake.root)!r})), Path({str(published)!r}), datetime.date({NEXT_DAY:%Y, %-m, %-d}))
"""
    finished = subprocess.run([sys.executable, "-c", killed_there], check=False)
    assert finished.returncode == -9
    assert "vpp.duckdb.draft" in beside(published) or moment == "duckdb.connect"
    assert days(published) == {DAY: 3}
    publish(lake, published, NEXT_DAY)
    assert days(published) == {DAY: 3, NEXT_DAY: 3}
    assert beside(published) == {"vpp.duckdb", "vpp.duckdb.lock"}


@pytest.mark.parametrize("is_after", [False, True])
def test_killed_beside_the_commit_lake_and_warehouse_tell_the_same(lake: Lake, published: Path, is_after: bool):
    """Before it, nothing has happened; after it, whoever opens the warehouse next completes the publication."""
    made = rows("bids.final_bids", n=2)
    program = f"""
import datetime, os, signal
from pathlib import Path
import polars as pl
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish
commit = Lake.commit
def killed(*arguments, **named):
    if {is_after}:
        commit(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
Lake.commit = killed
lake, day = Lake(Path({str(lake.root)!r})), datetime.date({DAY:%Y, %-m, %-d})
bids = lake.put("bids.final_bids", day, pl.read_parquet({str(lake.root / "made")!r}, glob=False))
publish(lake, Path({str(published)!r}), day, {{"bids.final_bids": bids}})
"""
    made.write_parquet(lake.root / "made")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert "vpp.duckdb.pending" in beside(published)
    assert days(published) == {DAY: 3}
    complete(lake, published)
    assert days(published) == {DAY: 2 if is_after else 3}
    assert lake.day(DAY).read("bids.final_bids").height == days(published)[DAY]
    assert beside(published) == {"vpp.duckdb", "vpp.duckdb.lock"}


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_file_is_whole(lake: Lake, published: Path, times: int):
    """Publications in a loop, killed after a random time, over and over: the old days or the new ones, never a part."""
    fill(lake, NEXT_DAY, 4)
    in_a_loop = f"""
import datetime
from pathlib import Path
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish
print("ready", flush=True)
while True:
    publish(Lake(Path({str(lake.root)!r})), Path({str(published)!r}), datetime.date({NEXT_DAY:%Y, %-m, %-d}))
"""
    moments = random.Random(20230815)
    for _ in range(times):
        with subprocess.Popen([sys.executable, "-c", in_a_loop], stdout=subprocess.PIPE, text=True) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "ready\n"
            try:
                publisher.wait(timeout=moments.uniform(0.0, 0.8))
            except subprocess.TimeoutExpired:
                publisher.kill()
        assert publisher.returncode == -9
        found = days(published)
        assert found in ({DAY: 3}, {DAY: 3, NEXT_DAY: 4})
        assert days(published, "negotiation.messages").keys() == found.keys()
    publish(lake, published, NEXT_DAY)
    assert beside(published) == {"vpp.duckdb", "vpp.duckdb.lock"}


def test_two_publications_at_once_both_land(lake: Lake, warehouse: Path):
    market_days = [DAY + timedelta(days=k) for k in range(4)]
    for day in market_days:
        fill(lake, day)
    program = """
import datetime, sys
from pathlib import Path
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.warehouse.publish import publish
root, warehouse, *days = sys.argv[1:]
for day in days:
    publish(Lake(Path(root)), Path(warehouse), datetime.date.fromisoformat(day))
"""
    command = [sys.executable, "-c", program, str(lake.root), str(warehouse)]
    both = [subprocess.Popen([*command, *map(str, part)]) for part in (market_days[:2], market_days[2:])]
    assert [process.wait() for process in both] == [0, 0]
    assert days(warehouse) == dict.fromkeys(market_days, 3)
