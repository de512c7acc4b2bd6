"""What a clause of an owner's note may say, and how owners spell devices, times, days, numbers and money.

A clause is understood only if a pattern matches all of it: a condition (if, unless, except), a hedge (maybe, about) or
any other word that the table lacks leaves it not understood.

How owners spell devices, times, days, numbers and money, and what the spellings mean.

The meanings raise ValueError where the words do not surely say one thing: 140%, 31 Feb, between 7 and 9 of which half
of the day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from itertools import product
from math import ceil, floor
from typing import Literal, TypeAlias, cast

from vpp_pipeline.core.calendar import WEEKDAYS

Device: TypeAlias = Literal["battery", "ev"]
Match: TypeAlias = re.Match[str]
Preference: TypeAlias = tuple[str, float | str]  # column of fleet.prosumers, and a value in its unit
Understood: TypeAlias = tuple[tuple[Preference, ...], Device | None]  # of one clause: its limits, its device

# Larger numbers are taken for slips: the hours of a day; CAISO's hard bid cap; a one-hour store's cycles in a day.
MOST_BACKUP_HOURS, MOST_USD_PER_KWH, MOST_CYCLES = 24.0, 2.0, 12.0
LONGEST_CLAUSE = 200  # letters; nothing that the table knows is as long
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


def unnamed(pattern: re.Pattern[str]) -> str:
    """The pattern without names, to be used within another as often as needed."""
    return f"(?:{re.sub(r'[?]P<[a-z0-9]+>', '?:', pattern.pattern)})"


_PHRASES = {  # what the patterns write as <phrase>
    # what is counted
    "number": r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)",
    "share": r"(?P<share><number>)%",
    "hours": r"(?P<hours><number>) hours",
    "money": r"(?P<money><number>) (?P<coin>cents|usd)(?P<per>/[km]wh)?",
    "cycles": r"(?P<cycles><number>) (?:full |complete )?cycles?(?: <aday>|/day| daily)?",
    "aday": r"(?:a|per|each|every) day",
    # when
    "or": r"(?:,? (?:and|or|&) |, )",
    "daily": r"(?: (?:every|each) (?:day|night|morning|evening)| daily)",
    "clock": rf"(?P<clock>{TIME})<daily>?",
    "window": unnamed(WINDOW),
    "windows": r"(?P<windows><window>(?:<or><window>)*)<daily>?",
    "day": unnamed(DAY),
    "days": r"(?P<days><day>(?:<or>(?:on )?<day>)*)",
    "leaving": r"(?:(?:when|before|by the time) (?:i|we|it|<device>) <drive>|at departure)",
    "drive": r"(?:leaves?|departs?|drives?(?: off| away)?)",
    # of what, for what
    "device": rf"(?:<a> )?{unnamed(DEVICE)}",
    "charge": r"(?:charge|soc|state of charge|capacity|energy|power)",
    "where": r"(?: <charge>| (?:of|in) (?:<device>|it|charge|the charge)| <device>)",
    "purpose": r"(?:,? (?:for|as|against|in case of) (?:<a> )?<backup>|,? in reserve)",
    "us": r"(?:us|me|ourselves|myself|(?:the|our|my) (?:own use|house|home))",
    "a": r"(?:an?|any|the|my|our|your)",
    "backup": r"(?:(?:back-?up|blackouts?|(?:power |grid )?<cut>|emergenc(?:y|ies)|reserve)(?: power| reserve)?)",
    "cut": r"(?:outages?|cuts?|failures?)",
    "price": r"(?:price|compensation|payment)",
    # bounds and commands
    "no": r"(?:no|never|don't|i don't want(?: any| you to)?|<device> (?:(?:can|must|may|should) (?:not|never)|never))",
    "not": r"(?:not|<no>)",
    "min": r"(?:minimum|min)",
    "least": r"(?:at least|a minimum of|<min>(?: of)?|(?:no|not|never) (?:less|lower) than)",
    "most": r"(?:at most|a maximum of|maximum(?: of)?|max|(?:no|not|never) more than)",
    "above": r"(?:above|over|at or above)",
    "below": r"(?:below|under|lower than|less than)",
    "keep": r"(?:keep|reserve|hold|hold back|leave|maintain|set aside)",
    "want": r"(?:(?:(?:i|we) )?(?:want|need|ask(?: for)?))",
    "enough": r"(?:enough (?:<charge> )?)",
    "sink": r"(?:go|drop|fall|run|drain|discharge|discharging)",
    "sell": r"(?:go|sell|selling|sales|discharge|discharging|exports?|exporting)",
    "use": r"(?:discharg(?:e|ed|ing)|charg(?:e|ed|ing)|exports?|exporting|sell|selling|sales|v2g)",
    "be": r"(?:(?:must|should|has to|needs to|to) be|is|be)",
}


def _pattern(words: str) -> re.Pattern[str]:
    """``words`` with every <phrase> written out; phrases may hold phrases."""
    while (longer := re.sub(r"(?<!P)<([a-z]+)>", lambda name: _PHRASES[name[1]], words)) != words:
        words = longer
    return re.compile(words)


def _share(found: Match) -> Iterator[Preference]:
    yield "backup_reserve_fraction", up_to(1.0, float(found["share"]) / 100.0)


def _hours(found: Match) -> Iterator[Preference]:
    yield "backup_reserve_hours", up_to(MOST_BACKUP_HOURS, float(found["hours"]))


def _compensation(found: Match) -> Iterator[Preference]:
    """Money without a unit is per kWh if it is less than a dollar, as no owner counts cents per MWh."""
    coin, per = found["coin"], found["per"]
    usd = float(found["money"]) / (100.0 if coin == "cents" else 1.0)
    if (per is None and usd >= 1.0) or (coin, per) == ("cents", "/mwh"):
        raise ValueError("not sure per what")
    yield "minimum_compensation_usd_per_kwh", up_to(MOST_USD_PER_KWH, usd / 1000.0 if per == "/mwh" else usd)


def _cycles(found: Match) -> Iterator[Preference]:
    yield "maximum_cycles_per_day", up_to(MOST_CYCLES, float(found["cycles"]))


def _idle(found: Match) -> Iterator[Preference]:
    """Who wants nothing sold means the sun too; who spares the battery does not."""
    if re.search(r"export|sell|sales", found["use"]):
        yield "no_export_hours", windows(found["windows"])
    if re.search(r"discharg|v2g", found["use"]):
        yield "quiet_hours", windows(found["windows"])
    if re.search(r"\bcharg", found["use"]):
        yield "no_charge_hours", windows(found["windows"])


def _quiet(found: Match) -> Iterator[Preference]:
    yield "quiet_hours", windows(found["windows"])


def _never(found: Match) -> Iterator[Preference]:
    yield "quiet_hours", "0-24"


def _opt_out(found: Match) -> Iterator[Preference]:
    yield "opt_out_days", days(found["days"])


def _ready(found: Match) -> Iterator[Preference]:
    """An hour without am or pm is the earlier one, and minutes are cut off: both tighten."""
    yield "ev_ready_fraction", up_to(1.0, float(found["share"]) / 100.0) if found["share"] else 1.0
    if found["clock"]:
        yield "ev_ready_hour", up_to(23, floor(min(clock(found["clock"]))))


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


_SENTENCES: tuple[tuple[Callable[[Match], Iterator[Preference]], tuple[str, ...]], ...] = (
    (
        _share,
        (
            r"<keep> (?:<least> )?<share>(?: or more)?<where>*(?:<purpose>| for <us>)*<where>*",
            r"save (?:<least> )?<share><where>*<purpose>+",  # without its purpose it may be money that is saved
            r"(?:<keep>|stay)(?: <device>| it)? (?:charged )?(?:<above>|(?:at )?<least>) <share><purpose>*",
            r"(?:(?:charge|soc|it|<device>) )?<not>(?: let)?(?: it| <device>)?(?: <sink>)?(?: it| <device>)?"
            r"(?: down)?(?: to)? <below> <share><where>*<purpose>*",
            r"(?:<keep> |<want> )?(?:an? )?(?:<least> )?<share>(?: of (?:<device>|it))?(?: <backup>|<purpose>)"
            r"<purpose>*",
            r"(?:<keep> an? )?(?:(?:<min> )?(?:back-?up|(?:back-?up )?reserve)|<min> (?:charge|soc)):?(?: of| is| at)?"
            r" <share>",
            r"<min> <share> (?:charge|soc)",
        ),
    ),
    (
        _hours,
        (
            r"<keep> (?:<enough>for )?(?:<least> )?<hours>(?: of <charge>)?<purpose>+",
            r"(?:<keep> )?(?:<enough>for )?(?:<least> )?<hours> (?:of |as )?<backup><purpose>*<where>?",
            r"<keep> <enough>(?:for|to run (?:the|my|our) (?:house|home) for) (?:<least> )?<hours><purpose>*",
        ),
    ),
    (
        _compensation,
        (
            r"(?:<want> |pay (?:me |us )?|<price> (?:(?:of|is|must be|should be) )?)?<least> <money>",
            r"<min> <price>:?(?: of| is)? <money>",
            r"(?:<price> )?(?:nothing|<not>)(?: <sell>)?(?: <device>)?(?: anything| <a> <charge>)?(?: for)?"
            r" <below> <money>",
        ),
    ),
    (
        _cycles,
        (
            r"(?:<most>|limit(?: it| <device>)? to(?: <most>)?) <cycles>(?: (?:for|on|of) <device>)?",
            r"<cycles>,? (?:at most|maximum|max)",
            r"(?:don't|never) cycle(?: it| <device>)? more than (?P<cycles><number>) times? <aday>",
        ),
    ),
    (
        _idle,
        (
            r"<not>(?: let)?(?: <device>)? (?:be )?(?P<use><use>(?:(?: or | and | nor |/)<use>)?)"
            r"(?: (?:of |from )?<device>| to the grid)?(?: during| at)? <windows>",
        ),
    ),
    (_quiet, (r"(?:keep (?:it |<device> )?)?quiet(?: hours?| time)?(?: for <device>)?:?(?: are| is)? <windows>",)),
    (_never, (r"<no>(?: <device>)? (?:be )?(?:discharg(?:e|ed|ing)|v2g)(?: <device>)?(?: at all)?",)),
    (
        _opt_out,
        (
            r"(?:not|never|nothing|no(?: sales| selling| exports?| exporting| trading)?|don't (?:sell|export|trade)"
            r"|leave (?:me|us|<device>) out|opt(?:ing)?(?: me| us)?[- ]out|count (?:me|us) out"
            r"|(?:skip|exclude)(?: me| us)?|(?:(?:i'm|i am|we're|we are) )?(?:not available|unavailable))"
            r"(?: (?:on|at|over|for|of))?(?: (?:the|all|every|any))? <days>",
        ),
    ),
    (
        _ready,
        (
            r"(?:(?:<want>|have|get|charge) )?(?:<device> )?(?:<be> )?(?:charged |ready )?"
            r"(?:to |at |with )?(?:<least> )?(?:<share>|full|fully|fully charged)(?: charged?| full| ready)?"
            r"(?: in <device>)?(?: (?:by|at|before) <clock>| <leaving>)",
        ),
    ),
)
_RULES = tuple((_pattern(words), reader) for reader, sentences in _SENTENCES for words in sentences)


@lru_cache(maxsize=100_000)
def understand(clause: str, heading: Device | None = None) -> Understood | None:
    """What ``clause`` asks, and the device that it or its ``heading`` speaks of; None if that is not sure."""
    if len(clause) > LONGEST_CLAUSE:
        return None
    words = plain(clause)
    for pattern, reader in _RULES:
        if found := pattern.fullmatch(words):
            try:
                return _of_one_device(words, tuple(reader(found)), heading)
            except ValueError:
                return None
    return None


def _of_one_device(words: str, preferences: tuple[Preference, ...], heading: Device | None) -> Understood | None:
    """None if the words speak of two devices or the wrong one. Who leaves is an EV; what is full by 8 need not be."""
    spoken = {cast(Device, found.lastgroup) for found in DEVICE.finditer(words)} | ({heading} if heading else set())
    asked = {column for column, _ in preferences}
    if asked == {"ev_ready_fraction"} and not spoken:
        spoken = {"ev"}
    if len(spoken) > 1 or (asked & {"ev_ready_fraction", "ev_ready_hour"} and spoken != {"ev"}):
        return None
    return preferences, next(iter(spoken), None)


def plain(words: str) -> str:
    """``words`` in one spelling: lower case, single spaces, digits, `40%`, `12 cents`, `7am`; without courtesies."""
    words = words.lower().strip()
    for found, spelt in _SPELLINGS:
        words = found.sub(spelt, words)
    return _FILLER.sub("", words)
