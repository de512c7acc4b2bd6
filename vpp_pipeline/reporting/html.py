"""HTML of report and desk: the jinja2 templates, how values are written, and tables and figures for the templates."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import percent, printable, usd
from vpp_pipeline.core.paths import safe_file_name

FOLDER = Path(__file__).parent
PRODUCTS = CAISO.names
PER = {product.name: product.per for product in CAISO.products}  # what a price of the product is for
MOST_COLUMNS = 10  # in the usual type, on a screen of 1280 pixels
SHORT = 24  # letters: a date with its weekday, an id, a time
Legend = Sequence[tuple[str, str]]  # class of the color, words


def number(value: float, digits: int = 2) -> str:
    """Text of a number with thousands separated; what rounds to nothing has no sign.

    >>> number(1234.5), number(-0.001), number(7.0, 0)
    ('1,234.50', '0.00', '7')
    """
    words = f"{value:,.{digits}f}"
    return words if words.strip("-0.,") else words.removeprefix("-")


def many(count: float, one: str, several: str | None = None) -> str:
    """A count with its noun.

    >>> many(1, "bid"), many(1200, "bid"), many(2, "delivery", "deliveries")
    ('1 bid', '1,200 bids', '2 deliveries')
    """
    return f"{number(count, 0)} {one if count == 1 else several or one + 's'}"


def price(value: float, product: str) -> str:
    """A price of a product with its unit, such as $31.20/MWh."""
    return f"{usd(value)}/{PER[product]}"


def signed(amount_usd: float) -> str:
    """An amount that adds or takes away.

    >>> signed(1.2), signed(-3.4), signed(0.001)
    ('+$1.20', '-$3.40', '$0.00')
    """
    return f"{'+' if amount_usd >= 0.005 else ''}{usd(amount_usd)}"


def long_date(day: date) -> str:
    """``Tuesday 15 August 2023``."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


class Link(NamedTuple):
    """Text of a cell that leads somewhere; it is escaped, and so is the address, which is relative."""

    text: str
    href: str


def link(value: Link | str) -> str:
    """An `a` of HTML; what is no Link stays text."""
    return Markup('<a href="{}">{}</a>').format(value.href, value.text) if isinstance(value, Link) else value


#: how the cells of a column are written; all but the first two are aligned as numbers
FORMATS: dict[str, Callable[[Any], str]] = {
    "text": link,
    "product": str,  # with the color of its bars
    "count": lambda value: number(value, 0),
    "tenths": lambda value: number(value, 1),
    "number": number,
    "thousandths": lambda value: number(value, 3),
    "usd": usd,
    "signed": signed,
    "percent": percent,
}


def is_short(text: str) -> bool:
    """Whether the first cell of a row, a link or not, is to stay on one line."""
    return len(Markup(text).striptags()) <= SHORT


@dataclass(frozen=True)
class Table:
    """A table: its caption, heading -> format of each column, and rows of plain values."""

    caption: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]

    @property
    def is_wide(self) -> bool:
        """Whether its columns need a narrow type to be seen at once."""
        return len(self.columns) > MOST_COLUMNS

    def lines(self) -> Iterator[list[tuple[str, str]]]:
        """Each row as pairs of text and format; a value that is None is an empty cell."""
        for row in self.rows:
            yield [
                ("" if value is None else FORMATS[kind](value), kind)
                for value, kind in zip(row, self.columns.values(), strict=True)
            ]


@dataclass(frozen=True)
class Figure:
    """A chart under its heading, with its caption, what its colors mean, and the table of its numbers."""

    heading: str
    chart: Markup
    caption: str
    legend: Legend = ()
    table: Table | None = None


@dataclass(frozen=True)
class Place:
    """Where a page of the desk stands among the others."""

    root: str = ""  # relative address of the desk's first page's folder, such as `../`
    part: str = ""  # entry of the desk's menu
    is_served: bool = True  # whether somebody answers forms
    notice: str = ""  # what to know about the warehouse at this moment


def statement_address(owner: str, month: str) -> str:
    """Address of an owner's statement of a month, below the desk's first page; the id is text from outside.

    >>> statement_address("prosumer_017", "2024-07"), statement_address("../x", "2024-07")
    ('owners/prosumer_017/2024-07.html', 'owners/%252E%252E%252Fx/2024-07.html')
    """
    return f"owners/{quote(safe_file_name(owner))}/{month}.html"


@cache
def environment() -> Environment:
    """The templates of this package; every value is escaped, and a name that is not given is an error."""
    found = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        usd=usd, percent=percent, number=number, many=many, moment=moment, signed=signed, is_short=is_short
    )
    return found


def render(template: str, **values: Any) -> str:
    """The text of a template with its values."""
    return environment().get_template(template).render(values)


def document(template: str, place: Place | None = None, **values: Any) -> str:
    """A whole page, well-formed XML too; a browser loads nothing for it and runs nothing in it.

    ``place``: of a page of the desk, which has its menu; the file of a report stands alone.
    """
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    allowed = b64encode(sha256(style.encode()).digest()).decode()  # the one style sheet that may apply
    form = "'self'" if place and place.is_served else "'none'"
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action {form}"
    text = render(template, policy=policy, style=Markup(style), place=place, **values)
    return printable(text)  # owners' words may hold characters that XML does not know
