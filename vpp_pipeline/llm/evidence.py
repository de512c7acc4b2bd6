"""Whether the words that a model quotes bear out the value that it read in them. What is not sure is no limit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vpp_pipeline.fleet.notes.grammar import DAY, DEVICE, MOST_BACKUP_HOURS, MOST_CYCLES, MOST_USD_PER_KWH, days, plain
from vpp_pipeline.schemas.fleet import DAYS_PATTERN, HOURS_PATTERN

if TYPE_CHECKING:
    from vpp_pipeline.llm.preferences import Limit

_NUMBER = re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?|\.\d+)")
_CLOCK = re.compile(r"(?<![\d:.])(\d{1,2})(?::(\d{2}))?\s?(am|pm)?(?![\d%])")
_MOST = {
    "backup_reserve_fraction": 1.0,
    "backup_reserve_hours": MOST_BACKUP_HOURS,
    "minimum_compensation_usd_per_kwh": MOST_USD_PER_KWH,
    "maximum_cycles_per_day": MOST_CYCLES,
    "ev_ready_fraction": 1.0,
}
#: what a number of the quote may stand for, in the unit of the column
_SCALES = {
    "backup_reserve_fraction": (1.0, 0.01),
    "ev_ready_fraction": (1.0, 0.01),
    "minimum_compensation_usd_per_kwh": (1.0, 0.01, 0.001),
}
_CLOSE = 1e-9


def value_in_quote(limit: Limit) -> bool:
    """Whether the limit's value is possible, and each of its numbers and days stands in its quote."""
    words = plain(limit.quote)
    if limit.device is not None and limit.device not in {found.lastgroup for found in DEVICE.finditer(words)}:
        return False
    if limit.preference == "opt_out_days":
        return limit.number is None and _has_days(limit.text, words)
    if limit.preference in ("quiet_hours", "no_charge_hours", "no_export_hours"):
        return limit.number is None and _has_windows(limit.text, words)
    if limit.number is None or limit.text is not None:
        return False
    if limit.preference == "ev_ready_hour":
        return limit.number in range(24) and limit.number in _hours(words)
    if not 0.0 < limit.number <= _MOST[limit.preference]:
        return False
    scales = _SCALES.get(limit.preference, (1.0,))
    said = [float(found) for found in _NUMBER.findall(words)]
    is_full = limit.preference == "ev_ready_fraction" and limit.number == 1.0 and re.search(r"\bfull", words)
    return bool(is_full) or any(abs(number * scale - limit.number) <= _CLOSE for number in said for scale in scales)


def _hours(words: str) -> set[int]:
    """Whole hours that a time in ``words`` may mean; minutes round either way, a bare hour has two halves of a day."""
    found = {0, 24} if re.search(r"\b(?:all day|any time|anytime|always|never)\b", words) else set()
    for hour, minute, half in _CLOCK.findall(words):
        hours = {int(hour)} if half == "" else {int(hour) % 12 + (12 if half == "pm" else 0)}
        if half == "" and 1 <= int(hour) <= 12:
            hours.add(int(hour) % 12 + 12)
        if minute and int(minute):
            hours |= {each + 1 for each in hours}
        found |= {each for each in hours if each <= 24}
    return found


def _has_windows(text: str | None, words: str) -> bool:
    """Windows as in `fleet.prosumers`; every edge but the day's own stands in the words, and at least one does."""
    if text is None or not re.fullmatch(HOURS_PATTERN, text):
        return False
    said = _hours(words)
    for window in text.split(", "):
        edges = [int(edge) for edge in window.split("-")]
        named = [edge for edge in edges if edge in said]
        if edges[0] == edges[1] or not named or any(edge not in said | {0, 24} for edge in edges):
            return False
    return True


def _has_days(text: str | None, words: str) -> bool:
    """Days as in `fleet.prosumers`, each of them named in the words."""
    if text is None or not re.fullmatch(DAYS_PATTERN, text) or not DAY.search(words):
        return False
    try:
        named = set(days(words).split(", "))
    except ValueError:  # 31 Feb: no such day
        return False
    return set(text.split(", ")) <= named
