"""What an attack came to: how many cases were repelled, how, and what got through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Attack:
    """One kind of attack and its results so far."""

    name: str
    results: Counter[str] = field(default_factory=Counter)
    through: list[str] = field(default_factory=list)

    def repelled(self, how: str = "repelled") -> None:
        """One case more that did no harm."""
        self.results[how] += 1

    def got_through(self, what: str) -> None:
        """One case more that did harm."""
        self.through.append(what)

    def expect(self, holds: bool, otherwise: str) -> None:
        """One case more, which did no harm where ``holds``."""
        if holds:
            self.repelled()
        else:
            self.got_through(otherwise)

    @property
    def cases(self) -> int:
        """How many cases there were."""
        return self.results.total() + len(self.through)

    def __str__(self) -> str:
        how = ", ".join(f"{count} {name}" for name, count in self.results.most_common())
        return f"{self.name}: {self.cases} cases, {len(self.through)} got through ({how})"
