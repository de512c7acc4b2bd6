"""Retries and answers over HTTP: which errors are repeated, how long the pauses are, and what a late answer becomes."""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from vpp_pipeline.core.errors import Again
from vpp_pipeline.core.http import Refused, _Exchange, ask, asked_wait_s, get, repeat
from vpp_pipeline_tests.market.local_http import LocalHandler, dripping, serving_with

NOW = datetime(2024, 7, 11, 12, tzinfo=UTC)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def failing(*errors: Exception) -> Callable[[], str]:
    """Raises each of ``errors`` in turn, then returns "done"."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_pauses_double_to_the_longest_and_are_never_shorter_than_asked_for(pauses: list[float]):
    waits = [0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0]
    assert ask(failing(*(Again("busy", wait) for wait in waits)), "test", attempts=8, backoff_s=1.0) == "done"
    assert pauses == [1.0, 2.0, 7.0, 8.0, 12.0, 12.0, 12.0]


def test_a_service_cannot_make_us_wait_for_good(pauses: list[float]):
    assert ask(failing(Again("busy", 86_400.0)), "test", attempts=2, backoff_s=1.0) == "done"
    assert ask(failing(Again("busy", 86_400.0)), "test", attempts=2, backoff_s=1.0, longest_wait_s=90.0) == "done"
    assert pauses == [300.0, 90.0]


def test_the_last_error_is_raised_when_the_attempts_are_used_up(pauses: list[float]):
    with pytest.raises(Again, match="second"):
        ask(failing(Again("first"), Again("second"), Again("third")), "test", attempts=2, backoff_s=1.0)
    assert pauses == [1.0]


def test_an_error_that_no_repetition_heals_is_raised_at_once(pauses: list[float]):
    with pytest.raises(Refused):
        ask(failing(Refused("no"), Again("later")), "test", attempts=5, backoff_s=1.0)
    assert pauses == []


def test_no_attempt_begins_after_the_end(pauses: list[float]):
    asked = {"attempts": 9, "first_pause_s": 50.0, "longest_pause_s": 50.0, "asked_s": lambda _: 0.0}
    with pytest.raises(Again):
        repeat(failing(Again("busy")), "test", end_s=time.monotonic() + 49.0, **asked)
    assert pauses == []
    assert repeat(failing(Again("busy")), "test", end_s=time.monotonic() + 99.0, **asked) == "done"


def test_every_wait_for_a_feed_is_named(pauses: list[float], caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="vpp_pipeline")
    ask(failing(Again("HTTP 503"), Again("HTTP 429", 60.0)), "OASIS, PRC_AS", attempts=6, backoff_s=5.0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "OASIS, PRC_AS: HTTP 503; attempt 2 of 6 follows in 5.0 s"),
        ("WARNING", "OASIS, PRC_AS: HTTP 429; attempt 3 of 6 follows in 60.0 s"),
    ]


def test_of_other_services_a_long_pause_is_a_warning_and_a_short_one_a_note(
    pauses: list[float], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="vpp_pipeline")
    asked = {"attempts": 9, "first_pause_s": 5.0, "longest_pause_s": 50.0, "asked_s": lambda error: error.after_s}
    repeat(failing(Again("HTTP 503"), Again("HTTP 429", 60.0)), "model", **asked)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 11 Jul 2024 12:00:30 GMT", 30.0),
        ("Thu, 11 Jul 2024 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float):
    assert asked_wait_s(header, NOW) == seconds


class Handler(LocalHandler):
    def do_GET(self) -> None:
        kind = self.path.strip("/?").partition("?")[0]
        plain = {"Content-Type": "text/plain"}
        if kind == "busy":
            self.send(503, b"maintenance", {**plain, "Retry-After": "11"})
        elif kind == "moved":
            self.send(302, b"<html>moved</html>", {"Content-Type": "text/html", "Location": "http://elsewhere"})
        elif kind == "gone":
            self.send(404, b"no such report", plain)
        elif kind == "late":
            self.send(200, b"x" * 30, drip_s=0.1)
        elif kind == "zipped":
            self.send(200, b"no gzip", {"Content-Encoding": "gzip"})
        else:
            self.send(200, b"x" * 100)


@pytest.fixture
def address() -> Iterator[str]:
    with serving_with(Handler) as url:
        yield url


def asked(url: str, timeout_s: float = 20.0) -> bytes:
    return get(url, {"day": "2024-07-11"}, timeout_s=timeout_s, largest_bytes=100)


def test_a_whole_answer_is_its_bytes(address: str):
    assert asked(address) == b"x" * 100


def test_what_a_repetition_may_heal(address: str):
    with pytest.raises(Again, match="HTTP 503 Service Unavailable: maintenance") as busy:
        asked(f"{address}/busy")
    assert busy.value.after_s == 11.0
    with pytest.raises(Again, match=r"no whole answer within 0.5 s"):
        asked(f"{address}/late", timeout_s=0.5)
    with pytest.raises(Again, match="DecodingError"):
        asked(f"{address}/zipped")
    with pytest.raises(Again, match="ConnectError"):
        asked("http://127.0.0.1:9")


def test_what_no_repetition_heals(address: str):
    with pytest.raises(Refused, match=r"^HTTP 302 Found: sent on to http://elsewhere$"):
        asked(f"{address}/moved")
    with pytest.raises(Refused, match=r"^HTTP 404 Not Found: no such report$"):
        asked(f"{address}/gone")
    with pytest.raises(Refused, match="more than 5e-05 MB"):
        get(address, {}, timeout_s=20.0, largest_bytes=50)
    with pytest.raises(Refused, match="not an address"):
        asked("http://localhost:port")


@pytest.mark.parametrize("drips", ["nothing", "status", "headers", "body"])
def test_an_exchange_ends_at_its_limit_whatever_drips(drips: str):
    """Each read is quick; at 0.05 s a byte the whole takes minutes."""
    with dripping(drips, pause_s=0.05) as server:
        began = time.monotonic()
        with pytest.raises(Again, match=r"no whole answer within 0\.6 s"):
            asked(server.url, timeout_s=0.6)
        assert time.monotonic() - began < 3.0
        assert server.is_left(within_s=5.0), "the connection is still open"
    for thread in threading.enumerate():
        if thread.name == "http":
            thread.join(5.0)
            assert not thread.is_alive()


def test_user_password_and_key_of_an_address_arrive_and_are_never_shown(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    seen: list[tuple[str, str | None]] = []

    class Echo(LocalHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send(404, f"no report for {named}{self.path}".encode(), {"Content-Type": "text/plain"})

    with serving_with(Echo) as url:
        named = url.replace("//", "//desk:C4N4RY@")
        with pytest.raises(Refused) as refused:
            asked(f"{named}/api?apikey=C4N4RY2")
    assert seen == [("/api?apikey=C4N4RY2&day=2024-07-11", "Basic " + b64encode(b"desk:C4N4RY").decode())]
    assert "C4N4RY" not in str(refused.value)
    assert "C4N4RY" not in caplog.text
    for wrong in ("http://desk:C4/N4RY@host", "http://desk:C4N4RY@[::1", "ftp://desk:C4N4RY@host"):
        with pytest.raises(Refused, match=r"^not an address$"):
            asked(wrong)


@pytest.mark.parametrize("proxy", ["ftp://desk:C4N4RY@127.0.0.1:9", "socks5://desk:C4N4RY@127.0.0.1:9", "desk:C4/N@x"])
def test_an_unusable_proxy_is_refused_without_its_password(
    proxy: str, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(Refused, match="the proxy or the certificates") as refused:
        asked(address)
    assert "C4" not in f"{refused.value}{caplog.text}"


class Late(_Exchange):
    """Given up after its connection was made, and before the exchange has noted it."""

    def _note(self, event: str, about: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self.end()
        super()._note(event, about)


def test_a_connection_that_is_made_too_late_is_shut_down():
    """Nothing is sent, and the server sees the end."""
    with dripping("nothing", pause_s=0.05) as server:
        late = Late(server.url, {}, 5.0, 100)
        late.run()
        assert isinstance(late.error, Again)
        assert server.is_left(within_s=5.0)
