"""Where the CPU seconds of a day go: the command `bids` itself in a fresh process, sampled.

    python benchmarks/bench_overhead.py [--prosumers 200] [--against FOLDER]

The day is 2023-08-15 at embedded prices, with an empty data folder and an empty run history on disk. A timer of CPU
time interrupts the process every few milliseconds; the CPU seconds since the last interruption go to the first line of
RULES that the stack names, so that a line means the same wherever it is spent: what stores an event counts as that,
whatever step it is for. ``--against`` names another checkout, which is run in turn with this one and shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

HERE = Path(__file__).resolve()
DAY = "2023-08-15"
EVERY_S = 0.004

#: words of a frame, "file:function" -> line of the table
RULES = {
    ":create_run_for_job": "Dagster: the run and its plan, written to the history",
    ":handle_new_event": "Dagster: events, written to the history",
    "cli/run_job.py:instance_of": "Dagster: history opened",
    "data_version_cache.py:": "Dagster: versions of inputs, read from the history",
    "defs/negotiation.py:_record": "negotiated partitions: what is recorded of each",
    "defs/metadata.py:": "metadata of the pages",
    "defs/checks.py:": "asset checks",
    "verification/registry.py:": "verification of the bids",
    "reporting/page.py:write_report": "report",
    "warehouse/publish.py:": "publication into DuckDB",
    "warehouse/draft.py:": "publication into DuckDB",
    "core/lake.py:": "lake, read and written",
    "inputs/": "input data",
    "core/provenance.py:": "hashes",
    "pipeline.py:find_opportunities": "opportunities and their sizes",
    "pipeline.py:negotiate": "negotiation",
    "llm/session.py:": "optimization",
    "vpp_pipeline/pipeline.py:": "other stages",
    "definitions.py:definitions_of": "definitions",
    "cli/console.py:": "what the command prints",
    "vpp_pipeline/defs/": "assets, outside the stages",
    "/dagster/": "Dagster: rest",
}


def line_of(stack: list[str]) -> str:
    """The table's line for a stack, innermost frame first."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place].startswith("<frozen importlib"):
            files = (
                one.rpartition("/site-packages/")[2] for one in reversed(stack[:place]) if "/site-packages/" in one
            )
            return f"imports: {next(files, 'vpp_pipeline/').split('/')[0]}"
    return next((line for words, line in RULES.items() if any(words in frame for frame in stack)), "rest")


class Sampler:
    """CPU seconds by line, asked for by a timer of the process' own CPU time."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last = 0.0

    def __enter__(self) -> Sampler:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
            frame = frame.f_back
        now = time.process_time()  # a call into C ends before the timer is heard
        self.seconds[line_of(stack)] += now - self._last
        self._last = now


def sample(folder: str, prosumers: str) -> None:
    """Run the command in this process; its lines are written as JSON into ``folder``."""
    with Sampler() as sampler:
        from vpp_pipeline.cli.main import main

        sys.argv = ["vpp-pipeline", "bids", "--date", DAY, "--data", f"{folder}/data", "--prosumers", prosumers]
        sys.argv += ["--set", "resources.participation=hourly"]
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise
    sampler.seconds["rest"] += time.process_time() - sum(sampler.seconds.values())
    Path(folder, "lines.json").write_text(json.dumps(sampler.seconds))


def sampled(checkout: Path, prosumers: int) -> dict[str, float]:
    """CPU seconds by line of a run by the code of ``checkout``."""
    with TemporaryDirectory() as folder:
        history = Path(folder, "history")
        history.mkdir()
        settings = (checkout / "dagster.yaml").read_text(encoding="utf-8").replace("data/dagster", str(history))
        (history / "dagster.yaml").write_text(settings, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(checkout), "DAGSTER_HOME": str(history)}
        command = [sys.executable, str(HERE), "--sample", folder, "--prosumers", str(prosumers)]
        subprocess.run(command, env=environment, cwd=checkout, stdout=subprocess.DEVNULL, check=True)
        lines: dict[str, float] = json.loads(Path(folder, "lines.json").read_text())
        return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prosumers", type=int, default=200)
    arguments.add_argument("--against", type=Path, help="folder of another checkout")
    arguments.add_argument("--runs", type=int, default=3, help="runs of each, of which the mean is shown")
    arguments.add_argument("--sample", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.sample:
        sample(asked.sample, str(asked.prosumers))
        return
    checkouts = [*([asked.against.resolve()] if asked.against else []), HERE.parents[1]]
    found: list[Counter[str]] = [Counter() for _ in checkouts]
    for _ in range(asked.runs):
        for lines, checkout in zip(found, checkouts, strict=True):
            lines.update({line: seconds / asked.runs for line, seconds in sampled(checkout, asked.prosumers).items()})
    names = ["before", "now"] if asked.against else ["now"]
    print(f"| CPU seconds of a day of {asked.prosumers}, mean of {asked.runs} | {' | '.join(names)} |")
    print("|---|" + "---|" * len(names))
    for line in sorted({*found[0], *found[-1]}, key=lambda one: -found[0][one]):
        print(f"| {line} | {' | '.join(f'{lines[line]:.2f}' for lines in found)} |")
    print(f"| **in all** | {' | '.join(f'**{sum(lines.values()):.2f}**' for lines in found)} |")


if __name__ == "__main__":
    main()
