"""What local servers of the tests have in common: real HTTP on this machine, whole or torn or dripping answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


class Dripping:
    """A bare server on a free port that sends its answer a byte at a time, from the part that ``drips`` names on."""

    PARTS = ("status", "headers", "body")
    ANSWER = (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4000\r\nX-Padding: " + b"x" * 4000 + b"\r\n\r\n", b"y" * 4000)

    def __init__(self, drips: str, pause_s: float) -> None:
        at_once = self.PARTS.index(drips) if drips in self.PARTS else 0
        self._first = b"".join(self.ANSWER[:at_once])
        self._rest = b"".join(self.ANSWER[at_once:]) if drips in self.PARTS else b""  # "nothing" is sent at all
        self._pause_s, self._left = pause_s, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def is_left(self, within_s: float) -> bool:
        """Whether the client has closed its connection."""
        return self._left.wait(within_s)

    def serve(self) -> None:
        """Answer one client after the other, until the server is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            client.recv(65_536)
            client.sendall(self._first)
            client.settimeout(self._pause_s)
            for byte in self._rest or b"\0" * 10_000:
                if self._rest:
                    client.sendall(bytes([byte]))
                try:
                    if not client.recv(1):
                        break
                except TimeoutError:
                    continue
        self._left.set()

    def close(self) -> None:
        """End; a thread that waits for a client wakes up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def dripping(drips: str, pause_s: float) -> Iterator[Dripping]:
    """Such a server at work."""
    server = Dripping(drips, pause_s)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5.0)
