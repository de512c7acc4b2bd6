"""How amounts and shares are written for people, and the terminal that tables are printed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line's help is shown without them
    import polars as pl
    from rich.console import Console

PLAIN_WIDTH = 132  # columns when the output goes to a file or another program


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
    """Where people read; PLAIN_WIDTH wide when the output goes elsewhere."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)
