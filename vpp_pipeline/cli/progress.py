"""What a command reports while it works, on the standard error: verbosity, and progress by stage or by count."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vpp_pipeline.core.display import printable

QUIET = "quiet"


def _set_verbosity(context: click.Context, parameter: click.Parameter, count: int) -> None:
    """Warnings of this package on the standard error, with -v what it does, with -vv its details and Dagster's events.

    The option may stand before the command, behind it, or both.
    """
    total = context.meta["verbosity"] = context.meta.get("verbosity", 0) + count
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Message())
    logger = logging.getLogger("vpp_pipeline")
    logger.handlers[:] = [handler]
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(total, 2)])


class _Message(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return printable(kind + super().format(record))


def verbose() -> click.Option:
    """The option -v, which every command has."""
    return click.Option(
        ["-v", "--verbose"],
        count=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Report progress on the standard error; -vv: details too.",
    )


def _set_quiet(context: click.Context, parameter: click.Parameter, chosen: bool) -> None:
    context.meta[QUIET] = chosen or context.meta.get(QUIET, False)


def quiet() -> click.Option:
    """The option -q, which every command has."""
    words = "No progress on the standard error; warnings and errors stay."
    return click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_quiet, help=words)


def is_quiet() -> bool:
    """Whether the command that runs is to say nothing of its progress."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(QUIET))


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """A function that names the stage that begins: on a terminal in place, with the seconds; elsewhere a line each.

    On the standard error, so that the result can be read by programs.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    seen, console = set[str](), Console(stderr=True)
    if is_quiet():
        yield lambda stage: None
    elif not console.is_terminal:

        def line(stage: str) -> None:
            if stage not in seen:
                seen.add(stage)
                click.echo(f"{stage} …", err=True)

        yield line
    else:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task("reading the input")
            yield lambda stage: shown.update(task, description=stage)


class Counted:
    """How many of some steps are done: a bar on a terminal, elsewhere a line for each tenth; on the standard error."""

    def __init__(self, name: str, total: int, completed: int = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._name, self._total, self._done = name, total, completed
        console, text = Console(stderr=True), TextColumn("{task.description}", markup=False)
        self._is_line = not console.is_terminal and not is_quiet()
        is_off = not console.is_terminal or is_quiet()
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=is_off)
        self._task = self._bar.add_task(name, total=total, completed=completed)

    def __enter__(self) -> Counted:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more is done."""
        before, self._done = self._done, self._done + 1
        self._bar.advance(self._task)
        if self._is_line and (10 * self._done) // self._total > (10 * before) // self._total:
            click.echo(f"{self._name}: {self._done} of {self._total}", err=True)
