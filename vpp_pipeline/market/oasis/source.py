"""OASIS as a source of prices: our own copy first, then the wire; a day is there when it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import polars as pl

from vpp_pipeline.core.calendar import (
    PACIFIC,
    hours_of_days,
    market_hours,
    outlook_published_utc,
    prices_published_utc,
)
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.archive import (
    LOAD_RUNS,
    OUTLOOK_COLUMNS,
    RENEWABLE_RUN,
    Copy,
    energy_of_day,
    of_day,
    outlook_place,
    region_of,
    reserves_of_day,
)
from vpp_pipeline.market.oasis.report import DAY, Incomplete, OasisDownError, OasisError
from vpp_pipeline.market.price_source import complete_day, day_by_day, whole_days
from vpp_pipeline.market.synthetic_prices import NODE
from vpp_pipeline.schemas import Prices, validate

if TYPE_CHECKING:
    from vpp_pipeline.market.oasis.client import OasisClient

CORRECTED_DAYS = 5  # for so many days after a market day CAISO may publish other prices of it
SULK_S = 300.0  # after OASIS was down, days are not asked for one by one, each with its own repetitions

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock, which tests replace."""
    return datetime.now(UTC)


class OasisPrices:
    """Day-ahead prices of one node. ``market.prices.source`` says ``oasis``, whether from the wire or from the copy."""

    name = "oasis"

    def __init__(self, settings: OasisSettings, node: str | None = None, now: Now = utc_now) -> None:
        """Raises ``InputError`` for a node whose reserve region neither its name nor the settings tell."""
        self.node = node or NODE
        self.settings = settings
        self._region = region_of(self.node, settings.region)
        self._copy = Copy(settings.archive or project_folder() / "data" / "archive", settings.url)
        self._now = now
        self._down: tuple[float, OasisDownError] | None = None

    def day(self, market_date: date) -> pl.DataFrame:
        """Rows of ``market.prices``; what the copy lacks is asked for and kept.

        Raises ``NoDataError`` for a day that is not published yet or that OASIS does not have (``OasisDownError`` and
        ``OasisIncompleteError`` are of that kind), and ``OasisError`` where it refuses.
        """
        held = self._held(market_date)
        return self._fetched(market_date) if held is None else held

    def days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Rows of ``market.prices`` of those of the days that there are: from the copy at once, else as :meth:`day`."""
        held = self.held_days(wanted)
        rest = day_by_day(self, [day for day in wanted if day not in held])
        return {day: (held | rest)[day] for day in wanted if day in held or day in rest}

    def held_days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Those of the days that the copy has, without a request. Raises ``InputError`` for a damaged one."""
        copied = [day for day in wanted if self._copy.has(day, self.node)]
        whole: dict[date, pl.DataFrame] = {}
        if copied:
            with suppress(InputError):  # a damaged file, which the reading of its day names
                prices = self._copy.prices(copied, self.node, self._region)
                whole = whole_days(prices, copied, self.node, self.name)
        return {day: whole[day] if day in whole else self.day(day) for day in copied}

    def again(self, market_date: date) -> pl.DataFrame:
        """The day asked for anew, for corrections that CAISO publishes within days; replaces the copy."""
        return self._fetched(market_date, anew=True)

    def is_correctable(self, market_date: date) -> bool:
        """Whether CAISO may have corrected the day since it was asked for: it is one of the five days before today, and
        its copy was fetched before today, by the Pacific clock. Raises ``InputError`` for a damaged copy."""
        fetched, today = self._copy.fetched_utc(market_date, self.node), self._now().astimezone(PACIFIC).date()
        is_recent = 1 <= (today - market_date).days <= CORRECTED_DAYS
        return is_recent and fetched is not None and fetched.astimezone(PACIFIC).date() < today

    def holds(self, market_date: date) -> bool:
        """Whether the copy has the whole day, so that no request is needed."""
        return self._held(market_date) is not None

    def is_due(self, market_date: date) -> bool:
        """Whether the day's prices should be out, by the clock: 13:00 Pacific of the day before."""
        return prices_published_utc(market_date) <= self._now()

    def is_published(self, market_date: date) -> bool:
        """Ask without patience, within a minute: are all of the day's energy prices out?

        Raises ``NoDataError`` of its kinds where OASIS is down, and ``OasisError`` where it refuses.
        """
        from vpp_pipeline.market.oasis.client import lmp_question

        question = lmp_question(market_date, market_date, self.node)
        try:
            self._client().hurried().ask(question, lambda rows: energy_of_day(rows, market_date, self.node))
        except OasisDownError:
            raise
        except NoDataError:  # error 1000, or a part of the day: not out yet
            return False
        return True

    def prefetch(self, days: Sequence[date]) -> int:
        """Keep the energy prices of whole days among ``days``, up to 31 a question; how many. The others are left to
        :meth:`day`, which asks for each and says what it lacks."""
        from vpp_pipeline.market.oasis.client import lmp_question, windows

        wanted = [day for day in days if self.is_due(day) and self._copy.lmp(day, self.node) is None]
        kept = 0
        for first, last in windows(wanted):
            if first == last:
                continue
            try:
                rows = self._client().ask(lmp_question(first, last, self.node), lambda answer: answer)
            except OasisDownError:
                raise
            except NoDataError:  # of the whole window; `day` says so of each
                continue
            for day in (day for day in wanted if first <= day <= last):
                kept += self._keep_if_whole(day, rows)
        if self.settings.outlook:
            self._prefetch_outlook([day for day in days if self.is_due(day)])
        return kept

    def outlook(self, market_date: date, may_ask: bool = False) -> pl.DataFrame | None:
        """What the system was forecast to be on the day before its bids closed: load, solar and wind, MW.

        ``market_date``, ``hour_ending``, ``load_mw``, ``solar_mw`` and ``wind_mw`` of all hours, from the copy, or with
        ``may_ask`` from OASIS: the load two days ahead (seven, where OASIS lacks that), solar and wind day ahead.
        Nothing where a part is missing; OASIS is asked without patience, since bids can be made without. Raises
        ``OasisError`` where it refuses, and ``InputError`` for a damaged copy.
        """
        load = None
        for run in LOAD_RUNS:
            if load is None:
                load = self._forecast_of_system(market_date, run, may_ask)
        renewables = None if load is None else self._forecast_of_system(market_date, RENEWABLE_RUN, may_ask)
        if load is None or renewables is None:
            return None
        hours = market_hours(market_date).join(load, on="start_utc").join(renewables, on="start_utc")
        return hours.select("market_date", "hour_ending", *OUTLOOK_COLUMNS)

    def outlooks(self, days: Sequence[date]) -> pl.DataFrame:
        """:meth:`outlook` of those of ``days`` that the copy has, in one pass and without a request."""
        hours = hours_of_days(days).join(self._copy.outlook(days), on="start_utc", how="left", maintain_order="left")
        is_whole = pl.all_horizontal(pl.col(OUTLOOK_COLUMNS).is_not_null()).all().over("market_date")
        return hours.filter(is_whole).select("market_date", "hour_ending", *OUTLOOK_COLUMNS)

    def _forecast_of_system(self, day: date, run: str, may_ask: bool) -> pl.DataFrame | None:
        """One report of the outlook, read; what the copy lacks is kept as soon as it is whole."""
        from vpp_pipeline.market.oasis.client import outlook_question

        table, partition, read = outlook_place(day, run)
        rows = self._copy.kept(table, partition)
        if rows is None:
            if not may_ask or outlook_published_utc(day) > self._now():
                return None
            question = outlook_question(day, day, run)
            try:
                rows = self._client().hurried().ask(question, lambda found: _if_whole(found, read))
            except NoDataError:
                return None
            self._copy.keep(table, partition, rows)
        try:
            return read(rows)
        except Incomplete as gap:
            raise self._damaged(day, gap) from None

    def _prefetch_outlook(self, days: Sequence[date]) -> None:
        """Keep the outlook of those of ``days`` that OASIS has whole, up to 31 days a question."""
        from vpp_pipeline.market.oasis.client import outlook_question, windows

        for run in (LOAD_RUNS[0], RENEWABLE_RUN):
            wanted = [day for day in days if self._copy.kept(*outlook_place(day, run)[:2]) is None]
            for first, last in windows(wanted):
                try:
                    rows = self._client().ask(outlook_question(first, last, run), lambda answer: answer)
                except OasisDownError:
                    raise
                except NoDataError:
                    continue
                for day in (day for day in wanted if first <= day <= last):
                    table, partition, read = outlook_place(day, run)
                    of_one = rows.filter(pl.col(DAY) == day.isoformat())
                    with suppress(Incomplete):
                        self._copy.keep(table, partition, _if_whole(of_one, read))

    def _keep_if_whole(self, day: date, rows: pl.DataFrame) -> bool:
        try:
            energy_of_day(rows, day, self.node)
        except Incomplete:
            return False
        self._copy.keep_lmp(day, self.node, self._of_node(rows, day))
        return True

    def _of_node(self, rows: pl.DataFrame, day: date) -> pl.DataFrame:
        return of_day(rows, day).filter(pl.col("NODE") == self.node)

    def _held(self, day: date) -> pl.DataFrame | None:
        lmp, reserves = self._copy.lmp(day, self.node), self._copy.reserves(day)
        return None if lmp is None or reserves is None else self._prices(day, lmp, reserves)

    def _fetched(self, day: date, anew: bool = False) -> pl.DataFrame:
        if not self.is_due(day):
            raise NoDataError(
                f"OASIS publishes the prices of {day} at {prices_published_utc(day):%Y-%m-%d %H:%MZ}",
                remedy="Try again then, or choose an earlier day",
            )
        if self._down is not None and time.monotonic() - self._down[0] < SULK_S:
            raise self._down[1]
        try:
            return self._ask(day, anew)
        except OasisDownError as error:
            self._down = (time.monotonic(), error)
            raise

    def _ask(self, day: date, anew: bool) -> pl.DataFrame:
        from vpp_pipeline.market.oasis.client import lmp_question, reserves_question

        def energy(rows: pl.DataFrame) -> pl.DataFrame:
            energy_of_day(rows, day, self.node)
            return self._of_node(rows, day)

        def reserve(rows: pl.DataFrame) -> pl.DataFrame:
            reserves_of_day(rows, day, self._region)
            return of_day(rows, day)

        lmp = None if anew else self._copy.lmp(day, self.node)
        if lmp is None:
            lmp = self._client().ask(lmp_question(day, day, self.node), energy)
            self._copy.keep_lmp(day, self.node, lmp)
        reserves = None if anew else self._copy.reserves(day)
        if reserves is None:
            reserves = self._client().ask(reserves_question(day), reserve)
            self._copy.keep_reserves(day, reserves)
        return self._prices(day, lmp, reserves)

    def _client(self) -> OasisClient:
        from vpp_pipeline.market.oasis.client import OasisClient  # httpx is loaded by who asks, not by every run

        return OasisClient(self.settings)

    def _prices(self, day: date, lmp: pl.DataFrame, reserves: pl.DataFrame) -> pl.DataFrame:
        try:
            energy, reserve = energy_of_day(lmp, day, self.node), reserves_of_day(reserves, day, self._region)
        except Incomplete as gap:
            raise self._damaged(day, gap) from None
        frame = complete_day(energy.join(reserve, on="start_utc"), day, f"OASIS, {day}")
        return validate(Prices, frame.with_columns(node=pl.lit(self.node), source=pl.lit(self.name)))

    def _damaged(self, day: date, gap: Incomplete) -> OasisError:
        return OasisError(
            f"our copy of {day} is not whole: {gap}",
            file=self._copy.root,
            remedy="Ingest the day with --again, while OASIS still has it",
        )


def _if_whole(rows: pl.DataFrame, read: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """The rows as they are. Raises ``Incomplete`` where they are not a whole day."""
    read(rows)
    return rows
