"""One reader for all tables: dialects are read, rows counted as editors count them, and nothing is guessed."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import date, datetime
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.table_file import check_columns, files_of, read_table, read_tables
from vpp_pipeline_tests.cases import tries

HEADER, ROWS = ("name", "power_kw", "hours"), (("a", "1.5", "0-7, 21-23"), ("b", "20", ""))
PLAIN = 'name,power_kw,hours\na,1.5,"0-7, 21-23"\nb,20,\n'


def rows_of(path: Path) -> list[tuple[str | None, ...]]:
    return read_table(path, "things").whole().rows.rows()


def written(folder: Path, content: bytes | str, name: str = "things.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(folder: Path, content: bytes | str, name: str = "things.csv") -> str:
    path = written(folder, content, name)
    with pytest.raises(InputError) as error:
        read_table(path, "things").whole()
    assert f"file {path}" in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def workbook(*sheets: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"sheet {number}")
        for row in rows:
            sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.csv", text)
    return content.getvalue()


SEMICOLONS = "name;power_kw;hours\r\na;1.5;0-7, 21-23\r\nb;20;\r\n"
DIALECTS: dict[str, bytes] = {
    "UTF-8": PLAIN.encode(),
    "byte-order mark": PLAIN.encode("utf-8-sig"),
    "UTF-16, little end first": PLAIN.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "lines of Windows": PLAIN.replace("\n", "\r\n").encode(),
    "lines of old Macs": PLAIN.replace("\n", "\r").encode(),
    "no last line break": PLAIN.rstrip().encode(),
    "semicolons": SEMICOLONS.encode(),
    "tabs": SEMICOLONS.replace(";", "\t").encode("utf-16"),
    "bars": SEMICOLONS.replace(";", "|").encode(),
    "Excel's line of the separator": f"sep=;\r\n{SEMICOLONS}".encode(),
    "every cell in quotes": b'"name","power_kw","hours"\n"a","1.5","0-7, 21-23"\n"b","20",""\n',
    "columns without name and cells": b'name,power_kw,hours,,\na,1.5,"0-7, 21-23",,\nb,20,,,\n',
    "comments and empty rows": f'# für mich\n"# with, comma",,\n\n{PLAIN},,\n#end\n'.encode("latin-1"),
    "gzip": gzip.compress(PLAIN.encode()),
    "zip": zipped(things=PLAIN),
    "workbook": workbook([["# mine"], [], [*HEADER], ["a", 1.5, "0-7, 21-23"], [None, " "], ["b", 20.0]], []),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_usual_dialect_says_the_same(tmp_path: Path, dialect: str):
    table = read_table(written(tmp_path, DIALECTS[dialect]), "things").whole()
    assert table.rows.columns == list(HEADER)
    assert table.rows.fill_null("").rows() == list(ROWS)


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (b"# one\n\nname\na\n# two\nb\n", [4, 6]),
        (b"# one\r\n\r\nname\r\na\r\n# two\r\nb\r\n", [4, 6]),
        (b"# one\r\rname\ra\r# two\rb\r", [4, 6]),
        (b"sep=,\nname,x\na,\nb,\n", [3, 4]),
        (workbook([[], ["# one"], ["name"], ["a"], [], ["b"]]), [4, 6]),
    ],
)
def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path, content: bytes, numbers: list[int]):
    table = read_table(written(tmp_path, content), "things")
    assert table.numbers.to_list() == numbers
    assert table.numbered.select("file", "row").row(0) == (str(tmp_path / "things.csv"), numbers[0])


def test_comments_above_the_header_are_kept(tmp_path: Path):
    assert read_table(written(tmp_path, "# source: synthetic\n" + PLAIN), "things").comments == ("# source: synthetic",)
    book = written(tmp_path, workbook([["# source: synthetic"], ["name"], ["a"]]))
    assert read_table(book, "things").comments == ("# source: synthetic",)


def test_a_cell_that_a_spreadsheet_could_not_compute_is_no_comment(tmp_path: Path):
    assert rows_of(written(tmp_path, "name,x\n#N/A,1\n#REF!,2\n#no,3\n")) == [("#N/A", "1"), ("#REF!", "2")]
    assert rows_of(written(tmp_path, workbook([["name", "x"], ["#N/A", 1], ["#DIV/0!", 2]]))) == [
        ("#N/A", "1"),
        ("#DIV/0!", "2"),
    ]


def test_cells_of_a_workbook_keep_their_digits_and_days_stay_days(tmp_path: Path):
    cells = [0.1 + 0.2, 1e22, -3.0, True, datetime(2023, 8, 15, 7), date(2023, 8, 15), 12345678901234]
    book = written(tmp_path, workbook([[f"c{k}" for k in range(len(cells))], cells]))
    assert rows_of(book) == [("0.3", "1e+22", "-3", "true", "2023-08-15T07:00:00", "2023-08-15", "12345678901234")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["an empty file of things"]),
        (b"# only a comment\n\n,,,\n", ["an empty file of things"]),
        (workbook([], []), ["an empty file of things"]),
        ("name\nMüller\n".encode("cp1252"), ["row 2", "a byte fc, which is ü in Windows-1252", "CSV UTF-8"]),
        (PLAIN.encode("utf-16-le"), ["zero bytes", "CSV UTF-8"]),
        (b"\xff\xfen\x00a", ["not readable as text in UTF-16"]),
        (b"\x1f\x8b broken", ["gzip"]),
        (b"PK\x03\x04 broken", ["torn archive or workbook", "CSV UTF-8"]),
        (b"\xd0\xcf\x11\xe0 old", ["old kind, or one with a password"]),
        (b"PAR1 broken", ["not a readable Parquet file"]),
        (b"<html><body>429</body></html>", ["a web page or XML"]),
        (zipped(), ["without a CSV file"]),
        (zipped(one=PLAIN, two=PLAIN), ["2 tables in one archive"]),
        (workbook([["name"], ["a"]], [["other"], ["b"]]), ["2 sheets", "value sheet 0, sheet 1", "Keep one sheet"]),
        (workbook([["name", "x"], ["a", "=1+1"]]), ["a formula without its value", "row 2, column B, value =1+1"]),
        (b"name,name\na,b\n", ["come twice", "row 1, column name"]),
        (b"name,,\na,b,c\n", ["2 columns without a name", "row 1"]),
        (b"name,x\na\n", ["1 columns where the header has 2", "row 2", "value a"]),
        (b"name,x\na,b,c\n", ["3 columns where the header has 2", "row 2"]),
        (b'name,x\na,"b\nc"\n', ["quotes that do not enclose a cell", "row 2"]),
        (workbook([["name"], ["a", "b"]]), ["2 columns where the header has 1", "row 2"]),
    ],
)
def test_what_is_no_table_is_refused_in_one_paragraph(tmp_path: Path, content: bytes, words: list[str]):
    message = refused(tmp_path, content)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("n;x;y\na;13,5;-0,25\nb;20;1,25e3\n", [("13.5", "-0.25"), ("20", "1.25e3")]),
        ("n;x;y\na;13,5;1,500\n", [("13.5", "1.500")]),  # the first tells what the second means
        ("n;x;y\na;0,125;7\n", [("0.125", "7")]),  # no group of thousands begins with a zero
        ("n\tx\ty\na\t13.5\t7\n", [("13.5", "7")]),
        ("n;x;y\na;1;n/a\n", [("1", "n/a")]),
        ('n,x,y\na,"13,5",7\n', [("13,5", "7")]),  # between commas a comma is no decimal sign: no number
    ],
)
def test_decimal_commas_become_points_where_they_can_be_nothing_else(
    tmp_path: Path, text: str, numbers: list[tuple[str, str]]
):
    table = read_table(written(tmp_path, text), "things").with_decimal_points(["x", "y", "z"])
    assert table.rows.select("x", "y").rows() == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n;x;y\na;13,5;1.000\n", "others with a point, such as 1.000 (file {}, row 2, column x, value 13,5)"),
        ("n;x;y\na;1,500;2,000\n", "may group thousands (file {}, row 2, column x, value 1,500)"),
        ("n\tx\ty\na\t1\t2\nb\t7\t13.500\n", "may group thousands (file {}, row 3, column y, value 13.500)"),
    ],
)
def test_numbers_that_two_countries_read_differently_are_refused(tmp_path: Path, text: str, words: str):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_table(path, "things").with_decimal_points(["x", "y"])
    assert words.format(path) in str(error.value)


def test_text_keeps_its_commas(tmp_path: Path):
    table = read_table(written(tmp_path, "note;x\n3,5;13,5\n"), "things").with_decimal_points(["x"])
    assert table.rows.rows() == [("3,5", "13.5")]


@tries(100)
@given(
    cells=st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]))), min_size=1)
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str]]):
    """As CSV with every cell in quotes, and as a workbook, whatever letters a cell holds."""
    frame = pl.DataFrame({"name": [cell for (cell,) in cells], "x": [f"{k}" for k in range(len(cells))]})
    path = tmp_path_factory.mktemp("drawn") / "things.csv"
    frame.write_csv(path, quote_style="always")
    wanted = [row for row in frame.rows() if not row[0].startswith("#")]
    assert read_table(path, "things").whole().rows.fill_null("").rows() == wanted


def test_a_parquet_file_keeps_its_types_and_counts_from_two(tmp_path: Path):
    pl.DataFrame({"name": ["a"], "x": [1.5]}).write_parquet(tmp_path / "things.parquet")
    table = read_table(tmp_path / "things.parquet", "things").with_decimal_points(["x"])
    assert (table.rows.rows(), table.numbers.to_list()) == ([("a", 1.5)], [2])


def test_a_folder_and_an_archive_hold_several_tables(tmp_path: Path):
    written(tmp_path, PLAIN, "a.csv")
    written(tmp_path, zipped(one=PLAIN, two=PLAIN, **{"__MACOSX/._one": "\x00"}), "b.zip")
    for name in ("LICENSE.txt", "~$b.xlsx", "._a.csv"):
        written(tmp_path, "not a table\x00", name)
    names = [table.name.removeprefix(f"{tmp_path}/") for table in read_tables(tmp_path, "things")]
    assert names == ["a.csv", "b.zip/one.csv", "b.zip/two.csv"]
    (tmp_path / "c.parquet").touch()
    with pytest.raises(InputError, match="with both CSV and Parquet files of things"):
        files_of(tmp_path, "things")
    with pytest.raises(InputError, match="no such file or directory of things"):
        files_of(tmp_path / "none", "things")


def test_wrong_columns_are_named_with_the_one_that_is_meant():
    with pytest.raises(InputError, match=r"unknown columns .* column Power kW\).* did you mean power_kw\?"):
        check_columns(["name", "Power kW", "x_mine", "_own"], HEADER, HEADER, "things", "f.csv")
    with pytest.raises(InputError, match=r"columns are missing .*row 3, column hours"):
        check_columns(["name", "power_kw"], HEADER, HEADER, "things", "f.csv", 3)
