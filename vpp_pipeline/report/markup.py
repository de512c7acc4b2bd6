"""HTML and SVG as text: elements that escape what they are given and close what they open; XML too."""

from __future__ import annotations

from html import escape

#: elements without content; all others are closed by an end tag, which HTML wants
_EMPTY = {"meta", "rect", "path", "circle", "line"}


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
