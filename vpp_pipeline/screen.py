"""The warehouse in Harlequin, an SQL screen for the terminal that needs no network; an extra."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder


def open_screen(warehouse: Path) -> int:
    """Open it read-only until the user leaves, as it is now; Harlequin's exit status."""
    if not warehouse.is_file():
        raise NoDataError(
            "there is no warehouse yet", file=warehouse, remedy="Make a day's bids first: vpp-pipeline bids --date …"
        )
    return subprocess.run([*_harlequin(), "--read-only", str(warehouse)], check=False).returncode


def _harlequin() -> list[str]:
    """How it is started: from this environment, or from the one that `make screen` makes."""
    if find_spec("harlequin"):
        return [sys.executable, "-m", "harlequin"]
    for name in ("bin/harlequin", "Scripts/harlequin.exe"):
        if (own := project_folder() / ".venv-screen" / name).is_file():
            return [str(own)]
    raise InputError(
        "the SQL screen, Harlequin, is not installed",
        remedy="`make screen` installs it beside and opens it; or pip install harlequin; or ask by vpp-pipeline sql",
    )
