"""What is kept: all of recent days, of older ones bids, prices and settlements, and nothing that was not published."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import COPIES, WORKING, Lake
from vpp_pipeline.core.manifest import MANIFESTS, Manifest
from vpp_pipeline.core.portfolios import FOLDER as PORTFOLIOS
from vpp_pipeline.data_settings import RetentionSettings
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.day import SCRATCH
from vpp_pipeline.warehouse.publish import publish_tables

LOG = logging.getLogger(__name__)
HOUR_S = 3_600.0
#: what is kept of every day: prices, bids with their checks and proof, and what was earned and paid
FOR_GOOD = (
    "market.prices",
    "market.price_forecast",
    "dispatch.proof",
    "dispatch.reconciliation",
    "bids.final_bids",
    "bids.bid_segments",
    "bids.checks",
    "bids.runs",
    "bids.run_bids",
    "evaluation.settlement",
    "evaluation.deliveries",
    "evaluation.settled_days",
    "evaluation.storage_awards",
    "evaluation.benchmark",
)
#: what is kept of runs whose bids were replaced
OF_RUNS = ("bids.final_bids", "bids.bid_segments", "bids.runs", "bids.run_bids")


@dataclass
class Swept:
    """What a sweep has removed."""

    days: int = 0  # reduced to what is kept for good
    files: int = 0  # that no manifest names any more, or never did
    bytes: int = 0
    runs: int = 0  # that never published

    def __str__(self) -> str:
        return (
            f"{self.days} days reduced to bids, prices and settlements; {self.files} files removed "
            f"({self.bytes / 1e6:.1f} MB), among them those of {self.runs} runs that never published"
        )


def sweep(lake: Lake, warehouse: Path, settings: RetentionSettings, today: date, *, is_dry: bool = False) -> Swept:
    """Reduce days that were published long ago, then remove files that no manifest names and no run has written lately.

    A day whose manifest is damaged stays as it is, with a warning. ``is_dry``: remove nothing, and say what would be.
    Raises InputError where the warehouse is damaged.
    """
    swept = Swept()
    first_kept = today - timedelta(settings.detail_days)
    last = [lake.manifest(day) for day in _readable_days(lake)]
    old = [one for one in last if max(one.day, one.committed_utc[:10]) < first_kept.isoformat()]
    reduced = [one.day for one in old if one.files.keys() - set(FOR_GOOD)]
    swept.days = len(reduced)
    if reduced and not is_dry:

        def keep(last: Manifest) -> dict[str, None]:
            return dict.fromkeys(last.files.keys() - set(FOR_GOOD))

        for day in reduced:
            lake.commit(day, "detail is past its time", keep)
        detail = [table for table in TABLES if table not in FOR_GOOD]
        publish_tables(lake, warehouse, [date.fromisoformat(day) for day in reduced], detail)
    _remove_unnamed(lake, settings.unpublished_hours * HOUR_S, swept, set(reduced), is_dry)
    return swept


def _readable_days(lake: Lake) -> Iterator[str]:
    for day in lake.days():
        try:
            lake.manifest(day)
        except InputError as error:
            LOG.warning("%s", error)
        else:
            yield day


def _remove_unnamed(lake: Lake, age_s: float, swept: Swept, reduced: set[str], is_dry: bool) -> None:
    """Remove versions that nothing names, working sets that no run has written to, and drafts of killed writes.

    What is younger than ``age_s`` stays: a run may be about to name it, and a reader may hold an older manifest.
    """
    store, damaged = lake.store, set(lake.days()) - set(_readable_days(lake))
    named: set[str] = set()
    for day in lake.days():
        *before, last = lake.manifests(day) if day not in damaged else [Manifest(day)]
        kept = set(FOR_GOOD) if day in reduced else last.files.keys()
        named |= {key for table, file in last.files.items() if table in kept for key in file.keys}
        named |= {key for one in before for table, file in one.files.items() if table in OF_RUNS for key in file.keys}
    living: dict[str, float] = {}
    for entry in store.entries(WORKING):
        owner = entry.key.split("/")[1]
        living[owner] = min(entry.age_s, living.get(owner, age_s))
    for owner, age in living.items():
        if age >= age_s:
            swept.runs += 1
            if not is_dry:
                store.remove(f"{WORKING}/{owner}")
    ended = {owner for owner, age in living.items() if age >= age_s}
    for owners in (lake.owners(day) for day in lake.days()):
        files = [file for owner, files in owners.items() if owner not in ended for file in files.values()]
        named |= {key for file in files for key in file.keys}
    for entry in list(store.entries("")):
        key = entry.key
        if key.split("/")[0] in (MANIFESTS, WORKING, SCRATCH, COPIES, PORTFOLIOS) or not key.endswith(".parquet"):
            continue
        if key in named or key.split("/")[-2] in damaged or entry.age_s < age_s:
            continue
        swept.files, swept.bytes = swept.files + 1, swept.bytes + entry.bytes
        if not is_dry:
            store.remove(key)
    if is_dry:
        return
    store.tidy(age_s)
    for folder in (lake.root / SCRATCH).glob("*"):
        if time.time() - folder.stat().st_mtime >= age_s:
            shutil.rmtree(folder, ignore_errors=True)
