"""A server of S3's protocol in a process of its own (moto), which counts its requests and fails as it is told to.

    python -m vpp_pipeline_tests.cluster.object_server PORT [ADDRESS]

Each request is answered alone, so that a condition is tested and the object made in one step, as real stores do. Posts
to ``/fault`` say what goes wrong with the next requests, and ``/counts`` gives how many there were, by kind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

import httpx

LOOPBACK = "127.0.0.1"
KEY_ID, SECRET = "AKIAVPPTESTSONLY00", "a-secret-that-no-text-may-show"
BUCKET = "bucket"
START_S = 60.0


class Server:
    """moto's application behind a lock, with a count and faults."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application, self.lock = application, Lock()
        self.counts: Counter[str] = Counter()
        self.faults: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/counts":
            return self._own(start, dict(self.counts))
        if path == "/fault":
            told = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self.faults = [*self.faults, told] if told["times"] else []
            return self._own(start, {})
        with self.lock:
            if path.startswith(f"/{BUCKET}"):
                kind = "list" if "list-type" in environ["QUERY_STRING"] else method.lower()
                self.counts[kind] += 1
            fault = self._fault(method, path, environ)
            if fault and fault["kind"] == "status":  # not done, and said so
                start(f"{fault['status']} Fault", [("Content-Type", "application/xml")])
                return [b"<Error><Code>SlowDown</Code><Message>again</Message></Error>"]
            if fault and fault["kind"] == "wait":
                self.counts["waited"] += 1
                time.sleep(fault["seconds"])
            if fault and fault["kind"] == "unconditional":
                environ.pop("HTTP_IF_NONE_MATCH", None)
            answer: dict[str, Any] = {}

            def keep(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
                answer.update(status=status, headers=headers)

            body = b"".join(self.application(environ, keep))
        if fault and fault["kind"] == "lost":  # done, and the answer lost on its way
            start("503 Fault", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"]
        start(answer["status"], answer["headers"])
        return [body]

    def _fault(self, method: str, path: str, environ: Mapping[str, Any]) -> dict[str, Any] | None:
        for fault in self.faults:
            if fault["times"] and method == fault["method"] and fault["within"] in path:
                fault["times"] -= 1
                return fault
        return None

    def _own(self, start: Callable[..., Any], told: Mapping[str, Any]) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]


class Running:
    """A server that runs, and what a process needs to use it."""

    def __init__(self, port: int, address: str = LOOPBACK) -> None:
        self.at = f"http://{address}:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.at,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def counts(self) -> dict[str, int]:
        """Requests so far, by kind."""
        found: dict[str, int] = httpx.get(f"{self.at}/counts").json()
        return found

    def fault(self, kind: str, method: str = "PUT", within: str = "", times: int = 1, **how: Any) -> None:
        """Let the next ``times`` requests go wrong whose path has ``within`` in it; 0: none any more."""
        told = {"kind": kind, "method": method, "within": within, "times": times, **how}
        httpx.post(f"{self.at}/fault", json=told).raise_for_status()


@contextmanager
def running(address: str = LOOPBACK, before: Sequence[str] = ()) -> Iterator[Running]:
    """A server with an empty bucket, until the block ends; ``before``: words that lead into its network."""
    own = __spec__.name if __name__ == "__main__" else __name__
    command = [*before, sys.executable, "-m", own, "0", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield Running(int(process.stdout.readline()), address)
        finally:
            process.kill()


def main() -> None:
    """Serve until killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as those of real stores are

        def log(self, *_: Any) -> None:
            """Requests are counted instead."""

    server = Server(DomainDispatcherApplication(create_backend_app))
    address = sys.argv[2] if len(sys.argv) > 2 else LOOPBACK
    served = make_server(address, int(sys.argv[1]), server, threaded=True, request_handler=Handler)
    serving = Thread(target=served.serve_forever)
    serving.start()
    httpx.put(f"http://{address}:{served.server_port}/{BUCKET}", timeout=START_S).raise_for_status()
    print(served.server_port, flush=True)
    serving.join()


if __name__ == "__main__":
    main()
