"""The parts of a deployment as real processes: Postgres, a Ray head, code locations, and Dagster's daemon.

``python -m vpp_pipeline_tests.cluster.deployment`` starts them and prints the memory of each while nothing runs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vpp_pipeline.core.paths import project_folder

DEPLOY = project_folder() / "deploy"
BIN = Path(sys.executable).parent
PART = "VPP_TESTS_PART"  # in the environment of a part's processes
PORTFOLIO = "north"
PORTS = (
    "port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
)
PASSWORD = "a-word-that-stands-nowhere-else"  # of Postgres: looked for in logs and processes


def postgres_programs() -> Path | None:
    """The folder of Postgres's server programs, if they are installed."""
    folders = sorted(file.parent for file in Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # Debian's place
    found = shutil.which("initdb")
    return folders[-1] if folders else Path(found).resolve().parent if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], Any], what: str, limit_s: float = 120.0, pause_s: float = 0.3) -> Any:
    """What ``is_so`` returns, once that is something; it may raise until then."""
    until = time.monotonic() + limit_s
    last: object = "it was not so"
    while time.monotonic() < until:
        try:
            if found := is_so():
                return found
        except Exception as error:  # the part is starting
            last = error
        time.sleep(pause_s)
    pytest.fail(f"{what}: not within {limit_s:g} s; last: {last}")


@dataclass
class Deployment:
    """The running parts, and the environment that they have in common."""

    root: Path
    environment: dict[str, str]
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    begun: dict[str, Callable[[], subprocess.Popen[bytes]]] = field(default_factory=dict)  # how each was started

    @property
    def data(self) -> Path:
        return self.root / "data"

    def start(self, name: str, *command: str, user: str | None = None, **variables: str) -> subprocess.Popen[bytes]:
        """Start a part; what it prints is in ``NAME.log``."""
        self.begun[name] = partial(self.start, name, *command, user=user, **variables)
        with (self.root / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                command,
                env={**self.environment, **variables, PART: f"{name}."},
                cwd=self.root,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
            )
        return self.parts[name]

    def lose(self, name: str) -> None:
        """End every process of a part by SIGKILL, as where its machine is lost."""
        while left := self._of_part(name):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.parts[name].poll()
            time.sleep(0.1)

    def start_again(self, name: str) -> None:
        """Start a part that has ended as it was started before, which a service manager does."""
        self.parts[name].wait()
        self.begun[name]()

    def run(self, *command: str, **variables: str) -> str:
        """Run a command of the deployment to its end; what it printed."""
        ran = subprocess.run(
            command, env={**self.environment, **variables}, cwd=self.root, capture_output=True, text=True
        )
        assert ran.returncode == 0, f"{command}: {ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def stop(self) -> None:
        """End all parts, the last one first, and what of Ray is left."""
        for name in reversed(self.parts):
            part = self.parts[name]
            if part.poll() is None:
                os.killpg(part.pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
                try:
                    part.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(part.pid, signal.SIGKILL)
                    part.wait()
        for process in processes(str(self.root)):
            os.kill(process, signal.SIGKILL)

    def memory_mb(self) -> dict[str, float]:
        """Memory of each part with its children, in which what several share is counted once (PSS)."""
        return {name: sum(map(_memory_mb, self._of_part(name))) for name in self.parts}

    def _of_part(self, name: str) -> list[int]:
        mine = set(processes(str(self.root)))
        return [process for process in processes(f"{PART}={name}.") if process in mine]

    def logs(self) -> str:
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.root.glob("*.log")))


def processes(word: str) -> list[int]:
    """Ids of the processes whose command line or environment holds ``word``, but this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:  # it has ended
            continue
        if word.encode() in told and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def _memory_mb(process: int) -> float:
    try:
        rolled_up = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0.0
    return int(rolled_up.partition("\nPss:")[2].split()[0]) / 1024


@contextmanager
def deployment() -> Iterator[Deployment]:
    """Postgres, a Ray head of three CPUs, the code location, and the daemon, on an empty data folder."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no Postgres server is installed")
    root = Path(tempfile.mkdtemp(prefix="vpp_", dir="/tmp"))  # short: Ray puts sockets below it
    root.chmod(0o755)
    made = Deployment(root, _environment(root))
    try:
        _start_postgres(made, programs)
        _start_ray(made)
        _start_dagster(made)
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)


