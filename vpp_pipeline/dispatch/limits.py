"""Limits of a search, in CPU time of this process: a busy machine takes longer, and stops no earlier."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol


class Limit(Protocol):
    """What a search asks between two steps."""

    def is_reached(self) -> bool:
        """Whether the search must end with what it has."""
        ...


@dataclass(frozen=True)
class NoLimit:
    """The limit of what must be finished whatever it takes; its steps are bounded by their number."""

    def is_reached(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class CpuLimit:
    """CPU seconds, of all threads of this process, counted from ``begun`` (`time.process_time`)."""

    seconds: float
    begun: float

    @classmethod
    def from_now(cls, seconds: float) -> CpuLimit:
        """A limit that begins to count now."""
        return cls(seconds, time.process_time())

    def is_reached(self) -> bool:
        """Whether the process has used up its seconds."""
        return not math.isinf(self.seconds) and time.process_time() - self.begun > self.seconds
