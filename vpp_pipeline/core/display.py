"""How amounts, shares and outside text are written for people, and the terminal that tables are printed to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help is shown without them
    import polars as pl
    from rich.console import Console

PLAIN_WIDTH = 132  # columns when the output goes to a file or another program
#: what a terminal obeys instead of showing it, or what hides or reorders the letters beside it: control characters but
#: tab and line feed, line and paragraph separators, marks of direction, characters without width, and half pairs
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
#: what begins a link, a picture, HTML, a cell or emphasis in Markdown; addresses become links by themselves
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|:(?=//)|(?i:(?<=www)\.)")
#: text that a spreadsheet would calculate: it begins with one of these, perhaps behind blanks (OWASP, CSV injection)
FORMULA = r"^[\t\r\n]|^\s*[=+\-@＝＋－＠]"


def printable(text: str) -> str:
    r"""``text`` with what cannot be seen written as an escape; tabs and line feeds stay.

    >>> printable("prosumer\x1b[2J_1\u202e"), printable("Zoë, 2 kW")
    ('prosumer\\x1b[2J_1\\u202e', 'Zoë, 2 kW')
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def markdown(text: str) -> str:
    r"""``text`` as one line of Markdown that shows just its letters: no link, no picture, no HTML, no cell of a table.

    >>> markdown("![x](http://evil)\n<b>|"), markdown("prosumer_020")
    ('!\\[x\\](http\\://evil) \\<b\\>\\|', 'prosumer_020')
    """
    return _MARKDOWN.sub(r"\\\g<0>", printable(" ".join(text.split())))


def usd(amount_usd: float, digits: int = 2) -> str:
    """An amount of money as American readers write it; what rounds to nothing has no sign.

    >>> usd(1363.694), usd(-12.34), usd(-0.001), usd(1250.0, digits=0)
    ('$1,363.69', '-$12.34', '$0.00', '$1,250')
    """
    text = f"{abs(amount_usd):,.{digits}f}"
    return f"-${text}" if amount_usd < 0 and text.strip("0,.") else f"${text}"


def usd_text(column: str) -> pl.Expr:
    """:func:`usd` of a column, without thousands separators; null where it is not a number."""
    import polars as pl

    amount = pl.col(column).round(2)
    sign = pl.when(amount < 0.0).then(pl.lit("-")).otherwise(pl.lit(""))
    return pl.format("{}${}", sign, amount.abs().cast(pl.Decimal(18, 2), strict=False).cast(pl.String))


def percent(fraction: float, digits: int = 1) -> str:
    """A share of 0 to 1 in percent; what rounds to nothing has no sign.

    >>> percent(0.6274), percent(0.003041, digits=3), percent(-0.00001), percent(1.0, digits=0)
    ('62.7%', '0.304%', '0.0%', '100%')
    """
    text = f"{100.0 * fraction:,.{digits}f}%"
    return text.removeprefix("-") if not text.strip("-0.%") else text


def terminal() -> Console:
    """Where people read; PLAIN_WIDTH wide when the output goes elsewhere. What it shows is :func:`printable`, and
    brackets and colons are letters, not rich's markup."""
    from rich.console import Console

    width = None if Console().is_terminal else PLAIN_WIDTH
    console = Console(width=width, markup=False, emoji=False)
    console.push_render_hook(_hook())
    return console


def _hook() -> Any:
    """rich's own hook, by which all text passes to the terminal, whoever printed it."""
    from collections.abc import Iterator

    from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook
    from rich.measure import Measurement
    from rich.segment import Segment

    class Printable:
        def __init__(self, shown: ConsoleRenderable) -> None:
            self.shown = shown

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
            for segment in console.render(self.shown, options):
                is_text = segment.control is None
                yield Segment(printable(segment.text), segment.style) if is_text else segment

        def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
            return Measurement.get(console, options, self.shown)

    class Hook(RenderHook):
        def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
            return [Printable(shown) for shown in renderables]

    return Hook()
