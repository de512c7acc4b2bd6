"""The report of a day in a real Chromium: on a phone, in the dark, by keyboard, and without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vpp_pipeline.reporting.page import PARTS
from vpp_pipeline_tests.browser.conftest import FIRST, Desk

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

READING = Path(__file__).with_name("reading.js").read_text(encoding="utf-8")
PHONE, DESK_WIDTH = 390, 1200
VIEWS = [(PHONE, "light"), (PHONE, "dark"), (DESK_WIDTH, "light"), (DESK_WIDTH, "dark")]
MOST_STEPS = 200
FOCUSED = """() => {
  const element = document.activeElement, style = getComputedStyle(element);
  const name = `${element.tagName} ${(element.innerText || element.getAttribute("aria-label") || "").slice(0, 40)}`;
  const place = element.closest(".scroll") ?? element;  // a table scrolls by itself
  const top = place.getBoundingClientRect().top + document.documentElement.scrollTop;
  return [name, Math.round(top), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


@pytest.fixture(scope="module")
def report(desk: Desk) -> Path:
    return desk.folder / "data" / "reports" / f"{FIRST}.html"


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """`opened(width, scheme)`: the report in a window of its own, which must not ask the network for anything."""
    asked: list[str] = []
    pages: list[Page] = []

    def show(width: int, scheme: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(str(error)))
        page.goto(report.as_uri())
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.close()
    assert set(asked) == {report.as_uri()}


def test_it_is_small(report: Path):
    assert report.stat().st_size <= 512 * 1024


def assert_reads(found: dict[str, Any]) -> None:
    """What READING found of a page: nothing scrolls sideways, is cut, faint, or without a name; headings in order."""
    assert not found["scrolls"]
    assert found["wide"] == []
    assert found["faint"] == []
    assert found["nameless"] == []
    assert found["tables"] == 0
    assert len(found["ids"]) == len(set(found["ids"]))
    assert found["language"] == "en"
    assert found["headings"][0] == 1
    assert found["headings"].count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(found["headings"]))


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_it_fits_and_reads_on_a_phone_and_at_a_desk_by_day_and_by_night(
    opened: Callable[..., Page], width: int, scheme: str
):
    found = opened(width, scheme).evaluate(READING)
    assert found["checked"] > 300
    assert_reads(found)


def test_day_and_night_differ(opened: Callable[..., Page]):
    grounds = {scheme: opened(PHONE, scheme).evaluate(READING)["ground"] for scheme in ("light", "dark")}
    assert grounds["light"] != grounds["dark"]


def test_the_reading_finds_what_is_wrong(opened: Callable[..., Page]):
    page = opened(PHONE, "light")
    page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<p>too faint</p><p>too wide</p><svg></svg>");
            const [faint, wide] = [...document.querySelectorAll("body > p")].slice(-2);
            Object.assign(faint.style, {color: "#999", background: "#fff"});
            wide.style.width = "500px";  // the page's own policy lets no markup bring styles of its own
        }"""
    )
    found = page.evaluate(READING)
    assert found["scrolls"]
    assert found["wide"] == ["P."]
    assert [words.partition(":")[0] for words in found["faint"]] == ["too faint"]
    assert found["nameless"] == ["<svg></svg>"]


def test_the_keyboard_goes_through_it_from_top_to_bottom(opened: Callable[..., Page]):
    page = opened(PHONE, "light")
    steps: list[tuple[str, float]] = []
    while len(steps) < MOST_STEPS:
        page.keyboard.press("Tab")
        name, top, outline = page.evaluate(FOCUSED)
        if name.startswith("BODY") or (steps and name == steps[0][0]):
            break
        assert outline, f"the focus on {name} cannot be seen"
        steps.append((name, top))
    assert steps[0][0] == "A Skip to the figures"
    names = [name.removeprefix("A ") for name, _ in steps]
    own = list(PARTS.values())  # the day may be settled or not
    parts = own if "Settlement" in names else own[1:]
    first = names.index(parts[0])
    assert names[1:first] == ["why"] * (parts == own)
    assert names[first : first + len(parts)] == parts
    assert 10 < len(steps) < MOST_STEPS
    tops = [top for _, top in steps[1:]]
    assert all(below >= above - 2 for above, below in pairwise(tops))  # what is scrolled is placed to a pixel


def test_the_first_link_leads_past_the_menu(opened: Callable[..., Page]):
    page = opened(PHONE, "light")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#glance")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")
