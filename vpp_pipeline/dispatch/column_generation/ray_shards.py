"""Shards of the fleet on a Ray cluster: the backend `ray`.

Each actor reads its shard by itself from a Parquet file in a folder that every node can read, or in an object store,
and writes what it found for its prosumers there, once the day is decided (`shard_files.py`). Calls carry prices, plans,
and sums of groups.

Every call names the file of its shard and can be repeated: an actor that Ray has started again, on whatever node is
left, reads the file anew and answers the same. A shard that no node takes for a stated time ends the day with an error.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np

from vpp_pipeline.core.arrays import Indices
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.dispatch.column_generation.best_response import Stores
from vpp_pipeline.dispatch.column_generation.pricing import Pricer, part_of_stores
from vpp_pipeline.dispatch.column_generation.shard import Collected, Mix, Plan, Shard
from vpp_pipeline.dispatch.column_generation.shard_files import (
    ShardFile,
    ShardFolder,
    read_collected,
    read_shard,
    write_collected,
    write_shard,
)
from vpp_pipeline.dispatch.ray_cluster import MOST_LIVES, PULSE_S, ClusterError, connect, made_with, node_of_this
from vpp_pipeline.settings import OptimiserSettings

LOG = logging.getLogger(__name__)
MOST_REPEATS = 5  # of a call whose answer was lost


@dataclass(frozen=True)
class Answer:
    """What a shard answers, how long it took, s, and which life of its actor gave it."""

    value: Any
    busy_s: float
    life: str


class ShardHolder:
    """An actor: the shards that it was asked for, by file."""

    def __init__(self, threads: int) -> None:
        self.threads, self.life = threads, f"{node_of_this()} {os.getpid()} {uuid4().hex[:8]}"
        self._shards: dict[str, Shard] = {}
        self._mixes: dict[int, Mix] = {}

    def pulse(self) -> str:
        """Which life of the actor this is."""
        return self.life

    def answer(self, held: ShardFile, question: str, given: tuple[Any, ...]) -> Answer:
        """What the shard's method of that name answers; ``collect`` writes it beside the shard and names the file."""
        begun = time.perf_counter()
        shard = self._shards.get(held.file)  # a name is of one fleet: an actor lives for one day
        if shard is None:
            shard = self._shards[held.file] = read_shard(held, node_of_this(), self.threads)
        value = getattr(shard, question)(*map(self._received, given))
        if isinstance(value, Collected):
            value = write_collected(value, held.folder, f"{held.file.removesuffix('.parquet')}_{uuid4().hex}.parquet")
        return Answer(value, time.perf_counter() - begun, self.life)

    def _received(self, one: Any) -> Any:
        """A mixture is fetched once; arrays are copied, since Ray's may not be written to and would be compiled for."""
        if isinstance(one, np.ndarray):
            return one.copy()
        if not isinstance(one, Plan):
            return one
        import ray

        number, first = one.numbers[0], one.steps[0]
        if number not in self._mixes:
            self._mixes = {number: ray.get(first)}  # a reference in its place
        return replace(one, steps=(self._mixes[number], *one.steps[1:]))


class RayShards:
    """A cluster that holds fleets in shards, while it is open."""

    def __init__(self, settings: OptimiserSettings) -> None:
        self._settings, self._fleets = settings, 0
        self._folder, self._opened = ShardFolder.new(settings.shard_folder), False
        self._actors: list[Any] = []
        self._lives: dict[int, str] = {}
        self.restarts: Counter[int] = Counter()
        #: question -> calls, wall seconds, and busy seconds of the slowest shard of each call
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])

    def __enter__(self) -> RayShards:
        try:
            self._opened = connect(self._settings.ray_address)
        except InputError:
            self._folder.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        if self._opened:
            ray.shutdown()
        self._folder.remove()

    def pricer(self, stores: Stores, group: Indices, groups: int, call_hours: float) -> RayPricer:
        """The pricer of a fleet, whose shards are written for the actors to read."""
        import ray

        if not self._actors:
            cpus = ray.cluster_resources().get("CPU", 0.0) / self._settings.shard_cpus
            as_actor = ray.remote(
                num_cpus=self._settings.shard_cpus,
                max_restarts=-1,
                max_task_retries=-1,
                scheduling_strategy="SPREAD",
                concurrency_groups={"pulse": 1},
            )
            holder, threads = as_actor(ShardHolder), max(int(self._settings.shard_cpus), 1)
            count = self._settings.shards or max(int(cpus), 1)
            self._actors = [holder.remote(threads) for _ in range(min(count, groups))]
        self._fleets += 1
        return RayPricer(self, self._folder, self._fleets, stores, group, groups, call_hours, len(self._actors))

    def events(self) -> list[str]:
        """Which shards were started again."""
        times = {1: "", 2: " twice"}
        return [f"shard {n + 1} was restarted{times.get(k, f' {k} times')}" for n, k in sorted(self.restarts.items())]

    def gather(self, held: Sequence[ShardFile], question: str, given: tuple[Any, ...]) -> list[Any]:
        """What each actor answers of its shard. Raises ClusterError where one is lost for good."""
        import ray

        def call(shard: int) -> Any:
            return self._actors[shard].answer.remote(held[shard], question, given)

        begun = time.perf_counter()
        waits = _Waits(self._settings.shard_patience_s)
        pending = {call(shard): shard for shard in range(len(held))}
        answers: dict[int, Answer] = {}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=len(pending), timeout=PULSE_S)
            for reference in done:
                shard = pending.pop(reference)
                try:
                    answers[shard] = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, InputError | StoreError | OSError) else error from None
                except ray.exceptions.RayError as error:
                    waits.lost(shard, error)
                    pending[call(shard)] = shard
                else:
                    self._alive(shard, answers[shard].life, waits)
            for shard in pending.values():
                if (life := waits.pulse(shard, self._actors[shard])) is not None:
                    self._alive(shard, life, waits)
        slowest_s = max(answer.busy_s for answer in answers.values())
        wall_s = time.perf_counter() - begun
        self.seconds[question] = [a + b for a, b in zip(self.seconds[question], (1, wall_s, slowest_s), strict=True)]
        return [answers[shard].value for shard in range(len(held))]

    def _alive(self, shard: int, life: str, waits: _Waits) -> None:
        """Take note of a new life of the shard's actor."""
        before = self._lives.get(shard)
        self._lives[shard] = life
        if before is None or before == life:
            return
        self.restarts[shard] += 1
        where, other = life.split()[0], before.split()[0]
        LOG.warning("dispatch: shard %d of the fleet was lost on %s and restarted on %s", shard + 1, other, where)
        waits.restarted(shard)


