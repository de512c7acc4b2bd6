"""What local servers of the tests have in common: real HTTP on this machine, whole or torn or dripping answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalHandler(BaseHTTPRequestHandler):
    """Answers that may be cut short, or come a byte now and then."""

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str] = {}, keep: int | None = None, drip_s: float = 0.0
    ) -> None:
        """``keep``: only so many bytes of what was promised; ``drip_s``: a pause after each of the first bytes."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if drip_s:  # each read is quick, the whole is not
            for byte in body[:30]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(drip_s)
            return
        self.wfile.write(body[:keep])

    def log_message(self, *_: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that gave up, as it should after its own limit."""


@contextmanager
def serving_with(handler: type[LocalHandler], **named: object) -> Iterator[str]:
    """A server at work on a free port, whose handlers have the attributes ``named``; its address."""
    server = _Quiet(("127.0.0.1", 0), type("Handler", (handler,), named))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
