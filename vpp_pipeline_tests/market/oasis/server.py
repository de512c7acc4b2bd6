"""A local OASIS over real HTTP: the reports' exact layout, CAISO's limits, and faults on demand."""

from __future__ import annotations

import csv
import io
import random
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline_tests.market.local_http import LocalHandler, serving_with
from vpp_pipeline_tests.market.oasis.published import (
    AS_HEADER,
    LMP_HEADER,
    LOAD_HEADER,
    RENEWABLE_HEADER,
    Outlook,
    Published,
    Rows,
)

ERRORS = {
    "1000": "No data returned for the specified selection",
    "1001": "Invalid parameter in the request",
    "1004": "Data can be requested for period of 31 days only",
    "1015": "GroupZip DownLoad is in Processing, Please Submit request after Sometime.",
}
TOO_SOON = (
    b"<html><body><p>CAISO Acceptable Use Policy Violation. "
    b"Please retry your request after 5 seconds.</p></body></html>"
)
OUTLOOK_REPORTS = {"SLD_FCST": (LOAD_HEADER, ("2DA", "7DA")), "SLD_REN_FCST": (RENEWABLE_HEADER, ("DAM",))}
OUTLOOK_FIXED = {"version": "1", "resultformat": "6"}
XML = """<?xml version="1.0" encoding="UTF-8"?>
<m:OASISReport xmlns:m="http://www.caiso.com/soa/OASISReport_v1.xsd">
<m:MessageHeader><m:Source>OASIS</m:Source><m:Version>v20131201</m:Version></m:MessageHeader>
<m:MessagePayload><m:RTO><m:name>CAISO</m:name><m:ERROR><m:ERR_CODE>{code}</m:ERR_CODE>
<m:ERR_DESC>{words}</m:ERR_DESC></m:ERROR></m:RTO></m:MessagePayload></m:OASISReport>"""

#: faults that a repetition heals
PASSING = (
    "429",
    "429 with status 200",
    "500",
    "503",
    "slow",
    "trickle",
    "drop",
    "1015",
    "truncated",
    "missing hour",
    "missing region",
    "empty price",
    "contradiction",
    "torn body",
)
#: oddities that change nothing
HARMLESS = ("duplicates", "unsorted", "neighbours")


@dataclass
class Asked:
    """One request: when it came, what it asked, and what the server did to it."""

    at: float
    parameters: dict[str, str]
    fault: str | None


