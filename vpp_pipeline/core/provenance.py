"""What made a result: release, version of the code and hashes of its inputs, so that it can be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

PACKAGE = Path(__file__).parents[1]
#: what starts, serves and shows results but computes none
SHELL = ("cli", "defs", "reporting", "warehouse", "evaluation/backtest", "definitions.py", "__init__.py", "__main__.py")
__version__ = "0.2.0"


@cache
def code_version() -> str:
    """Release and a hash of the source that computes, e.g. ``0.2.0+3f2a9c1d``: an edited formula is another version."""
    shell = [PACKAGE / part for part in SHELL]
    files = sorted(file for file in PACKAGE.rglob("*.py") if not any(map(file.is_relative_to, shell)))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"


def frame_hash(frame: pl.DataFrame) -> str:
    """Hash of a table's columns and values, the same in every process, however the rows lie in memory."""
    return columns_hash(frame.schema, frame.iter_columns())


def columns_hash(schema: Mapping[str, pl.DataType], columns: Iterable[pl.Series]) -> str:
    """The same from columns that come one by one, so that no more than one need be in memory."""
    digest = hashlib.sha256("\n".join(f"{name} {kind}" for name, kind in schema.items()).encode())
    for column in columns:
        for values in _bytes_of(column):
            digest.update(values)
    return digest.hexdigest()


def _bytes_of(column: pl.Series) -> Iterator[memoryview]:
    """Which values are empty, then all values; of texts their lengths, then all letters in one."""
    import polars as pl  # here: whoever asks for the release alone need not wait for it

    yield column.is_null().to_numpy().data
    if column.dtype == pl.String:
        yield column.str.len_bytes().fill_null(0).to_numpy().data
        _, _, letters = column.fill_null("").rechunk().to_arrow().buffers()
        yield memoryview(letters or b"")
    else:
        empty = False if column.dtype == pl.Boolean else 0
        yield column.to_physical().fill_null(empty).to_numpy().data


def hashes_of(inputs: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """The hash of each table."""
    return {name: frame_hash(frame) for name, frame in inputs.items()}


def fingerprint(inputs: Mapping[str, pl.DataFrame], settings: str) -> str:
    """One hash of tables, settings (as JSON) and code version."""
    return fingerprint_of(hashes_of(inputs), settings)


def fingerprint_of(hashes: Mapping[str, str], settings: str) -> str:
    """The same from the tables' own hashes."""
    digest = hashlib.sha256(f"{settings}\n{code_version()}".encode())
    for name in sorted(hashes):
        digest.update(f"{name} {hashes[name]}\n".encode())
    return digest.hexdigest()
