"""Which version of each table a day consists of: files, manifests, and how they are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.parquet_files import table_folder

FORMAT = 1  # of manifests
MANIFESTS = "manifests"  # where they lie
UNUSABLE = (ValueError, KeyError, TypeError, AttributeError)  # what reading a damaged manifest ends with


@dataclass(frozen=True)
class File:
    """One version of one day's table."""

    table: str
    day: str
    version: str
    bytes: int  # 0: its rows are those of ``parts``
    parts: tuple[File, ...] = ()  # of a fleet that is bid part by part: the version of each
    content: str = ""  # the hash of a part's rows

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"{table_folder(self.table).as_posix()}/{self.day}/{self.version}.parquet"

    @property
    def with_rows(self) -> tuple[File, ...]:
        """The files that the rows of the day are in."""
        return (self,) if self.bytes or not self.parts else self.parts

    @property
    def keys(self) -> list[str]:
        """The keys of all that must be kept of it."""
        return list(dict.fromkeys(file.key for file in (*self.with_rows, *self.parts)))


@dataclass(frozen=True)
class Manifest:
    """What a day consists of after its ``number``-th commit: the version of each table."""

    day: str
    number: int = 0
    committed_utc: str = ""
    reason: str = ""  # what was committed: bids, a settlement, one table
    run_id: str = ""  # of the run whose bids the day has; empty before there are any
    files: Mapping[str, File] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"{MANIFESTS}/{self.day}/{self.number:06}.json"


def entry_of(file: File) -> dict[str, Any]:
    """What a manifest, or a working pointer, says of the file."""
    told: dict[str, Any] = {"table": file.table, "version": file.version, "bytes": file.bytes}
    told |= {"parts": [entry_of(part) for part in file.parts]} if file.parts else {}
    return told | ({"content": file.content} if file.content else {})


def file_of(entry: Mapping[str, Any], day: str) -> File:
    """Raises one of UNUSABLE for a damaged entry."""
    parts = tuple(file_of(part, day) for part in entry.get("parts", ()))
    return File(entry["table"], day, entry["version"], entry["bytes"], parts, entry.get("content", ""))


def manifest_of(day: str, content: bytes | None) -> Manifest:
    """Raises one of UNUSABLE for a damaged manifest."""
    told = json.loads(content or b"")
    files = {name: file_of(entry, day) for name, entry in told["files"].items()}
    return Manifest(day, told["number"], told["committed_utc"], told["reason"], told["run_id"], files)


def as_json(manifest: Manifest) -> bytes:
    """The manifest as it is written."""
    told = {
        "format": FORMAT,
        "day": manifest.day,
        "number": manifest.number,
        "committed_utc": manifest.committed_utc,
        "reason": manifest.reason,
        "run_id": manifest.run_id,
        "files": {table: entry_of(file) for table, file in sorted(manifest.files.items())},
    }
    return json.dumps(told, indent=1).encode()


def day_name(day: date | str) -> str:
    """``2023-08-15``. Raises InputError for what is no market day."""
    try:
        return date.fromisoformat(str(day)).isoformat()
    except ValueError:
        raise InputError("not a market day", value=repr(day), remedy="Use a day such as 2023-08-15.") from None