@dataclass
class LocalOasis:
    """Publishes days; ``faults`` are used up in order, one per request, then ``luck`` decides for each."""

    published: Published
    faults: list[str] = field(default_factory=list)
    luck: Callable[[], str | None] = lambda: None
    slow_s: float = 1.0
    least_pause_s: float = 0.0  # answers a request that comes sooner after the last one with 429
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    outlook: Outlook = lambda day, run: None
    retry_after: str = ""  # the header of answers 429 and 5xx

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    @property
    def reports(self) -> list[str]:
        """Which reports were asked for, in order."""
        return [one.parameters["queryname"] for one in self.asked]

    def note(self, parameters: dict[str, str]) -> str | None:
        """Note the request; the fault to show."""
        with self._turn:
            now = time.time()
            fault = self.faults.pop(0) if self.faults else self.luck()
            if self.asked and now - self.asked[-1].at < self.least_pause_s:
                fault = "429"
            self.asked.append(Asked(now, parameters, fault))
            return fault

    def answer(self, parameters: dict[str, str], fault: str | None) -> bytes:
        """The zip for a request."""
        if fault in ERRORS:
            return _error(fault)
        begin, end = (_moment(parameters[name]) for name in ("startdatetime", "enddatetime"))
        if parameters["queryname"] in OUTLOOK_REPORTS:
            return self._outlook(parameters, begin, end, fault)
        is_lmp = parameters["queryname"] == "PRC_LMP"
        fixed = {"version": "12", "resultformat": "6", "market_run_id": "DAM"}
        if any(parameters.get(name) != value for name, value in fixed.items()) or len(_nodes(parameters)) > 10:
            return _error("1001")
        if (end - begin) > (timedelta(days=31) if is_lmp else timedelta(hours=25)):
            return _error("1004")
        rows = self._rows(begin, end, is_lmp, _nodes(parameters))
        if not rows:
            return _error("1000")
        first, last = (moment.astimezone(PACIFIC).date() for moment in (begin, end - timedelta(hours=1)))
        name = f"{first:%Y%m%d}_{last:%Y%m%d}_{parameters['queryname']}_DAM_v12.csv"
        changed = self._changed(rows, fault, is_lmp, first)
        return _zip(name, _csv(LMP_HEADER if is_lmp else AS_HEADER, changed))

    def _outlook(self, parameters: dict[str, str], begin: datetime, end: datetime, fault: str | None) -> bytes:
        header, runs = OUTLOOK_REPORTS[parameters["queryname"]]
        run = parameters.get("market_run_id", "")
        if run not in runs or any(parameters.get(name) != value for name, value in OUTLOOK_FIXED.items()):
            return _error("1001")
        if (end - begin) > timedelta(days=31):
            return _error("1004")
        day, last, rows = begin.astimezone(PACIFIC).date(), end.astimezone(PACIFIC).date(), []
        while day < last:
            rows += self.outlook(day, run) or []
            day += timedelta(days=1)
        if not rows:
            return _error("1000")
        start = header.split(",").index("INTERVALSTARTTIME_GMT")
        kept = [row for row in rows if fault != "missing hour" or row[start] != rows[0][start]]
        return _zip(f"{parameters['queryname']}_{run}_v1.csv", _csv(header, kept))

    def _rows(self, begin: datetime, end: datetime, is_lmp: bool, nodes: list[str]) -> Rows:
        rows: Rows = []
        day, last = begin.astimezone(PACIFIC).date(), end.astimezone(PACIFIC).date()
        while day < last:
            found = self.published(day)
            if found is not None:
                rows += [row for row in found[0] if row[7] in nodes] if is_lmp else found[1]
            day += timedelta(days=1)
        return rows

    def _changed(self, rows: Rows, fault: str | None, is_lmp: bool, first: date) -> Rows:
        price = -2  # the column MW
        dice = random.Random(len(self.asked))
        if fault == "missing hour":
            hour = dice.choice(rows)[0]
            return [row for row in rows if row[0] != hour]
        if fault == "missing region":
            return rows[2:] if is_lmp else [row for row in rows if row[7] != "AS_SP26"]
        if fault in {"empty price", "contradiction"}:
            wanted = ("LMP",) if is_lmp else ("SR", "NR")
            place = next(k for k, row in enumerate(rows) if row[9 if is_lmp else 6] in wanted)
            other = list(rows[place])
            other[price] = "" if fault == "empty price" else "123.456"
            return [*rows[:place], other, *rows[place + 1 :]] if fault == "empty price" else [*rows, other]
        if fault == "duplicates":
            return rows + rows[:7]
        if fault == "unsorted":
            return dice.sample(rows, len(rows))
        if fault == "neighbours":
            beside = self.published(first - timedelta(days=1))
            return rows + ((beside[0] if is_lmp else beside[1]) if beside else [])
        return rows


def _nodes(parameters: dict[str, str]) -> list[str]:
    return parameters.get("node", "").split(",")


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H:%M-0000").replace(tzinfo=UTC)


def _csv(header: str, rows: Rows) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header.split(","), *rows])
    return out.getvalue().encode()


def _zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _error(code: str) -> bytes:
    return _zip("INVALID_REQUEST.xml", XML.format(code=code, words=ERRORS[code]).encode())


class _Handler(LocalHandler):
    oasis: LocalOasis

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(address.query).items()}
        fault = self.oasis.note(parameters) if address.path == "/oasisapi/SingleZip" else "404"
        if fault == "drop":
            self.connection.close()
        elif fault == "moved":
            self.send(302, b"", {"Location": "http://127.0.0.1:1/elsewhere"})
        elif fault in {"404", "429", "500", "503"}:
            body = TOO_SOON if fault == "429" else b"<html>sorry</html>"
            self.send(int(fault), body, {"Retry-After": self.oasis.retry_after} if self.oasis.retry_after else {})
        else:
            self._zip(parameters, fault)

    def _zip(self, parameters: dict[str, str], fault: str | None) -> None:
        if fault == "slow":
            time.sleep(self.oasis.slow_s)
        body = TOO_SOON if fault == "429 with status 200" else self.oasis.answer(parameters, fault)
        if fault == "truncated":
            body = body[: len(body) // 2]
        drip_s = self.oasis.slow_s / 10 if fault == "trickle" else 0.0
        self.send(200, body, keep=len(body) // 2 if fault == "torn body" else None, drip_s=drip_s)


@contextmanager
def serving(oasis: LocalOasis) -> Iterator[LocalOasis]:
    """The server at work, at ``oasis.url``."""
    with serving_with(_Handler, oasis=oasis) as address:
        oasis.url = f"{address}/oasisapi"
        yield oasis
