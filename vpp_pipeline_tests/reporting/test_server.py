"""The desk over HTTP: to this machine alone, only reading, and never a file that is no page of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import duckdb
import httpx
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import desk_address, project_folder
from vpp_pipeline.reporting.server import DeskServer, free_server
from vpp_pipeline_tests.conftest import DAY
from vpp_pipeline_tests.published import published

PATIENCE_S = 60.0
SECRET = "C4N4RY-beside-the-data"


@pytest.fixture(scope="module")
def data(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text(SECRET)
    return published(solved_day(DAY, 30), folder / "data")


@contextmanager
def serving(data: Path) -> Iterator[DeskServer]:
    """A desk at work on a free port."""
    server = DeskServer(data, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[DeskServer]:
    with serving(data) as found:
        yield found


@pytest.fixture
def client(server: DeskServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S, trust_env=False) as found:
        yield found


def test_pages_and_files_come_whole_and_may_neither_be_framed_nor_kept(client: httpx.Client):
    for address, title in (
        ("/", "Days"),
        (f"/days/{DAY}.html", "Bids for Tuesday 15 August 2023"),
        ("/periods/2023-08.html", "August 2023"),
        ("/owners/", "Owners in August 2023"),
    ):
        answer = client.get(address)
        assert answer.status_code == 200
        assert f"<title>{title}</title>" in answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    file = client.get(f"/downloads/{DAY}/bids.csv")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.text.startswith("bid_id,")


def test_the_form_of_periods_leads_to_a_page_that_can_be_kept(client: httpx.Client):
    answer = client.get("/periods/index.html", params={"from": "2023-08-16", "to": "2023-08-01"})
    assert (answer.status_code, answer.headers["location"]) == (303, "2023-08-01_2023-08-16.html")
    assert client.get("/periods/", params={"from": "soon", "to": "x"}).status_code == 404


def test_a_head_alone_is_that_of_the_page(client: httpx.Client):
    whole, head = client.get("/"), client.head("/")
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(client: httpx.Client, method: str):
    answer = client.request(method, "/", content=b"x=1" if method == "POST" else None)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ["rebound.example:{port}", "127.0.0.1", "127.0.0.1:1", "evil@127.0.0.1:{port}", None])
def test_a_request_for_another_host_is_refused(server: DeskServer, host: str | None):
    """As a site sends them that points its own name at this machine."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE_S)
    connection.putrequest("GET", "/", skip_host=True)
    if host is not None:
        connection.putheader("Host", host.format(port=server.server_port))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 421
    assert b"Days" not in answer.read()
    connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_names_of_this_machine_are_answered(client: httpx.Client, server: DeskServer, host: str):
    assert client.get("/", headers={"Host": f"{host}:{server.server_port}"}).status_code == 200


def test_a_proxy_s_name_is_answered_where_its_owner_has_set_it(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VPP_DESK_URL", "https://desk.example.com/")
    with serving(data) as server, httpx.Client(base_url=server.address, trust_env=False) as client:
        assert client.get("/", headers={"Host": "desk.example.com"}).status_code == 200
        assert client.get("/", headers={"Host": "other.example.com"}).status_code == 421


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/days/../../secret.txt",
        "/days/%2e%2e%2f%2e%2e%2fsecret.txt",
        f"/downloads/{DAY}/..%2f..%2fvpp.duckdb",
        f"/downloads/{DAY}/../../vpp.duckdb",
        "/vpp.duckdb",
        "/lake/",
        "//etc/passwd",
        "/owners/..%2f..%2fsecret.txt/2023-08.html",
        "/owners/%252e%252e/2023-08.html",
        "/days/2023-08-15.html%00.txt",
        "/days/2023-08-15.html%0a",
    ],
)
def test_no_address_leads_to_a_file(server: DeskServer, path: str):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE_S)
    connection.putrequest("GET", path)  # as it is written: a browser would shorten it
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 404
    assert SECRET.encode() not in body
    assert b"DUCK" not in body
    connection.close()


