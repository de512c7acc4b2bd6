"""A browser and a running `dagster dev` for the tests that look at pages; they skip where there is no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vpp_pipeline_tests.browser.project import dagster_dev, project_copy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from vpp_pipeline_tests.browser.screens import Screens

FIRST, SECOND = "2023-08-15", "2023-08-16"


@dataclass(frozen=True)
class Desk:
    """A project with Dagster running in it, and the runs launched from its pages."""

    folder: Path
    screens: Screens
    runs: dict[str, str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="Playwright is not installed: make test-browser installs it")
    from vpp_pipeline_tests.browser.screens import chromium, chromium_path

    if chromium_path() is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def desk(browser: Browser) -> Iterator[Desk]:
    """Two days launched from the job's page; the first is green, the second waits for its turn to publish."""
    from vpp_pipeline_tests.browser.screens import HEIGHT, WIDTH, Screens

    with project_copy() as folder, dagster_dev(folder) as address:
        screens = Screens(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), address)
        runs = {day: screens.launch(day) for day in (FIRST, SECOND)}
        screens.wait_for_green(runs[FIRST])
        yield Desk(folder, screens, runs)


@pytest.fixture
def screens(desk: Desk) -> Iterator[Screens]:
    """The tab, which must have met no fault when the test is over."""
    desk.screens.faults.clear()
    yield desk.screens
    assert not desk.screens.faults
