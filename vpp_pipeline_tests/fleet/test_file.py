"""A user's fleet: which files are read, and how rows that cannot take part are kept while the others go on."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.fleet.file import check_fleet, read_fleet
from vpp_pipeline.fleet.quarantine import LoadedFleet, check_share, first_problem, set_aside
from vpp_pipeline.schemas import Prosumers, Quarantine
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.fleet.fleet_rows import DAY, EXAMPLE, FLEET, PLACE, ROWS, Row, load, spoilt, text_of, told

LINES = text_of(ROWS).splitlines()


def refused(folder: Path, content: list[Row] | str) -> str:
    with pytest.raises(InputError) as error:
        load(folder, content)
    assert str(folder / "fleet.csv") in str(error.value)
    return str(error.value)


def test_the_example_shows_every_column_and_loads_whole():
    loaded = read_fleet(EXAMPLE, DAY)
    assert (loaded.prosumers.height, loaded.quarantine.height) == (14, 0)
    assert list(ROWS[0]) == [name for name in Prosumers.column_names() if name != "market_date"]
    assert EXAMPLE.read_text().startswith("# A made-up fleet, written by hand")
    assert set(loaded.prosumers["store"]) == {"battery", "ev", "none"}
    wishes = ["quiet_hours", "no_charge_hours", "no_export_hours", "opt_out_days", "ev_ready_hour", "note"]
    assert [name for name in wishes if loaded.prosumers[name].null_count() == 14] == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_written_fleet_reads_back_the_same(tmp_path: Path, suffix: str):
    path = tmp_path / f"fleet.{suffix}"
    getattr(FLEET, f"write_{suffix}")(path)  # with its market_date, which is passed over
    loaded = read_fleet(path, DAY)
    assert loaded.prosumers.equals(FLEET)
    assert loaded.quarantine.is_empty()
    assert read_fleet(path, date(2024, 1, 3)).prosumers["market_date"].unique().to_list() == [date(2024, 1, 3)]


def test_lines_are_counted_as_an_editor_shows_them(tmp_path: Path):
    bad = [line.replace(",13.5,", ",x,") for line in LINES]
    text = "\n".join(
        ["# one", '"# two, as a spreadsheet saves it",,', bad[0], "# three", "", bad[1], *LINES[2:8], ",,,", bad[8]]
    )
    assert [reason[:3] for reason in told(load(tmp_path, text))] == [
        (6, "capacity_kwh", "x"),
        (14, "capacity_kwh", "x"),
    ]
    windows = load(tmp_path, text.replace("\n", "\r\n"))
    assert windows.quarantine["file_row"].to_list() == [6, 14]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path):
    assert load(tmp_path, "\ufeff" + text_of(ROWS)).prosumers.equals(FLEET)


def test_lines_that_are_no_rows_are_set_aside_under_their_own_numbers(tmp_path: Path):
    lines = list(LINES)
    lines[1] += ",extra"
    lines[2] = lines[2].rpartition(",")[0]
    lines[3] = lines[3].replace('"Please', '"Please\n')
    lines[5] += 'a "word" in quotes'
    lines[6] += '"word" in quotes'
    loaded = load(tmp_path, "\n".join(lines))
    width = len(ROWS[0])
    quotes = "quotes that do not enclose a cell"
    halves = lines[3].split("\n")
    assert told(loaded) == [
        (2, "the whole row", f"{width + 1} cells", f"more cells than the {width} columns"),
        (3, "the whole row", f"{width - 1} cells", f"fewer cells than the {width} columns"),
        (4, "the whole row", halves[0], quotes),
        (5, "the whole row", halves[1], quotes),
        (7, "the whole row", lines[5], quotes),
        (8, "the whole row", lines[6], quotes),
    ]
    assert loaded.quarantine["prosumer_id"].to_list()[:3] == ["elm_1_battery", "elm_1_ev", "elm_4_battery"]
    assert json.loads(loaded.quarantine["row_json"][0]) == {"line": lines[1]}
    assert loaded.prosumers.equals(
        FLEET.filter(~pl.col("prosumer_id").is_in([ROWS[k]["prosumer_id"] for k in (0, 1, 2, 4, 5)]))
    )


BAD = {
    "capacity_kwh": ["large", "", "-1", "nan", "inf"],
    "store": ["", "tank"],
    "has_v2g": ["maybe"],
    "ev_ready_hour": ["25", "7.5"],
    "quiet_hours": ["5-5", "21-25"],
    "opt_out_days": ["someday", "2023-02-30"],
    "prosumer_id": [""],
}
CELL = st.sampled_from([(column, value) for column, values in BAD.items() for value in values])


@tries(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spoils=st.lists(st.tuples(st.integers(0, len(ROWS) - 2), CELL), max_size=25),
    twice=st.lists(st.integers(0, len(ROWS) - 2), max_size=3),
    order=st.permutations(range(len(ROWS))),
)
def test_nothing_is_lost_and_good_rows_stay_as_they_are(
    tmp_path: Path, spoils: list[tuple[int, tuple[str, str]]], twice: list[int], order: list[int]
):
    rows = [dict(row) for row in ROWS]
    for place, (column, value) in spoils:
        rows[place][column] = value
    rows = [rows[place] for place in order] + [dict(rows[place]) for place in twice]
    ids = [row["prosumer_id"] for row in rows]
    is_bad = [row not in ROWS or ids.count(row["prosumer_id"]) > 1 for row in rows]
    loaded = load(tmp_path, rows)
    good = [row["prosumer_id"] for row, bad in zip(rows, is_bad, strict=True) if not bad]
    assert loaded.prosumers.equals(FLEET.filter(pl.col("prosumer_id").is_in(good)))
    aside = {row: json.loads(text) for row, text in loaded.quarantine.select("file_row", "row_json").iter_rows()}
    assert aside == {
        place + 2: {name: cell or None for name, cell in row.items()}
        for place, (row, bad) in enumerate(zip(rows, is_bad, strict=True))
        if bad
    }


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        ({"quiet_hours": "quite_hours"}, ["column quite_hours)", "Instead of quite_hours, did you mean quiet_hours?"]),
        (
            {"quiet_hours": "quiet_start_hour", "no_charge_hours": "quiet_end_hour", "opt_out_days": "opt_out_weekday"},
            [
                "quiet_start_hour, did you mean quiet_hours?",
                "quiet_end_hour, did you mean quiet_hours?",
                "opt_out_weekday, did you mean opt_out_days?",
            ],
        ),
        ({"note": "colour of the door"}, ["column colour of the door)", "begins with x_ or _"]),
        ({"note": ""}, ["column (without a name))"]),
        ({"capacity_kwh": "Capacity kWh"}, ["column Capacity kWh)", "did you mean capacity_kwh?"]),
        ({"note": "store"}, ["come twice", "column store)"]),
        ({"capacity_kwh": "x_capacity", "store": "_store"}, ["missing", "column store, capacity_kwh)"]),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, renamed: dict[str, str], words: list[str]):
    header = ",".join(renamed.get(name, name) for name in LINES[0].split(","))
    message = refused(tmp_path, "\n".join([header, *LINES[1:]]))
    assert [word for word in words if word not in message] == []


def test_columns_of_the_users_own_are_kept_but_not_read(tmp_path: Path):
    rows = [row | {"x_customer": "17", "_roof": "flat"} for row in spoilt("elm_1_ev", capacity_kwh="x")]
    loaded = load(tmp_path, rows)
    assert loaded.prosumers.columns == FLEET.columns
    kept = json.loads(loaded.quarantine["row_json"][0])
    assert (kept["x_customer"], kept["_roof"], kept["capacity_kwh"]) == ("17", "flat", "x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["an empty file of the fleet"]),
        ("# nothing but a comment\n", ["an empty file of the fleet"]),
        (LINES[0], ["holds no prosumer"]),
        (
            text_of([row | {"store": "tank"} for row in ROWS]),
            ["none of the 14 rows", "14 rows) store: not one of", "row 2"],
        ),
        (
            text_of([{name: cell for name, cell in row.items() if name != "store"} for row in ROWS]),
            ["missing", "column store)"],
        ),
    ],
)
def test_a_file_without_a_usable_row_is_refused(tmp_path: Path, content: str, words: list[str]):
    message = refused(tmp_path, content)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("name", ["fleet.csv", "fleet.parquet"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str):
    path = tmp_path / name
    with pytest.raises(InputError, match="does not exist"):
        read_fleet(path, DAY)
    path.write_bytes(b"PK\x03\x04\xff\xfe, a spreadsheet")
    with pytest.raises(InputError, match=r"cannot be read.*CSV UTF-8"):
        read_fleet(path, DAY)


def test_a_parquet_file_is_held_to_the_same(tmp_path: Path):
    path = tmp_path / "fleet.parquet"
    spoil = pl.int_range(pl.len()) == 3
    rows = FLEET.with_columns(
        capacity_kwh=pl.when(spoil).then(float("nan")).otherwise("capacity_kwh"),
        ev_ready_hour=pl.when(spoil).then(7.5).otherwise("ev_ready_hour"),
        x_list=pl.lit([1, 2]),
        x_bytes=pl.lit(b"\xff"),
    )
    rows.write_parquet(path)
    loaded = read_fleet(path, DAY)
    assert told(loaded) == [
        (5, "capacity_kwh", "NaN", "not a finite number"),
        (5, "ev_ready_hour", "7.5", "not a whole number"),
    ]
    kept = json.loads(loaded.quarantine["row_json"][0])
    assert (kept["capacity_kwh"], kept["x_list"], kept["x_bytes"]) == ("NaN", "[1, 2]", r"b'\xff'")
    assert loaded.prosumers.equals(FLEET.filter(~spoil))
    for no_number in (DAY, True, "12 kWh"):
        with pytest.raises(InputError, match=r"14 rows\) capacity_kwh: not a number"):
            check_fleet(FLEET.with_columns(capacity_kwh=pl.lit(no_number)), DAY, path)
    with pytest.raises(InputError, match="neither text nor numbers"):
        check_fleet(FLEET.with_columns(note=pl.lit([1])), DAY, path)


def test_the_first_problem_names_place_and_remedy(tmp_path: Path):
    loaded = load(tmp_path, spoilt("oak_2_battery", capacity_kwh="large", patience="0"))
    assert str(first_problem(loaded, "here.csv")) == (
        "oak_2_battery: not a number (file here.csv, row 7, column capacity_kwh, value large). "
        "Write a number alone, with a point for decimals and no unit"
    )


def test_too_large_a_share_in_quarantine_stops_the_run(tmp_path: Path):
    rows = [row | {"quiet_hours": "5-5"} if k in (2, 5, 6) else row for k, row in enumerate(ROWS)]
    loaded = load(tmp_path, [ROWS[0] | {"store": "", "patience": "-1"}, *rows[1:]])
    check_share(loaded, 4 / 14, tmp_path)
    with pytest.raises(InputError) as error:
        check_share(loaded, 0.2, "fleet.csv")
    assert str(error.value).startswith(
        "4 of 14 rows of the fleet cannot take part, at most 20% may; most often (3 rows) quiet_hours: a window "
        "without an hour; the first of these, elm_4_battery: a window without an hour "
        "(file fleet.csv, row 4, column quiet_hours, value 5-5). "
    )
    assert "raise fleet.quarantine_limit_fraction" in str(error.value)


REASON = {
    "column_name": "ev_ready_fraction, terminal_stored_kwh",
    "problem": "holds 4.2 of 5 kWh",
    "remedy": "Lower them",
}


def test_problems_that_differ_in_their_numbers_are_one_kind():
    some = [{"prosumer_id": who} | REASON for who in FLEET["prosumer_id"][:5]]
    reasons = pl.DataFrame([reason | {"problem": f"holds {k}.2 kWh"} for k, reason in enumerate(some)])
    reasons = pl.concat([reasons, reasons.head(2).with_columns(problem=pl.lit("of no use"))])
    with pytest.raises(
        InputError, match=r"5 of 14 .* \(5 rows\) ev_ready_fraction, terminal_stored_kwh: holds 0.2 kWh"
    ):
        check_share(set_aside(LoadedFleet(FLEET), reasons, "generated"), 0.29, "generated")


def test_prosumers_are_set_aside_with_their_original_rows(tmp_path: Path):
    before = load(tmp_path, "# a comment\n" + text_of(spoilt("elm_1_ev", capacity_kwh="x")))
    after = set_aside(before, pl.DataFrame([{"prosumer_id": "oak_8_ev"} | REASON]), tmp_path / "fleet.csv")
    line = PLACE["oak_8_ev"] + 3
    assert told(after)[1:] == [(line, REASON["column_name"], "0.75, 40", REASON["problem"])]
    reason = after.quarantine.row(1, named=True)
    assert (reason["remedy"], reason["file"], reason["market_date"]) == ("Lower them", "fleet.csv", DAY)
    assert json.loads(reason["row_json"])["ev_ready_fraction"] == "0.75"
    assert after.prosumers.equals(before.prosumers.filter(pl.col("prosumer_id") != "oak_8_ev"))
    assert set_aside(before, after.quarantine.clear(), "fleet.csv") is before
    with pytest.raises(ValueError, match="elm_1_ev is to be set aside but is not in the fleet"):
        set_aside(before, pl.DataFrame([{"prosumer_id": "elm_1_ev"} | REASON]), "fleet.csv")


def test_a_generated_fleet_counts_its_rows_by_position_from_two():
    loaded = LoadedFleet(FLEET)
    for place in (7, 3):
        who = FLEET["prosumer_id"][place]
        loaded = set_aside(loaded, pl.DataFrame([{"prosumer_id": who} | REASON]), "generated")
    assert loaded.quarantine["file_row"].to_list() == [5, 9]
    assert set(loaded.quarantine["file"]) == {"generated"}
    assert Quarantine.is_valid(loaded.quarantine)
    assert Prosumers.is_valid(loaded.prosumers)
