"""The HTTP server of the desk: pages and files of one data folder, to browsers of this machine alone."""

from __future__ import annotations

import logging
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock
from urllib.parse import parse_qs, unquote, urlsplit

from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.core.paths import desk_address
from vpp_pipeline.data_settings import lake_of
from vpp_pipeline.reporting.site import Answer, Site
from vpp_pipeline.warehouse.publish import complete

LOG = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
OURS = {LOOPBACK, "localhost"}
PATIENCE_S = 20.0  # for a request that comes in pieces
FOLLOW_S = 30.0  # between two looks at a lake that other machines commit to
MOST_AT_ONCE = 4  # pages that are made at the same time: each may read a large day
METHODS = "GET, HEAD"
#: no other site may frame, read, or keep what is answered
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of requests that name this machine as their host."""

    server: DeskServer
    timeout = PATIENCE_S
    server_version, sys_version = "vpp-pipeline", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The page of the address."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Its head alone."""
        self._send(self._answer(), is_head=True)

    def _refuse(self) -> None:
        self.close_connection = True  # whatever follows is not read
        self._send(Answer(405, b"only GET and HEAD are answered\n", "text/plain", {"Allow": METHODS}))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self) -> Answer:
        """Another host's name in the request is that of a site which points its own name at this machine."""
        if (self.headers.get("Host") or "").lower() not in self.server.hosts:
            return Answer(421, b"this server answers for its own address alone\n", "text/plain")
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that is not read must not be taken for the next request
        try:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, max_num_fields=10).items()}
        except ValueError:
            return Answer(400, b"this address cannot be read\n", "text/plain")
        with self.server.at_once:
            self.server.follow()
            return self.server.site.answer(unquote(parts.path).removeprefix("/"), query)

    def _send(self, answer: Answer, *, is_head: bool = False) -> None:
        self.send_response(answer.status)
        own = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in {**HEADERS, **own}.items():
            self.send_header(name, value)
        self.end_headers()
        if not is_head:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *values: object) -> None:
        """Requests are details (-vv)."""
        LOG.debug(format, *values)


class ParentEndedError(Exception):
    """The process that this one serves beside is gone."""


class DeskServer(ThreadingHTTPServer):
    """The server on loopback. With ``parent``, a process's id, it ends when that is no longer its parent.

    Raises InputError where the port is taken.
    """

    daemon_threads = True

    def __init__(self, data: Path, port: int, parent: int | None = None) -> None:
        self.site, self.parent, self.at_once = Site(data), parent, BoundedSemaphore(MOST_AT_ONCE)
        self._following, self._followed_s = Lock(), -FOLLOW_S
        try:
            super().__init__((LOOPBACK, port), Handler)
        except OSError as error:
            raise InputError(
                f"the desk cannot be served: {error.strerror}",
                key="port",
                value=port,
                remedy="Name another with --port",
            ) from None
        named = urlsplit(desk_address() or "").netloc.lower()  # of a proxy before it, which its owner has set
        self.hosts = {f"{host}:{self.server_port}" for host in OURS} | ({named} if named else set())

    @property
    def address(self) -> str:
        """Where a browser of this machine finds it."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def follow(self) -> None:
        """Let the warehouse have what other machines have committed, where the lake is shared; a page that is asked for
        meanwhile shows the former state."""
        if time.monotonic() - self._followed_s < FOLLOW_S or not self._following.acquire(blocking=False):
            return
        try:
            self._followed_s = time.monotonic()
            if (lake := lake_of(self.site.data)).is_shared:
                complete(lake, self.site.warehouse)
        except (InputError, StoreError) as error:
            LOG.warning("%s", error)
        finally:
            self._following.release()

    def service_actions(self) -> None:
        """Between two requests, twice a second."""
        if self.parent is not None and os.getppid() != self.parent:
            raise ParentEndedError

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that has gone away, or a request that cannot be read, is no news."""
        LOG.debug("a request of %s ended early", client_address, exc_info=True)


def free_server(data: Path, named: int | None, preferred: int) -> DeskServer:
    """A server on the port that is ``named``, else on the ``preferred`` one or, where that is taken, on any other.

    Raises InputError where the named one is taken.
    """
    if named is not None:
        return DeskServer(data, named)
    try:
        return DeskServer(data, preferred)
    except (InputError, OverflowError):  # taken by another desk, or beyond the last port
        return DeskServer(data, 0)


def serve(server: DeskServer) -> None:
    """Answer until Ctrl-C, or until the parent ends."""
    with server:
        try:
            server.serve_forever()
        except (KeyboardInterrupt, ParentEndedError):
            return
