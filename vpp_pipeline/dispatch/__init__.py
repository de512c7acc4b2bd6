"""The day's optimisation: who does what in which hour, and what each is paid for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import highspy


@contextmanager
def without_output() -> Iterator[None]:
    """What libraries in C write to the standard output meanwhile is lost; Python's own output has a buffer of its own.

    Without a standard output, as of a service, nothing needs to be done.
    """
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


# HiGHS 1.16 prints its name and license once a process, as the first instance is made: before an option can forbid it,
# in CVXPY as well, and above the JSON that a program reads. 1.11 to 1.15 print nothing.
with without_output():
    highspy.Highs()
