"""One market day's tables, read from the lake when asked for: as published, or as a run under way has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake, LakeFiles, PartFiles, read_file, unreadable, whole
from vpp_pipeline.core.manifest import File
from vpp_pipeline.core.parquet_files import UNREADABLE, read_together, write_parquet
from vpp_pipeline.core.tables import CLASSES_BEFORE, LLM_CALLS_BEFORE, MEMBERS_BEFORE, SCHEDULE_BEFORE
from vpp_pipeline.schemas import TABLES

SCHEDULE, BIDS, LLM_CALLS = "dispatch.schedule", "bids.final_bids", "negotiation.llm_calls"
CLASSES, FLEET, RESOURCES = "fleet.storage_classes", "fleet.prosumers", "market.resources"
#: what a settlement makes, from what was published
SETTLED = (
    "evaluation.dispatched",
    "evaluation.deliveries",
    "evaluation.settlement",
    "evaluation.settled_days",
    "evaluation.storage_awards",
)
#: tables of a day that are not of its bids: each comes by itself, and a day need not have it
APART = ("market.prices", "evaluation.benchmark", *SETTLED)
#: tables of a negotiation: written together, before Dagster's asset of the agreements takes them up
DEALS = "negotiation.deals"
NEGOTIATED = {
    "negotiation.agreements": DEALS,
    "negotiation.segments": "negotiation.segments",
    "negotiation.messages": "negotiation.messages",
}
#: large table -> its column of sentences, three quarters of what it takes in memory
WORDS = {"negotiation.agreements": "reason"}
#: tables with rows of every run that published: each commit of bids adds those of its run
BY_RUN = ("bids.runs", "bids.run_bids")
SCRATCH = "scratch"  # folder of the lake for blocks of a negotiation that is under way
BASES = "slots"  # in the footer of a negotiation's tables: what each opportunity's rows rest on
BY_HAND = "by_hand"  # owner of what single assets leave, materialized from their pages


class LakeDay(Mapping[str, pl.DataFrame]):
    """Warehouse table name -> that table's rows of one day. Raises NoDataError for a table not made yet.

    As committed when it was first asked; with an ``owner``, what that one has written since lies over it.
    ``figures_only``: without the columns of WORDS.
    """

    def __init__(self, lake: Lake, market_date: date, owner: str | None = None, *, figures_only: bool = False) -> None:
        self.lake, self.market_date, self.figures_only = lake, market_date, figures_only
        self.kept = lake.day(market_date, owner)
        self._read: dict[str, pl.DataFrame] = {}
        self.unwritten: Mapping[str, File] = {}
        #: table that was asked for -> its version then, as `version` tells it
        self.rests_on: dict[str, str | None] = {}

    def __getitem__(self, table: str) -> pl.DataFrame:
        if table not in self._read:
            self.rests_on.setdefault(table, self.version(table))
        if table == SCHEDULE_BEFORE:
            return self._schedule_before()
        if table == LLM_CALLS_BEFORE:
            return self._llm_calls_before()
        if table in (CLASSES_BEFORE, MEMBERS_BEFORE):
            return self._storage_before(table.removesuffix("_before"))
        if table not in TABLES:
            raise KeyError(table)
        if table not in self._read:
            self._read[table] = self.rows(table)
        return self._read[table]

    def holding(self, made: Mapping[str, pl.DataFrame], parts: Mapping[str, File] | None = None) -> LakeDay:
        """The same day with tables that were ``made`` and are not written yet; ``parts``: with the parts of them."""
        day = copy(self)
        day._read, day.rests_on, day.unwritten = self._read | dict(made), {}, {**self.unwritten, **(parts or {})}
        return day

    def afresh(self) -> LakeDay:
        """The same day with nothing in memory."""
        day = copy(self)
        day._read, day.rests_on = {}, {}
        return day

    def version(self, table: str) -> str | None:
        """What tells the rows of ``table`` from any others, as they are now: empty where there are none; None for what
        is of other days or runs."""
        if table not in TABLES or table in BY_RUN:
            return None
        file = self.kept.file(table)
        return file.version if file else ""

    def rows(self, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows as the lake has them; all columns, or those named."""
        if table in BY_RUN:
            return _rows_of_runs(self.lake, table, self.market_date, columns)
        if columns is None and self.figures_only and table in WORDS:
            columns = [name for name in self.kept.schema(table) if name != WORDS[table]]
        return self.kept.read(table, columns)

    def rows_where(self, table: str, wanted: pl.Expr, columns: list[str] | None = None) -> pl.DataFrame:
        """The ``wanted`` rows; all columns of the file, also those of WORDS, or those named. Others are not kept."""
        self.rests_on.setdefault(table, self.version(table))
        read, words = self._read.get(table), WORDS.get(table)
        if read is not None and words not in read.columns and (columns is None or words in columns):
            read = None if words else read  # it was read without them
        rows = (self.kept.scan(table) if read is None else read.lazy()).filter(wanted)
        try:
            return (rows.select(columns) if columns else rows).collect()
        except UNREADABLE as error:
            raise unreadable(self.lake, self.kept.present(table), error) from error

    def hash(self, table: str) -> str:
        """The `frame_hash` of the table's rows, read column by column."""
        return self.kept.hash(table)

    @property
    def run_id(self) -> str:
        """The run that made the day's bids."""
        return str(self.rows(BIDS, ["run_id"])["run_id"][0])

    def _schedule_before(self) -> pl.DataFrame:
        """That of the bids published for the day before. Raises KeyError where there are none."""
        before = published(self.lake, self.market_date - timedelta(days=1))
        if before is None or not before.kept.exists(SCHEDULE):
            raise KeyError(SCHEDULE_BEFORE)
        schedule = self._seen(before.kept).read(SCHEDULE)
        if schedule.is_empty():
            raise KeyError(SCHEDULE_BEFORE)
        return schedule

    def _llm_calls_before(self) -> pl.DataFrame:
        """Raises KeyError where no day before asked a model."""
        for day in reversed(self.lake.days_of(LLM_CALLS)):
            if day < self.kept.name and not (calls := self.lake.day(day).read(LLM_CALLS)).is_empty():
                return calls
        raise KeyError(LLM_CALLS_BEFORE)

    def _storage_before(self, table: str) -> pl.DataFrame:
        """The table of the last day before that was published with storage classes. Raises KeyError where none was."""
        for day in reversed(self.lake.days_of(CLASSES)):
            if day < self.kept.name and not (rows := self._seen(self.lake.day(day)).read(CLASSES)).is_empty():
                return rows if table == CLASSES else self._seen(self.lake.day(day)).read(table)
        raise KeyError(table)

    def _seen(self, other: LakeFiles) -> LakeFiles:
        """What this day sees of another."""
        return other

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)


