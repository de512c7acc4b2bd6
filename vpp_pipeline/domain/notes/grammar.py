"""What a clause of an owner's note may say: a table of patterns, and the limits that each of them states.

A clause is understood only if a pattern matches all of it: a condition (if, unless, except), a hedge (maybe, about) or
any other word that the table lacks leaves it not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import floor
from typing import Literal, TypeAlias, cast

from vpp_pipeline.domain.notes.words import DAY, DEVICE, TIME, WINDOW, clock, days, plain, unnamed, up_to, windows

Device: TypeAlias = Literal["battery", "ev"]
Match: TypeAlias = re.Match[str]
Wish: TypeAlias = tuple[str, float | str]  # column of fleet.prosumers, and the value asked of it in the column's unit
Understood: TypeAlias = tuple[tuple[Wish, ...], Device | None]  # of one clause: its limits, the device it speaks of

# Larger numbers are taken for slips: the hours of a day; CAISO's hard bid cap; a one-hour store's cycles in a day.
MOST_BACKUP_HOURS, MOST_USD_PER_KWH, MOST_CYCLES = 24.0, 2.0, 12.0
LONGEST_CLAUSE = 200  # letters; nothing that the table knows is as long

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


def _share(found: Match) -> Iterator[Wish]:
    yield "backup_reserve_fraction", up_to(1.0, float(found["share"]) / 100.0)


def _hours(found: Match) -> Iterator[Wish]:
    yield "backup_reserve_hours", up_to(MOST_BACKUP_HOURS, float(found["hours"]))


def _compensation(found: Match) -> Iterator[Wish]:
    """Money without a unit is per kWh if it is less than a dollar; nobody counts cents per MWh."""
    coin, per = found["coin"], found["per"]
    usd = float(found["money"]) / (100.0 if coin == "cents" else 1.0)
    if (per is None and usd >= 1.0) or (coin, per) == ("cents", "/mwh"):
        raise ValueError("not sure per what")
    yield "minimum_compensation_usd_per_kwh", up_to(MOST_USD_PER_KWH, usd / 1000.0 if per == "/mwh" else usd)


def _cycles(found: Match) -> Iterator[Wish]:
    yield "maximum_cycles_per_day", up_to(MOST_CYCLES, float(found["cycles"]))


def _idle(found: Match) -> Iterator[Wish]:
    """Who wants nothing sold means the sun too; who spares the battery does not."""
    if re.search(r"export|sell|sales", found["use"]):
        yield "no_export_hours", windows(found["windows"])
    if re.search(r"discharg|v2g", found["use"]):
        yield "quiet_hours", windows(found["windows"])
    if re.search(r"\bcharg", found["use"]):
        yield "no_charge_hours", windows(found["windows"])


def _quiet(found: Match) -> Iterator[Wish]:
    yield "quiet_hours", windows(found["windows"])


def _never(found: Match) -> Iterator[Wish]:
    yield "quiet_hours", "0-24"


def _opt_out(found: Match) -> Iterator[Wish]:
    yield "opt_out_days", days(found["days"])


def _ready(found: Match) -> Iterator[Wish]:
    """An hour without am or pm is the earlier one, and minutes are cut off: both tighten."""
    yield "ev_ready_fraction", up_to(1.0, float(found["share"]) / 100.0) if found["share"] else 1.0
    if found["clock"]:
        yield "ev_ready_hour", up_to(23, floor(min(clock(found["clock"]))))


_SENTENCES: tuple[tuple[Callable[[Match], Iterator[Wish]], tuple[str, ...]], ...] = (
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


def _of_one_device(words: str, wishes: tuple[Wish, ...], heading: Device | None) -> Understood | None:
    """None if the words speak of two devices or the wrong one. Who leaves is an EV; what is full by 8 need not be."""
    spoken = {cast(Device, found.lastgroup) for found in DEVICE.finditer(words)} | ({heading} if heading else set())
    asked = {column for column, _ in wishes}
    if asked == {"ev_ready_fraction"} and not spoken:
        spoken = {"ev"}
    if len(spoken) > 1 or (asked & {"ev_ready_fraction", "ev_ready_hour"} and spoken != {"ev"}):
        return None
    return wishes, next(iter(spoken), None)
