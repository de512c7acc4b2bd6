"""What can go wrong with OASIS: what a repetition may heal, what waits for another hour, and what needs a person."""

from __future__ import annotations

from vpp_pipeline.core.errors import InputError, NoDataError


class OasisError(InputError):
    """OASIS refuses the question or answers in an unknown layout; asking again would not help."""


class OasisDownError(NoDataError):
    """OASIS could not be reached, or was busy, as often as it was asked; later may succeed."""


class OasisIncompleteError(NoDataError):
    """What OASIS gave lacks an hour or a region, or contradicts itself, as often as it was asked; later may succeed."""


class Again(Exception):
    """An answer that a repetition may heal: busy, late, torn. ``after_s``: seconds that OASIS asks us to wait."""

    def __init__(self, problem: str, after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.after_s = after_s


class Incomplete(Again):
    """A readable answer that is not the whole day."""


class Refusal(Exception):
    """OASIS's own error, sent with HTTP 200 as XML inside the zip."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"error {code}: {words}")
        self.code = code
