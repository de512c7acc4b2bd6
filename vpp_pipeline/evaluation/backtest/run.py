"""Replaying days one by one into the lake: a day that is done is not done again, and a killed run continues."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.provenance import code_version, frame_hash
from vpp_pipeline.core.tables import CLASSES_BEFORE, MEMBERS_BEFORE, SCHEDULE_BEFORE, Day, with_missing
from vpp_pipeline.evaluation.backtest.metrics import measure, outcome
from vpp_pipeline.evaluation.backtest.plans import as_storage, no_sale_plan
from vpp_pipeline.evaluation.backtest.strategies import PastDay, plan_by
from vpp_pipeline.evaluation.settlement import draw_available, same_source
from vpp_pipeline.forecasting.meters import content_of
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import CLASSES, MEMBERS
from vpp_pipeline.schemas import DESK, Benchmark, validate
from vpp_pipeline.settings import Settings

TABLE = "evaluation.benchmark"
MADE_WITH = "vpp_backtest"
NO_CLASSES: Day = {}
READS_ONLY = ("bootstrap",)  # files of this package that no row depends on

#: a day -> its tables before any negotiation, and its clearing prices
Read = Callable[[date], tuple[Day, pl.DataFrame]]
Replayed = Iterator[tuple[date, pl.DataFrame]]


@dataclass(frozen=True)
class By:
    """How days are replayed."""

    settings: Settings
    arms: Sequence[str]
    classes: Day


def replay(
    inputs: Day, prices: pl.DataFrame, settings: Settings, arms: Sequence[str], classes: Day = NO_CLASSES
) -> pl.DataFrame:
    """Rows of `evaluation.benchmark` of one day: every arm on the same fleet, prices, absences and settlement.

    ``inputs``: resources bid hour by hour, each of which is replayed as if it were alone (ADR 0080). ``classes``: of
    storage resources, made before; none: made for this day.
    """
    same_source(inputs["market.price_forecast"], prices)
    rows = with_missing(inputs["fleet.prosumers"].sort("prosumer_id"), resource_id=DESK)
    market_date = inputs["market.price_forecast"]["market_date"][0]
    is_there = draw_available(rows["availability_fraction"].to_numpy(), market_date, settings.settlement)
    days = []
    for name in rows["resource_id"].unique().sort():
        alone, mine = of_resource(inputs, name), (rows["resource_id"] == name).to_numpy()
        days.append(PastDay(alone, settings, prices, is_there[mine], no_sale_plan(alone, settings), classes))
    source, node = inputs["market.price_forecast"].select("source", "node").row(0)
    shared = {
        "market_date": market_date,
        "source": source,
        "node": node,
        "prosumers": rows.height,
        "present": int(is_there.sum()),
        "fleet_kw": float(rows["max_discharge_kw"].sum()),
    }
    measured = [shared | {"arm": arm} | measure([outcome(day, plan_by(arm, day)) for day in days]) for arm in arms]
    return validate(Benchmark, pl.DataFrame(measured, infer_schema_length=None))


def of_resource(day: Day, name: str) -> Day:
    """The day of one resource, with its members alone."""
    resources, prosumers = day["market.resources"], day["fleet.prosumers"]
    if resources.height == 1:
        return day
    mine = {"resource_id": resources.filter(resource_id=name), "prosumer_id": prosumers.filter(resource_id=name)}

    def cut(rows: pl.DataFrame) -> pl.DataFrame:
        known = next((column for column in mine if column in rows.columns), None)
        return rows if known is None else rows.join(mine[known], on=known, how="semi", maintain_order="left")

    return {table: cut(rows) for table, rows in day.items()}


def replay_days(
    days: Sequence[date],
    read: Read,
    settings: Settings,
    arms: Sequence[str],
    lake: Lake,
    source: str,
    report: Callable[[date], None],
    workers: int = 1,
    classes: Day = NO_CLASSES,
) -> list[date]:
    """Replay ``days`` into the lake, calling ``report`` after each; returns those that were not there already.

    A day is there if its file was made by the same code from the same settings, arms and ``source`` of prices. A day
    is written when all its arms are done, so a killed run loses what its ``workers`` (processes) were at.
    """
    made_with = fingerprint_of(settings, arms, source, classes)
    missing = []
    for day in days:
        if is_done(lake, day, made_with):
            report(day)
        else:
            missing.append(day)
    replayed = beside_each_other if workers > 1 else one_by_one
    for day, rows in replayed(missing, read, By(settings, arms, classes), workers):
        lake.write(TABLE, day, rows, {MADE_WITH: made_with})
        report(day)
    return missing


def one_by_one(days: Sequence[date], read: Read, by: By, workers: int = 1) -> Replayed:
    """Each day with its rows, in this process."""
    for day in days:
        yield day, replay(*read(day), by.settings, by.arms, by.classes)


def beside_each_other(days: Sequence[date], read: Read, by: By, workers: int) -> Replayed:
    """The same by ``workers`` processes, each day as it is done; ``read`` must be one that can be pickled."""
    shared = (read, by)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=shared) as pool:
        try:
            asked = {pool.submit(_replay_here, day): day for day in days}
            for answer in as_completed(asked):
                yield asked[answer], answer.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_shared: tuple[Read, By]  # of a worker


def _begin(*shared: Any) -> None:
    global _shared
    _shared = shared
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker does not outlive the command, even one that was killed."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _replay_here(day: date) -> pl.DataFrame:
    read, by = _shared
    return replay(*read(day), by.settings, by.arms, by.classes)


def is_done(lake: Lake, day: date, made_with: str) -> bool:
    """Whether the lake holds the day as the same code and settings would compute it."""
    with suppress(InputError):  # damaged: it is computed again
        kept = lake.day(day)
        return kept.exists(TABLE) and kept.metadata(TABLE).get(MADE_WITH) == made_with
    return False


def fingerprint_of(settings: Settings, arms: Sequence[str], source: str, classes: Day = NO_CLASSES) -> str:
    """What a day's rows depend on, the day aside."""
    text = "\n".join([code_version(), settings.deciding(), *arms, source])
    digest = hashlib.sha256(text.encode())
    for name, rows in sorted(classes.items()):  # of the first day of a range
        digest.update(f"{name} {frame_hash(rows)}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem not in READS_ONLY:
            digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class PastDays:
    """A day -> its tables before any negotiation, and its clearing prices. Opened when first asked.

    ``first``: the inputs of any day. Requests are left out, for they are of single days: the policy's hours alone.
    Whether a resource is bid hour by hour or as storage is each arm's choice: the tables are those of a day that is bid
    hour by hour. Another process gets it unopened.
    """

    first: DayInputs

    def __call__(self, day: date) -> tuple[Day, pl.DataFrame]:
        """The day's tables, and its clearing prices."""
        inputs = replace(self.first, market_date=day, requests_file=None, opened=self.source, is_hour_by_hour=True)
        tables = inputs.tables()
        tables.pop(SCHEDULE_BEFORE, None)  # it is of the bids that were published, not of the arm that is replayed
        return tables, self.source.day(day)

    def classes(self, settings: Settings) -> Day:
        """Classes of storage resources, made once: for the first day, at its forecast."""
        made = as_storage(self(self.first.market_date)[0], settings, NO_CLASSES)
        return {CLASSES_BEFORE: made[CLASSES], MEMBERS_BEFORE: made[MEMBERS]}

    @cached_property
    def source(self) -> PriceSource:
        """The source of prices, opened once."""
        return open_source(self.first.prices, self.first.node)

    @property
    def name(self) -> str:
        """What tells one source from another."""
        return f"{self.source.name} {self.source.node} {self.first.prices} {content_of(self.first.meters)}"

    def __getstate__(self) -> dict[str, Any]:
        return {"first": replace(self.first)}
