"""Pieces that every part of the page is built from: figures with their table behind, tables, legends, cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vpp_pipeline.report.markup import Html, tag, text

Legend = Sequence[tuple[str, str]]  # class of the colour, words


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
