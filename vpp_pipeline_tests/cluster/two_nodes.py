"""A day on two nodes of one CPU each, in network namespaces of their own, joined by a cable that is counted.

    python -m vpp_pipeline_tests.cluster.two_nodes [--prosumers 200000] [--shards 2] [--full] [--only price collect]
                                                   [--delay-s 0.005] [--loss 0.01]

The day is solved in one process, then with its fleet on two nodes: undisturbed, and with every process of the second
node ended by SIGKILL in the middle of a sweep, of the recovery of schedules, of what settles quantities, and while
schedules are written. The nodes have no folder in common: shards lie in an object store beside the head. Prints what
each run took; ends with 1 where a bit differs. Overhead is wall time less the slowest shard's busy time, call by call.
Needs the right to make network namespaces; without it, it says so and ends with 0. The cable may be slow and lossy
(`cable.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from vpp_pipeline_tests.cluster.cable import WIRE, End, Link, joined
from vpp_pipeline_tests.cluster.object_server import BUCKET, running
from vpp_pipeline_tests.cluster.ray_nodes import Node

PORT = 6479
SHARDS = f"s3://{BUCKET}/shards"
SHORT = {"pivot_limit": 0, "gap_target_fraction": 0.05}
LOST: dict[str, tuple[str, int]] = {  # when -> question, and the how many-th of them
    "sweep": ("price", 6),
    "recovery": ("powers_of", 1),
    "settlement": ("powers_of", 3),
    "collect": ("collect", 1),
}
LONGEST_S = 3_600.0


@dataclass(frozen=True)
class TwoNodes:
    """A head and a second node, and the end of the cable at the head."""

    head: Node
    other: Node
    cable: str

    def crossed_bytes(self) -> int:
        """What has gone over the cable so far, both ways."""
        counters = [f"/sys/class/net/{self.cable}/statistics/{way}_bytes" for way in ("rx", "tx")]
        said = subprocess.run([*self.head.before, "cat", *counters], check=True, capture_output=True, text=True).stdout
        return sum(map(int, said.split()))


def why_not(link: Link = WIRE) -> str:
    """Why no network namespaces can be made and joined so here; empty where they can."""
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        return "network namespaces need Linux and the command ip"
    if link != WIRE and not Path("/dev/net/tun").exists():
        return "a slow or lossy cable needs TUN devices, and there is no /dev/net/tun"
    name = f"vpp{uuid4().hex[:6]}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces are not allowed here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


@contextmanager
def namespaces(link: Link = WIRE) -> Iterator[tuple[str, str, str]]:
    """Two namespaces with addresses 10.77.0.1 and 10.77.0.2, joined by a cable; and the first's end of it.

    The kernel's own pair of devices, where the link is a mere wire.
    """
    mark = uuid4().hex[:6]
    ends = (End(f"vppa{mark}", f"va{mark}", "10.77.0.1/24"), End(f"vppb{mark}", f"vb{mark}", "10.77.0.2/24"))

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for end in ends:
            ip("netns", "add", end.namespace)
            ip("-n", end.namespace, "link", "set", "lo", "up")
        names = (ends[0].namespace, ends[1].namespace, ends[0].device)
        if link != WIRE:
            with joined(ends, link):
                yield names
        else:
            ip("link", "add", ends[0].device, "type", "veth", "peer", "name", ends[1].device)
            for end in ends:
                ip("link", "set", end.device, "netns", end.namespace)
                ip("-n", end.namespace, "address", "add", end.address, "dev", end.device)
                ip("-n", end.namespace, "link", "set", end.device, "up")
            yield names
    finally:
        for end in ends:
            subprocess.run(["ip", "netns", "delete", end.namespace], check=False, capture_output=True)


@contextmanager
def two_nodes(link: Link = WIRE) -> Iterator[TwoNodes]:
    """The cluster, each node with one CPU of its own where the machine has two, and an object store beside the head."""
    with (
        namespaces(link) as (first, second, cable),
        running("10.77.0.1", ("ip", "netns", "exec", first)) as store,
        patch.dict(os.environ, store.environment),
    ):
        cores = sorted(os.sched_getaffinity(0))
        nodes: list[Node] = []
        try:
            for number, name in enumerate((first, second)):
                before = ("ip", "netns", "exec", name, "taskset", "-c", str(cores[number % len(cores)]))
                nodes.append(Node(f"10.77.0.1:{PORT}", f"10.77.0.{number + 1}", before))
                nodes[-1].start(1, is_head=number == 0)
            yield TwoNodes(*nodes, cable)
        finally:
            for node in reversed(nodes):
                node.remove()


def write_day(prosumers: int, folder: Path) -> Path:
    """The problem of a day with generated prices and a generated fleet."""
    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.pipeline import prepare_problem
    from vpp_pipeline.settings import FleetSettings, Settings

    settings = Settings(fleet=FleetSettings(prosumers=prosumers)).hour_by_hour()  # storage needs no shards
    day = prepare_problem(DayInputs(date(2023, 8, 15), settings, None, None, None).tables(), settings)[1]
    file = folder / f"day_{prosumers}.pickle"
    with file.open("wb") as out:
        pickle.dump((day, settings.rules, settings.optimiser), out, protocol=5)
    return file


def solve(
    day: Path, settings: dict[str, Any], kill: dict[str, Any] | None = None, before: Sequence[str] = ()
) -> dict[str, Any]:
    """What `one_day` says of the day. Raises RuntimeError where it says nothing."""
    answer = day.with_suffix(".json")
    answer.unlink(missing_ok=True)
    command = [*before, sys.executable, "-m", "vpp_pipeline_tests.cluster.one_day", str(day), str(answer)]
    command += [json.dumps(settings), *([json.dumps(kill)] if kill else [])]
    said = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    if not answer.exists():
        raise RuntimeError(said.stdout + said.stderr)
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise RuntimeError(found["error"])
    return found


def on_two_nodes(day: Path, settings: dict[str, Any], lost: str | None = None, link: Link = WIRE) -> dict[str, Any]:
    """The day with its fleet on two nodes, of which the second is ``lost`` in the middle of that (LOST)."""
    with two_nodes(link) as nodes:
        chosen = {"backend": "ray", "ray_address": nodes.head.address, "shard_cpus": 0.5, "shard_folder": SHARDS}
        chosen |= settings
        kill = None
        if lost:
            kill = {"question": LOST[lost][0], "call": LOST[lost][1], "node": nodes.other.name}
        crossed = nodes.crossed_bytes()
        found = solve(day, {"shards": 2} | chosen, kill, nodes.head.before)
        return found | {"crossed_mb": (nodes.crossed_bytes() - crossed) / 1e6}


def overhead_s(found: dict[str, Any]) -> float:
    """Wall time of all calls less the slowest shard's busy time."""
    return sum(wall - busy for _, wall, busy in found["seconds"].values())


