"""How owners spell devices, times, days, numbers and money, and what the spellings mean.

The meanings raise ValueError where the words do not surely say one thing: 140 %, 31 Feb, between 7 and 9 of which half
of the day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import product
from math import ceil, floor

from vpp_pipeline.core.windows import WEEKDAYS

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMES = "|".join((*WEEKDAYS, *_MONTHS))  # as people shorten them
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SPELLINGS = tuple(
    (re.compile(found), spelt)
    for found, spelt in (
        (r"[‘’`´]", "'"),
        (r"[–—−]", "-"),
        (r"\s+", " "),
        (r"\bdo not\b|\bdont\b", "don't"),
        (r"\b(can|must|should)(?:'t|n't|not)\b", r"\1 not"),
        *((rf"\b{word}\b", str(k)) for k, word in enumerate(_COUNTS, start=1)),
        *((rf"\b{word}\b", str(10 * k)) for k, word in enumerate(_TENS, start=2)),
        (r"\bhalf(?: of)?\b", "50%"),
        (rf"\b(min|max|{NAMES})\.", r"\1"),
        (r"(?<=[0-9]) ?(?:%|(?:percent|per cent|pct)\b)", "%"),
        (r"(?:\$|\busd) ?([0-9.]+)", r"\1 usd"),
        (r"(?<=[0-9]) ?(?:\$|(?:dollars?|usd)\b)", " usd"),
        (r"(?<=[0-9]) ?(?:¢|(?:cents?|ct)\b)", " cents"),
        (r" ?(?:/|per|an?) ?(?:kwh|kilowatt[- ]?hour)\b", "/kwh"),
        (r" ?(?:/|per|an?) ?(?:mwh|megawatt[- ]?hour)\b", "/mwh"),
        (r"\b(?:12 )?noon\b", "12pm"),
        (r"\b(?:12 )?midnight\b", "12am"),
        (r" o'clock\b", ""),
        (r"(?<=[0-9]) ?([ap])(?:m\b|\. ?m\b\.?)", r"\1m"),
        (r"(?<=[0-9]) in the morning\b", "am"),
        (r"(?<=[0-9]) in the (?:afternoon|evening)\b", "pm"),
        (r"(?<=[0-9]) ?(?:hours?|hrs?|h)\b", " hours"),
        (r"(?<=[0-9])(?:st|nd|rd|th)\b(?: of\b)?", ""),
        (r"\bonce\b", "1 time"),
        (r"\btwice\b", "2 times"),
    )
)
_FILLER = re.compile(  # words at either end that change nothing
    r"^(?:(?:please|pls|kindly|also|and|but(?! not)|plus|then|hi|hello|always|(?:you )?(?:must|should|have to)"
    r"|remember to|(?:i|we)(?: want|'d like| would like| need)(?: you)? to"
    r"|(?:make|be) sure (?:that )?(?:you|to))[ ,]+)*"
    r"|(?:[ ,]+(?:please|pls|thanks|thank you|always|ever|at all times))*[ .!]*$"
)

DEVICE = re.compile(
    r"\b(?:(?P<battery>(?:home |house )?(?:battery|batteries|bess)|(?:tesla )?powerwalls?)"
    r"|(?P<ev>(?:ev|e-?car|electric (?:car|vehicle)|car|vehicle|truck)(?:s|'s)?(?: battery)?"
    r"|tesla(?: model [3sxy])?|v2g))\b",
    re.IGNORECASE,
)
TIME = r"[0-9]{1,2}(?::[0-5][0-9])?(?:am|pm)?"
WINDOW = re.compile(
    rf"(?:before|until|till) (?P<before>{TIME})|(?:after|past) (?P<after>{TIME})|from (?P<since>{TIME}) on(?:wards?)?"
    rf"|between (?P<first>{TIME}) and (?P<last>{TIME})"
    rf"|(?:between |from )?(?P<start>{TIME})(?: to | until | till | ?- ?)(?P<end>{TIME})"
)
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]{{0,6}}"
DAY = re.compile(
    r"\b(?:(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    rf"|(?P<day>[0-9]{{1,2}}) (?P<month>{_MONTH}),? (?P<year>[0-9]{{4}})"
    rf"|(?P<month2>{_MONTH}) (?P<day2>[0-9]{{1,2}}),? (?P<year2>[0-9]{{4}})"
    r"|(?P<weekday>(?:mon|tue|tues|wed|weds|thu|thur|thurs|fri|sat|sun)"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun|week)days?|weekends?))\b"
)


def plain(words: str) -> str:
    """``words`` in one spelling: lower case, single spaces, digits, `40%`, `12 cents`, `7am`; without courtesies."""
    words = words.lower().strip()
    for found, spelt in _SPELLINGS:
        words = found.sub(spelt, words)
    return _FILLER.sub("", words)


def unnamed(pattern: re.Pattern[str]) -> str:
    """The pattern without names, to be used within another as often as needed."""
    return f"(?:{re.sub(r'[?]P<[a-z0-9]+>', '?:', pattern.pattern)})"


def up_to(most: float, value: float) -> float:
    """``value``, if it is above zero and at most ``most``: another is a slip, or says nothing."""
    if not 0.0 < value <= most:
        raise ValueError(f"{value:g} is not above 0 and at most {most:g}")
    return value


def clock(time: str, beside: str = "") -> tuple[float, ...]:
    """Hours since midnight that ``time`` may mean: one, or two for a bare `7`.

    With minutes, 0 or above 12 it is the 24-hour clock, which then also holds for the bare hour ``beside`` it.
    """
    digits, half = time.rstrip("apm"), time[-2:]
    hour, _, minute = digits.partition(":")
    hours = int(hour) + int(minute or 0) / 60.0
    if hours > 24.0 or (half in ("am", "pm") and not 1 <= int(hour) <= 12):
        raise ValueError(f"{time} is no time of day")
    if half in ("am", "pm"):
        return (hours % 12.0 + (12.0 if half == "pm" else 0.0),)
    if _is_24_hour(time) or _is_24_hour(beside):
        return (hours,)
    return (hours % 12.0, hours % 12.0 + 12.0)


def _is_24_hour(time: str) -> bool:
    return time[-1:].isdigit() and (":" in time or not 1 <= int(time) <= 12)


def windows(words: str) -> str:
    """All windows in ``words`` as whole hours, `0-7, 22-24`."""
    return ", ".join(dict.fromkeys(_window(found) for found in WINDOW.finditer(words)))


def _window(found: re.Match[str]) -> str:
    """A bare hour beside one with am or pm takes the half of the day that makes the window shorter: 10 to 2 pm."""
    if found["before"]:
        return _whole_hours(0.0, _sure(found["before"]))
    if since := found["after"] or found["since"]:
        return _whole_hours(_sure(since), 24.0)
    first, last = found["first"] or found["start"], found["last"] or found["end"]
    starts, ends = clock(first, beside=last), clock(last, beside=first)
    if len(starts) > 1 and len(ends) > 1:
        raise ValueError(f"which half of the day, {first} to {last}?")
    return _whole_hours(*min(product(starts, ends), key=lambda edges: (edges[1] - edges[0]) % 24.0 or 24.0))


def _sure(time: str) -> float:
    hours = clock(time)
    if len(hours) > 1 or hours[0] in (0.0, 24.0):  # before or after midnight: today's or tomorrow's?
        raise ValueError(f"which {time}?")
    return hours[0]


def _whole_hours(start: float, end: float) -> str:
    """The window rounded outward; it may run past midnight."""
    if start % 24.0 == end % 24.0 and (start, end) != (0.0, 24.0):
        raise ValueError("a window that ends where it begins")
    start, end = start % 24.0, end or 24.0
    first, last = floor(start), ceil(end)
    return "0-24" if start > end and first <= last else f"{first}-{last}"  # 6:30 to 6:10 leaves no whole hour


def days(words: str) -> str:
    """All days in ``words`` as `sat, sun, 2023-12-25`."""
    return ", ".join(dict.fromkeys(name for found in DAY.finditer(words) for name in _days(found)))


def _days(found: re.Match[str]) -> Iterator[str]:
    if named := found["weekday"]:
        workdays, weekend = WEEKDAYS[:5], WEEKDAYS[5:]
        yield from weekend if named.startswith("weekend") else workdays if named.startswith("week") else (named[:3],)
    elif found["iso"]:
        yield date.fromisoformat(found["iso"]).isoformat()
    else:
        day, month, year = (found[name] or found[f"{name}2"] for name in ("day", "month", "year"))
        yield date(int(year), _MONTHS.index(month[:3]) + 1, int(day)).isoformat()
