"""Numbers as the page writes them, one way for text, tables and charts."""

from __future__ import annotations

from datetime import date, datetime

MINUS = "−"
PRODUCTS = ("energy", "spin", "nonspin")


def number(value: float | None, digits: int = 2) -> str:
    """``1,234.50``; an empty value is an empty text, and what rounds to nothing has no sign."""
    if value is None:
        return ""
    words = f"{value:,.{digits}f}"
    if not words.strip("-0.,"):
        words = words.lstrip("-")
    return words.replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "" if value is None else f"{number(100.0 * value, digits)} %"


def many(count: float, one: str, several: str | None = None) -> str:
    """``1 bid``, ``42 bids``."""
    return f"{number(count, 0)} {one if count == 1 else several or one + 's'}"


def long_date(day: date) -> str:
    """``Tuesday 15 August 2023``."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"
