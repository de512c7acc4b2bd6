"""The command line: what it prints, and which options it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.cli.console import NOT_SETTLED, bids_document, is_proven, settlement_document, show_bids
from vpp_pipeline.cli.main import NOT_PROVEN, main
from vpp_pipeline.cli.options import print_json
from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.evaluation.compare import show_comparison
from vpp_pipeline_tests.cli.command_line import (
    EXAMPLE_PRICES,
    NEXT,
    assert_no_run,
    made_desk,
    own_history,
    refused,
)
from vpp_pipeline_tests.defs.desk import DAY, TradingDesk, files
from vpp_pipeline_tests.evaluation.test_settled_storage import assert_adds_up


@pytest.fixture(scope="module")
def desk() -> TradingDesk:
    """A folder with one day made and published."""
    return made_desk()


@pytest.fixture(scope="module", autouse=True)
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Dagster history of its own, so that tests leave no runs in the project's."""
    with own_history(tmp_path_factory.mktemp("dagster_home")):
        yield


@pytest.mark.slow
def test_the_engine_is_chosen_by_name(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    mine, example = desk.copy(), project_folder() / "data" / "example_fleet.csv"
    chosen = ["--fleet", str(example), "--engine", "uniform_clearing"]
    assert main(["bids", "--date", NEXT, "--data", str(mine.data), *chosen]) == 0
    assert "negotiated by uniform_clearing" in capsys.readouterr().out
    told = f"select engine, max(rounds) from negotiation.summary where market_date = '{NEXT}' group by engine"
    assert mine.sql(told) == [("uniform_clearing", 1)]


def test_without_a_date_tomorrows_bids_are_asked_for(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    tomorrow = datetime.now(PACIFIC).date() + timedelta(days=1)
    message = refused(["--prices", str(EXAMPLE_PRICES)], desk, capsys)
    assert f"no prices in the week before {tomorrow}" in message


@pytest.mark.slow
def test_without_a_date_tomorrows_bids_are_made(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    mine = desk.copy()
    tomorrow = datetime.now(PACIFIC).date() + timedelta(days=1)
    assert main(["bids", "--data", str(mine.data), "--prosumers", "30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["market_date"] == tomorrow.isoformat()
    assert mine.lake.day(tomorrow.isoformat()).exists("bids.final_bids")


def test_bids_are_printed_for_programs(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    print_json(bids_document(desk.data, desk.day(), {"in all": 1.0}, {"prices": "synthetic"}))
    printed = json.loads(capsys.readouterr().out)
    assert printed["inputs"] == {"prices": "synthetic"}
    assert printed["market_date"] == DAY
    rows = desk.lake.day(DAY).read("bids.final_bids")
    found = {bid["bid_id"]: bid for bid in printed["final_bids"]}
    assert {name for bid in found.values() for name in bid} == set(rows.columns)
    assert {name: bid["expected_profit_usd"] for name, bid in found.items()} == dict(
        rows.select("bid_id", "expected_profit_usd").iter_rows()
    )
    assert printed["proof"]["bound_usd"] >= printed["proof"]["objective_usd"]
    assert all(check["passed"] for check in printed["checks"] if not check["is_warning"])


def test_the_account_that_settle_prints_adds_up(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    mine = desk.copy()
    assert main(["settle", "--date", DAY, "--data", str(mine.data)]) == 0
    assert_adds_up(capsys.readouterr().out, mine.day()["evaluation.settled_days"].row(0, named=True))


def test_engines_are_compared_on_the_same_day_and_nothing_is_written(
    desk: TradingDesk, capsys: pytest.CaptureFixture[str]
):
    before = files(desk.data)
    assert main(["compare-engines", "--date", NEXT, "--data", str(desk.data), "--prosumers", "30", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["market_date"] == NEXT
    show_comparison(date.fromisoformat(NEXT), pl.DataFrame(printed["engines"]))
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["measure"][:2] == ["concession", "uniform_clearing"]
    assert lines["violations"][:2] == ["0", "0"]
    assert lines["feasible"][0] == lines["feasible"][1]
    for measure in ("fill_fraction", "success_fraction", "margin_fraction", "surplus_usd", "satisfaction"):
        assert len(lines[measure]) > 2
    assert files(desk.data) == before


def test_a_date_without_prices_is_refused(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    message = refused(["--date", "2023-10-20", "--prices", str(EXAMPLE_PRICES)], desk, capsys)
    assert "no prices in the week before 2023-10-20" in message
    assert str(EXAMPLE_PRICES) in message
    assert "Choose a day" in message
    assert_no_run()
    message = refused(["--date", "2023-10-20", "--prices", str(EXAMPLE_PRICES)], desk, capsys, command="ingest")
    assert "no prices of TH_SP15_GEN-APND for market day 2023-10-20" in message
    assert "2023-07-25 to 2023-08-31" in message


@pytest.mark.parametrize("command", ["bids", "ingest", "settle"])
@pytest.mark.parametrize("day", ["2023-07-31", "2099-01-01"])
def test_a_day_that_is_no_market_day_of_ours_is_refused(
    command: str, day: str, desk: TradingDesk, capsys: pytest.CaptureFixture[str]
):
    message = refused(["--date", day], desk, capsys, command)
    assert f"{day} is not a market day" in message
    assert "Choose a day from 2023-08-01 to" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "negotiation.patience=5"], ["there is no setting negotiation.patience. `vpp-pipeline settings`"]),
        (["--set", "negotiation.round=4"], ["no setting negotiation.round; did you mean negotiation.rounds? `vpp-"]),
        (["--set", "bargaining.rounds=5"], ["bargaining.rounds; did you mean negotiation.rounds?"]),
        (["--set", "negotation.engine=llm"], ["negotation.engine; did you mean negotiation.engine?"]),
        (["--set", "negotiation.rounds=99"], ["negotiation.rounds", "99", "it must be 10 or less"]),
        (["--set", "negotiation.rounds=many"], ["negotiation.rounds", "many", "a whole number"]),
        (["--set", "negotiation.engine=auction"], ["negotiation.engine", "auction", "concession"]),
        (["--set", "rounds"], ["rounds"]),
        (
            ["--set", "optimiser.solver=GUROBI"],
            ["optimiser.solver", "'GUROBI'", "not installed", "pip install gurobipy", "CLARABEL", "HIGHS"],
        ),
        pytest.param(
            ["--set", "optimiser.fallback_solver=MOSEK"],
            ["optimiser.fallback_solver", "'MOSEK'", "pip install mosek"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--set", "optimiser.solver=GUROBY"],
            ["optimiser.solver", "'GUROBY'", "no solver of that name", "GUROBI"],
            marks=pytest.mark.slow,
        ),
        (["--prosumers", "2"], ["fleet.prosumers", "2", "it must be 3 or more"]),
        (["--prices", "/nowhere/prices.csv"], ["/nowhere/prices.csv", "no such file"]),
        (["--fleet", "/nowhere/fleet.csv"], ["/nowhere/fleet.csv", "does not exist"]),
        pytest.param(
            ["--requests", "/nowhere/requests.csv"],
            ["/nowhere/requests.csv", "does not exist"],
            marks=pytest.mark.slow,
        ),
        (["--node", "ELSEWHERE"], ["ELSEWHERE", "TH_SP15_GEN-APND"]),
    ],
)
def test_a_wrong_option_is_refused(
    arguments: list[str], words: list[str], desk: TradingDesk, capsys: pytest.CaptureFixture[str]
):
    message = refused(["--date", NEXT, *arguments], desk, capsys)
    assert [word for word in words if word not in message] == []


def test_a_day_without_bids_cannot_be_settled(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    assert main(["settle", "--date", "2023-08-20", "--data", str(desk.data)]) == 2
    shown = capsys.readouterr()
    assert "2023-08-20" in shown.err
    assert "vpp-pipeline bids --date 2023-08-20" in shown.err


@pytest.mark.parametrize("arguments", [[], ["settle"], ["bids", "--date", "15 August"], ["sell"]])
def test_a_command_that_cannot_be_read_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Usage: vpp-pipeline" in shown.err
    assert shown.out == ""


def test_bids_are_shown_as_a_person_reads_them(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    """The seconds of each stage are those of a run: test_end_to_end.py."""
    show_bids(desk.data, desk.day(), {"in all": 1.0}, {"fleet": "30 prosumers"})
    shown = capsys.readouterr()
    for words in (
        "Bids for Tuesday 15 August 2023, TH_SP15_GEN-APND, prices: synthetic",
        "energy_20230815_1200",
        "no bid",
        "expected profit $",
        "payments to prosumers $",
        ", dual bound $",
        "negotiated by concession",
        "violations found: 0 (",
        "reports/2023-08-15.html",
        "seconds: in all 1.0",
        "fleet: 30 prosumers\n",
        "warning: the prices are synthetic: no market has published them",
        f"warehouse: {desk.warehouse}",
    ):
        assert words in shown.out
    assert sum(line.strip().startswith(("energy_", "spin_", "nonspin_")) for line in shown.out.splitlines()) == 72


def test_prices_are_taken_in_and_the_day_settled(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    assert main(["ingest", "--date", DAY, "--data", str(desk.data)]) == 0
    assert desk.lake.day(DAY).exists("market.prices")
    assert main(["settle", "--date", DAY, "--data", str(desk.data)]) == 0
    shown = capsys.readouterr().out
    assert "Settlement of 2023-08-15" in shown
    assert all(words in shown for words in ("energy", "reserve held", "net", "$", "stored energy beyond"))
    print_json(settlement_document(desk.data, date.fromisoformat(DAY)))
    printed = json.loads(capsys.readouterr().out)
    profit_usd = sum(bid["profit_usd"] for bid in printed["settlement"])
    assert {bid["market_date"] for bid in printed["settlement"]} == {DAY}
    assert profit_usd == pytest.approx(sum(row[0] for row in desk.sql("select profit_usd from evaluation.settlement")))
    assert "net_usd" in printed["settled_days"]


@pytest.mark.slow
def test_bids_made_with_other_settings_can_be_settled(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    other = ["--prosumers", "30", "--set", "negotiation.rounds=5", "--set", "rules.energy_minimum_mw=0.05"]
    assert main(["bids", "--date", DAY, "--data", str(desk.data), *other]) == 0
    assert main(["settle", "--date", DAY, "--data", str(desk.data)]) == 0


def test_bids_far_from_the_best_are_told_from_proven_ones(desk: TradingDesk):
    mine = desk.copy()
    assert is_proven(mine.day())
    failed = pl.when(check_name="the_schedule_is_proven_to_be_good").then(False).otherwise("passed").alias("passed")
    mine.lake.write("bids.checks", DAY, mine.lake.day(DAY).read("bids.checks").with_columns(failed))
    assert not is_proven(mine.day())
    unsettled = desk.copy()
    proof = unsettled.lake.day(DAY).read("dispatch.proof")
    method = pl.lit(f"exact; no bid: the bids {NOT_SETTLED}: HiGHS says Unknown").alias("method")
    unsettled.lake.write("dispatch.proof", DAY, proof.with_columns(method))
    assert not is_proven(unsettled.day())


@pytest.mark.slow
def test_a_day_whose_search_was_cut_short_is_published_and_says_so(
    desk: TradingDesk, capsys: pytest.CaptureFixture[str]
):
    """A whole day by the command line."""
    mine = desk.copy()
    short = ["--set", "optimiser.node_limit=0", "--set", "optimiser.gap_warning_fraction=0"]
    assert main(["bids", "--date", NEXT, "--data", str(mine.data), "--prosumers", "30", *short]) == NOT_PROVEN
    assert "warning: gap " in capsys.readouterr().out
    assert mine.sql(f"select count(*) > 0 from bids.final_bids where market_date = '{NEXT}'") == [(True,)]


def test_documents_are_written(desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["documents", "--date", DAY, "--data", str(desk.data), "--out", str(tmp_path)]) == 0
    written = list(tmp_path.rglob("*.json"))
    assert f"{len(written)} documents" in capsys.readouterr().out
    assert written


def test_the_example_prices_are_made_as_they_are_kept(tmp_path: Path):
    assert main(["make-data", "--out", str(tmp_path)]) == 0
    assert (tmp_path / EXAMPLE_PRICES.name).read_bytes() == EXAMPLE_PRICES.read_bytes()
