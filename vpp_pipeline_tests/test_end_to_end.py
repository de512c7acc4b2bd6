"""The command line as a user runs it: another process, killed or not, alone or beside others."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import httpx
import polars as pl
import pytest
from hatchling.builders.wheel import WheelBuilder

from vpp_pipeline.cli.main import main
from vpp_pipeline.core import paths
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.defs.resources import Storage
from vpp_pipeline.defs.sensors import lost_runs
from vpp_pipeline.evaluation.settlement import draw_available
from vpp_pipeline.inputs.requests import LAYOUT, read_requests
from vpp_pipeline.settings import SettlementSettings
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.browser.project import COPIED, dagster_dev, desk_of, project_copy
from vpp_pipeline_tests.defs.desk import (
    DAY,
    EXAMPLE,
    UNHURRIED,
    TradingDesk,
    differences,
    example_run,
    new_desk,
    settled_small_desk,
    small_desk,
)
from vpp_pipeline_tests.warehouse.rows import fill

NEXT = "2023-08-16"
OTHER_DAY = date(2023, 8, 20)
PATIENCE_S = 120.0
OPTIONS = ["--prosumers", "30", "--set", f"optimiser.time_limit_seconds={UNHURRIED}"]


@pytest.fixture(scope="module")
def undisturbed() -> TradingDesk:
    """Two days of a small fleet, made one after the other."""
    desk = small_desk()
    assert desk.run(day=NEXT).success
    return desk


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """DAGSTER_HOME of the processes that a test starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return folder


