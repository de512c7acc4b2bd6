"""The README's pictures, made from the pages themselves: `make screenshots`."""

from __future__ import annotations

from pathlib import Path

from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.browser.conftest import FIRST
from vpp_pipeline_tests.browser.project import dagster_dev, project_copy
from vpp_pipeline_tests.browser.screens import HEIGHT, WIDTH, Screens, chromium

PICTURES = project_folder() / "docs" / "img"


def main() -> None:
    """Make a day through the pages, and take their pictures."""
    with project_copy() as folder, dagster_dev(folder) as address, chromium() as browser:
        screens = Screens(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), address)
        for _ in range(2):
            screens.wait_for_green(screens.launch(FIRST))
        page = screens.asset("bids/final_bids")
        page.get_by_text("five_rows").first.scroll_into_view_if_needed()
        screens.cell("sparkline").locator("img").wait_for()
        page.get_by_text("Deadline:").first.wait_for()  # the side comes last
        _keep(page, "asset.png")
        page = screens.check("bids/final_bids", "money_adds_up")
        page.locator("canvas").nth(1).wait_for()
        page.wait_for_timeout(1000)  # plots are drawn with a movement
        _keep(page, "checks.png")
        page.goto(f"{address}/asset-groups")
        page.wait_for_timeout(4000)  # the graph is laid out by a worker
        _keep(page, "asset_graph.png")
        report = browser.new_page(viewport={"width": 1200, "height": 1010})
        report.goto((folder / "data" / "reports" / f"{FIRST}.html").as_uri())
        _keep(report, "report.png")


def _keep(page: object, name: str) -> None:
    path: Path = PICTURES / name
    page.screenshot(path=path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
