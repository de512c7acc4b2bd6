"""Wrong files on the command line: refused with their place and a remedy, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline_tests.cli.command_line import (
    EXAMPLE_PRICES,
    NEXT,
    assert_no_run,
    made_desk,
    own_history,
    refused,
)
from vpp_pipeline_tests.defs.desk import TradingDesk, failures, files

LAST_KNOWN = "2023-08-15"  # its forecast rests on the week up to this day
SPOILT_HOUR = f"{LAST_KNOWN}T20:00:00Z"
REQUESTS = "product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh\n"

Lines = list[str]
Rule = Callable[[Lines, int], Lines]


@pytest.fixture(scope="module")
def desk() -> TradingDesk:
    """A folder with one day made and published."""
    return made_desk()


@pytest.fixture(scope="module", autouse=True)
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Dagster history of its own, so that tests leave no runs in the project's."""
    with own_history(tmp_path_factory.mktemp("dagster_home")):
        yield


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
        ["columns missing", "row 4", "column energy_usd_per_mwh", "The layout has"],  # below three comments
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
#: that a refusal of the command line names place and remedy; every fault of a file is tested where the file is read
OFTEN = {"missing hour", "NaN", "stored energy above the capacity"}


def mostly_slow(faults: Iterable[str]) -> list[Any]:
    """Cases of which those that are not run often are in `make test-all`."""
    return [fault if fault in OFTEN else pytest.param(fault, marks=pytest.mark.slow) for fault in faults]


@pytest.mark.parametrize("fault", mostly_slow(PRICE_FAULTS))
def test_a_wrong_price_file_is_refused(
    fault: str, desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rule, words = PRICE_FAULTS[fault]
    prices = tmp_path / "prices.csv"
    prices.write_text(spoil(rule))
    message = refused(["--date", NEXT, "--prices", str(prices)], desk, capsys)
    assert [word for word in [f"file {prices}", *words] if word not in message] == []
    assert_no_run()


@pytest.mark.parametrize("fault", mostly_slow(FLEET_FAULTS))
def test_a_wrong_fleet_file_is_refused_where_no_row_may_be_set_aside(
    fault: str, desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    column, text = FLEET_FAULTS[fault]
    fleet = fleet_with(column, text, tmp_path / "fleet.csv")
    none_may = ["--set", "fleet.quarantine_limit_fraction=0"]
    message = refused(["--date", NEXT, "--fleet", str(fleet), *none_may], desk, capsys)
    wanted = ["1 of 12 rows", f"file {fleet}", "row 6", f"column {column}", f"value {text}"]
    assert [word for word in wanted if word not in message] == []
    assert_no_run()


def test_wrong_rows_of_fleet_and_requests_are_set_aside_and_the_others_bid(
    desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fleet, mine = fleet_with("capacity_kwh", "-13.5", tmp_path / "fleet.csv"), desk.copy()
    requests = tmp_path / "requests.csv"
    rows = [f"regulation,{NEXT}T12:00,1,2.0,85.0", f"energy,{NEXT}T13:00,1,1.0,85.0", f"energy,{NEXT}T14:30,1,1.0,85"]
    requests.write_text("\n".join(["# asked by telephone", REQUESTS.strip(), *rows]) + "\n")
    given = ["--data", str(mine.data), "--fleet", str(fleet), "--requests", str(requests)]
    assert main(["bids", "--date", NEXT, *given]) == 0
    shown = capsys.readouterr().out
    for words in ("violations found: 0", "seconds: prices and forecasts ", ", publication ", ", in all "):
        assert words in shown

    assert "warning: 1 row(s) of 12 in quarantine; first: file_row 6" in shown
    (row,) = mine.sql("select file_row, column_name, value, problem, remedy, row_json from fleet.quarantine")
    assert row[:3] == (6, "capacity_kwh", "-13.5")
    assert all(row[3:])
    assert mine.sql("select count(*) from fleet.prosumers") == [(30 + 11,)]  # the day before, and those that are right

    told = [line for line in shown.splitlines() if line.startswith("warning: ") and "requests" in line]
    assert told == [
        "warning: 2 row(s) of requests in quarantine, 1 offered; row 3 of requests.csv, product regulation: not a "
        "product of this market. Use one of energy, spin, nonspin; row 5 of requests.csv, start "
        f"{NEXT}T14:30: not on the hour. Requests begin on the hour"
    ]
    assert mine.sql("select file_row from market.request_quarantine order by all") == [(3,), (5,)]
    asked = f"select opportunity_id from market.opportunities where origin = 'request' and market_date = '{NEXT}'"
    assert mine.sql(asked) == [("energy_20230816_1300_vpp-requests",)]


def test_a_file_of_requests_with_other_columns_is_refused(
    desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    requests = tmp_path / "requests.csv"
    requests.write_text(f"# asked by telephone\nproduct,when\nenergy,{NEXT}T12:00\n")
    message = refused(["--date", NEXT, "--requests", str(requests)], desk, capsys)
    wanted = [f"file {requests}", "row 2", "column when", "all others are product, start"]
    assert [word for word in wanted if word not in message] == []
    assert_no_run()


def test_a_wrong_file_of_resources_is_refused(desk: TradingDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    resources = tmp_path / "resources.csv"
    resources.write_text("resource_id,participation,maximum_mw\nnorth,hourly,much\n", encoding="utf-8")
    message = refused(["--date", NEXT, "--resources", str(resources)], desk, capsys)
    assert all(words in message for words in ("resources.csv", "row 2", "column maximum_mw", "value much"))


def test_a_refused_file_fails_the_asset_in_a_run_of_the_ui_too(desk: TradingDesk, tmp_path: Path):
    """Steps go on after a failure there, and still nothing may be written."""
    prices = tmp_path / "prices.csv"
    prices.write_text(spoil(PRICE_FAULTS["NaN"][0]))
    before = files(desk.data)
    result = desk.run(day=NEXT, prices={"path": str(prices)})
    assert not result.success
    assert "market__price_history" in failures(result)
    assert all("the price is not finite" in words for words in failures(result).values())
    assert files(desk.data) == before
