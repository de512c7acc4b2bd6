"""A report as a reader's program sees it: elements, tables as rows, colours of a theme."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator


def parse(page: str) -> ET.Element:
    """The page's root; raises where an element is not closed or a sign not escaped."""
    return ET.fromstring(page)


def words(element: ET.Element) -> str:
    """All text below an element."""
    return "".join(element.itertext())


def tables(root: ET.Element) -> dict[str, list[list[str]]]:
    """Caption -> rows of cells, without the head."""
    return {
        words(table[0]): [[words(cell) for cell in row] for row in table.iterfind("tbody/tr")]
        for table in root.iter("table")
    }


def value(cell: str) -> float:
    """A cell as a number: 1,234.5, -$12.34, or 62.7%."""
    return float(cell.replace(",", "").replace("$", "").removesuffix("%"))


def themes(page: str) -> Iterator[dict[str, str]]:
    """Colours by name, of the light theme and of the dark one over it."""
    light, dark = re.findall(r":root \{([^}]*)\}", page)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light))
    yield colours
    yield colours | dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", dark))


def contrast(one: str, other: str) -> float:
    """Ratio of luminances, as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
