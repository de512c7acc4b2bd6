"""HTML and SVG as text: elements that escape what they are given, and the pieces that every part is built from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from html import escape

#: elements without content; all others are closed by an end tag, which HTML wants
_EMPTY = {"meta", "rect", "path", "circle", "line"}
Legend = Sequence[tuple[str, str]]  # class of the colour, words
MINUS = "−"
PRODUCTS = ("energy", "spin", "nonspin")


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """One element. Plain text is escaped; attributes that are None or False are left out.

    ``class_`` is the attribute `class`, ``aria_label`` is `aria-label`; numbers have at most one decimal.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(key, value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = text(*children)
    return Html(f"<{name}{words}/>" if name in _EMPTY and not inside else f"<{name}{words}>{inside}</{name}>")


def text(*children: str | None) -> Html:
    """Children one after the other, each escaped unless it is markup."""
    return Html(
        "".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children if child)
    )


def _value(key: str, value: str | float | bool) -> str:
    if value is True:
        return key
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value))


def section(name: str, heading: str, lead: str | None, *children: str | None) -> Html:
    """A part of the page that the navigation leads to."""
    title = tag("h2", heading, id=f"{name}-heading")
    return tag(
        "section",
        title,
        tag("p", lead, class_="lead") if lead else "",
        *children,
        id=name,
        aria_labelledby=f"{name}-heading",
    )


def grid(kind: str, *children: str) -> Html:
    """Children side by side where there is room."""
    return tag("div", *children, class_=f"grid {kind}")


def figure(heading: str, chart: str, words: str, legend: Legend, numbers: str | None = None) -> Html:
    """A chart under its heading, with what it says, what its colours mean, and its numbers one step away."""
    behind = (
        tag("details", tag("summary", "The numbers", tag("span", f": {heading}", class_="unseen")), numbers)
        if numbers
        else ""
    )
    return tag("figure", tag("h3", heading), legend_of(legend), chart, tag("figcaption", words), behind)


def legend_of(legend: Legend) -> Html:
    """What colours mean."""
    if not legend:
        return Html("")
    items = [tag("li", tag("span", class_=f"key {kind}", aria_hidden="true"), words) for kind, words in legend]
    return tag("ul", *items, class_="legend")


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Html:
    """A table that scrolls sideways by itself; the first ``words`` columns, and those headed by a `.`, are words."""
    is_text = [place < words or head.startswith(".") for place, head in enumerate(heads)]
    top = [
        tag("th", head.removeprefix("."), scope="col", class_=None if is_text[k] else "n")
        for k, head in enumerate(heads)
    ]
    lines = [
        tag(
            "tr",
            *(
                tag("th", cell, scope="row") if k == 0 else tag("td", cell, class_=None if is_text[k] else "n")
                for k, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", *top)), tag("tbody", *lines))
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def cards(*pairs: tuple[str, str, str]) -> Html:
    """The day's main figures: what it is, the figure, what to make of it."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", figure_, class_="figure"), tag("dd", words, class_="more"))
            for name, figure_, words in pairs
        ),
        class_="cards",
    )


def facts_list(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names and values, as a list that wraps."""
    return tag("dl", *(text(tag("dt", name), tag("dd", value)) for name, value in pairs), class_="stamp")


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
