"""How the numerical kernels are compiled, and where the machine code is kept between processes.

numba looks at the date of the file that holds a function, not at those of the functions that it calls. So the folder is
named after the contents of all kernels: a change of any of them compiles them all anew.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba as nb
from numba.core import options

from vpp_pipeline.core.paths import private_folder, require_own_folder

REMEDY = "Remove it, or set NUMBA_CACHE_DIR to a folder of your own"


def fingerprint() -> str:
    """Hash of the contents of all kernels."""
    here = Path(__file__).parent
    sources = [file.read_bytes() for file in sorted(here.glob("*.py"))]
    kernels = [source for source in sources if b"import compiled" in source or b"import inlined" in source]
    return hashlib.sha256(b"".join([Path(__file__).read_bytes(), *kernels])).hexdigest()[:16]


def code_folder() -> Path:
    """`NUMBA_CACHE_DIR`, `XDG_CACHE_HOME` or `~/.cache`, else a temporary one where no home can be written to.

    numba runs what it finds there, so no other user may be able to write to it. Raises InputError where one can.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) / "vpp_pipeline" / fingerprint()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError:
        folder = private_folder("code", REMEDY) / fingerprint()
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    require_own_folder(folder.parent, REMEDY, others=0o002)
    require_own_folder(folder, REMEDY, others=0o022)
    return folder


setattr(nb.config, "CACHE_DIR", str(code_folder()))  # noqa: B010 (numba declares its settings nowhere)

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "arcp"}}
#: arrays and their views are counted by atomic instructions, half of a sweep's time and all threads' on the same few
#: words; a function that makes no array needs none. numba refuses one that does
_UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(options.DefaultOptions, "_nrt") else {}
#: a function compiled on its first call and kept on disk; it lets other threads run beside it, and makes no arrays
compiled: Any = nb.njit(**_OPTIONS, **_UNCOUNTED, nogil=True)
#: the same, written into its callers
inlined: Any = nb.njit(**_OPTIONS, inline="always")
#: a compiled function that makes arrays
with_arrays: Any = nb.njit(**_OPTIONS, nogil=True)
