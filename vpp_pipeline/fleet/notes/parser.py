"""A note cut into clauses, and each clause understood or not: every part of the text is in one reading.

Words that limit what others say (if, unless, on Sundays, maybe, 30% in summer) may stand in a part of their own. Whose
they are is not sure, so they leave the whole sentence not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Literal, cast

from vpp_pipeline.fleet.notes.grammar import DEVICE, NAMES, Device, Understood, understand


@dataclass(frozen=True)
class Reading:
    """One limit read from a note, or one part of it that was not understood."""

    quote: str  # verbatim
    preference: str | None  # column of fleet.prosumers; None: not understood
    value: float | str | None  # in that column's unit
    device: Device | None  # the device spoken of, if any
    read_by: Literal["rule", "model"] = "rule"


@dataclass(frozen=True)
class _Clause:
    """A stretch of the note, what parts it from the one before (stop, comma, or a word such as `and`), what it says."""

    start: int
    end: int
    join: str
    says: Understood | None = None


_SPACE = r"[^\S\r\n]"
_SEPARATOR = re.compile(  # every alternative begins with the separator itself, which keeps the search fast
    # `and`, a dash or the point of an abbreviation part two clauses only if both are understood
    rf"(?P<word>{_SPACE}(?<![\s,].){_SPACE}*(?:(?i:and|plus|but(?!\s+not\b))|&|\+|[-–—])\s+|—"
    rf"|\.(?<=\b(?i:min|max)\.)(?=\s)|\.(?<=\b(?i:{NAMES})\.)(?=\s+(?:[0-9&]|and\b|or\b))"
    rf"|\.(?<=\b[ap]\.m\.)(?=\s+(?![A-Z])|\s+(?i:{NAMES})))"
    r"|(?P<stop>[;!\n\r]+|\.(?=[\s.]|$)|\s(?<=\?\s))"
    r"|(?P<comma>,(?![0-9])(?:\s*(?i:and)\b)?)"
)
_BULLET = re.compile(r"\s*(?:[-*•]\s+)?")


def _begins(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:please|thanks|thank you) )?(?:{'|'.join(words)})(?:\W|$)", re.IGNORECASE)


_HEADING = re.compile(rf"(?:(?:for )?(?:my|the|our) )?{DEVICE.pattern}\s*:\s+", re.IGNORECASE)
_EXCEPTIONS = (  # limit what stands before, even in another sentence
    "but|unless|except|excluding|apart from|other than|only (?:if|when|on|in|for|during|between|until|after|before|at)",
    "or|otherwise|although|though|ignore|forget|scratch|maybe|perhaps|just kidding|not really",
)
_CONDITIONS = (  # limit what stands beside them in the sentence
    "if|when|whenever|while|as long as|so long as|provided|assuming|depending|usually|normally|mostly|generally",
    "sometimes|probably|possibly|ideally|preferably|i think|i guess|not sure|actually|no wait|rather|less|more|lower",
    "higher|even|in|on|at|for|from|between|before|after|until|till|since|during|with|without|by|as",
    rf"only (?!discharg|charg)|summer|winter|holidays?|weekends?|weekdays?|(?:{NAMES})[a-z]*|[0-9$.]+\S*",
)
_EXCEPTION, _LIMITS = _begins(*_EXCEPTIONS), _begins(*_EXCEPTIONS, *_CONDITIONS)
_GOES_ON = re.compile(  # may belong to the clause before: a second hour, day, action or purpose
    r"[0-9.$]|or |before|after|until|till|between|from|on |for |as |against|in |of |at most|max|discharg|charg|export"
    rf"|sell|sale|weekend|weekday|please|pls|thank|{NAMES}",
    re.IGNORECASE,
)
_MOST_PARTS = 8  # that one clause is tried with: dates and windows in a list


def read_note(text: str) -> list[Reading]:
    """What ``text`` says, in its order; the quotes hold all of it but separators and conjunctions.

    >>> for reading in read_note("Keep 40% for outages, not below 12 cents, and be nice"):
    ...     print(reading.preference, reading.value, repr(reading.quote))
    backup_reserve_fraction 0.4 'Keep 40% for outages'
    minimum_compensation_usd_per_kwh 0.12 'not below 12 cents'
    None None 'be nice'
    """
    sentences: list[list[_Clause]] = []
    is_headed = False  # `In summer:` on a line of its own is about all that follows
    for sentence in _sentences(text):
        clauses = _surely(text, _clauses(text, sentence))
        if is_headed or (sentences and _takes_back(text, clauses[0])):
            sentences[-1] = [_not_understood([*sentences[-1], *clauses])]
        else:
            sentences.append(clauses)
        is_headed = is_headed or text[clauses[-1].end - 1] == ":"
    return [reading for clauses in sentences for clause in clauses for reading in _readings(text, clause)]


def _readings(text: str, clause: _Clause) -> Iterator[Reading]:
    quote = text[clause.start : clause.end]
    if clause.says is None:
        yield Reading(quote, None, None, None)
    else:
        preferences, device = clause.says
        yield from (Reading(quote, preference, value, device) for preference, value in preferences)


def _sentences(text: str) -> Iterator[list[_Clause]]:
    """The parts of the text between separators, sentence by sentence."""
    parts, start, join = [], 0, "stop"
    for separator in [*_SEPARATOR.finditer(text), None]:
        words = text[start : separator.start() if separator else len(text)]
        if bare := _BULLET.sub("", words, count=1).rstrip():
            end = start + len(words.rstrip())
            parts.append(_Clause(end - len(bare), end, join))
            join = "word"
        if separator:
            join = min(join, str(separator.lastgroup), key=("stop", "comma", "word").index)
            start = separator.end()
    sentence_of = accumulate(part.join == "stop" for part in parts)
    for _, sentence in groupby(zip(sentence_of, parts, strict=True), key=lambda pair: pair[0]):
        yield [part for _, part in sentence]


def _clauses(text: str, parts: list[_Clause]) -> list[_Clause]:
    """From the left, as many parts together as one pattern understands: `not on Sat, Sun`, `between 5 and 8 pm`."""
    heading = _HEADING.match(text, parts[0].start, parts[-1].end)
    device = cast(Device, heading.lastgroup) if heading else None
    clauses: list[_Clause] = []
    k = 0
    while k < len(parts):
        start = heading.end() if heading and k == 0 else parts[k].start
        last = k
        while last + 1 < min(len(parts), k + _MOST_PARTS) and _GOES_ON.match(text, parts[last + 1].start):
            last += 1
        while (says := understand(text[start : parts[last].end], device)) is None and last > k:
            last -= 1
        clauses.append(_Clause(parts[k].start, parts[last].end, parts[k].join, says))
        k = last + 1
    return clauses


def _surely(text: str, clauses: list[_Clause]) -> list[_Clause]:
    """Not understood: what `and` joins to words not understood; a question; a sentence with a condition of its own."""
    if text[clauses[-1].end - 1] == "?" or any(_is_condition(text, clause) for clause in clauses):
        return [_not_understood(clauses)]
    sure: list[_Clause] = []
    joined_to = accumulate(clause.join != "word" for clause in clauses)
    for _, pairs in groupby(zip(joined_to, clauses, strict=True), key=lambda pair: pair[0]):
        joined = [clause for _, clause in pairs]
        sure += joined if all(clause.says for clause in joined) else [_not_understood(joined)]
    return sure


def _is_condition(text: str, clause: _Clause) -> bool:
    """Whether a part not understood limits the others of its sentence: `if …`, `In summer: …`."""
    is_heading = re.search(r":(?:\s|$)", text[clause.start : clause.end])
    return clause.says is None and bool(is_heading or _LIMITS.match(text, clause.start))


def _not_understood(clauses: list[_Clause]) -> _Clause:
    return _Clause(clauses[0].start, clauses[-1].end, clauses[0].join)


def _takes_back(text: str, clause: _Clause) -> bool:
    """Whether a sentence that begins so limits the one before it: `Unless …`, or a line that continues with `if …`."""
    continues = text[clause.start].islower() and _LIMITS.match(text, clause.start)
    return clause.says is None and bool(continues or _EXCEPTION.match(text, clause.start))
