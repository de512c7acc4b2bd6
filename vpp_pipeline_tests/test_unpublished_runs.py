"""A run that stops before it publishes: what reads a finished day reads the published one all the same."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import SETTLED
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.cli.command_line import own_history
from vpp_pipeline_tests.defs.desk import (
    DAY,
    EXAMPLE,
    EXAMPLE_SLOT,
    SMALL,
    TradingDesk,
    failures,
    files,
    new_desk,
    settled_small_desk,
    small_desk,
)
from vpp_pipeline_tests.test_end_to_end import bids, kill_when

#: what the run is asked for otherwise, and the table after which it is killed
KILLED = {
    "other bids": (["--set", "negotiation.inconvenience_usd_per_mwh=80"], "bids.final_bids"),
    "the schedule of a smaller fleet": (["--prosumers", "24"], "dispatch.schedule"),
    "another fleet": (["--seed", "9"], "fleet.prosumers"),
    "the same fleet bid hour by hour": (["--set", "resources.participation=hourly"], "dispatch.storage_limits"),
}
OTHER: dict[str, Any] = {**SMALL, "negotiation": {"inconvenience_usd_per_mwh": 80.0}}
COMMANDS = {
    "settle": [],
    "report": [],
    "documents": [],
    "transcript": ["--opportunity", EXAMPLE],
    "brief": [],
}
WRITTEN = {"documents", "briefs", "reports"}


@dataclass(frozen=True)
class Answers:
    """What the commands that read a finished day print and write, and the day's rows in the warehouse after them."""

    printed: dict[str, str]
    written: dict[str, str]
    rows: dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def made() -> TradingDesk:
    """A folder with one day made and published."""
    return small_desk()


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """DAGSTER_HOME of the commands."""
    folder = tmp_path_factory.mktemp("home")
    with own_history(folder):
        yield folder


@pytest.fixture(scope="module")
def undisturbed(made: TradingDesk) -> Answers:
    return answers(made.copy())[0]


