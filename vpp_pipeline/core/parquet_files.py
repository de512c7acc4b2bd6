"""Parquet files: written whole or not at all, read with a clear word where one is damaged; and folders of them.

Checking rows against `schemas.py` is the caller's part.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError, NoDataError

GROUP_ROWS = 131_072  # rows of a Parquet file that are compressed together
LEAST_FREE_BYTES = 1_000_000  # with less, a write that failed has failed for that
TEMPORARY_LIVES_S = 3_600.0  # no write takes an hour: an older temporary belongs to a process that died
SCHEMA_ENTRY = "ARROW:schema"  # of a footer, written by polars itself

_TABLE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_PARTITION = re.compile(r"[A-Za-z0-9_-]+(\|[A-Za-z0-9_-]+)*")  # `|` joins the dimensions of a multi-partition key
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def write_parquet(file: Path, frame: pl.DataFrame | pl.LazyFrame, metadata: Mapping[str, str]) -> None:
    """Write ``frame`` to ``file``; equal frames and metadata give equal bytes. ``metadata`` is kept in the footer."""
    told = dict(sorted(metadata.items()))
    try:
        # groups of so many rows, whatever chunks the frame lies in; LZ4, which takes half of Zstandard's time
        if isinstance(frame, pl.LazyFrame):  # some rows at a time
            frame.sink_parquet(file, compression="lz4", metadata=told, row_group_size=GROUP_ROWS)
        else:
            frame.write_parquet(file, compression="lz4", metadata=told, row_group_size=GROUP_ROWS)
    except pl.exceptions.PolarsError as error:  # which may say "transport error" of a disk that is full
        if shutil.disk_usage(file.parent).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise


def read_parquet(file: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """The rows as written. Raises one of UNREADABLE for a damaged file."""
    return pl.read_parquet(file, columns=columns, glob=False, hive_partitioning=False)


def read_together(files: Iterable[Path], columns: list[str] | None = None) -> pl.DataFrame:
    """The rows of all ``files``, in their order; a column that only some have is null for the others."""
    rows = scan_together(files)
    return (rows.select(columns) if columns else rows).collect()


def scan_together(files: Iterable[Path]) -> pl.LazyFrame:
    """The same, read when it is collected."""
    scans = [pl.scan_parquet(file, glob=False, hive_partitioning=False) for file in files]
    return pl.concat(scans, how="diagonal") if len(scans) > 1 else scans[0]


def read_footer(file: Path) -> dict[str, str]:
    """What was written beside the rows. Raises one of UNREADABLE for a damaged file."""
    return {key: value for key, value in pl.read_parquet_metadata(file).items() if key != SCHEMA_ENTRY}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to, which takes its place if all goes well."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk and survives a loss of power."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders, and keeps its lists of names itself
        return
    with_access = os.O_RDONLY if path.is_dir() else os.O_RDWR
    handle = os.open(path, with_access)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def table_folder(table: str) -> Path:
    """``market.prices`` lies in ``market/prices``. Raises InputError for what is no table name."""
    if not _TABLE.fullmatch(table):
        raise InputError("not a table name", value=repr(table), remedy="Use schema.table, such as market.prices.")
    return Path(*table.split("."))


@dataclass(frozen=True)
class ParquetFolder:
    """Copies of what services gave: ``lmp.SP15`` of ``2023-08-15`` is ``lmp/SP15/2023-08-15.parquet`` below ``root``.

    One file for each table and key, replaced whole or not at all. A key of two parts becomes a folder:
    ``NODE|2023-08-15`` is ``NODE/2023-08-15.parquet``. The pipeline's own tables are kept in the `Lake`.
    """

    root: Path

    def path(self, table: str, partition: str) -> Path:
        """Where the file is, or will be."""
        if not _PARTITION.fullmatch(partition):
            raise InputError("not a key", value=repr(partition), remedy="Use a key such as 2023-08-15 or a|2023-08-15.")
        return self.root.joinpath(table_folder(table), *partition.split("|")).with_suffix(".parquet")

    def exists(self, table: str, partition: str) -> bool:
        """Whether there is a file."""
        return self.path(table, partition).is_file()

    def write(self, table: str, partition: str, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> Path:
        """Write or replace the file; a reader sees the old one or the new one, never a part."""
        target = self.path(table, partition)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        with replacing(target) as temporary:
            write_parquet(temporary, frame, metadata or {})
        return target

    def read(self, table: str, partition: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The rows, as written; all columns, or those named. Raises InputError for a damaged file."""
        file = self._present(table, partition)
        try:
            return read_parquet(file, columns)
        except UNREADABLE as error:
            raise self._unreadable(table, partition, error) from error

    def read_many(self, table: str, partitions: Iterable[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of several files, in the order asked for; each of them must exist, and one must be asked for."""
        wanted = list(partitions)
        try:
            return read_together([self._present(table, partition) for partition in wanted], columns)
        except UNREADABLE:  # which of them it is, its own reading says
            return pl.concat([self.read(table, partition, columns) for partition in wanted], how="diagonal")

    def metadata(self, table: str, partition: str) -> dict[str, str]:
        """What was written beside the rows; reads only the file's footer. Raises InputError for a damaged file."""
        file = self._present(table, partition)
        try:
            return read_footer(file)
        except UNREADABLE as error:
            raise self._unreadable(table, partition, error) from error

    def _present(self, table: str, partition: str) -> Path:
        file = self.path(table, partition)
        if not file.is_file():
            raise NoDataError(f"{table} has no {partition}", file=file, remedy="Ask for it again where it came from.")
        return file

    def _unreadable(self, table: str, partition: str, error: BaseException) -> InputError:
        return InputError(
            f"{table} of {partition} is not readable Parquet: {error}",
            file=self.path(table, partition),
            remedy="Remove the file and ask for it again where it came from.",
        )


def _sweep(target: Path) -> None:
    """Remove what killed processes left of earlier writes of ``target``."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > TEMPORARY_LIVES_S:
                leftover.unlink()
        except FileNotFoundError:  # another writer swept it first
            continue
