"""A stand-in for Gemini's REST service on this machine: the real SDKs talk to it over real HTTP.

It answers `POST /v1beta/models/{model}:generateContent` as scripted, failures included.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL_VERSION = "fake-gemini-1"
PROMPT_TOKENS = 111
_PATH = re.compile(r"^/v1beta/models/(?P<model>[^:/?]+):generateContent")


@dataclass(frozen=True)
class Step:
    """One scripted answer: ``kind`` names it, "ok" answers ``data`` (text as it is, else as JSON)."""

    kind: str = "ok"
    data: Any = None
    delay_s: float = 0.0
    retry_after: str | None = None  # header
    retry_delay: str | None = None  # RetryInfo in the body
    location: str = ""  # of a redirect


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at_s: float = field(default_factory=time.monotonic)

    @property
    def prompt(self) -> str:
        return str(self.body["contents"][0]["parts"][0]["text"])


class FakeGemini:
    """``with FakeGemini() as server``: answers ``script`` first, then ``responder`` or ``default``."""

    def __init__(self, responder: Callable[[Request], Any] | None = None, latency_s: float = 0.0) -> None:
        self.script: deque[Step] = deque()
        self.default = Step("ok", {})
        self.responder, self.latency_s = responder, latency_s
        self.seen: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeGemini:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_step(self, request: Request) -> Step:
        self.seen.append(request)
        if self.script:
            return self.script.popleft()
        if self.responder is None:
            return self.default
        answer = self.responder(request)
        return answer if isinstance(answer, Step) else Step("ok", answer)


def whole(text: str, finish: str = "STOP", **usage: int) -> dict[str, Any]:
    """The body of an answer."""
    output = max(1, len(text) // 4)
    counts = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": output}
    return {
        "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": counts | {"totalTokenCount": PROMPT_TOKENS + output} | usage,
        "modelVersion": MODEL_VERSION,
    }


def _error(code: int, status: str, message: str, details: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


_USAGE = {"promptTokenCount": 9, "totalTokenCount": 9}
#: kind -> status, body
_BODIES: dict[str, tuple[int, dict[str, Any]]] = {
    "500": (500, _error(500, "INTERNAL", "internal error")),
    "503": (503, _error(503, "UNAVAILABLE", "the model is overloaded")),
    "bad_key": (400, _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")),
    "forbidden": (403, _error(403, "PERMISSION_DENIED", "no permission")),
    "unknown_model": (404, _error(404, "NOT_FOUND", "the model is not found")),
    "malformed": (200, whole('{"number": 1,,}')),
    "truncated": (200, whole('{"numb', "MAX_TOKENS")),
    "truncated_empty": (
        200,
        {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}], "usageMetadata": _USAGE},
    ),
    "blocked_prompt": (200, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": _USAGE}),
    "blocked_answer": (200, {"candidates": [{"finishReason": "SAFETY", "index": 0}], "usageMetadata": _USAGE}),
    "unknown_end": (200, whole('{"number": 1}', "A_REASON_OF_THE_FUTURE")),
    "nothing": (200, {}),
    "refund": (200, whole('{"number": 1}', promptTokenCount=-(10**9), totalTokenCount=-(10**9))),
    "no_usage": (200, {key: value for key, value in whole('{"number": 1}').items() if key != "usageMetadata"}),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    fake: FakeGemini

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        fake = self.server.fake
        step = fake.next_step(request)
        if not _PATH.match(self.path):
            self._json(404, _error(404, "NOT_FOUND", "no such route"))
            return
        time.sleep(fake.latency_s + step.delay_s)
        self._answer(step, request)

    do_GET = do_POST

    def _answer(self, step: Step, request: Request) -> None:
        kind = step.kind
        if kind in _BODIES:
            self._json(*_BODIES[kind])
        elif kind == "429":
            details = ({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": step.retry_delay},)
            body = _error(429, "RESOURCE_EXHAUSTED", "quota exceeded", details if step.retry_delay else ())
            self._json(429, body, {"Retry-After": step.retry_after} if step.retry_after else {})
        elif kind == "echo":  # a proxy that repeats headers, key included, in its error
            status = f"{request.headers}"
            self._json(500, _error(500, status, f"bad request with {request.headers} API key"), {"X-Echo": status})
        elif kind == "redirect":
            self._bytes(307, b"", "text/plain", {"Location": step.location})
        elif kind == "html":
            self._bytes(200, b"<html>a proxy's error</html>", "text/html")
        elif kind == "drop":
            self.close_connection = True
            self.connection.close()
        elif kind == "cut":
            raw = json.dumps(whole('{"number": 1}')).encode()
            self._bytes(200, raw[: len(raw) // 2], "application/json", {"Content-Length": str(len(raw) + 500)})
            self.close_connection = True
        elif kind == "trickle":  # never silent for long, never done: passes every time limit per read
            raw = json.dumps(whole('{"number": 1}')).encode()
            self._bytes(200, b"", "application/json", {"Content-Length": str(len(raw))})
            for each in range(0, len(raw), 20):
                self.wfile.write(raw[each : each + 20])
                self.wfile.flush()
                time.sleep(0.2)
        elif kind == "fenced":
            self._json(200, whole(f"```json\n{json.dumps(step.data)}\n```"))
        elif kind == "key_in_answer":
            self._json(200, whole(json.dumps({"number": 1, "words": request.headers["x-goog-api-key"]})))
        elif kind == "key_as_version":
            answer = whole(json.dumps({"number": 1, "words": ""}))
            self._json(200, answer | {"modelVersion": request.headers["x-goog-api-key"]})
        elif kind == "key_as_end":
            self._json(200, whole('{"number": 1}', request.headers["x-goog-api-key"]))
        elif kind == "key_as_block":
            self._json(200, {"promptFeedback": {"blockReason": request.headers["x-goog-api-key"]}})
        else:
            self._json(200, whole(step.data if isinstance(step.data, str) else json.dumps(step.data)))

    def _json(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._bytes(status, json.dumps(body).encode(), "application/json; charset=UTF-8", headers)

    def _bytes(self, status: int, raw: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(raw))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
        self.wfile.flush()
