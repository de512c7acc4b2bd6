"""`make compose-check` finds each fault that is put into the deployment, and none where there is none."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from vpp_pipeline.core.paths import project_folder

PROJECT = project_folder()
CHECK = runpy.run_path(str(PROJECT / "deploy" / "check.py"))
COPIED = ("deploy", "pyproject.toml", "README.md", "LICENSE", "dagster.yaml", "requirements-cluster.lock")

#: file below deploy, what stands there, what is put in its place, and words of the problem that must be found
FAULTS = {
    "a port of the database": (
        "compose.yaml",
        "shm_size: 256m",
        'shm_size: 256m\n    ports: ["5432:5432"]',
        "postgres: it publishes",
    ),
    "a port of the webserver": (
        "compose.yaml",
        "networks: [pages, inside]",
        "networks: [pages, inside]\n    ports: [3000]",
        "webserver: it publishes",
    ),
    "no port at all": ("compose.yaml", '    ports: ["80:80", "443:443"]\n', "", "proxy: it publishes no port"),
    "a secret in the environment": (
        "compose.yaml",
        "POSTGRES_DB: dagster",
        "POSTGRES_DB: dagster\n      POSTGRES_PASSWORD: x",
        "POSTGRES_PASSWORD is a secret",
    ),
    "a password in an address": (
        "compose.yaml",
        "http://ray-head:8265",
        "http://a:b@ray-head:8265",
        "VPP_RAY_ADDRESS holds a password",
    ),
    "a secret that is not declared": (
        "compose.yaml",
        "secrets: [proxy_users]",
        "secrets: [proxy_user]",
        "secret proxy_user is not declared",
    ),
    "a secret of nobody": (
        "compose.yaml",
        "\nvolumes:\n",
        "  other: { file: ./secrets/other }\n\nvolumes:\n",
        "other is given to no service",
    ),
    "a secret from the environment": (
        "compose.yaml",
        "{ file: ./secrets/ray_token }",
        "{ environment: TOKEN }",
        "ray_token is not a file",
    ),
    "a secret's file for a service without it": (
        "compose.yaml",
        'secrets: [postgres_password, ray_token]\n    volumes: ["history:/srv/vpp/history"]\n    networks: [pages',
        'secrets: [postgres_password]\n    volumes: ["history:/srv/vpp/history"]\n    networks: [pages',
        "names the secret ray_token",
    ),
    "secrets that may be committed": ("secrets/.gitignore", "*\n", "", "may be committed"),
    "a service that is not there": (
        "compose.yaml",
        "network_mode: service:proxy",
        "network_mode: service:caddy",
        "network of caddy",
    ),
    "the machine's own network": (
        "compose.yaml",
        "network_mode: service:proxy",
        "network_mode: host",
        "the machine's own network",
    ),
    "an engine in a container": (
        "compose.yaml",
        'volumes: ["data:/srv/vpp/data"]',
        'volumes: ["/var/run/docker.sock:/s"]',
        "container engine",
    ),
    "the proxy beside the database": (
        "compose.yaml",
        "networks: [pages, published]",
        "networks: [pages, published, inside]",
        "postgres: the proxy can reach it",
    ),
    "the proxy beside Ray": (
        "compose.yaml",
        "networks: [pages, published]",
        "networks: [pages, outside]",
        "ray-head: the proxy can reach it",
    ),
    "a database on the internet": (
        "compose.yaml",
        "networks: [inside]\n    shm_size",
        "networks: [outside]\n    shm_size",
        "needs nothing from outside",
    ),
    "a volume that is not declared": (
        "compose.yaml",
        "postgres:/var/lib",
        "database:/var/lib",
        "volume database is not declared",
    ),
    "a file that is not there": ("compose.yaml", "./Caddyfile:", "./Caddyfil:", "no file ./Caddyfil"),
    "a wait for nothing": ("compose.yaml", "ray-head: { condition", "ray: { condition", "it waits for ray"),
    "no health check": (
        "compose.yaml",
        '      test: ["CMD", "dagster-daemon", "liveness-check"]\n',
        "",
        "daemon: no health check",
    ),
    "no restart": ("compose.yaml", "  restart: unless-stopped\n  cap_drop", "  cap_drop", "no restart policy"),
    "rights": ("compose.yaml", "  cap_drop: [ALL]\n  security_opt", "  security_opt", "it may gain rights"),
    "root": ("compose.yaml", "    user: postgres\n", "    user: root\n", "postgres: it runs as root"),
    "whatever image is newest": ("compose.yaml", "caddy:2.10-alpine", "caddy:latest", "no fixed tag"),
    "a word misspelled": ("compose.yaml", "    shm_size: 256m", "    shm_sise: 256m", "unknown key shm_sise"),
    "a workspace that is not there": (
        "compose.yaml",
        "cluster/workspace.yaml",
        "cluster/workspaces.yaml",
        "which the image lacks",
    ),
    "a variable that is told nowhere": (
        "compose.yaml",
        "VPP_DESK_URL: https://desk.${VPP_DOMAIN}",
        "VPP_DESK_URL: https://${VPP_HOST}",
        "takes $VPP_HOST",
    ),
    "no YAML": ("compose.yaml", "services:\n", "services: [\n", "cannot be read"),
    "a variable of the instance that is not set": (
        "cluster/dagster.yaml",
        "{ env: VPP_POSTGRES_HOST }",
        "{ env: VPP_POSTGRES_HOSTS }",
        "lacks VPP_POSTGRES_HOSTS",
    ),
    "an image of root": ("Dockerfile", "USER vpp:vpp\n", "", "the image runs as root"),
    "an image without a health check": (
        "Dockerfile",
        "HEALTHCHECK --interval",
        "# --interval",
        "Dockerfile: no health check",
    ),
    "packages without hashes": ("Dockerfile", "--no-deps --require-hashes -r", "--no-deps -r", "without their hashes"),
    "packages beyond the lock": (
        "Dockerfile",
        "--no-deps --no-build-isolation",
        "--no-build-isolation",
        "beyond the lock",
    ),
    "a copy of what is not there": (
        "Dockerfile",
        "COPY vpp_pipeline ./",
        "COPY vpp_pipelines ./",
        "vpp_pipelines is copied and is not there",
    ),
    "a copy of what is not packaged": (
        "Dockerfile",
        "COPY deploy ./deploy",
        "COPY deploy .ci ./deploy",
        ".ci is copied and is not in the sdist",
    ),
    "a copy that is left out": (
        "Dockerfile.dockerignore",
        "!requirements-cluster.lock\n",
        "",
        "left out by Dockerfile.dockerignore",
    ),
    "a home that only root may write to": ("Dockerfile", "COPY --chown=vpp:vpp", "COPY", "may not write there"),
    "another home": ("Dockerfile", "DAGSTER_HOME=/srv/vpp/home", "DAGSTER_HOME=/opt/vpp", "has no dagster.yaml"),
    "a secret in the image": ("Dockerfile", "PYTHONUNBUFFERED=1", "API_KEY=1", "stands in the image"),
}


@cache
def _packaged() -> frozenset[str]:
    return frozenset(CHECK["sdist_files"](PROJECT))


def _project(folder: Path) -> Path:
    for name in COPIED:
        copy: Callable[..., object] = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    (folder / "vpp_pipeline").mkdir()
    (folder / ".ci").mkdir()
    return folder


def test_the_deployment_has_no_fault(tmp_path: Path):
    assert CHECK["problems"](PROJECT, set(_packaged())) == []
    assert CHECK["problems"](_project(tmp_path), set(_packaged())) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, tmp_path: Path):
    file, right, wrong, words = FAULTS[fault]
    project = _project(tmp_path)
    text = (project / "deploy" / file).read_text()
    assert right in text
    (project / "deploy" / file).write_text(text.replace(right, wrong))
    found = CHECK["problems"](project, set(_packaged()))
    assert any(words in problem for problem in found), found


def test_an_entrypoint_that_cannot_be_run_is_found(tmp_path: Path):
    project = _project(tmp_path)
    (project / "deploy" / "entrypoint.sh").chmod(0o644)
    assert any("entrypoint.sh cannot be run" in problem for problem in CHECK["problems"](project, set(_packaged())))


def test_the_command_ends_with_a_status():
    ran = subprocess.run([sys.executable, PROJECT / "deploy" / "check.py"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "8 services, 0 problems" in ran.stdout


def test_the_sdist_has_the_deployment_and_no_secret_of_it(tmp_path: Path):
    assert {f"deploy/{file}" for file in ("compose.yaml", "Caddyfile", "cluster/dagster.yaml")} <= _packaged()
    copy = tmp_path / "project"
    shutil.copytree(
        PROJECT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "vpp_pipeline_tests", "lake", "*cache*")
    )
    (copy / "deploy" / "secrets" / "ray_token").write_text("a secret")
    (copy / "deploy" / ".env").write_text("VPP_DOMAIN=example.com")
    packaged = CHECK["sdist_files"](copy)
    assert "deploy/compose.yaml" in packaged
    assert {"deploy/secrets/ray_token", "deploy/.env"} & packaged == set()


def _entered(tmp_path: Path, password: str) -> tuple[str, int]:
    """What the entrypoint writes for libpq, and its mode; its secrets are those of a folder here."""
    script = (PROJECT / "deploy" / "entrypoint.sh").read_text().replace("/run/secrets", str(tmp_path / "secrets"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "postgres_password").write_text(password)
    (tmp_path / "secrets" / "owner.env").write_text("VPP_ALERT_WEBHOOK='https://example.com/a b'\n")
    (tmp_path / "run.sh").write_text(script)
    ran = subprocess.run(
        ["sh", tmp_path / "run.sh", "sh", "-c", 'echo "$PGPASSFILE|$VPP_ALERT_WEBHOOK|$(env)"'],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "VPP_POSTGRES_HOST": "postgres"},
        capture_output=True,
        text=True,
        check=True,
    )
    file = tmp_path / ".pgpass"
    assert ran.stdout.startswith(f"{file}|https://example.com/a b|")
    assert password.strip() not in ran.stdout
    return file.read_text(), file.stat().st_mode & 0o777


def test_the_entrypoint_keeps_the_password_in_a_file(tmp_path: Path):
    assert _entered(tmp_path, "a:b\\c d\n") == ("postgres:*:*:*:a\\:b\\\\c d\n", 0o600)
