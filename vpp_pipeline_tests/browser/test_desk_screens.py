"""The desk beside Dagster in a real Chromium: its pages on a phone and a screen, by day and night, and their links."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vpp_pipeline_tests.browser.conftest import FIRST, SECOND, Desk
from vpp_pipeline_tests.browser.project import desk_of
from vpp_pipeline_tests.browser.test_report_screens import FOCUSED, READING, assert_reads

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from vpp_pipeline_tests.browser.screens import Screens

pytestmark = pytest.mark.browser

WIDTHS, SCHEMES = (360, 1280), ("light", "dark")
MONTH, OWNER = FIRST[:7], "prosumer_017"
PAGES = (
    "index.html",
    f"days/{FIRST}.html",
    "periods/index.html",
    f"periods/{MONTH}.html",
    "owners/index.html",
    f"owners/{OWNER}/{MONTH}.html",
    "days/2023-08-30.html",  # which says that there are no bids
)
CUT = """() => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  return [...document.querySelectorAll(".scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1)
    .map((part) => part.getAttribute("aria-label"));
}"""


@pytest.fixture(scope="module")
def address(desk: Desk) -> str:
    """Of the desk, whose first day is settled: by the command line, which finds the desk's address in the history."""
    desk.screens.wait_for_green(desk.runs[SECOND])
    line = [sys.executable, "-m", "vpp_pipeline", "settle", "--date", FIRST]
    subprocess.run(line, cwd=desk.folder, check=True, capture_output=True, timeout=300)
    return desk_of(desk.folder)


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """`opened(path, width, scheme)`: a page in a window of its own, which must ask for nothing but itself."""
    asked: list[str] = []
    pages: list[Page] = []
    expected: set[str] = set()

    def show(path: str, width: int = 1280, scheme: Any = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.on("pageerror", lambda error: asked.append(str(error)))
        page.goto(f"{address}/{path}")
        expected.add(f"{address}/{path}".partition("#")[0])
        pages.append(page)
        return page

    yield show
    followed = {page.url.partition("#")[0] for page in pages}
    for page in pages:
        page.close()
    assert {url for url in asked if not url.startswith(address)} == set()
    assert expected | followed <= set(asked)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_and_reads(opened: Callable[..., Page], path: str, width: int, scheme: str):
    page = opened(path, width, scheme)
    assert_reads(page.evaluate(READING))
    if width == 1280:
        assert page.evaluate(CUT) == []


def test_pages_differ_by_day_and_by_night(opened: Callable[..., Page]):
    grounds = {scheme: opened("index.html", 360, scheme).evaluate(READING)["ground"] for scheme in SCHEMES}
    assert grounds["light"] != grounds["dark"]


@pytest.mark.parametrize("path", PAGES)
def test_the_focus_is_seen_on_all_that_the_keyboard_reaches(opened: Callable[..., Page], path: str):
    page = opened(path, 360)
    names: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name, _, outline = page.evaluate(FOCUSED)
        if name.startswith("BODY"):
            break
        assert outline, f"the focus on {name} cannot be seen"
        names.append(name)
    assert names[:4] == ["A Skip to the figures", "A Days", "A Periods", "A Owners"]


def test_from_the_first_page_to_why_yesterday_missed(opened: Callable[..., Page]):
    page = opened("")
    page.locator("header a", has_text=FIRST).click()
    assert page.url.endswith(f"days/{FIRST}.html#settlement")
    assert page.get_by_role("heading", name="Settlement, and why it differs").is_visible()
    assert page.get_by_role("heading", name="What the difference comes from").is_visible()


def test_from_a_bid_to_its_reason(opened: Callable[..., Page]):
    page = opened(f"days/{FIRST}.html")
    row = page.locator("#bids tbody tr").filter(has_text="energy").filter(has=page.get_by_role("link", name="19:00"))
    row.first.get_by_role("link").click()
    reason = page.locator(":target")
    reason.wait_for(state="visible")  # a browser opens the part that the address names
    assert "prosumers with an option deliver" in reason.inner_text()


def test_from_owners_to_a_statement_by_a_part_of_its_id(opened: Callable[..., Page]):
    page = opened("owners/index.html")
    page.get_by_label("Owner's ID").fill("017")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name=OWNER).click()
    assert page.url.endswith(f"owners/{OWNER}/{MONTH}.html")
    assert f"{OWNER}, August 2023" in page.title()


def test_any_period_is_asked_for(opened: Callable[..., Page]):
    page = opened("periods/index.html")
    page.get_by_label("From").fill(FIRST)
    page.get_by_label("to", exact=True).fill(SECOND)
    page.get_by_role("button", name="Show the period").click()
    assert page.url.endswith(f"periods/{FIRST}_{SECOND}.html")
    assert "1 settled day, 1 bid and not settled" in page.locator("header").inner_text()


def test_bids_are_downloaded(opened: Callable[..., Page], tmp_path: Path):
    page = opened(f"days/{FIRST}.html")
    with page.expect_download() as download:
        page.get_by_role("link", name="bids, csv", exact=True).click()
    assert download.value.suggested_filename == f"{FIRST}_bids.csv"
    download.value.save_as(tmp_path / "bids.csv")
    assert (tmp_path / "bids.csv").read_text().startswith("bid_id,")


def test_dagster_s_link_opens_the_day(screens: Screens, address: str):
    page = screens.partition("warehouse/published", FIRST)
    with page.expect_popup() as opened_:
        screens.cell("report").get_by_role("link").first.click()
    opened_.value.wait_for_load_state()
    assert opened_.value.url == f"{address}/days/{FIRST}.html"
    assert "Bids for Tuesday 15 August 2023" in opened_.value.title()
    opened_.value.close()


def test_axe_finds_nothing(browser: Browser, address: str):
    from axe_playwright_python.sync_playwright import Axe  # installed with Playwright: make test-browser

    context = browser.new_context(bypass_csp=True)  # which lets no script in, also none that only reads
    found = {}
    for path in PAGES:
        page = context.new_page()
        page.goto(f"{address}/{path}")
        page.evaluate(CUT)  # all parts open
        found[path] = [fault["id"] for fault in Axe().run(page).response["violations"]]
    context.close()
    assert found == {path: [] for path in PAGES}
