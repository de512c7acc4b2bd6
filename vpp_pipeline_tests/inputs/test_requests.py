"""The file of requests: what is read, and what a wrong one is told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.inputs.requests import LAYOUT, read_requests

EMBEDDED = Path(__file__).resolve().parents[2] / "data" / "opportunities.csv"


def _file(folder: Path, *rows: str) -> Path:
    path = folder / "requests.csv"
    path.write_text("\n".join(["# a comment", LAYOUT, *rows]) + "\n")
    return path


def test_embedded_file_holds_the_originals_example():
    assert read_requests(EMBEDDED).rows() == [("energy", datetime(2023, 8, 15, 19, tzinfo=UTC), 1, 2.0, 85.0)]


def test_a_spreadsheet_s_mark_of_utf_8_is_passed_over(tmp_path: Path):
    path = tmp_path / "requests.csv"
    path.write_text(f"{LAYOUT}\nenergy,2023-08-15T12:00,1,2.0,85\n", encoding="utf-8-sig")
    assert read_requests(path).height == 1


def test_a_file_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path):
    path = tmp_path / "requests.csv"
    path.write_text(f"# Anfrage für Dienstag\n{LAYOUT}\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"not text in UTF-8.*Save it again as CSV"):
        read_requests(path)


def test_no_file_is_no_request():
    assert read_requests(None).height == 0


@pytest.mark.parametrize(
    ("start", "utc_hour"),
    [
        ("2023-08-15T12:00", 19),
        ("2023-12-15T12:00", 20),
        ("2023-08-15T12:00+00:00", 12),
        ("2023-08-15 12:00-07:00", 19),
    ],
)
def test_times_are_pacific_unless_they_say_otherwise(tmp_path: Path, start: str, utc_hour: int):
    assert read_requests(_file(tmp_path, f"spin,{start},2,0.6,9.5"))["start_utc"][0].hour == utc_hour


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("water,2023-08-15T12:00,1,2.0,85", "product", "water"),
        ("energy,noon,1,2.0,85", "start", "noon"),
        ("energy,2023-08-15T12:30,1,2.0,85", "start", "2023-08-15T12:30"),
        ("energy,9999-12-31T23:00,1,2.0,85", "start", "9999-12-31T23:00"),
        ("energy,0001-01-01T00:00+09:00,1,2.0,85", "start", "0001-01-01T00:00+09:00"),
        ("energy,2023-08-15T12:00,1.5,2.0,85", "duration_hours", "1.5"),
        ("energy,2023-08-15T12:00,0,2.0,85", "duration_hours", "0"),
        ("energy,2023-08-15T12:00,1,-2,85", "required_capacity_mw", "-2"),
        ("energy,2023-08-15T12:00,1,nan,85", "required_capacity_mw", "nan"),
        ("energy,2023-08-15T12:00,1,2.0,dear", "offered_price_usd_per_mwh", "dear"),
    ],
)
def test_a_wrong_cell_is_named_with_file_row_column_and_value(tmp_path: Path, row: str, column: str, value: str):
    path = _file(tmp_path, "energy,2023-08-14T12:00,1,2.0,85", row)
    with pytest.raises(InputError) as error:
        read_requests(path)
    for part in (str(path), "row 4", f"column {column}", f"value {value}"):
        assert part in str(error.value)


def test_a_wrong_header_a_short_row_and_a_missing_file_are_refused(tmp_path: Path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="unknown columns"):
        read_requests(tmp_path / "other.csv")
    with pytest.raises(InputError, match="3 cells instead of 5"):
        read_requests(_file(tmp_path, "energy,2023-08-15T12:00,1"))
    with pytest.raises(InputError, match="does not exist"):
        read_requests(tmp_path / "none.csv")
