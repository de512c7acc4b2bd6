"""The command line: what it prints, and what wrong input gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from vpp_pipeline.cli import main
from vpp_pipeline.domain.calendar import PACIFIC
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.paths import project_folder
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline_tests.assets.desk import DAY, TradingDesk, failures, files, new_desk

NEXT = "2023-08-16"  # the lake has nothing of this day: not even a first file of it may appear
LAST_KNOWN = "2023-08-15"  # its forecast rests on the week up to this day
EXAMPLE_PRICES = project_folder() / "data" / "example_prices_2023-08.csv"
SPOILT_HOUR = f"{LAST_KNOWN}T20:00:00Z"
REQUESTS = "product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh\n"

Lines = list[str]
Rule = Callable[[Lines, int], Lines]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> TradingDesk:
    """A folder with one day made and published."""
    made = new_desk()
    assert made.run().success
    return made


@pytest.fixture(scope="module", autouse=True)
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Dagster history of its own, so that tests leave no runs in the project's."""
    home = tmp_path_factory.mktemp("dagster_home")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        yield home


def spoil(place: Callable[[Lines, int], Lines]) -> str:
    """The example prices with one hour of the last known day spoilt."""
    lines = EXAMPLE_PRICES.read_text().splitlines()
    row = next(k for k, line in enumerate(lines) if line.startswith(SPOILT_HOUR))
    return "\n".join(place(lines, row)) + "\n"


def with_cell(column: int, text: str) -> Rule:
    """One cell of the spoilt hour exchanged."""

    def exchanged(lines: Lines, row: int) -> Lines:
        cells = lines[row].split(",")
        cells[column] = text
        return [*lines[:row], ",".join(cells), *lines[row + 1 :]]

    return exchanged


def spoilt_row() -> int:
    return 1 + next(k for k, line in enumerate(EXAMPLE_PRICES.read_text().splitlines()) if line.startswith(SPOILT_HOUR))


PRICE_FAULTS: dict[str, tuple[Rule, list[str]]] = {
    "missing hour": (
        lambda lines, row: lines[:row] + lines[row + 1 :],
        ["24 hours, 1 missing", f"row {spoilt_row() - 1}", "column start_utc", SPOILT_HOUR, "Add a row"],
    ),
    "duplicate hour": (
        lambda lines, row: [*lines[: row + 1], lines[row], *lines[row + 1 :]],
        ["occurs twice", f"row {spoilt_row() + 1}", "column start_utc", SPOILT_HOUR, "Remove one"],
    ),
    "NaN": (
        with_cell(2, "NaN"),
        ["not finite", f"row {spoilt_row()}", "column energy_usd_per_mwh", "value NaN", "Correct the number"],
    ),
    "text": (
        with_cell(3, "n/a"),
        ["not a number", f"row {spoilt_row()}", "column spin_usd_per_mw_h", "value n/a", "Correct the number"],
    ),
    "no price": (
        with_cell(4, ""),
        ["empty", f"row {spoilt_row()}", "column nonspin_usd_per_mw_h", "Correct the number"],
    ),
    "naive timestamp": (
        with_cell(0, SPOILT_HOUR.removesuffix("Z")),
        ["without its offset", f"row {spoilt_row()}", "column start_utc", "Write UTC as"],
    ),
    "wrong columns": (
        lambda lines, row: [line.replace("energy_usd_per_mwh", "energy_price") for line in lines],
        ["columns missing", "row 1", "column energy_usd_per_mwh", "The layout has"],
    ),
    "unknown columns": (
        lambda lines, row: ["time,price", "1,2"],
        ["unknown layout", "row 1", "time, price", "Give start_utc"],
    ),
}


def fleet_with(column: str, text: str, path: Path) -> Path:
    """A fleet file whose fifth prosumer is wrong."""
    fleet = generate_fleet(FleetSettings(prosumers=12), date(2023, 8, 16))
    rows = fleet.drop("market_date").write_csv().splitlines()
    cells = rows[5].split(",")
    cells[rows[0].split(",").index(column)] = text
    path.write_text("\n".join([*rows[:5], ",".join(cells), *rows[6:]]) + "\n")
    return path


FLEET_FAULTS: dict[str, tuple[str, str]] = {
    "negative capacity": ("capacity_kwh", "-13.5"),
    "stored energy above the capacity": ("initial_stored_kwh", "9999"),
    "stored energy owed beyond the capacity": ("terminal_stored_kwh", "9999"),
    "text in a number": ("max_charge_kw", "five"),
    "unknown store": ("store", "flywheel"),
}

REQUEST_FAULTS: dict[str, tuple[str, list[str]]] = {
    "unknown product": (
        f"regulation,{NEXT}T12:00,1,2.0,85.0",
        ["column product", "value regulation", "Use one of energy, spin, nonspin"],
    ),
    "no power": (f"energy,{NEXT}T12:00,1,-2.0,85.0", ["column required_capacity_mw", "value -2.0", "above 0"]),
    "half an hour": (f"energy,{NEXT}T12:30,1,2.0,85.0", ["column start", "on the hour"]),
}