def started(
    command: str, data: Path, home: Path | None, day: str, *options: str, project: Path | None = None
) -> subprocess.Popen[str]:
    """``python -m vpp_pipeline`` with one of its commands, as another process."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "PYTHONPATH")}
    environment |= {"DAGSTER_HOME": str(home)} if home else {}
    environment |= {"PYTHONPATH": str(project or project_folder())}
    line = [sys.executable, "-m", "vpp_pipeline", command, "--date", day, "--data", str(data), *options]
    return subprocess.Popen(
        line, env=environment, cwd=data.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def bids(data: Path, home: Path, day: str, *options: str) -> subprocess.Popen[str]:
    """``python -m vpp_pipeline bids`` of a small fleet, started."""
    return started("bids", data, home, day, *OPTIONS, *options)


def halt_when(process: subprocess.Popen[str], moment: Callable[[], bool], by: signal.Signals = signal.SIGSTOP) -> None:
    """Signal the process as soon as ``moment`` has come, which must be before it ends."""
    for _ in range(int(PATIENCE_S / 0.002)):
        if moment():
            break
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended before it could be halted: {process.communicate()[1]}")
    process.send_signal(by)


def storage_of(desk: TradingDesk) -> Storage:
    return Storage(data_folder=str(desk.data))


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    """SIGKILL as soon as ``moment`` has come."""
    halt_when(process, moment, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


MOMENTS = {
    "the negotiation is stored": "lake/working/*/{day}/negotiation.messages.json",
    "the schedule is stored": "lake/working/*/{day}/dispatch.schedule.json",
    "the draft of the warehouse is there": "vpp.duckdb.draft",
}


@pytest.mark.slow  # of its claims: warehouse/test_publish_at_once.py and defs/test_run_config.py
def test_where_one_of_two_runs_at_once_is_killed_the_waiting_one_publishes_as_if_nothing_had_happened(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another process is halted at the draft of its warehouse; a run in this one waits for it until it is dead."""
    desk, said = new_desk(tmp_path / "data"), io.StringIO()
    fill(desk.lake, OTHER_DAY)
    publish(desk.lake, desk.warehouse, OTHER_DAY)
    counts = "select market_date, count(*), count(distinct run_id) from bids.final_bids group by all order by all"
    published = desk.sql(counts)
    process = bids(desk.data, home, DAY)
    halt_when(process, desk.warehouse.with_name("vpp.duckdb.draft").exists)
    assert desk.sql(counts) == published

    waits = "another publication holds "

    def kill_once_the_other_waits() -> None:
        while process.poll() is None:
            if waits in said.getvalue():
                process.kill()
            time.sleep(0.01)

    monkeypatch.setenv("DAGSTER_HOME", str(home))
    killer = threading.Thread(target=kill_once_the_other_waits)
    killer.start()
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()) as printed:
            status = main(["bids", "--date", DAY, "--data", str(desk.data), *OPTIONS])
    finally:
        process.kill()
        killer.join()
        process.communicate()
    assert (process.returncode, status) == (-signal.SIGKILL, 0), said.getvalue()
    assert said.getvalue().count(waits) == 1
    for words in ("violations found: 0", "seconds: prices and forecasts ", ", publication ", ", in all "):
        assert words in printed.getvalue()
    assert differences(small_desk().tables(DAY), desk.tables(DAY)) == []
    assert desk.sql(counts) == [(date.fromisoformat(DAY), 72, 1), *published]
    assert desk.sql(f"select count(*) from bids.checks where not passed and market_date = '{DAY}'") == [(0,)]
    assert not desk.warehouse.with_name("vpp.duckdb.draft").exists()
    with dg.DagsterInstance.from_config(str(home)) as history:
        lost, last = sorted(history.get_runs(), key=lambda run: run.status == dg.DagsterRunStatus.SUCCESS)
        assert last.status == dg.DagsterRunStatus.SUCCESS
        assert lost.status == dg.DagsterRunStatus.STARTED  # a queue would wait for it
        with dg.build_sensor_context(instance=history, resources={"storage": storage_of(desk)}) as context:
            lost_runs(context)
        assert {run.status for run in history.get_runs()} == {
            dg.DagsterRunStatus.FAILURE,
            dg.DagsterRunStatus.SUCCESS,
        }


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_is_repeated_as_if_nothing_had_happened(
    moment: str, undisturbed: TradingDesk, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = new_desk(tmp_path / "data")
    shutil.copytree(undisturbed.data, first.data)
    shutil.rmtree(first.lake.root / "manifests" / NEXT)
    with duckdb.connect(str(first.warehouse)) as connection:
        connection.execute(f"delete from bids.final_bids where market_date = '{NEXT}'")

    count = "select market_date, count(*) from bids.final_bids group by all order by all"
    published = first.sql(count)
    pattern = MOMENTS[moment].format(day=NEXT)
    kill_when(bids(first.data, home, NEXT), lambda: any(first.data.glob(pattern)))
    assert first.sql(count) == published
    with dg.DagsterInstance.from_config(str(home)) as history:
        (lost,) = history.get_runs()
        assert lost.status == dg.DagsterRunStatus.STARTED  # a queue would wait for it
        monkeypatch.setenv("DAGSTER_HOME", str(home))  # as where the sensor runs
        with dg.build_sensor_context(instance=history, resources={"storage": storage_of(first)}) as context:
            lost_runs(context)
            assert history.get_runs()[0].status == dg.DagsterRunStatus.FAILURE

    assert first.run(day=NEXT).success
    assert differences(undisturbed.tables(NEXT), first.tables(NEXT)) == []
    assert differences(undisturbed.tables(DAY), first.tables(DAY)) == []
    assert first.sql(count) == undisturbed.sql(count)
    assert not first.warehouse.with_name("vpp.duckdb.draft").exists()


@pytest.mark.slow
@pytest.mark.parametrize("days", [(DAY, DAY), (DAY, DAY, NEXT)], ids=len)
def test_runs_at_once_of_one_day_and_of_another_all_succeed(
    days: tuple[str, ...], undisturbed: TradingDesk, home: Path, tmp_path: Path
):
    """Of another day, the publication is what they share: warehouse/test_publish_at_once.py."""
    data = tmp_path / "data"
    data.mkdir()
    together = [bids(data, home, day) for day in days]
    for process in together:
        output, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert "violations found: 0" in output
    desk = new_desk(data)
    expected = undisturbed if NEXT in days else small_desk()  # the next day's run takes in this day's prices
    for day in set(days):
        assert differences(expected.tables(day), desk.tables(day)) == []
    broken = "select count(*) from bids.checks where not passed"
    counts = f"""select market_date, count(*), count(distinct run_id) from bids.final_bids
                 where market_date <= '{days[-1]}' group by all order by all"""
    assert desk.sql(broken) == [(0,)]
    assert desk.sql(counts) == undisturbed.sql(counts)


@pytest.mark.slow
def test_two_runs_of_a_day_with_other_settings_show_each_its_own_bids(home: Path, tmp_path: Path):
    """Neither sees what the other writes, and each prints what it has published itself, whoever was last."""
    data = tmp_path / "data"
    data.mkdir()
    engines = ("concession", "uniform_clearing")
    together = {engine: bids(data, home, DAY, "--engine", engine) for engine in engines}
    for engine, process in together.items():
        output, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert f"negotiated by {engine}" in output


@pytest.mark.parametrize("command", ["ingest", pytest.param("bids", marks=pytest.mark.slow)])
def test_a_checkout_anywhere_keeps_its_history_and_its_data_together(command: str, tmp_path: Path):
    """No environment variable, another working directory, a path with a space."""
    project = tmp_path / "my project"
    for name in ("vpp_pipeline", "dagster.yaml"):
        source = project_folder() / name
        project.mkdir(exist_ok=True)
        shutil.copytree(source, project / name) if source.is_dir() else shutil.copy(source, project / name)
    data = project / "data"
    data.mkdir()
    options = ["--quiet", *(OPTIONS if command == "bids" else [])]
    process = started(command, data, None, DAY, *options, project=project)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert {path.name for path in project.iterdir()} == {"vpp_pipeline", "dagster.yaml", "data"}
    published = {"reports", "vpp.duckdb", "vpp.duckdb.lock"} if command == "bids" else set()
    assert {path.name for path in data.iterdir()} == {"dagster", "lake", *published}
    assert {path.name for path in tmp_path.iterdir()} == {"my project"}
    assert Lake(data / "lake").day(DAY if command == "ingest" else "2023-08-14").exists("market.prices")
    if command == "bids":
        assert f"warehouse: {data / 'vpp.duckdb'}" in output
        with open_warehouse(data / "vpp.duckdb") as connection:
            assert connection.execute("select count(*) from bids.final_bids").fetchall() == [(72,)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, installed into a folder of its own, without network."""
    pytest.importorskip("pip", reason="installs the wheel by pip, which this environment lacks")
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(project_folder())).build(directory=str(folder), versions=["standard"])
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder / "site"), wheel], check=True)
    return folder / "site"


def run_installed(installed: Path, folder: Path, *arguments: str, **variables: str) -> str:
    """What the installed `vpp-pipeline` prints, started in ``folder``; nothing may stand on the standard error."""
    named = ("DAGSTER_HOME", "PYTHONPATH", "VPP_DATA_FOLDER")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    done = subprocess.run(
        [sys.executable, str(installed / "bin" / "vpp-pipeline"), "--quiet", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installed)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def runs_of(address: str) -> list[dict[str, str]]:
    """Job and status of every run that Dagster's pages show."""
    asked = {"query": "{ runsOrError { ... on Runs { results { jobName status } } } }"}
    answer = httpx.post(f"{address}/graphql", json=asked, timeout=60.0).json()
    return list(answer["data"]["runsOrError"]["results"])


def test_the_wheel_in_an_empty_folder_makes_the_same_bids_as_the_checkout(installed: Path, tmp_path: Path):
    """Its requests come with it, its history is kept without a variable, and both are visible in Dagster's pages."""
    unhurried = f"optimiser.time_limit_seconds={UNHURRIED}"
    printed = run_installed(installed, tmp_path, "bids", "--date", DAY, "--set", unhurried)
    assert printed.lstrip().startswith("Bids for Tuesday 15 August 2023")  # no solver has a word before it
    assert "HiGHS" not in printed
    assert "prices: synthetic, from the embedded generator\n" in printed
    assert "fleet: 200 prosumers, generated from seed 20230815\n" in printed
    assert "requests: embedded example: 1 of this day offered, 0 set aside\n" in printed
    assert f"warehouse: {tmp_path / 'data' / 'vpp.duckdb'}" in printed
    made, expected = new_desk(tmp_path / "data"), example_run()[0]
    assert EXAMPLE in made.day()["bids.final_bids"].filter(pl.col("status") == "bid")["opportunity_id"].to_list()
    assert differences(made.tables(), expected.tables()) == []
    with dagster_dev(tmp_path, installed) as address:
        assert runs_of(address) == [{"jobName": "bid_day", "status": "SUCCESS"}]
        desk = f"{desk_of(tmp_path)}/days/{DAY}.html"
        assert "Bids for Tuesday 15 August 2023" in httpx.get(desk, timeout=PATIENCE_S, trust_env=False).text
    with pytest.raises(httpx.TransportError):  # it has ended with Dagster
        httpx.get(desk, trust_env=False)
    assert "temporary directory" not in (tmp_path / "dev.log").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "dev.log"}


@pytest.mark.slow
def test_a_checkouts_pages_show_its_runs_and_nothing_else_is_written():
    with project_copy() as project:
        process = started("ingest", project / "data", None, DAY, project=project)
        assert process.communicate(timeout=PATIENCE_S)[1] == ""
        with dagster_dev(project) as address:
            assert runs_of(address) == [{"jobName": "ingest_market", "status": "SUCCESS"}]
        assert "temporary directory" not in (project / "dev.log").read_text()
        assert {path.name for path in project.iterdir()} == {*COPIED, "data", "dev.log"}
        assert {path.name for path in (project / "data").iterdir()} == {"dagster", "lake"}


def test_a_users_requests_go_before_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those of the data folder, else those of the project's; a file of a header alone asks for nothing."""
    monkeypatch.setattr(paths, "_CHECKOUT", tmp_path / "nowhere")  # as in a wheel: the project is where the user stands
    monkeypatch.chdir(tmp_path)
    data, projects = tmp_path / "other" / "opportunities.csv", tmp_path / "data" / "opportunities.csv"
    storage = Storage(data_folder=str(data.parent))
    assert storage.requests == paths.example_file("opportunities.csv")
    for own in (projects, data):
        own.parent.mkdir()
        own.write_text(f"{LAYOUT}\n")
        assert storage.requests == own
    assert read_requests(storage.requests, date.fromisoformat(DAY)).rows.is_empty()


def test_a_settled_day_follows_from_its_curves_and_the_prices_that_cleared():
    """One bid of each kind by hand: the segments at or below the clearing price are awarded and paid that price.

    The day's request takes all owners, so that they are bid hour by hour; storage: evaluation/test_settled_storage.py.
    Owners are paid for what they deliver, by their deals; what an hour lacks is the award less what the fleet gives.
    """
    desk = settled_small_desk()
    settlement, day = desk.day()["evaluation.settlement"], desk.day()
    assert set(day["market.opportunities"]["participation"]) == {"hourly"}
    bids_made = day["bids.final_bids"].filter(pl.col("status") == "bid")
    assert sorted(settlement["bid_id"]) == sorted(bids_made["bid_id"])
    prices = {row["start_utc"]: row for row in day["market.prices"].iter_rows(named=True)}
    cheapest = max(0.0, sum(sorted(row["energy_usd_per_mwh"] for row in prices.values())[:4]) / 4)
    fleet = day["fleet.prosumers"].sort("prosumer_id")
    there = draw_available(fleet["availability_fraction"].to_numpy(), date.fromisoformat(DAY), SettlementSettings())
    came = set(fleet["prosumer_id"].filter(pl.Series(there)))
    column = {"energy": "energy_usd_per_mwh", "spin": "spin_usd_per_mw_h", "nonspin": "nonspin_usd_per_mw_h"}
    exported_kw = pl.col("discharge_kw") + pl.col("solar_sold_kw") - pl.col("grid_charge_kw")
    given_mw = {"energy": exported_kw.sum(), "spin": pl.col("spin_kw").sum(), "nonspin": pl.col("nonspin_kw").sum()}
    deals = {
        (row["opportunity_id"], row["prosumer_id"]): row
        for row in day["negotiation.agreements"].filter("holds_option").iter_rows(named=True)
    }
    paid_at = set()
    for bid in bids_made.iter_rows(named=True):
        cleared = 85.0 if bid["opportunity_id"] == EXAMPLE else prices[bid["start_utc"]][column[bid["product"]]]
        awarded = 0.0
        for segment in day["bids.bid_segments"].filter(pl.col("bid_id") == bid["bid_id"]).iter_rows(named=True):
            if segment["price_usd_per_mwh"] <= cleared:
                awarded += segment["to_mw"] - segment["from_mw"]
        row = settlement.row(by_predicate=pl.col("bid_id") == bid["bid_id"], named=True)
        share = awarded / bid["total_capacity_mw"]
        assert row["clearing_price"] == pytest.approx(cleared)
        hour = day["evaluation.dispatched"].filter(pl.col("start_utc") == bid["start_utc"])
        given = hour.select(given_mw[bid["product"]]).item() / 1000.0
        missing_mw = min(max(awarded - given, 0.0), awarded)
        assert (row["awarded_mw"], row["shortfall_mw"]) == pytest.approx((awarded, missing_mw), abs=1e-9)
        assert row["delivered_mw"] == pytest.approx(awarded - missing_mw, abs=1e-9)
        assert row["revenue_usd"] == pytest.approx(cleared * awarded, abs=0.0051)  # one hour each
        owed_usd = 0.0
        paid = day["evaluation.deliveries"].filter(pl.col("opportunity_id") == bid["opportunity_id"])
        for one in paid.iter_rows(named=True):
            deal = deals[one["opportunity_id"], one["prosumer_id"]]
            floor, cap = deal["floor_price_usd_per_mwh"], deal["cap_price_usd_per_mwh"]
            worth = cleared - deal["recharge_factor"] * cheapest
            price = min(max(worth, floor), cap) if worth >= floor - 1e-9 else cap
            assert (one["paid_price_usd_per_mwh"], one["is_forced"]) == (pytest.approx(price), worth < floor - 1e-9)
            assert one["prosumer_id"] in came
            owed_usd += price * one["delivered_kwh"] / 1000.0
            paid_at.add("cap" if price == cap > floor else "floor" if price == floor else "between")
        assert row["payments_usd"] == pytest.approx(owed_usd, abs=0.0051)
        assert row["charging_cost_usd"] == pytest.approx(share * bid["charging_cost_usd"], abs=0.0051)
        is_energy = bid["product"] == "energy"
        bought_back = (cleared + 0.25 * abs(cleared)) * missing_mw if is_energy else 0.0
        assert row["imbalance_usd"] == pytest.approx(bought_back, abs=0.0051)
        assert row["no_pay_usd"] == pytest.approx(0.0 if is_energy else cleared * missing_mw, abs=0.0051)
        costs = ("payments_usd", "charging_cost_usd", "imbalance_usd", "no_pay_usd")
        assert row["profit_usd"] == pytest.approx(row["revenue_usd"] - sum(row[name] for name in costs), abs=1e-6)
    assert "cap" in paid_at
    example = settlement.filter(pl.col("opportunity_id") == EXAMPLE)
    mw = example["bid_mw"][0]
    assert example.select("awarded_mw", "revenue_usd").row(0) == pytest.approx((mw, round(85.0 * mw, 2)))
    assert settlement["awarded_mw"].min() == 0.0  # some bids asked for more than cleared

    published = desk.sql("select count(*), sum(revenue_usd) from evaluation.settlement")
    assert published == [(settlement.height, pytest.approx(settlement["revenue_usd"].sum()))]
    assert desk.sql(f"select count(*) from market.prices where market_date = '{DAY}'") == [(24,)]