def show(name: str, found: dict[str, Any], is_same: bool) -> None:
    calls = "".join(
        f"; {question} {count:.0f} calls, {wall:.2f} s, busy {busy:.2f} s"
        for question, (count, wall, busy) in found.get("seconds", {}).items()
    )
    of_cluster = f", overhead {overhead_s(found):.2f} s, {found['crossed_mb']:.1f} MB crossed" if calls else ""
    same = "the same bits" if is_same else "OTHER BITS"
    restarts = f", restarts {found['restarts']}" if found.get("restarts") else ""
    print(f"{name}: {same}, wall {found['wall_s']:.1f} s, CPU of the driver {found['cpu_s']:.1f} s", end="")
    print(f"{of_cluster}{restarts}{calls}\n  {found['method']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prosumers", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="the whole search, not the first answers alone")
    parser.add_argument("--only", nargs="*", choices=LOST, default=list(LOST), help="when the second node is lost")
    parser.add_argument("--delay-s", type=float, default=0.0, help="of the cable, each way")
    parser.add_argument("--loss", type=float, default=0.0, help="fraction of packets that the cable loses, each way")
    asked = parser.parse_args()
    link = Link(asked.delay_s, asked.loss)
    if reason := why_not(link):
        print(f"left out: {reason}")
        return
    settings: dict[str, Any] = {} if asked.full else dict(SHORT)
    with TemporaryDirectory() as folder:
        day = write_day(asked.prosumers, Path(folder))
        local = solve(day, settings)
        print(f"{asked.prosumers:,} prosumers, {local['bids']} bids, ${local['objective_usd']:,.2f}")
        show("one process", local, True)
        differs = False
        for lost in (None, *asked.only):
            found = on_two_nodes(day, settings | {"shards": asked.shards}, lost, link)
            is_same = found["hashes"] == local["hashes"]
            differs |= not is_same
            show(f"second node lost in {lost}" if lost else "two nodes", found, is_same)
    sys.exit(int(differs))


if __name__ == "__main__":
    main()
