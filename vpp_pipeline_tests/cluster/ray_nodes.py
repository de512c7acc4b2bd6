"""Nodes of a Ray cluster on this machine, and what kills them: every process of a node carries its name in the
environment.

A node may live in a network namespace of its own, with one CPU. None is stopped by `ray stop`, which would end those of
others.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

NAME = "VPP_TEST_NODE"
START_S = 120.0
STARTS = 3  # Ray gives a node 30 s to come up, which a busy machine may need more than once


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Node:
    """A started node; ``before`` stands before each command that is to run where it runs."""

    address: str  # of the head
    ip: str
    before: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: uuid4().hex)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="vppray")))

    def start(self, cpus: float, *, is_head: bool) -> Node:
        """Start its processes. Raises RuntimeError with what Ray said where it does not."""
        port = self.address.rpartition(":")[2]
        options = ["--head", f"--port={port}", "--include-dashboard=false", f"--ray-client-server-port={free_port()}"]
        options = options if is_head else [f"--address={self.address}"]
        command = [
            *self.before,
            *(sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={self.ip}"),
            *("--num-cpus", f"{cpus:g}", "--object-store-memory", "80000000", "--disable-usage-stats"),
            f"--temp-dir={self.folder}",
            *(f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}"),
            *options,
        ]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {NAME: self.name}
        for _ in range(STARTS):
            said = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=START_S, cwd=self.folder, check=False
            )
            if not said.returncode:
                return self
            self.kill()
        raise RuntimeError(f"{said.stdout}{said.stderr}")

    def processes(self) -> list[int]:
        """Its processes, workers and their children included."""
        wanted, found = f"{NAME}={self.name}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """End every process of it by SIGKILL."""
        while left := self.processes():
            for one in left:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        """Kill it, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_cluster(cpus: Sequence[float]) -> Iterator[list[Node]]:
    """A head with ``cpus[0]`` and workers with the others, while the caller uses them."""
    nodes: list[Node] = []
    address = f"127.0.0.1:{free_port()}"
    try:
        for number, count in enumerate(cpus):
            nodes.append(Node(address, "127.0.0.1"))
            nodes[-1].start(count, is_head=number == 0)
        yield nodes
    finally:
        for node in reversed(nodes):
            node.remove()