def command(desk: TradingDesk, name: str, *options: str) -> tuple[int, str, str]:
    """Exit status, standard output, and the standard error without progress."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([name, "--date", DAY, "--data", str(desk.data), *COMMANDS.get(name, []), *options])
    said = [line for line in err.getvalue().splitlines(keepends=True) if not line.endswith(" …\n")]
    return status, out.getvalue().replace(str(desk.data), "DATA"), "".join(said)


def rows_of(desk: TradingDesk) -> dict[str, list[tuple[Any, ...]]]:
    question = f"select * from {{}} where market_date = '{DAY}' order by all"
    with open_warehouse(desk.warehouse) as connection:
        return {table: connection.execute(question.format(table)).fetchall() for table in TABLES}


def answers(desk: TradingDesk) -> tuple[Answers, set[str]]:
    """The answers, and what was said beside them; nothing that was published may change by asking."""
    before, printed, noted = rows_of(desk), {}, set()
    for name in COMMANDS:
        status, printed[name], errors = command(desk, name)
        assert status == 0, errors
        noted.add(errors)
    after = rows_of(desk)
    asked_for = {*SETTLED, "market.prices"}
    assert [table for table in TABLES if table not in asked_for and before[table] != after[table]] == []
    written = {name: content for name, content in files(desk.data).items() if name.split("/")[0] in WRITTEN}
    return Answers(printed, written, after), noted


def killed(desk: TradingDesk, home: Path, options: list[str], table: str) -> None:
    """A run of the command line, killed once it has stored ``table``."""
    pointer = f"working/*/{DAY}/{table}.json"
    kill_when(bids(desk.data, home, DAY, *options), lambda: any(desk.lake.root.glob(pointer)))


@pytest.fixture(scope="module")
def stopped(made: TradingDesk) -> TradingDesk:
    """The day, whose bids were made again by hand with other settings, and not published."""
    desk = replace(made.copy(), settings=OTHER)
    assert desk.make("bids.final_bids").success
    return desk


def test_after_a_stopped_run_the_published_day_is_read_and_settled(stopped: TradingDesk, undisturbed: Answers):
    desk = stopped.copy()
    found, (note,) = answers(desk)
    assert found == undisturbed
    (run,) = desk.sql(f"select distinct run_id from bids.final_bids where market_date = '{DAY}'")
    assert f"of run {run[0]}. To publish new bids" in note
    assert note.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", KILLED)
def test_after_a_killed_run_the_published_day_is_read_and_settled(
    killed_at: str, made: TradingDesk, undisturbed: Answers, home: Path
):
    desk, (options, table) = made.copy(), KILLED[killed_at]
    killed(desk, home, options, table)
    found, noted = answers(desk)
    assert found == undisturbed
    (run,) = desk.sql(f"select distinct run_id from bids.final_bids where market_date = '{DAY}'")
    (note,) = noted
    assert ("" if table != "bids.final_bids" else f"of run {run[0]}. To publish new bids") in note
    assert note.count("\n") == (table == "bids.final_bids")


@pytest.mark.slow
def test_a_published_day_of_storage_is_settled_after_a_killed_run_that_bids_hour_by_hour(home: Path):
    desk = replace(new_desk(), settings={**SMALL, "resources": {"participation": "storage"}})
    assert desk.run().success
    alone, disturbed = desk.copy(), desk.copy()
    killed(disturbed, home, ["--prosumers", "24"], "dispatch.storage_limits")
    for one in (alone, disturbed):
        status, _, errors = command(one, "settle")
        assert status == 0, errors
    found = rows_of(disturbed)
    assert found["evaluation.storage_awards"]
    assert found == rows_of(alone)


def test_a_day_of_which_no_run_has_published_is_refused_until_one_does(home: Path):
    desk = new_desk()
    assert desk.make("bids.final_bids").success
    remedy = f"Make the day's bids first: vpp-pipeline bids --date {DAY}"
    for name in COMMANDS:
        status, printed, errors = command(desk, name)
        assert (status, printed, errors.count("\n")) == (2, "", 1), errors
        assert f"no bids of {DAY} are published " in errors
        assert remedy in errors
    assert not desk.warehouse.exists()
    assert desk.materialise("warehouse.published").success
    for name in COMMANDS:
        assert command(desk, name)[0] == 0


def test_what_is_made_by_hand_is_not_settled_before_it_is_published(made: TradingDesk, undisturbed: Answers):
    """A fleet, the schedule of other limits, one negotiation: each alone, as from the asset's page."""
    desk = made.copy()
    other = replace(desk, settings={**OTHER, "fleet": {"prosumers": 24, "seed": 9}})
    assert other.materialise("negotiation.rounds", partition=f"{DAY}|{EXAMPLE_SLOT}").success
    assert other.materialise("fleet.prosumers", "fleet.notes", "fleet.quarantine", checks=False).success
    assert answers(desk)[0] == undisturbed

    before = desk.warehouse.read_bytes()
    (message,) = failures(desk.materialise("warehouse.published")).values()
    assert desk.warehouse.read_bytes() == before
    assert "no bids are published" in message


def test_a_settlement_by_hand_publishes_itself_alone(made: TradingDesk, undisturbed: Answers):
    desk = made.copy()
    other = replace(desk, settings={"fleet": {"prosumers": 24}})
    assert other.materialise("market.prices").success
    assert other.materialise("fleet.prosumers", "fleet.notes", "fleet.quarantine", checks=False).success
    result = desk.materialise(*SETTLED, "warehouse.published")
    assert result.success, failures(result)
    assert rows_of(desk) == undisturbed.rows


@pytest.mark.slow
def test_the_settlement_of_bids_that_are_replaced_goes_with_them():
    desk, count = settled_small_desk(), f"select count(*) from evaluation.settlement where market_date = '{DAY}'"
    sold = f"select sum(bid_mw) from evaluation.settlement where market_date = '{DAY}'"
    settled, before = desk.sql(count), desk.sql(sold)
    assert desk.materialise("warehouse.published").success
    assert desk.sql(count) == settled  # the same bids, published again
    assert replace(desk, settings=OTHER).run().success
    assert desk.sql(count) == [(0,)]
    assert command(desk, "settle")[0] == 0
    trading = f"select count(*) from bids.final_bids where market_date = '{DAY}' and status = 'bid'"
    assert desk.sql(count) == desk.sql(trading)
    assert desk.sql(sold) != before
