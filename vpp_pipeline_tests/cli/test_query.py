"""Commands that read: questions in SQL, exports, reports; they change nothing that a day has left."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline_tests.conftest import DAY
from vpp_pipeline_tests.published import published

# the header of OASIS' file PUB_BID_DAM, version 3
OASIS_COLUMNS = [
    "STARTTIME",
    "STOPTIME",
    "STARTTIME_GMT",
    "STOPTIME_GMT",
    "STARTDATE",
    "MARKET_RUN_ID",
    "RESOURCE_TYPE",
    "SCHEDULINGCOORDINATOR_SEQ",
    "RESOURCEBID_SEQ",
    "TIMEINTERVALSTART",
    "TIMEINTERVALEND",
    "TIMEINTERVALSTART_GMT",
    "TIMEINTERVALEND_GMT",
    "PRODUCTBID_DESC",
    "PRODUCTBID_MRID",
    "MARKETPRODUCT_DESC",
    "MARKETPRODUCTTYPE",
    "SELFSCHEDMW",
    "SCH_BID_TIMEINTERVALSTART",
    "SCH_BID_TIMEINTERVALSTOP",
    "SCH_BID_TIMEINTERVALSTART_GMT",
    "SCH_BID_TIMEINTERVALSTOP_GMT",
    "SCH_BID_XAXISDATA",
    "SCH_BID_Y1AXISDATA",
    "SCH_BID_Y2AXISDATA",
    "SCH_BID_CURVETYPE",
    "MINEOHSTATEOFCHARGE",
    "MAXEOHSTATEOFCHARGE",
]


@pytest.fixture(scope="module")
def data(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(solved_day(prosumers=30), tmp_path_factory.mktemp("it's a desk"))


def run(data: Path, *arguments: str) -> int:
    command, *others = arguments
    return main([command, "--data", str(data), *others])


def test_a_question_is_answered_as_a_table(data: Path, capsys: pytest.CaptureFixture[str]):
    question = "select product, count(*) as n, 0.5 as half, null as nothing from market.opportunities group by 1"
    assert run(data, "sql", question) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    assert lines[0] == ["product", "n", "half", "nothing"]
    assert ["energy", "24", "0.5"] in lines
    assert lines[-1] == ["3", "rows"]


def test_long_answers_are_cut_and_say_so(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(data, "sql", "--rows", "2", "select '[b]' || range as n from range(5)") == 0
    shown = capsys.readouterr().out
    assert "[b]1" in shown
    assert "[b]2" not in shown
    assert "5 rows, 2 of them shown (--rows 0 shows all)" in shown


def test_an_answer_in_json_is_whole_and_alone_on_the_standard_output(data: Path, capsys: pytest.CaptureFixture[str]):
    question = """
        select 1 / 3 as third, 'nan'::double as nothing, 1.25::decimal(4, 2) as cents, date '2023-08-15' as day,
               timestamptz '2023-08-15 07:00:00+00' as moment, [1, 2] as several, null as none_at_all
    """
    assert run(data, "sql", "--json", question) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["third"] == 1 / 3
    assert (row["nothing"], row["none_at_all"], row["cents"], row["several"]) == (None, None, 1.25, [1, 2])
    assert row["day"] == "2023-08-15"
    assert datetime.fromisoformat(row["moment"]) == datetime(2023, 8, 15, 7, tzinfo=UTC)
    assert run(data, "sql", "--json", "select range as n from range(101)") == 0
    assert len(json.loads(capsys.readouterr().out)) == 101
    assert run(data, "sql", "--json", "--rows", "2", "select range as n from range(5)") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [{"n": 0}, {"n": 1}]
    assert shown.err == "warning: 5 rows, 2 of them printed (--rows 0 prints all)\n"


def test_two_columns_of_one_name_are_no_json(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(data, "sql", "--json", "select 1 as n, 2 as n") == 2
    assert "two columns of one name (value n)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("selec 1", "syntax error"),
        ("select nothing from bids.final_bids", "nothing"),
        ("select * from '/etc/hostname'", "does not exist"),
    ],
)
def test_a_question_that_cannot_be_answered_ends_with_2(
    data: Path, question: str, words: str, capsys: pytest.CaptureFixture[str]
):
    assert run(data, "sql", question) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: the question cannot be answered: ")
    assert words in shown.err
    assert "explain.catalogue" in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("delete from bids.final_bids", "nothing is written (value delete). Ask one question that begins with select"),
        ("select 1; select 2", "nothing is written (value select, select). Ask one question"),
        ("explain delete from bids.final_bids", "nothing is written: Only SELECT"),
        ("select * from read_csv('/etc/hostname')", "may read the warehouse alone (value read_csv()). Its tables"),
    ],
)
def test_what_is_no_question_ends_with_2(data: Path, question: str, words: str, capsys: pytest.CaptureFixture[str]):
    assert run(data, "sql", question) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_an_answer_too_wide_to_read_is_written_line_by_line(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(data, "sql", "select * from fleet.prosumers limit 1") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["terminal_stored_kwh"] in [line[:1] for line in lines]
    assert ["store", "battery"] in lines or ["store", "ev"] in lines


def test_runs_of_a_day_are_listed_and_compared(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(data, "runs", "--date", str(DAY)) == 0
    assert "one run: nothing to compare" in capsys.readouterr().out
    assert run(data, "runs", "--date", "2023-08-20") == 2
    assert "no run of 2023-08-20 is kept" in capsys.readouterr().err


def test_without_the_screen_the_way_to_it_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("vpp_pipeline.cli.sql.project_folder", lambda: tmp_path)
    monkeypatch.setattr("vpp_pipeline.cli.sql.find_spec", lambda name: None)
    assert run(data, "screen") == 2
    assert "make screen" in capsys.readouterr().err
    assert run(tmp_path, "screen") == 2
    assert "there is no warehouse yet" in capsys.readouterr().err


def test_bids_are_exported_in_the_columns_of_oasis(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(data, "export", "--date", str(DAY), "--format", "csv") == 0
    file = data / "exports" / f"bids_oasis_{DAY}.csv"
    assert str(file) in capsys.readouterr().out
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == OASIS_COLUMNS
    assert {row["MARKETPRODUCTTYPE"] for row in rows} <= {"EN", "SR", "NR"}
    with duckdb.connect(str(data / "vpp.duckdb"), read_only=True) as connection:
        bids = dict(
            connection.execute("select bid_id, total_capacity_mw from bids.final_bids where status = 'bid'").fetchall()
        )
    offered: dict[str, float] = {}
    for row in rows:
        offered[row["PRODUCTBID_MRID"]] = max(offered.get(row["PRODUCTBID_MRID"], 0.0), float(row["SCH_BID_XAXISDATA"]))
    assert offered == pytest.approx(bids)


def test_bids_are_exported_as_a_json_document_each(data: Path, tmp_path: Path):
    assert run(data, "export", "--date", str(DAY), "--format", "json", "--out", str(tmp_path / "bids")) == 0
    document = json.loads((tmp_path / "bids" / "energy_20230815_1200.json").read_text())
    assert document["opportunity_id"] == "energy_20230815_1200"


@pytest.mark.parametrize("table", ["fleet.prosumers", "explain.earnings"])
def test_any_table_or_view_is_exported_as_parquet(data: Path, tmp_path: Path, table: str):
    file = tmp_path / "folder" / "it's.parquet"
    assert run(data, "export", "--date", str(DAY), "--format", "parquet", "--table", table, "--out", str(file)) == 0
    with duckdb.connect() as connection:
        assert connection.execute("select count(*) from read_parquet($1)", [str(file)]).fetchall() == [(30,)]
    assert [other.name for other in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--table", "bids.nothing"],
            "no such table or view in the warehouse (value bids.nothing). It has bids.bid_segments",
        ),
        (["--table", "bids.final_bid"], "in the warehouse; did you mean bids.final_bids? It has bids.bid_segments"),
        (["--date", "2023-08-20"], "no bids of 2023-08-20"),
        (["--out", "/dev/null/file.parquet"], "cannot be written"),
    ],
)
def test_an_export_that_cannot_be_made_ends_with_2(
    data: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    assert run(data, "export", "--date", str(DAY), "--format", "parquet", *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_report_is_written_where_it_is_asked_for(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "reports of a day" / "day.html"
    assert run(data, "report", "--date", str(DAY), "--out", str(file)) == 0
    assert capsys.readouterr().out == f"report: {file}\n"
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run(data, "report", "--date", "2023-08-20") == 2
    assert run(data, "report", "--date", str(DAY), "--out", "/dev/null/day.html") == 2
