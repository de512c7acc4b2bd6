"""Advisers that say what a test tells them to, and advisers that mean harm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.negotiation.negotiate import Adviser, Seen


@dataclass
class Says:
    """Advises the same share for everyone, by round, and remembers in which rounds it was asked for what rule."""

    shares: dict[int, float]
    asked: dict[int, list[float]] = field(default_factory=dict)

    def concede(self, seen: Seen) -> Array:
        self.asked[seen.round_] = seen.rule[:, 0].tolist()
        return np.full(seen.rule.shape, self.shares[seen.round_])


@dataclass(frozen=True)
class Constant:
    """The same number, whatever it is."""

    value: float

    def concede(self, seen: Seen) -> Array:
        return np.full(seen.rule.shape, self.value)


@dataclass(frozen=True)
class Shaped:
    """An array of another shape: a row or a column too many, a single number, nothing at all."""

    kind: str

    def concede(self, seen: Seen) -> Array:
        o, n = seen.rule.shape
        return {
            "scalar": np.array(1.0),
            "flat": np.ones(o * n + 1),
            "column too many": np.ones((o, n + 1)),
            "row too many": np.ones((o + 1, n)),
            "one row": np.ones((o + 1, 1)),
            "empty": np.array([]),
            "words": "half",
            "ragged": [[1.0], [1.0, 2.0]],
            "a map": {"share": 1.0},
        }[self.kind]


@dataclass(frozen=True)
class Erratic:
    """Random numbers of any size, some of them not numbers, others in every round."""

    seed: int

    def concede(self, seen: Seen) -> Array:
        chance = np.random.default_rng([self.seed, seen.round_])
        wild = chance.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1.0, 1e9, 1e308], size=seen.rule.shape)
        return np.where(chance.random(seen.rule.shape) < 0.5, wild, chance.normal(0.5, 1.0, size=seen.rule.shape))


@dataclass(frozen=True)
class Undecided:
    """All in one round, nothing in the next."""

    def concede(self, seen: Seen) -> Array:
        return np.full(seen.rule.shape, float(seen.round_ % 2))


HOSTILE: list[Adviser] = [
    *[Constant(value) for value in (np.nan, np.inf, -np.inf, 1e9, -1e9, -0.5, 0.0, 1.0)],
    *[
        Shaped(kind)
        for kind in (
            "scalar",
            "flat",
            "column too many",
            "row too many",
            "one row",
            "empty",
            "words",
            "ragged",
            "a map",
        )
    ],
    *[Erratic(seed) for seed in range(4)],
    Undecided(),
]
