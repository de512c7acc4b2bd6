"""A real Caddy with deploy/Caddyfile: nothing without a login, nothing for other sites, and the desk on loopback."""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.reporting.server import DeskServer

CADDY = shutil.which("caddy")
pytestmark = pytest.mark.skipif(CADDY is None, reason="Caddy is not installed; on Debian: apt install caddy")
DAGSTER, DESK = "dagster.localhost", "desk.localhost"
LOGIN = {"Authorization": f"Basic {base64.b64encode(b'trader:a word').decode()}"}


class Behind(BaseHTTPRequestHandler):
    """What stands where the webserver does: it answers all, and tells what has come."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = f"{self.command} {self.path} {self.headers.get('Authorization')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Proxy:
    """Where Caddy listens, and by which certificate it is known."""

    port: int
    trusted: Path

    def ask(self, method: str, host: str, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of one request."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(host)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        with context.wrap_socket(plain, server_hostname=host) as connection.sock:
            connection.request(method, path, body=b"{}" if method == "POST" else None, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _served(server: ThreadingHTTPServer) -> ThreadingHTTPServer:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    assert CADDY is not None
    folder, port = tmp_path_factory.mktemp("proxy"), _port()
    ask = [CADDY, "hash-password", "--plaintext", "a word"]
    (folder / "users").write_text(f"trader {subprocess.run(ask, check=True, capture_output=True, text=True).stdout}")
    text = (project_folder() / "deploy" / "Caddyfile").read_text()
    version = subprocess.run([CADDY, "version"], check=True, capture_output=True, text=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 8):
        text = text.replace("basic_auth {", "basicauth {")  # its name before 2.8
    # free ports, and certificates of its own, which it does not put among those that this machine trusts
    options = f"http_port {_port()}\n\thttps_port {port}\n\tskip_install_trust\n\tlocal_certs"
    (folder / "Caddyfile").write_text(text.replace("admin off", f"admin off\n\t{options}", 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPP_DESK_URL", f"https://{DESK}")
        webserver = _served(ThreadingHTTPServer(("127.0.0.1", 0), Behind))
        desk = _served(DeskServer(folder / "data", 0))
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "VPP_DOMAIN": "localhost",
        "VPP_USERS_FILE": str(folder / "users"),
        "VPP_WEBSERVER": f"127.0.0.1:{webserver.server_port}",
        "VPP_DESK": f"127.0.0.1:{desk.server_port}",
    }
    command = [CADDY, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with (folder / "log").open("wb") as log:
        caddy = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    made = Proxy(port, folder / "caddy" / "pki" / "authorities" / "local" / "root.crt")
    try:
        for _ in range(100):
            try:
                made.ask("GET", DAGSTER, "/")
                break
            except OSError:
                assert caddy.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield made
    finally:
        caddy.terminate()
        caddy.wait(20)
        webserver.shutdown()
        desk.shutdown()
        desk.server_close()


def test_nothing_is_shown_without_a_login(proxy: Proxy):
    wrong = f"Basic {base64.b64encode(b'trader:another').decode()}"
    for host in (DAGSTER, DESK):
        for path in ("/", "/graphql", "/graphql?query={x}", "/anything"):
            assert proxy.ask("GET", host, path)[0] == 401
            assert proxy.ask("GET", host, path, Authorization=wrong)[0] == 401
        assert proxy.ask("POST", host, "/graphql", Origin=f"https://{host}")[0] == 401


def test_a_user_reaches_dagster_and_the_password_goes_no_further(proxy: Proxy):
    assert proxy.ask("GET", DAGSTER, "/runs", **LOGIN) == (200, "GET /runs None")
    own = {"Origin": f"https://{DAGSTER}", "Content-Type": "application/json", **LOGIN}
    assert proxy.ask("POST", DAGSTER, "/graphql", **own) == (200, "POST /graphql None")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"http://{DAGSTER}", f"https://{DESK}", "https://x.dagster.localhost"]
)
def test_no_other_site_may_post_or_open_a_socket(proxy: Proxy, origin: str):
    posts = {"Origin": origin, "Content-Type": "text/plain; application/json", **LOGIN}
    assert proxy.ask("POST", DAGSTER, "/graphql", **posts)[0] == 403
    socket_of = {"Origin": origin, "Upgrade": "websocket", "Connection": "Upgrade", **LOGIN}
    assert proxy.ask("GET", DAGSTER, "/graphql", **socket_of)[0] == 403


def test_nothing_is_started_by_following_a_link(proxy: Proxy):
    assert proxy.ask("GET", DAGSTER, "/graphql?query=mutation{x}", **LOGIN)[0] == 403
    assert proxy.ask("GET", DAGSTER, "/graphql?a=1&query=mutation{x}", **LOGIN)[0] == 403


def test_the_desk_answers_for_its_own_name(proxy: Proxy):
    status, page = proxy.ask("GET", DESK, "/", **LOGIN)
    assert status == 404  # of a data folder without bids; to another name it answers 421
    assert "<title>Nothing to show</title>" in page
    assert proxy.ask("POST", DESK, "/", **LOGIN)[0] == 405


def test_no_other_host_is_served(proxy: Proxy):
    with pytest.raises((OSError, http.client.HTTPException)):
        proxy.ask("GET", "evil.example", "/", **LOGIN)
