"""Errors of wrong input: where, what was found, what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message names the place and the remedy.

    The command line prints it and leaves with status 2; in Dagster the asset fails with this text.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: object = None,
        row: object = None,
        column: object = None,
        key: object = None,
        value: object = None,
    ) -> None:
        named = [("file", file), ("row", row), ("column", column), ("key", key), ("value", value)]
        where = ", ".join(f"{name} {item!s}" for name, item in named if item is not None)
        super().__init__(f"{problem}{f' ({where})' if where else ''}. {remedy}")


class NoDataError(InputError):
    """The source holds nothing for the day that was asked for; another day, or later, may succeed."""


class SolveError(RuntimeError):
    """No usable answer from any solver; the message holds each solver's own word."""


class ViolationError(RuntimeError):
    """A result breaks a rule that may never be broken; nothing is published."""


class WeatherError(InputError):
    """The service refuses the question or answers in an unknown layout; asking again would not help."""


class WeatherDownError(NoDataError):
    """The service could not be reached, was busy, or gave no whole answer, as often as it was asked."""


class Again(Exception):
    """An answer that a repetition may heal. ``after_s``: seconds that the service asks us to wait."""

    def __init__(self, problem: str, after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.after_s = after_s
