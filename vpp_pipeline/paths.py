"""Where the project's files lie."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]


def project_folder() -> Path:
    """The checkout, if the package runs from one; otherwise the folder the user stands in."""
    return _CHECKOUT if (_CHECKOUT / "dagster.yaml").is_file() else Path.cwd()
