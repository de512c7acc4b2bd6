"""How days of prices come from their source into the lake, whoever asks: an asset, a range of it, the command line."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

import dagster as dg
import polars as pl

from vpp_pipeline.core.calendar import PRICE_COLUMN
from vpp_pipeline.core.display import usd
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.defs.asset_factory import version_of
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import figures_of
from vpp_pipeline.evaluation.settlement import same_source
from vpp_pipeline.market.oasis.report import OasisDownError, OasisIncompleteError
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_source import PriceSource

LOG = logging.getLogger(__name__)
PRICES, PRICE_HISTORY, FORECAST = "market.prices", "market.price_history", "market.price_forecast"
MOST_CHANGES = 12  # of one day that are named

# where OASIS is down or torn, a run waits and asks again: half an hour in all, less than the sensor's hour
RETRIES, RETRY_PAUSE_S = 3, 600.0


@dataclass(frozen=True)
class Taken:
    """What a source gave of some days, and why it did not give the others."""

    frames: dict[date, pl.DataFrame]
    missing: dict[date, NoDataError]


def take_in_days(source: PriceSource, lake: Lake, days: list[date]) -> Taken:
    """Write each day that the source has. A wrong day raises InputError and leaves those before it written."""
    if isinstance(source, OasisPrices) and len(days) > 1:
        with suppress(OasisDownError):  # reported for each day below
            source.prefetch(days)
    frames: dict[date, pl.DataFrame] = {}
    missing: dict[date, NoDataError] = {}
    for day in days:
        try:
            frames[day] = _newest(source, day)
        except NoDataError as reason:
            missing[day] = reason
            continue
        take_in(lake, day, frames[day])
    return Taken(frames, missing)


def _newest(source: PriceSource, day: date) -> pl.DataFrame:
    """The day's prices, asked for anew where OASIS may have corrected them; what we have stays where it is silent."""
    if isinstance(source, OasisPrices) and source.is_correctable(day):
        try:
            return source.again(day)
        except NoDataError as reason:
            LOG.warning("OASIS was asked whether it has corrected %s, in vain: %s", day, reason)
    return source.day(day)


def take_in(lake: Lake, day: date, frame: pl.DataFrame) -> bool:
    """Write a day's prices unless the lake holds just these; whether it did.

    Raises InputError where the bids of the day rest on another source or node.
    """
    kept = lake.day(day)
    if kept.exists(FORECAST):
        same_source(kept.read(FORECAST), frame)
    return replace_prices(lake, day, frame)


def replace_prices(lake: Lake, day: date, frame: pl.DataFrame) -> bool:
    """Write the day's prices unless the lake holds just these; whether it did. A damaged file is replaced."""
    with suppress(InputError):
        held = lake.day(day).read(PRICES)
        if held.equals(frame):
            return False
        if changes := changes_of(held, frame):
            shown = "; ".join(changes[:MOST_CHANGES]) + (" …" if len(changes) > MOST_CHANGES else "")
            words = "%d prices of %s were corrected: %s. What was settled by them: vpp-pipeline settle --date %s"
            LOG.warning(words, len(changes), day, shown, day)
    lake.write(PRICES, day, frame)
    return True


def changes_of(held: pl.DataFrame, frame: pl.DataFrame) -> list[str]:
    """Each price of one source and node that is another now, as `energy of hour ending 13 $45.10 to $46.20`."""
    if held.is_empty() or held.select("source", "node").row(0) != frame.select("source", "node").row(0):
        return []
    both = held.join(frame, on=["start_utc", "hour_ending"], suffix="_now").sort("start_utc")
    return [
        f"{product} of hour ending {row['hour_ending']} {usd(row[name])} to {usd(row[f'{name}_now'])}"
        for row in both.iter_rows(named=True)
        for product, name in PRICE_COLUMN.items()
        if row[name] != row[f"{name}_now"]
    ]


def is_in(lake: Lake, day: date, source: PriceSource) -> bool:
    """Whether the lake holds the day's prices from this source and node. A damaged file counts as missing."""
    with suppress(InputError):
        held = lake.day(day).read(PRICES, ["source", "node"])
        return held.height > 0 and held.row(0) == (source.name, source.node)
    return False


def say_missing(missing: dict[date, NoDataError], is_patient: bool) -> NoReturn:
    """Raise for days that the source did not give: a request to try again where OASIS may recover meanwhile.

    Not ``is_patient``: the command line, where a person waits and reads.
    """
    first = next(iter(missing.values()))
    error = first if len(missing) == 1 else NoDataError(_summary(missing), remedy="The other days were taken in")
    if is_patient and any(isinstance(reason, OasisDownError | OasisIncompleteError) for reason in missing.values()):
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=RETRY_PAUSE_S) from error
    raise error


def _summary(missing: dict[date, NoDataError]) -> str:
    days = [str(day) for day in missing]
    shown = ", ".join(days[:10]) + (" …" if len(days) > 10 else "")
    return f"{len(days)} days are missing: {shown}; the first because: {next(iter(missing.values()))}"


def materialisation_of(day: date, frame: pl.DataFrame) -> dg.AssetMaterialization:
    """The event that says: `market/prices` has this day, with this content."""
    return dg.AssetMaterialization(
        key_of(PRICES),
        partition=day.isoformat(),
        metadata=figures_of(PRICES, frame),
        tags={"dagster/data_version": frame_hash(frame), "dagster/code_version": version_of(PRICES)},
    )
