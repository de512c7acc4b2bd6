"""One `dagster dev` with a day made twice through its pages, for all tests of what a browser shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DAY = "2023-08-15"


@dataclass(frozen=True)
class Desk:
    """A running project, and a browser on it."""

    folder: Path
    screens: object  # Screens
    browser: object  # playwright's Browser
    runs: list[str]


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """`dagster dev` in a copy of the project, with the day launched twice from the job's page, each until green."""
    pytest.importorskip("playwright", reason="Playwright is not installed: make test-browser")
    from vpp_pipeline_tests.browser.project import dagster_dev, project_copy
    from vpp_pipeline_tests.browser.screens import HEIGHT, WIDTH, Screens, chromium, chromium_path

    if chromium_path() is None:
        pytest.skip("no Chromium; on Debian and Ubuntu: apt install chromium")
    with project_copy() as folder, dagster_dev(folder) as address, chromium() as browser:
        screens = Screens(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), address)
        runs = []
        for _ in range(2):  # a history of two, so that figures are plotted
            runs.append(screens.launch(DAY))
            screens.wait_for_green(runs[-1])
        yield Desk(folder, screens, browser, runs)
        assert screens.faults == []