def _environment(root: Path) -> dict[str, str]:
    passed = {
        name: text for name, text in os.environ.items() if not name.startswith(("VPP_", "DAGSTER_", "RAY_", "PG"))
    }
    home, data, passwords = root / "home", root / "data", root / "pgpass"
    for folder in (home, data / "portfolios" / PORTFOLIO):
        folder.mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(DEPLOY / "cluster" / name, home)
    for file in (passwords, token := root / "ray_token"):
        file.touch(0o600)
    token.write_text(secrets.token_hex(32))
    passwords.write_text(f"127.0.0.1:*:*:*:{PASSWORD}\n")
    return {
        **passed,
        "PATH": f"{BIN}{os.pathsep}{passed['PATH']}",
        "PYTHONPATH": str(project_folder()),
        "DAGSTER_HOME": str(home),
        "VPP_DATA_FOLDER": str(data),
        "VPP_HISTORY_FOLDER": str(root / "history"),
        "VPP_POSTGRES_HOST": "127.0.0.1",
        "VPP_POSTGRES_PORT": str(free_port()),
        "VPP_POSTGRES_USER": "vpp",
        "VPP_POSTGRES_DATABASE": "dagster",
        "VPP_RAY_ADDRESS": f"http://127.0.0.1:{free_port()}",
        "VPP_CODE_HOST": "127.0.0.1",
        "VPP_CODE_PORT": str(free_port()),
        "PGPASSFILE": str(passwords),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }


def _start_postgres(made: Deployment, programs: Path) -> None:
    folder, port = made.root / "postgres", made.environment["VPP_POSTGRES_PORT"]
    folder.mkdir(0o700)
    password = folder / "pw"
    password.write_text(PASSWORD)
    user = None
    if os.getuid() == 0:  # which Postgres refuses to run as
        user = "postgres"
        for own in (folder, password):
            shutil.chown(own, user)
    run = partial(subprocess.run, check=True, user=user, cwd="/", capture_output=True)
    run([programs / "initdb", "-D", folder / "db", "-U", "vpp", "-A", "scram-sha-256", f"--pwfile={password}"])
    password.unlink()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    command = [str(programs / "postgres"), "-D", str(folder / "db"), "-p", port, "-k", str(folder), *options]
    made.start("postgres", *command, user=user)
    create = [str(programs / "createdb"), "-h", "127.0.0.1", "-p", port, "-U", "vpp", "dagster"]
    wait_until(lambda: made.run(*create) == "", "Postgres")


def _start_ray(made: Deployment) -> None:
    _, _, dashboard = made.environment["VPP_RAY_ADDRESS"].rpartition(":")
    made.start(
        "ray",
        *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=3", "--node-ip-address=127.0.0.1"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        # beside another cluster of this machine, whose agent would take the jobs of this one
        *(f"--{name}={free_port()}" for name in PORTS),
        *("--object-store-memory=80000000", f"--temp-dir={made.root / 'ray'}", "--disable-usage-stats"),
    )
    wait_until(
        lambda: made.run(str(BIN / "ray"), "job", "list", RAY_ADDRESS=made.environment["VPP_RAY_ADDRESS"]), "Ray"
    )


def _start_dagster(made: Deployment) -> None:
    """The code location of the desk without a name, that of a portfolio, and the daemon, which sees both."""
    python, workspace = str(BIN / "python"), Path(made.environment["DAGSTER_HOME"]) / "workspace.yaml"
    portfolio_port = str(free_port())
    locations = {
        "code": (made.environment["VPP_CODE_PORT"], ("-m", "vpp_pipeline.definitions")),
        f"code-{PORTFOLIO}": (portfolio_port, ("-m", "vpp_pipeline.location", "-a", PORTFOLIO)),
    }
    for name, (port, target) in locations.items():
        made.start(name, python, "-m", "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", port, *target)
    for name, (port, _) in locations.items():
        check = (python, "-m", "dagster", "api", "grpc-health-check", "-h", "127.0.0.1", "-p", port)
        wait_until(lambda check=check: made.run(*check) is not None, name, pause_s=2.0)
    entry = f"  - grpc_server: {{ host: 127.0.0.1, port: {portfolio_port}, location_name: {PORTFOLIO} }}\n"
    workspace.write_text(workspace.read_text() + entry)
    made.start("daemon", str(BIN / "dagster-daemon"), "run", "-w", str(workspace))


if __name__ == "__main__":
    with deployment() as idle:
        time.sleep(60)
        for part, used_mb in idle.memory_mb().items():
            print(f"{part:12} {used_mb:6.0f} MB")
