"""The lake: one Parquet file per table and partition, replaced whole or not at all. It is the truth of the pipeline.

What DuckDB serves is published from here (`publish.py`); checking rows against `schemas.py` is the caller's part.
"""

from __future__ import annotations

import glob
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.provenance import columns_hash

GROUP_ROWS = 131_072  # rows of a Parquet file that are compressed together
TEMPORARY_LIVES_S = 3_600.0  # no write takes an hour: an older temporary belongs to a process that died

_TABLE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_PARTITION = re.compile(r"[A-Za-z0-9_-]+(\|[A-Za-z0-9_-]+)*")  # `|` joins the dimensions of a multi-partition key
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@dataclass(frozen=True)
class Lake:
    """Tables as files under ``root``: ``market.prices`` of ``2023-08-15`` is ``market/prices/2023-08-15.parquet``.

    A key of two dimensions becomes a folder per day: ``2023-08-15|energy_he13`` is ``2023-08-15/energy_he13.parquet``.
    """

    root: Path

    def path(self, table: str, partition: str) -> Path:
        """Where the partition's file is, or will be."""
        if not _PARTITION.fullmatch(partition):
            raise InputError(
                "not a partition key",
                value=repr(partition),
                remedy="Use a key such as 2023-08-15 or 2023-08-15|energy_he13.",
            )
        return self._folder(table).joinpath(*partition.split("|")).with_suffix(".parquet")

    def exists(self, table: str, partition: str) -> bool:
        """Whether the partition has been written."""
        return self.path(table, partition).is_file()

    def partitions(self, table: str, day: str | None = None) -> list[str]:
        """Keys of all partitions written, in order; of keys of two dimensions, those of one day where it is named."""
        folder = self._folder(table)
        files = (folder.joinpath(day).glob if day else folder.rglob)("*.parquet")
        return sorted("|".join(file.relative_to(folder).with_suffix("").parts) for file in files)

    def write(self, table: str, partition: str, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> Path:
        """Write or replace the partition; a reader sees the old file or the new one, never a part.

        Equal frames and metadata give equal bytes. ``metadata`` is kept in the Parquet footer.
        """
        target = self.path(table, partition)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            told = dict(sorted((metadata or {}).items()))
            # groups of so many rows, whatever chunks the frame lies in; LZ4, which takes half of Zstandard's time
            frame.write_parquet(temporary, compression="lz4", metadata=told, row_group_size=GROUP_ROWS)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def read(self, table: str, partition: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The partition's rows, as written; all columns, or those named."""
        file = self._present(table, partition)
        try:
            return pl.read_parquet(file, columns=columns, glob=False, hive_partitioning=False)
        except _UNREADABLE as error:
            raise self._unreadable(table, partition, error) from error

    def read_many(self, table: str, partitions: Iterable[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of several partitions, in the order asked for; each of them must exist.

        A column that only some of the files have is null for the others.
        """
        wanted = list(partitions)
        if not wanted:
            raise NoDataError(f"no partition of {table} was asked for", remedy="Name at least one.")
        files = [self._present(table, partition) for partition in wanted]
        scans = [pl.scan_parquet(file, glob=False, hive_partitioning=False) for file in files]
        try:
            rows = pl.concat(scans, how="diagonal")
            return (rows.select(columns) if columns else rows).collect()
        except _UNREADABLE:  # which of them it is, its own reading says
            return pl.concat([self.read(table, partition, columns) for partition in wanted], how="diagonal")

    def schema(self, table: str, partition: str) -> Mapping[str, pl.DataType]:
        """The columns as written; reads only the file's footer."""
        file = self._present(table, partition)
        try:
            return pl.read_parquet_schema(file)
        except _UNREADABLE as error:
            raise self._unreadable(table, partition, error) from error

    def hash(self, table: str, partition: str) -> str:
        """The `frame_hash` of the rows, with one column in memory at a time."""
        schema = self.schema(table, partition)
        return columns_hash(schema, (self.read(table, partition, [name]).to_series() for name in schema))

    def metadata(self, table: str, partition: str) -> dict[str, str]:
        """What was written beside the rows; reads only the file's footer."""
        file = self._present(table, partition)
        try:
            entries = pl.read_parquet_metadata(file)
        except _UNREADABLE as error:
            raise self._unreadable(table, partition, error) from error
        return {key: value for key, value in entries.items() if key != "ARROW:schema"}

    def _folder(self, table: str) -> Path:
        if not _TABLE.fullmatch(table):
            raise InputError("not a table name", value=repr(table), remedy="Use schema.table, such as market.prices.")
        return self.root.joinpath(*table.split("."))

    def _present(self, table: str, partition: str) -> Path:
        file = self.path(table, partition)
        if not file.is_file():
            raise NoDataError(f"{table} has no partition {partition}", file=file, remedy=_remedy(table, partition))
        return file

    def _unreadable(self, table: str, partition: str, error: BaseException) -> InputError:
        return InputError(
            f"{table} of {partition} is not readable Parquet: {error}",
            file=self.path(table, partition),
            remedy=f"The file is damaged. {_remedy(table, partition)}",
        )


def _remedy(table: str, partition: str) -> str:
    """What to run so that the partition is there."""
    asset = table.replace(".", "/")
    by_hand = f"materialise {asset} for it (dagster asset materialize --select {asset} --partition '{partition}')"
    return f"Make the day's bids again (vpp-pipeline bids --date {partition.split('|')[0]}), or {by_hand}."


def _sweep(target: Path) -> None:
    """Remove what killed processes left of earlier writes of ``target``."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > TEMPORARY_LIVES_S:
                leftover.unlink()
        except FileNotFoundError:  # another writer swept it first
            continue
