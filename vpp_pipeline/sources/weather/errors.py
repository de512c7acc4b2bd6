"""What can go wrong with the weather service, in the words of who has to deal with it."""

from __future__ import annotations

from vpp_pipeline.core.errors import InputError, NoDataError


class WeatherError(InputError):
    """The service refuses the question or answers in an unknown layout; asking again would not help."""


class WeatherDownError(NoDataError):
    """The service could not be reached, was busy, or gave no whole answer, as often as it was asked."""


class Again(Exception):
    """An answer that a repetition may heal. ``after_s``: seconds that the service asks us to wait."""

    def __init__(self, problem: str, after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.after_s = after_s