class PartDay(LakeDay):
    """One part of a day that is bid in parts: the prosumers of one resource, and what is of them."""

    kept: PartFiles

    def __init__(self, lake: Lake, market_date: date, kept: PartFiles, *, figures_only: bool = False) -> None:
        super().__init__(lake, market_date, figures_only=figures_only)
        self.kept = kept

    def rows(self, table: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The part's rows of the table; all columns, or those named."""
        if table != RESOURCES:
            return super().rows(table, columns)
        own = self.kept.read(FLEET, ["resource_id"])["resource_id"][0]
        rows = super().rows(table).filter(pl.col("resource_id") == own)
        return rows.select(columns) if columns else rows

    def _seen(self, other: LakeFiles) -> LakeFiles:
        """The same part of a day in as many, else the whole of it."""
        if parts_in(other) != self.kept.parts:
            return other
        return PartFiles(self.lake, other.name, other.files(), self.kept.part, self.kept.parts)


def parts_in(kept: LakeFiles) -> int:
    """In how many parts the day is bid; 0 where its fleet is one."""
    fleet = kept.file(FLEET)
    return len(fleet.parts) if fleet else 0


def published(lake: Lake, market_date: date, run_id: str | None = None) -> LakeDay | None:
    """The day as it was published last (by ``run_id``), a refusal to bid among them; None where no bids of it are."""
    day = LakeDay(lake, market_date)
    if run_id is not None:
        by_run = [manifest for manifest in lake.manifests(market_date) if manifest.run_id == run_id]
        if not by_run:
            return None
        day.kept.committed = by_run[-1]
    return day if BIDS in day.kept.committed.files else None


def published_day(lake: Lake, market_date: date, run_id: str | None = None) -> LakeDay:
    """The same. Raises NoDataError where no bids of the day are published."""
    if (day := published(lake, market_date, run_id)) is None:
        raise no_bids(lake.address, market_date)
    return day


def no_bids(place: Path | str, market_date: date) -> NoDataError:
    """What to say of a day that lake or warehouse has no bids of, whatever a run that stopped before has left."""
    return NoDataError(
        f"no bids of {market_date} are published",
        file=place,
        remedy=f"Make the day's bids first: vpp-pipeline bids --date {market_date}",
    )


def unpublished_bids(day: LakeDay) -> str | None:
    """One paragraph where a run has formed bids of the day and not published them; None where none has."""
    left = [files[BIDS] for files in day.lake.owners(day.market_date).values() if BIDS in files]
    committed = day.kept.committed.files[BIDS]
    later = [file for file in left if file.version > committed.version]
    if not later:
        return None
    made = read_file(day.lake, later[-1], ["run_id"])["run_id"][0]
    return (
        f"run {made} has made bids of {day.market_date} and not published them; they are left aside, and what follows "
        f"is of the published bids, of run {day.run_id}. To publish new bids, make them with the options you want: "
        f"vpp-pipeline bids --date {day.market_date}"
    )


def _rows_of_runs(lake: Lake, table: str, market_date: date, columns: list[str] | None) -> pl.DataFrame:
    """The rows of every run that published bids of the day, each run once."""
    files = lake.every(table, market_date)
    for file in files:
        whole(lake, file)
    if not files:
        raise NoDataError(
            f"no run of {market_date} is kept",
            file=lake.address,
            remedy=f"Make the day's bids: vpp-pipeline bids --date {market_date}",
        )
    rows = read_together(lake.path(file) for file in files)
    rows = rows.unique(TABLES[table].primary_key(), keep="first", maintain_order=True)
    return rows.select(columns) if columns else rows


@dataclass(frozen=True)
class LakeNegotiations:
    """A day's negotiations in the lake, one file per table: a `Store` of `negotiation/store.py`."""

    kept: LakeFiles

    def bases(self) -> Mapping[str, Mapping[str, str]]:
        """What each opportunity's stored rows rest on; empty where a table is missing, damaged, or of another basis."""
        bases: dict[str, Mapping[str, str]] = {}
        with suppress(InputError):
            told = [self.kept.metadata_of_parts(table) for table in NEGOTIATED.values()]
            for part in zip(*told, strict=False):
                known = [found.get(BASES) for found in part]
                if known[0] is None or any(found != known[0] for found in known):
                    return {}
                bases |= {basis["opportunity_id"]: basis for basis in json.loads(known[0]).values()}
            return bases
        return {}

    @contextmanager
    def writing(
        self, keep: Collection[str]
    ) -> Iterator[Callable[[Mapping[str, pl.DataFrame], Mapping[str, Mapping[str, str]]], None]]:
        """Take blocks of new negotiations, by table and with their bases; on leaving, the day is those and what there
        was of the opportunities to ``keep``."""
        bases = {name: basis for name, basis in self.bases().items() if name in keep}
        in_order = True  # of the key, as the blocks of one resource are
        with TemporaryDirectory(dir=self._scratch()) as scratch:
            blocks = 0

            def add(tables: Mapping[str, pl.DataFrame], basis: Mapping[str, Mapping[str, str]]) -> None:
                nonlocal blocks, in_order
                in_order &= not basis or not bases or min(basis) > max(bases)
                for table in NEGOTIATED:
                    write_parquet(Path(scratch, f"{table}_{blocks:05}"), tables[table], {})
                bases.update(basis)
                blocks += 1

            yield add
            told = {BASES: json.dumps(dict(sorted(bases.items())))}
            before = [name for name in bases if name in keep]
            for table, stored in NEGOTIATED.items():
                parts = [pl.scan_parquet(Path(scratch, f"{table}_{k:05}"), glob=False) for k in range(blocks)]
                if before:
                    parts.insert(0, self._of(table, before))
                rows = pl.concat(parts, how="diagonal")
                self.kept.write(stored, rows if in_order else rows.sort(TABLES[table].primary_key()), told)

    def read(self, table: str, opportunities: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The table's rows of ``opportunities``, each of which must have been written; all columns, or those named."""
        bases = self.bases()
        if missing := [name for name in opportunities if name not in bases]:
            raise NoDataError(
                f"the negotiation of {self.kept.name} lacks {', '.join(missing)}",
                file=self.kept.lake.address,
                remedy=f"Make the day's bids again: vpp-pipeline bids --date {self.kept.name}",
            )
        if set(opportunities) == set(bases):
            return self.kept.read(NEGOTIATED[table], columns)
        rows = self._of(table, list(opportunities))
        try:
            return (rows.select(columns) if columns else rows).collect()
        except UNREADABLE:  # its own reading says what is wrong
            return self.kept.read(NEGOTIATED[table], columns)

    def take_up(self) -> LakeFiles:
        """Let the day's agreements be the deals as they are stored, without another copy; the day's files."""
        file = self.kept.file(DEALS)
        if file is None:
            self.kept.read(DEALS)  # which says what to do
        else:
            self.kept.point("negotiation.agreements", file)
        return self.kept

    def _of(self, table: str, opportunities: list[str]) -> pl.LazyFrame:
        return self.kept.scan(NEGOTIATED[table]).filter(pl.col("opportunity_id").is_in(opportunities))

    def _scratch(self) -> Path:
        folder = self.kept.lake.root / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        return folder
