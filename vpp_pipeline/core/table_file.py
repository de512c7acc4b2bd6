"""One reader for every table that people bring: CSV of any usual dialect, XLSX, Parquet, and these in gzip or zip.

Cells of text files stay text, exactly as written, so that nothing is repaired on the way; the caller turns them into
numbers and moments (`core/table_cells.py`) and names file, row, column and value of the first that it cannot use. Rows
are counted as a text editor or a spreadsheet counts them; in Parquet the first row is 2, as after a header.

Told apart by content, not by name: Parquet, XLSX, zip, gzip, text. Text may be UTF-8 or UTF-16 and UTF-32 with a
byte-order mark; a byte of another encoding is passed over in a comment and refused elsewhere, since Windows-1252 and
its likes cannot be told apart. The separator, one of `, ; | tab`, is that of the header. Lines that begin with ``#``
and empty ones are left out but counted.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl

from vpp_pipeline.core.errors import InputError

PARQUET = (".parquet",)
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".xlsx", ".zip")
HIDDEN = (".", "~$")  # what systems and open spreadsheets leave beside files
OWN = ("_", "x_")  # columns that begin so are the user's own
LARGEST_BYTES = 2_000_000_000  # of one archive, unpacked

_SAVE = "Save it again as CSV (in a spreadsheet: CSV UTF-8), XLSX or Parquet"
_MARKS = (  # the longer one first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = (",", ";", "\t", "|")
_COMMENT = r'^"?#'  # a spreadsheet puts quotes around a comment that holds a comma
_ERROR = r'^"?#(N/A|REF!|DIV/0!|VALUE!|NAME\?|NUM!|NULL!|SPILL!|CALC!)'  # a cell that a spreadsheet could not compute
_NAMED_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)  # Excel's own line above a header
_MARK = "\x01"  # stands for a cell between quotes
_FRACTION = r"^[+-]?(\d+)[.,](\d+)([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"  # 1,500 is 1.5 in one country and 1500 in another
_BROKEN = {"row": pl.Int32, "line": pl.String, "cells": pl.UInt32, "misquoted": pl.Boolean}


@dataclass(frozen=True)
class TableFile:
    """One table as it was read.

    ``name``: the file, as messages name it; ``rows``: its columns, text unless the file is Parquet; ``numbers``: the
    row number of each; ``broken``: lines that do not split into the columns, with ``row``, ``line``, ``cells`` and
    whether they are ``misquoted``; ``comments``: the lines above the header.
    """

    name: str
    rows: pl.DataFrame
    numbers: pl.Series
    header_row: int = 1
    comments: tuple[str, ...] = ()
    separator: str | None = None
    broken: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_BROKEN))

    @property
    def numbered(self) -> pl.DataFrame:
        """The rows with their file and number, as the columns ``file`` and ``row``."""
        own = self.rows.drop("file", "row", strict=False)
        return own.select(pl.lit(self.name).alias("file"), self.numbers.cast(pl.UInt32).alias("row"), pl.all())

    def whole(self) -> TableFile:
        """The table itself. Raises InputError for the first line that does not split into the columns."""
        for line in self.broken.sort("row").head(1).iter_rows(named=True):
            width = self.rows.width
            found = "quotes that do not enclose a cell"
            raise InputError(
                found if line["misquoted"] else f"{line['cells']} columns where the header has {width}",
                file=self.name,
                row=line["row"],
                value=line["line"][:80],
                remedy="Put each row on one line, with one value for each column and quotes right around a cell.",
            )
        return self

    def with_decimal_points(self, names: Iterable[str]) -> TableFile:
        """The same with points in the numbers of the columns ``names``, where the file writes decimal commas.

        Only a file that separates by something else than commas can. Raises InputError where it writes both, or
        nothing tells a comma or point from one that groups thousands: a number is never guessed.
        """
        there = [name for name in names if self.rows.schema.get(name) == pl.String]
        if self.separator in (None, ",") or not there or self.rows.is_empty():
            return self
        text = self.rows.select(pl.col(there).str.strip_chars())
        cells = text.with_columns(row=self.numbers).unpivot(index="row", variable_name="column", value_name="value")
        fractions = cells.filter(pl.col("value").str.contains(_FRACTION)).sort("row", maintain_order=True)
        has_comma = pl.col("value").str.contains(",", literal=True)
        commas, points = fractions.filter(has_comma), fractions.filter(~has_comma)
        if commas.height and points.height:
            other = points.row(0, named=True)
            raise self._unclear(commas, f"numbers with a comma and others with a point, such as {other['value']}")
        if fractions.height and fractions["value"].str.contains(_THOUSANDS).all():
            raise self._unclear(fractions, "three digits behind each comma or point, which may group thousands")
        if commas.is_empty():
            return self
        is_fraction = pl.col(there).str.strip_chars().str.contains(_FRACTION)
        pointed = pl.col(there).str.replace(",", ".", literal=True)
        return replace(self, rows=self.rows.with_columns(pl.when(is_fraction).then(pointed).otherwise(pl.col(there))))

    def _unclear(self, cells: pl.DataFrame, problem: str) -> InputError:
        first = cells.row(0, named=True)
        return InputError(
            problem,
            file=self.name,
            row=first["row"],
            column=first["column"],
            value=first["value"],
            remedy="Write all numbers with a point for decimals and nothing between thousands.",
        )


def files_of(path: Path, what: str) -> list[Path]:
    """The files at ``path``, itself or a folder, in order of name; InputError if there are none, or of two kinds."""
    if not path.exists():
        raise InputError(f"no such file or directory of {what}", file=path, remedy="Check the path.")
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if not file.name.startswith(HIDDEN))
    text = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    parquet = [file for file in files if file.name.lower().endswith(PARQUET)]
    if bool(text) == bool(parquet):
        raise InputError(
            f"a directory {'with both CSV and Parquet files' if text else 'without files'} of {what}",
            file=path,
            remedy=f"Give one kind: {', '.join(SUFFIXES)}, or {PARQUET[0]}.",
        )
    return text or parquet


def read_tables(path: Path, what: str) -> list[TableFile]:
    """The tables at ``path``, a file or a folder, of which an archive may hold several; ``what`` they are tables of.

    Raises InputError for a file that cannot be read as a table.
    """
    return [table for file in files_of(path, what) for table in _tables_of(_bytes_of(file, what), str(file), what)]


def read_table(path: Path, what: str) -> TableFile:
    """The one table of a file. Raises InputError where it cannot be read or the file holds several."""
    if not path.is_file():
        raise InputError(
            f"the file of {what} does not exist", file=path, remedy="Name an existing CSV, XLSX or Parquet file"
        )
    tables = _tables_of(_bytes_of(path, what), str(path), what)
    if len(tables) > 1:
        raise InputError(
            f"{len(tables)} tables in one archive of {what}", file=path, remedy="Give the one that is meant"
        )
    return tables[0]


def check_columns(
    names: Sequence[str], known: Iterable[str], needed: Iterable[str], what: str, file: object, row: int | None = None
) -> None:
    """Raise InputError for columns that are neither known nor the user's own, and for needed ones that are missing.

    A misspelt column would be lost in silence, so the one that was probably meant is named.
    """
    layout = list(known)
    unknown = [name for name in names if name not in layout and not name.startswith(OWN)]
    if unknown:
        near = {name: get_close_matches(name.lower().replace(" ", "_"), layout, n=1) for name in unknown}
        meant = "".join(f"Instead of {name}, did you mean {match[0]}? " for name, match in near.items() if match)
        raise InputError(
            f"unknown columns in the file of {what}",
            file=file,
            row=row,
            column=", ".join(name or "(without a name)" for name in unknown),
            remedy=f"{meant}A column of your own begins with x_ or _; all others are {', '.join(layout)}",
        )
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(
            f"columns are missing in the file of {what}",
            file=file,
            row=row,
            column=", ".join(missing),
            remedy=f"Add them; the columns are {', '.join(layout)}",
        )


def _bytes_of(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"the file of {what} cannot be read: {error.strerror}", file=file, remedy="Let your user read it"
        ) from None


def _tables_of(content: bytes, name: str, what: str) -> list[TableFile]:
    """The tables in the bytes of a file, by what they are."""
    if content[:2] == b"\x1f\x8b":
        try:
            return _tables_of(gzip.decompress(content), name, what)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(what, name, f"not readable as text or gzip: {error}") from None
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _unpacked(content, name, what)
    if content[:4] == b"PAR1" or name.lower().endswith(PARQUET):
        return [_parquet(content, name)]
    if content[:4] == b"\xd0\xcf\x11\xe0":
        raise _unreadable(what, name, "a workbook of Excel's old kind, or one with a password")
    return [_text(content, name, what)]


def _unreadable(what: str, name: str, problem: str) -> InputError:
    return InputError(f"the file of {what} cannot be read, {problem}", file=name, remedy=_SAVE)


def _unpacked(content: bytes, name: str, what: str) -> list[TableFile]:
    """A workbook's table, or those of a zip's CSV files."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sum(entry.file_size for entry in entries) > LARGEST_BYTES:
                raise _unreadable(what, name, f"an archive of more than {LARGEST_BYTES:,} bytes")
            if "xl/workbook.xml" in names:
                sheets = [archive.read(entry) for entry in names if entry.startswith("xl/worksheets/")]
                has_formulas = any(re.search(rb"<f[ >]", sheet) for sheet in sheets)
                return [_workbook(content, has_formulas, name, what)]
            tables = [entry for entry in names if entry.lower().endswith((".csv", ".tsv"))]
            shown = [entry for entry in tables if not entry.rpartition("/")[2].startswith(HIDDEN)]
            members = [(entry, archive.read(entry)) for entry in shown]
    except InputError:
        raise
    except Exception as error:  # zipfile raises whatever a damaged byte leads to; all mean that it cannot be read
        raise _unreadable(what, name, f"a torn archive or workbook: {error}") from None
    if not members:
        raise InputError(
            f"an archive without a CSV file of {what}",
            file=name,
            value=", ".join(names[:5]),
            remedy="Give an archive of CSV files; OASIS sends CSV where resultformat=6 is asked for",
        )
    return [table for entry, inside in members for table in _tables_of(inside, f"{name}/{entry}", what)]


