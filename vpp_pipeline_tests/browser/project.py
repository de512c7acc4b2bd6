"""`vpp-pipeline dev` as a user starts it, in a copy of the project: the checkout's own data stay as they are."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpp_pipeline.core.paths import project_folder

START_S = 120.0
COPIED = ("vpp_pipeline", "dagster.yaml", "workspace.yaml")


@contextmanager
def project_copy() -> Iterator[Path]:
    """A temporary folder with code and configuration of the project, and no data."""
    folder = Path(tempfile.mkdtemp(prefix="vpp_screens_"))
    try:
        for name in COPIED:
            source = project_folder() / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy2(source, folder / name)
        (folder / "data").mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dagster_dev(folder: Path, package: Path | None = None) -> Iterator[str]:
    """The address of `vpp-pipeline dev` in ``folder``, by the code in ``package`` or there; it ends, with all its
    processes, on leaving."""
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vpp_pipeline", "dev", "--port", str(port)],
            cwd=folder,
            env=environment | {"PYTHONPATH": str(package or folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://localhost:{port}"
        _wait_for(address, process, folder / "dev.log")
        yield address
    finally:
        _end(process)


def desk_of(folder: Path) -> str:
    """Address of the desk that `vpp-pipeline dev` serves in ``folder``, as it has printed it."""
    return re.findall(r"(?m)^desk: (http://\S+)", (folder / "dev.log").read_text())[0]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the page answers. Raises RuntimeError with the log's end where it never does."""
    pause = threading.Event()
    for _ in range(int(START_S / 0.25)):
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            pause.wait(0.25)
    raise RuntimeError(f"vpp-pipeline dev did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the group of processes that this one began."""
    for how, patience in ((signal.SIGINT, 15), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)  # whoever outlived its parent
    except ProcessLookupError:
        return
