"""The pages of the desk by their addresses: answered one by one from the warehouse as it is, or written to a folder.

No address names a file: each is matched against :data:`ROUTES`, and a page is made from rows of the warehouse.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import quote, unquote, urlsplit

import duckdb

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.reporting.days_and_periods import calendar, month_of, period, periods
from vpp_pipeline.reporting.documents import export_table
from vpp_pipeline.reporting.html import Place, document
from vpp_pipeline.reporting.owners import MONTHS, owner_of, owner_page, owners_page
from vpp_pipeline.reporting.page import DOWNLOADS, facts_of, page
from vpp_pipeline.reporting.queries import ask
from vpp_pipeline.warehouse.publish import note_of
from vpp_pipeline.warehouse.tables import open_warehouse

LOG = logging.getLogger(__name__)
HTML = "text/html; charset=utf-8"
KINDS = {"html": HTML, "csv": "text/csv; charset=utf-8", "json": "application/json"}
DAY, MONTH = r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d"
UNDER_WAY = "A publication is under way, or was stopped: this page shows the warehouse before it."
HREF = re.compile(r'<a href="([^"#]+)')
Query = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a browser gets."""

    status: int
    body: bytes
    kind: str = HTML
    headers: Mapping[str, str] = field(default_factory=dict)
    why: str = ""  # the words of a page that says why there is none


@dataclass(frozen=True)
class Site:
    """The desk of a data folder."""

    data: Path
    is_served: bool = True  # whether somebody answers forms

    @property
    def warehouse(self) -> Path:
        """The file that all pages are read from."""
        return self.data / "vpp.duckdb"

    def answer(self, address: str, query: Query | None = None) -> Answer:
        """The page of an address below the first page's, decoded: `days/2023-08-15.html`. What cannot be shown is
        answered by a page that says why, and what to do."""
        for pattern, (part, handle) in ROUTES.items():
            if found := re.fullmatch(pattern, address, re.DOTALL):
                place = self._place(address, part)
                try:
                    return handle(self, place, dict(query or {}), **found.groupdict())
                except NoDataError as error:
                    return self._message(404, place, "Nothing to show", str(error))
                except InputError as error:
                    return self._message(503, place, "The warehouse cannot be read", str(error))
                except duckdb.CatalogException as error:
                    LOG.warning("%s: %s", self.warehouse, error)
                    words = (
                        "An earlier version has published this warehouse, without what the page needs "
                        f"({self.warehouse}). Bring it up to date: vpp-pipeline rebuild"
                    )
                    return self._message(503, place, "The warehouse is of an earlier version", words)
                except Exception:  # whatever it is, one page must not end the others; its cause is in the log
                    LOG.exception("%s", address)
                    words = "This page could not be made. The terminal that serves the desk says why."
                    return self._message(500, place, "A fault of ours", words)
        return self._message(404, self._place(address, ""), "No such page", "The desk has no page of this address.")

    def write(self, folder: Path) -> int:
        """Write the first page and all that can be reached from it into ``folder``; returns how many files.

        Raises InputError where one cannot be made or written.
        """
        site, waiting, done = replace(self, is_served=False), ["index.html"], set[str]()
        while waiting:
            address = waiting.pop()
            if address in done:
                continue
            done.add(address)
            answer = site.answer(address)
            if answer.status != 200:
                raise InputError(
                    f"the page {address} cannot be made: {answer.why.rstrip('.')}",
                    file=self.warehouse,
                    remedy="Then write the pages again",
                )
            try:
                file = folder / address
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(answer.body)
            except OSError as error:
                raise InputError(
                    f"the page cannot be written: {error.strerror}", file=folder / address, remedy="Name another folder"
                ) from None
            if answer.kind == HTML:
                links = map(unescape, HREF.findall(answer.body.decode()))
                waiting += [unquote(normpath(join(dirname(quote(address)), urlsplit(link).path))) for link in links]
        return len(done)

    def _place(self, address: str, part: str) -> Place:
        notice = UNDER_WAY if note_of(self.warehouse).is_file() else ""
        return Place("../" * address.count("/"), part, self.is_served, notice)

    def _message(self, status: int, place: Place, title: str, words: str) -> Answer:
        page = document("message.html.j2", place, title=title, banners={}, words=words)
        return Answer(status, page.encode(), why=words)