def _parquet(content: bytes, name: str) -> TableFile:
    try:
        rows = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"not a readable Parquet file: {error}", file=name, remedy="Write the file again.") from None
    return TableFile(name, rows, pl.int_range(2, rows.height + 2, dtype=pl.Int32, eager=True))


def _text(content: bytes, name: str, what: str) -> TableFile:
    """A table of text, line by line."""
    text = _decoded(content, name, what)
    if text.lstrip()[:1] == "<":
        raise _unreadable(what, name, "a web page or XML instead of a table")
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    lines = pl.DataFrame({"line": text.split("\n")}).with_row_index("row", offset=1).cast({"row": pl.Int32})
    named = _NAMED_SEPARATOR.fullmatch(lines["line"][0])
    is_comment = pl.col("line").str.contains(_COMMENT) & ~pl.col("line").str.contains(_ERROR)
    is_row = ~is_comment & ~pl.col("line").str.contains(r'^[\s,;|"]*$')
    kept = lines.slice(1 if named else 0).filter(is_row)
    if kept.is_empty():
        raise InputError(f"an empty file of {what}", file=name, remedy="Give a file with a header and rows.")
    header_row, header = kept.row(0)
    if "\0" in header:
        raise _unreadable(what, name, "not readable as text: it holds zero bytes, as UTF-16 without a mark does")
    separator = named.group(1) if named else _separator(header)
    names = _names(header, separator, name, header_row)
    sign = re.escape(separator)
    bare = pl.col("line").str.replace_all(rf'(^|{sign})"(?:[^"]|"")*"', f"${{1}}{_MARK}")
    body = kept.slice(1).with_columns(
        cells=bare.str.count_matches(separator, literal=True) + 1,
        misquoted=bare.str.contains('"', literal=True) | bare.str.contains(f"{_MARK}[^{sign}]"),
    )
    is_whole = (pl.col("cells") == len(names)) & ~pl.col("misquoted")
    whole = body.filter(is_whole)
    comments = lines.head(header_row - 1).filter(pl.col("line") != "")["line"]
    return _without_unnamed(
        TableFile(
            name,
            _split(whole["line"], names, separator, name, what),
            whole["row"],
            header_row,
            tuple(comments),
            separator,
            body.filter(~is_whole),
        )
    )


