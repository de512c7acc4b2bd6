"""A lake in a bucket keeps what a lake in a folder does, between machines that share nothing else.

The object store is moto's S3 in a process of its own; machines are data folders, commands are processes.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("obstore", reason="obstore is in the extra `cluster`: make cluster-test")
pytest.importorskip("moto", reason="moto is in requirements-cluster-test.lock: make cluster-test")

from vpp_pipeline.core.bucket import PUT_BYTES, Bucket, UnknownOutcomeError
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.object_store import TEMPORARY
from vpp_pipeline.data_settings import RetentionSettings, lake_of
from vpp_pipeline.reporting.server import DeskServer
from vpp_pipeline.warehouse.day import BIDS
from vpp_pipeline.warehouse.publish import complete, note_of, publish
from vpp_pipeline.warehouse.rebuild import damaged_days, rebuild_warehouse, restore_days
from vpp_pipeline.warehouse.retention import sweep
from vpp_pipeline_tests import golden
from vpp_pipeline_tests.cluster.object_server import BUCKET, KEY_ID, SECRET, Running, running
from vpp_pipeline_tests.core.test_lake import *  # noqa: F403 (the same tests, of another `lake`)
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY, RUN, days, fill, rows

TABLES = ("bids.final_bids", "bids.bid_segments", "dispatch.schedule", "fleet.prosumers")
DATE = str(DAY)
SIZE = ("--prosumers", "20", "--source", "synthetic")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def url(server: Running, tmp_path: Path) -> Iterator[str]:
    yield f"s3://{BUCKET}/{tmp_path.name}"
    server.fault("none", times=0)


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", url)


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str], tuple[Lake, Path]]:
    """Lake and warehouse of a machine, by its name."""
    return lambda name: (Lake(tmp_path / name / "lake", url), tmp_path / name / "vpp.duckdb")


def command(data: Path, url: str, *line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``vpp-pipeline LINE`` of the machine whose data folder is ``data``."""
    return subprocess.run(
        [sys.executable, "-m", "vpp_pipeline", *line, "--data", str(data)],
        env=_environment(url, **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def _environment(url: str, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return {**inherited, "PYTHONPATH": str(golden.PROJECT), "VPP_LAKE_URL": url, **more}


def tables(data: Path) -> golden.Hashes:
    return golden.hashes_of(golden.tables_of(data / "vpp.duckdb"))


def test_a_day_by_several_machines_is_that_of_one_folder(url: str, tmp_path: Path):
    """Bids on one, the settlement on another with an empty data folder, the warehouse made anew on a third."""
    golden.make_day(golden.GoldenDay(DATE, SIZE[:2]), tmp_path / "alone")
    said = []
    for name, line in (("one", ("bids", *SIZE)), ("two", ("settle", *SIZE[2:])), ("three", ("rebuild",))):
        done = command(tmp_path / name, url, *line, *(() if name == "three" else ("--date", DATE)))
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    assert tables(tmp_path / "one") != tables(tmp_path / "alone")
    assert not (tmp_path / "one" / "lake" / "market").exists()
    done = command(tmp_path / "four", url, "sql", "select count(*) from evaluation.settlement")  # there is nothing yet
    assert done.returncode == 0, done.stderr
    complete(Lake(tmp_path / "one" / "lake", url), tmp_path / "one" / "vpp.duckdb")  # which has no settlement yet
    for name in ("one", "two", "three", "four"):
        assert tables(tmp_path / name) == tables(tmp_path / "alone")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert SECRET.encode() not in content, file
            assert KEY_ID.encode() not in content, file
    assert not any(SECRET in text or KEY_ID in text for text in said)


def _one_run(lake: Lake, run_id: str) -> None:
    """Commit a day of which every table is of the run."""
    rows = pl.DataFrame({"run_id": [run_id]})
    made = {table: lake.put(table, DAY, rows) for table in TABLES}
    lake.commit(DAY, "bids", lambda _: made, run_id=run_id)


RACE = """
import sys
from pathlib import Path
from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests.cluster.test_lake_on_object_store import _one_run
folder, url, name, times = sys.argv[1:]
lake = Lake(Path(folder) / name, url)
print("ready", flush=True)
sys.stdin.readline()
for k in range(int(times)):
    _one_run(lake, f"{name}-{k}")
"""


def race(lake: Lake, folder: Path, times: int) -> list[str]:
    """What is wrong after two machines have committed one day ``times`` each, at once, while a third reads it."""
    line = [sys.executable, "-c", RACE, str(folder), lake.url]
    both = [
        subprocess.Popen(
            [*line, name, str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(lake.url),
        )
        for name in ("a", "b")
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    faults = []
    while any(process.poll() is None for process in both):
        faults += mixture_of(lake)
    assert [process.wait() for process in both] == [0, 0]
    found = [manifest.run_id for manifest in lake.manifests(DAY)]
    wanted = {f"{name}-{k}" for name in ("a", "b") for k in range(times)}
    if sorted(found) != sorted(wanted):
        faults.append(f"{len(wanted - set(found))} commits of {len(wanted)} are lost")
    return faults + mixture_of(lake)


def mixture_of(lake: Lake) -> list[str]:
    """What a reader sees that is of several runs."""
    day = lake.day(DAY)
    of_runs = {str(day.read(table)["run_id"][0]) for table in day.committed.files}
    return [f"tables of {of_runs}"] if day.committed.files and of_runs != {day.committed.run_id} else []


def test_of_two_machines_that_commit_one_day_at_once_each_rests_on_the_other(lake: Lake, tmp_path: Path):
    assert race(lake, tmp_path, 30) == []


def test_the_race_shows_where_a_store_ignores_the_condition(lake: Lake, server: Running, tmp_path: Path):
    server.fault("unconditional", within="manifests", times=10**9)
    assert any("are lost" in fault for fault in race(lake, tmp_path, 30))


def test_a_store_that_ignores_conditions_is_refused(lake: Lake, server: Running):
    server.fault("unconditional", times=10**9)
    with pytest.raises(StoreError, match=r"overwrites objects .*If-None-Match"):
        _one_run(lake, "run")
    server.fault("none", times=0)
    server.fault("status", times=10**9, status=501)  # as others say that they do not know the condition
    with pytest.raises(StoreError, match=r"If-None-Match"):
        Bucket(f"{lake.url}/b", lake.root).create("a.json", lambda draft: draft.write_bytes(b"") and None)


def test_a_retry_after_a_lost_answer_takes_its_own_object_for_its_own_and_no_other(lake: Lake, server: Running):
    lake.manifest(DAY)
    server.fault("lost", within="manifests")  # done; the repetition is refused, since it is there
    _one_run(lake, "mine")
    assert [manifest.run_id for manifest in lake.manifests(DAY)] == ["mine"]
    store = lake.store
    store.create("a/b.json", lambda draft: draft.write_bytes(b"same") and None)
    with pytest.raises(FileExistsError):
        store.create("a/b.json", lambda draft: draft.write_bytes(b"same") and None)
    server.fault("lost", within="a/big")
    large = bytes(2 * PUT_BYTES)
    assert store.create("a/big.parquet", lambda draft: draft.write_bytes(large) and None) == len(large)
    with pytest.raises(FileExistsError):
        store.create("a/big.parquet", lambda draft: draft.write_bytes(large) and None)


def test_errors_of_the_store_that_pass_are_repeated(lake: Lake, server: Running):
    for method in ("PUT", "GET"):
        server.fault("status", method=method, times=2, status=503)
        _one_run(lake, method)
    assert [manifest.run_id for manifest in lake.manifests(DAY)] == ["PUT", "GET"]


def test_what_the_store_does_not_give_is_not_taken_for_damaged_or_absent(
    machine: Callable[[str], tuple[Lake, Path]], server: Running
):
    (one, _), (two, of_two) = machine("one"), machine("two")
    fill(one)
    one.day(DAY, "run").write(BIDS, rows(BIDS, n=5))
    server.fault("status", method="GET", within=f"manifests/{DATE}", times=10**9, status=403)
    server.fault("status", method="GET", within="working", times=10**9, status=403)
    bids = {BIDS: two.put(BIDS, DAY, rows(BIDS))}
    asked: list[Callable[[], object]] = [
        lambda: two.manifests(DAY),
        lambda: two.last_readable(DAY),
        lambda: two.days_of(BIDS),
        lambda: two.day(DAY, "run").file(BIDS),
        lambda: two.owners(DAY),
        lambda: publish(two, of_two, DAY, bids),
        lambda: complete(two, of_two),
        lambda: sweep(two, of_two, RetentionSettings(), DAY),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="refuses access"):
            ask()
    assert (one.last_numbers(), of_two.exists()) == ({DATE: 1}, False)


def test_a_commit_of_unknown_outcome_is_completed_by_the_next_command(
    machine: Callable[[str], tuple[Lake, Path]], server: Running
):
    lake, warehouse = machine("one")
    fill(lake)
    publish(lake, warehouse, DAY)
    made = {BIDS: lake.put(BIDS, DAY, rows(BIDS, n=5))}
    server.fault("lost", within="manifests", times=10**9)
    server.fault("status", method="GET", within="manifests", times=10**9, status=500)  # nor can it be looked up
    server.fault("wait", method="GET", within="nothing", times=1, seconds=0)
    with pytest.raises(UnknownOutcomeError, match=r"answers with an error \(50. .*give the command again"):
        publish(lake, warehouse, DAY, made)
    assert (days(warehouse), note_of(warehouse).exists()) == ({DAY: 3}, True)
    server.fault("none", times=0)
    complete(lake, warehouse)
    assert (days(warehouse), note_of(warehouse).exists()) == ({DAY: 5}, False)


def test_a_warehouse_follows_what_other_machines_commit(machine: Callable[[str], tuple[Lake, Path]]):
    (one, of_one), (two, of_two) = machine("one"), machine("two")
    fill(one)
    publish(one, of_one, DAY)
    complete(two, of_two)  # an empty data folder
    assert days(of_two) == {DAY: 3}
    fill(two, NEXT_DAY, 4)
    publish(two, of_two, NEXT_DAY)
    two.write("evaluation.benchmark", DAY, rows("evaluation.benchmark", n=2))
    assert days(of_one) == {DAY: 3}
    complete(one, of_one)
    assert days(of_one) == {DAY: 3, NEXT_DAY: 4}
    assert days(of_one, "evaluation.benchmark") == {DAY: 2, NEXT_DAY: 4}
    before = of_one.stat().st_ino
    complete(one, of_one)  # nothing to take
    assert of_one.stat().st_ino == before  # not swapped
    publish(one, of_one, DAY, {BIDS: one.put(BIDS, DAY, rows(BIDS, n=6))})
    publish(two, of_two, NEXT_DAY)  # a publication takes in the others' days as well
    assert days(of_two) == {DAY: 6, NEXT_DAY: 4}


def test_the_desk_shows_what_other_machines_commit(
    machine: Callable[[str], tuple[Lake, Path]], url: str, monkeypatch: pytest.MonkeyPatch
):
    (one, of_one), (_, of_two) = machine("one"), machine("two")
    fill(one)
    publish(one, of_one, DAY)
    monkeypatch.setenv("VPP_LAKE_URL", url)
    with DeskServer(of_two.parent, 0) as server:
        server.follow()
        assert days(of_two) == {DAY: 3}
        fill(one, NEXT_DAY)
        publish(one, of_one, NEXT_DAY)
        server.follow()
        assert days(of_two) == {DAY: 3}  # it has just looked
        monkeypatch.setattr("vpp_pipeline.reporting.server.FOLLOW_S", 0.0)
        server.follow()
        assert days(of_two) == {DAY: 3, NEXT_DAY: 3}


def test_prices_that_another_machine_has_taken_in_make_no_day(machine: Callable[[str], tuple[Lake, Path]]):
    (one, of_one), (two, of_two) = machine("one"), machine("two")
    fill(one)
    publish(one, of_one, DAY)
    two.write("market.prices", NEXT_DAY, rows("market.prices", NEXT_DAY, 24))
    for lake, warehouse in ((one, of_one), (two, of_two)):
        complete(lake, warehouse)
        before = warehouse.stat().st_ino
        complete(lake, warehouse)
        assert warehouse.stat().st_ino == before
        assert days(warehouse, "market.prices") == {DAY: 3}


def test_a_lake_made_anew_at_the_same_address_is_another(
    machine: Callable[[str], tuple[Lake, Path]], url: str, tmp_path: Path
):
    """The numbers of its commits are the same, and neither copies nor warehouse are taken for its own."""
    one, of_one = machine("one")
    fill(one)
    publish(one, of_one, DAY)
    behind_everyone_s_back = Bucket(url, tmp_path / "nobody")
    for key in [*one.store.keys("")]:
        behind_everyone_s_back.remove(key)
    other, _ = machine("other")
    fill(other, DAY, 5)
    again = pickle.loads(pickle.dumps(Lake(one.root, one.url, 19.0)))  # as another process has it
    complete(again, of_one)
    assert days(of_one) == {DAY: 5}


def test_copies_of_other_bytes_are_fetched_again_and_a_damaged_object_is_named(
    machine: Callable[[str], tuple[Lake, Path]], url: str, tmp_path: Path
):
    (one, of_one), (two, of_two) = machine("one"), machine("two")
    fill(one)
    bids = rows(BIDS).with_columns(run_id=pl.lit(RUN))
    publish(one, of_one, DAY, {BIDS: one.put(BIDS, DAY, bids)})
    file = one.manifest(DAY).files[BIDS]
    whole = one.path(file).read_bytes()
    one.path(file).write_bytes(b"")
    assert one.day(DAY).read(BIDS).height == 3
    assert one.path(file).read_bytes() == whole
    behind_everyone_s_back = Bucket(url, tmp_path / "nobody")
    behind_everyone_s_back.put(file.key, whole[:99])
    with pytest.raises(
        InputError, match=rf"has 99 of .*file {url}/bids/final_bids/{DATE}.*rebuild --lake --date {DATE}"
    ):
        two.day(DAY).read(BIDS)
    complete(two, of_two)  # without what cannot be read
    assert days(of_two) == {}
    assert damaged_days(one, of_one) == [DAY]
    restore_days(one, of_one, [DAY])
    complete(two, of_two)
    assert (damaged_days(one, of_one), days(of_two)) == ([], {DAY: 3})
    behind_everyone_s_back.remove(two.manifest(DAY).files[BIDS].key)
    assert damaged_days(two, of_two) == [DAY]  # in spite of its own copy


def test_a_day_is_not_restored_from_a_warehouse_that_has_other_bids(machine: Callable[[str], tuple[Lake, Path]]):
    (one, of_one), (two, _) = machine("one"), machine("two")
    fill(one)
    publish(one, of_one, DAY)
    newer = rows(BIDS).with_columns(run_id=pl.lit("newer"))
    two.commit(DAY, "bids", lambda _: {BIDS: two.put(BIDS, DAY, newer)}, run_id="newer")
    with pytest.raises(InputError, match=f"are of run newer.*bids --date {DATE}"):
        restore_days(one, of_one, [DAY])


def test_a_rebuilt_warehouse_has_the_lake_s_days(machine: Callable[[str], tuple[Lake, Path]]):
    (one, of_one), (two, of_two) = machine("one"), machine("two")
    fill(one)
    fill(one, NEXT_DAY, 2)
    publish(one, of_one, DAY)
    rebuild_warehouse(two, of_two)
    assert days(of_two) == {DAY: 3, NEXT_DAY: 2}


PUBLISHER = """
import sys
from pathlib import Path
from vpp_pipeline.core.lake import Lake
from vpp_pipeline_tests.cluster.test_lake_on_object_store import _one_run
folder, url = sys.argv[1:]
lake, k = Lake(Path(folder), url), 0
while True:
    _one_run(lake, f"run-{k}")
    k += 1
    print(k, flush=True)
"""


@pytest.mark.parametrize("place", ["final_bids", "schedule", "manifests"])
def test_after_a_kill_at_any_upload_a_reader_sees_the_old_day_or_the_new_one_whole(
    lake: Lake, server: Running, tmp_path: Path, place: str
):
    line = [sys.executable, "-c", PUBLISHER, str(tmp_path / "killed"), lake.url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=_environment(lake.url)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        waited = server.counts().get("waited", 0)
        server.fault("wait", within=place, seconds=1.5)
        while server.counts().get("waited", 0) == waited:
            time.sleep(0.02)
        process.kill()
        before = max(map(int, process.stdout.read().split()), default=1)
    time.sleep(2.0)  # a store does what it was asked for, whether the asker lives or not
    assert mixture_of(lake) == []
    number = lake.manifest(DAY).number
    assert number >= before
    _one_run(lake, "after")
    assert (lake.manifest(DAY).number, lake.manifest(DAY).run_id) == (number + 1, "after")


def test_a_large_object_is_not_there_before_its_last_part(lake: Lake, server: Running, tmp_path: Path):
    lake.manifest(DAY)
    program = f"""
from pathlib import Path
from vpp_pipeline.core.lake import Lake
store = Lake(Path({str(tmp_path / "killed")!r}), {lake.url!r}).store
store.create("a/large.parquet", lambda draft: draft.write_bytes(bytes(4 * {PUT_BYTES})) and None)
"""
    waited = server.counts().get("waited", 0)
    server.fault("wait", within="large", seconds=0.5, times=3)
    with subprocess.Popen([sys.executable, "-c", program], env=_environment(lake.url)) as process:
        while server.counts().get("waited", 0) == waited:
            time.sleep(0.02)
        process.kill()
    time.sleep(2.0)
    assert (list(lake.store.keys("a")), lake.store.size("a/large.parquet")) == ([], None)


def kill_at(server: Running, place: str, url: str, data: Path, *line: str) -> None:
    """SIGKILL for a command when the store has begun with an object that has ``place`` in its key; it then finishes."""
    waited = server.counts().get("waited", 0)
    server.fault("wait", within=place, seconds=2.0)
    whole, quiet = [sys.executable, "-m", "vpp_pipeline", *line, "--data", str(data)], subprocess.DEVNULL
    with subprocess.Popen(whole, env=_environment(url), stdout=quiet, stderr=quiet) as process:
        while server.counts().get("waited", 0) == waited:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    time.sleep(2.5)


def test_a_run_that_is_killed_is_settled_by_another_machine(url: str, server: Running, tmp_path: Path):
    """Killed while it uploads: the old day counts. Killed while the store commits: the new one, on both machines."""
    one, two, lake = tmp_path / "one", tmp_path / "two", Lake(tmp_path / "reader", url)
    bids, settle = ("bids", "--date", DATE, *SIZE), ("settle", "--date", DATE, *SIZE[2:])
    other = (*bids, "--set", "negotiation.inconvenience_usd_per_mwh=9")
    runs = []
    for place in ("", "dispatch", f"manifests/{DATE}"):
        if place:
            kill_at(server, place, url, one, *other)
        else:
            done = command(one, url, *bids)
            assert done.returncode == 0, done.stderr
        runs.append(lake.manifest(DAY).run_id)
        done = command(two, url, *settle)
        assert done.returncode == 0, done.stderr
        assert (lake.manifest(DAY).reason, lake.manifest(DAY).run_id) == ("settlement", runs[-1])
    assert runs[0] == runs[1] != runs[2]
    complete(Lake(one / "lake", url), one / "vpp.duckdb")
    assert tables(one) == tables(two)


def test_a_sweep_keeps_what_is_named_or_young_and_bounds_the_copies(
    machine: Callable[[str], tuple[Lake, Path]], monkeypatch: pytest.MonkeyPatch
):
    one, of_one = machine("one")
    fill(one)
    publish(one, of_one, DAY)
    young = one.put(BIDS, DAY, rows(BIDS))
    named = {file.key for file in one.manifest(DAY).files.values()}
    assert sweep(one, of_one, RetentionSettings(), DAY).files == 0
    assert {young.key, *named} <= set(one.store.keys(""))
    monkeypatch.setattr("vpp_pipeline.warehouse.retention.HOUR_S", 0.0)  # everything is old
    assert sweep(one, of_one, RetentionSettings(), DAY).files == 1
    assert young.key not in set(one.store.keys(""))
    assert named <= set(one.store.keys(""))
    assert one.day(DAY).read(BIDS).height == 3

    store = Bucket(one.url, one.root / "copies", copies_gb=0.0)
    stale = one.path(one.manifest(DAY).files[BIDS])
    os.utime(stale, (0, 0))
    (left := stale.with_name(f".x{TEMPORARY}")).write_bytes(b"half")
    store.tidy(0.0)
    assert (stale.exists(), left.exists()) == (False, False)
    assert one.path(one.manifest(DAY).files["bids.checks"]).exists()  # used within the hour
    assert one.day(DAY).read(BIDS).height == 3  # fetched again


@pytest.mark.parametrize(
    ("environment", "url", "words"),
    [
        ({}, "s3://no-such-bucket/x", "there is no bucket no-such-bucket at http://127.0.0.1.*correct VPP_LAKE_URL"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            "s3://bucket/x",
            "127.0.0.1:1 does not answer.*Look at the network",
        ),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:1"}, "s3://bucket/x", "cannot be used: 127.0.0.1:1 .*http://host:port"),
        ({"AWS_ENDPOINT_URL": "http://me:hidden@127.0.0.1:1"}, "s3://bucket/x", "does not answer"),
        ({"AWS_ACCESS_KEY_ID": ""}, "s3://bucket/x", "there are no credentials .*Set AWS_ACCESS_KEY_ID and"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_paragraph_with_a_remedy(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, words: str
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=words) as found:
        list(Bucket(url, tmp_path).keys("a"))
    assert not any(secret in str(found.value) for secret in (SECRET, KEY_ID, "hidden", "\n"))
    assert found.value.__cause__ is None
    assert found.value.__context__ is None


def test_access_that_is_refused_ends_the_command_with_status_2(url: str, server: Running, tmp_path: Path):
    server.fault("status", method="GET", times=10**9, status=403)
    done = command(tmp_path, url, "settle", "--date", DATE)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the object store refuses access (403 ")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


def test_without_the_store_the_warehouse_is_read_as_it_is(
    machine: Callable[[str], tuple[Lake, Path]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    one, of_one = machine("one")
    fill(one)
    publish(one, of_one, DAY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = Lake(of_one.parent / "away", one.url)
    complete(away, of_one)
    assert "does not answer" in caplog.text
    assert days(of_one) == {DAY: 3}
    with pytest.raises(StoreError):
        complete(away, of_one.with_name("none.duckdb"))


def test_a_lake_goes_to_another_process_without_credentials(lake: Lake):
    lake.manifest(DAY)
    sent = pickle.dumps(lake)
    assert SECRET.encode() not in sent
    assert KEY_ID.encode() not in sent
    assert pickle.loads(sent).manifest(DAY) == lake.manifest(DAY)


def test_the_address_comes_from_the_environment_or_the_folder_s_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("VPP_LAKE_URL", raising=False)
    assert lake_of(tmp_path) == Lake(tmp_path / "lake")
    (tmp_path / "prices.toml").write_text('kind = "synthetic"\n[lake]\nurl = "s3://bucket/a/"\ncopies_gb = 2\n')
    assert lake_of(tmp_path) == Lake(tmp_path / "lake", "s3://bucket/a", 2.0)
    monkeypatch.setenv("VPP_LAKE_URL", "gs://other/b")
    assert lake_of(tmp_path).url == "gs://other/b"
    for wrong in ("s3://key:hidden@bucket/a", "s3://bucket/../a", "ftp://bucket", "s3://", "s3://b/a?key=hidden"):
        monkeypatch.setenv("VPP_LAKE_URL", wrong)
        with pytest.raises(InputError, match=r"VPP_LAKE_URL.*s3://bucket/prefix") as found:
            lake_of(tmp_path)
        assert "hidden" not in str(found.value)


def test_portfolios_at_one_address_keep_apart_and_no_sweep_takes_anothers(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A sweep of the desk without a name lists the whole address, where versions of portfolios are none of its own."""
    monkeypatch.setenv("VPP_LAKE_URL", url)
    desk, north, south = (lake_of(tmp_path / name, name) for name in ("", "north", "south"))
    fill(north)
    before = sorted(north.store.keys(""))
    assert desk.days() == south.days() == []
    monkeypatch.setattr("vpp_pipeline.warehouse.retention.HOUR_S", 0.0)  # everything is old
    for lake in (desk, south):
        assert sweep(lake, tmp_path / "vpp.duckdb", RetentionSettings(), DAY).files == 0
    assert sorted(north.store.keys("")) == before
    assert north.days() == [DATE]
