"""The report of the day as a person meets it: on a phone, in the dark, by keyboard and by ear."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from vpp_pipeline_tests.browser.conftest import DAY, Desk

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

MOST_BYTES = 300 * 1024


@pytest.fixture
def phone(desk: Desk) -> Iterator[object]:
    """The report in a tab of 390 pixels, with every address that it asked for."""
    page = desk.browser.new_page(viewport={"width": 390, "height": 844})
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto((desk.folder / "data" / "reports" / f"{DAY}.html").as_uri())
    yield page
    page.close()


def test_it_is_one_small_file_that_asks_nobody(desk: Desk, phone):
    assert (desk.folder / "data" / "reports" / f"{DAY}.html").stat().st_size <= MOST_BYTES
    assert len([url for url in phone.asked if not url.startswith("data:")]) == 1


def test_it_fits_a_phone(phone):
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_every_picture_has_words(phone):
    mute = phone.evaluate(
        "[...document.querySelectorAll('svg')].filter(svg => svg.getAttribute('aria-hidden') !== 'true' && "
        "!(svg.getAttribute('role') === 'img' && (svg.getAttribute('aria-label') || svg.querySelector('title'))))"
        ".map(svg => svg.outerHTML.slice(0, 120))"
    )
    assert mute == []
    assert phone.locator("svg").count() >= 5


def test_headings_go_down_one_step_at_a_time_and_the_language_is_told(phone):
    levels = phone.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert phone.evaluate("document.documentElement.lang")


def test_the_keyboard_goes_through_it_from_top_to_bottom(phone):
    tops = []
    for _ in range(12):
        phone.keyboard.press("Tab")
        tops.append(
            phone.evaluate(
                "document.activeElement === document.body ? null : "
                "document.activeElement.getBoundingClientRect().top + window.scrollY"
            )
        )
    reached = [top for top in tops if top is not None]
    assert len(reached) >= 3
    assert reached == sorted(reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(phone, scheme: str):
    """WCAG AA: 4.5 to 1 for text."""
    phone.emulate_media(color_scheme=scheme)
    faint = phone.evaluate(
        """() => {
            const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
            const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
                return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
            const ground = node => { for (; node; node = node.parentElement) {
                const colour = getComputedStyle(node).backgroundColor;
                if (!colour.endsWith(', 0)') && colour !== 'transparent') return colour; }
                return 'rgb(255, 255, 255)'; };
            return [...document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, li, a')].filter(node => {
                if (!node.innerText || !node.innerText.trim()) return false;
                const [one, other] = [light(getComputedStyle(node).color), light(ground(node))];
                return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
            }).map(node => node.tagName + ' ' + node.innerText.slice(0, 40) + ' ' + getComputedStyle(node).color);
        }"""
    )
    assert faint == []


def test_the_dark_is_dark(phone):
    phone.emulate_media(color_scheme="dark")
    colour = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in colour.strip("rgba()").split(",")[:3]) < 80
