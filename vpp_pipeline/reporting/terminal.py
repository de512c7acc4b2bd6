"""The terminal that tables are printed to."""

from __future__ import annotations

from rich.console import Console

PLAIN_WIDTH = 132  # columns when the output goes to a file or another program


def terminal() -> Console:
    """Where people read; PLAIN_WIDTH wide when the output goes elsewhere."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)