class _Waits:
    """How long and how often the shards of one call were waited for."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s, self._begun = patience_s, time.monotonic()
        self._heard: dict[int, float] = {}
        self._pulses: dict[int, Any] = {}
        self._lives: Counter[int] = Counter()
        self._repeats: Counter[int] = Counter()

    def pulse(self, shard: int, actor: Any) -> str | None:
        """The life of an actor that is busy; None where it has not said so. Raises ClusterError after the patience."""
        import ray

        asked = self._pulses.get(shard)
        life = None
        if asked is not None and ray.wait([asked], timeout=0)[0]:
            with suppress(ray.exceptions.RayError):  # it is asked again
                life = ray.get(asked)
            asked = None
        if asked is None:
            self._pulses[shard] = actor.pulse.options(concurrency_group="pulse").remote()
        if life is not None:
            self._heard[shard] = time.monotonic()
        elif time.monotonic() - self._heard.get(shard, self._begun) > self._patience_s:
            raise _lost(shard, f"no node has answered for it in {self._patience_s:g} s")
        return life

    def restarted(self, shard: int) -> None:
        """Raises ClusterError where the shard ends every process that it is given to."""
        self._lives[shard] += 1
        if self._lives[shard] >= MOST_LIVES:
            raise _lost(shard, f"it was restarted {MOST_LIVES} times and gave no answer")

    def lost(self, shard: int, error: Exception) -> None:
        """Raises ClusterError where an answer is lost too often, or the actor is for good."""
        import ray

        self._repeats[shard] += 1
        is_dead = isinstance(error, ray.exceptions.ActorDiedError)
        if is_dead or self._repeats[shard] >= MOST_REPEATS:
            raise _lost(shard, " ".join(str(error).split())) from error


class RayPricer(Pricer):
    """A fleet in shards on the cluster."""

    def __init__(
        self,
        cluster: RayShards,
        folder: ShardFolder,
        fleet: int,
        stores: Stores,
        group: Indices,
        groups: int,
        call_hours: float,
        shards: int,
    ) -> None:
        super().__init__(group, groups, stores.max_charge.shape[1], shards)
        self._cluster, self._folder, self._mixes = cluster, folder, dict[int, Any]()
        self._held = [
            ShardFile(folder, f"fleet_{fleet}_shard_{number}.parquet", call_hours, made_with())
            for number in range(1, len(self.members) + 1)
        ]
        for held, members in zip(self._held, self.members, strict=True):
            write_shard(held, part_of_stores(stores, members), members, group[members])

    def ask(self, question: str, *given: Any) -> Sequence[Any]:
        """What each shard's method of that name answers."""
        sent = tuple(self._sent(one) if isinstance(one, Plan) else one for one in given)
        answers = self._cluster.gather(self._held, question, sent)
        return [read_collected(self._folder, file) for file in answers] if question == "collect" else answers

    def _sent(self, plan: Plan) -> Plan:
        """The plan with a reference in place of its mixture, which is long and goes to each actor once."""
        import ray

        number = plan.numbers[0]
        if number not in self._mixes:
            self._mixes = {number: ray.put(plan.steps[0])}
        return replace(plan, steps=(self._mixes[number], *plan.steps[1:]))


def _lost(shard: int, why: str) -> ClusterError:
    return ClusterError(
        f"shard {shard + 1} of the fleet is lost: {why}",
        remedy="See `ray status`. Add a node by `ray start --address=HOST:PORT`, lower optimiser.shards or "
        "optimiser.shard_cpus, or leave optimiser.backend out; then give the command again",
    )