def _split(lines: pl.Series, names: list[str], separator: str, name: str, what: str) -> pl.DataFrame:
    schema = dict.fromkeys(names, pl.String())
    if lines.is_empty():
        return pl.DataFrame(schema=schema)
    try:
        content = io.BytesIO("\n".join(lines).encode())
        return pl.read_csv(content, has_header=False, schema=schema, separator=separator)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(what, name, f"{error}") from None


def _decoded(content: bytes, name: str, what: str) -> str:
    """The bytes as text. Raises InputError where they are none, or of an encoding that has to be guessed."""
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise _unreadable(what, name, f"not readable as text in {encoding.upper()}: {error.reason}") from None
        text = _with_foreign_comments(content, name, what)
    return text


def _with_foreign_comments(content: bytes, name: str, what: str) -> str:
    """Text of which only comments are in another encoding than UTF-8; InputError for the first other line."""
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            if not _is_comment(line.decode("latin-1")):
                byte = line[error.start : error.start + 1]
                raise InputError(
                    f"the file of {what} is not readable as text in UTF-8: a byte {byte.hex()}, which is "
                    f"{byte.decode('cp1252', 'replace')} in Windows-1252 and another letter elsewhere",
                    file=name,
                    row=number,
                    value=line.decode("cp1252", "replace")[:80],
                    remedy=_SAVE,
                ) from None
            lines.append(line.decode(errors="replace"))
    return "\n".join(lines)


