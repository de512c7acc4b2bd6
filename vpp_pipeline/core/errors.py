"""Errors of wrong input: where, what was found, what to do; without the passwords of addresses."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vpp_pipeline.core.display import printable

_USER = re.compile(r"(?<=://)(?:\S*@|[^\s/@]*:[^@\n]*@)")  # the second: a password with spaces
_SECRET_FIELD = re.compile(r"(?i)([?&][\w.-]*(?:key|token|secret|passw|pwd|auth|sig)[\w.-]*=)[^&#\s)'\"]+")


def without_secrets(text: str) -> str:
    """``text`` in which no address shows its user, its password, or a key in its query.

    Rather too much is taken out than too little: all from ``://`` to the last ``@`` of a word.

    >>> without_secrets("no answer (file https://desk:p@ss@oasis.example/api?apikey=K1&node=SP15)")
    'no answer (file https://***@oasis.example/api?apikey=***&node=SP15)'
    """
    return _SECRET_FIELD.sub(r"\1***", _USER.sub("***@", text))


LONGEST = 500  # characters of a file's name or a value, in a message


class _Told(Exception):
    """An error whose message, of one paragraph, names the place and the remedy."""

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
        # a value of a file may hold line breaks, or be long; the message stays one paragraph
        where = ", ".join(
            f"{name} {text[:LONGEST]}{' …' if len(text) > LONGEST else ''}"
            for name, item in named
            if item is not None
            for text in [" ".join(str(item).splitlines())]
        )
        end = "" if problem.endswith("?") and not where else "."
        super().__init__(printable(without_secrets(f"{problem}{f' ({where})' if where else ''}{end} {remedy}")))

    def __reduce__(self) -> tuple[object, ...]:
        """From another process it comes as it is, for its message is made already.

        >>> import pickle
        >>> str(pickle.loads(pickle.dumps(InputError("no prices", file="a.csv", remedy="Take others"))))
        'no prices (file a.csv). Take others'
        """
        return _from_message, (type(self), str(self)), self.__dict__


def _from_message(kind: type[_Told], message: str) -> _Told:
    return kind.__new__(kind, message)


class InputError(_Told, ValueError):
    """Input that cannot be used; the message names the place and the remedy.

    The command line prints it and leaves with status 2; in Dagster the asset fails with this text.
    """


class StoreError(_Told):
    """The object store of the lake could not be used, so that nothing is known of what it holds.

    It is no InputError: who goes without a damaged file, or takes another in its place, must not do so without an
    answer. It ends a command just as that does.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the known name closest to a misspelled one; empty where none is close.

    Dotted names are compared part by part, so that a shared group does not make two settings alike.

    >>> did_you_mean("negotiation.round", ["negotiation.rounds", "risk.seed"])
    '; did you mean negotiation.rounds?'
    >>> did_you_mean("bidding.rounds", ["negotiation.rounds", "risk.seed"]), did_you_mean("sell", ["risk.seed"])
    ('; did you mean negotiation.rounds?', '')
    """
    from difflib import SequenceMatcher

    def alike(one: str, other: str) -> float:
        return SequenceMatcher(None, one, other).ratio()

    def alike_part_by_part(other: str) -> float:
        ours, theirs = name.split("."), other.split(".")
        return min(map(alike, ours, theirs)) if len(ours) == len(theirs) else 0.0

    def alike_at_the_end(other: str) -> float:
        return alike(name.rpartition(".")[2], other.rpartition(".")[2])

    names = list(known)
    for likeness, enough in ((alike_part_by_part, 0.6), (alike_at_the_end, 0.8)):
        closest = max(names, key=likeness, default="")
        if closest and likeness(closest) >= enough:
            return f"; did you mean {closest}?"
    return ""


#: pydantic's types of errors -> what to say of a value; its limits are filled in
_SETTING_WORDS = {
    "greater_than_equal": "it must be {ge:,g} or more",
    "greater_than": "it must be above {gt:,g}",
    "less_than_equal": "it must be {le:,g} or less",
    "less_than": "it must be below {lt:,g}",
    "literal_error": "it must be {expected}",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "string_too_short": "it must have {min_length} letters or more",
    "missing": "it is missing",
    "extra_forbidden": "there is no such name",
    "finite_number": "it must be a finite number",
    "int_from_float": "it must be a whole number",
    "path_type": "it must be a path",
}
#: the same by the beginning of the type: ``int_parsing``, ``int_type``, …
_KIND_WORDS = {
    "int_": "it must be a whole number",
    "float_": "it must be a number",
    "bool_": "it must be true or false",
    "string_type": "it must be text",
    "dict_": "it must be a table of names and values",
    "model_": "it must be a table of names and values",
    "tuple_": "it must be a list",
}


def setting_problem(error: Mapping[str, Any]) -> str:
    """What is wrong with a setting, in our words, from one of pydantic's errors; a check of our own words it itself.

    >>> setting_problem({"type": "less_than_equal", "ctx": {"le": 10}, "msg": "Input should be less than …"})
    'it must be 10 or less'
    >>> setting_problem({"type": "int_parsing", "msg": "Input should be a valid integer, unable to parse …"})
    'it must be a whole number'
    >>> setting_problem({"type": "url_parsing", "msg": "Input should be a valid URL, relative URL without a base"})
    'it is not what it must be'
    """
    kind, limits = str(error["type"]), error.get("ctx", {})
    if kind in _SETTING_WORDS:
        return _SETTING_WORDS[kind].format(**limits)
    if kind == "value_error":  # raised by a check of ours
        return str(error["msg"]).removeprefix("Value error, ")
    return next((words for begin, words in _KIND_WORDS.items() if kind.startswith(begin)), "it is not what it must be")


class NoDataError(InputError):
    """The source holds nothing for the day that was asked for; another day, or later, may succeed."""


#: error number -> what is wrong with the disk, and what to do
DISK = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your share of the disk is used up", "Free some space"),
    errno.EFBIG: ("a file would be larger than it may be here", "Raise the limit, or take another folder by --data"),
    errno.EROFS: ("the disk is read-only", "Take another folder by --data"),
    errno.EACCES: ("the folder may not be written to", "Change its permissions, or take another folder by --data"),
    errno.EPERM: ("the folder may not be written to", "Change its permissions, or take another folder by --data"),
    errno.ENOTDIR: ("a file stands where a folder must be", "Take another folder by --data"),
    errno.EEXIST: ("a file stands where a folder must be", "Take another folder by --data"),
    errno.EISDIR: ("a folder stands where a file must be", "Move it away"),
    errno.ENAMETOOLONG: ("a name is longer than the disk takes", "Take a shorter one"),
    errno.ELOOP: ("links lead in a circle", "Take another folder by --data"),
    errno.EIO: ("the disk gave an error", "Look at the disk, or take another folder by --data"),
}
#: how libraries that do not hand on the number say it
_DISK_WORDS = {
    "no space left": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EACCES,
    "permission denied": errno.EACCES,
}


def of_the_disk(error: BaseException) -> InputError | None:
    """What to say of an error, or one behind it, with which the disk refused a file; None for any other."""
    for one in _chain(error):
        number = one.errno if isinstance(one, OSError) and one.errno in DISK else None
        for words, known in _DISK_WORDS.items():
            if number is None and words in str(one).lower():
                number = known
        if number is not None:
            problem, remedy = DISK[number]
            file = getattr(one, "filename", None)
            return InputError(
                f"{problem}: {' '.join(str(one).split())}",
                file=file,
                remedy=f"{remedy}, and give the command again. What is published stays as it was",
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those behind it, each once: where one is raised again, they may lead back to themselves."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


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
        super().__init__(printable(without_secrets(problem)))
        self.after_s = after_s
