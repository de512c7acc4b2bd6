"""A day solved by column generation in a process of its own, and processes of the cluster killed in the middle of it.

    python -m vpp_pipeline_tests.cluster.one_day DAY.pickle ANSWER.json '{"backend": "ray"}' [KILL]

KILL is JSON: `question` (`price`, `powers_of`, `could_give_up`, `collect`), `call` (the how many-th of them), and
`node`, the name of a node whose processes all end; without it, the process of one shard does. With `again`, it is every
shard's process of that node, as often as it is started again. What is to be killed is stopped before the question is
put, so that it cannot have answered.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.dispatch.column_generation import ray_shards
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.column_generation.pricing import load_kernels
from vpp_pipeline.dispatch.column_generation.ray_shards import RayShards
from vpp_pipeline.dispatch.column_generation.shard_files import ShardFile
from vpp_pipeline.dispatch.problem import DaySolution
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cluster.ray_nodes import Node

STOPPED_S = 0.3  # between the question and the end of who was asked


class Watched(RayShards):
    """A cluster whose calls are counted, and of which something is killed in the middle of one."""

    kill: dict[str, Any] | None = None
    last: RayShards | None = None

    def __init__(self, settings: OptimiserSettings) -> None:
        super().__init__(settings)
        self.calls: dict[str, int] = {}
        Watched.last = self

    def gather(self, held: Sequence[ShardFile], question: str, given: tuple[Any, ...]) -> list[Any]:
        kill = self.kill
        self.calls[question] = self.calls.get(question, 0) + 1
        if kill and (question, self.calls[question]) == (kill["question"], kill["call"]):
            if kill.get("again"):
                node = Node("", "", name=kill["node"], folder=Path())
                chosen = [one for one in node.processes() if is_shard(one)]

                def end() -> None:
                    while threading.main_thread().is_alive():
                        for one in filter(is_shard, node.processes()):
                            with suppress(ProcessLookupError):
                                os.kill(one, signal.SIGKILL)
                        time.sleep(2.0)

            elif name := kill.get("node"):
                node = Node("", "", name=name, folder=Path())
                chosen, end = node.processes(), node.kill
            else:
                chosen = [int(self._lives[0].split()[1])]

                def end() -> None:
                    os.kill(chosen[0], signal.SIGKILL)

            for one in chosen:
                os.kill(one, signal.SIGSTOP)
            timer = threading.Timer(STOPPED_S, end)
            timer.daemon = True
            timer.start()
        return super().gather(held, question, given)


def is_shard(process: int) -> bool:
    """Whether a shard lives in it, as the process' title says."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::ShardHolder")
    return False


def hashes_of(solution: DaySolution) -> dict[str, str]:
    """Every array of a solution, to the bit."""
    named = {name: values for name, values in vars(solution).items() if isinstance(values, np.ndarray)}
    named |= vars(solution.schedule) | {f"dual of {name}": values for name, values in vars(solution.duals).items()}
    return {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in named.items()}


def main() -> None:
    day_file, answer_file, settings, *kill = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    Watched.kill = json.loads(kill[0]) if kill else None
    ray_shards.RayShards = Watched  # type: ignore[misc]
    day, rules, optimiser = pickle.loads(Path(day_file).read_bytes())
    chosen = OptimiserSettings.model_validate(optimiser.model_dump() | json.loads(settings))
    load_kernels(day)
    begun = time.perf_counter(), time.process_time()
    try:
        solution = solve_by_columns(day, rules, chosen)
    except (InputError, StoreError) as error:
        found: dict[str, Any] = {"error": str(error)}
    else:
        found = {
            "hashes": hashes_of(solution),
            "objective_usd": solution.objective_usd,
            "bound_usd": solution.bound_usd,
            "bids": int(solution.is_bid.sum()),
            "method": solution.method,
        }
    found["wall_s"], found["cpu_s"] = time.perf_counter() - begun[0], time.process_time() - begun[1]
    if Watched.last is not None:
        found["seconds"] = dict(Watched.last.seconds)
        found["restarts"] = {str(shard + 1): count for shard, count in Watched.last.restarts.items()}
    Path(answer_file).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
