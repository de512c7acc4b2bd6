"""Where the project's files lie, and what they are called where they are published."""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from filelock import BaseFileLock, Timeout

from vpp_pipeline.core.errors import InputError

LOG = logging.getLogger(__name__)
LONGEST_NAME = 120  # characters: file systems take 255 bytes, with ending and draft
DESK_NOTE = "desk.url"  # in the folder of the history: where the desk was served last
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # devices, on Windows
REQUESTS = "opportunities.csv"  # the file of requests, in a data folder or among the examples
_CHECKOUT = Path(__file__).resolve().parents[2]


def project_folder() -> Path:
    """The checkout, if the package runs from one; otherwise the folder the user stands in."""
    return _CHECKOUT if (_CHECKOUT / "dagster.yaml").is_file() else Path.cwd()


def data_folder() -> Path:
    """The folder of lake, warehouse and requests: VPP_DATA_FOLDER, else ``data`` of the project."""
    named = os.environ.get("VPP_DATA_FOLDER")
    return Path(named) if named else project_folder() / "data"


def example_file(name: str) -> Path:
    """A file of examples that comes with the package, in a checkout and in a wheel."""
    return Path(str(resources.files("vpp_pipeline") / "examples" / name))


def requests_file(data: Path) -> Path:
    """The user's file of requests: of the data folder, else of the project; the example where there is neither."""
    own = (folder / REQUESTS for folder in (data, project_folder() / "data"))
    return next((file for file in own if file.is_file()), example_file(REQUESTS))


def history_folder(data: Path) -> Path:
    """The folder of Dagster's history of the runs on ``data``: ``dagster`` in it, or DAGSTER_HOME where that is set."""
    named = os.getenv("DAGSTER_HOME")
    return Path(named) if named else data / "dagster"


def desk_address(data: Path | None = None) -> str | None:
    """Where browsers find the desk, without a slash at the end: VPP_DESK_URL, else where `vpp-pipeline dev` of ``data``
    last served it.

    None where it is not known; what is no address is told, and costs links alone.
    """
    note = history_folder(data) / DESK_NOTE if data else None
    kept = note.read_text(encoding="utf-8") if note and note.is_file() else ""
    named = (os.environ.get("VPP_DESK_URL") or kept).strip().rstrip("/")
    if named and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", named):
        LOG.warning("VPP_DESK_URL is no address such as http://127.0.0.1:3001; reports are named as files")
        return None
    return named or None


def dagster_settings() -> str:
    """The project's `dagster.yaml`, of the checkout or as the wheel brings it."""
    packaged = resources.files("vpp_pipeline") / "dagster.yaml"
    own = _CHECKOUT / "dagster.yaml"
    return own.read_text(encoding="utf-8") if own.is_file() else packaged.read_text(encoding="utf-8")


def keep_files_private() -> None:
    """From here on, new files of this process are for its user alone (modes 0600 and 0700).

    VPP_UMASK, such as 027, opens them to a group. Raises InputError where that is no mask.
    """
    named = os.environ.get("VPP_UMASK") or "077"
    if not re.fullmatch("0?[0-7]{3}", named):
        raise InputError(
            "what should be a mask of file modes is none",
            key="VPP_UMASK",
            value=named,
            remedy="Write 077 (this user alone), 027 (its group reads), or 007 (its group writes)",
        )
    os.umask(int(named, 8))


def private_folder(purpose: str, remedy: str) -> Path:
    """A folder below the machine's temporary one that belongs to this user alone, made where it is missing.

    Everyone may write to the temporary folder, so the name may be taken already. Raises InputError, which ends with
    ``remedy``, where it is a link, belongs to another user, or is open to others.
    """
    has_users = hasattr(os, "getuid")  # on Windows each user has a temporary folder already
    folder = Path(tempfile.gettempdir()) / f"vpp_pipeline_{purpose}{f'_{os.getuid()}' if has_users else ''}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    require_own_folder(folder, remedy)
    return folder


def require_own_folder(folder: Path, remedy: str, others: int = 0o077) -> None:
    """Raises InputError, which ends with ``remedy``, where the folder is a link, belongs to another user than this one
    (or, of those that others may read, root), or is open to others in one of the modes ``others``."""
    found, has_users = folder.lstat(), hasattr(os, "getuid")  # on Windows each user has folders of its own
    problem = None
    if not stat.S_ISDIR(found.st_mode):
        problem = "is a link or a file"
    elif has_users and found.st_uid not in ({os.getuid()} if others & 0o044 else {os.getuid(), 0}):
        problem = "belongs to another user"
    elif has_users and found.st_mode & others:
        problem = f"is open to other users (mode {stat.S_IMODE(found.st_mode):o})"
    if problem:
        raise InputError(f"what should be a folder of ours alone {problem}", file=folder, remedy=remedy)


def safe_file_name(text: str) -> str:
    """``text`` as the name of a file in a folder of ours, without an ending; different texts give different names.

    What is no letter, digit, dot or hyphen within a name is written as in an address. A long text keeps its beginning,
    and gets a hash.

    >>> safe_file_name("prosumer_020"), safe_file_name("../../x"), safe_file_name("CON")
    ('prosumer_020', '%2E%2E%2F%2E%2E%2Fx', '%43ON')
    """
    name = quote(text, safe="", errors="surrogatepass").replace("..", "%2E%2E")
    if not name or name[0] in ".-~" or _RESERVED.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}" if name else "%"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}%{sha256(name.encode()).hexdigest()[:16]}"


def file_name(path: object) -> str:
    """The name of the file alone: tables are published, and must not tell folders of a machine."""
    return Path(str(path)).name


def acquire(lock: BaseFileLock, patience_s: float, why: str, quiet_s: float = 5.0) -> None:
    """Take the lock within ``patience_s``; a wait of more than ``quiet_s`` is a warning that says ``why``.

    Raises ``filelock.Timeout`` where others have not let go by then.
    """
    try:
        lock.acquire(timeout=min(quiet_s, patience_s))
    except Timeout:
        if quiet_s >= patience_s:
            raise
        LOG.warning("%s: waiting for at most %g s", why, patience_s)
        lock.acquire(timeout=patience_s - quiet_s)