def _html(text: str) -> Answer:
    return Answer(200, text.encode())


def _elsewhere(address: str) -> Answer:
    return Answer(303, b"", headers={"Location": address})


def _date(text: str, *, last: bool = False) -> date:
    """A day, or the first or last one of a month. Raises NoDataError where the calendar has none."""
    try:
        if len(text) == len("2023-08"):
            return month_of(date.fromisoformat(f"{text}-01"))[last]
        return date.fromisoformat(text)
    except ValueError:
        raise NoDataError("no such day in the calendar", value=text, remedy="Write it as 2023-08-15") from None


def _calendar(site: Site, place: Place, query: Query) -> Answer:
    with open_warehouse(site.warehouse) as connection:
        return _html(calendar(connection, place))


def _day(site: Site, place: Place, query: Query, day: str) -> Answer:
    return _html(page(facts_of(site.data, _date(day), place)))


def _periods(site: Site, place: Place, query: Query) -> Answer:
    if "from" in query or "to" in query:
        first, last = sorted((_date(query.get("from", "")), _date(query.get("to", ""))))
        return _elsewhere(f"{first}_{last}.html")
    with open_warehouse(site.warehouse) as connection:
        return _html(periods(connection, place))


def _period(site: Site, place: Place, query: Query, first: str, last: str | None = None) -> Answer:
    with open_warehouse(site.warehouse) as connection:
        return _html(period(connection, _date(first), _date(last or first, last=True), place))


def _owners(site: Site, place: Place, query: Query, month: str | None = None) -> Answer:
    with open_warehouse(site.warehouse) as connection:
        known = [row["month"] for row in ask(connection, MONTHS)]
        if not known:
            raise NoDataError(
                "no bids are published yet", file=site.warehouse, remedy="Make a day's: vpp-pipeline bids"
            )
        first, last = month_of(_date(month or known[0]))
        return _html(owners_page(connection, first, last, query.get("find", "").strip(), place))


def _owner(site: Site, place: Place, query: Query, name: str, month: str) -> Answer:
    with open_warehouse(site.warehouse) as connection:
        first, last = month_of(_date(month))
        return _html(owner_page(connection, owner_of(connection, name), first, last, place))


def _download(site: Site, place: Place, query: Query, day: str, file: str) -> Answer:
    """A table of the day as a file: written to a folder of its own, and read from there."""
    if file not in DOWNLOADS:
        raise NoDataError("no such file of a day", value=file, remedy=f"There are {', '.join(DOWNLOADS)}")
    market_date, (table, _), kind = _date(day), DOWNLOADS[file], file.rpartition(".")[2]
    with tempfile.TemporaryDirectory(prefix="vpp_desk_") as folder:
        written = Path(folder) / file
        export_table(site.warehouse, market_date, table, kind, written)
        name = f'attachment; filename="{market_date}_{file}"'
        body, mime = written.read_bytes(), KINDS.get(kind, "application/vnd.apache.parquet")
        return Answer(200, body, mime, {"Content-Disposition": name})


#: pattern of an address -> entry of the menu that it is below, and what answers it
ROUTES: dict[str, tuple[str, Callable[..., Answer]]] = {
    r"|index\.html": ("Days", _calendar),
    rf"days/(?P<day>{DAY})\.html": ("Days", _day),
    r"periods/(?:index\.html)?": ("Periods", _periods),
    rf"periods/(?P<first>{MONTH})\.html": ("Periods", _period),
    rf"periods/(?P<first>{DAY})_(?P<last>{DAY})\.html": ("Periods", _period),
    r"owners/(?:index\.html)?": ("Owners", _owners),
    rf"owners/(?P<month>{MONTH})\.html": ("Owners", _owners),
    rf"owners/(?P<name>[^/]+)/(?P<month>{MONTH})\.html": ("Owners", _owner),
    rf"downloads/(?P<day>{DAY})/(?P<file>[a-z.]+)": ("Days", _download),
}
