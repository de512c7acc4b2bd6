"""A day whose fleet is too large for one process, in parts: one resource each, made, bid, and verified by itself.

No prosumer belongs to two resources, no energy of one is a position of another, and charging is bought by each for
itself: the day is the sum of its resources' days. So every stage of `pipeline.py` is the same function of each part,
whose tables it reads from the lake and writes there; nothing but names of files, and tables without prosumers, comes
back. Parts are worked on one after the other in this process, or beside each other on a Ray cluster, with the same
result: what a part is does not depend on who works on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake, PartFiles
from vpp_pipeline.core.manifest import File
from vpp_pipeline.core.parquet_files import read_together
from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.dispatch.ray_cluster import made_with, node_of_this, require_same_code, spread
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult, of_all_parts
from vpp_pipeline.verification.registry import METRICS, OF_WHOLE_DAY, Check
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice, no_prosumer_is_in_two_parts
from vpp_pipeline.warehouse.day import LakeDay, PartDay, parts_in

T = TypeVar("T")
OF_DAY = ("dispatch.proof", "dispatch.reconciliation", "evaluation.settled_days")  # tables of one row a day
SAME = ("market_date", "hours", "scenarios", "aversion")  # columns of such a row that all parts share


@dataclass(frozen=True)
class InParts:
    """A table of a day in parts: the version of each, and all rows of the day, where they are few."""

    parts: tuple[File, ...]
    whole: pl.DataFrame | None


Made = dict[str, pl.DataFrame | InParts]


@dataclass(frozen=True)
class _Place:
    """Where a part's tables are read and written."""

    lake: Lake
    market_date: date
    files: Mapping[str, File]
    parts: int
    figures_only: bool

    def open(self, part: int) -> PartDay:
        """Raises InputError where this node does not have the lake."""
        lake = self.lake
        if lake.is_shared:  # copies of what is read are kept where this node has room
            lake = replace(lake, root=Path(tempfile.gettempdir()) / "vpp_lake_copies")
        elif not lake.root.is_dir():
            raise InputError(
                "a node of the cluster does not have the folder of the lake",
                file=lake.root,
                remedy="Let the data folder be on a disk that every node has, or set VPP_LAKE_URL to an object store",
            )
        kept = PartFiles(lake, self.market_date.isoformat(), self.files, part, self.parts)
        return PartDay(lake, self.market_date, kept, figures_only=self.figures_only)


def over_parts(day: LakeDay, settings: Settings, work: Callable[[PartDay], T], parts: int | None = None) -> list[T]:
    """What ``work`` makes of each part of the day, in order; ``parts``: of a day whose fleet is not made yet.

    What `optimiser.backend` names does it. Raises what ``work`` raises, of the first part that does, and ClusterError
    where the cluster is lost.
    """
    count = parts_in(day.kept) if parts is None else parts
    lake = Lake(day.lake.root, day.lake.url, day.lake.copies_gb)
    place = _Place(lake, day.market_date, day.kept.files() | dict(day.unwritten), count, day.figures_only)
    if settings.optimiser.backend == "ray":
        given = [(made_with(), place, part, work) for part in range(count)]
        answers = spread(settings.optimiser, _worked_on_a_node, given, "part")
    else:
        answers = [_worked_on(place, part, work) for part in range(count)]
    for _, read in answers:
        for table in read:
            day.rests_on.setdefault(table, day.version(table))
    return [found for found, _ in answers]


def _worked_on(place: _Place, part: int, work: Callable[[PartDay], T]) -> tuple[T, list[str]]:
    """What ``work`` makes of the part, and the tables that it has read."""
    day = place.open(part)
    return work(day), list(day.rests_on)


def _worked_on_a_node(driver: str, *given: Any) -> tuple[Any, list[str]]:
    """The same on a node of the cluster, which must have the code of the ``driver``."""
    require_same_code(driver, node_of_this())
    return _worked_on(*given)


def made(day: LakeDay, settings: Settings, stage: Callable[[LakeDay], Mapping[str, pl.DataFrame]]) -> Made:
    """The tables that ``stage`` makes of the day, or of each of its parts, which then lie in the lake already."""
    if not parts_in(day.kept):
        return dict(stage(day))
    return together(day.lake, over_parts(day, settings, lambda part: written(part, stage(part))))


