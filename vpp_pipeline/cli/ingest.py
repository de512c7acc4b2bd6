"""Taking in a range of days: with a progress bar, and so that a killed one goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vpp_pipeline.cli.run_job import project_instance
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.defs.asset_factory import DAYS
from vpp_pipeline.defs.price_intake import is_in, materialisation_of, take_in
from vpp_pipeline.defs.resources import Prices, prices_beside
from vpp_pipeline.defs.sensors import newest_due
from vpp_pipeline.market.oasis.report import OasisDownError
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_source import PriceSource

MONTH = 31


def ingest_range(first: date, last: date | None, data: Path, prices: dict[str, Any], anew: bool = False) -> str:
    """Take in ``first`` to ``last`` (default: the newest that should be out), oldest first; a sentence on the result.

    Each day is written and recorded when it is whole; days that the lake holds from this source and node are skipped,
    unless ``anew``. Days that the source did not give are tried once more at the end. Raises ``NoDataError`` naming
    what is still missing, ``OasisDownError`` as soon as OASIS is down, and ``InputError`` for a wrong day: what came
    before is kept.
    """
    source, lake = Prices(**{**prices_beside(data), **prices}).open(), Lake(data / "lake")
    last = last or newest_due(datetime.now(UTC))
    if last < first:
        raise InputError("a range that ends before it begins", value=f"{first} to {last}", remedy="Exchange the two")
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    wanted = days if anew else [day for day in days if not is_in(lake, day, source)]
    tried, missing = wanted, dict[date, NoDataError]()
    with project_instance() as instance, _bar() as bar:
        task = bar.add_task(f"{source.name} {source.node}", total=len(days), completed=len(days) - len(wanted))
        for _ in range(2):
            missing = {}
            for day, found in _given(source, tried, anew):
                if isinstance(found, NoDataError):
                    missing[day] = found
                    continue
                take_in(lake, day, found)
                if DAYS.has_partition_key(day.isoformat()):  # earlier days are kept, for those who learn from them
                    instance.report_runless_asset_event(materialisation_of(day, found))
                bar.advance(task)
            tried = list(missing)
    done = f"{len(wanted) - len(missing)} of {len(days)} days taken in from {source.name}, {len(days) - len(wanted)} "
    done += f"were there; {first} to {last} at {source.node} in {lake.root}"
    if missing:
        names = ", ".join(map(str, list(missing)[:10])) + (" …" if len(missing) > 10 else "")
        raise NoDataError(
            f"{len(missing)} days are missing: {names}; {done}; the first because: {next(iter(missing.values()))}",
            remedy="The same command goes on where this one ended",
        )
    return done


def _given(source: PriceSource, days: Sequence[date], anew: bool) -> Iterator[tuple[date, Any]]:
    """Each day with its prices, or with why there are none; energy prices of OASIS are fetched a month at a time."""
    for at in range(0, len(days), MONTH):
        month = days[at : at + MONTH]
        if isinstance(source, OasisPrices) and not anew:
            source.prefetch(month)
        for day in month:
            try:
                yield day, source.again(day) if anew and isinstance(source, OasisPrices) else source.day(day)
            except OasisDownError:
                raise
            except NoDataError as reason:
                yield day, reason


def _bar() -> Progress:
    """On the error stream, and on a terminal only: the result alone is printed where output is read by programs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
