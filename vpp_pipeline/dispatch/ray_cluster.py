"""A Ray cluster: the connection to it, and calls that can be repeated, spread over its nodes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.provenance import code_version
from vpp_pipeline.settings import OptimiserSettings

LOG = logging.getLogger(__name__)
PULSE_S = 1.0  # how often a call that has not ended is looked after
CONNECT_S = 5.0  # a head that takes no connection in that time is not there
MOST_LIVES = 5  # of a call: what fails its process fails the next one
T = TypeVar("T")


class ClusterError(InputError):
    """The Ray cluster cannot be used, or is lost."""


def made_with() -> str:
    """What must be the same on every node, so that it finds the same bits."""
    return f"vpp_pipeline {code_version()}, " + ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy"))


def require_same_code(driver: str, node: str) -> None:
    """Raises ClusterError where ``node``, which this process is on, has other versions than the ``driver``."""
    if driver != (here := made_with()):
        raise ClusterError(
            f"node {node} of the cluster runs {here}, and the day is made with {driver}",
            remedy="Install the same versions on every node (`make cluster` from the same checkout)",
        )


def spread(settings: OptimiserSettings, work: Callable[..., T], given: Sequence[tuple[Any, ...]], what: str) -> list[T]:
    """``work`` of each of ``given``, on the nodes of the cluster, in order. The connection stays open.

    A call can be repeated: one whose process or node is lost is given to another. ``what``: how messages name one.
    Raises what ``work`` raises, and ClusterError where a call is lost for good, or no node is left for it.
    """
    ray = import_ray()
    connect(settings.ray_address)
    task = ray.remote(num_cpus=settings.shard_cpus, max_retries=MOST_LIVES - 1, scheduling_strategy="SPREAD")(work)
    waiting = {task.remote(*one): place for place, one in enumerate(given)}
    answers: dict[int, T] = {}
    watch = _Nodes(settings)
    while waiting:
        ended, _ = ray.wait(list(waiting), num_returns=1, timeout=PULSE_S)
        watch.look(what)
        for one in ended:
            place = waiting.pop(one)
            try:
                answers[place] = ray.get(one)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    f"{what} {place + 1} is lost: {' '.join(str(error).split())[:500]}",
                    remedy="See `ray status`. Add a node by `ray start --address=HOST:PORT`, or let a part be smaller "
                    "(fleet.part_prosumers), for a node that is short of memory; then give the command again",
                ) from None
    return [answers[place] for place in range(len(given))]


class _Nodes:
    """The nodes of the cluster while calls are waited for."""

    def __init__(self, settings: OptimiserSettings) -> None:
        self._settings = settings
        self._alive = self._with_room()
        self._heard = time.monotonic()

    def _with_room(self) -> dict[str, str]:
        """Node -> its address, of those that a call fits on."""
        alive = [node for node in import_ray().nodes() if node["Alive"]]
        fit = [node for node in alive if node["Resources"].get("CPU", 0.0) >= self._settings.shard_cpus]
        return {node["NodeID"]: str(node["NodeManagerAddress"]) for node in fit}

    def look(self, what: str) -> None:
        """Tell which nodes were lost. Raises ClusterError where none has been left for longer than the patience."""
        now = self._with_room()
        for node in self._alive.keys() - now.keys():
            LOG.warning("node %s of the cluster was lost; each %s on it is made again", self._alive[node], what)
        self._alive = now
        if now:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > self._settings.shard_patience_s:
            raise ClusterError(
                f"no node of the cluster has {self._settings.shard_cpus:g} CPUs for a {what}",
                remedy="Add a node by `ray start --address=HOST:PORT`, or lower optimiser.shard_cpus; then give the "
                "command again",
            )


@cache  # once in a process
def require_cluster(address: str | None) -> None:
    """Raises InputError where there is no cluster, or no Ray to ask it."""
    if connect(address):
        import_ray().shutdown()


def import_ray() -> Any:
    """The library. Raises InputError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "the setting optimiser.backend cannot be used: Ray is not installed",
            value="ray",
            remedy="Install it (`make cluster` in a checkout, or pip install 'vpp-pipeline[cluster]'), or leave the "
            "setting out",
        ) from None
    return ray


def connect(address: str | None) -> bool:
    """Whether this process was connected to the cluster just now, and not before.

    ``address``: of the cluster's head, else RAY_ADDRESS, else a head on this machine. Raises ClusterError where there
    is none.
    """
    ray = import_ray()
    if ray.is_initialized():
        return False
    named = address or os.environ.get("RAY_ADDRESS") or "auto"
    if "://" not in named and named not in ("auto", "local"):
        host, _, port = named.rpartition(":")
        try:  # Ray itself asks for two minutes and then ends the process
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except (OSError, ValueError, OverflowError) as error:
            raise _no_cluster(named, str(error)) from None
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=named, log_to_driver=False, logging_level=logging.ERROR)
    except (Exception, SystemExit) as error:
        raise _no_cluster(named, " ".join(str(error).split())) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own would end the command without a word
    return True


def _no_cluster(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"there is no Ray cluster to hold the fleet: {why}",
        value=address,
        remedy="Start one by `ray start --head`, name the head of another by RAY_ADDRESS=HOST:PORT or "
        "--set optimiser.ray_address=HOST:PORT, or leave optimiser.backend out",
    )


def node_of_this() -> str:
    """Address of this actor's node, as it was given to `ray start`."""
    ray = import_ray()
    mine = ray.get_runtime_context().get_node_id()
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == mine)
