"""Portfolios: desks that share one data folder, each with prices, settings, fleet, lake, and warehouse of its own.

    data/prices.toml, settings.toml, lake, vpp.duckdb                     the desk without a name
    data/portfolios/north/prices.toml, settings.toml, lake, vpp.duckdb    the portfolio `north`

A portfolio's folder is a data folder like any other: what is made in it equals what a data folder of its own gives. A
process works for one portfolio, which ``--portfolio`` or VPP_PORTFOLIO names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpp_pipeline.core.errors import InputError, did_you_mean

VARIABLE = "VPP_PORTFOLIO"
FOLDER = "portfolios"  # in a data folder
LONGEST_NAME = 40
#: lower case alone: on some disks `North` and `north` are one folder
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # devices, on Windows
#: what the pipeline writes into a data folder
_WRITTEN = ("archive", "briefs", "dagster", "documents", "exports", "lake", "llm.sqlite", "reports", "vpp.duckdb")


def portfolio() -> str:
    """The portfolio that this process works for; empty for the desk without a name. Raises InputError for a wrong
    name."""
    named = os.environ.get(VARIABLE, "")
    return checked_name(named) if named else ""


@contextmanager
def working_for(name: str) -> Iterator[None]:
    """Within, this process and those that it starts work for the portfolio ``name``, or for none."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = checked_name(name) if name else ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def checked_name(name: str) -> str:
    """``name``, where it can be that of a portfolio. Raises InputError otherwise.

    >>> checked_name("north-2")
    'north-2'
    """
    if _NAME.fullmatch(name) and len(name) <= LONGEST_NAME and not _RESERVED.fullmatch(name):
        return name
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_NAME].strip("-")
    fits = bool(plain) and not _RESERVED.fullmatch(plain)
    raise InputError(
        "not the name of a portfolio",
        value=repr(name),
        remedy=f"Use small letters, digits, and - between them, {LONGEST_NAME} at most"
        + (f", such as {plain}" if fits else ""),
    )


def place_of(name: str) -> str:
    """Where the tables of a portfolio lie below what all portfolios share: a data folder, or the address of an object
    store, to which whoever opens a lake by address appends this. Empty for the desk without a name.

    >>> place_of("north"), place_of("")
    ('portfolios/north', '')
    """
    return f"{FOLDER}/{checked_name(name)}" if name else ""


def portfolios(data: Path) -> list[str]:
    """Names of the portfolios of a data folder, in order."""
    folder = data / FOLDER
    found = sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    return [name for name in found if _NAME.fullmatch(name) and not _RESERVED.fullmatch(name)]


def portfolio_folder(data: Path, name: str) -> Path:
    """The data folder of the portfolio ``name``; ``data`` itself for the desk without a name.

    Raises InputError where there is no such portfolio, or where its tables would be those of another one.
    """
    if not name:
        return data
    folder, known = data / place_of(name), portfolios(data)
    if name not in known:
        raise InputError(
            f"there is no portfolio {name}{did_you_mean(name, known)}",
            file=data / FOLDER,
            remedy=f"`vpp-pipeline portfolios` lists them; `vpp-pipeline portfolios --add {name}` makes this one",
        )
    _require_apart(data, folder)
    return folder


def add_portfolio(data: Path, name: str) -> Path:
    """Make an empty portfolio. Raises InputError where there is one of the name."""
    folder = data / place_of(name)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            "there is such a portfolio", file=folder, remedy="Take another name, or use this one"
        ) from None
    return folder


def _require_apart(data: Path, folder: Path) -> None:
    """Raises InputError where a link leads from ``folder`` to the tables of another desk.

    Inputs may be links: to anything but what lies in the data folder beyond this portfolio.
    """
    own, shared = folder.parent.resolve() / folder.name, (data.resolve(), folder.parent.resolve())
    if folder.is_symlink():
        raise _is_link(folder, "the folder of a portfolio is a link")
    for entry in folder.iterdir():
        if not entry.is_symlink():
            continue
        target = entry.resolve()
        leads_to_others = any(target.is_relative_to(other) for other in shared) and not target.is_relative_to(own)
        if leads_to_others:
            raise _is_link(entry, "a link leads from a portfolio to another desk's files")
        if entry.name.startswith(_WRITTEN):
            raise _is_link(entry, "what a portfolio writes to is a link, behind which it may not be alone")
    lake = folder / "lake"
    inner = (one for level in ("*", "*/*") for one in lake.glob(level)) if lake.is_dir() else ()
    if link := next((one for one in inner if one.is_symlink()), None):
        raise _is_link(link, "a link stands in a portfolio's lake")


def _is_link(file: Path, problem: str) -> InputError:
    return InputError(
        problem, file=file, remedy="Remove the link; to use another disk, mount it there, or make the data folder on it"
    )