@pytest.mark.parametrize("path", ["/?" + "&".join(f"a{k}=1" for k in range(99)), "http://[x/"])
def test_an_address_that_cannot_be_read_is_refused(server: DeskServer, path: str):
    with socket.create_connection(("127.0.0.1", server.server_port), PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_body_is_not_taken_for_the_next_request(server: DeskServer):
    """What a page of another site may send with a request must not be answered as a second one."""
    host = f"Host: 127.0.0.1:{server.server_port}\r\n"
    inner = f"GET /nope HTTP/1.1\r\n{host}\r\n"
    for method in ("GET", "POST"):
        with socket.create_connection(("127.0.0.1", server.server_port), PATIENCE_S) as connection:
            request = f"{method} /periods/x HTTP/1.1\r\n{host}Content-Length: {len(inner)}\r\n\r\n{inner}"
            connection.sendall(request.encode())
            answers = b""
            while part := connection.recv(65536):
                answers += part
            assert answers.count(b"HTTP/1.1 ") == 1


def test_only_this_machine_reaches_it(server: DeskServer):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_fault_of_ours_is_one_page_and_the_cause_is_in_the_log(data: Path, caplog: pytest.LogCaptureFixture):
    """A view that lacks what our code reads."""
    copy = Path(shutil.copytree(data, data.parent / "broken"))
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        connection.execute("create or replace view bids.days as select date '2023-08-15' as market_date, 1 as status")
    with serving(copy) as server, httpx.Client(base_url=server.address, trust_env=False) as client:
        answer = client.get("/")
        assert answer.status_code == 500
        assert "Traceback" not in answer.text
        assert "KeyError" in caplog.text
        assert client.get(f"/days/{DAY}.html").status_code == 200


def test_a_taken_port_is_told_or_another_one_is_found(data: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["desk", "--data", str(data), "--port", str(port)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: the desk cannot be served: Address already in use")
        assert f"value {port}" in said
        with pytest.raises(InputError, match="Name another with --port"):
            free_server(data, port, 3001)
        with free_server(data, None, port) as found:
            assert found.server_port != port
    with free_server(data, None, 65536) as found:
        assert found.server_port < 65536


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("http://127.0.0.1:3001/", "http://127.0.0.1:3001"),
        ("https://desk.example.com/vpp", "https://desk.example.com/vpp"),
        ("", None),
        ("desk.example.com", None),
        ("javascript:alert(1)", None),
        ("http://user:pass@desk.example.com", None),
    ],
)
def test_only_an_address_of_a_page_is_linked(named: str, found: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VPP_DESK_URL", named)
    assert desk_address() == found


def test_the_variable_goes_before_where_the_desk_was_served_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("VPP_DESK_URL", raising=False)
    assert desk_address(tmp_path) is None
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "desk.url").write_text("http://127.0.0.1:3005")
    assert desk_address(tmp_path) == "http://127.0.0.1:3005"
    monkeypatch.setenv("VPP_DESK_URL", "https://desk.example.com")
    assert desk_address(tmp_path) == "https://desk.example.com"


def test_it_ends_with_the_process_that_it_serves_beside(data: Path):
    """As `vpp-pipeline dev` starts it; the parent is killed, and so cannot stop it."""
    script = (
        "import os, subprocess, sys, time\n"
        "desk = subprocess.Popen([sys.executable, '-m', 'vpp_pipeline', 'desk', '--data', sys.argv[1], '--port', "
        "sys.argv[2], '--beside', str(os.getpid())])\n"
        "print(desk.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(project_folder())}
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(data), str(port)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        _until(lambda: _answers(port))
        parent.kill()
        parent.wait()
        _until(lambda: not _answers(port))
    finally:
        parent.kill()
        parent.wait()
        if _is_alive(child):
            os.kill(child, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/nope", timeout=5.0, trust_env=False).status_code == 404
    except httpx.TransportError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _until(happens: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.2)):
        if happens():
            return
        time.sleep(0.2)
    raise AssertionError("it never happened")


def test_pages_are_written_by_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["desk", "--data", str(data), "--write", str(tmp_path / "pages")]) == 0
    assert capsys.readouterr().out.strip().endswith(f"files: {tmp_path / 'pages' / 'index.html'}")
    assert (tmp_path / "pages" / "days" / f"{DAY}.html").is_file()
    assert main(["desk", "--data", str(tmp_path / "none"), "--write", str(tmp_path / "pages")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the page index.html cannot be made")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["desk", "--data", str(data), "--write", str(blocked)]) == 2
    assert "the page cannot be written" in capsys.readouterr().err
