"""Whether the compose file can work and keeps what docs/security.md says, read without a container engine.

    python deploy/check.py          prints each problem, and exits with 1 where there is one

`docker compose config` runs as well where the client has it. It knows the format, but neither whether a file, a
variable, or a path of the image is there, nor who may reach a port.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PROXY = "proxy"  # the only service that may be reached from outside
IMAGE_ROOT = "/opt/vpp/"  # where the Dockerfile puts the project
#: services that run our image with Dagster's instance, whose variables they need
INSTANCE = ("webserver", "daemon", "code", "ray-head", "ray-worker")
#: a variable with one of these words holds a secret, unless it names a file or a mode
SECRET = re.compile(r"(?i)password|passwd|secret|token|key|credential|webhook")
NAMES_NO_SECRET = re.compile(r"(_FILE|_PATH|_MODE)$")
RESTARTS = ("always", "unless-stopped", "on-failure")
TOP = {"name", "services", "volumes", "networks", "secrets", "configs", "include"}
#: keys of a service that this reader understands; what another one would do, it cannot tell
SERVICE = {
    *("build", "cap_add", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment", "expose"),
    *("healthcheck", "image", "init", "logging", "mem_limit", "networks", "network_mode", "ports", "profiles"),
    *("read_only", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "user", "volumes"),
}


def problems(root: Path, packaged: set[str]) -> list[str]:
    """What is wrong with the deployment of the project in ``root``, whose sdist holds the files ``packaged``."""
    deploy = root / "deploy"
    try:
        compose = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        return [f"compose.yaml cannot be read: {' '.join(str(error).split())}"]
    if not isinstance(compose, dict) or not isinstance(compose.get("services"), dict):
        return ["compose.yaml has no services"]
    found = [f"compose.yaml: unknown key {key}" for key in compose if key not in TOP and not key.startswith("x-")]
    for name, service in compose["services"].items():
        checks = (_shape, _references, _reach, _environment)
        found += [f"service {name}: {problem}" for check in checks for problem in check(name, service, compose, deploy)]
    found += [f"secret {problem}" for problem in _secrets(compose, deploy)]
    found += [f"Dockerfile: {problem}" for problem in _dockerfile(root, packaged)]
    return found + [f"instance: {problem}" for problem in _instance(compose, root)]


def _shape(name: str, service: Mapping[str, Any], compose: Mapping[str, Any], deploy: Path) -> Iterator[str]:
    """What the service lacks, or has and should not."""
    yield from (f"unknown key {key}" for key in service if key not in SERVICE)
    image = str(service.get("image", ""))
    if not re.fullmatch(r"[\w./-]+:[\w.-]+", image) or image.endswith(":latest"):
        yield f"its image {image or '(none)'} has no fixed tag"
    if not service.get("healthcheck", {}).get("test"):
        yield "no health check"
    if service.get("restart") not in RESTARTS:
        yield "no restart policy"
    if "no-new-privileges:true" not in service.get("security_opt", []) or service.get("cap_drop") != ["ALL"]:
        yield "it may gain rights: cap_drop or no-new-privileges is missing"
    if str(service.get("user", "")).split(":")[0] in ("root", "0"):
        yield "it runs as root"
    build = service.get("build")
    if build and not (deploy / build["context"] / build["dockerfile"]).is_file():
        yield f"no Dockerfile {build['dockerfile']} in {build['context']}"


def _references(name: str, service: Mapping[str, Any], compose: Mapping[str, Any], deploy: Path) -> Iterator[str]:
    """What the service names and is not there."""
    services = compose["services"]
    for other, how in dict(service.get("depends_on", {})).items():
        if other not in services:
            yield f"it waits for {other}, which is no service"
        elif how.get("condition") == "service_healthy" and not services[other].get("healthcheck"):
            yield f"it waits for the health of {other}, which has no health check"
    for kind in ("secrets", "networks"):
        yield from (f"{kind[:-1]} {one} is not declared" for one in service.get(kind, ()) if one not in compose[kind])
    if not service.get("networks") and not service.get("network_mode"):
        yield "it is in no network of ours, so in one with all others"
    mode = str(service.get("network_mode", ""))
    if mode.startswith("service:") and mode.removeprefix("service:") not in services:
        yield f"it shares the network of {mode.removeprefix('service:')}, which is no service"
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith((".", "/")):
            if not (deploy / source).exists():
                yield f"no file {source}"
        elif source not in compose["volumes"]:
            yield f"volume {source} is not declared"
    words = [*_words(service.get("command")), *_words(service.get("entrypoint"))]
    for word in words:
        if word.startswith(IMAGE_ROOT) and not (deploy.parent / word.removeprefix(IMAGE_ROOT)).is_file():
            yield f"its command names {word}, which the image lacks"


def _reach(name: str, service: Mapping[str, Any], compose: Mapping[str, Any], deploy: Path) -> Iterator[str]:
    """Who may reach the service, and what it may reach."""
    if name == PROXY:
        if not service.get("ports"):
            yield "it publishes no port"
        return
    if service.get("ports"):
        yield f"it publishes {service['ports']}: the proxy alone has a login"
    if service.get("network_mode") == "host":
        yield "it is in the machine's own network"
    if any("docker.sock" in str(volume) for volume in service.get("volumes", ())):
        yield "it may command the container engine"
    open_networks = [one for one in service.get("networks", ()) if not (compose["networks"][one] or {}).get("internal")]
    if name in ("webserver", "postgres") and open_networks:
        yield f"it needs nothing from outside, and is in {open_networks[0]}"
    if PROXY in compose["services"]:
        shared = {*service.get("networks", ())} & {*compose["services"][PROXY].get("networks", ())}
        if name in ("postgres", "ray-head", "ray-worker", "daemon", "code") and shared:
            yield f"the proxy can reach it, in {sorted(shared)[0]}"


def _environment(name: str, service: Mapping[str, Any], compose: Mapping[str, Any], deploy: Path) -> Iterator[str]:
    """Secrets in the environment, and variables that are named nowhere."""
    known = set(re.findall(r"(?m)^([A-Z_]+)=", (deploy / "env.example").read_text(encoding="utf-8")))
    for variable, value in dict(service.get("environment", {})).items():
        if SECRET.search(variable) and not NAMES_NO_SECRET.search(variable):
            yield f"{variable} is a secret in the environment; give it as a file"
        if re.search(r"://[^/\s]*:[^/\s]*@", str(value)):
            yield f"{variable} holds a password"
        for used in re.findall(r"\$\{?([A-Z_]+)", str(value)):
            if used not in known:
                yield f"{variable} takes ${used}, which env.example lacks"
        if str(value).startswith("/run/secrets/") and Path(value).name not in service.get("secrets", ()):
            yield f"{variable} names the secret {Path(value).name}, which the service is not given"


def _secrets(compose: Mapping[str, Any], deploy: Path) -> Iterator[str]:
    used = {one for service in compose["services"].values() for one in service.get("secrets", ())}
    for name, where in compose.get("secrets", {}).items():
        if name not in used:
            yield f"{name} is given to no service"
        if set(where) != {"file"} or not str(where["file"]).startswith("./secrets/"):
            yield f"{name} is not a file of deploy/secrets"
    ignored = (deploy / "secrets" / ".gitignore").read_text(encoding="utf-8").split()
    if ignored != ["*", "!.gitignore"]:
        yield "files may be committed: deploy/secrets/.gitignore lets some through"


def _dockerfile(root: Path, packaged: set[str]) -> Iterator[str]:
    """Who runs the image, how packages come into it, and whether what is copied is there."""
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if re.match("[A-Z]+ ", line)]
    allowed = (root / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    users = [what for step, what in steps if step == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        yield "the image runs as root"
    if not any(step == "HEALTHCHECK" for step, _ in steps):
        yield "no health check"
    for step, what in steps:
        if step in ("COPY", "ADD"):
            for source in [word for word in shlex.split(what) if not word.startswith("--")][:-1]:
                yield from _copied(source, root, packaged, allowed)
        if step == "RUN" and "pip install" in what and "--no-deps" not in what:
            yield f"packages beyond the lock: {what}"
        if step == "RUN" and " -r " in what and "--require-hashes" not in what:
            yield f"packages without their hashes: {what}"
        if step == "ENTRYPOINT":
            script = root / yaml.safe_load(what)[0].removeprefix(IMAGE_ROOT)
            if not script.is_file() or not script.stat().st_mode & 0o111:
                yield f"the entrypoint {script.name} cannot be run"
        if step in ("ENV", "ARG") and (held := SECRET.search(what)):
            yield f"{held[0]} stands in the image: {what}"


def _copied(source: str, root: Path, packaged: set[str], allowed: list[str]) -> Iterator[str]:
    if not (root / source).exists():
        yield f"{source} is copied and is not there"
    if not any(name == source or name.startswith(f"{source}/") for name in packaged):
        yield f"{source} is copied and is not in the sdist"
    if not any(
        source == name or source.startswith(f"{name}/") for name in (line[1:] for line in allowed if line[0] == "!")
    ):
        yield f"{source} is copied and left out by Dockerfile.dockerignore"


def _instance(compose: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Variables that dagster.yaml and workspace.yaml take, and some service does not have."""
    folder = root / "deploy" / "cluster"
    used: set[str] = set()
    for file in ("dagster.yaml", "workspace.yaml"):
        try:
            used |= set(_variables(yaml.safe_load((folder / file).read_text(encoding="utf-8"))))
        except (OSError, yaml.YAMLError) as error:
            yield f"{file} cannot be read: {' '.join(str(error).split())}"
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    image = set(re.findall(r"([A-Z_]+)=", text))
    home = re.findall(r"DAGSTER_HOME=(\S+)", text)
    if not home or not re.search(rf"COPY --chown=vpp:vpp deploy/cluster/dagster.yaml {home[0]}/", text):
        yield "DAGSTER_HOME has no dagster.yaml, or the image's user may not write there"
    for name in INSTANCE:
        has = image | set(compose["services"].get(name, {}).get("environment", {}))
        yield from (f"{name} lacks {variable}" for variable in sorted(used - has))


def _variables(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if set(node) == {"env"}:
            yield node["env"]
        for name, value in node.items():
            yield from value if name == "env_vars" else _variables(value)
    elif isinstance(node, list):
        for value in node:
            yield from _variables(value)


def _words(command: Any) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else [str(word) for word in command or ()]


def sdist_files(root: Path) -> set[str]:
    """Names of the files in the project's sdist, which is built for this."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder]
        subprocess.run(build, cwd=root, check=True, capture_output=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}


def of_docker(root: Path) -> list[str]:
    """What `docker compose config` says; nothing where this client has no `compose`."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print("docker compose is not installed: the format is read by this check alone")
        return []
    command = ["docker", "compose", "--file", "deploy/compose.yaml", "--env-file", "deploy/env.example", "config", "-q"]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return [f"docker compose: {ran.stderr.strip()}"] if ran.returncode else []


def main() -> int:
    """Check the project that this file is of."""
    root = Path(__file__).resolve().parents[1]
    found = of_docker(root) + problems(root, sdist_files(root))
    for problem in found:
        print(problem)
    services = len(yaml.safe_load((root / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"])
    print(f"{services} services, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
