"""How the numerical kernels are compiled, and where the machine code is kept between processes.

numba looks at the date of the file that holds a function, not at those of the functions that it calls. So the folder is
named after the contents of all kernels: a change of any of them compiles them all anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numba as nb
from numba.core import options

from vpp_pipeline.core.paths import private_folder


def _code_folder() -> Path:
    """`NUMBA_CACHE_DIR`, `XDG_CACHE_HOME` or `~/.cache`, else a temporary one where no home can be written to.

    numba runs what it finds there, so no other user may be able to write to it.
    """
    here = Path(__file__).parent
    sources = [file.read_bytes() for file in sorted(here.glob("*.py"))]
    kernels = [source for source in sources if b"import compiled" in source or b"import inlined" in source]
    fingerprint = hashlib.sha256(b"".join([Path(__file__).read_bytes(), *kernels])).hexdigest()[:16]
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) / "vpp_pipeline" / fingerprint
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        own = private_folder("code", "Remove it, or set NUMBA_CACHE_DIR to a folder of your own")
        folder = own / fingerprint
        folder.mkdir(exist_ok=True)
    return folder


setattr(nb.config, "CACHE_DIR", str(_code_folder()))  # noqa: B010 (numba declares its settings nowhere)

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