def in_hand(day: LakeDay, tables: Made) -> LakeDay:
    """The day with ``tables`` that were made and are not written as its own yet."""
    parts = {table: rows for table, rows in tables.items() if isinstance(rows, InParts)}
    read = {table: rows for table, rows in tables.items() if isinstance(rows, pl.DataFrame)}
    read |= {table: rows.whole for table, rows in parts.items() if rows.whole is not None}
    return day.holding(read, {table: day.lake.put_together(rows.parts) for table, rows in parts.items()})


def results_of_parts(day: LakeDay, settings: Settings, checks: Iterable[Check]) -> dict[str, CheckResult]:
    """The results of ``checks``, each of all parts of the day together, by name."""
    wanted, own = [check for check in checks if check not in OF_WHOLE_DAY], settings.of_part(parts_in(day.kept))

    def work(part: PartDay) -> list[CheckResult]:
        return [check(part, own) for check in wanted]

    of_each = zip(*over_parts(day, settings, work), strict=True) if wanted else []
    found = {check: list(results) for check, results in zip(wanted, of_each, strict=True)}
    if no_kilowatt_hour_is_sold_twice in found:
        found[no_kilowatt_hour_is_sold_twice].append(no_prosumer_is_in_two_parts(day, settings))
    return {check.__name__: of_all_parts(results, METRICS[check]) for check, results in found.items()}


def written(day: PartDay, tables: Mapping[str, pl.DataFrame]) -> dict[str, File]:
    """Write the part's ``tables``; all that was written for it, also by what made them."""
    for table, rows in tables.items():
        day.kept.write(table, rows)
    return dict(day.kept.written)


def cut(lake: Lake, market_date: date, tables: Mapping[str, pl.DataFrame], names: Sequence[str]) -> Made:
    """Tables that were read whole, as a fleet from a file is, as those of the resources ``names``; where rows do not
    say whose they are, all lie in the first."""

    def part_of(table: str, part: int) -> File:
        rows = tables[table]
        if "resource_id" in rows.columns:
            rows = rows.filter(pl.col("resource_id") == names[part])
        elif part:
            rows = rows.clear()
        return replace(lake.put(table, market_date, rows), content=frame_hash(rows))

    return {table: InParts(tuple(part_of(table, part) for part in range(len(names))), None) for table in tables}


def together(lake: Lake, files: list[dict[str, File]]) -> Made:
    """The tables that every part has; one without prosumers as the day's whole, in the order of its key."""
    found: Made = {}
    for table in (name for name in files[0] if all(name in one for one in files)):
        parts = tuple(one[table] for one in files)
        found[table] = InParts(parts, None if _is_large(table) else _whole(lake, table, parts))
    return found


def _is_large(table: str) -> bool:
    """Whether a table has rows of each prosumer."""
    return table not in TABLES or "prosumer_id" in TABLES[table].column_names()


def _whole(lake: Lake, table: str, parts: tuple[File, ...]) -> pl.DataFrame:
    for file in parts:
        lake.store.fetch(file.key, file.bytes)
    rows = read_together(lake.path(file) for file in parts)
    return sum_of(rows) if table in OF_DAY else rows.sort(TABLES[table].primary_key())


def sum_of(rows: pl.DataFrame) -> pl.DataFrame:
    """One row of what the parts' ``rows`` come to: amounts add up, and so do bounds; words of all are named.

    The MIP gap is that of the sums.
    """

    def together_of(name: str, kind: pl.DataType) -> pl.Expr:
        column = pl.col(name)
        if name in SAME:
            return column.first()
        if kind == pl.String:
            return column.drop_nulls().unique(maintain_order=True).str.join("; ").replace("", None)
        added = column.sum().cast(kind)
        return pl.when(column.is_not_null().any()).then(added.round(6) if kind.is_float() else added).alias(name)

    whole = rows.select(together_of(name, kind) for name, kind in rows.schema.items())
    if "gap_fraction" not in whole.columns:
        return whole
    open_usd, added_usd = pl.col("bound_usd") - pl.col("risk_adjusted_usd"), pl.col("bound_usd") - pl.col("no_bid_usd")
    gap = pl.when(added_usd > 0.0).then(open_usd.clip(0.0) / added_usd).otherwise(0.0)
    return whole.with_columns(gap_fraction=gap)