def _is_comment(line: str) -> bool:
    return bool(re.match(_COMMENT, line)) and not re.match(_ERROR, line)


def _separator(header: str) -> str:
    """What separates the names of the columns: the sign that stands between most of them."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_SEPARATORS, key=bare.count)


def _names(header: str, separator: str, name: str, row: int) -> list[str]:
    names = [cell.strip() for cell in next(csv.reader([header], delimiter=separator))]
    return _once(names, name, row)


def _once(names: list[str], name: str, row: int) -> list[str]:
    """The names. Raises InputError where one occurs twice; columns without one get zero bytes, to be told apart."""
    twice = [one for one in dict.fromkeys(names) if one and names.count(one) > 1]
    if twice:
        raise InputError("columns come twice", file=name, row=row, column=", ".join(twice), remedy="Keep one of each")
    return [one or "\0" * place for place, one in enumerate(names, start=1)]


def _without_unnamed(table: TableFile) -> TableFile:
    """The table without columns that have neither name nor cells, as spreadsheets leave behind."""
    unnamed = [one for one in table.rows.columns if one.startswith("\0")]
    filled = [one for one in unnamed if (table.rows[one].fill_null("").str.strip_chars() != "").any()]
    if len(filled) > 1:
        raise InputError(
            f"{len(filled)} columns without a name",
            file=table.name,
            row=table.header_row,
            remedy="Name them, or take them out",
        )
    rows = table.rows.drop(one for one in unnamed if one not in filled)
    return replace(table, rows=rows.rename(dict.fromkeys(filled, "")))


def _workbook(content: bytes, has_formulas: bool, name: str, what: str) -> TableFile:
    """The only sheet of an XLSX file that is not empty. Numbers keep all their digits, errors stay text (`#N/A`)."""
    sheets = list(_sheets(content, has_formulas, name, what))
    if len(sheets) != 1:
        raise InputError(
            f"{len(sheets)} sheets with cells in a workbook of {what}" if sheets else f"an empty file of {what}",
            file=name,
            value=", ".join(title for title, _ in sheets) or None,
            remedy="Keep one sheet, with a header and rows.",
        )
    lines = [(number, cells) for number, cells in sheets[0][1] if not _is_comment(cells[0] or "")]
    if not lines:
        raise InputError(f"an empty file of {what}", file=name, remedy="Give a file with a header and rows.")
    header_row, first = lines[0]
    comments = tuple(str(cells[0]) for number, cells in sheets[0][1] if number < header_row)
    names = _once([(cell or "").strip() for cell in first], name, header_row)
    width = len(names)
    whole = [(number, [*cells, *[None] * (width - len(cells))]) for number, cells in lines[1:] if len(cells) <= width]
    broken = [
        {"row": number, "line": " ".join(cell or "" for cell in cells), "cells": len(cells), "misquoted": False}
        for number, cells in lines[1:]
        if len(cells) > width
    ]
    return _without_unnamed(
        TableFile(
            name,
            pl.DataFrame([cells for _, cells in whole], schema=dict.fromkeys(names, pl.String), orient="row"),
            pl.Series("row", [number for number, _ in whole], dtype=pl.Int32),
            header_row,
            comments,
            broken=pl.DataFrame(broken, schema=_BROKEN),
        )
    )


def _sheets(
    content: bytes, has_formulas: bool, name: str, what: str
) -> Iterator[tuple[str, list[tuple[int, list[str | None]]]]]:
    """Title of each sheet that is not empty, with number and cells of its rows, trailing empty cells left out."""
    import openpyxl  # a tenth of a second, for those who bring a workbook

    def sheets(values: bool) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations, which no cell depends on
            return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=values).worksheets

    try:
        for place, sheet in enumerate(sheets(values=True)):
            rows = [(number, _cells(row)) for number, row in enumerate(sheet.iter_rows(), start=1)]
            if has_formulas:
                _check_formulas(sheets(values=False)[place], rows, name)
            filled = [(number, cells) for number, cells in rows if cells]
            if filled:
                yield sheet.title, filled
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, OSError, SyntaxError, zipfile.BadZipFile) as error:
        raise _unreadable(what, name, f"a damaged workbook: {type(error).__name__}: {error}") from None


def _cells(row: Sequence[Any]) -> list[str | None]:
    cells = [_in_words(cell) for cell in row]
    while cells and not (cells[-1] or "").strip():
        cells.pop()
    return cells


def _in_words(cell: Any) -> str | None:
    """A cell as text: whole numbers without a point, true and false, moments as ISO 8601 writes them."""
    value = cell.value
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time() and "h" not in str(cell.number_format).lower():
        return value.date().isoformat()  # the cell shows a day without an hour
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def _check_formulas(sheet: Any, values: list[tuple[int, list[str | None]]], name: str) -> None:
    """Raise InputError for a formula that no spreadsheet has computed yet: its cell would read as empty."""
    for row, (number, cells) in zip(sheet.iter_rows(), values, strict=False):
        for place, cell in enumerate(row):
            if cell.data_type == "f" and (place >= len(cells) or cells[place] is None):
                raise InputError(
                    "a formula without its value",
                    file=name,
                    row=number,
                    column=cell.column_letter,
                    value=cell.value,
                    remedy="Open the workbook in a spreadsheet and save it, or write the values.",
                )
