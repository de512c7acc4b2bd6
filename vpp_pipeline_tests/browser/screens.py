"""What a user does and sees on Dagster's pages: launch a day, wait for green, open assets, partitions and checks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from playwright.sync_api import Browser, Locator, Page, Response, expect, sync_playwright

CODE = "vpp_pipeline.definitions"
RUN_MS = 180_000.0
PAGE_MS = 30_000.0
WIDTH, HEIGHT = 1400, 950


def chromium_path() -> str | None:
    """The system's Chromium or Chrome; none is ever downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Raises RuntimeError where there is none."""
    path = chromium_path()
    if path is None:
        raise RuntimeError("no Chromium; on Debian and Ubuntu: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Screens:
    """One tab on Dagster, which notes whatever goes wrong on its way."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PAGE_MS)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if response.status >= 500:
            self.faults.append(f"{response.status} {response.url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}{path}")
        return self.page

    def launch(self, day: str) -> str:
        """Launch `bid_day` for a day as a user does: button, confirmation, partition, launch. The run's id."""
        page = self.open(f"/locations/{CODE}/jobs/bid_day")
        page.get_by_role("button", name="Materialize all").click()
        dialog = page.get_by_role("dialog")
        confirm = dialog.get_by_role("button", name="Confirm")  # asked while inputs of other jobs are not made yet
        all_partitions = dialog.get_by_text("Show all partitions")
        expect(confirm.or_(all_partitions).first).to_be_visible()
        if confirm.is_visible():
            confirm.click()
        all_partitions.click()
        chosen = dialog.get_by_placeholder(re.compile("^ex: "))
        chosen.fill(day)
        chosen.press("Tab")
        dialog.get_by_role("button", name="Launch 1 run").click()
        said = page.get_by_text(re.compile(r"Launched run \w{8}")).first
        said.wait_for()
        return re.findall(r"Launched run (\w{8})", said.inner_text())[0]

    def wait_for_green(self, run: str) -> None:
        """On the run's page, until it succeeded. Fails at once where it failed."""
        self.open("/runs").get_by_text(run).first.click()
        self.page.wait_for_url(re.compile(f"/runs/{run}"))  # the list of runs shows how the others ended
        ended = self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        ended.wait_for(timeout=RUN_MS)
        expect(ended).to_have_text("Success")

    def asset(self, name: str) -> Page:
        """The overview of an asset, with its metadata on it."""
        page = self.open(f"/assets/{name}")
        page.get_by_text("in_a_sentence").first.wait_for()
        return page

    def partition(self, name: str, *keys: str) -> Page:
        """The page of one partition."""
        page = self.open(f"/assets/{name}?view=partitions&partition={quote('|'.join(keys))}")
        page.get_by_text("in_a_sentence").first.wait_for()
        return page

    def check(self, name: str, check: str) -> Page:
        """One check on the checks page of an asset."""
        page = self.open(f"/assets/{name}?view=checks&checkDetail={check}")
        page.get_by_text("Latest execution").wait_for()
        return page

    def value(self, name: str) -> str:
        """What stands beside a name in the table of metadata."""
        return self.cell(name).inner_text().strip()

    def plots(self, name: str) -> Page:
        """The history of an asset's figures, by run: by partition Dagster shows the latest days only."""
        page = self.asset(name)
        page.get_by_role("button", name="Plots").click()
        page.get_by_role("button", name="Events").click()
        page.locator("canvas").first.wait_for()
        return page

    def cell(self, name: str) -> Locator:
        row = self.page.locator("tr").filter(has=self.page.get_by_text(name, exact=True)).last
        return row.locator(":scope > td:not(:empty)").last

    def rows(self, name: str) -> list[list[str]]:
        """The small table beside a name, with its headings."""
        lines = self.cell(name).locator("table tr").all()
        return [line.locator("th, td").all_inner_texts() for line in lines]

    def text(self) -> str:
        return self.page.locator("body").inner_text()
