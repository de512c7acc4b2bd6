"""Rows of the example fleet as their file's own text, to be spoilt and read again."""

from __future__ import annotations

import csv
from datetime import date
from io import StringIO
from pathlib import Path

from vpp_pipeline.fleet.file import read_fleet
from vpp_pipeline.fleet.quarantine import LoadedFleet

DAY = date(2024, 1, 2)
EXAMPLE = Path(__file__).resolve().parents[2] / "data" / "example_fleet.csv"
Row = dict[str, str]
ROWS: list[Row] = list(csv.DictReader(EXAMPLE.read_text().splitlines()[1:]))
PLACE = {row["prosumer_id"]: place for place, row in enumerate(ROWS)}
FLEET = read_fleet(EXAMPLE, DAY).prosumers


def text_of(rows: list[Row]) -> str:
    """A CSV without comments: the row at place k is on line k + 2."""
    out = StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def spoilt(who: str, **cells: str) -> list[Row]:
    return [row | cells if row["prosumer_id"] == who else row for row in ROWS]


def load(folder: Path, content: list[Row] | str) -> LoadedFleet:
    path = folder / "fleet.csv"
    path.write_text(content if isinstance(content, str) else text_of(content), encoding="utf-8")
    return read_fleet(path, DAY)


def told(loaded: LoadedFleet) -> list[tuple[object, ...]]:
    return loaded.quarantine.select("file_row", "column_name", "value", "problem").rows()