def refused(arguments: list[str], desk: TradingDesk, capsys: pytest.CaptureFixture[str], command: str = "bids") -> str:
    """The message of a command that must be refused and must change no file."""
    before = files(desk.data)
    status = main([command, "--data", str(desk.data), *arguments])
    shown = capsys.readouterr()
    assert status == 2
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.endswith("\n")
    message = shown.err.strip()
    assert "\n" not in message
    assert "Traceback" not in message
    assert files(desk.data) == before
    return message.removeprefix("error: ")


def assert_dagster_says(message: str) -> None:
    """The last run of the history failed, in an asset, with this very text."""
    with dg.DagsterInstance.get() as instance:
        run = instance.get_runs(limit=1)[0]
        assert run.status == dg.DagsterRunStatus.FAILURE
        errors = [
            record.event_log_entry.dagster_event.step_failure_data.error
            for record in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
        ]
    assert errors
    assert all(message in error.cause.message for error in errors)


@pytest.mark.parametrize("fault", PRICE_FAULTS)
def test_a_wrong_price_file_is_refused(
    fault: str, desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rule, words = PRICE_FAULTS[fault]
    prices = tmp_path / "prices.csv"
    prices.write_text(spoil(rule))
    message = refused(["--date", NEXT, "--prices", str(prices)], desk, capsys)
    assert [word for word in [f"file {prices}", *words] if word not in message] == []
    assert_dagster_says(message)


@pytest.mark.parametrize("fault", FLEET_FAULTS)
def test_a_wrong_fleet_file_is_refused_where_no_row_may_be_set_aside(
    fault: str, desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    column, text = FLEET_FAULTS[fault]
    fleet = fleet_with(column, text, tmp_path / "fleet.csv")
    none_may = ["--set", "fleet.quarantine_limit_fraction=0"]
    message = refused(["--date", NEXT, "--fleet", str(fleet), *none_may], desk, capsys)
    wanted = ["1 of 12 rows", f"file {fleet}", "row 6", f"column {column}", f"value {text}"]
    assert [word for word in wanted if word not in message] == []
    assert_dagster_says(message)


def test_a_wrong_row_is_set_aside_and_the_others_bid(
    desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fleet, mine = fleet_with("capacity_kwh", "-13.5", tmp_path / "fleet.csv"), desk.copy()
    assert main(["bids", "--date", NEXT, "--data", str(mine.data), "--fleet", str(fleet)]) == 0
    shown = capsys.readouterr().out
    assert "warning: 1 row(s) of 12 in quarantine; first: file_row 6" in shown
    rows = mine.sql("select file_row, column_name, value, problem, remedy, row_json from fleet.quarantine")
    assert [row[:3] for row in rows] == [(6, "capacity_kwh", "-13.5")]
    assert all(rows[0][3:])
    assert mine.sql("select count(*) from fleet.prosumers") == [(30 + 11,)]  # the day before, and those that are right


def test_the_engine_is_chosen_by_name(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    mine, example = desk.copy(), project_folder() / "data" / "example_fleet.csv"
    chosen = ["--fleet", str(example), "--engine", "uniform_clearing"]
    assert main(["bids", "--date", NEXT, "--data", str(mine.data), *chosen]) == 0
    assert "negotiated by uniform_clearing" in capsys.readouterr().out
    told = f"select engine, max(rounds) from negotiation.summary where market_date = '{NEXT}' group by engine"
    assert mine.sql(told) == [("uniform_clearing", 1)]


def test_without_a_date_tomorrows_bids_are_made(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    mine = desk.copy()
    tomorrow = datetime.now(PACIFIC).date() + timedelta(days=1)
    assert main(["bids", "--data", str(mine.data), "--prosumers", "30"]) == 0
    assert f"Bids for {tomorrow:%A %d %B %Y}" in capsys.readouterr().out
    assert mine.lake.exists("bids.final_bids", tomorrow.isoformat())


def test_engines_are_compared_on_the_same_day_and_nothing_is_written(
    desk: TradingDesk, capsys: pytest.CaptureFixture[str]
):
    before = files(desk.data)
    assert main(["compare-engines", "--date", NEXT, "--data", str(desk.data), "--prosumers", "30"]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["measure"][:2] == ["concession", "uniform_clearing"]
    assert lines["violations"][:2] == ["0", "0"]
    assert lines["feasible"][0] == lines["feasible"][1]
    for measure in ("fill_fraction", "success_fraction", "margin_fraction", "surplus_usd", "satisfaction"):
        assert len(lines[measure]) > 2
    assert files(desk.data) == before


@pytest.mark.parametrize("fault", REQUEST_FAULTS)
def test_a_wrong_request_is_refused(fault: str, desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    row, words = REQUEST_FAULTS[fault]
    requests = tmp_path / "requests.csv"
    requests.write_text(f"# asked by telephone\n{REQUESTS}{row}\n")
    message = refused(["--date", NEXT, "--requests", str(requests)], desk, capsys)
    assert [word for word in [f"file {requests}", "row 3", *words] if word not in message] == []
    assert_dagster_says(message)


def test_a_date_without_prices_is_refused(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    message = refused(["--date", "2023-10-20", "--prices", str(EXAMPLE_PRICES)], desk, capsys)
    assert "no prices in the week before 2023-10-20" in message
    assert str(EXAMPLE_PRICES) in message
    assert "Choose a day" in message
    assert_dagster_says(message)
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
        (["--set", "negotiation.patience=5"], ["negotiation.patience", "5"]),
        (["--set", "bargaining.rounds=5"], ["bargaining"]),
        (["--set", "negotiation.rounds=99"], ["negotiation.rounds", "99", "less than or equal to 10"]),
        (["--set", "negotiation.rounds=many"], ["negotiation.rounds", "many", "integer"]),
        (["--set", "negotiation.engine=auction"], ["negotiation.engine", "auction", "concession"]),
        (["--set", "rounds"], ["rounds"]),
        (
            ["--set", "optimiser.solver=GUROBI"],
            ["optimiser.solver", "'GUROBI'", "not installed", "pip install gurobipy", "CLARABEL", "HIGHS"],
        ),
        (["--set", "optimiser.fallback_solver=MOSEK"], ["optimiser.fallback_solver", "'MOSEK'", "pip install mosek"]),
        (["--set", "optimiser.solver=GUROBY"], ["optimiser.solver", "'GUROBY'", "no solver of that name", "GUROBI"]),
        (["--prosumers", "2"], ["fleet.prosumers", "2", "greater than or equal to 3"]),
        (["--prices", "/nowhere/prices.csv"], ["/nowhere/prices.csv", "no such file"]),
        (["--fleet", "/nowhere/fleet.csv"], ["/nowhere/fleet.csv", "does not exist"]),
        (["--requests", "/nowhere/requests.csv"], ["/nowhere/requests.csv", "does not exist"]),
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
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: vpp-pipeline" in capsys.readouterr().err


def test_bids_are_shown_as_a_person_reads_them(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    status = main(["bids", "--date", DAY, "--data", str(desk.data), "--prosumers", "30"])
    shown = capsys.readouterr()
    assert (status, shown.err) == (0, "")
    for words in (
        "Bids for Tuesday 15 August 2023, TH_SP15_GEN-APND, prices: synthetic",
        "energy_20230815_1200",
        "no bid",
        "expected profit",
        "payments to prosumers",
        "negotiated by concession",
        "violations found: 0 (15 rules checked)",
        "prices and forecasts 0.",
        f"warehouse: {desk.warehouse}",
    ):
        assert words in shown.out
    assert sum(line.strip().startswith(("energy_", "spin_", "nonspin_")) for line in shown.out.splitlines()) == 72


def test_prices_are_taken_in_and_the_day_settled(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    assert main(["ingest", "--date", DAY, "--data", str(desk.data)]) == 0
    assert desk.lake.exists("market.prices", DAY)
    assert main(["settle", "--date", DAY, "--data", str(desk.data)]) == 0
    shown = capsys.readouterr().out
    assert "Settlement of 2023-08-15" in shown
    assert all(product in shown for product in ("energy", "revenue $", "profit $"))


def test_bids_made_with_other_settings_can_be_settled(desk: TradingDesk, capsys: pytest.CaptureFixture[str]):
    other = ["--prosumers", "30", "--set", "negotiation.rounds=5", "--set", "rules.energy_minimum_mw=0.05"]
    assert main(["bids", "--date", DAY, "--data", str(desk.data), *other]) == 0
    assert main(["settle", "--date", DAY, "--data", str(desk.data)]) == 0


def test_documents_are_written(desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["documents", "--date", DAY, "--data", str(desk.data), "--out", str(tmp_path)]) == 0
    written = list(tmp_path.rglob("*.json"))
    assert f"{len(written)} documents" in capsys.readouterr().out
    assert written


def test_the_example_prices_are_made_as_they_are_kept(tmp_path: Path):
    assert main(["make-data", "--out", str(tmp_path)]) == 0
    assert (tmp_path / EXAMPLE_PRICES.name).read_bytes() == EXAMPLE_PRICES.read_bytes()


def test_a_refused_file_fails_the_asset_in_a_run_of_the_ui_too(desk: TradingDesk, tmp_path: Path):
    """Steps go on after a failure there, and still nothing may be written."""
    prices = tmp_path / "prices.csv"
    prices.write_text(spoil(PRICE_FAULTS["NaN"][0]))
    before = files(desk.data)
    result = desk.run(day=NEXT, prices={"path": str(prices)})
    assert not result.success
    assert "market__price_forecast" in failures(result)
    assert all("the price is not finite" in words for words in failures(result).values())
    assert files(desk.data) == before
